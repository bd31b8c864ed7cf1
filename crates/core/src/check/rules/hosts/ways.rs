//! Rules over all hosts of an overlay at once: who has no way to whom, and which host all depends on.
//!
//! Hosts belong to one overlay if they are peers of each other, directly or over others. A host that only knows the
//! addresses of its own peers asks for no more, and is not told that it has less.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::pairs::addresses;
use super::{DeviceAt, View};
use crate::check::{Finding, Findings, Hazard};
use crate::import::hosts::Device;
use crate::plan::merge;

/// Names in a finding before it only counts.
const NAMED_MAX: usize = 6;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for overlay in overlays(view) {
        pairs_without_way(view, &overlay, findings);
        single_hub(view, &overlay, findings);
    }
}

/// Devices that are peers of each other, directly or over others.
fn overlays(view: &View<'_>) -> Vec<Vec<DeviceAt>> {
    let all: Vec<DeviceAt> = view.devices().map(|(at, ..)| at).collect();
    let number: BTreeMap<DeviceAt, usize> = all.iter().copied().zip(0..).collect();
    let mut parent: Vec<usize> = (0..all.len()).collect();
    let root = |parent: &mut Vec<usize>, mut at: usize| {
        while parent[at] != at {
            parent[at] = parent[parent[at]];
            at = parent[at];
        }
        at
    };
    for (at, _, device) in view.devices() {
        for other in device.peers.iter().filter_map(|peer| view.other_end(peer)) {
            let (a, b) = (root(&mut parent, number[&at]), root(&mut parent, number[&other]));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut groups: BTreeMap<usize, Vec<DeviceAt>> = BTreeMap::new();
    for (no, at) in all.iter().enumerate() {
        groups.entry(root(&mut parent, no)).or_default().push(*at);
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

/// All that a device is allowed to send to, merged and sorted.
fn reach(device: &Device) -> Vec<IpNet> {
    merge(device.peers.iter().flat_map(|peer| &peer.allowed).map(|prefix| prefix.value.trunc()).collect())
}

fn holds(reach: &[IpNet], address: IpAddr) -> bool {
    // Merged prefixes are apart, so only the last one that begins before the address can hold it.
    let before = reach.partition_point(|prefix| prefix.network() <= address);
    before.checked_sub(1).is_some_and(|at| reach[at].contains(&address))
}

fn pairs_without_way(view: &View<'_>, overlay: &[DeviceAt], findings: &mut Findings) {
    let mut all: Vec<(IpAddr, DeviceAt)> = Vec::new();
    for at in overlay {
        all.extend(addresses(view.device(*at)).map(|address| (address, *at)));
    }
    all.sort_unstable();
    let (mut pairs, mut count, mut place) = (Vec::new(), 0, None);
    for from in overlay {
        let device = view.device(*from);
        let families = [true, false].map(|v4| addresses(device).any(|address| address.is_ipv4() == v4));
        let reach = reach(device);
        if !asks_for_more(view, *from, &reach) {
            continue;
        }
        let own = |(address, at): &&(IpAddr, DeviceAt)| at != from && families[usize::from(address.is_ipv6())];
        let wanted = all.iter().filter(own).count();
        let between = |prefix: &IpNet| {
            let start = all.partition_point(|(address, _)| *address < prefix.network());
            let end = all.partition_point(|(address, _)| *address <= prefix.broadcast());
            all[start..end].iter().filter(own).count()
        };
        let missing = wanted - reach.iter().map(between).sum::<usize>().min(wanted);
        count += missing;
        if missing == 0 || pairs.len() >= NAMED_MAX {
            continue;
        }
        place.get_or_insert(device.place);
        let without = all.iter().filter(own).filter(|(address, _)| !holds(&reach, *address));
        let named = without.map(|(_, to)| format!("from {} to {}", view.label(*from), view.label(*to)));
        pairs.extend(named.take(NAMED_MAX - pairs.len()));
    }
    if count > 0 {
        let kind = Hazard::PairsWithoutWay { pairs, count };
        findings.push(Finding::new(kind, place).with_fix("Allow their ranges for the peer that relays, or link them."));
    }
}

/// Whether a device routes anything but the addresses of its own peers.
fn asks_for_more(view: &View<'_>, at: DeviceAt, reach: &[IpNet]) -> bool {
    let device = view.device(at);
    let direct = device.peers.iter().filter_map(|peer| view.other_end(peer));
    let single = |prefix: &IpNet| prefix.prefix_len() == prefix.max_prefix_len();
    let direct: Vec<IpAddr> = direct.flat_map(|other| addresses(view.device(other)).collect::<Vec<_>>()).collect();
    // A host that nobody else can be reached from is a leaf, even if its network is written with a short length.
    device.peers.len() > 1 || reach.iter().any(|prefix| !single(prefix) || !direct.contains(&prefix.addr()))
}

/// The one host over which others reach each other.
fn single_hub(view: &View<'_>, overlay: &[DeviceAt], findings: &mut Findings) {
    let mut leaves: BTreeMap<DeviceAt, Vec<DeviceAt>> = BTreeMap::new();
    for at in overlay {
        let mut others: Vec<DeviceAt> =
            view.device(*at).peers.iter().filter_map(|peer| view.other_end(peer)).filter(|other| other != at).collect();
        others.dedup();
        if let [hub] = others.as_slice() {
            leaves.entry(*hub).or_default().push(*at);
        }
    }
    for (hub, leaves) in leaves {
        // Leaves that reach somebody over the hub, and not only the hub itself.
        let reach_others = |at: &&DeviceAt| {
            let reach = reach(view.device(**at));
            let others = leaves.iter().filter(|other| other != at);
            others.take(NAMED_MAX).any(|other| addresses(view.device(*other)).any(|address| holds(&reach, address)))
        };
        let cut: Vec<&DeviceAt> = leaves.iter().filter(reach_others).collect();
        if cut.len() < 2 {
            continue;
        }
        let names = cut.iter().take(NAMED_MAX).map(|at| view.label(**at)).collect();
        let kind = Hazard::SingleHub { hub: view.label(hub), names, count: cut.len() };
        findings.push(
            Finding::new(kind, view.device(hub).place)
                .with_fix("Give them a second hub or direct links, or accept it with --accept WL535."),
        );
    }
}
