//! A simulator that knows nothing of classes, atoms or tables: it walks single addresses by searching lists.
//!
//! Random networks are planned, then some hosts are broken at random; for every pair of ends the simulator sends packets
//! between all addresses at which any prefix begins or ends, and the proof must say exactly the worst of it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;
use wayleave_core::plan::{Ledger, LinkStates, plan};
use wayleave_core::prove::{
    FilterRule, Host, Hosts, Reason, Route, RouteTo, RpFilter, Rule, TABLE_MAIN, Verdict, reachability,
};

use crate::random::{Dice, random_network, random_states};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    At(u32),
    Dropped(u32, Reason),
    Circles,
}

/// The longest route of a table, given as its length and target.
fn in_table(host: &Host, table: u32, suppress: Option<u8>, address: IpAddr) -> Option<RouteTo> {
    let mut found: Option<(u8, RouteTo)> = None;
    let mut offer = |prefix: IpNet, to| {
        let longer = found.is_none_or(|(length, _)| prefix.prefix_len() > length);
        if prefix.contains(&address) && suppress.is_none_or(|limit| prefix.prefix_len() > limit) && longer {
            found = Some((prefix.prefix_len(), to));
        }
    };
    host.routes.iter().filter(|route| route.table == table).for_each(|route| offer(route.prefix, route.to));
    for (no, device) in host.devices.iter().enumerate().filter(|(_, device)| device.routed_in == Some(table)) {
        device.peers.iter().flat_map(|peer| peer.allowed.iter()).for_each(|p| offer(*p, RouteTo::Device(no as u32)));
    }
    found.map(|(_, to)| to)
}

fn route(host: &Host, source: IpAddr, destination: IpAddr) -> Option<RouteTo> {
    let main = Rule { from: None, table: TABLE_MAIN, suppress: None };
    let mut rules = host.rules.iter().chain([&main]).filter(|rule| rule.from.is_none_or(|from| from.contains(&source)));
    rules.find_map(|rule| in_table(host, rule.table, rule.suppress, destination))
}

/// The peer with the longest prefix; of equal ones the last.
fn owner(hosts: &Hosts, host: u32, device: u32, address: IpAddr) -> Option<usize> {
    let peers = hosts.hosts[host as usize].devices[device as usize].peers.iter().enumerate();
    let lengths = peers.flat_map(|(at, peer)| {
        peer.allowed.iter().filter(|prefix| prefix.contains(&address)).map(move |prefix| (prefix.prefix_len(), at))
    });
    lengths.max().map(|(_, at)| at)
}

fn walk(hosts: &Hosts, from: u32, source: IpAddr, destination: IpAddr) -> (Fate, Vec<u32>) {
    let (mut at, mut visited, mut arrived) = (from, vec![from], false);
    loop {
        let host = &hosts.hosts[at as usize];
        let foreign = arrived || !host.addresses.contains(&source);
        let hit = host.filter.iter().find(|rule| rule.from.contains(&source) && rule.to.contains(&destination));
        if foreign && hit.is_some_and(|rule| !rule.accept) {
            return (Fate::Dropped(at, Reason::Refused), visited);
        }
        if host.addresses.contains(&destination) {
            return (Fate::At(at), visited);
        }
        let forwards = if destination.is_ipv4() { host.forwards_v4 } else { host.forwards_v6 };
        if foreign && !forwards {
            return (Fate::Dropped(at, Reason::NotForwarding), visited);
        }
        let device = match route(host, source, destination) {
            Some(RouteTo::Device(device)) => device,
            Some(RouteTo::Lan) => return (Fate::At(at), visited),
            Some(RouteTo::Nowhere) => return (Fate::Dropped(at, Reason::Nowhere), visited),
            None => return (Fate::Dropped(at, Reason::NoRoute), visited),
        };
        let Some(peer) = owner(hosts, at, device, destination) else {
            return (Fate::Dropped(at, Reason::NoOwner), visited);
        };
        let peer = &host.devices[device as usize].peers[peer];
        let Some((next, entry)) = peer.to else { return (Fate::Dropped(at, Reason::UnknownPeer), visited) };
        let there = &hosts.hosts[next as usize];
        let known = there.devices[entry as usize].peers.iter().position(|other| other.to == Some((at, device)));
        let Some(known) = known else { return (Fate::Dropped(at, Reason::NotKnown), visited) };
        if !peer.dials && !there.devices[entry as usize].peers[known].dials {
            return (Fate::Dropped(at, Reason::NoEndpoint), visited);
        }
        let seen = visited.contains(&next);
        visited.push(next);
        if owner(hosts, next, entry, source) != Some(known) {
            return (Fate::Dropped(next, Reason::Source), visited);
        }
        let own = there.addresses.contains(&source);
        let back = if own { Some(RouteTo::Nowhere) } else { route(there, destination, source) };
        let fits = match there.rp_filter {
            RpFilter::Off => true,
            RpFilter::Loose => own || !matches!(back, None | Some(RouteTo::Nowhere)),
            RpFilter::Strict => back == Some(RouteTo::Device(entry)),
        };
        if !fits {
            return (Fate::Dropped(next, Reason::ReversePath), visited);
        }
        if seen {
            return (Fate::Circles, visited);
        }
        (at, arrived) = (next, true);
    }
}

/// Addresses of an end at which some prefix begins or ends, or next to which it does.
fn probes(hosts: &Hosts, end: usize, all: &[IpNet]) -> Vec<IpAddr> {
    let own = &hosts.ends[end].prefixes;
    let edges = all.iter().chain(own).flat_map(|prefix| {
        let (first, last) = (prefix.network(), prefix.broadcast());
        let step = |address: IpAddr, by: i8| match address {
            IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add_signed(by.into()).into()),
            IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add_signed(by.into()).into()),
        };
        [first, last, step(first, -1), step(last, 1)]
    });
    let mut inside: Vec<IpAddr> = edges.filter(|address| own.iter().any(|prefix| prefix.contains(address))).collect();
    inside.sort();
    inside.dedup();
    inside
}

/// Sends from the first host of an end from which it arrives.
fn send(hosts: &Hosts, from: usize, to: usize, source: IpAddr, destination: IpAddr) -> (Fate, Vec<u32>) {
    let arrives = |(fate, _): &(Fate, Vec<u32>)| matches!(fate, Fate::At(host) if hosts.ends[to].at.contains(host));
    let mut tries = hosts.ends[from].at.iter().map(|host| walk(hosts, *host, source, destination));
    tries.find(arrives).unwrap_or_else(|| walk(hosts, hosts.ends[from].at[0], source, destination))
}

fn judge(hosts: &Hosts, from: usize, to: usize, all: &[IpNet]) -> Verdict {
    let mut worst = Verdict::Nothing;
    let (ours, theirs) = (probes(hosts, from, all), probes(hosts, to, all));
    for source in &ours {
        for destination in theirs.iter().filter(|other| other.is_ipv4() == source.is_ipv4()) {
            let (there, path) = send(hosts, from, to, *source, *destination);
            let (back, way_back) = send(hosts, to, from, *destination, *source);
            let arrived = matches!(there, Fate::At(host) if hosts.ends[to].at.contains(&host));
            let answered = matches!(back, Fate::At(host) if hosts.ends[from].at.contains(&host));
            let apart = hosts.is_apart(hosts.ends[from].at[0], hosts.ends[to].at[0]);
            let verdict = match there {
                _ if apart && arrived => Verdict::NotApart,
                _ if apart => Verdict::Apart,
                Fate::At(_) if arrived && !answered => Verdict::OneWay,
                Fate::At(_) if arrived && path.iter().eq(way_back.iter().rev()) => Verdict::Fine,
                Fate::At(_) if arrived => Verdict::Asymmetric,
                Fate::At(_) => Verdict::Elsewhere,
                Fate::Circles => Verdict::Circles,
                Fate::Dropped(..) => Verdict::Dropped,
            };
            worst = worst.max(verdict);
        }
    }
    worst
}

fn prefix_of(dice: &mut Dice, all: &[IpNet]) -> IpNet {
    let prefix = all[dice.roll(all.len() as u64) as usize];
    match dice.roll(3) {
        0 => prefix.supernet().unwrap_or(prefix),
        1 => prefix
            .subnets((prefix.prefix_len() + 1).min(prefix.max_prefix_len()))
            .map_or(prefix, |mut s| s.next().unwrap_or(prefix)),
        _ => prefix,
    }
}

/// Breaks one thing of one host.
fn break_something(hosts: &mut Hosts, dice: &mut Dice, all: &[IpNet]) {
    let (a, b, chosen) = (prefix_of(dice, all), prefix_of(dice, all), dice.roll(hosts.hosts.len() as u64) as usize);
    let host = &mut hosts.hosts[chosen];
    let peers = host.devices[0].peers.len() as u64;
    let peer = (peers > 0).then(|| dice.roll(peers.max(1)) as usize);
    match (dice.roll(13), peer) {
        (0, _) => host.forwards_v4 = false,
        (1, _) => host.forwards_v6 = !host.forwards_v6,
        (2, _) => host.rp_filter = RpFilter::Strict,
        (3, _) => host.rp_filter = RpFilter::Loose,
        (4, _) => host.filter.push(FilterRule { from: a, to: b, accept: dice.chance(30) }),
        (5, _) => host.routes.push(Route {
            table: if dice.chance(50) { TABLE_MAIN } else { 7 },
            prefix: a,
            to: [RouteTo::Device(0), RouteTo::Lan, RouteTo::Nowhere][dice.roll(3) as usize],
        }),
        (6, _) => host.rules.push(Rule {
            from: dice.chance(60).then_some(b),
            table: 7,
            suppress: dice.chance(30).then_some(16),
        }),
        (7, Some(peer)) => drop(host.devices[0].peers.remove(peer)),
        (8, Some(peer)) => host.devices[0].peers[peer].dials = false,
        (9, Some(peer)) => host.devices[0].peers[peer].to = None,
        (10, Some(peer)) => {
            let kept: Vec<IpNet> = host.devices[0].peers[peer].allowed.iter().skip(1).copied().collect();
            host.devices[0].peers[peer].allowed = Arc::from(kept);
        }
        (_, Some(peer)) => {
            let mut more = host.devices[0].peers[peer].allowed.to_vec();
            more.push(a);
            host.devices[0].peers[peer].allowed = Arc::from(more);
        }
        (_, None) => host.routes.clear(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_proof_says_what_a_simulator_of_single_addresses_says(seed: u64, faults in 0_u64..5) {
        let network = random_network(seed);
        let states = if seed.is_multiple_of(2) { random_states(&network, seed) } else { LinkStates::default() };
        let mut hosts = Hosts::from_plan(&plan(network.clone(), &Ledger::default(), &states).0);
        // What firewalls let through has a naive reader of its own, in the test of policies.
        hosts.hosts.iter_mut().for_each(|host| host.firewall = None);
        let mut dice = Dice(seed ^ 0xbad);
        let mut all: Vec<IpNet> = hosts.ends.iter().flat_map(|end| end.prefixes.clone()).collect();
        all.extend(&network.prefixes);
        (0..faults).for_each(|_| break_something(&mut hosts, &mut dice, &all));
        let peers = hosts.hosts.iter().flat_map(|host| &host.devices).flat_map(|device| &device.peers);
        all.extend(peers.flat_map(|peer| peer.allowed.to_vec()));
        all.extend(hosts.hosts.iter().flat_map(|host| host.routes.iter().map(|route| route.prefix)));
        all.extend(hosts.hosts.iter().flat_map(|host| host.rules.iter().filter_map(|rule| rule.from)));
        all.extend(hosts.hosts.iter().flat_map(|host| host.filter.iter().flat_map(|rule| [rule.from, rule.to])));
        all.sort();
        all.dedup();
        let proof = reachability(hosts.clone());
        for from in 0..hosts.ends.len() {
            for to in (0..hosts.ends.len()).filter(|to| *to != from) {
                let expected = judge(&hosts, from, to, &all);
                let names = (&hosts.ends[from].name, &hosts.ends[to].name);
                prop_assert_eq!(proof.verdict(from, to), expected, "{:?} after {} faults, seed {}", names, faults, seed);
            }
        }
    }
}
