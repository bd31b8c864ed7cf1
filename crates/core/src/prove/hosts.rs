//! Hosts as data: all that decides what becomes of a packet, wherever the host's configuration came from.
//!
//! A plan gives [`Hosts`] (see [`Hosts::from_plan`]); so do imported configurations (see [`crate::import::model`]). What is in the model: devices and
//! their peers with allowed prefixes, routes in tables with rules in front, own addresses, prefixes of LANs, forwarding,
//! the reverse path filter, masquerading out of a device, a list of accepted and refused pairs of prefixes, and a planned
//! firewall with its ports. Nothing here is checked or decided; [`super::reachability`] does that.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::intent::Intent;
use crate::check::Span;
use crate::keys::PublicKey;
use crate::plan::Firewall;

/// The table in which routes stand unless said otherwise (`rt_tables`: 254).
pub const TABLE_MAIN: u32 = 254;

/// All hosts of a network, and what on them is to be reached.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// What is to reach each other: nodes, clients, sites.
    pub ends: Vec<End>,
    /// Pairs of hosts (smaller number first, sorted) that must not reach each other, with all that is behind them.
    pub apart: Vec<(u32, u32)>,
    /// What is meant to be allowed; none: everything.
    pub intent: Option<Arc<Intent>>,
}

/// One host.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Its WireGuard devices.
    pub devices: Vec<Device>,
    /// Routes besides those that a device's [`Device::routed_in`] makes.
    pub routes: Vec<Route>,
    /// Which tables are asked, in order, before [`TABLE_MAIN`].
    pub rules: Vec<Rule>,
    /// Whether it passes on IPv4 packets that are not its own.
    pub forwards_v4: bool,
    /// The same for IPv6.
    pub forwards_v6: bool,
    /// What it demands of the way back to a packet's source.
    pub rp_filter: RpFilter,
    /// Firewall for packets that come in: the first rule that matches decides, and without any they are accepted.
    pub filter: Vec<FilterRule>,
    /// Firewall for packets that open connections, where they enter or leave the overlay; answers pass it.
    pub firewall: Option<Arc<Firewall>>,
    /// Where it is described.
    pub place: Option<Span>,
}

/// A WireGuard device.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// Its name on the host.
    pub name: String,
    /// Its public key, if it is known.
    pub public_key: Option<PublicKey>,
    /// The table into which a route for each allowed prefix goes; none if no routes are installed.
    pub routed_in: Option<u32>,
    /// Whether what it passes on for others leaves with the host's own address as its source.
    pub masquerade: bool,
    /// Its peers. A prefix given to two of them belongs to the later one.
    pub peers: Vec<Peer>,
}

/// An entry in a device. Small, since a full mesh of a thousand hosts has a million.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The host and the device at the other end; none if no host has the peer's key.
    pub to: Option<(u32, u32)>,
    /// Whether this side can dial the other.
    pub dials: bool,
    /// Prefixes that go to it, and that it may send from.
    pub allowed: Arc<[IpNet]>,
    /// What a configuration says of it; a plan has nothing to add.
    pub written: Option<Box<WrittenPeer>>,
}

/// A peer as a configuration has it.
#[derive(Debug, Clone, Default)]
pub struct WrittenPeer {
    /// Its public key.
    pub public_key: Option<PublicKey>,
    /// A name from a comment.
    pub label: Option<String>,
    /// Where it stands.
    pub place: Option<Span>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its table.
    pub table: u32,
    /// Its destinations.
    pub prefix: IpNet,
    /// Where they go. Of two routes for one prefix in one table the first counts.
    pub to: RouteTo,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteTo {
    /// Into a device, by its position in [`Host::devices`].
    Device(u32),
    /// To a network that the host is on, where the destination is.
    Lan,
    /// Nowhere: `unreachable`, `blackhole`, or out of the model.
    Nowhere,
}

/// A rule in front of a table: what has no route there falls through to the next rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Only packets from here.
    pub from: Option<IpNet>,
    /// The table.
    pub table: u32,
    /// Routes as short as this or shorter don't count (`suppress_prefixlength`).
    pub suppress: Option<u8>,
}

/// What a host demands of the way back to a packet's source (`rp_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RpFilter {
    /// Nothing.
    #[default]
    Off,
    /// Some route (2).
    Loose,
    /// A route through the device that the packet came from (1).
    Strict,
}

/// A firewall rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterRule {
    /// Sources.
    pub from: IpNet,
    /// Destinations.
    pub to: IpNet,
    /// Whether they may pass.
    pub accept: bool,
}

/// What an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndKind {
    /// A node's own addresses.
    Node,
    /// A client's own addresses.
    Client,
    /// Prefixes behind gateways or behind a client.
    Site,
}

/// Something that is to reach all others: a node, a client, a site.
#[derive(Debug, Clone)]
pub struct End {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: EndKind,
    /// Its addresses.
    pub prefixes: Vec<IpNet>,
    /// The hosts at which it is reached, the one that speaks for it first.
    pub at: Vec<u32>,
}

impl Hosts {
    /// Matches peers with hosts by their public keys. A key that no device or more than one has is left as it is.
    pub fn connect(&mut self) {
        let mut owners = std::collections::BTreeMap::new();
        for (at, host) in self.hosts.iter().enumerate() {
            for (no, device) in host.devices.iter().enumerate() {
                let Some(key) = device.public_key else { continue };
                let owner = Some((at as u32, no as u32));
                owners.entry(key).and_modify(|known| *known = None).or_insert(owner);
            }
        }
        let peers = self.hosts.iter_mut().flat_map(|host| &mut host.devices).flat_map(|device| &mut device.peers);
        for peer in peers {
            let key = peer.written.as_ref().and_then(|written| written.public_key);
            if let Some(Some(owner)) = key.and_then(|key| owners.get(&key)) {
                peer.to = Some(*owner);
            }
        }
    }

    /// Makes an end of every host's own addresses, and of every LAN that one or more hosts are on. An address that several
    /// hosts have tells none of them from the others, and is left out where a host has another one.
    pub fn name_ends(&mut self) {
        let mut owners: std::collections::BTreeMap<IpAddr, usize> = std::collections::BTreeMap::new();
        self.hosts.iter().flat_map(|host| &host.addresses).for_each(|own| *owners.entry(*own).or_default() += 1);
        let mut lans: std::collections::BTreeMap<IpNet, Vec<u32>> = std::collections::BTreeMap::new();
        let mut ends = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            let alone: Vec<IpAddr> = host.addresses.iter().copied().filter(|own| owners[own] == 1).collect();
            let has = |own: &IpAddr| alone.iter().any(|other| other.is_ipv4() == own.is_ipv4());
            let shared = host.addresses.iter().copied().filter(|own| owners[own] > 1 && !has(own));
            let prefixes = alone.iter().copied().chain(shared).map(IpNet::from).collect();
            ends.push(End { name: host.name.clone(), kind: EndKind::Node, prefixes, at: vec![at as u32] });
            for route in host.routes.iter().filter(|route| route.to == RouteTo::Lan) {
                lans.entry(route.prefix).or_default().push(at as u32);
            }
        }
        let site = |(prefix, at): (IpNet, Vec<u32>)| {
            let name = format!("{prefix} behind {}", self.hosts[at[0] as usize].name);
            End { name, kind: EndKind::Site, prefixes: vec![prefix], at }
        };
        ends.extend(lans.into_iter().map(site));
        self.ends = ends;
    }

    /// What a peer is called: the host at its other end, its label, its key.
    pub fn peer_name(&self, peer: &Peer) -> String {
        let written = peer.written.as_ref();
        let by_host = peer.to.map(|(host, _)| self.hosts[host as usize].name.clone());
        let by_label = || written.and_then(|written| written.label.clone());
        let by_key = || written.and_then(|written| written.public_key).map(|key| key.to_string());
        by_host.or_else(by_label).or_else(by_key).unwrap_or_else(|| "somebody".to_owned())
    }

    /// Whether two hosts must not reach each other.
    pub fn is_apart(&self, a: u32, b: u32) -> bool {
        !self.apart.is_empty() && self.apart.binary_search(&(a.min(b), a.max(b))).is_ok()
    }
}
