//! One member's part of the plan, complete in itself: what a renderer writes and an agent carries out.
//!
//! Unfolded on demand from the compact [`Plan`], so that a large network never exists twice in memory.

mod bgp;
mod entry;
mod moves;

use std::net::IpAddr;

use blake2::{Blake2s256, Digest as _};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::prefixes::merge;
pub use bgp::{
    BGP_TABLES, BgpPlan, ClaimRoutesPlan, InternalPlan, NeighbourPlan, SpeakerPlan, bgp_table, claim_tables,
};
pub use entry::EntryPlan;
pub(super) use entry::homes;
pub use moves::{Edits, Moved, Moves};

use super::{Firewall, Member, Peer, Plan};
use crate::keys::PublicKey;
use crate::names::{DeviceName, Name};
use crate::network::{ENTRY_NAME, Endpoint, Host, Platform};

/// Routing tables, and marks, of devices that need one: away from the numbers that `wg-quick` picks by itself, from 51820 upwards.
pub const OWN_TABLES: std::ops::RangeInclusive<u32> = 51_000..=51_819;
/// The first of those of `wg0`, `wg1` and so on; other devices have the numbers before it.
const USUAL_TABLE: u32 = 51_800;

/// The routing table and mark of a device that needs one. Devices whose names differ in their number only, as those of several
/// networks on one host do, have different ones.
pub fn own_table(device: &DeviceName) -> u32 {
    let stem = device.as_str().trim_end_matches(|c: char| c.is_ascii_digit());
    // At most fifteen digits.
    let number: u64 = device.as_str()[stem.len()..].parse().unwrap_or(0);
    if stem == "wg" && number <= u64::from(OWN_TABLES.end() - USUAL_TABLE) {
        return USUAL_TABLE + number as u32;
    }
    let digest = Blake2s256::digest(stem.as_bytes());
    let begin = u64::from(u16::from_be_bytes([digest[0], digest[1]]));
    let others = u64::from(USUAL_TABLE - OWN_TABLES.start());
    OWN_TABLES.start() + ((begin + number) % others) as u32
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberKind {
    /// A node.
    Node,
    /// A road warrior.
    Client,
}

/// Everything one host needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// The network's name.
    pub network: Name,
    /// The plan's generation.
    pub generation: u64,
    /// The member's name.
    pub name: Name,
    /// Node or client.
    pub kind: MemberKind,
    /// Its region.
    pub region: Option<Name>,
    /// What runs on the host.
    pub platform: Platform,
    /// Its device.
    pub device: DeviceName,
    /// UDP port to listen on; none lets the kernel choose.
    pub port: Option<u16>,
    /// MTU of the device in bytes.
    pub mtu: u16,
    /// Its public key, if it is known.
    pub public_key: Option<PublicKey>,
    /// Overlay addresses, v4 before v6.
    pub addresses: Vec<IpAddr>,
    /// Address for probes of direct links, outside the overlay prefixes.
    pub link_address: Option<IpAddr>,
    /// Whether it passes on packets that are not its own.
    pub forwards: bool,
    /// Prefixes of the sites in front of which it stands, and of the LAN behind a client.
    pub local_prefixes: Vec<IpNet>,
    /// Prefixes to route into the device: all that peers are allowed, merged; none if a routing daemon decides.
    pub routes: Vec<IpNet>,
    /// Number of the routing table for `routes`, and mark of encrypted packets, which don't use that table. Given where a
    /// peer is dialled at an address inside `routes`, as in clouds: its packets would otherwise enter their own tunnel.
    pub own_table: Option<u32>,
    /// Its firewall; none if nobody sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Firewall>,
    /// Whether the policy refuses anything that a firewall would have to enforce.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_restricted: bool,
    /// Whether TCP between its sites and the tunnel is told what size of segments fits through (MSS clamping).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clamps_mss: bool,
    /// Its peers, sorted: nodes by name, then clients by name.
    pub peers: Vec<PeerPlan>,
    /// The device of clients that roam, on entry nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryPlan>,
    /// BGP, on nodes that speak it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<BgpPlan>,
}

/// One peer of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPlan {
    /// The peer's name.
    pub name: Name,
    /// Node or client.
    pub kind: MemberKind,
    /// Its public key, if it is known.
    pub public_key: Option<PublicKey>,
    /// Where to dial it, the preferred one first; empty: wait to be dialled.
    pub endpoints: Vec<Endpoint>,
    /// Seconds between keepalives; none: no keepalives.
    pub keepalive_s: Option<u16>,
    /// The peer's link address, always allowed besides `allowed` on hosts that use link addresses.
    pub link_address: Option<IpAddr>,
    /// Prefixes that go to it and that it may send from, merged; empty: a standby link.
    pub allowed: Vec<IpNet>,
}

/// What a key is to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// The private key of a member, for its own device and those of neighbours.
    Member,
    /// The private key that all entry nodes share.
    Entry,
    /// A private key for one neighbour alone.
    Neighbour,
    /// The key that a neighbour and its node share, besides their own.
    Preshared,
}

impl KeyKind {
    /// How the name of its file ends.
    pub fn ending(self) -> &'static str {
        if self == KeyKind::Preshared { "psk" } else { "key" }
    }
}

/// A device that a host needs a key for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyNeed<'a> {
    /// What it is to the device.
    pub kind: KeyKind,
    /// The device.
    pub device: &'a DeviceName,
    /// Whose key it is: the member's, that of all entry nodes together, or for which neighbour.
    pub owner: &'a str,
    /// The device by whose name the key's file is called: a node has one key for its own device and those of neighbours.
    pub file: &'a DeviceName,
    /// Its public half, if it has one and that is known.
    pub public_key: Option<PublicKey>,
}

impl NodePlan {
    /// Whether packets of a family go to peers or neighbours.
    pub fn carries(&self, is_v4: bool) -> bool {
        let entry = self.entry.iter().flat_map(|entry| &entry.peers);
        let mut allowed = self.peers.iter().chain(entry).flat_map(|peer| &peer.allowed);
        allowed.any(|prefix| prefix.addr().is_ipv4() == is_v4)
            || self.neighbours().iter().any(|neighbour| neighbour.sessions.carry(is_v4))
    }

    /// The member's devices with the keys that they need, its own first.
    pub fn keys(&self) -> impl Iterator<Item = KeyNeed<'_>> {
        let own = |device| KeyNeed {
            kind: KeyKind::Member,
            device,
            owner: self.name.as_str(),
            file: &self.device,
            public_key: self.public_key,
        };
        let neighbours = self.neighbours().iter().map(move |neighbour| match neighbour.own_public_key {
            Some(_) => KeyNeed {
                kind: KeyKind::Neighbour,
                owner: neighbour.name.as_str(),
                file: &neighbour.device,
                public_key: neighbour.own_public_key,
                ..own(&neighbour.device)
            },
            None => own(&neighbour.device),
        });
        let with_preshared = self.neighbours().iter().filter(|neighbour| neighbour.preshared);
        let preshared = with_preshared.map(|neighbour| KeyNeed {
            kind: KeyKind::Preshared,
            device: &neighbour.device,
            owner: neighbour.name.as_str(),
            file: &neighbour.device,
            public_key: None,
        });
        let entry = self.entry.iter().map(|entry| KeyNeed {
            kind: KeyKind::Entry,
            device: &entry.device,
            owner: ENTRY_NAME,
            file: &entry.device,
            public_key: entry.public_key,
        });
        std::iter::once(own(&self.device)).chain(neighbours).chain(preshared).chain(entry)
    }

    /// Its neighbours.
    pub fn neighbours(&self) -> &[NeighbourPlan] {
        self.bgp.as_ref().map_or(&[], |bgp| &bgp.neighbours)
    }

    /// All that it dials or waits for, by name, with their endpoints: peers, then neighbours.
    pub fn dialled(&self) -> impl Iterator<Item = (&Name, &[Endpoint])> {
        let peers = self.peers.iter().map(|peer| (&peer.name, peer.endpoints.as_slice()));
        let neighbours = self.neighbours().iter();
        peers.chain(neighbours.map(|neighbour| (&neighbour.name, neighbour.endpoint.as_slice())))
    }

    /// Mark of encrypted packets; none: they have none.
    pub fn mark(&self) -> Option<u32> {
        self.own_table.or(self.bgp.as_ref().map(|bgp| bgp.mark))
    }

    /// The peer that packets to an address are sent to.
    pub fn next_hop(&self, address: IpAddr) -> Option<&Name> {
        let covers = |peer: &PeerPlan| {
            let covering = peer.allowed.iter().filter(|prefix| prefix.contains(&address));
            covering.map(IpNet::prefix_len).max()
        };
        let owners = self.peers.iter().filter_map(|peer| Some((covers(peer)?, peer)));
        owners.max_by_key(|(length, _)| *length).map(|(_, peer)| &peer.name)
    }
}

/// Whether a peer is dialled at an address that goes into the tunnel.
fn loops(peers: &[PeerPlan], routes: &[IpNet]) -> bool {
    peers.iter().flat_map(|peer| &peer.endpoints).any(|endpoint| match endpoint.host {
        Host::Ip(address) => routes.iter().any(|prefix| prefix.contains(&address)),
        Host::Dns(_) => false,
    })
}

impl Plan {
    /// Unfolds one member's part.
    pub fn of(&self, member: Member) -> NodePlan {
        let peers = self.peer_plans(member);
        let entry = match member {
            Member::Node(ix) => self.entry(ix),
            Member::Client(_) => None,
        };
        let bgp = match member {
            Member::Node(ix) => self.bgp(ix),
            Member::Client(_) => None,
        };
        // Clients that are elsewhere are reached through the node's own device, or nowhere.
        let elsewhere = entry.iter().flat_map(|entry| entry.prefixes().1);
        let installs = match member {
            Member::Node(ix) => self.network.node(ix).installs_routes,
            Member::Client(_) => true,
        };
        let carried = peers.iter().flat_map(|peer| peer.allowed.iter().copied()).chain(elsewhere);
        let routes = merge(carried.filter(|_| installs).collect());
        let own_table = loops(&peers, &routes).then(|| own_table(self.device(member)));
        let bgp = bgp.map(|bgp| BgpPlan { mark: own_table.unwrap_or(bgp.mark), ..bgp });
        let (region, platform, mtu, clamps_mss) = match member {
            Member::Node(ix) => {
                let node = self.network.node(ix);
                (node.region, node.platform, node.mtu, node.firewall.clamps_mss)
            }
            Member::Client(at) => {
                let client = &self.network.clients[at as usize];
                (client.region, client.platform, client.mtu, client.clamps_mss)
            }
        };
        let node = match member {
            Member::Node(ix) => Some(ix),
            Member::Client(_) => None,
        };
        let local_prefixes = match member {
            Member::Node(ix) => self.site_prefixes(ix).to_vec(),
            Member::Client(at) => self.network.clients[at as usize].prefixes.clone(),
        };
        NodePlan {
            network: self.network.name.clone(),
            generation: self.generation,
            name: self.name(member).clone(),
            kind: if node.is_some() { MemberKind::Node } else { MemberKind::Client },
            region: region.map(|ix| self.network.regions[ix.at()].name.clone()),
            platform,
            device: self.device(member).clone(),
            port: node.map(|ix| self.network.node(ix).port),
            mtu,
            public_key: self.public_key(member),
            addresses: self.overlay_addresses(member).to_vec(),
            link_address: self.link_address(member),
            forwards: node.map_or(!local_prefixes.is_empty(), |ix| {
                self.forwards(ix) || self.network.neighbours_of(ix).next().is_some()
            }),
            local_prefixes,
            routes,
            own_table,
            firewall: node.and_then(|ix| self.firewall(ix)),
            is_restricted: self.network.policy.refuses() || !self.network.isolated.is_empty(),
            clamps_mss,
            peers,
            entry,
            bgp,
        }
    }

    /// A member's peers on its own device.
    fn peer_plans(&self, member: Member) -> Vec<PeerPlan> {
        if let Member::Client(at) = member
            && let Some(peer) = self.roaming_peer(at)
        {
            return vec![peer];
        }
        let roams = |peer: &&Peer| matches!(peer.who, Member::Client(at) if self.network.clients[at as usize].roams);
        let own = self.peers(member).iter().filter(|peer| !roams(peer));
        own.map(|peer| self.peer_plan(member, peer)).collect()
    }

    /// The name of a member's device.
    pub fn device(&self, member: Member) -> &DeviceName {
        match member {
            Member::Node(ix) => &self.network.node(ix).device,
            Member::Client(at) => &self.network.clients[at as usize].device,
        }
    }

    fn peer_plan(&self, member: Member, peer: &Peer) -> PeerPlan {
        let endpoints = match (member, peer.who) {
            (Member::Node(from), Member::Node(to)) => self.network.dialable(from, to).cloned().collect(),
            (Member::Client(_), Member::Node(to)) => {
                self.network.node(to).endpoints.iter().filter(|e| e.underlay.is_none()).cloned().collect()
            }
            (_, Member::Client(_)) => Vec::new(),
        };
        PeerPlan {
            name: self.name(peer.who).clone(),
            kind: if matches!(peer.who, Member::Node(_)) { MemberKind::Node } else { MemberKind::Client },
            public_key: self.public_key(peer.who),
            endpoints,
            keepalive_s: (peer.keepalive_s > 0).then_some(peer.keepalive_s),
            link_address: self.link_address(peer.who),
            allowed: peer.allowed.to_vec(),
        }
    }
}
