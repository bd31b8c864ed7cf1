//! Rules over two hosts that are peers: each knows the other, one can dial, sources are allowed, ports agree.
//!
//! They need both hosts' files. A peer whose file was not read is left alone: nothing can be told about it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{DeviceAt, View};
use crate::check::{Finding, Findings, Hazard};
use crate::import::hosts::{Device, Peer};

/// Who has an entry for whom: both devices, by their places.
type Entries<'r> = BTreeMap<(DeviceAt, DeviceAt), &'r Peer>;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    let entries = entries(view);
    for ((from, to), peer) in &entries {
        let Some(back) = entries.get(&(*to, *from)) else {
            one_sided(view, *from, *to, peer, findings);
            continue;
        };
        source_refused(view, *from, *to, back, findings);
        if from < to {
            nobody_dials(view, (*from, peer), (*to, back), findings);
        }
    }
    listen_ports(view, &entries, findings);
}

fn entries<'r>(view: &View<'r>) -> Entries<'r> {
    let mut entries = Entries::new();
    // A template is of hosts that others know each by its own key.
    for (at, _, device) in view.devices().filter(|(.., device)| !device.is_template()) {
        for peer in &device.peers {
            if let Some(other) = view.other_end(peer).filter(|other| *other != at) {
                entries.entry((at, other)).or_insert(peer);
            }
        }
    }
    entries
}

fn one_sided(view: &View<'_>, from: DeviceAt, to: DeviceAt, peer: &Peer, findings: &mut Findings) {
    // A script may be read in part: its peers come from loops and commands.
    let kind = Hazard::OneSided { device: view.label(from), peer: view.label(to) };
    findings.push(
        Finding::new(kind, peer.place)
            .with_related(view.device(to).place, "an entry is missing here")
            .with_fix("Add the missing [Peer] there, or remove this one."),
    );
}

fn source_refused(view: &View<'_>, from: DeviceAt, to: DeviceAt, back: &Peer, findings: &mut Findings) {
    for address in &view.device(from).addresses {
        let source = address.value.addr();
        if back.allowed.iter().any(|prefix| prefix.value.contains(&source)) {
            continue;
        }
        let same_family =
            |prefix: &&crate::file::Spanned<ipnet::IpNet>| prefix.value.addr().is_ipv4() == source.is_ipv4();
        let place = back.allowed.iter().find(same_family).map_or(back.place, |prefix| prefix.span);
        let kind = Hazard::SourceRefused { device: view.label(from), peer: view.label(to), address: source };
        findings.push(
            Finding::new(kind, place)
                .with_related(address.span, "its address")
                .with_fix(format!("Add {} to AllowedIPs there.", ipnet::IpNet::from(source))),
        );
    }
}

fn nobody_dials(view: &View<'_>, (a, at_a): (DeviceAt, &Peer), (b, at_b): (DeviceAt, &Peer), findings: &mut Findings) {
    if at_a.endpoint.is_some() || at_b.endpoint.is_some() {
        return;
    }
    let kind = Hazard::NobodyDials { a: view.label(a), b: view.label(b) };
    findings.push(
        Finding::new(kind, at_a.place)
            .with_related(at_b.place, "and here")
            .with_fix("Add an Endpoint on one side, and PersistentKeepalive = 25 there if it is behind NAT."),
    );
}

/// Each dialled device once: whether it has a port, and whether that is the one dialled.
fn listen_ports(view: &View<'_>, entries: &Entries<'_>, findings: &mut Findings) {
    let mut told = std::collections::BTreeSet::new();
    for ((_, to), peer) in entries {
        let Some(endpoint) = peer.endpoint.as_ref().filter(|_| !peer.endpoint_is_learnt) else { continue };
        let (device, dialled) = (view.device(*to), endpoint.value.port);
        let fits = device.port.as_ref().is_some_and(|port| port.value == dialled);
        if fits || !told.insert(*to) {
            continue;
        }
        let finding = match &device.port {
            Some(port) => {
                let kind = Hazard::OtherPort { device: view.label(*to), dialled, port: port.value };
                Finding::new(kind, endpoint.span).with_related(port.span, "it listens here")
            }
            None => {
                let kind = Hazard::NoListenPort { device: view.label(*to), port: dialled };
                Finding::new(kind, device.place)
                    .with_related(endpoint.span, "it is dialled here")
                    .with_fix(format!("Write ListenPort = {dialled}."))
            }
        };
        findings.push(finding);
    }
}

/// Whether packets that a device sends to a peer can get there at all; if not, why.
pub(super) fn unreachable(view: &View<'_>, from: DeviceAt, peer: &Peer) -> Option<&'static str> {
    let other = view.other_end(peer).filter(|other| *other != from)?;
    let Some(back) = view.entry(other, from) else { return Some("it has no entry for this host") };
    (peer.endpoint.is_none() && back.endpoint.is_none()).then_some("neither of the two has an endpoint of the other")
}

/// A device's own addresses.
pub(super) fn addresses(device: &Device) -> impl Iterator<Item = IpAddr> {
    device.addresses.iter().map(|address| address.value.addr())
}
