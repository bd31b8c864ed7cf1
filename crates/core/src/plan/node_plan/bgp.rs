//! BGP on one node: neighbours' devices, sessions with other nodes, and what is believed and told.
//!
//! In: the network and everybody's addresses. Out: all that BIRD, the devices and the firewall are told. What is learned goes
//! into a table of its own. Packets of the tunnels themselves carry a mark and don't ask it, so that no route that somebody
//! announces can lead them into a tunnel.

use std::net::{IpAddr, Ipv4Addr};

use blake2::{Blake2s256, Digest as _};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::own_table;
use crate::keys::PublicKey;
use crate::names::{DeviceName, Name};
use crate::network::{
    Bgp, Endpoint, Exports, LineClass, Neighbour, NodeIx, PrefixRange, Profile, Roa, Sessions, Site, Speaker, TheirBird,
};
use crate::plan::{Member, Plan, host, merge};

/// Tables of routes that BGP tells of: beside those of devices.
pub const BGP_TABLES: std::ops::RangeInclusive<u32> = 50_180..=50_999;
/// From a device's own table to its table for BGP, from that one to the table for the node's own claims, and on to that for others'.
const BELOW_OWN_TABLE: u32 = 820;

/// The kernel's table for what BGP tells a node with this device.
pub fn bgp_table(device: &DeviceName) -> u32 {
    own_table(device) - BELOW_OWN_TABLE
}

/// The kernel's tables for the claims of a node with this device: its own, and those that it hears of.
pub fn claim_tables(device: &DeviceName) -> [u32; 2] {
    let below = bgp_table(device);
    [below - BELOW_OWN_TABLE, below - 2 * BELOW_OWN_TABLE]
}

/// BGP on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpPlan {
    /// The network's AS number.
    pub asn: u32,
    /// The node's router id.
    pub router_id: Ipv4Addr,
    /// The kernel's table for what is learned.
    pub table: u32,
    /// Mark of encrypted packets, which don't use that table.
    pub mark: u32,
    /// Addresses besides the overlay's, on the node's own device.
    pub service_addresses: Vec<IpAddr>,
    /// The source of packets into what is learned, of each family at most one.
    pub sources: Vec<IpAddr>,
    /// Prefixes that may be announced.
    pub own: Vec<IpNet>,
    /// A larger network whose rules are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Where route origins are looked up.
    pub roa: Roa,
    /// Whether it passes on to other nodes what it has from one of them.
    pub is_reflector: bool,
    /// The nodes with which it has sessions, sorted by name.
    pub nodes: Vec<InternalPlan>,
    /// All other nodes that speak BGP and that it may reach, sorted by name: those that routes can lead to.
    pub speakers: Vec<SpeakerPlan>,
    /// Prefixes that the plan itself carries, merged: no route that is learned takes them.
    pub planned: Vec<IpNet>,
    /// Its neighbours, sorted by name.
    pub neighbours: Vec<NeighbourPlan>,
    /// Prefixes in which any node of the network may announce something, merged. The nodes may send from all of them, wherever
    /// packets to these go: with BGP the way there need not be the way back.
    pub announced: Vec<IpNet>,
    /// Whether a firewall keeps neighbours to what they may do.
    pub is_guarded: bool,
    /// What may be announced at two nodes: packets from there may come by another node than their answers go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_origins: Option<IpNet>,
    /// The BIRD that the administrator runs and that includes our part; none: one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bird: Option<TheirBird>,
    /// How routes tell with which entry node each client is; none: they don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ClaimRoutesPlan>,
}

/// Routes that say with which entry node each client is: to the client's first address, by the entry node. And by which gateway a
/// site is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRoutesPlan {
    /// The kernel's table in which the agent puts those of this node, for BIRD to tell. No rule asks it.
    pub origins: u32,
    /// The one in which BIRD puts those of other nodes, for the agent to hear. No rule asks it either.
    pub heard: u32,
    /// What clients' addresses are in.
    pub within: Vec<IpNet>,
    /// MED of this node's: of two with the same epoch the lower one is in force. The node whose name comes last has 0.
    pub med: u32,
    /// The other nodes that have anything to claim, with their overlay addresses, which are the next hops of theirs.
    pub servers: Vec<(Name, Vec<IpAddr>)>,
    /// Sites of which BGP tells who of several gateways gets into them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<SiteRoutesPlan>,
    /// Whether this node has anything to claim.
    pub originates: bool,
}

/// Routes that say which gateways get into a site: to its prefixes, by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRoutesPlan {
    /// The site.
    pub name: Name,
    /// Its prefixes, as far as BGP can tell of them. The first stands for the site.
    pub prefixes: Vec<IpNet>,
}

/// A session with another node of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternalPlan {
    /// The node.
    pub name: Name,
    /// Its overlay addresses, v4 before v6.
    pub addresses: Vec<IpAddr>,
    /// Whether this node reflects to it.
    pub is_client: bool,
}

/// Another node that speaks BGP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeakerPlan {
    /// The node.
    pub name: Name,
    /// Its overlay addresses, v4 before v6: the next hops of routes that lead to it.
    pub addresses: Vec<IpAddr>,
    /// Its addresses besides, which it tells the others of.
    pub service_addresses: Vec<IpAddr>,
    /// Whether no way leads to it, by what is known of links.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_lost: bool,
}

/// A foreign router, its device and its sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourPlan {
    /// Its name.
    pub name: Name,
    /// Its AS number.
    pub asn: u32,
    /// The device for it.
    pub device: DeviceName,
    /// UDP port of that device.
    pub port: u16,
    /// MTU of that device.
    pub mtu: u16,
    /// Its public key.
    pub public_key: PublicKey,
    /// The public half of our key for it alone; none: it has the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_public_key: Option<PublicKey>,
    /// Whether there is a preshared key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preshared: bool,
    /// Where it is dialled; none: it dials.
    pub endpoint: Option<Endpoint>,
    /// Seconds between keepalives; none: no keepalives.
    pub keepalive_s: Option<u16>,
    /// Our addresses on that device.
    pub own_addresses: Vec<IpNet>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Which sessions are held.
    pub sessions: Sessions,
    /// What it may announce.
    pub accept: Vec<PrefixRange>,
    /// Routes of each family that it may announce.
    pub max_prefixes: u32,
    /// What it is told.
    pub export: Exports,
    /// Whether both sides watch each other by BFD.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bfd: bool,
    /// Classes of the line to it.
    pub line: LineClass,
}

impl BgpPlan {
    /// Whether there is anybody to be kept to what he may do.
    pub fn guards(&self) -> bool {
        self.is_guarded && !self.neighbours.is_empty()
    }
}

impl NeighbourPlan {
    /// Its address of a family, if a session is over it.
    pub fn address(&self, is_v4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == is_v4)
    }

    /// Our address of a family on the device for it.
    pub fn own_address(&self, is_v4: bool) -> Option<IpAddr> {
        self.own_addresses.iter().map(IpNet::addr).find(|address| address.is_ipv4() == is_v4)
    }

    /// Its addresses that are in no prefix of ours on the device, and need a route of their own.
    pub fn beyond(&self) -> impl Iterator<Item = IpAddr> {
        let is_beyond = |address: &&IpAddr| !self.own_addresses.iter().any(|own| own.contains(*address));
        self.addresses.iter().filter(is_beyond).copied()
    }
}

impl Plan {
    /// BGP on a node; none if it speaks none.
    pub fn bgp(&self, node: NodeIx) -> Option<BgpPlan> {
        let bgp = self.network.bgp.as_ref()?;
        let speaker = bgp.speaker(node)?;
        let overlay = self.overlay_addresses(Member::Node(node));
        let table = bgp.table.unwrap_or_else(|| bgp_table(&self.network.node(node).device));
        Some(BgpPlan {
            asn: bgp.asn,
            router_id: router_id(speaker, overlay, &self.network.node(node).name),
            table,
            mark: table,
            service_addresses: speaker.service_addresses.clone(),
            sources: [true, false].into_iter().filter_map(|is_v4| bgp.source(speaker, overlay, is_v4)).collect(),
            own: bgp.own.clone(),
            profile: bgp.profile,
            roa: bgp.roa.clone(),
            is_reflector: speaker.is_reflector,
            nodes: self.internal(bgp, speaker),
            speakers: self.speakers(bgp, speaker),
            planned: self.planned(),
            announced: self.announced(bgp),
            neighbours: self.network.neighbours_of(node).map(neighbour).collect(),
            is_guarded: self.network.node(node).firewall.guards_neighbours,
            two_origins: self.network.rivals().map(|(_, origin)| origin.prefix),
            bird: speaker.bird.clone(),
            claims: self.network.has_claims_by_bgp().then(|| self.claim_routes(node)),
        })
    }

    fn claim_routes(&self, node: NodeIx) -> ClaimRoutesPlan {
        let [origins, heard] = claim_tables(&self.network.node(node).device);
        let network = &self.network;
        let by_bgp = || network.sites.iter().filter(|site| network.is_site_by_bgp(site));
        let mut claimants: Vec<NodeIx> =
            network.entries().chain(by_bgp().flat_map(|site| site.gateways.iter().copied())).collect();
        claimants.sort_unstable();
        claimants.dedup();
        let site = |site: &Site| SiteRoutesPlan {
            name: site.name.clone(),
            prefixes: network.told_prefixes(site).copied().collect(),
        };
        let others = claimants.iter().copied().filter(|other| *other != node);
        let server = |other: NodeIx| {
            (self.network.node(other).name.clone(), self.overlay_addresses(Member::Node(other)).to_vec())
        };
        let later = self.network.nodes.len() - 1 - node.at();
        ClaimRoutesPlan {
            origins,
            heard,
            within: self.network.prefixes.clone(),
            med: later as u32,
            servers: others.map(server).collect(),
            sites: by_bgp().map(site).collect(),
            originates: claimants.contains(&node),
        }
    }

    /// The nodes with which a node has sessions: all that speak BGP, or with reflectors only these.
    fn internal(&self, bgp: &Bgp, speaker: &Speaker) -> Vec<InternalPlan> {
        let has_reflectors = bgp.speakers.iter().any(|other| other.is_reflector);
        let talks = |other: &&Speaker| {
            other.node != speaker.node
                && (!has_reflectors || speaker.is_reflector || other.is_reflector)
                && !self.network.is_isolated(speaker.node, other.node)
        };
        let session = |other: &Speaker| InternalPlan {
            name: self.network.node(other.node).name.clone(),
            addresses: self.overlay_addresses(Member::Node(other.node)).to_vec(),
            is_client: speaker.is_reflector && !other.is_reflector,
        };
        bgp.speakers.iter().filter(talks).map(session).collect()
    }
}

impl Plan {
    fn speakers(&self, bgp: &Bgp, own: &Speaker) -> Vec<SpeakerPlan> {
        let others = bgp.speakers.iter().filter(|other| other.node != own.node);
        let plan = |other: &Speaker| SpeakerPlan {
            name: self.network.node(other.node).name.clone(),
            addresses: self.overlay_addresses(Member::Node(other.node)).to_vec(),
            service_addresses: other.service_addresses.clone(),
            is_lost: self.path(Member::Node(own.node), Member::Node(other.node)).is_none(),
        };
        others.filter(|other| !self.network.is_isolated(own.node, other.node)).map(plan).collect()
    }

    /// All that has a place in the network: addresses of nodes, clients and links, what is behind gateways and clients.
    fn planned(&self) -> Vec<IpNet> {
        let network = &self.network;
        let sites = network.sites.iter().flat_map(|site| &site.prefixes);
        let clients = network.clients.iter().flat_map(|client| &client.prefixes);
        // A default route that is written for a peer says nothing of what is inside it.
        let written = network.fixed.iter().flat_map(|fixed| &fixed.allowed).filter(|prefix| prefix.prefix_len() > 0);
        let all = network.prefixes.iter().chain([&network.link_prefix]).chain(sites).chain(clients).chain(written);
        merge(all.copied().collect())
    }

    fn announced(&self, bgp: &Bgp) -> Vec<IpNet> {
        let accepted = self.network.neighbours.iter().flat_map(|neighbour| &neighbour.accept);
        let services = bgp.speakers.iter().flat_map(|speaker| &speaker.service_addresses);
        let all = accepted.map(|range| range.prefix).chain(bgp.own.iter().copied());
        merge(all.chain(services.map(|address| host(*address))).collect())
    }
}

/// The router id: as given, else an IPv4 address of its own, else something that is the same at every start.
fn router_id(speaker: &Speaker, overlay: &[IpAddr], name: &Name) -> Ipv4Addr {
    let mut own = speaker.service_addresses.iter().chain(overlay).filter_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let made = || {
        let digest = Blake2s256::digest(format!("wayleave router id {name}"));
        Ipv4Addr::new(digest[0], digest[1], digest[2], digest[3])
    };
    speaker.router_id.or_else(|| own.next()).unwrap_or_else(made)
}

fn neighbour(from: &Neighbour) -> NeighbourPlan {
    NeighbourPlan {
        name: from.name.clone(),
        asn: from.asn,
        device: from.device.clone(),
        port: from.port,
        mtu: from.mtu,
        public_key: from.public_key,
        own_public_key: from.own_public_key,
        preshared: from.preshared,
        endpoint: from.endpoint.clone(),
        keepalive_s: (from.keepalive_s > 0).then_some(from.keepalive_s),
        own_addresses: from.own_addresses.clone(),
        addresses: from.addresses.clone(),
        sessions: from.sessions,
        accept: from.accept.clone(),
        max_prefixes: from.max_prefixes,
        export: from.export,
        bfd: from.bfd,
        line: from.line,
    }
}
