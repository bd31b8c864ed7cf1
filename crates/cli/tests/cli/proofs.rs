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

/// Two nodes that speak BGP and one that does not, with a foreign router at the first.
const OUTSIDE: &str = r#"[network]
name = "out"
prefixes = ["172.22.0.0/25"]
[bgp]
asn = 4242421869
own = ["172.22.0.0/24"]
profile = "dn42"
roa_v4 = "/nowhere/roa4.conf"
[nodes.a]
endpoint = "a.example.net"
address = "172.22.0.1"
[nodes.b]
endpoint = "b.example.net"
address = "172.22.0.2"
bgp = true
[nodes.c]
endpoint = "c.example.net"
[neighbours.home]
node = "a"
asn = 4242420119
public_key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0="
sessions = "v4"
own_addresses = ["10.132.0.1/30"]
addresses = ["10.132.0.2"]
"#;

#[test]
fn of_addresses_outside_it_is_told_which_neighbour_may_lead_there_and_nothing_is_proved() {
    let desk = Desk::with("network.toml", OUTSIDE);
    let ran = desk.wayleave("prove network.toml").expect(0);
    says(&ran, "", "out: 6 of 6 ways fine");
    says(&ran, "", "what is behind 1 foreign router is not proved");
    let check = |words: &str, code: i32, expected: &[&str]| {
        let ran = desk.wayleave(&format!("explain network.toml {words}")).expect(code);
        let flat = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        expected.iter().for_each(|words| assert!(flat.contains(words), "{words}: {ran}"));
        ran
    };
    let believed = "home (AS 4242420119, at a) may lead there: of 172.20.0.0/14 (21 to 29 bits) and 172.20.0.0/24 (28 to 32 bits) it \
                    is believed what it tells, if its origin is authorised";
    let route = "which of them does is BGP's to say: `wayleave route 172.20.0.53` there";
    let ran =
        check("a 172.20.0.53", 0, &[believed, "a > home; answers come back to 172.22.0.1, of which it is told", route]);
    says(&ran, "", "a and 172.20.0.53 may reach each other over a neighbour");
    check("172.20.0.53 b", 0, &[believed, "b > a > home; answers come back to 172.22.0.2", route]);
    check("c 172.20.0.53", 4, &[believed, "but c speaks no BGP and learns no such route: `bgp = true` for nodes"]);
    check("b 8.8.8.8", 4, &["is not believed: 8.8.8.8 is in nothing that it may tell of"]);
    check("b 172.22.0.200", 4, &["is not believed: 172.22.0.200 is in the own prefixes"]);
    check("b fd00::1", 4, &["has no session for addresses of this family"]);
    check(
        "a home",
        0,
        &["home (AS 4242420119) is a foreign router, joined to a by wgn-home", "a: goes into wgn-home to it"],
    );
    check("b home", 4, &["b: has no route to it; ask for an address behind it"]);
    let json = desk.wayleave("explain network.toml b 172.20.0.53 --json").expect(0);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let outlet = &value["outside"]["neighbours"][0];
    assert_eq!((&outlet["may_carry"], &outlet["why_not"]), (&true.into(), &serde_json::Value::Null), "{value:#}");
    assert_eq!(outlet["hosts"], serde_json::json!(["b", "a", "home"]), "{value:#}");
    // Where nobody is told of the own addresses, nothing comes back.
    let desk = Desk::with("network.toml", &format!("{OUTSIDE}export = \"nothing\"\n"));
    let ran = desk.wayleave("explain network.toml a 172.20.0.53").expect(4);
    assert!(ran.out.contains("home is told of no address of a"), "{ran}");
}
