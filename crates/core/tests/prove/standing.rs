//! Failures of configurations as they are: each part taken out of the hosts, and everything proved anew.

use proptest::prelude::*;
use wayleave_core::plan::{Ledger, LinkStates, plan};
use wayleave_core::prove::{Hosts, Part, Proof, reachability};

use crate::random::random_network;

/// The hosts without a part.
fn without(hosts: &Hosts, part: Part) -> Hosts {
    let mut hosts = hosts.clone();
    let drop_peers = |hosts: &mut Hosts, at: u32, to: u32| {
        let devices = &mut hosts.hosts[at as usize].devices;
        devices.iter_mut().flat_map(|device| &mut device.peers).for_each(|peer| {
            if peer.to.is_some_and(|(host, _)| host == to) {
                peer.to = None;
            }
        });
    };
    match part {
        Part::Link(a, b) => {
            drop_peers(&mut hosts, a, b);
            drop_peers(&mut hosts, b, a);
        }
        Part::Host(down) => {
            (0..hosts.hosts.len() as u32).for_each(|other| drop_peers(&mut hosts, other, down));
            let host = &mut hosts.hosts[down as usize];
            host.addresses.clear();
            host.routes.clear();
            host.devices.iter_mut().for_each(|device| device.peers.clear());
        }
    }
    hosts
}

fn reach(proof: &Proof, a: usize, b: usize) -> bool {
    use wayleave_core::prove::Verdict::OneWay;
    [proof.verdict(a, b), proof.verdict(b, a)].iter().all(|verdict| verdict.arrives() && *verdict != OneWay)
}

/// Pairs that are lost, by proving again; ends that are wholly down don't count.
fn lost(before: &Proof, failed: &[Part]) -> usize {
    let hosts = failed.iter().fold(before.hosts.clone(), |hosts, part| without(&hosts, *part));
    let after = reachability(hosts);
    let down = |host: &u32| failed.contains(&Part::Host(*host));
    let ends = &before.hosts.ends;
    let stands = |end: usize| !ends[end].at.iter().all(down);
    let pairs = (0..ends.len()).flat_map(|a| (a + 1..ends.len()).map(move |b| (a, b)));
    pairs.filter(|(a, b)| stands(*a) && stands(*b) && reach(before, *a, *b) && !reach(&after, *a, *b)).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_stands_is_what_a_proof_without_the_failed_parts_says(seed: u64) {
        let network = random_network(seed);
        let proof = reachability(Hosts::from_plan(&plan(network, &Ledger::default(), &LinkStates::default()).0));
        let standing = proof.standing(1);
        for host in 0..proof.hosts.hosts.len() as u32 {
            let told = standing.failures.iter().find(|failure| failure.failed == [Part::Host(host)]);
            prop_assert_eq!(told.map_or(0, |failure| failure.pairs), lost(&proof, &[Part::Host(host)]), "host {}", host);
        }
        for failure in &standing.failures {
            prop_assert_eq!(failure.pairs, lost(&proof, &failure.failed), "{:?}", failure.failed);
        }
        for failure in proof.standing(2).failures.iter().filter(|failure| failure.failed.len() == 2).take(20) {
            prop_assert_eq!(failure.pairs, lost(&proof, &failure.failed), "{:?}", failure.failed);
        }
    }
}
