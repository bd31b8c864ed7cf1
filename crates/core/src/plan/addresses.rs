//! Hands out overlay addresses and link addresses, and keeps what was handed out.
//!
//! Given addresses come first, then what the ledger recorded, then the lowest free address of the member's pool: its
//! region's prefix, or the overlay prefix less all regions and client ranges; for clients the client ranges. Members
//! are served in name order, so the outcome does not depend on the order of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Ledger;
use super::prefixes::{is_usable, next};
use crate::check::{Finding, Findings, Kind, Span};
use crate::names::Name;
use crate::network::Network;

/// Everybody's addresses, in the order of [`Network::nodes`] and [`Network::clients`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Overlay addresses of each node, v4 before v6; shorter where a pool was full.
    pub nodes: Vec<Vec<IpAddr>>,
    /// Overlay addresses of each client.
    pub clients: Vec<Vec<IpAddr>>,
    /// Overlay addresses of the device that clients roam between; empty if there is none.
    pub entry: Vec<IpAddr>,
    /// Link address of each node.
    pub node_links: Vec<Option<IpAddr>>,
    /// Link address of each client.
    pub client_links: Vec<Option<IpAddr>>,
}

/// One node or client that wants addresses.
struct Member<'a> {
    name: &'a Name,
    given: &'a [IpAddr],
    place: Span,
    pools: Vec<Pool<'a>>,
}

/// Where addresses of one family come from, less what is set aside for others.
struct Pool<'a> {
    prefix: IpNet,
    aside: &'a [IpNet],
}

/// Allocates for the whole network and returns the ledger to keep.
pub fn allocate(network: &Network, ledger: &Ledger, findings: &mut Findings) -> (Addresses, Ledger) {
    let mut kept = ledger.clone();
    let aside = set_aside(network);
    let mut members = members(network, &aside);
    let mut overlay = hand_out(&members, &mut kept.addresses, findings);
    // The last one, if it is there, is no end of a link.
    let entry = overlay.split_off(network.nodes.len() + network.clients.len()).pop().unwrap_or_default();
    members.truncate(overlay.len());
    let link_pool =
        |name, place| Member { name, given: &[], place, pools: vec![Pool { prefix: network.link_prefix, aside: &[] }] };
    let link_members: Vec<Member<'_>> = members.iter().map(|member| link_pool(member.name, member.place)).collect();
    let mut link_ledger: BTreeMap<Name, Vec<IpAddr>> =
        kept.link_addresses.iter().map(|(name, address)| (name.clone(), vec![*address])).collect();
    let links = hand_out(&link_members, &mut link_ledger, findings);
    kept.link_addresses =
        link_ledger.into_iter().filter_map(|(name, list)| list.first().map(|first| (name, *first))).collect();
    let (nodes, clients) = split(overlay, network.nodes.len());
    let (node_links, client_links) = split(links, network.nodes.len());
    let first = |lists: Vec<Vec<IpAddr>>| lists.into_iter().map(|list| list.first().copied()).collect();
    (Addresses { nodes, clients, entry, node_links: first(node_links), client_links: first(client_links) }, kept)
}

fn split<T>(mut list: Vec<T>, at: usize) -> (Vec<T>, Vec<T>) {
    let rest = list.split_off(at);
    (list, rest)
}

/// Ranges inside the overlay prefixes that only their own members use, sorted.
fn set_aside(network: &Network) -> Vec<IpNet> {
    let regions = network.regions.iter().flat_map(|region| region.prefixes.iter().copied());
    let mut aside: Vec<IpNet> = regions.chain(network.client_prefixes.iter().copied()).collect();
    aside.sort();
    aside
}

/// All nodes, all clients, and the device that clients roam between.
fn members<'a>(network: &'a Network, aside: &'a [IpNet]) -> Vec<Member<'a>> {
    let same_family = |a: &IpNet, b: &IpNet| a.addr().is_ipv4() == b.addr().is_ipv4();
    let pools = |own: &[IpNet]| -> Vec<Pool<'a>> {
        let pool = |overlay: &IpNet| match own.iter().find(|prefix| same_family(prefix, overlay)) {
            Some(prefix) => Pool { prefix: *prefix, aside: &[] },
            None => Pool { prefix: *overlay, aside },
        };
        network.prefixes.iter().map(pool).collect()
    };
    let nodes = network.nodes.iter().map(|node| {
        let own = node.region.map_or(&[][..], |region| &network.regions[region.at()].prefixes);
        Member { name: &node.name, given: &node.addresses, place: node.place, pools: pools(own) }
    });
    let clients = network.clients.iter().map(|client| Member {
        name: &client.name,
        given: &client.addresses,
        place: client.place,
        pools: pools(&network.client_prefixes),
    });
    let entry = network.entry.iter().map(|entry| Member {
        name: &entry.name,
        given: &entry.addresses,
        place: entry.place,
        pools: pools(&network.client_prefixes),
    });
    nodes.chain(clients).chain(entry).collect()
}

/// Serves all members; `recorded` is read and brought up to date.
fn hand_out(
    members: &[Member<'_>],
    recorded: &mut BTreeMap<Name, Vec<IpAddr>>,
    findings: &mut Findings,
) -> Vec<Vec<IpAddr>> {
    let mut taken: BTreeSet<IpAddr> = members.iter().flat_map(|member| member.given.iter().copied()).collect();
    let mut served: Vec<Vec<IpAddr>> = members.iter().map(|member| keep(member, recorded, &mut taken)).collect();
    let present: BTreeSet<&Name> = members.iter().map(|member| member.name).collect();
    let mut retired: BTreeSet<IpAddr> = recorded
        .iter()
        .filter(|(name, _)| !present.contains(name))
        .flat_map(|(_, addresses)| addresses.iter().copied())
        .filter(|address| !taken.contains(address))
        .collect();
    let mut cursors: BTreeMap<(IpNet, usize), IpAddr> = BTreeMap::new();
    // A full pool is walked once, not once for each of the members that it can't serve.
    let mut full: BTreeSet<(IpNet, usize)> = BTreeSet::new();
    for (member, addresses) in members.iter().zip(&mut served) {
        for pool in &member.pools {
            if addresses.iter().any(|address| address.is_ipv4() == pool.prefix.addr().is_ipv4()) {
                continue;
            }
            let key = (pool.prefix, pool.aside.len());
            let cursor = cursors.entry(key).or_insert_with(|| pool.prefix.network());
            let mut found = None;
            if !full.contains(&key) {
                found = lowest_free(pool, cursor, |address| taken.contains(&address) || retired.contains(&address));
            }
            if found.is_none() && !retired.is_empty() {
                found = retired.iter().copied().find(|address| fits(pool, *address));
            }
            let Some(address) = found else {
                full.insert(key);
                let kind = Kind::PoolFull { pool: pool.prefix.to_string(), owner: member.name.to_string() };
                findings
                    .push(Finding::new(kind, member.place).with_fix("Give the region or the network a larger prefix."));
                continue;
            };
            retired.remove(&address);
            taken.insert(address);
            addresses.push(address);
        }
        addresses.sort();
    }
    let is_free = |address: &IpAddr| !taken.contains(address);
    recorded.retain(|name, addresses| present.contains(name) || addresses.iter().all(is_free));
    for (member, addresses) in members.iter().zip(&served) {
        recorded.insert(member.name.clone(), addresses.clone());
    }
    served
}

/// The addresses that a member keeps: given ones, and recorded ones that still fit and are free.
fn keep(member: &Member<'_>, recorded: &BTreeMap<Name, Vec<IpAddr>>, taken: &mut BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let mut kept = member.given.to_vec();
    for address in recorded.get(member.name).into_iter().flatten() {
        let family_is_free = kept.iter().all(|other| other.is_ipv4() != address.is_ipv4());
        if member.pools.iter().any(|pool| fits(pool, *address)) && family_is_free && taken.insert(*address) {
            kept.push(*address);
        }
    }
    kept
}

fn fits(pool: &Pool<'_>, address: IpAddr) -> bool {
    is_usable(pool.prefix, address) && !pool.aside.iter().any(|prefix| prefix.contains(&address))
}

/// Walks a pool from the cursor to the first usable address that nobody holds, leaving the cursor behind it.
fn lowest_free(pool: &Pool<'_>, cursor: &mut IpAddr, is_held: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    while pool.prefix.contains(&*cursor) {
        let candidate = *cursor;
        if let Some(prefix) = pool.aside.iter().find(|prefix| prefix.contains(&candidate)) {
            *cursor = next(prefix.broadcast())?;
            continue;
        }
        *cursor = next(candidate)?;
        if is_usable(pool.prefix, candidate) && !is_held(candidate) {
            return Some(candidate);
        }
    }
    None
}
