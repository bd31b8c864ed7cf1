//! Hosts as a plan wants them: one device each, routes for all allowed prefixes, sites as LANs.
//!
//! The same that renderers write and the lab carries out, without unfolding every member's part first: a full mesh of a
//! thousand nodes has a million peers.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::hosts::{Device, End, EndKind, Host, Hosts, Peer, Route, RouteTo, Rule, TABLE_MAIN};
use super::intent::Intent;
use crate::network::{Host as Dialled, Network, NodeIx, Party};
use crate::plan::{Firewall, Member, Plan, own_table};

impl Hosts {
    /// The hosts of a plan, numbered as [`Plan::members`], and as ends all members, then all sites, then what is behind
    /// clients. Nodes that are isolated are apart, with the clients that prefer them.
    pub fn from_plan(plan: &Plan) -> Hosts {
        let inward = Inward::new(plan);
        let hosts: Vec<Host> = plan.members().map(|member| host(plan, member, &inward)).collect();
        let intent = intent(plan, &hosts);
        Hosts { hosts, ends: ends(plan), apart: apart(plan), intent }
    }
}

/// A party's number among the ends.
pub(super) fn end_number(plan: &Plan, party: Party) -> usize {
    let (nodes, clients) = (plan.network.nodes.len(), plan.network.clients.len());
    match party {
        Party::Node(ix) => ix.at(),
        Party::Client(at) => nodes + at as usize,
        Party::Site(at) => nodes + clients + at as usize,
    }
}

/// A member's number among the hosts.
pub(super) fn number(plan: &Plan, member: Member) -> u32 {
    match member {
        Member::Node(ix) => ix.0,
        Member::Client(at) => plan.network.nodes.len() as u32 + at,
    }
}

/// The party that each end of a plan's hosts stands for.
pub fn parties(network: &Network) -> Vec<Party> {
    let homes = network.clients.iter().zip(0..).filter(|(client, _)| !client.prefixes.is_empty());
    network.parties().chain(homes.map(|(_, at)| Party::Client(at))).collect()
}

/// What the policy means for the ends; none if it allows everything.
fn intent(plan: &Plan, hosts: &[Host]) -> Option<Arc<Intent>> {
    let network = &plan.network;
    if !network.policy.refuses() {
        return None;
    }
    let parties = parties(network);
    let firewalls: Vec<Arc<Firewall>> = hosts.iter().filter_map(|host| host.firewall.clone()).collect();
    Some(Arc::new(Intent::new(network, &parties, &firewalls)))
}

/// Nodes with an endpoint inside a prefix that the overlay may carry: who dials one may need a table of its own.
struct Inward(Vec<bool>);

impl Inward {
    fn new(plan: &Plan) -> Inward {
        let network = &plan.network;
        let sites = network.sites.iter().flat_map(|site| &site.prefixes);
        let homes = network.clients.iter().flat_map(|client| &client.prefixes);
        let carried: Vec<IpNet> = network.prefixes.iter().chain(sites).chain(homes).copied().collect();
        let carries = |address: &IpAddr| carried.iter().any(|prefix| prefix.contains(address));
        let inward = |node: &crate::network::Node| {
            node.endpoints.iter().any(|endpoint| matches!(&endpoint.host, Dialled::Ip(address) if carries(address)))
        };
        Inward(network.nodes.iter().map(inward).collect())
    }

    /// Whether a member dials an address inside what it routes into its device.
    fn loops(&self, plan: &Plan, member: Member) -> bool {
        let dialled = |peer: &crate::plan::Peer| matches!(peer.who, Member::Node(ix) if self.0[ix.at()]);
        plan.peers(member).iter().any(dialled) && plan.of(member).own_table.is_some()
    }
}

fn host(plan: &Plan, member: Member, inward: &Inward) -> Host {
    let network = &plan.network;
    let (forwards, device, place, lans) = match member {
        Member::Node(ix) => {
            let node = network.node(ix);
            (plan.forwards(ix), &node.device, node.place, plan.site_prefixes(ix))
        }
        Member::Client(at) => {
            let client = &network.clients[at as usize];
            (!client.prefixes.is_empty(), &client.device, client.place, client.prefixes.as_slice())
        }
    };
    let own_table = inward.loops(plan, member).then(|| own_table(device));
    let lan = |prefix: &IpNet| Route { table: TABLE_MAIN, prefix: *prefix, to: RouteTo::Lan };
    Host {
        name: plan.name(member).to_string(),
        addresses: plan.overlay_addresses(member).to_vec(),
        devices: vec![Device {
            name: device.to_string(),
            public_key: plan.public_key(member),
            routed_in: Some(own_table.unwrap_or(TABLE_MAIN)),
            masquerade: false,
            peers: plan.peers(member).iter().map(|peer| entry(plan, member, peer)).collect(),
        }],
        routes: lans.iter().map(lan).collect(),
        rules: own_table.map(|table| Rule { from: None, table, suppress: None }).into_iter().collect(),
        forwards_v4: forwards,
        forwards_v6: forwards,
        firewall: match member {
            Member::Node(ix) => plan.firewall(ix).filter(Firewall::judges).map(Arc::new),
            Member::Client(_) => None,
        },
        place: Some(place),
        ..Host::default()
    }
}

fn entry(plan: &Plan, member: Member, peer: &crate::plan::Peer) -> Peer {
    let dials = match (member, peer.who) {
        (Member::Node(from), Member::Node(to)) => plan.network.dialable(from, to).next().is_some(),
        (Member::Client(_), Member::Node(to)) => plan.network.node(to).is_public(),
        (_, Member::Client(_)) => false,
    };
    Peer { to: Some((number(plan, peer.who), 0)), dials, allowed: peer.allowed.clone(), written: None }
}

fn ends(plan: &Plan) -> Vec<End> {
    let network = &plan.network;
    let own = |member: Member| End {
        name: plan.name(member).to_string(),
        kind: if matches!(member, Member::Node(_)) { EndKind::Node } else { EndKind::Client },
        prefixes: plan.overlay_addresses(member).iter().copied().map(IpNet::from).collect(),
        at: vec![number(plan, member)],
    };
    let sites = network.sites.iter().map(|site| {
        let active = |gateway: &NodeIx| {
            let behind = plan.behind(*gateway);
            site.prefixes.iter().any(|prefix| behind.iter().any(|wider| wider.contains(prefix)))
        };
        let mut at: Vec<u32> = site.gateways.iter().map(|gateway| gateway.0).collect();
        at.sort_by_key(|gateway| !active(&NodeIx(*gateway)));
        End { name: format!("site {}", site.name), kind: EndKind::Site, prefixes: site.prefixes.clone(), at }
    });
    let homes = network.clients.iter().enumerate().filter(|(_, client)| !client.prefixes.is_empty());
    let homes = homes.map(|(at, client)| End {
        name: format!("LAN of {}", client.name),
        kind: EndKind::Site,
        prefixes: client.prefixes.clone(),
        at: vec![number(plan, Member::Client(at as u32))],
    });
    plan.members().map(own).chain(sites).chain(homes).collect()
}

fn apart(plan: &Plan) -> Vec<(u32, u32)> {
    let network = &plan.network;
    let mut with = vec![Vec::new(); network.nodes.len()];
    if network.isolated.is_empty() {
        return Vec::new();
    }
    network.node_numbers().for_each(|ix| with[ix.at()].push(ix.0));
    for at in 0..network.clients.len() {
        let (at, client) = (at as u32, Member::Client(at as u32));
        plan.home(at).into_iter().for_each(|home| with[home.at()].push(number(plan, client)));
    }
    let crossed = network.isolated.iter().flat_map(|(a, b)| {
        let (a, b) = (&with[a.at()], &with[b.at()]);
        a.iter().flat_map(move |a| b.iter().map(move |b| (*a.min(b), *a.max(b))))
    });
    let mut pairs: Vec<(u32, u32)> = crossed.collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}
