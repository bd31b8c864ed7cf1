//! Clients: road warriors, and the nodes they connect to.
//!
//! A client that names no node roams between all entry nodes, if the file has `[entry]`; if not, it goes to every public entry
//! node, or where there is none to every public hub. Port and
//! platform of regions are not for clients: theirs is only a place on the map of round-trip times.

pub(super) mod entry;

use super::Context;
use super::nodes::{device, first, keepalive_s};
use crate::check::{Finding, Findings, Meaning};
use crate::file::Spanned;
use crate::file::written::ClientTable;
use crate::limits::MTU_DEFAULT;
use crate::names::Name;
use crate::network::{Client, FirewallForm, Network, Node, NodeIx, Platform};

/// Resolves all clients.
pub(super) fn resolve(context: &Context<'_>, network: &Network, findings: &mut Findings) -> Vec<Client> {
    let roaming: Vec<NodeIx> = network.entries().collect();
    let everywhere = if roaming.is_empty() { entries(&network.nodes) } else { roaming };
    let clients = &context.names.clients;
    clients.iter().map(|(name, table)| client(context, network, &everywhere, name, &table.value, findings)).collect()
}

fn client(
    context: &Context<'_>,
    network: &Network,
    everywhere: &[NodeIx],
    name: &Spanned<Name>,
    table: &ClientTable,
    findings: &mut Findings,
) -> Client {
    let of_network = context.table;
    let via = match &table.via {
        Some(list) => via(context, &network.nodes, name, &list.value, findings),
        None => everywhere.to_vec(),
    };
    let named_nothing = table.via.as_ref().is_none_or(|list| list.value.is_empty());
    if via.is_empty() && named_nothing && network.entry.is_none() {
        let place = table.via.as_ref().map_or(name.span, |list| list.span);
        let finding = Finding::new(Meaning::NoEntry { client: name.value.to_string() }, place);
        findings.push(finding.with_fix("Give a node entry = true and an endpoint, or name nodes in via."));
    }
    let mut prefixes: Vec<ipnet::IpNet> =
        table.prefixes.iter().flat_map(|list| &list.value).map(|prefix| prefix.value).collect();
    prefixes.sort();
    let platform = first([&table.platform]).unwrap_or(Platform::WgQuick);
    let may_clamp = platform != Platform::App && first([&of_network.firewall]) != Some(FirewallForm::None);
    Client {
        clamps_mss: may_clamp && !prefixes.is_empty(),
        name: name.value.clone(),
        tags: super::nodes::tags(table.tags.as_ref()),
        region: table.region.as_ref().and_then(|region| context.names.region(&region.value, region.span, findings)),
        via,
        roams: table.via.is_none() && network.entry.is_some(),
        platform,
        public_key: table.public_key.as_ref().map(|key| key.value),
        addresses: super::addresses::given(
            &table.address,
            &table.addresses,
            &|| format!("client {}", name.value),
            findings,
        ),
        prefixes,
        mtu: first([&table.mtu, &of_network.mtu]).map_or(MTU_DEFAULT, |mtu| mtu.0),
        keepalive_s: keepalive_s(first([&table.keepalive_s, &of_network.keepalive_s])),
        device: device(first([&table.device, &of_network.device])),
        place: name.span,
    }
}

/// Where clients go that name no node: the public entry nodes, or without any the public hubs, in order of name.
fn entries(nodes: &[Node]) -> Vec<NodeIx> {
    let public = |wanted: fn(&Node) -> bool| -> Vec<NodeIx> {
        let numbered = nodes.iter().enumerate();
        numbered.filter(|(_, node)| wanted(node) && node.is_public()).map(|(at, _)| NodeIx(at as u32)).collect()
    };
    let entries = public(|node| node.entry);
    if entries.is_empty() { public(|node| node.hub) } else { entries }
}

fn via(
    context: &Context<'_>,
    nodes: &[Node],
    name: &Spanned<Name>,
    list: &[Spanned<Name>],
    findings: &mut Findings,
) -> Vec<NodeIx> {
    let mut via = Vec::new();
    for wanted in list {
        let Some(node) = context.names.node(&wanted.value, wanted.span, findings) else { continue };
        if via.contains(&node) {
            let owner = format!("client {}", name.value);
            let kind = Meaning::ListedTwice { list: "via", owner, name: wanted.value.to_string() };
            findings.push(Finding::new(kind, wanted.span).with_fix("Remove it."));
        } else if !nodes[node.at()].is_public() {
            let kind = Meaning::ViaNotPublic { client: name.value.to_string(), node: format!("node {}", wanted.value) };
            findings.push(
                Finding::new(kind, wanted.span)
                    .with_related(nodes[node.at()].place, "the node")
                    .with_fix("Give the node a public endpoint, or name another node."),
            );
        } else {
            via.push(node);
        }
    }
    via
}
