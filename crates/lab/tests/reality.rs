//! What `prove` says is what packets do: random networks in namespaces, as planned, with mistakes on their hosts, and with
//! links and nodes that fail. Each ordered pair of addresses is sent a datagram; its arrival and the answer's are compared
//! with the proof, so nothing may arrive that the proof drops (a false alarm), and nothing be lost that it delivers (a miss).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "core's bans are not this crate's; packets take real time"
)]

#[path = "reality/mistakes.rs"]
mod mistakes;
#[path = "reality/packets.rs"]
mod packets;
#[path = "../../core/tests/random/mod.rs"]
mod random;

mod bed;

use std::sync::Arc;
use std::time::Instant;

use bed::{describe, turn};
use mistakes::Mistake;
use packets::{Count, Places, compare};
use random::{Dice, random_network};
use wayleave_core::names::Name;
use wayleave_core::network::Network;
use wayleave_core::plan::{Ledger, LinkStates, Member, NodePlan};
use wayleave_core::prove::Hosts;
use wayleave_lab::scenario::NatChoice;
use wayleave_lab::session::{Fault, Lab, LabOptions, Target};
use wayleave_lab::wire::NatMapping;

/// Networks, and nodes of each.
const NETWORKS: usize = 20;
const NODES: usize = 12;
/// Labs that run side by side, each in a thread of its own.
const AT_ONCE: usize = 2;

/// Random networks of so many nodes, by their seeds.
fn networks() -> Vec<(u64, Arc<Network>)> {
    let all = (0_u64..).map(|seed| (seed, random_network(seed)));
    all.filter(|(_, network)| network.nodes.len() == NODES).take(NETWORKS).collect()
}

fn options(seed: u64) -> LabOptions {
    LabOptions {
        name: Name::new(&format!("reality-{}-{seed}", std::process::id())).unwrap(),
        jitter: std::time::Duration::ZERO,
        loss: 0.0,
        rate_bit_per_s: None,
        nat: NatChoice::Nat,
        nat_mapping: NatMapping::EndpointIndependent,
        nat_timeout: std::time::Duration::from_secs(120),
        agents: None,
        routers: None,
        told: std::collections::BTreeMap::new(),
        client_program: None,
        program: std::path::PathBuf::new(),
    }
}

/// What is compared in one network, step by step. Returns how many ways were, and each disagreement.
fn examine(seed: u64, network: &Network) -> (Count, Vec<String>) {
    let mut dice = Dice(seed ^ 0x7ea1);
    let mut lab = Lab::up(network, &Ledger::default(), &options(seed), &mut |_| {}).map_err(describe).unwrap();
    // Half of the networks start with links that nobody can dial.
    let mut mistakes: Vec<Mistake> = Vec::new();
    if seed.is_multiple_of(2) {
        mistakes.extend(Mistake::undialled(&lab.plan, &mut dice));
    }
    let mut count = Count::default();
    let mut wrong = Vec::new();
    let mut step = |lab: &mut Lab, what: &str, mistakes: &[Mistake], cut: &[(Member, Member)]| {
        let mut hosts = Hosts::from_plan(&lab.plan);
        hosts.hosts.iter_mut().for_each(|host| host.firewall = None);
        mistakes::in_model(&lab.plan, mistakes, &mut hosts);
        mistakes::cut(&lab.plan, &mut hosts, cut);
        let (compared, found) = compare(&Places::of(lab, &hosts), hosts);
        count += compared;
        wrong.extend(found.into_iter().map(|line| format!("seed {seed}, {what} {mistakes:?}: {line}")));
    };
    tell(&mut lab, &mistakes);
    lab.wake_links(&mut |_, _| {}).unwrap();
    step(&mut lab, "as planned", &mistakes, &[]);
    for _ in 0..1 + dice.roll(3) {
        mistakes.extend(Mistake::live(&lab.plan, &mut dice));
    }
    tell(&mut lab, &mistakes);
    mistakes.iter().for_each(|mistake| mistake.on_machine(&lab));
    step(&mut lab, "with mistakes", &mistakes, &[]);
    let cut = fail(&mut lab, &mut dice);
    step(&mut lab, "with mistakes and a failure", &mistakes, &cut);
    (count, wrong)
}

fn tell(lab: &mut Lab, mistakes: &[Mistake]) {
    let plan = lab.plan.clone();
    let mut change = |member, part: &mut NodePlan| {
        // Addresses and routes alone: isolated hubs have firewalls, which the lab's tests of policies try.
        part.firewall = None;
        mistakes::on_host(&plan, mistakes, member, part);
    };
    lab.apply_changed(&LinkStates::default(), &mut change).map_err(describe).unwrap();
}

/// Cuts a link, or everything that a node has. Returns the pairs between which nothing passes.
fn fail(lab: &mut Lab, dice: &mut Dice) -> Vec<(Member, Member)> {
    let plan = &lab.plan;
    let links: Vec<(Member, Member)> = plan
        .members()
        .flat_map(|a| plan.peers(a).iter().map(move |peer| (a, peer.who)))
        .filter(|(a, b)| a < b)
        .collect();
    if links.is_empty() {
        return links;
    }
    let (a, b) = links[dice.roll(links.len() as u64) as usize];
    let name = |member: Member| plan.name(member).to_string();
    let (target, cut) = if dice.chance(50) {
        (Target::Between(name(a), name(b)), vec![(a, b)])
    } else {
        (Target::Node(name(a)), links.into_iter().filter(|link| link.0 == a || link.1 == a).collect())
    };
    lab.fail(Fault { target, one_way: false, loss: None }).unwrap();
    cut
}

#[test]
fn packets_do_what_the_proof_says_on_every_pair_of_twenty_networks() {
    let Some(_turn) = turn("packets_do_what_the_proof_says") else { return };
    let begin = Instant::now();
    let all = networks();
    let results: Vec<(Count, Vec<String>)> = std::thread::scope(|scope| {
        let share = |part: usize| {
            let mine: Vec<_> = all.iter().skip(part).step_by(AT_ONCE).cloned().collect();
            scope.spawn(move || mine.iter().map(|(seed, network)| examine(*seed, network)).collect::<Vec<_>>())
        };
        let threads: Vec<_> = (0..AT_ONCE).map(share).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut count = Count::default();
    results.iter().for_each(|(one, _)| count += *one);
    let wrong: Vec<&String> = results.iter().flat_map(|(_, wrong)| wrong).collect();
    println!("{count:?} of {} networks compared in {:.0} s", all.len(), begin.elapsed().as_secs_f64());
    assert!(count.ways > 3 * NETWORKS * NODES * (NODES - 1), "too few ways were compared: {count:?}");
    assert!(count.lost > count.ways / 50 && count.one_way > 50, "too little was broken: {count:?}");
    assert!(wrong.is_empty(), "{} ways are not as proved:\n{wrong:#?}", wrong.len());
}

#[test]
fn what_only_the_model_or_only_the_hosts_have_is_a_disagreement() {
    let Some(_turn) = turn("what_only_the_model_or_only_the_hosts_have") else { return };
    let text = "[network]\nname = \"three\"\nprefixes = [\"10.0.0.0/24\"]\n\
                [nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\n[nodes.b]\n[nodes.c]\n\
                [[links]]\nfrom = [\"*\"]\nto = [\"a\"]\n";
    let network = random::read(text);
    let mut lab = Lab::up(&network, &Ledger::default(), &options(1), &mut |_| {}).map_err(describe).unwrap();
    tell(&mut lab, &[]);
    lab.wake_links(&mut |_, _| {}).unwrap();
    let hub = lab.plan.members().next().unwrap();
    let mistake = [Mistake::NotForwarding(hub)];
    let whole = Hosts::from_plan(&lab.plan);
    let mut broken = whole.clone();
    mistakes::in_model(&lab.plan, &mistake, &mut broken);
    let wrong = |lab: &Lab, hosts: &Hosts| compare(&Places::of(lab, hosts), hosts.clone()).1.len();
    assert_eq!((wrong(&lab, &whole), wrong(&lab, &broken)), (0, 2), "b and c reach each other");
    tell(&mut lab, &mistake);
    assert_eq!((wrong(&lab, &whole), wrong(&lab, &broken)), (2, 0), "they don't");
}
