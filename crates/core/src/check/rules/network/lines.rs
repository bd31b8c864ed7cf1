//! Rules over the lines that members are on: sizes of packets, addresses that can't be dialled, NATs that are shared.
//!
//! What a line carries is what the file says of it, or what the internet mostly does. The size of a packet counts with the
//! larger header that any link of the member has.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{View, first};
use crate::check::rules::not_dialable;
use crate::check::{Finding, Findings, Hazard, Span};
use crate::file::{EndpointText, Mtu};
use crate::host::OVERHEAD;
use crate::network::{Endpoint, Host, Node};

/// What a line carries if nothing is said.
const UNDERLAY_MTU: u16 = 1500;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    mtus(view, findings);
    not_dialable_endpoints(view, findings);
    ports_behind_nat(view, findings);
}

fn over_v6(endpoints: &[Endpoint]) -> bool {
    endpoints.iter().any(|endpoint| matches!(endpoint.host, Host::Ip(IpAddr::V6(_))))
}

fn mtus(view: &View<'_>, findings: &mut Findings) {
    // Links to a node that is dialled over IPv6 have the larger header at both ends.
    let mut v6: Vec<bool> = view.network.nodes.iter().map(|node| over_v6(&node.endpoints)).collect();
    let own = v6.clone();
    for link in &view.network.links {
        v6[link.a.at()] |= own[link.b.at()];
        v6[link.b.at()] |= own[link.a.at()];
    }
    for ((node, table), v6) in view.nodes().zip(v6) {
        let region = view.region_table(node);
        let of_region =
            |pick: fn(&crate::file::written::RegionTable) -> Option<&crate::file::Spanned<Mtu>>| region.and_then(pick);
        let line =
            [table.underlay_mtu.as_ref(), of_region(|r| r.underlay_mtu.as_ref()), view.table.underlay_mtu.as_ref()];
        let given = [table.mtu.as_ref(), of_region(|r| r.mtu.as_ref()), view.table.mtu.as_ref()];
        mtu(format!("node {}", node.name), node.mtu, node.place, first(given), first(line), v6, findings);
    }
    for (client, table) in view.clients() {
        let v6 = client.via.iter().any(|via| own[via.at()]);
        let line = first([table.underlay_mtu.as_ref(), view.table.underlay_mtu.as_ref()]);
        let given = first([table.mtu.as_ref(), view.table.mtu.as_ref()]);
        mtu(format!("client {}", client.name), client.mtu, client.place, given, line, v6, findings);
    }
}

fn mtu(
    owner: String,
    mtu: u16,
    place: Span,
    given: Option<(Mtu, Span)>,
    line: Option<(Mtu, Span)>,
    v6: bool,
    findings: &mut Findings,
) {
    let underlay = line.map_or(UNDERLAY_MTU, |(mtu, _)| mtu.0);
    let overhead = OVERHEAD[usize::from(v6)];
    let max = underlay.saturating_sub(overhead);
    if mtu <= max {
        return;
    }
    let family = if v6 { "IPv6" } else { "IPv4" };
    let carrier = "its line".to_owned();
    let kind = Hazard::MtuTooLarge { owner, mtu, max, underlay, carrier, overhead, family };
    let place = given.map_or(place, |(_, span)| span);
    let mut finding = Finding::new(kind, place).with_fix(format!("Write mtu = {}.", underlay - OVERHEAD[1]));
    finding.related.extend(line.map(|(_, span)| (span, "the line".to_owned())));
    findings.push(finding);
}

/// Endpoints as written that are valid everywhere.
fn public_endpoints(table: &crate::file::written::NodeTable) -> impl Iterator<Item = (&EndpointText, Span)> {
    let one = table.endpoint.iter().map(|endpoint| (&endpoint.value, endpoint.span));
    let many =
        table.endpoints.iter().flat_map(|map| &map.value.0).filter(|(underlay, _)| underlay.value.as_str() == "public");
    one.chain(many.flat_map(|(_, list)| list.value.0.iter().map(|endpoint| (&endpoint.value, endpoint.span))))
}

fn not_dialable_endpoints(view: &View<'_>, findings: &mut Findings) {
    for (node, table) in view.nodes() {
        for (endpoint, place) in public_endpoints(table) {
            let Host::Ip(address) = endpoint.host else { continue };
            let Some(what) = not_dialable(address) else { continue };
            let shown =
                Endpoint { underlay: None, host: endpoint.host.clone(), port: endpoint.port.unwrap_or(node.port) };
            let owner = format!("node {}", node.name);
            let kind = Hazard::NotDialable { owner, endpoint: shown.to_string(), what };
            findings.push(Finding::new(kind, place).with_fix(
                "Give the public address, or write it under endpoints with the name of the private network.",
            ));
        }
    }
}

fn ports_behind_nat(view: &View<'_>, findings: &mut Findings) {
    let mut users: BTreeMap<_, (&Node, Span)> = BTreeMap::new();
    for (node, table) in view.nodes() {
        let Some(nat) = &table.nat else { continue };
        let Some((first, place)) = users.insert((&nat.value, node.port), (node, nat.span)) else { continue };
        let kind = Hazard::PortBehindNat {
            first: format!("node {}", first.name),
            second: format!("node {}", node.name),
            nat: nat.value.to_string(),
            port: node.port,
        };
        findings.push(
            Finding::new(kind, nat.span)
                .with_related(place, "also behind it")
                .with_fix("Give each of them a port of its own."),
        );
    }
}
