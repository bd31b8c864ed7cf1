//! Assertions of the network file: those that hold say nothing, those that don't say which pairs break them.

use std::sync::Arc;

use wayleave_core::check::Findings;
use wayleave_core::file::load_with;
use wayleave_core::network::resolve::resolve;
use wayleave_core::plan::{Ledger, LinkStates, plan};
use wayleave_core::prove::{Hosts, reachability, refuted};

use crate::random::read;

const NETWORK: &str = "[network]\nname = \"t\"\nprefixes = [\"10.50.0.0/16\"]
[nodes.hub]\nhub = true\nendpoint = \"192.0.2.1\"
[nodes.hub2]\nhub = true\nendpoint = \"192.0.2.2\"
[nodes.a]\ntags = [\"web\"]
[nodes.b]\ntags = [\"db\"]
[clients.x]\nvia = [\"hub\"]
[[isolate]]\nbetween = [[\"a\"], [\"b\"]]
[rtt_ms]\nhub = { a = 10, b = 20, x = 5, hub2 = 30 }\nhub2 = { a = 90, b = 90 }\n";

fn said(findings: &Findings) -> Vec<String> {
    findings.sorted().iter().map(|finding| format!("{} {}", finding.kind.code(), finding.kind)).collect()
}

fn check(assertion: &str, expected: &[&str]) {
    let network = Arc::new(read(&format!("{NETWORK}[[assert]]\n{assertion}\n")));
    let (plan, ..) = plan(network, &Ledger::default(), &LinkStates::default());
    let proof = reachability(Hosts::from_plan(&plan));
    assert_eq!(said(&refuted(&plan, &proof)), expected, "{assertion}");
}

#[test]
fn what_holds_says_nothing_and_what_does_not_says_which_pairs() {
    check("reach = [[\"x\"], [\"*\"]]", &[]);
    check("reach = [[\"a\"], [\"*\"]]", &["WL310 asserted, but not so: a and b don't reach each other"]);
    check("isolate = [[\"tag:web\"], [\"tag:db\"]]", &[]);
    check("isolate = [[\"x\"], [\"tag:db\"]]", &["WL310 asserted, but not so: x and b reach each other"]);
    check("between = [[\"hub\"], [\"a\", \"b\", \"x\"]]\nrtt_ms_max = 20", &[]);
    check(
        "between = [[\"x\"], [\"a\", \"b\"]]\nrtt_ms_max = 20",
        &["WL310 asserted, but not so: x to b takes 25.0 ms"],
    );
    check("between = [[\"x\"], [\"a\", \"b\"]]\nhops_max = 2", &[]);
    check(
        "between = [[\"x\"], [\"a\", \"b\"]]\nhops_max = 1",
        &["WL310 asserted, but not so: x to a takes 2 links, x to b takes 2 links"],
    );
    check("between = [[\"role:hub\"], [\"a\", \"b\"]]\nsurvives = \"any 1 node\"", &[]);
    check("between = [[\"role:hub\"], [\"a\", \"b\"]]\nsurvives = \"any 1 link\"", &[]);
    check(
        "between = [[\"x\"], [\"a\"]]\nsurvives = \"any 1 node\"",
        &["WL310 asserted, but not so: without hub, a loses x"],
    );
    check(
        "between = [[\"hub\"], [\"a\"]]\nsurvives = \"any 2 links\"",
        &[
            "WL310 asserted, but not so: without link hub-hub2 and link a-hub, a loses hub, without link a-hub and link a-hub2, a loses hub",
        ],
    );
}

#[test]
fn assertions_that_make_no_sense_are_findings() {
    let refused = |assertion: &str, expected: &str| {
        let text = format!("{NETWORK}[[assert]]\n{assertion}\n");
        let loaded = load_with("t.toml", |_| Ok(text.as_bytes().to_vec()));
        let mut findings = loaded.findings;
        findings.extend(resolve(&loaded.file).findings);
        let said = said(&findings);
        assert!(said.iter().any(|line| line.contains(expected)), "{assertion}: {said:?}");
    };
    refused("", "it has no claim");
    refused("reach = [[\"a\"]]", "it takes two lists of selectors");
    refused("reach = [[\"a\"], [\"b\"]]\nhops_max = 2", "reach and isolate stand alone");
    refused("survives = \"any 3 nodes\"", "any 3 nodes");
    refused("hops_max = 0", "1");
    refused("reach = [[\"nobody\"], [\"a\"]]", "nobody");
}
