//! BGP as meant: who of the nodes speaks it, with which foreign routers, and what they are believed.
//!
//! A neighbour is a foreign router: its WireGuard and its BGP are not ours. It has a device of its own at the node that it is
//! joined to, so that the routing daemon decides what goes there. Nodes that speak BGP have sessions with each other over the
//! overlay, whose addresses the plan already carries.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Endpoint, Network, NodeIx, Platform, Site};
use crate::check::Span;
use crate::keys::PublicKey;
use crate::names::{DeviceName, Name};

/// What the network has of BGP.
#[derive(Debug, Clone)]
pub struct Bgp {
    /// Its AS number.
    pub asn: u32,
    /// Prefixes that may be announced, sorted.
    pub own: Vec<IpNet>,
    /// A larger network whose rules are followed.
    pub profile: Option<Profile>,
    /// Where it is told which AS may originate what; none: that is not asked.
    pub roa: Roa,
    /// The kernel's table for what is learned, if the file says so.
    pub table: Option<u32>,
    /// What spreads with which entry node each client is.
    pub carrier: Carrier,
    /// Nodes that speak BGP, sorted.
    pub speakers: Vec<Speaker>,
    /// Where the file has it.
    pub place: Span,
}

/// A node that speaks BGP.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// Which.
    pub node: NodeIx,
    /// Whether it passes on to the others what it has from one of them (RFC 4456).
    pub is_reflector: bool,
    /// Its router id, if the file has one.
    pub router_id: Option<Ipv4Addr>,
    /// Addresses of its own besides the overlay's, from which it speaks to the world that it learns of.
    pub service_addresses: Vec<IpAddr>,
    /// The BIRD that its administrator runs; none: one of ours.
    pub bird: Option<TheirBird>,
}

/// A BIRD of the administrator's, which includes what we have to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TheirBird {
    /// What it runs with.
    pub configuration: String,
    /// Our part, which that includes.
    pub part: String,
    /// Its control socket.
    pub socket: String,
    /// What all names of ours begin with there.
    pub prefix: String,
    /// Whether its sessions listen at their own addresses only, as ours must then.
    pub strict_bind: bool,
}

/// What spreads claims of clients among the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Carrier {
    /// The agents' own exchange, over links.
    #[default]
    Links,
    /// Routes between the nodes' BIRDs.
    Bgp,
}

/// Where route origin authorisations come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roa {
    /// Files that BIRD includes, for IPv4 and IPv6.
    pub files: [Option<String>; 2],
    /// Servers that speak RTR (RFC 8210).
    pub servers: Vec<Endpoint>,
}

impl Roa {
    /// Whether there is any source for a family.
    pub fn covers(&self, is_v4: bool) -> bool {
        !self.servers.is_empty() || self.files[usize::from(!is_v4)].is_some()
    }
}

/// A network of networks with rules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// dn42.dev.
    Dn42,
}

/// Which sessions are held with a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sessions {
    /// One over IPv4, for IPv4.
    V4,
    /// One over IPv6, for IPv6.
    V6,
    /// One of each.
    Both,
    /// One over IPv6 for both, IPv4 having IPv6 next hops (RFC 8950).
    ExtendedNextHop,
}

impl Sessions {
    /// Whether routes of a family are told.
    pub fn carry(self, is_v4: bool) -> bool {
        match self {
            Sessions::V4 => is_v4,
            Sessions::V6 => !is_v4,
            Sessions::Both | Sessions::ExtendedNextHop => true,
        }
    }
}

/// What a neighbour is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exports {
    /// The network's own prefixes.
    Own,
    /// These, and all that is learned by BGP.
    All,
    /// Nothing.
    Nothing,
}

/// Prefixes by what they are in and how long they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PrefixRange {
    /// What they are in.
    pub prefix: IpNet,
    /// The shortest length.
    pub min: u8,
    /// The longest.
    pub max: u8,
}

impl PrefixRange {
    /// A prefix and all inside it; never a default route.
    pub fn within(prefix: IpNet) -> PrefixRange {
        PrefixRange { prefix, min: prefix.prefix_len().max(1), max: prefix.max_prefix_len() }
    }
}

/// A foreign router.
#[derive(Debug, Clone)]
pub struct Neighbour {
    /// Its name, distinct from all nodes' and clients'.
    pub name: Name,
    /// The node that it is joined to.
    pub node: NodeIx,
    /// Its AS number; the network's own makes the session an internal one.
    pub asn: u32,
    /// Its WireGuard public key.
    pub public_key: PublicKey,
    /// The public half of the node's key for it alone; none: it has the node's own.
    pub own_public_key: Option<PublicKey>,
    /// Whether there is a preshared key.
    pub preshared: bool,
    /// Where it is dialled; none: it dials.
    pub endpoint: Option<Endpoint>,
    /// The node's UDP port for it.
    pub port: u16,
    /// The node's device for it.
    pub device: DeviceName,
    /// MTU of that device.
    pub mtu: u16,
    /// Seconds between keepalives; 0: none.
    pub keepalive_s: u16,
    /// The node's addresses on that device.
    pub own_addresses: Vec<IpNet>,
    /// The neighbour's own.
    pub addresses: Vec<IpAddr>,
    /// Which sessions are held.
    pub sessions: Sessions,
    /// What it may announce.
    pub accept: Vec<PrefixRange>,
    /// How many routes of each family it may announce before the session is ended.
    pub max_prefixes: u32,
    /// What it is told.
    pub export: Exports,
    /// Whether both sides watch each other by BFD.
    pub bfd: bool,
    /// The communities of the line to it, by the profile: latency, bandwidth.
    pub line: LineClass,
    /// Where the file names it.
    pub place: Span,
}

/// How a line is, in the classes of DN42's communities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineClass {
    /// 1 to 9: milliseconds up to e to this power.
    pub latency: Option<u8>,
    /// 21 to 25 and on: at least ten to this less 22 in Mbit/s.
    pub bandwidth: Option<u8>,
}

impl LineClass {
    /// The classes of a line with this round-trip time and rate.
    pub fn new(latency_ms: Option<f64>, megabits: Option<f64>) -> LineClass {
        LineClass {
            latency: latency_ms.map(|ms| (ms.ln().ceil().max(1.0) as u8).min(9)),
            bandwidth: megabits.map(|rate| (22.0 + rate.log10().floor()).clamp(21.0, 29.0) as u8),
        }
    }
}

impl Bgp {
    /// A node as a speaker.
    pub fn speaker(&self, node: NodeIx) -> Option<&Speaker> {
        self.speakers.iter().find(|speaker| speaker.node == node)
    }
}

impl Network {
    /// Whether BGP spreads with which entry node each client is.
    pub fn has_claims_by_bgp(&self) -> bool {
        self.bgp.as_ref().is_some_and(|bgp| bgp.carrier == Carrier::Bgp)
    }

    /// Whether BGP tells which of a site's gateways gets into it: of several that all run the agent and speak BGP, if the site has a
    /// prefix that can be told.
    pub fn is_site_by_bgp(&self, site: &Site) -> bool {
        let speaks = |node: &NodeIx| {
            self.node(*node).platform == Platform::Agent
                && self.bgp.as_ref().is_some_and(|bgp| bgp.speaker(*node).is_some())
        };
        self.has_claims_by_bgp()
            && site.gateways.len() > 1
            && site.gateways.iter().all(speaks)
            && self.told_prefixes(site).next().is_some()
    }

    /// The prefixes of a site that nodes can tell each other by BGP: of a family for which they have sessions, and not those that
    /// neighbours are told, which are other routes to the same.
    pub fn told_prefixes<'a>(&'a self, site: &'a Site) -> impl Iterator<Item = &'a IpNet> {
        let has_session = |prefix: &IpNet| self.prefixes.iter().any(|p| p.addr().is_ipv4() == prefix.addr().is_ipv4());
        let is_own = |prefix: &IpNet| self.bgp.as_ref().is_some_and(|bgp| bgp.own.contains(prefix));
        site.prefixes.iter().filter(move |prefix| has_session(prefix) && !is_own(prefix))
    }

    /// The neighbours that are joined to a node.
    pub fn neighbours_of(&self, node: NodeIx) -> impl Iterator<Item = &Neighbour> {
        self.neighbours.iter().filter(move |neighbour| neighbour.node == node)
    }

    /// Two that may tell ways to the same prefix at different nodes, neighbours or nodes with a service address: packets from there come
    /// by either node, whichever the answers go to.
    pub fn rivals(&self) -> Option<(Origin, Origin)> {
        let neighbours = self.neighbours.iter().flat_map(|neighbour| {
            let origin = move |range: &PrefixRange| Origin {
                prefix: range.prefix.trunc(),
                node: neighbour.node,
                owner: format!("neighbour {}", neighbour.name),
                place: neighbour.place,
            };
            neighbour.accept.iter().map(origin)
        });
        let services = self.bgp.iter().flat_map(|bgp| &bgp.speakers).flat_map(|speaker| {
            let node = self.node(speaker.node);
            let origin = move |address: &IpAddr| Origin {
                prefix: IpNet::from(*address),
                node: speaker.node,
                owner: format!("node {}", node.name),
                place: node.place,
            };
            speaker.service_addresses.iter().map(origin)
        });
        // What is the network's own is believed of no neighbour.
        overlapping(neighbours.collect()).or_else(|| overlapping(services.collect()))
    }
}

/// Two of different nodes of which one's prefix is in the other's.
fn overlapping(mut all: Vec<Origin>) -> Option<(Origin, Origin)> {
    // A prefix comes before those inside it.
    all.sort_by_key(|origin| (origin.prefix.addr(), origin.prefix.prefix_len()));
    let mut widest: Option<Origin> = None;
    for inner in all {
        match widest.take_if(|outer| !outer.prefix.contains(&inner.prefix) || outer.node != inner.node) {
            Some(outer) if outer.prefix.contains(&inner.prefix) => return Some((outer, inner)),
            _ => drop(widest.get_or_insert(inner)),
        }
    }
    None
}

/// Who may tell a way to a prefix.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The prefix, and what is inside it.
    pub prefix: IpNet,
    /// The node at which it is told.
    pub node: NodeIx,
    /// "neighbour x", "node a".
    pub owner: String,
    /// Where the file has that.
    pub place: Span,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_lines_are_those_of_dn42() {
        let class = |ms, rate| {
            let line = LineClass::new(Some(ms), Some(rate));
            (line.latency.unwrap(), line.bandwidth.unwrap())
        };
        assert_eq!(class(0.0, 0.1), (1, 21));
        assert_eq!(class(2.7, 1.0), (1, 22));
        assert_eq!(class(7.0, 10.0), (2, 23));
        assert_eq!(class(12.0, 250.0), (3, 24), "as in DN42's own example");
        assert_eq!(class(55.1, 1000.0), (5, 25));
        assert_eq!(class(5000.0, 0.001), (9, 21));
    }
}
