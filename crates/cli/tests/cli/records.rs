//! `network.lock` and the recorded plan: who writes them, when, and what stays the same.

use std::collections::BTreeMap;

use crate::OFFICE;
use crate::desk::Desk;

#[test]
fn a_bad_file_changes_nothing() {
    let bad = OFFICE.replace("10.9.0.0/24", "10.9.0.0/240");
    for arguments in ["check", "plan", "plan --json", "render -o out", "key make", "plan --graph svg"] {
        let desk = Desk::with("network.toml", &bad);
        desk.wayleave(arguments).expect(1);
        assert_eq!(desk.entries(), ["network.toml"], "after {arguments}");
    }
    let desk = Desk::with("network.toml", OFFICE);
    desk.wayleave("plan").expect(0);
    let before = desk.read("network.lock");
    desk.write("network.toml", &bad);
    desk.wayleave("plan").expect(1);
    assert_eq!(desk.read("network.lock"), before);
}

#[test]
fn check_and_diff_write_nothing() {
    let desk = Desk::with("network.toml", OFFICE);
    desk.wayleave("check").expect(0);
    desk.wayleave("plan --diff").expect(1);
    assert_eq!(desk.entries(), ["network.toml"]);
}

#[test]
fn locked_refuses_to_allocate_and_accepts_what_is_allocated() {
    let desk = Desk::with("network.toml", OFFICE);
    let ran = desk.wayleave("plan --locked").expect(1);
    assert!(ran.err.contains("network.lock"), "{ran}");
    assert_eq!(desk.entries(), ["network.toml"]);
    desk.wayleave("plan").expect(0);
    let before = desk.read("network.lock");
    desk.wayleave("plan --locked").expect(0);
    assert_eq!(desk.read("network.lock"), before);
    desk.write("network.toml", format!("{OFFICE}\n[nodes.newcomer]\n"));
    desk.wayleave("plan --locked").expect(1);
    assert_eq!(desk.read("network.lock"), before);
}

#[test]
fn a_diff_shows_what_is_about_to_change_and_records_nothing() {
    let desk = Desk::with("network.toml", OFFICE);
    desk.wayleave("plan").expect(0);
    let said = desk.wayleave("plan --diff").expect(0);
    assert_eq!(said.out, "");
    let edited = OFFICE.replace("192.0.2.1", "192.0.2.99").replace("[nodes.printer]\n", "");
    desk.write("network.toml", format!("{edited}\n[nodes.newcomer]\n"));
    let before: Vec<String> = ["network.lock", "network.plan"].map(|name| desk.read(name)).into();
    let ran = desk.wayleave("plan --diff").expect(2);
    for line in
        ["newcomer: added", "printer: removed", "laptop: peer server endpoint 192.0.2.1:51820 -> 192.0.2.99:51820"]
    {
        assert!(ran.out.contains(line), "no {line:?} in {ran}");
    }
    assert_eq!(["network.lock", "network.plan"].map(|name| desk.read(name)).to_vec(), before);
    assert_eq!(desk.wayleave("plan --diff").expect(2).out, ran.out, "the second time it says the same");
    desk.wayleave("plan").expect(0);
    desk.wayleave("plan --diff").expect(0);
}

#[test]
fn a_diff_compares_with_another_file_or_a_saved_plan() {
    let desk = Desk::with("network.toml", OFFICE);
    let saved = desk.wayleave("plan --json").expect(0).out;
    desk.write("saved.json", saved);
    desk.write("old.toml", OFFICE);
    desk.write("network.toml", OFFICE.replace("192.0.2.1", "192.0.2.99"));
    for old in ["saved.json", "old.toml"] {
        let ran = desk.wayleave(&format!("plan --diff={old}")).expect(2);
        assert!(ran.out.contains("192.0.2.1:51820 -> 192.0.2.99:51820"), "{ran}");
    }
    desk.write("saved.json", "{}");
    desk.wayleave("plan --diff=saved.json").expect(1);
}

/// Addresses by name, from the table of `wayleave plan`.
fn addresses(desk: &Desk) -> BTreeMap<String, String> {
    let table = desk.wayleave("plan").expect(0).out;
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let name = words.next().unwrap();
        (name, words.find(|word| word.starts_with("10.")).unwrap())
    };
    table.lines().skip(1).map(row).collect()
}

#[test]
fn nobody_is_renumbered_when_others_come_go_or_move_in_the_file() {
    let desk = Desk::with("network.toml", OFFICE);
    let first = addresses(&desk);
    // Names that sort before all others, and a file from back to front.
    let newcomers = "[nodes.aaa]\n[clients.aab]\n";
    let mut tables: Vec<&str> = OFFICE.split("\n\n").collect();
    tables.reverse();
    for text in [
        format!("{OFFICE}\n{newcomers}"),
        tables.join("\n\n"),
        OFFICE.replace("[nodes.printer]\n", ""),
        OFFICE.replace("[nodes.printer]\n", newcomers),
    ] {
        desk.write("network.toml", &text);
        let is = addresses(&desk);
        let stayed = first.iter().filter(|(name, _)| text.contains(&format!(".{name}]")));
        for (name, address) in stayed {
            assert_eq!(is.get(name), Some(address), "{name} in\n{text}");
        }
        let unique: std::collections::BTreeSet<_> = is.values().collect();
        assert_eq!(unique.len(), is.len(), "{is:?}");
    }
    desk.write("network.toml", OFFICE);
    assert_eq!(addresses(&desk)["server"], first["server"]);
}

#[test]
fn a_damaged_ledger_is_refused_and_kept() {
    for damaged in ["", "generation = 1\n", "version = 99\ngeneration = 1\n", "\u{0}\u{1}", "generation = ["] {
        let desk = Desk::with("network.toml", OFFICE);
        desk.write("network.lock", damaged);
        let ran = desk.wayleave("plan").expect(1);
        assert!(ran.err.contains("network.lock"), "{ran}");
        assert_eq!(desk.read("network.lock"), damaged);
    }
}
