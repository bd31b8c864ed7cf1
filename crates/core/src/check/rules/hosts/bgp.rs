//! Rules over BGP sessions: next hops that can be used.
//!
//! Only what a configuration itself says is judged. Whether a nearer router exists is a matter of measurement.

use super::View;
use crate::check::{Finding, Findings, Hazard};
use crate::import::facts::Session;
use crate::import::hosts::Host;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for host in view.hosts {
        for session in &host.facts.sessions {
            next_hop_family(host, session, findings);
            next_hop_self(host, session, findings);
        }
    }
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
