//! What can be done with a lab that stays up: looking, pinging, running programs, cutting and mending.

use serde_json::Value;

use crate::desk::{Desk, Ran, can_run};
use crate::running::Running;

#[test]
fn a_lab_is_looked_at_entered_and_ended() {
    if !can_run("a_lab_is_looked_at_entered_and_ended", true, &["wg", "ip", "ping", "sh"]) {
        return;
    }
    let desk = Desk::with_examples();
    let mut lab = Running::start(&desk, "looked-at", "edgeproxy.toml");
    let status = lab.lab("status").expect(0);
    assert!(status.err.contains("14 of 14 links up"), "{status}");
    let status: Value = serde_json::from_str(&lab.lab("status --json").expect(0).out).unwrap();
    assert_eq!(status["status"]["links"].as_array().unwrap().len(), 14);
    let ran = lab.lab("ping hkg").expect(0);
    assert_eq!(ran.out.lines().count(), 1 + 11, "{ran}");
    let ran = lab.lab("ping gru nrt --json").expect(0);
    let pairs: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(pairs["pairs"][0]["path"].as_array().unwrap().len(), 4, "{ran}");

    let shown = lab.lab("exec nrt wg show").expect(0);
    assert_eq!(shown.out.matches("peer: ").count(), 2, "{shown}");
    assert!(shown.out.contains("latest handshake") && shown.out.contains("endpoint: 35.241.112.61:51820"), "{shown}");
    assert!(!shown.out.contains("9ZK9FzSzihxrRX9gktc99Oj0WFSJMa0mf33pP2LJ"), "the file's key is not the lab's");
    let ran = lab.lab("exec nrt ip -4 -o addr show dev wg0").expect(0);
    assert!(ran.out.contains("10.50.4.1"), "{ran}");
    lab.lab("exec nrt ping -q -c 2 -i 0.2 -W 3 10.50.4.3").expect(0);
    for code in [0, 1, 7, 255] {
        desk.write("end.sh", format!("exit {code}\n"));
        lab.lab("exec hkg sh end.sh").expect(code);
    }
    lab.lab("exec hkg no-such-program-anywhere").expect(1);
    let ran = lab.lab("exec nobody true").expect(1);
    assert!(ran.err.contains("there is no nobody"), "{ran}");
    lab.lab("ping hkg nobody").expect(1);
    lab.lab("fail hkg nobody").expect(1);
    lab.lab("heal hkg nrt").expect(1);
    lab.lab("fail node hkg --one-way").expect(1);

    lab.lab("down").expect(0);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.said());
    assert!(!desk.path("run/lab/looked-at").exists());
    lab.lab("status").expect(1);
}

/// How many things `lab status --json` says are cut.
fn faults(status: &Ran) -> usize {
    let status: Value = serde_json::from_str(&status.out).unwrap();
    status["status"]["faults"].as_array().unwrap().len()
}

#[test]
fn links_nodes_and_regions_are_cut_and_mended() {
    if !can_run("links_nodes_and_regions_are_cut_and_mended", true, &[]) {
        return;
    }
    let desk = Desk::with_examples();
    let mut lab = Running::start(&desk, "cut", "edgeproxy.toml");
    // What is cut, a pair that is lost by it, and one that is not.
    for (target, lost, kept) in [
        ("hkg nrt", "hkg nrt", "hkg sin"),
        ("nrt hkg --one-way", "nrt syd", "gru hkg"),
        ("hkg nrt --loss 100", "sin nrt", "hkg iad"),
        ("node sin", "hkg sin", "hkg syd"),
        ("node ireland", "lhr fra", "nrt syd"),
        ("region asia-pacific", "hkg syd", "hkg fra"),
        ("europe ireland", "cdg fra", "gru hkg"),
    ] {
        lab.lab(&format!("ping {lost} -c 2")).expect(0);
        lab.lab(&format!("fail {target}")).expect(0);
        let ran = lab.lab(&format!("ping {lost} -c 2")).expect(4);
        assert!(ran.out.contains("100%"), "{ran}");
        lab.lab(&format!("ping {kept} -c 4")).expect(0);
        assert_eq!(faults(&lab.lab("status --json").expect(4)), 1);
        let what: Vec<&str> = target.split(' ').take(2).collect();
        lab.lab(&format!("heal {}", what.join(" "))).expect(0);
        lab.lab(&format!("ping {lost} -c 4")).expect(0);
    }
    assert_eq!(faults(&lab.lab("status --json").expect(0)), 0);
    lab.signal(libc::SIGINT);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.said());
}

#[test]
fn two_labs_run_side_by_side_and_a_name_is_taken_once() {
    if !can_run("two_labs_run_side_by_side_and_a_name_is_taken_once", true, &[]) {
        return;
    }
    let desk = Desk::with_examples();
    let one = Running::start(&desk, "one", "two-offices.toml");
    // The same file, so the same addresses and interface names, and yet another network.
    let mut other = Running::start(&desk, "other", "two-offices.toml");
    let refused = desk.wayleave("lab up two-offices.toml --name one --once").expect(1);
    assert!(refused.err.contains("a lab named one is running"), "{refused}");
    let refused = desk.wayleave("lab status").expect(1);
    assert!(refused.err.contains("one, other"), "{refused}");
    one.lab("fail alpha beta").expect(0);
    one.lab("ping alpha beta -c 2").expect(4);
    other.lab("ping alpha beta -c 2").expect(0);
    other.signal(libc::SIGTERM);
    assert_eq!(other.wait().code(), Some(0), "{}", other.said());
    desk.wayleave("lab heal alpha beta").expect(0);
    desk.wayleave("lab ping alpha beta -c 2").expect(0);
}

#[test]
fn wrong_names_are_told_with_the_nearest_one_and_the_right_word() {
    if !can_run("wrong_names_are_told_with_the_nearest_one_and_the_right_word", true, &[]) {
        return;
    }
    let desk = Desk::with_examples();
    let lab = Running::start(&desk, "names", "stock-regions.toml");
    for (command, said) in [
        ("ping vpn-irland", "did you mean vpn-ireland?"),
        ("exec vpn-irelan true", "did you mean vpn-ireland?"),
        ("fail node vpn-irelnd", "did you mean vpn-ireland?"),
        ("fail node ireland", "ireland is a region and no node or client: say `region ireland`"),
        ("fail region vpn-ireland", "vpn-ireland is a node or client and no region: say `node vpn-ireland`"),
        ("heal region vpn-ireland", "say `node vpn-ireland`"),
    ] {
        let ran = lab.lab(command).expect(1);
        assert!(ran.err.contains(said), "nothing about {said:?} in {ran}");
    }
}
