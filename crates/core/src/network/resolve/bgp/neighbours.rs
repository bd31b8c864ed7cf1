//! Foreign routers: defaults filled in, addresses held against each other, and nothing twice at one node.
//!
//! A neighbour's half is not ours to see, so that what is wrong between the two shows here or nowhere.

use std::collections::BTreeMap;
use std::net::IpAddr;

use blake2::{Blake2s256, Digest};
use ipnet::IpNet;

use super::super::Context;
use super::super::nodes::{first, made};
use super::{asn_is_usable, dn42};
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::Spanned;
use crate::file::written::NeighbourTable;
use crate::keys::PublicKey;
use crate::limits::ROUTES_DEFAULT;
use crate::names::{DeviceName, Name};
use crate::network::{Exports, LineClass, Neighbour, Network, Node, NodeIx, Platform, PrefixRange, Profile, Sessions};

/// What devices of neighbours are called, before the neighbour's name.
const DEVICE_PREFIX: &str = "wgn-";
/// Bytes of a device's name.
const DEVICE_BYTES: usize = 15;
/// The longest line for BFD: a packet each 300 ms, and the fifth that is missing ends the session.
const BFD_MS_MAX: f64 = 30.0;

/// All neighbours whose node is known, sorted by name.
pub(super) fn resolve(context: &Context<'_>, network: &Network, findings: &mut Findings) -> Vec<Neighbour> {
    let mut all: Vec<Neighbour> = Vec::new();
    for (name, table) in &context.names.neighbours {
        let label = format!("neighbour {}", name.value);
        let Some(node) = table.value.node.as_ref() else { continue };
        let Some(node) = context.names.node(&node.value, node.span, findings) else { continue };
        let Some(key) = table.value.public_key.as_ref() else { continue };
        let Some(neighbour) = neighbour(network, node, name, &table.value, key.value, findings) else { continue };
        endpoint_is_outside(context, &label, &neighbour, &table.value, findings);
        key_is_its_own(network, &label, *key, "the neighbour's own public key, which its operator tells", findings);
        if let Some(own) = table.value.own_public_key {
            key_is_its_own(network, &label, own, "the public half of a key for this neighbour alone", findings);
        }
        all.push(neighbour);
    }
    twice_at_a_node(context, network, &all, findings);
    all
}

fn neighbour(
    network: &Network,
    node: NodeIx,
    name: &Spanned<Name>,
    table: &NeighbourTable,
    public_key: PublicKey,
    findings: &mut Findings,
) -> Option<Neighbour> {
    let bgp = network.bgp.as_ref()?;
    let (label, at) = (format!("neighbour {}", name.value), network.node(node));
    let is_dn42 = bgp.profile == Some(Profile::Dn42);
    let asn = table.asn.as_ref().map_or(1, |asn| asn.value.0);
    asn_is_usable(&label, asn, table.asn.as_ref().map_or(name.span, |asn| asn.span), findings);
    let port = port(table, asn, is_dn42, &label, name.span, findings);
    let (own_addresses, addresses) = addresses(table, bgp.asn, asn, is_dn42);
    let sessions = first([&table.sessions]).unwrap_or_else(|| by_addresses(&addresses, is_dn42));
    let endpoint = table.endpoint.as_ref().map(|endpoint| made(None, &endpoint.value, port));
    if endpoint.is_none() && !at.is_public() {
        let kind = Meaning::NoEndpoint { a: label.clone(), b: format!("node {}", at.name) };
        findings.push(
            Finding::new(kind, name.span).with_related(at.place, "the node").with_fix("Give one of them an endpoint."),
        );
    }
    let accept = match &table.accept {
        Some(list) => list.value.iter().map(|prefix| PrefixRange::within(prefix.value)).collect(),
        None if is_dn42 => dn42::ranges(),
        None => {
            let finding = Finding::new(Meaning::AcceptsNothing { neighbour: name.value.to_string() }, name.span);
            findings.push(
                finding.with_fix("Write accept = [...], the prefixes that it may announce, and all inside them."),
            );
            Vec::new()
        }
    };
    let keepalive_s = if endpoint.is_some() && !at.is_public() { at.keepalive_s } else { 0 };
    let neighbour = Neighbour {
        name: name.value.clone(),
        node,
        asn,
        public_key,
        own_public_key: first([&table.own_public_key]),
        preshared: first([&table.preshared]).unwrap_or(false),
        endpoint,
        port,
        device: first([&table.device]).unwrap_or_else(|| device(&name.value)),
        mtu: first([&table.mtu]).map_or(at.mtu, |mtu| mtu.0),
        keepalive_s: first([&table.keepalive_s]).map_or(keepalive_s, |seconds| seconds.0),
        own_addresses,
        addresses,
        sessions,
        accept,
        max_prefixes: first([&table.max_prefixes]).map_or(ROUTES_DEFAULT, |routes| routes.0),
        export: first([&table.export]).unwrap_or(Exports::Own),
        bfd: first([&table.bfd]).unwrap_or(false),
        line: LineClass::new(
            first([&table.latency_ms]).map(|ms| ms.0),
            first([&table.bandwidth_mbit]).map(|rate| rate.0),
        ),
        place: name.span,
    };
    addresses_fit(&label, &neighbour, table, findings);
    bfd_fits(&label, table, findings);
    Some(neighbour)
}

/// The port, or 0 where none is known.
fn port(table: &NeighbourTable, asn: u32, is_dn42: bool, label: &str, place: Span, findings: &mut Findings) -> u16 {
    match first([&table.port]) {
        Some(port) => port.0,
        None if is_dn42 => dn42::port(asn),
        None => {
            let problem = "it has no port: the node's own device has a port of its own, and so has every neighbour's";
            let kind = Meaning::NeighbourUnfit { neighbour: label.to_owned(), problem: problem.to_owned() };
            findings.push(Finding::new(kind, place).with_fix("Write port = ..., on which our node listens for it."));
            0
        }
    }
}

/// Both sides' addresses, as written or by the profile.
fn addresses(table: &NeighbourTable, own: u32, theirs: u32, is_dn42: bool) -> (Vec<IpNet>, Vec<IpAddr>) {
    let written = |net: &Spanned<crate::file::InterfaceAddress>| net.value.0;
    let mut ours: Vec<IpNet> = table.own_addresses.iter().flat_map(|list| &list.value).map(written).collect();
    let mut others: Vec<IpAddr> = table.addresses.iter().flat_map(|list| &list.value).map(|a| a.value).collect();
    if is_dn42 && table.own_addresses.is_none() && own != theirs {
        ours.push(IpNet::new_assert(dn42::link_local(own), 64));
    }
    if is_dn42 && table.addresses.is_none() && own != theirs {
        others.push(dn42::link_local(theirs));
    }
    ours.sort();
    others.sort();
    (ours, others)
}

/// The sessions that addresses allow.
fn by_addresses(addresses: &[IpAddr], is_dn42: bool) -> Sessions {
    let has = |v4: bool| addresses.iter().any(|address| address.is_ipv4() == v4);
    match (has(true), has(false)) {
        (true, true) => Sessions::Both,
        (true, false) => Sessions::V4,
        (false, true) if is_dn42 => Sessions::ExtendedNextHop,
        (false, true) => Sessions::V6,
        (false, false) => Sessions::V4,
    }
}

/// `wgn-NAME`; of a long name the beginning, and digits by which it differs from others that begin alike.
fn device(name: &Name) -> DeviceName {
    let whole = format!("{DEVICE_PREFIX}{name}");
    let digest = Blake2s256::digest(name.as_str());
    let cut = || format!("{}-{:02x}{:02x}", &whole[..DEVICE_BYTES - 5], digest[0], digest[1]);
    let text = if whole.len() <= DEVICE_BYTES { whole.clone() } else { cut() };
    DeviceName::new(&text).expect("a prefix of a name, which is ASCII, and hexadecimal digits are a device's name")
}

/// Holds addresses and sessions against each other.
fn addresses_fit(label: &str, neighbour: &Neighbour, table: &NeighbourTable, findings: &mut Findings) {
    let place = table.addresses.as_ref().map_or(neighbour.place, |list| list.span);
    let mut unfit = |problem: String, fix: &str| {
        let kind = Meaning::NeighbourUnfit { neighbour: label.to_owned(), problem };
        findings.push(Finding::new(kind, place).with_fix(fix.to_owned()));
    };
    for (is_v4, family) in [(true, "IPv4"), (false, "IPv6")] {
        let ours: Vec<&IpNet> = neighbour.own_addresses.iter().filter(|net| net.addr().is_ipv4() == is_v4).collect();
        let theirs: Vec<&IpAddr> = neighbour.addresses.iter().filter(|address| address.is_ipv4() == is_v4).collect();
        if theirs.len() > 1 {
            unfit(format!("it has two {family} addresses, and one session has one"), "Keep one of them.");
        }
        let needed = match neighbour.sessions {
            Sessions::Both => true,
            Sessions::V4 => is_v4,
            Sessions::V6 | Sessions::ExtendedNextHop => !is_v4,
        };
        if needed && (ours.is_empty() || theirs.is_empty()) {
            let side = if ours.is_empty() { "our node has" } else { "it has" };
            let fix = "Write own_addresses = [\"ADDRESS/LENGTH\"], ours, and addresses = [\"ADDRESS\"], its own.";
            unfit(format!("its session is over {family}, and {side} no such address on their device"), fix);
        }
        for address in theirs {
            if let Some(own) = ours.iter().find(|own| own.addr() == *address) {
                unfit(format!("both sides have the address {}", own.addr()), "Give each side its own.");
            } else if !ours.is_empty() && !ours.iter().any(|own| reaches(own, *address)) {
                let fix = "Give both sides addresses of one prefix, or ours the length of a single address.";
                unfit(format!("{address} is in no prefix of ours on that device ({})", ours[0]), fix);
            }
        }
    }
}

/// A line as long as this one loses more, and what is noticed late there is noticed by the hold timer.
fn bfd_fits(label: &str, table: &NeighbourTable, findings: &mut Findings) {
    let (Some(bfd), Some(latency)) = (table.bfd.as_ref().filter(|bfd| bfd.value), first([&table.latency_ms])) else {
        return;
    };
    if latency.0 > BFD_MS_MAX {
        let problem = format!("BFD is for short lines, up to {BFD_MS_MAX} ms, and this one takes {} ms", latency.0);
        let kind = Meaning::NeighbourUnfit { neighbour: label.to_owned(), problem };
        findings.push(Finding::new(kind, bfd.span).with_fix("Remove bfd = true: the hold timer ends dead sessions."));
    }
}

/// Whether an address is reached directly: it is in the prefix, or a route to it alone is set.
fn reaches(own: &IpNet, address: IpAddr) -> bool {
    own.contains(&address) || own.prefix_len() == own.max_prefix_len()
}

/// A key is nobody else's here.
fn key_is_its_own(network: &Network, label: &str, key: Spanned<PublicKey>, fix: &str, findings: &mut Findings) {
    let nodes = network.nodes.iter().map(|node| (format!("node {}", node.name), node.public_key, node.place));
    let clients =
        network.clients.iter().map(|client| (format!("client {}", client.name), client.public_key, client.place));
    for (first, _, at) in nodes.chain(clients).filter(|(_, other, _)| *other == Some(key.value)) {
        let kind = Meaning::KeyReused { first, second: label.to_owned() };
        findings
            .push(Finding::new(kind, key.span).with_related(at, "also used here").with_fix(format!("Write {fix}.")));
    }
}

/// Packets of the tunnel itself would go into a tunnel.
fn endpoint_is_outside(
    context: &Context<'_>,
    label: &str,
    neighbour: &Neighbour,
    table: &NeighbourTable,
    findings: &mut Findings,
) {
    if let (Some(endpoint), Some(written)) = (&neighbour.endpoint, &table.endpoint) {
        super::super::endpoints::routed(context, label, endpoint, written.span, findings);
    }
}

/// Ports and devices that two have at one node.
fn twice_at_a_node(context: &Context<'_>, network: &Network, all: &[Neighbour], findings: &mut Findings) {
    let mut ports: BTreeMap<(NodeIx, u16), (String, Span)> = BTreeMap::new();
    let mut devices: BTreeMap<(NodeIx, DeviceName), (String, Span)> = BTreeMap::new();
    for (ix, node) in network.node_numbers().zip(&network.nodes) {
        let own = (format!("node {}", node.name), node.place);
        ports.insert((ix, node.port), own.clone());
        devices.insert((ix, node.device.clone()), own);
        if let Some(entry) = network.entry.as_ref().filter(|_| node.entry) {
            ports.insert((ix, entry.port), ("[entry]".to_owned(), entry.place));
            devices.insert((ix, entry.device.clone()), ("[entry]".to_owned(), entry.place));
        }
    }
    for neighbour in all {
        let label = format!("neighbour {}", neighbour.name);
        let node = network.node(neighbour.node).name.to_string();
        let table = context.names.neighbours.iter().find(|(name, _)| name.value == neighbour.name);
        let written = table.map(|(_, table)| &table.value);
        let port_at = written.and_then(|table| table.port.as_ref()).map_or(neighbour.place, |port| port.span);
        let mut clash = |(first, at): (String, Span), what: String, place: Span, fix: &str| {
            let kind = Meaning::TwiceAtNode { first, second: label.clone(), node: node.clone(), what };
            findings.push(Finding::new(kind, place).with_related(at, "the other").with_fix(fix.to_owned()));
        };
        if neighbour.port != 0
            && let Some(other) = ports.insert((neighbour.node, neighbour.port), (label.clone(), port_at))
        {
            clash(other, format!("port {}", neighbour.port), port_at, "Give one of them another port.");
        }
        let key = (neighbour.node, neighbour.device.clone());
        if let Some(other) = devices.insert(key, (label.clone(), neighbour.place)) {
            let what = format!("device {}", neighbour.device);
            clash(other, what, neighbour.place, "Give one of them another device = \"...\".");
        }
    }
}

/// Where something has to make devices and run BIRD.
pub(super) fn platform_is_able(node: &Node, findings: &mut Findings) {
    if !matches!(node.platform, Platform::Agent | Platform::WgQuick) {
        let kind = Meaning::SpeakerPlatform { node: node.name.to_string(), platform: node.platform.word() };
        findings.push(Finding::new(kind, node.place).with_fix("Give it platform = \"agent\" or \"wg-quick\"."));
    }
}
