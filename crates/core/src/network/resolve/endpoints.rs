//! Endpoints against everything else: none inside a prefix that is reached through the overlay, none used twice, and
//! no private network with one node.
//!
//! A tunnel's own packets to an endpoint inside a routed prefix would go into the tunnel again. Private endpoints inside
//! a site are how clouds are, and planned for; others are mistakes.

use std::collections::BTreeMap;

use super::Context;
use super::nodes::{PUBLIC, made, written_endpoints};
use super::prefixes::Role;
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::nearest;
use crate::limits::FINDINGS_MAX;
use crate::names::Name;
use crate::network::{Endpoint, Host, Network};

/// Checks the endpoints of all nodes.
pub(super) fn check(context: &Context<'_>, network: &Network, findings: &mut Findings) {
    let mut owners: BTreeMap<Endpoint, (String, Span)> = BTreeMap::new();
    for (node, (name, table)) in network.nodes.iter().zip(&context.names.nodes) {
        for (underlay, text, place) in written_endpoints(&table.value) {
            let label = format!("node {}", name.value);
            let endpoint = made(underlay, text, node.port);
            routed(context, &label, &endpoint, place, findings);
            twice(&mut owners, label, endpoint, place, findings);
        }
    }
    lonely_underlays(context, findings);
}

pub(super) fn routed(context: &Context<'_>, label: &str, endpoint: &Endpoint, place: Span, findings: &mut Findings) {
    let Host::Ip(address) = endpoint.host else { return };
    let through_overlay = |role| matches!(role, Role::Overlay | Role::Links | Role::Site | Role::Client);
    let Some(claim) = context.claims.holding(address, through_overlay) else { return };
    let (node, owner, prefix) = (label.to_owned(), claim.to_string(), claim.prefix);
    // In a cloud a server's private address is inside the site that it is the gateway of. The plan gives hosts that dial
    // it a routing table of their own, which the tunnel's own packets don't use.
    if endpoint.underlay.is_some() && claim.role == Role::Site {
        return;
    }
    let kind = Meaning::EndpointRouted { node, endpoint: endpoint.to_string(), prefix, owner };
    findings.push(Finding::new(kind, place).with_fix("Give the node's address on the internet, or change the prefix."));
}

fn twice(
    owners: &mut BTreeMap<Endpoint, (String, Span)>,
    label: String,
    endpoint: Endpoint,
    place: Span,
    findings: &mut Findings,
) {
    let written = endpoint.to_string();
    let Some((first, earlier)) = owners.insert(endpoint, (label.clone(), place)) else { return };
    let kind = Meaning::EndpointReused { first, second: label, endpoint: written };
    findings.push(
        Finding::new(kind, place)
            .with_related(earlier, "also used here")
            .with_fix("Give each node a port of its own behind a shared address."),
    );
}

/// Private networks that one node alone is on.
fn lonely_underlays(context: &Context<'_>, findings: &mut Findings) {
    let mut users: BTreeMap<&Name, Vec<(&Name, Span)>> = BTreeMap::new();
    for (node, table) in &context.names.nodes {
        let dialled = table.value.endpoints.iter().flat_map(|map| map.value.0.iter().map(|(underlay, _)| underlay));
        let listed = table.value.underlays.iter().flat_map(|list| &list.value);
        for underlay in dialled.chain(listed).filter(|underlay| underlay.value.as_str() != PUBLIC) {
            let of_this = users.entry(&underlay.value).or_default();
            if of_this.last().is_none_or(|(last, _)| *last != &node.value) {
                of_this.push((&node.value, underlay.span));
            }
        }
    }
    for (underlay, nodes) in &users {
        let [(node, place)] = nodes.as_slice() else { continue };
        let others = users.iter().filter(|(_, nodes)| nodes.len() > 1).map(|(name, _)| name.as_str());
        let near = if findings.warnings() < FINDINGS_MAX { nearest(underlay.as_str(), others) } else { None };
        let kind = Meaning::LonelyUnderlay { node: format!("node {node}"), underlay: underlay.to_string() };
        findings.push(Finding::new(kind, *place).with_fix(match near {
            Some(near) => format!("Did you mean {near:?}?"),
            None => "Name it at the other nodes that are on it, or remove it.".to_owned(),
        }));
    }
}
