//! Prefixes that members give to peers as written, instead of as planned.
//!
//! Whether packets arrive is for `prove` to say; here it is only refused what no device could have.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Context;
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::written::List;
use crate::file::{Map, Spanned};
use crate::names::Name;
use crate::network::{Fixed, Network, NodeIx, Place};

/// One member's table.
type Table<'f> = Option<&'f Spanned<Map<List<IpNet>>>>;

/// Resolves all of them, sorted by member and peer.
pub(in crate::network::resolve) fn resolve(
    context: &Context<'_>,
    network: &Network,
    findings: &mut Findings,
) -> Vec<Fixed> {
    let nodes = context.names.nodes.iter().map(|(name, table)| ("node", &name.value, table.value.allowed.as_ref()));
    let clients =
        context.names.clients.iter().map(|(name, table)| ("client", &name.value, table.value.allowed.as_ref()));
    let mut all = Vec::new();
    for (kind, name, table) in nodes.chain(clients) {
        all.extend(of_member(context, network, &format!("{kind} {name}"), name, table, findings));
    }
    all.sort_by(|a, b| (&a.of, &a.peer).cmp(&(&b.of, &b.peer)));
    all
}

fn of_member(
    context: &Context<'_>,
    network: &Network,
    owner: &str,
    of: &Name,
    table: Table<'_>,
    findings: &mut Findings,
) -> Vec<Fixed> {
    let mut owners: BTreeMap<IpNet, (&Name, Span)> = BTreeMap::new();
    let mut fixed = Vec::new();
    for (peer, list) in table.into_iter().flat_map(|table| &table.value.0) {
        let Some(place) = context.names.place(&peer.value, peer.span, findings) else { continue };
        if !are_peers(network, of, place) {
            let kind = Meaning::FixedStranger { owner: owner.to_owned(), peer: peer.value.to_string() };
            findings.push(Finding::new(kind, peer.span).with_fix("Link them, or remove the entry."));
            continue;
        }
        for prefix in &list.value {
            let Some((first, at)) = owners.insert(prefix.value, (&peer.value, prefix.span)) else { continue };
            let (first, second) = (first.to_string(), peer.value.to_string());
            let kind = Meaning::FixedTwice { owner: owner.to_owned(), prefix: prefix.value, first, second };
            findings.push(
                Finding::new(kind, prefix.span).with_related(at, "given here first").with_fix("Keep one of them."),
            );
        }
        let mut allowed: Vec<IpNet> = list.value.iter().map(|prefix| prefix.value).collect();
        allowed.sort();
        fixed.push(Fixed { of: of.clone(), peer: peer.value.clone(), allowed });
    }
    fixed
}

/// Whether a member has something named as its peer.
fn are_peers(network: &Network, member: &Name, other: Place) -> bool {
    let dials = |client: usize, node: NodeIx| network.clients[client].via.contains(&node);
    let client = |name: &Name| network.clients.binary_search_by(|client| client.name.cmp(name)).ok();
    match (network.find_node(member), other) {
        (Some(a), Place::Node(b)) => network.links.iter().any(|link| (link.a, link.b) == (a.min(b), a.max(b))),
        (Some(node), Place::Client(at)) => dials(at as usize, node),
        (None, Place::Node(node)) => client(member).is_some_and(|at| dials(at, node)),
        _ => false,
    }
}
