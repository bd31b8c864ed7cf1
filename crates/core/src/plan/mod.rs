//! The plan: every decision about a network, made once, the same on every node.
//!
//! [`plan`] takes a [`Network`], the [`Ledger`] of earlier allocations and the [`LinkStates`], and returns a [`Plan`],
//! the ledger to keep, and findings. A plan is compact inside, since a full mesh of a thousand nodes has a million
//! peers; [`Plan::of`] unfolds one member's part into a [`NodePlan`] that needs nothing else. After the plan nothing
//! is left to choose: renderers and the agent only carry it out. [`Plan::part`] makes one member's [`NodePlan`] alone, for
//! nodes that plan again whenever link states change; [`Moves`] follows clients that move without planning anew.

mod addresses;
mod allowed;
mod diff;
mod digest;
mod firewall;
mod fixed;
mod known;
mod ledger;
mod node_plan;
mod paths;
mod prefixes;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

pub use addresses::Addresses;
pub use diff::{PlanChange, PlanFile, PlanFileError, Side, bgp_changes, diff};
pub use firewall::{Firewall, FirewallRule, Masquerade, OutsidePorts};
pub use known::{Claims, LinkState, LinkStates};
pub use ledger::{LEDGER_VERSION, Ledger, LedgerError};
pub use node_plan::{
    BGP_TABLES, BgpPlan, ClaimRoutesPlan, Edits, EntryPlan, InternalPlan, KeyKind, KeyNeed, MemberKind, Moved, Moves,
    NeighbourPlan, NodePlan, OWN_TABLES, PeerPlan, SpeakerPlan, bgp_table, claim_tables, own_table,
};
pub use paths::Paths;
pub(crate) use prefixes::covers;
pub use prefixes::{host, merge};

use crate::check::{Finding, Findings, Kind};
use crate::keys::PublicKey;
use crate::names::Name;
use crate::network::{FirewallForm, Network, Node, NodeIx};

/// Pairs without a path that a finding names before it only counts.
const PAIRS_NAMED_MAX: usize = 6;

/// A node or a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// By its position in [`Network::nodes`].
    Node(NodeIx),
    /// By its position in [`Network::clients`].
    Client(u32),
}

/// One peer of one member, by numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub who: Member,
    /// Seconds between keepalives that this side sends; 0: none.
    pub keepalive_s: u16,
    /// Prefixes that go to it, and that it may send from. Empty: a standby link.
    pub allowed: Arc<[IpNet]>,
}

/// Everything decided about a network.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The network that was planned.
    pub network: Arc<Network>,
    /// Counts plans that differ from the one before; from the ledger.
    pub generation: u64,
    /// Digest of everything that any host would be told, hexadecimal.
    pub digest: String,
    /// Everybody's addresses.
    pub addresses: Arc<Addresses>,
    /// The best path of every pair of nodes.
    pub paths: Paths,
    /// The node that each client is with.
    homes: Vec<Option<NodeIx>>,
    keys: Arc<Keys>,
    node_peers: Vec<Vec<Peer>>,
    client_peers: Vec<Vec<Peer>>,
    behind: Vec<Arc<[IpNet]>>,
    site_prefixes: Vec<Vec<IpNet>>,
    forwards: Vec<bool>,
}

/// Plans a network. Where findings have errors, the plan is still as complete as it can be, for showing; it must not
/// be carried out.
pub fn plan(network: Arc<Network>, ledger: &Ledger, states: &LinkStates) -> (Plan, Ledger, Findings) {
    plan_now(network, ledger, states, &Claims::default())
}

/// The plan while clients are with certain entry nodes: [`plan`] has each with the nearest.
pub fn plan_now(
    network: Arc<Network>,
    ledger: &Ledger,
    states: &LinkStates,
    claims: &Claims,
) -> (Plan, Ledger, Findings) {
    let mut findings = Findings::default();
    let (addresses, mut ledger) = addresses::allocate(&network, ledger, &mut findings);
    let keys = Arc::new(Keys::new(&network, &ledger));
    let given = Given { generation: ledger.generation, addresses: Arc::new(addresses), keys };
    let mut plan = decide(network, given, (states, claims), None, &mut findings);
    report_missing_keys(&plan.network, &plan.keys, &mut findings);
    plan.digest = digest::digest(&plan);
    report_router_ids(&plan, &mut findings);
    if ledger.digest != plan.digest {
        ledger.digest.clone_from(&plan.digest);
        ledger.generation += 1;
        plan.generation = ledger.generation;
    }
    (plan, ledger, findings)
}

/// What is given to everybody once and for all, as long as the file stays.
#[derive(Debug, Clone)]
struct Given {
    generation: u64,
    addresses: Arc<Addresses>,
    keys: Arc<Keys>,
}

/// Public keys, as far as they are known.
#[derive(Debug)]
struct Keys {
    entry: Option<PublicKey>,
    nodes: Vec<Option<PublicKey>>,
    clients: Vec<Option<PublicKey>>,
}

impl Keys {
    fn new(network: &Network, ledger: &Ledger) -> Keys {
        let key = |own: Option<PublicKey>, name: &Name| own.or_else(|| ledger.public_keys.get(name).copied());
        Keys {
            entry: network.entry.as_ref().and_then(|entry| key(entry.public_key, &entry.name)),
            nodes: network.nodes.iter().map(|node| key(node.public_key, &node.name)).collect(),
            clients: network.clients.iter().map(|client| key(client.public_key, &client.name)).collect(),
        }
    }
}

/// Decides everything, or all that one member needs; the digest is for others to make.
fn decide(
    network: Arc<Network>,
    given: Given,
    (states, claims): (&LinkStates, &Claims),
    only: Option<Member>,
    findings: &mut Findings,
) -> Plan {
    let paths = Paths::new(&network, states);
    let homes = node_plan::homes(&network, claims);
    let destinations = allowed::Destinations::new(&network, (&paths, states), &given.addresses, &homes);
    let owned = match only {
        None => destinations.owned(),
        Some(Member::Node(node)) => destinations.owned_at(node),
        Some(Member::Client(_)) => Vec::new(),
    };
    if only.is_none() {
        report_unreachable(&network, &paths, &owned, findings);
        report_hub_isolation(&network, findings);
    }
    let behind = network.node_numbers().map(|node| destinations.behind(node).clone()).collect();
    let client_allowed = client_allowed(&network, &given.addresses);
    let mut node_peers = node_peers(&network, owned, &client_allowed, &homes);
    let mut client_peers = match only {
        Some(Member::Node(_)) => vec![Vec::new(); network.clients.len()],
        None | Some(Member::Client(_)) => client_peers(&network, &destinations, &client_allowed),
    };
    fixed::apply(&network, states, &mut node_peers, &mut client_peers);
    let (site_prefixes, forwards) = forwarding(&network);
    let Given { generation, addresses, keys } = given;
    let digest = String::new();
    Plan {
        network,
        generation,
        digest,
        addresses,
        paths,
        homes,
        keys,
        node_peers,
        client_peers,
        behind,
        site_prefixes,
        forwards,
    }
}

impl Plan {
    /// One member's part of the plan that [`plan_now`] makes of the same file with these states and claims, without everybody
    /// else's: what a node works out when link states change or clients move. Addresses, keys and generation stay as they are: to
    /// hand them out takes longer than all the rest.
    pub fn part(&self, states: &LinkStates, claims: &Claims, member: Member) -> NodePlan {
        let Plan { generation, ref addresses, ref keys, .. } = *self;
        let given = Given { generation, addresses: addresses.clone(), keys: keys.clone() };
        decide(self.network.clone(), given, (states, claims), Some(member), &mut Findings::default()).of(member)
    }

    /// Whether a node's part is the same with both of these link states, whatever clients do. Sooner known than the parts are made:
    /// most measured times change no path, and a node hears of those of all links. Nor can anything come to it another way while nodes
    /// go over to the new states one after the other: the last step of a way to it is that of the way from each node on it.
    pub fn is_alike(&self, node: NodeIx, before: &LinkStates, after: &LinkStates) -> bool {
        let network = &self.network;
        let known = |states| {
            let paths = Paths::new(network, states);
            (paths.steps(node), allowed::gateways(network, (&paths, states)), fixed::waiting(network, states))
        };
        known(before) == known(after)
    }

    /// All nodes, then all clients.
    pub fn members(&self) -> impl Iterator<Item = Member> + use<> {
        let nodes = self.network.node_numbers().map(Member::Node);
        nodes.chain((0..self.network.clients.len() as u32).map(Member::Client))
    }

    /// A member by its position in [`Plan::members`].
    pub fn member_at(&self, at: usize) -> Option<Member> {
        let nodes = self.network.nodes.len();
        if at < nodes {
            return Some(Member::Node(NodeIx(at as u32)));
        }
        (at - nodes < self.network.clients.len()).then(|| Member::Client((at - nodes) as u32))
    }

    /// The member with a name.
    pub fn find(&self, name: &Name) -> Option<Member> {
        let client = || self.network.clients.binary_search_by(|client| client.name.cmp(name)).ok();
        self.network.find_node(name).map(Member::Node).or_else(|| client().map(|at| Member::Client(at as u32)))
    }

    /// A member's name.
    pub fn name(&self, member: Member) -> &Name {
        match member {
            Member::Node(ix) => &self.network.node(ix).name,
            Member::Client(at) => &self.network.clients[at as usize].name,
        }
    }

    /// A member's peers, sorted.
    pub fn peers(&self, member: Member) -> &[Peer] {
        match member {
            Member::Node(ix) => &self.node_peers[ix.at()],
            Member::Client(at) => &self.client_peers[at as usize],
        }
    }

    /// A member's public key, if it is known.
    pub fn public_key(&self, member: Member) -> Option<PublicKey> {
        match member {
            Member::Node(ix) => self.keys.nodes[ix.at()],
            Member::Client(at) => self.keys.clients[at as usize],
        }
    }

    /// All that have a key: members, and entry nodes together, with its public half where it is known.
    pub fn keys(&self) -> impl Iterator<Item = (&Name, Option<PublicKey>)> {
        let entry = self.network.entry.iter().map(|entry| (&entry.name, self.keys.entry));
        self.members().map(|member| (self.name(member), self.public_key(member))).chain(entry)
    }

    /// A member's overlay addresses.
    pub fn overlay_addresses(&self, member: Member) -> &[IpAddr] {
        match member {
            Member::Node(ix) => &self.addresses.nodes[ix.at()],
            Member::Client(at) => &self.addresses.clients[at as usize],
        }
    }

    /// The node that a client is with, or goes to first.
    pub fn home(&self, client: u32) -> Option<NodeIx> {
        self.homes[client as usize]
    }

    /// A member's link address.
    pub fn link_address(&self, member: Member) -> Option<IpAddr> {
        match member {
            Member::Node(ix) => self.addresses.node_links[ix.at()],
            Member::Client(at) => self.addresses.client_links[at as usize],
        }
    }

    /// Whether a node passes packets on that are not its own: hubs, nodes with clients, gateways.
    pub fn forwards(&self, node: NodeIx) -> bool {
        self.forwards[node.at()]
    }

    /// The prefixes of the sites that a node is a gateway of.
    pub fn site_prefixes(&self, node: NodeIx) -> &[IpNet] {
        &self.site_prefixes[node.at()]
    }

    /// All that is behind a node, itself included: its addresses, its sites, the clients that prefer it.
    pub fn behind(&self, node: NodeIx) -> &[IpNet] {
        &self.behind[node.at()]
    }

    /// All members on the best path between two, both included; none if there is no path. Clients are entered and
    /// left through the node they prefer.
    pub fn path(&self, from: Member, to: Member) -> Option<Vec<Member>> {
        if from == to {
            return Some(vec![from]);
        }
        let node = |member| match member {
            Member::Node(ix) => Some(ix),
            Member::Client(at) => self.home(at),
        };
        let (enter, leave) = (node(from)?, node(to)?);
        if self.network.is_isolated(enter, leave) {
            return None;
        }
        let mut path: Vec<Member> = self.paths.path(enter, leave)?.into_iter().map(Member::Node).collect();
        if matches!(from, Member::Client(_)) {
            path.insert(0, from);
        }
        if matches!(to, Member::Client(_)) {
            path.push(to);
        }
        Some(path)
    }

    /// The planned round-trip time along a path, in microseconds.
    pub fn path_rtt_us(&self, path: &[Member]) -> u64 {
        let step = |pair: &[Member]| match (pair[0], pair[1]) {
            (Member::Node(a), Member::Node(b)) => self.network.rtt_us(a, b),
            (Member::Client(client), Member::Node(node)) | (Member::Node(node), Member::Client(client)) => {
                self.network.client_rtt_us(client as usize, node)
            }
            (Member::Client(_), Member::Client(_)) => 0,
        };
        path.windows(2).map(step).sum()
    }
}

/// The prefixes behind each gateway, and which nodes forward.
fn forwarding(network: &Network) -> (Vec<Vec<IpNet>>, Vec<bool>) {
    let mut prefixes: Vec<Vec<IpNet>> = vec![Vec::new(); network.nodes.len()];
    let mut forwards: Vec<bool> = network.nodes.iter().map(|node| node.hub).collect();
    for site in &network.sites {
        for gateway in &site.gateways {
            prefixes[gateway.at()].extend(&site.prefixes);
            forwards[gateway.at()] = true;
        }
    }
    network.clients.iter().flat_map(|client| &client.via).for_each(|via| forwards[via.at()] = true);
    (prefixes.into_iter().map(merge).collect(), forwards)
}

/// What each client is and has behind it.
fn client_allowed(network: &Network, addresses: &Addresses) -> Vec<Arc<[IpNet]>> {
    let all = network.clients.iter().zip(&addresses.clients).map(|(client, addresses)| {
        let own = addresses.iter().copied().map(host);
        merge(own.chain(client.prefixes.iter().copied()).collect()).into()
    });
    all.collect()
}

/// Joins the links of the nodes that `owned` is about (all of them, standby ones too) with what the peers at their ends
/// own. Other nodes have no peers.
fn node_peers(
    network: &Network,
    owned: Vec<allowed::Owned>,
    client_allowed: &[Arc<[IpNet]>],
    homes: &[Option<NodeIx>],
) -> Vec<Vec<Peer>> {
    let mut wanted = vec![false; network.nodes.len()];
    owned.iter().for_each(|owned| wanted[owned.node.at()] = true);
    let mut linked: Vec<Vec<NodeIx>> = vec![Vec::new(); network.nodes.len()];
    let is_hub = |node: NodeIx| network.node(node).hub;
    for link in network.links.iter().filter(|link| wanted[link.a.at()] || wanted[link.b.at()]) {
        // Who must not reach each other needs no link, unless one relays for the other.
        if network.is_isolated(link.a, link.b) && !is_hub(link.a) && !is_hub(link.b) {
            continue;
        }
        linked[link.a.at()].push(link.b);
        linked[link.b.at()].push(link.a);
    }
    let nothing: Arc<[IpNet]> = Arc::from([]);
    let mut peers: Vec<Vec<Peer>> = vec![Vec::new(); network.nodes.len()];
    for owned in owned {
        let node = owned.node;
        let mut others = std::mem::take(&mut linked[node.at()]);
        others.sort_unstable();
        let allowed = |other: NodeIx| {
            let found = owned.peers.binary_search_by_key(&other, |(peer, _)| *peer);
            found.map_or_else(|_| nothing.clone(), |at| owned.peers[at].1.clone())
        };
        let peer = |other| Peer {
            who: Member::Node(other),
            keepalive_s: if needs_keepalive(network, node, other) { network.node(node).keepalive_s } else { 0 },
            allowed: allowed(other),
        };
        peers[node.at()] = others.into_iter().map(peer).collect();
    }
    for (at, client) in network.clients.iter().enumerate() {
        for via in client.via.iter().filter(|via| wanted[via.at()]) {
            let allowed = if homes[at] == Some(*via) { client_allowed[at].clone() } else { nothing.clone() };
            peers[via.at()].push(Peer { who: Member::Client(at as u32), keepalive_s: 0, allowed });
        }
    }
    peers
}

/// A client sends everything to the node it prefers; its other nodes stand by.
fn client_peers(
    network: &Network,
    destinations: &allowed::Destinations<'_>,
    client_allowed: &[Arc<[IpNet]>],
) -> Vec<Vec<Peer>> {
    let outside: Vec<IpNet> = destinations.outside_overlay().map(|behind| behind.prefix).collect();
    let everything: Arc<[IpNet]> = merge(network.prefixes.iter().chain(&outside).copied().collect()).into();
    let nothing: Arc<[IpNet]> = Arc::from([]);
    let peers_of = |(at, client): (usize, &crate::network::Client)| {
        let own = &client_allowed[at];
        let allowed = if client.prefixes.is_empty() {
            everything.clone()
        } else {
            let others = network.prefixes.iter().chain(&outside).copied().filter(|prefix| !own.contains(prefix));
            merge(others.collect()).into()
        };
        let peer = |(rank, via): (usize, &NodeIx)| Peer {
            who: Member::Node(*via),
            keepalive_s: client.keepalive_s,
            allowed: if rank == 0 { Arc::clone(&allowed) } else { nothing.clone() },
        };
        let mut peers: Vec<Peer> = client.via.iter().enumerate().map(peer).collect();
        peers.sort_by_key(|peer| peer.who);
        peers
    };
    network.clients.iter().enumerate().map(peers_of).collect()
}

/// A node sends keepalives where only it can dial: its NAT would otherwise forget the way back.
fn needs_keepalive(network: &Network, from: NodeIx, to: NodeIx) -> bool {
    network.dialable(from, to).next().is_some() && network.dialable(to, from).next().is_none()
}

fn report_unreachable(network: &Network, paths: &Paths, owned: &[allowed::Owned], findings: &mut Findings) {
    let total: usize = owned.iter().map(|owned| owned.unreachable).sum();
    if total == 0 {
        return;
    }
    let mut pairs = Vec::new();
    let mut wanted = 0;
    let mut first = None;
    for owned in owned.iter().filter(|owned| owned.unreachable > 0) {
        let from = owned.node;
        for to in network.node_numbers().filter(|to| *to > from) {
            if paths.first_hop(from, to).is_some() || network.is_isolated(from, to) {
                continue;
            }
            wanted += 1;
            first.get_or_insert((from, to));
            if pairs.len() < PAIRS_NAMED_MAX {
                pairs.push(format!("{} and {}", network.node(from).name, network.node(to).name));
            }
        }
        if wanted > PAIRS_NAMED_MAX {
            wanted = total / 2;
            break;
        }
    }
    let Some((from, to)) = first else { return };
    let (from, to) = (network.node(from), network.node(to));
    let finding = Finding::new(Kind::NoPath { pairs, count: wanted }, from.place)
        .with_related(to.place, format!("{} and {} are not linked, and no hub relays between them", from.name, to.name))
        .with_fix("Link them, or set `hub = true` on a node that both are linked with.");
    findings.push(finding);
}

/// Router ids that two nodes have.
fn report_router_ids(plan: &Plan, findings: &mut Findings) {
    let mut all = std::collections::BTreeMap::new();
    for node in plan.network.bgp.iter().flat_map(|bgp| &bgp.speakers).map(|speaker| speaker.node) {
        let Some(bgp) = plan.bgp(node) else { continue };
        let Some(other) = all.insert(bgp.router_id, node) else { continue };
        let (first, second) = (plan.network.node(other), plan.network.node(node));
        let label = |node: &crate::network::Node| format!("node {}", node.name);
        let kind = Kind::RouterIdTwice { first: label(first), second: label(second), id: bgp.router_id };
        let finding = Finding::new(kind, second.place).with_related(first.place, "the other");
        findings.push(finding.with_fix("Give one of them another router_id."));
    }
}

/// Hubs that are to be kept apart, and neither has a firewall that does it.
fn report_hub_isolation(network: &Network, findings: &mut Findings) {
    for (a, b) in &network.isolated {
        let (node, other) = (network.node(*a), network.node(*b));
        let bare = |node: &Node| node.firewall.form == FirewallForm::None;
        if node.hub && other.hub && bare(node) && bare(other) {
            let kind = Kind::HubIsolated { hub: node.name.to_string(), other: other.name.to_string() };
            let fix = format!("Give {} or {} a firewall.", node.name, other.name);
            findings.push(
                Finding::new(kind, node.place).with_related(other.place, "the other hub".to_owned()).with_fix(fix),
            );
        }
    }
}

fn report_missing_keys(network: &Network, keys: &Keys, findings: &mut Findings) {
    let entry = network.entry.iter().map(|entry| (&entry.name, entry.place, &keys.entry));
    let nodes = network.nodes.iter().zip(&keys.nodes).map(|(node, key)| (&node.name, node.place, key));
    let clients = network.clients.iter().zip(&keys.clients).map(|(client, key)| (&client.name, client.place, key));
    let missing: Vec<_> = nodes.chain(clients).chain(entry).filter(|(_, _, key)| key.is_none()).collect();
    let Some((name, place, _)) = missing.first() else { return };
    let kind = Kind::NoKey { node: name.to_string(), others: missing.len() - 1 };
    findings.push(Finding::new(kind, *place).with_fix("Run `wayleave key make` to make keys for all that lack one."));
}
