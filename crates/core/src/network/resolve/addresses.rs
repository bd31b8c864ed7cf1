//! Overlay addresses and keys that the file gives: each in its range, none of them twice.
//!
//! A node's range is its region's prefix of the address's family, or without one the network's; a client's is the client
//! prefixes or the network's. Addresses that the file does not give are the plan's to allocate.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Context;
use super::nodes::both;
use crate::check::{Finding, Findings, Meaning, Span};
use crate::file::Spanned;
use crate::keys::PublicKey;
use crate::network::Network;

/// The addresses from either key, v4 before v6.
pub(super) fn given(
    one: &Option<Spanned<IpAddr>>,
    many: &Option<Spanned<Vec<Spanned<IpAddr>>>>,
    owner: &dyn Fn() -> String,
    findings: &mut Findings,
) -> Vec<IpAddr> {
    if let (Some(one), Some(many)) = (one, many) {
        both(owner(), ("address", one.span), ("addresses", many.span), findings);
    }
    let mut addresses: Vec<IpAddr> = written(one, many).iter().map(|address| address.value).collect();
    addresses.sort();
    addresses
}

fn written(one: &Option<Spanned<IpAddr>>, many: &Option<Spanned<Vec<Spanned<IpAddr>>>>) -> Vec<Spanned<IpAddr>> {
    one.iter().chain(many.iter().flat_map(|list| &list.value)).copied().collect()
}

/// A node's or client's part of what is checked here.
struct Member<'f> {
    label: String,
    addresses: Vec<Spanned<IpAddr>>,
    key: Option<Spanned<PublicKey>>,
    /// Ranges its addresses come from, by preference: own range, overlay.
    ranges: Vec<(&'f [IpNet], String)>,
    node: bool,
}

/// Checks addresses and keys of all nodes and clients.
pub(super) fn check(context: &Context<'_>, network: &Network, findings: &mut Findings) {
    let members = members(context, network);
    for member in &members {
        two_of_a_family(member, findings);
        for address in &member.addresses {
            range(member, *address, network, findings);
        }
    }
    addresses_twice(&members, findings);
    keys_twice(&members, findings);
}

fn members<'f>(context: &Context<'f>, network: &'f Network) -> Vec<Member<'f>> {
    let overlay = || (network.prefixes.as_slice(), "the network's prefixes".to_owned());
    let mut members = Vec::with_capacity(network.nodes.len() + network.clients.len());
    for (node, (name, table)) in network.nodes.iter().zip(&context.names.nodes) {
        let mut ranges = vec![overlay()];
        if let Some(region) = node.region.map(|region| &network.regions[region.at()]) {
            ranges.insert(0, (&region.prefixes, format!("region {}", region.name)));
        }
        let addresses = written(&table.value.address, &table.value.addresses);
        let label = format!("node {}", name.value);
        members.push(Member { label, addresses, key: table.value.public_key, ranges, node: true });
    }
    for (name, table) in &context.names.clients {
        let ranges = vec![(network.client_prefixes.as_slice(), "the client prefixes".to_owned()), overlay()];
        let addresses = written(&table.value.address, &table.value.addresses);
        let label = format!("client {}", name.value);
        members.push(Member { label, addresses, key: table.value.public_key, ranges, node: false });
    }
    if let Some(entry) = &context.file.entry {
        let ranges = vec![(network.client_prefixes.as_slice(), "the client prefixes".to_owned()), overlay()];
        let addresses = written(&entry.value.address, &entry.value.addresses);
        let key = entry.value.public_key;
        members.push(Member { label: "[entry]".to_owned(), addresses, key, ranges, node: false });
    }
    members
}

fn two_of_a_family(member: &Member<'_>, findings: &mut Findings) {
    for (family, v4) in [("IPv4", true), ("IPv6", false)] {
        let mut of_family = member.addresses.iter().filter(|address| address.value.is_ipv4() == v4);
        if let (Some(first), Some(second)) = (of_family.next(), of_family.next()) {
            let kind = Meaning::FamilyTwice { owner: member.label.clone(), family, what: "addresses" };
            findings.push(
                Finding::new(kind, second.span).with_related(first.span, "the first one").with_fix("Keep one of them."),
            );
        }
    }
}

fn range(member: &Member<'_>, address: Spanned<IpAddr>, network: &Network, findings: &mut Findings) {
    let same_family = |prefix: &&IpNet| prefix.addr().is_ipv4() == address.value.is_ipv4();
    let own = member.ranges.iter().find(|(prefixes, _)| prefixes.iter().any(|prefix| same_family(&prefix)));
    let held = own.and_then(|(prefixes, _)| prefixes.iter().find(|prefix| prefix.contains(&address.value)));
    let Some(prefix) = held else {
        let range = match own {
            Some((prefixes, whose)) => {
                let list: Vec<String> = prefixes.iter().filter(same_family).map(IpNet::to_string).collect();
                format!("{} of {whose}", list.join(", "))
            }
            None => "the network's prefixes, which have none of its family".to_owned(),
        };
        let kind = Meaning::AddressOutside { owner: member.label.clone(), address: address.value, range };
        findings.push(Finding::new(kind, address.span).with_fix("Choose a free address of that range."));
        return;
    };
    if let Some(role) = reserved(address.value, prefix) {
        let owner = member.label.clone();
        let kind = Meaning::AddressReserved { owner, address: address.value, role, prefix: *prefix };
        findings.push(Finding::new(kind, address.span).with_fix("Choose another address."));
    }
    if let Some(pool) = network.client_prefixes.iter().find(|pool| member.node && pool.contains(&address.value)) {
        let kind = Meaning::Overlap {
            a: member.label.clone(),
            a_prefix: IpNet::from(address.value),
            b: "the client prefixes".to_owned(),
            b_prefix: *pool,
        };
        findings
            .push(Finding::new(kind, address.span).with_fix("Give the node an address outside the client prefixes."));
    }
}

/// What an address means in its prefix, if it can't be a node's.
fn reserved(address: IpAddr, prefix: &IpNet) -> Option<&'static str> {
    let point_to_point = prefix.prefix_len() + 1 >= prefix.max_prefix_len();
    if point_to_point {
        return None;
    }
    if address == prefix.network() {
        return Some("network address");
    }
    (address.is_ipv4() && address == prefix.broadcast()).then_some("broadcast address")
}

fn addresses_twice(members: &[Member<'_>], findings: &mut Findings) {
    let mut owners: BTreeMap<IpAddr, (&str, Span)> = BTreeMap::new();
    for member in members {
        for address in &member.addresses {
            let Some((first, place)) = owners.insert(address.value, (&member.label, address.span)) else { continue };
            let (first, second) = (first.to_owned(), member.label.clone());
            let kind = Meaning::AddressReused { first, second, address: address.value };
            findings.push(
                Finding::new(kind, address.span)
                    .with_related(place, "also used here")
                    .with_fix("Give one of them another address, or leave it out to have one allocated."),
            );
        }
    }
}

fn keys_twice(members: &[Member<'_>], findings: &mut Findings) {
    let mut owners: BTreeMap<PublicKey, (&str, Span)> = BTreeMap::new();
    for member in members {
        let Some(key) = member.key else { continue };
        let Some((first, place)) = owners.insert(key.value, (&member.label, key.span)) else { continue };
        let kind = Meaning::KeyReused { first: first.to_owned(), second: member.label.clone() };
        findings.push(
            Finding::new(kind, key.span)
                .with_related(place, "also used here")
                .with_fix("Make a key of its own for each; WireGuard tells peers apart by nothing else."),
        );
    }
}
