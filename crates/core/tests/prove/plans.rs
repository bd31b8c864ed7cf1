//! Plans hold: every proof of a plan is clean, and says the same as the plan's own paths.

use proptest::prelude::*;
use wayleave_core::plan::{Ledger, LinkStates, Member, plan};
use wayleave_core::prove::{Hosts, Verdict, reachability};

use crate::random::{random_network, random_states};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_proof_of_a_plan_is_clean_and_follows_its_paths(seed: u64, calm: bool) {
        let network = random_network(seed);
        let states = if calm { LinkStates::default() } else { random_states(&network, seed) };
        let (plan, ..) = plan(network.clone(), &Ledger::default(), &states);
        let proof = reachability(Hosts::from_plan(&plan));
        prop_assert!(proof.stray_loops.is_empty());
        prop_assert_eq!(proof.spoofable(), []);
        let members: Vec<Member> = plan.members().collect();
        let node = |member: Member| match member {
            Member::Node(ix) => ix,
            Member::Client(at) => network.clients[at as usize].via[0],
        };
        for (from, a) in members.iter().enumerate() {
            for (to, b) in members.iter().enumerate().filter(|(to, _)| *to != from) {
                let verdict = proof.verdict(from, to);
                let hub = network.node(node(*a)).hub || network.node(node(*b)).hub;
                if network.is_isolated(node(*a), node(*b)) {
                    prop_assert!(verdict == Verdict::Apart || (hub && verdict == Verdict::NotApart), "{verdict:?}");
                    continue;
                }
                let Some(path) = plan.path(*a, *b) else {
                    prop_assert_eq!(verdict, Verdict::Dropped, "{:?} to {:?} without a path", a, b);
                    continue;
                };
                prop_assert_eq!(verdict, Verdict::Fine, "{:?} to {:?}", a, b);
                let walked: Vec<Member> = proof.path(from, to).iter().map(|host| members[*host as usize]).collect();
                prop_assert_eq!(walked, path);
            }
        }
        for end in members.len()..proof.hosts.ends.len() {
            for other in 0..members.len() {
                let there = proof.verdict(other, end);
                if matches!(there, Verdict::Apart | Verdict::NotApart) { continue; }
                let gateway = proof.hosts.ends[end].at[0] as usize;
                let same = gateway == other || plan.path(members[other], members[gateway]).is_some();
                prop_assert_eq!(there.arrives(), same, "{} to {}", proof.hosts.ends[other].name, proof.hosts.ends[end].name);
            }
        }
    }
}
