//! Routes that a routing daemon has put into the network's own table, with a node as their next hop.
//!
//! One device carries all nodes, and WireGuard sends a packet to the peer that its prefix belongs to. So what is learned becomes a
//! prefix of the peer by which packets get to the next hop: the node itself, or a relay that speaks BGP as well and decides for itself.
//! In come routes, one by one as they change, and the node's part of the plan; out come the changes of single prefixes.
//! Giving a prefix to another peer is one step, so nothing is lost between the two. Never taken: default routes, what the
//! plan carries itself, and routes by which packets would come to somebody who does not know what to do with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::change::{Change, PeerRef};
use super::super::state::HostState;
use crate::keys::PublicKey;
use crate::limits::LEARNED_PREFIXES_MAX;
use crate::names::Name;
use crate::plan::{NodePlan, covers, host};

/// What the network's own table says of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedRoute {
    /// Which.
    pub prefix: IpNet,
    /// The next hop of its best route out of the node's own device; none: there is no such route any more.
    pub next_hop: Option<IpAddr>,
}

/// Why no peer has the prefix of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotCarried {
    /// It is a default route.
    Default,
    /// The plan carries the prefix, or what it is a part of.
    Planned,
    /// The next hop is nobody of the network who speaks BGP.
    Stranger(IpAddr),
    /// No way leads to the node at present.
    NoWay(Name),
    /// The way to the node leads over another that does not speak BGP, and would not know where to send such packets.
    Relay {
        /// The next hop.
        node: Name,
        /// Who is on the way to it.
        relay: Name,
    },
    /// There are too many.
    TooMany,
}

/// Where packets to a next hop go.
type Way = Result<(PublicKey, Name), NotCarried>;

/// What is learned, and which peer has it.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    next_hops: BTreeMap<IpNet, IpAddr>,
    ways: BTreeMap<IpAddr, Way>,
    planned: Vec<IpNet>,
    /// Addresses that nodes tell of as their own, which may lie inside what is planned.
    services: BTreeSet<(IpNet, IpAddr)>,
    carried: BTreeMap<IpNet, PublicKey>,
    refused: BTreeMap<IpNet, NotCarried>,
}

impl Learned {
    /// The prefixes of all routes, whoever has them.
    pub fn known(&self) -> impl Iterator<Item = IpNet> {
        self.next_hops.keys().copied()
    }

    /// Takes up a part of the plan, by which next hops may be reached by other peers. The host's state is to be made anew.
    pub fn plan(&mut self, part: &NodePlan) {
        let speakers = part.bgp.iter().flat_map(|bgp| &bgp.speakers);
        let hops = speakers.clone().flat_map(|speaker| speaker.addresses.iter().map(move |hop| (*hop, &speaker.name)));
        self.ways = hops.map(|(hop, name)| (hop, way(part, hop, name))).collect();
        self.services = speakers
            .flat_map(|speaker| {
                let services = speaker.service_addresses.iter();
                services.flat_map(|service| speaker.addresses.iter().map(|hop| (host(*service), *hop)))
            })
            .collect();
        self.planned = part.bgp.as_ref().map_or_else(Vec::new, |bgp| bgp.planned.clone());
        self.carried.clear();
        self.refused.clear();
        for (prefix, hop) in &self.next_hops {
            match self.judge(*prefix, *hop) {
                Ok(key) => drop(self.carried.insert(*prefix, key)),
                Err(why) => drop(self.refused.insert(*prefix, why)),
            }
        }
    }

    /// Adds what is learned to a state that was made of the part.
    pub fn add_to(&self, state: &mut HostState, part: &NodePlan) {
        let Some(device) = state.devices.get_mut(&part.device) else { return };
        for (prefix, key) in &self.carried {
            if device.peers.contains_key(key) {
                device.allowed.entry(*prefix).or_insert(*key);
            }
        }
    }

    /// Follows routes that have changed; the state, to which all was added before, changes with them.
    pub fn follow(&mut self, routes: &[LearnedRoute], state: &mut HostState, part: &NodePlan) -> Vec<Change> {
        let mut changed = BTreeMap::new();
        for route in routes {
            let before = self.carried.get(&route.prefix).copied();
            self.note(route);
            changed.entry(route.prefix).or_insert(before);
        }
        let Some(device) = state.devices.get_mut(&part.device) else { return Vec::new() };
        let (mut given, mut taken) = (Vec::new(), Vec::new());
        for (prefix, before) in changed {
            let now = self.carried.get(&prefix).copied().filter(|key| device.peers.contains_key(key));
            let present = device.allowed.get(&prefix).copied();
            // What the plan has given stays as it is.
            if now == present || present.is_some() && present != before {
                continue;
            }
            match (now, present) {
                (Some(key), _) => given.push((key, prefix)),
                (None, Some(key)) => taken.push((key, prefix)),
                (None, None) => {}
            }
            match now {
                Some(key) => device.allowed.insert(prefix, key),
                None => device.allowed.remove(&prefix),
            };
        }
        // Peer by peer: one message for each.
        given.sort_unstable();
        taken.sort_unstable();
        let peer = |key: PublicKey| PeerRef { key, name: device.peers.get(&key).and_then(|peer| peer.name.clone()) };
        let name = || part.device.clone();
        let give =
            given.into_iter().map(|(key, prefix)| Change::GivePrefix { device: name(), peer: peer(key), prefix });
        let take =
            taken.into_iter().map(|(key, prefix)| Change::TakePrefix { device: name(), peer: peer(key), prefix });
        give.chain(take).collect()
    }

    /// All routes that a peer has the prefix of: by how many there are for each next hop.
    pub fn carried(&self) -> BTreeMap<IpAddr, usize> {
        let mut counts = BTreeMap::new();
        for prefix in self.carried.keys() {
            if let Some(hop) = self.next_hops.get(prefix) {
                *counts.entry(*hop).or_default() += 1;
            }
        }
        counts
    }

    /// Those that nobody has, and why.
    pub fn refused(&self) -> &BTreeMap<IpNet, NotCarried> {
        &self.refused
    }

    fn note(&mut self, route: &LearnedRoute) {
        let LearnedRoute { prefix, next_hop } = *route;
        self.carried.remove(&prefix);
        self.refused.remove(&prefix);
        let Some(hop) = next_hop else {
            self.next_hops.remove(&prefix);
            return;
        };
        self.next_hops.insert(prefix, hop);
        match self.judge(prefix, hop) {
            Ok(key) => drop(self.carried.insert(prefix, key)),
            Err(why) => drop(self.refused.insert(prefix, why)),
        }
    }

    fn judge(&self, prefix: IpNet, hop: IpAddr) -> Result<PublicKey, NotCarried> {
        let way = self.ways.get(&hop).ok_or(NotCarried::Stranger(hop))?;
        if prefix.prefix_len() == 0 {
            return Err(NotCarried::Default);
        }
        if covers(&self.planned, prefix) && !self.services.contains(&(prefix, hop)) {
            return Err(NotCarried::Planned);
        }
        if self.carried.len() >= LEARNED_PREFIXES_MAX {
            return Err(NotCarried::TooMany);
        }
        way.as_ref().map(|(key, _)| *key).map_err(NotCarried::clone)
    }
}

fn way(part: &NodePlan, hop: IpAddr, node: &Name) -> Way {
    let nowhere = || NotCarried::NoWay(node.clone());
    let mut speakers = part.bgp.iter().flat_map(|bgp| &bgp.speakers);
    // A prefix that others share may lead towards it still.
    if speakers.clone().any(|speaker| speaker.name == *node && speaker.is_lost) {
        return Err(nowhere());
    }
    let by = part.next_hop(hop).ok_or_else(nowhere)?;
    let speaks = speakers.any(|speaker| speaker.name == *by);
    if !speaks {
        return Err(NotCarried::Relay { node: node.clone(), relay: by.clone() });
    }
    let peer = part.peers.iter().find(|peer| peer.name == *by);
    peer.and_then(|peer| Some((peer.public_key?, by.clone()))).ok_or_else(nowhere)
}

/// As the end of a sentence that begins with the prefix.
impl fmt::Display for NotCarried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotCarried::Default => f.write_str("is a default route"),
            NotCarried::Planned => f.write_str("belongs to the plan, which says where it is"),
            NotCarried::Stranger(hop) => write!(f, "has the next hop {hop}, which is no node that speaks BGP"),
            NotCarried::NoWay(node) => write!(f, "has the next hop {node}, to which no way leads at present"),
            NotCarried::Relay { node, relay } => {
                write!(f, "has the next hop {node}, to which the way leads over {relay}, which speaks no BGP")
            }
            NotCarried::TooMany => write!(f, "is one more than the {LEARNED_PREFIXES_MAX} that a device takes up"),
        }
    }
}
