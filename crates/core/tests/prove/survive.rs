//! Failures: what `survive` says quickly, held against whole plans with the failed links down, proved pair by pair.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use wayleave_core::network::{ElementKind, Network};
use wayleave_core::plan::{Ledger, LinkState, LinkStates, plan};
use wayleave_core::prove::{Element, EndKind, Hosts, Proof, reachability, survive};

use crate::random::{random_network, read};

const ALL: [ElementKind; 3] = [ElementKind::Node, ElementKind::Link, ElementKind::Region];

/// A plan under a failure: failed hosts have no devices.
fn proved(network: &Arc<Network>, failed: &[Element]) -> (Proof, Vec<bool>) {
    let down = |ix: wayleave_core::network::NodeIx| {
        failed.iter().any(|element| match element {
            Element::Node(node) => *node == ix,
            Element::Region(region) => network.node(ix).region == Some(*region),
            Element::Link(_) => false,
        })
    };
    let mut states = LinkStates::default();
    for link in &network.links {
        if down(link.a) || down(link.b) || failed.contains(&Element::Link(*link)) {
            states.set(&network.node(link.a).name, &network.node(link.b).name, LinkState::Down);
        }
    }
    let mut hosts = Hosts::from_plan(&plan(network.clone(), &Ledger::default(), &states).0);
    let gone: Vec<bool> = network.node_numbers().map(down).collect();
    for (host, _) in hosts.hosts.iter_mut().zip(&gone).filter(|(_, gone)| **gone) {
        host.devices.clear();
        host.routes.clear();
        host.addresses.clear();
    }
    (reachability(hosts), gone)
}

/// Pairs that reach each other in one proof and not in another, by names, those of failed nodes left out.
fn lost(before: &Proof, after: &Proof, gone: &[bool]) -> usize {
    let ends = &before.hosts.ends;
    let counts = |end: usize| !ends[end].name.starts_with("LAN of") && !gone.get(end).is_some_and(|gone| *gone);
    let reach = |proof: &Proof, a: usize, b: usize| proof.verdict(a, b).arrives() && proof.verdict(b, a).arrives();
    let isolated = |a: usize, b: usize| before.hosts.is_apart(ends[a].at[0], ends[b].at[0]);
    let pairs = (0..ends.len()).flat_map(|a| (a + 1..ends.len()).map(move |b| (a, b)));
    pairs
        .filter(|(a, b)| counts(*a) && counts(*b) && !isolated(*a, *b))
        .filter(|(a, b)| reach(before, *a, *b) && !reach(after, *a, *b))
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn failures_lose_what_a_whole_plan_loses(seed: u64, pick: usize) {
        let network = random_network(seed);
        let (whole, _) = proved(&network, &[]);
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        let key = |failed: &[Element]| failed.iter().map(|e| e.name(&network)).collect::<Vec<_>>().join("+");
        let survival = survive(&network, &ALL, 2);
        prop_assert_eq!(survival.omitted, 0);
        for loss in &survival.losses {
            told.insert(key(&loss.failed), loss.pairs);
        }
        let nodes = network.node_numbers().map(Element::Node);
        let used = (0..network.regions.len() as u32).map(wayleave_core::network::RegionIx);
        let used = used.filter(|region| network.nodes.iter().any(|node| node.region == Some(*region)));
        let regions: Vec<Element> = used.map(Element::Region).collect();
        let all: Vec<Element> = regions.into_iter().chain(nodes).chain(network.links.iter().copied().map(Element::Link)).collect();
        let second = all[pick % all.len()];
        for element in &all {
            for failed in [vec![*element], vec![*element, second]] {
                let (after, gone) = proved(&network, &failed);
                let expected = lost(&whole, &after, &gone);
                let reversed: Vec<Element> = failed.iter().rev().copied().collect();
                let found = told.get(&key(&failed)).or_else(|| told.get(&key(&reversed))).copied().unwrap_or(0);
                let same = failed.len() == 2 && failed[0] == failed[1];
                prop_assert!(same || found == expected, "without {}: {found}, planned {expected}", key(&failed));
            }
        }
        prop_assert!(whole.hosts.ends.iter().filter(|end| end.kind == EndKind::Node).count() == network.nodes.len());
    }
}

/// The worst losses of a text, one a line.
fn losses(text: &str, kinds: &[ElementKind], depth: usize) -> Vec<String> {
    let network = read(&format!("[network]\nname = \"t\"\nprefixes = [\"10.50.0.0/16\"]\n{text}"));
    let survival = survive(&network, kinds, depth);
    let line = |loss: &wayleave_core::prove::Loss| {
        let failed: Vec<String> = loss.failed.iter().map(|element| element.name(&network)).collect();
        let who: Vec<String> =
            loss.who.iter().map(|(party, lost)| format!("{} {lost}", party.name(&network))).collect();
        format!("{}: {} pairs; {}", failed.join(" + "), loss.pairs, who.join(", "))
    };
    survival.losses.iter().map(line).collect()
}

#[test]
fn who_loses_what_is_told_worst_first() {
    let hub = "[nodes.hub]\nhub = true\nendpoint = \"192.0.2.1\"\n[nodes.a]\n[nodes.b]\n";
    let site = "[nodes.c]\nendpoint = \"192.0.2.3\"\nprefixes = [\"172.16.0.0/24\"]\n";
    let client = "[clients.x]\nvia = [\"hub\"]\n";
    let other = "[nodes.hub2]\nhub = true\nendpoint = \"192.0.2.2\"\n";
    let rows: [(String, &[ElementKind], usize, &[&str]); 5] = [
        (hub.into(), &[ElementKind::Node], 1, &["hub: 1 pairs; a 1, b 1"]),
        (
            hub.into(),
            &[ElementKind::Link],
            1,
            &["link a-hub: 2 pairs; a 2, b 1, hub 1", "link b-hub: 2 pairs; b 2, a 1, hub 1"],
        ),
        (
            format!("{hub}{other}"),
            &[ElementKind::Node, ElementKind::Link],
            1,
            &["link hub-hub2: 1 pairs; hub 1, hub2 1"],
        ),
        (format!("{hub}{other}"), &[ElementKind::Node], 2, &["hub + hub2: 1 pairs; a 1, b 1"]),
        (
            format!("{hub}{other}{site}{client}"),
            &[ElementKind::Node],
            1,
            &[
                "c: 5 pairs; site c 5, a 1, b 1, hub 1, hub2 1, x 1",
                "hub: 5 pairs; x 5, a 1, b 1, c 1, hub2 1, site c 1",
            ],
        ),
    ];
    for (text, kinds, depth, expected) in rows {
        assert_eq!(losses(&text, kinds, depth), expected, "{text}");
    }
}
