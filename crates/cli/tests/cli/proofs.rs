//! `prove`, `explain` and `survive`: what they print, and that they exit with 4 when something does not hold.

use crate::OFFICE;
use crate::desk::{Desk, Ran};

fn office(more: &str) -> Desk {
    let desk = Desk::with("network.toml", &format!("{OFFICE}\n{more}"));
    desk.wayleave("key make").expect(0);
    desk
}

#[track_caller]
fn says(ran: &Ran, out: &str, err: &str) {
    assert!(ran.out.contains(out) && ran.err.contains(err), "nothing about {out:?} or {err:?} in {ran}");
}

#[test]
fn a_plan_that_holds_is_proved() {
    let desk = office("");
    let before = desk.entries();
    let ran = desk.wayleave("prove").expect(0);
    says(&ran, "5  site server  .  .  .  .", "office: 20 of 20 ways fine\n");
    assert_eq!(desk.entries(), before, "it recorded something");
    let ran = desk.wayleave("prove --json").expect(0);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&value["schema"], &value["ways"]["fine"]), (&"wayleave.proof".into(), &20.into()));
}

#[test]
fn an_assertion_that_is_not_so_is_4_with_its_place() {
    let desk = office("[[assert]]\nreach = [[\"laptop\"], [\"*\"]]\n[[assert]]\nsurvives = \"any 1 node\"\n");
    let ran = desk.wayleave("prove").expect(4);
    says(&ran, "", "error[WL310]: asserted, but not so: without server, ");
    says(&ran, "", "network.toml:");
    says(&ran, "", "2 assertions, 1 not so\n");
}

#[test]
fn pairs_without_a_path_are_4_and_told() {
    let cut = OFFICE.replace("hub = true\n", "") + "[[links]]\nfrom = [\"*\"]\nto = [\"server\"]\n";
    let desk = Desk::with("network.toml", &cut);
    let ran = desk.wayleave("prove").expect(4);
    says(&ran, "x", "archive can't reach printer");
    let ran = desk.wayleave("explain network.toml archive printer").expect(4);
    says(&ran, "archive: dropped; archive has no route to 10.9.0.", "archive and printer don't reach each other");
}

#[test]
fn a_pair_is_told_hop_by_hop() {
    let desk = office("");
    let ran = desk.wayleave("explain network.toml laptop server").expect(0);
    says(&ran, "server: delivered", "laptop and server reach each other, both ways over the same hosts");
    let ran = desk.wayleave("explain network.toml archive laptop").expect(0);
    says(&ran, "server: 10.9.0.", "reach each other");
    // A site is called as in the table, by its name, or as in selectors; its gateway may have the same name.
    let site = desk.wayleave("explain network.toml laptop site:server").expect(0);
    says(&site, "laptop (10.9.0.", "laptop and site server reach each other");
    desk.wayleave("explain network.toml archive nobody").expect(64);
    desk.wayleave("explain network.toml archive site:archive").expect(64);
}

#[test]
fn what_failures_lose_is_4_and_told_worst_first() {
    let desk = office("");
    let ran = desk.wayleave("survive").expect(4);
    says(&ran, "without", "failures lose pairs that have not failed themselves");
    assert!(ran.out.lines().nth(1).unwrap().starts_with("server "), "{ran}");
    let ran = desk.wayleave("survive --pairs --json").expect(4);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["not_examined"], 0);
}
