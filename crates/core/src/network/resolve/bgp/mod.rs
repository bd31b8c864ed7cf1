//! `[bgp]`, `[neighbours.NAME]` and what nodes say of BGP.
//!
//! [`dn42`] is that network's rules as data: what the profile fills in. What one neighbour is, is in [`neighbours`].

mod dn42;
mod neighbours;

use std::net::IpAddr;

use super::Context;
use super::nodes::{first, made};
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::written::{BgpTable, BirdTable, NodeTable};
use crate::file::{HostPath, Spanned};
use crate::limits::RTR_PORT_DEFAULT;
use crate::names::{DeviceName, Name};
use crate::network::{Bgp, FirewallForm, Network, NodeIx, Platform, Profile, Roa, Speaker, TheirBird};

/// AS numbers that nobody may have, with what they are for (RFC 7607, RFC 4893, RFC 7300).
const RESERVED: [(u32, &str); 4] = [
    (0, "stands for nobody"),
    (23456, "stands for an AS whose number an old router can't tell"),
    (65535, "is reserved"),
    (u32::MAX, "is reserved"),
];

/// Where Debian's BIRD listens.
const BIRD_SOCKET: &str = "/run/bird/bird.ctl";

/// Why a node speaks BGP, with the one that is said first where several are true.
const HAS_NEIGHBOUR: &str = "has a neighbour";
const IS_REFLECTOR: &str = "is a reflector";
const IS_TOLD: &str = "is to be told by BGP where clients are (exchange = \"bgp\")";

/// Resolves all of it.
pub(super) fn resolve(context: &Context<'_>, network: &mut Network, findings: &mut Findings) {
    let neighbours = &context.names.neighbours;
    let Some(table) = &context.file.bgp else {
        let nodes = context.names.nodes.iter().filter_map(|(name, table)| Some((name, said(&table.value)?)));
        let wanting = nodes.map(|(name, place)| (format!("node {}", name.value), place));
        let foreign = neighbours.iter().map(|(name, _)| (format!("neighbour {}", name.value), name.span));
        for (owner, place) in wanting.chain(foreign) {
            let finding = Finding::new(Meaning::BgpMissing { owner }, place);
            findings.push(finding.with_fix("Add [bgp] with asn = ..., the network's AS number."));
        }
        return;
    };
    let (place, table) = (table.span, &table.value);
    let asn = table.asn.as_ref().map_or(1, |asn| asn.value.0);
    asn_is_usable("[bgp]", asn, table.asn.as_ref().map_or(place, |asn| asn.span), findings);
    let mut own: Vec<_> = table.own.iter().flat_map(|list| &list.value).map(|prefix| prefix.value).collect();
    own.sort();
    own.dedup();
    let profile = table.profile.as_ref().map(|profile| profile.value);
    if profile == Some(Profile::Dn42) {
        own_is_dn42(table, findings);
    }
    network.bgp = Some(Bgp {
        asn,
        own,
        profile,
        roa: roa(table),
        table: table.table.as_ref().map(|table| table.value.0),
        carrier: table.exchange.as_ref().map(|exchange| exchange.value).unwrap_or_default(),
        speakers: Vec::new(),
        place,
    });
    network.neighbours = neighbours::resolve(context, network, findings);
    let speakers = speakers(context, network, table, findings);
    network.bgp.iter_mut().for_each(|bgp| bgp.speakers.clone_from(&speakers));
    if let (Some(bgp), true) = (&network.bgp, table.own.is_none() && !network.neighbours.is_empty()) {
        let finding = Finding::new(Meaning::AnnouncesNothing, bgp.place);
        findings.push(finding.with_fix("Write own = [...], the prefixes that are the network's own."));
    }
    two_origins(network, findings);
}

/// Two ways to one prefix, of which a device of the kernel's lets in packets of one only.
fn two_origins(network: &Network, findings: &mut Findings) {
    let Some((first, second)) = network.rivals() else { return };
    let (one, other) = (first.owner, second.owner);
    let finding = Finding::new(Meaning::TwoOrigins { first: one, second: other, prefix: second.prefix }, second.place);
    findings.push(
        finding
            .with_related(first.place, "the other")
            .with_fix("Start the agents of nodes that speak BGP with --device engine."),
    );
}

/// Refuses firewalls that stand at one device only.
pub(super) fn check_firewalls(network: &Network, findings: &mut Findings) {
    for neighbour in &network.neighbours {
        let node = network.node(neighbour.node);
        if node.firewall.form == FirewallForm::Iptables {
            let problem = "the firewall of its node is set with iptables, which would not cover its device".to_owned();
            let kind = Meaning::NeighbourUnfit { neighbour: format!("neighbour {}", neighbour.name), problem };
            let finding = Finding::new(kind, neighbour.place).with_related(node.place, "its node");
            findings.push(finding.with_fix("Give the node firewall = \"nftables\"."));
        }
    }
}

/// Where a node says something of BGP.
fn said(table: &NodeTable) -> Option<Span> {
    let keys = [
        table.bgp.as_ref().filter(|bgp| bgp.value).map(|bgp| bgp.span),
        table.router_id.as_ref().map(|id| id.span),
        table.service_addresses.as_ref().map(|list| list.span),
        table.bird.as_ref().map(|bird| bird.span),
    ];
    keys.into_iter().flatten().next()
}

/// Refuses numbers that no AS has.
fn asn_is_usable(owner: &str, asn: u32, place: Span, findings: &mut Findings) {
    if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| *reserved == asn) {
        let kind = Meaning::AsnReserved { owner: owner.to_owned(), asn, why };
        findings.push(
            Finding::new(kind, place).with_fix("Private numbers are 64512 to 65534 and 4200000000 to 4294967294."),
        );
    }
}

/// Prefixes that nobody in DN42 accepts.
fn own_is_dn42(table: &BgpTable, findings: &mut Findings) {
    for prefix in table.own.iter().flat_map(|list| &list.value) {
        if !dn42::accepts(prefix.value) {
            let kind = Meaning::OwnRefused { prefix: prefix.value };
            let finding = Finding::new(kind, prefix.span);
            findings.push(
                finding.with_fix("Announce what the registry has: an IPv4 /21 to /29, an IPv6 /44 to /64 of fd00::/8."),
            );
        }
    }
}

fn roa(table: &BgpTable) -> Roa {
    let file = |path: &Option<Spanned<crate::file::SourcePath>>| path.as_ref().map(|p| p.value.0.clone());
    let servers = table.rtr.iter().flat_map(|list| &list.value);
    Roa {
        files: [file(&table.roa_v4), file(&table.roa_v6)],
        servers: servers.map(|server| made(None, &server.value.0, RTR_PORT_DEFAULT)).collect(),
    }
}

/// The nodes that speak BGP: those with a neighbour, reflectors, and those that say so.
fn speakers(context: &Context<'_>, network: &Network, table: &BgpTable, findings: &mut Findings) -> Vec<Speaker> {
    let listed = table.reflectors.iter().flat_map(|list| &list.value);
    let reflectors: Vec<NodeIx> =
        listed.filter_map(|name| context.names.node(&name.value, name.span, findings)).collect();
    let mut speakers = Vec::new();
    for (node, (name, written)) in network.node_numbers().zip(&context.names.nodes) {
        let written = &written.value;
        let is_reflector = reflectors.contains(&node);
        let has_neighbour = network.neighbours_of(node).next().is_some();
        let is_told = network.has_claims_by_bgp() && network.node(node).platform == Platform::Agent;
        let tasks = [(has_neighbour, HAS_NEIGHBOUR), (is_reflector, IS_REFLECTOR), (is_told, IS_TOLD)];
        let task = tasks.iter().find(|(has, _)| *has).map(|(_, task)| *task);
        let speaks = written.bgp.as_ref().map_or(task.is_some(), |bgp| bgp.value);
        if !speaks {
            silent(name, written, task, findings);
            continue;
        }
        neighbours::platform_is_able(network.node(node), findings);
        let service: Vec<IpAddr> =
            written.service_addresses.iter().flat_map(|list| &list.value).map(|address| address.value).collect();
        speakers.push(Speaker {
            node,
            is_reflector,
            router_id: router_id(name, written, findings),
            service_addresses: service,
            bird: written.bird.as_ref().and_then(|bird| their_bird(&bird.value, &network.node(node).device)),
        });
    }
    speakers
}

/// A node that has something to do with BGP and is said not to speak it.
fn silent(name: &Spanned<Name>, written: &NodeTable, task: Option<&'static str>, findings: &mut Findings) {
    let Some(task) = task else { return };
    let kind = Meaning::SilentSpeaker { node: name.value.to_string(), task };
    let place = written.bgp.as_ref().map_or(name.span, |bgp| bgp.span);
    findings.push(Finding::new(kind, place).with_fix("Remove bgp = false."));
}

/// Where its configuration is, our part is, unless that is said otherwise.
fn their_bird(table: &BirdTable, device: &DeviceName) -> Option<TheirBird> {
    let configuration = table.configuration.as_ref()?.value.0.clone();
    let folder = configuration.rsplit_once('/').map_or("", |(folder, _)| folder);
    let said = |path: &Option<Spanned<HostPath>>| path.as_ref().map(|path| path.value.0.clone());
    let part = said(&table.part).unwrap_or_else(|| format!("{folder}/wayleave-{device}.conf"));
    let socket = said(&table.socket).unwrap_or_else(|| BIRD_SOCKET.to_owned());
    let symbol = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let prefix = format!("wayleave_{}_", device.as_str().chars().map(symbol).collect::<String>());
    let strict_bind = first([&table.strict_bind]).unwrap_or(false);
    Some(TheirBird { configuration, part, socket, prefix, strict_bind })
}

fn router_id(name: &Spanned<Name>, written: &NodeTable, findings: &mut Findings) -> Option<std::net::Ipv4Addr> {
    match &written.router_id {
        Some(id) => match id.value {
            IpAddr::V4(v4) if !v4.is_unspecified() => Some(v4),
            address => {
                let kind = Meaning::RouterId { node: name.value.to_string(), address };
                findings.push(Finding::new(kind, id.span).with_fix("Write an IPv4 address, such as that of the node."));
                None
            }
        },
        None => None,
    }
}
