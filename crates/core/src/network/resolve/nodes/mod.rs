//! Nodes with all defaults filled in, the most specific first: the node's own, its region's, the network's, ours.
//!
//! What comes out has no `Option` that means "not said": a node without endpoints is behind NAT, one without a key has
//! none yet, one without addresses is allocated them by the plan.

pub(super) mod fixed;

use super::Context;
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::written::{List, NodeTable, RegionTable};
use crate::file::{EndpointText, Seconds, Spanned};
use crate::limits::{KEEPALIVE_S_DEFAULT, MTU_DEFAULT, PORT_DEFAULT};
use crate::names::{DeviceName, Name};
use crate::network::{Endpoint, FirewallWish, Node, Platform};

/// The name under which endpoints are valid everywhere.
pub(in crate::network::resolve) const PUBLIC: &str = "public";

/// Device name when the file says nothing.
pub(in crate::network::resolve) const DEVICE_DEFAULT: &str = "wg0";

/// Resolves all nodes.
pub(in crate::network::resolve) fn resolve(context: &Context<'_>, findings: &mut Findings) -> Vec<Node> {
    let nodes = &context.names.nodes;
    nodes.iter().map(|(name, table)| node(context, name, &table.value, findings)).collect()
}

fn node(context: &Context<'_>, name: &Spanned<Name>, table: &NodeTable, findings: &mut Findings) -> Node {
    let region = table.region.as_ref().and_then(|region| context.names.region(&region.value, region.span, findings));
    let nothing = RegionTable::default();
    let of_region = region.map_or(&nothing, |region| &context.names.regions[region.at()].1.value);
    let of_network = context.table;
    let owner = || format!("node {}", name.value);
    let port = first([&table.port, &of_region.port, &of_network.port]).map_or(PORT_DEFAULT, |port| port.0);
    let endpoints = endpoints(table, port, &owner, findings);
    let mut underlays: Vec<Name> = endpoints.iter().filter_map(|endpoint| endpoint.underlay.clone()).collect();
    underlays.extend(table.underlays.iter().flat_map(|list| &list.value).map(|underlay| underlay.value.clone()));
    underlays.sort();
    underlays.dedup();
    Node {
        name: name.value.clone(),
        region,
        tags: tags(table.tags.as_ref()),
        hub: table.hub.as_ref().is_some_and(|hub| hub.value),
        entry: table.entry.as_ref().is_some_and(|entry| entry.value),
        platform: first([&table.platform, &of_region.platform, &of_network.platform]).unwrap_or(Platform::WgQuick),
        public_key: table.public_key.as_ref().map(|key| key.value),
        addresses: super::addresses::given(&table.address, &table.addresses, &owner, findings),
        endpoints,
        underlays,
        lan_addresses: listed(&table.lan_addresses),
        lan_routers: listed(&table.lan_routers),
        port,
        mtu: first([&table.mtu, &of_region.mtu, &of_network.mtu]).map_or(MTU_DEFAULT, |mtu| mtu.0),
        keepalive_s: keepalive_s(first([&table.keepalive_s, &of_region.keepalive_s, &of_network.keepalive_s])),
        device: device(first([&table.device, &of_region.device, &of_network.device])),
        installs_routes: table.install_routes.as_ref().is_none_or(|installs| installs.value),
        firewall: FirewallWish::default(),
        place: name.span,
    }
}

fn listed<T: Clone>(list: &Option<Spanned<List<T>>>) -> Vec<T> {
    list.iter().flat_map(|list| &list.value).map(|item| item.value.clone()).collect()
}

/// Tags, sorted.
pub(in crate::network::resolve) fn tags(given: Option<&Spanned<List<Name>>>) -> Vec<Name> {
    let mut tags: Vec<Name> = given.into_iter().flat_map(|list| &list.value).map(|tag| tag.value.clone()).collect();
    tags.sort();
    tags.dedup();
    tags
}

/// The first value given.
pub(in crate::network::resolve) fn first<T: Clone, const N: usize>(choices: [&Option<Spanned<T>>; N]) -> Option<T> {
    choices.into_iter().flatten().next().map(|spanned| spanned.value.clone())
}

pub(in crate::network::resolve) fn keepalive_s(given: Option<Seconds>) -> u16 {
    given.map_or(KEEPALIVE_S_DEFAULT, |seconds| seconds.0)
}

pub(in crate::network::resolve) fn device(given: Option<DeviceName>) -> DeviceName {
    given.unwrap_or_else(|| DeviceName::new(DEVICE_DEFAULT).expect("the default is a device name"))
}

/// A finding about two keys of which only one may be given.
pub(in crate::network::resolve) fn both(
    owner: String,
    a: (&'static str, Span),
    b: (&'static str, Span),
    findings: &mut Findings,
) {
    let finding = Finding::new(Meaning::Both { owner, a: a.0, b: b.0 }, b.1);
    findings.push(finding.with_related(a.1, "and this").with_fix(format!("Keep one of {} and {}.", a.0, b.0)));
}

fn endpoints(table: &NodeTable, port: u16, owner: &dyn Fn() -> String, findings: &mut Findings) -> Vec<Endpoint> {
    if let (Some(one), Some(many)) = (&table.endpoint, &table.endpoints) {
        both(owner(), ("endpoint", one.span), ("endpoints", many.span), findings);
    }
    written_endpoints(table).into_iter().map(|(underlay, text, _)| made(underlay, text, port)).collect()
}

/// All endpoints of a node as written, with the private network's name and the place: public ones first, then by name
/// of the network, since the order of a table's entries decides nothing.
pub(in crate::network::resolve) fn written_endpoints(table: &NodeTable) -> Vec<(Option<&Name>, &EndpointText, Span)> {
    let mut all: Vec<(Option<&Name>, &EndpointText, Span)> =
        table.endpoint.iter().map(|endpoint| (None, &endpoint.value, endpoint.span)).collect();
    for (underlay, list) in table.endpoints.iter().flat_map(|map| &map.value.0) {
        let underlay = Some(&underlay.value).filter(|name| name.as_str() != PUBLIC);
        all.extend(list.value.0.iter().map(|endpoint| (underlay, &endpoint.value, endpoint.span)));
    }
    all.sort_by_key(|(underlay, ..)| *underlay);
    all
}

/// An endpoint with the node's port filled in.
pub(in crate::network::resolve) fn made(underlay: Option<&Name>, text: &EndpointText, port: u16) -> Endpoint {
    Endpoint { underlay: underlay.cloned(), host: text.host.clone(), port: text.port.unwrap_or(port) }
}
