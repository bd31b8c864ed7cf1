//! The network as MEANT: names resolved to numbers, defaults filled in, rules expanded, everything valid.
//!
//! [`resolve::resolve`] makes a [`Network`] from a [`crate::file::NetworkFile`]; from then on no `Option` means
//! "not checked yet". Lists are sorted by name, so a number is the same on every node whatever the order of the
//! file. Addresses that the file does not give are allocated later, by the plan, from the ledger.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::check::Span;
use crate::keys::PublicKey;
use crate::names::{DeviceName, Name};

mod assertions;
mod bgp;
mod entry;
mod outside;
mod parties;
mod policy;
mod ports;
pub mod resolve;
mod rtt;
mod selection;

pub use assertions::{Assertion, Claim, ElementKind};
pub use bgp::{
    Bgp, Carrier, Exports, LineClass, Neighbour, Origin, PrefixRange, Profile, Roa, Sessions, Speaker, TheirBird,
};
pub use entry::{ENTRY_NAME, Entry};
pub use outside::Refusal;
pub use policy::{Denial, FirewallForm, FirewallWish, Parties, Party, Permission, Policy, Service};
pub use ports::{PortClasses, PortRange, Ports};
pub use rtt::{Place, RttTable};

/// A node's number: its position in [`Network::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIx(pub u32);

/// A region's number: its position in [`Network::regions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionIx(pub u32);

impl NodeIx {
    /// The position as an index.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

impl RegionIx {
    /// The position as an index.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// The whole validated network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its name.
    pub name: Name,
    /// DNS domain of its names, if it has one.
    pub domain: Option<String>,
    /// Overlay prefixes, at least one; v4 before v6, disjoint.
    pub prefixes: Vec<IpNet>,
    /// Range of the per-node link addresses, disjoint from the overlay prefixes (see `ARCHITECTURE.md`).
    pub link_prefix: IpNet,
    /// Ranges set aside for clients, inside the overlay prefixes; empty if clients use the overlay prefixes at large.
    pub client_prefixes: Vec<IpNet>,
    /// Regions sorted by name.
    pub regions: Vec<Region>,
    /// Nodes sorted by name.
    pub nodes: Vec<Node>,
    /// Clients sorted by name.
    pub clients: Vec<Client>,
    /// What clients roam between; none: they don't.
    pub entry: Option<Entry>,
    /// What it has of BGP; none: nothing.
    pub bgp: Option<Bgp>,
    /// Foreign routers with which BGP is spoken, sorted by name.
    pub neighbours: Vec<Neighbour>,
    /// Sites sorted by name.
    pub sites: Vec<Site>,
    /// Wanted links: pairs with the smaller number first, sorted, each with at least one side that has an endpoint
    /// which the other can dial. Clients' links are in [`Client::via`].
    pub links: Vec<Link>,
    /// Pairs (smaller number first, sorted) of nodes that must not reach each other.
    pub isolated: Vec<(NodeIx, NodeIx)>,
    /// Who may open connections to whom.
    pub policy: Policy,
    /// What must be true of it.
    pub assertions: Vec<Assertion>,
    /// Round-trip times stated in the file.
    pub rtt: RttTable,
    /// Prefixes that peers have as written instead of as planned, sorted.
    pub fixed: Vec<Fixed>,
}

/// A region: nodes near each other, with a prefix of their own if one is given.
#[derive(Debug, Clone)]
pub struct Region {
    /// Its name.
    pub name: Name,
    /// Prefixes its nodes' addresses come from (at most one v4 and one v6), inside the overlay prefixes.
    pub prefixes: Vec<IpNet>,
    /// Where the file names it.
    pub place: Span,
}

/// A machine in the network that others may dial or that dials others.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// Its region.
    pub region: Option<RegionIx>,
    /// Its tags, sorted.
    pub tags: Vec<Name>,
    /// Relays between nodes.
    pub hub: bool,
    /// Takes clients.
    pub entry: bool,
    /// What runs on the host.
    pub platform: Platform,
    /// Its public key, if the file has one.
    pub public_key: Option<PublicKey>,
    /// Overlay addresses given in the file (at most one v4, one v6).
    pub addresses: Vec<IpAddr>,
    /// Where it can be dialled, in the file's order; empty for a node behind NAT.
    pub endpoints: Vec<Endpoint>,
    /// Named private networks it is on (also those of its endpoints), sorted.
    pub underlays: Vec<Name>,
    /// Its own addresses in the sites behind it.
    pub lan_addresses: Vec<IpAddr>,
    /// Routers in the sites behind it, to which hosts there send everything else.
    pub lan_routers: Vec<IpAddr>,
    /// Its UDP port.
    pub port: u16,
    /// MTU of its device.
    pub mtu: u16,
    /// Seconds between keepalives where this node needs them; 0 never sends any.
    pub keepalive_s: u16,
    /// Name of its device.
    pub device: DeviceName,
    /// Whether the host routes what its peers are allowed, or a routing daemon does.
    pub installs_routes: bool,
    /// What its firewall is to do.
    pub firewall: FirewallWish,
    /// Where the file names it.
    pub place: Span,
}

/// A road warrior: dials its nodes, is never dialled.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its name, distinct from all nodes' names.
    pub name: Name,
    /// Its tags, sorted.
    pub tags: Vec<Name>,
    /// Its region, for round-trip times only.
    pub region: Option<RegionIx>,
    /// Nodes it connects to, the preferred one first; at least one, each with a public endpoint. Of a client that roams all
    /// entry nodes, the nearest first.
    pub via: Vec<NodeIx>,
    /// Whether it may be with any of them, at [`Network::entry`].
    pub roams: bool,
    /// What runs on it.
    pub platform: Platform,
    /// Its public key, if the file has one.
    pub public_key: Option<PublicKey>,
    /// Overlay addresses given in the file (at most one v4, one v6).
    pub addresses: Vec<IpAddr>,
    /// Prefixes behind it (a LAN at home).
    pub prefixes: Vec<IpNet>,
    /// MTU of its device.
    pub mtu: u16,
    /// Seconds between keepalives; 0 never sends any.
    pub keepalive_s: u16,
    /// Name of its device.
    pub device: DeviceName,
    /// Whether TCP between what is behind it and the tunnel is told what fits through.
    pub clamps_mss: bool,
    /// Where the file names it.
    pub place: Span,
}

/// Prefixes behind gateways: a LAN, a VPC.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its name; a node's own `prefixes` make a site of the node's name.
    pub name: Name,
    /// Its prefixes, sorted, disjoint from everything else.
    pub prefixes: Vec<IpNet>,
    /// Its gateways, the preferred one first.
    pub gateways: Vec<NodeIx>,
    /// Whether packets from the overlay get their gateway's address before they enter it: v4, v6.
    pub masquerade: [bool; 2],
    /// Where the file names it.
    pub place: Span,
}

/// A wanted direct connection between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The node with the smaller number.
    pub a: NodeIx,
    /// The node with the larger number.
    pub b: NodeIx,
}

/// What a member's device gives to one of its peers, whatever would be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The member.
    pub of: Name,
    /// Its peer.
    pub peer: Name,
    /// The peer's allowed prefixes, sorted.
    pub allowed: Vec<IpNet>,
}

/// Where a node can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The named private network in which it is valid; none: everywhere.
    pub underlay: Option<Name>,
    /// Address or DNS name.
    pub host: Host,
    /// UDP port.
    pub port: u16,
}

/// The host part of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A DNS name, lower case.
    Dns(String),
}

/// What runs on a host, and so what is rendered for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// Linux with `wg-quick`.
    WgQuick,
    /// Linux with our agent.
    Agent,
    /// Linux with systemd-networkd.
    Networkd,
    /// Linux with nothing but `ip` and `wg`: a script.
    Commands,
    /// A new virtual machine: user-data for cloud-init.
    CloudInit,
    /// A container: its entrypoint.
    Container,
    /// Ubiquiti EdgeOS.
    Edgeos,
    /// VyOS.
    Vyos,
    /// MikroTik RouterOS 7.
    Routeros,
    /// A telephone or a desktop with a WireGuard app.
    App,
}

impl Platform {
    /// All of them, in the order in which people are told of them.
    pub const ALL: [Platform; 10] = [
        Platform::WgQuick,
        Platform::Agent,
        Platform::Networkd,
        Platform::Commands,
        Platform::CloudInit,
        Platform::Container,
        Platform::Edgeos,
        Platform::Vyos,
        Platform::Routeros,
        Platform::App,
    ];

    /// Its word in network files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Platform::WgQuick => "wg-quick",
            Platform::Agent => "agent",
            Platform::Networkd => "networkd",
            Platform::Commands => "commands",
            Platform::CloudInit => "cloud-init",
            Platform::Container => "container",
            Platform::Edgeos => "edgeos",
            Platform::Vyos => "vyos",
            Platform::Routeros => "routeros",
            Platform::App => "app",
        }
    }
}

impl Network {
    /// The node with a number that this network handed out.
    pub fn node(&self, ix: NodeIx) -> &Node {
        &self.nodes[ix.at()]
    }

    /// The number of the node with a name.
    pub fn find_node(&self, name: &Name) -> Option<NodeIx> {
        self.nodes.binary_search_by(|node| node.name.cmp(name)).ok().map(|at| NodeIx(at as u32))
    }

    /// All node numbers in order.
    pub fn node_numbers(&self) -> impl Iterator<Item = NodeIx> + use<> {
        (0..self.nodes.len() as u32).map(NodeIx)
    }

    /// Whether a pair must not reach each other.
    pub fn is_isolated(&self, a: NodeIx, b: NodeIx) -> bool {
        self.isolated.binary_search(&(a.min(b), a.max(b))).is_ok()
    }

    /// The endpoints of `to` that `from` can dial: those in private networks both are on first, then public ones.
    pub fn dialable<'a>(&'a self, from: NodeIx, to: NodeIx) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
        let (from, to) = (self.node(from), self.node(to));
        let shared = to.endpoints.iter().filter(|e| e.underlay.as_ref().is_some_and(|u| from.underlays.contains(u)));
        shared.chain(to.endpoints.iter().filter(|e| e.underlay.is_none()))
    }
}

impl Node {
    /// Whether it can be dialled from anywhere; if not, it is behind NAT as far as the network is concerned.
    pub fn is_public(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.underlay.is_none())
    }
}

impl std::fmt::Display for Endpoint {
    /// `host:port`, with brackets around an IPv6 address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.port),
            Host::Dns(name) => write!(f, "{name}:{}", self.port),
        }
    }
}
