//! Rules over BGP sessions: next hops that can be used.
//!
//! Only what a configuration itself says is judged. Whether a nearer router exists is a matter of times, which network files
//! have: see the rules over distances there.

use super::View;
use crate::check::{Finding, Findings, Hazard};
use crate::import::facts::Session;
use crate::import::hosts::{Device, Format, Host, Table};
use crate::import::labels::device_label;
use crate::network::Platform;

/// Prefixes at least this wide stand for everything.
const EVERYTHING_BITS: u8 = 1;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for host in view.hosts {
        for session in &host.facts.sessions {
            next_hop_family(host, session, findings);
            next_hop_self(host, session, findings);
        }
        if !host.facts.sessions.is_empty() {
            host.devices.iter().for_each(|device| routed_beside(host, device, findings));
        }
    }
}

/// Everything is routed into a tunnel over which BGP is to say what goes there.
fn routed_beside(host: &Host, device: &Device, findings: &mut Findings) {
    let is_off = device.table.as_ref().is_some_and(|table| table.value == Table::Off);
    if is_off || !device.brings_routes || device.format == Format::Networkd {
        return;
    }
    let allowed = device.peers.iter().flat_map(|peer| &peer.allowed);
    let Some(wide) = allowed.into_iter().find(|prefix| prefix.value.prefix_len() <= EVERYTHING_BITS) else { return };
    let kind = Hazard::RoutedBesideBgp { device: device_label(host, device), prefix: wide.value.trunc() };
    let fix = match device.platform {
        Platform::Edgeos => format!("set interfaces wireguard {} route-allowed-ips false", device.name),
        _ => "Write Table = off.".to_owned(),
    };
    findings.push(Finding::new(kind, wide.span).with_fix(fix));
}

fn next_hop_family(host: &Host, session: &Session, findings: &mut Findings) {
    let Some(place) = session.v4_routes.filter(|_| session.over_v6 && !session.extended_next_hop) else { return };
    let kind = Hazard::NextHopFamily { host: host.name.clone(), session: session.name.clone() };
    findings.push(
        Finding::new(kind, place)
            .with_fix("BIRD: extended next hop on; in the ipv4 channel. FRR: capability extended-nexthop."),
    );
}

fn next_hop_self(host: &Host, session: &Session, findings: &mut Findings) {
    let has_external = host.facts.sessions.iter().any(|other| other.internal == Some(false));
    if session.internal != Some(true) || session.next_hop_self || !has_external {
        return;
    }
    let kind = Hazard::NextHopSelf { host: host.name.clone(), session: session.name.clone() };
    findings.push(Finding::new(kind, session.place).with_fix("BIRD: next hop self; FRR and EdgeOS: next-hop-self."));
}
