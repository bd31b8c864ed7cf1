//! Rules over the prefixes of one device: nested ones, ranges with a reputation, families that leak.
//!
//! Default routes are exceptions everywhere: they hold everything, and mean it.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::pairs::unreachable;
use super::{DeviceAt, View};
use crate::check::{Finding, Findings, Hazard, Meaning, Span};
use crate::import::hosts::{Device, Format, Table};
use crate::import::labels::peer_label;
use crate::network::resolve::{common_range, is_private};

/// Prefixes shorter than this are ways to say "everything".
const WIDE_BITS: u8 = 8;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for (at, _, device) in view.devices() {
        nested(view, at, device, findings);
        common_lan(view, at, device, findings);
        public_range(view, at, device, findings);
        if is_routed(device) {
            v6_leak(view, at, device, findings);
            v6_without_address(view, at, device, findings);
        }
    }
}

/// Whether allowed prefixes become routes: wg-quick and EdgeOS make them unless told not to, the others only if told.
fn is_routed(device: &Device) -> bool {
    match (&device.table, device.format) {
        (Some(table), _) => table.value != Table::Off,
        (None, format) => matches!(format, Format::WgQuick | Format::Edgeos),
    }
}

/// An allowed prefix, whose it is, where it stands.
type Owned = (IpNet, usize, Span);

/// All allowed prefixes, each right after those that hold it.
fn sorted(device: &Device) -> Vec<Owned> {
    let peers = device.peers.iter().enumerate();
    let mut all: Vec<Owned> =
        peers.flat_map(|(no, peer)| peer.allowed.iter().map(move |p| (p.value.trunc(), no, p.span))).collect();
    all.sort_by_key(|(prefix, no, _)| (prefix.network(), prefix.prefix_len(), *no));
    all
}

/// Exceptions: a dead one is a warning each, sound ones are a note for each peer they are made from.
fn nested(view: &View<'_>, at: DeviceAt, device: &Device, findings: &mut Findings) {
    let mut open: Vec<Owned> = Vec::new();
    let mut noted = BTreeSet::new();
    for inner in sorted(device) {
        while open.last().is_some_and(|outer| !outer.0.contains(&inner.0)) {
            open.pop();
        }
        let outer = open.iter().rev().find(|outer| outer.1 != inner.1 && outer.0 != inner.0).copied();
        open.push(inner);
        let Some(outer) = outer else { continue };
        let (peer, other) = (peer_label(&device.peers[inner.1]), peer_label(&device.peers[outer.1]));
        let (prefix, wider) = (inner.0, outer.0);
        match unreachable(view, at, &device.peers[inner.1]) {
            Some(why) => {
                let kind = Hazard::DeadDetour { device: view.label(at), prefix, peer, wider, other, why };
                findings.push(
                    Finding::new(kind, inner.2)
                        .with_related(outer.2, "these could be carried")
                        .with_fix("Finish the direct link on both sides, or remove this peer."),
                );
            }
            None if wider.prefix_len() > 0 && noted.insert(outer.1) => {
                let kind = Hazard::AllowedNested { device: view.label(at), prefix, peer, wider, other };
                findings.push(Finding::new(kind, inner.2).with_related(outer.2, "the wider prefix"));
            }
            None => {}
        }
    }
}

/// What a device that dials routes into its tunnel, and may well have at home. Once for each prefix.
fn common_lan(view: &View<'_>, at: DeviceAt, device: &Device, findings: &mut Findings) {
    let is_client = device.port.is_none() && device.format != Format::Dump;
    let mut told = BTreeSet::new();
    let own = device.addresses.iter().map(|address| (address.value.trunc(), view.label(at), address.span));
    let allowed = device
        .peers
        .iter()
        .flat_map(|peer| peer.allowed.iter().map(move |prefix| (prefix.value.trunc(), peer_label(peer), prefix.span)));
    for (prefix, owner, place) in own.chain(allowed) {
        let single = prefix.prefix_len() == prefix.max_prefix_len();
        if single || prefix.prefix_len() <= WIDE_BITS || !told.insert(prefix) {
            continue;
        }
        if let Some((habit, fix)) = common_range(prefix, is_client) {
            findings.push(Finding::new(Meaning::CommonLan { owner, prefix, habit }, place).with_fix(fix));
        }
    }
}

fn public_range(view: &View<'_>, at: DeviceAt, device: &Device, findings: &mut Findings) {
    let told = |owner: String, prefix: IpNet, place: Span| {
        let finding = Finding::new(Hazard::PublicRange { owner, prefix }, place);
        finding.with_fix("Choose a private range, or accept it with --accept WL522 if the addresses are yours.")
    };
    for address in &device.addresses {
        let prefix = if address.value.prefix_len() <= 1 { continue } else { address.value.trunc() };
        if !is_private(prefix) && !is_private(IpNet::from(address.value.addr())) {
            findings.push(told(view.label(at), prefix, address.span));
        }
    }
    for peer in &device.peers {
        let public = || peer.allowed.iter().filter(|prefix| !is_private(prefix.value.trunc()));
        // A default route, also one that was cut in pieces around something, is meant.
        if public().any(|prefix| prefix.value.prefix_len() <= WIDE_BITS) {
            continue;
        }
        if let Some(prefix) = public().next() {
            findings.push(told(peer_label(peer), prefix.value.trunc(), prefix.span));
        }
    }
}

/// The places of a family's default route, or of its two halves.
fn default_route(device: &Device, v4: bool) -> Option<Span> {
    let all =
        || device.peers.iter().flat_map(|peer| &peer.allowed).filter(|prefix| prefix.value.addr().is_ipv4() == v4);
    let whole = all().find(|prefix| prefix.value.prefix_len() == 0);
    let halves: Vec<_> = all().filter(|prefix| prefix.value.prefix_len() == 1).collect();
    whole.or(halves.first().copied().filter(|_| halves.len() >= 2)).map(|prefix| prefix.span)
}

fn v6_leak(view: &View<'_>, at: DeviceAt, device: &Device, findings: &mut Findings) {
    let Some(place) = default_route(device, true) else { return };
    let any_v6 = device
        .peers
        .iter()
        .flat_map(|peer| &peer.allowed)
        .any(|p| p.value.addr().is_ipv6() && p.value.prefix_len() <= 3);
    if any_v6 {
        return;
    }
    let kind = Hazard::V6Leak { device: view.label(at) };
    findings.push(Finding::new(kind, place).with_fix("Add ::/0 to AllowedIPs, and an IPv6 address to the device."));
}

fn v6_without_address(view: &View<'_>, at: DeviceAt, device: &Device, findings: &mut Findings) {
    if device.addresses.is_empty() || device.addresses.iter().any(|address| address.value.addr().is_ipv6()) {
        return;
    }
    let v6 = device.peers.iter().flat_map(|peer| &peer.allowed).find(|prefix| prefix.value.addr().is_ipv6());
    let Some(prefix) = v6 else { return };
    let kind = Hazard::V6WithoutAddress { device: view.label(at), prefix: prefix.value.trunc() };
    findings.push(
        Finding::new(kind, prefix.span).with_fix("Give the device an IPv6 address, or leave the IPv6 prefixes out."),
    );
}
