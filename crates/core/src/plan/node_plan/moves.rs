//! One node's part when clients move: the prefixes that change, without planning everything anew.
//!
//! In come the part, as planned, and the clients that are with another entry node than before; the part is brought to what
//! planning anew would make of it, and out comes what has changed in it ([`Moved`]). With thousands of clients and tens of moves a
//! second that is the difference between a fraction of a millisecond and all of a processor.
//!
//! What is behind an entry node is reached over one peer, whoever it is; so a client's prefixes go from one peer's merged list to
//! another's, and the rest stays. Where prefixes lie so that this does not hold (a client's next to the node's own site, or
//! around a peer's endpoint, or the file says itself who has what), there is no [`Moves`], and the caller plans anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::{MemberKind, NodePlan, homes};
use crate::names::Name;
use crate::network::{Host, Network, NodeIx};
use crate::plan::addresses::Addresses;
use crate::plan::allowed::{Carriers, Destinations};
use crate::plan::prefixes::{Edit, covers, exclude, host, include, merge, sibling};
use crate::plan::{Claims, LinkStates, Paths, Plan};

/// What one node has to know to follow clients that move, as long as file and link states stay.
#[derive(Debug)]
pub struct Moves {
    network: Arc<Network>,
    node: NodeIx,
    /// The entry node that each client is with.
    homes: Vec<Option<NodeIx>>,
    /// The prefixes of each client, if it roams.
    prefixes: Vec<Vec<IpNet>>,
    /// By node: over which peer is reached what is behind it.
    over: Vec<Option<NodeIx>>,
    /// The hub to which all of the overlay goes, so that prefixes in it are not listed.
    widest: Option<NodeIx>,
    /// What each peer has without any client that roams, by its node; with its place in the part.
    peers: BTreeMap<NodeIx, (usize, Vec<IpNet>)>,
    /// What is routed without any client that roams; none if the node makes no routes.
    routes: Option<Vec<IpNet>>,
    /// Whether v4 and v6 are carried whoever is where.
    carries: [bool; 2],
}

/// What a move has changed in a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// By places of peers, what their lists have lost and gained.
    pub peers: BTreeMap<usize, Edits>,
    /// The same of what is routed into the node's own device.
    pub routes: Edits,
    /// Clients that came to this node or left it.
    pub clients: BTreeSet<Name>,
    /// All prefixes of clients that moved.
    pub prefixes: Vec<IpNet>,
}

/// What a list has lost and gained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// No longer in it.
    pub gone: BTreeSet<IpNet>,
    /// New in it.
    pub come: BTreeSet<IpNet>,
}

impl Edits {
    fn add(&mut self, edit: Edit) {
        for prefix in edit.gone {
            if !self.come.remove(&prefix) {
                self.gone.insert(prefix);
            }
        }
        for prefix in edit.come {
            if !self.gone.remove(&prefix) {
                self.come.insert(prefix);
            }
        }
    }
}

impl Moves {
    /// Of a node whose part of a network's plan this is, planned with these states and claims; `also` is routed whatever happens.
    /// None if moves don't change single prefixes of it only.
    pub fn new(
        plan: &Plan,
        (states, claims): (&LinkStates, &Claims),
        part: &NodePlan,
        also: &[IpNet],
    ) -> Option<Moves> {
        let Plan { network, addresses, .. } = plan;
        let node = network.find_node(&part.name)?;
        let prefixes = roaming_prefixes(network, addresses);
        if !is_plain(network, node, part, &prefixes) {
            return None;
        }
        let homes = homes(network, claims);
        let resting: Vec<Option<NodeIx>> =
            homes.iter().zip(&network.clients).map(|(home, client)| home.filter(|_| !client.roams)).collect();
        let paths = Paths::new(network, states);
        let destinations = Destinations::new(network, (&paths, states), addresses, &resting);
        let Carriers { over, widest } = destinations.carriers(node);
        let owned = destinations.owned_at(node).pop()?;
        let mut lists: BTreeMap<NodeIx, Vec<IpNet>> =
            owned.peers.into_iter().map(|(peer, list)| (peer, list.to_vec())).collect();
        let all: Vec<IpNet> = lists.values().flatten().copied().collect();
        let of_clients = part.peers.iter().filter(|peer| peer.kind == MemberKind::Client);
        let all: Vec<IpNet> = of_clients.flat_map(|peer| &peer.allowed).copied().chain(all).collect();
        let carries = [true, false].map(|v4| all.iter().any(|prefix| prefix.addr().is_ipv4() == v4));
        let routes = network.node(node).installs_routes;
        let routes = routes.then(|| merge(all.into_iter().chain(also.iter().copied()).collect()));
        let place = |(at, peer): (usize, &super::PeerPlan)| {
            let ix = network.find_node(&peer.name).filter(|_| peer.kind == MemberKind::Node)?;
            Some((ix, (at, lists.remove(&ix).unwrap_or_default())))
        };
        let peers = part.peers.iter().enumerate().filter_map(place).collect();
        Some(Moves { network: network.clone(), node, homes, prefixes, over, widest, peers, routes, carries })
    }

    /// Brings a part to where clients are from now on. None if that can't be done; the part is to be planned anew then, whatever
    /// has become of it.
    pub fn follow(&mut self, part: &mut NodePlan, changed: &[(Name, Option<Name>)]) -> Option<Moved> {
        let mut moved = Moved::default();
        for (client, server) in changed {
            let found = self.network.clients.binary_search_by(|other| other.name.cmp(client));
            let Some(at) = found.ok().filter(|at| self.network.clients[*at].roams) else { continue };
            let via = &self.network.clients[at].via;
            let claimed = server.as_ref().and_then(|server| self.network.find_node(server));
            let to = claimed.filter(|ix| via.contains(ix)).or(via.first().copied());
            let from = std::mem::replace(&mut self.homes[at], to);
            if from == to {
                continue;
            }
            for prefix in &self.prefixes[at] {
                self.shift(part, *prefix, (from, to), &mut moved)?;
            }
            if let Some(entry) = part.entry.as_mut().filter(|_| [from, to].contains(&Some(self.node))) {
                if to == Some(self.node) {
                    entry.here.insert(client.clone());
                } else {
                    entry.here.remove(client);
                }
                moved.clients.insert(client.clone());
            }
        }
        Some(moved)
    }

    /// Moves one prefix.
    fn shift(
        &self,
        part: &mut NodePlan,
        prefix: IpNet,
        (from, to): (Option<NodeIx>, Option<NodeIx>),
        moved: &mut Moved,
    ) -> Option<()> {
        if !self.carries[usize::from(!prefix.addr().is_ipv4())] {
            return None;
        }
        moved.prefixes.push(prefix);
        let (before, after) = (self.lister(from, prefix), self.lister(to, prefix));
        if before != after {
            if let Some(peer) = before {
                let (at, kept) = self.peers.get(&peer)?;
                let edit = exclude(&mut part.peers[*at].allowed, prefix, kept)?;
                moved.peers.entry(*at).or_default().add(edit);
            }
            if let Some(peer) = after {
                let (at, _) = self.peers.get(&peer)?;
                let apart = if self.widest == Some(peer) { &self.network.prefixes[..] } else { &[] };
                let edit = include(&mut part.peers[*at].allowed, prefix, apart);
                moved.peers.entry(*at).or_default().add(edit);
            }
        }
        let Some(kept) = &self.routes else { return Some(()) };
        match (self.is_routed(from, part), self.is_routed(to, part)) {
            (true, false) => moved.routes.add(exclude(&mut part.routes, prefix, kept)?),
            (false, true) => moved.routes.add(include(&mut part.routes, prefix, &[])),
            (true, true) | (false, false) => {}
        }
        Some(())
    }

    /// The peer in whose list a prefix is while its client is with a server.
    fn lister(&self, server: Option<NodeIx>, prefix: IpNet) -> Option<NodeIx> {
        let peer = self.over[server?.at()]?;
        let is_inside = || self.network.prefixes.iter().any(|overlay| overlay.contains(&prefix));
        (self.widest != Some(peer) || !is_inside()).then_some(peer)
    }

    /// Whether what is with a server is routed into the node's own device.
    fn is_routed(&self, server: Option<NodeIx>, part: &NodePlan) -> bool {
        let is_carried = server.is_some_and(|server| self.over[server.at()].is_some());
        is_carried || (part.entry.is_some() && server != Some(self.node))
    }
}

/// The prefixes of each client that roams; of others none.
fn roaming_prefixes(network: &Network, addresses: &Addresses) -> Vec<Vec<IpNet>> {
    let of = |(client, own): (&crate::network::Client, &Vec<IpAddr>)| -> Vec<IpNet> {
        if !client.roams {
            return Vec::new();
        }
        own.iter().copied().map(host).chain(client.prefixes.iter().copied()).collect()
    };
    network.clients.iter().zip(&addresses.clients).map(of).collect()
}

/// Whether each client's prefixes have nothing to do with any others that the node has to look at one by one.
fn is_plain(network: &Network, node: NodeIx, part: &NodePlan, prefixes: &[Vec<IpNet>]) -> bool {
    let mut sorted: Vec<IpNet> = prefixes.iter().flatten().copied().collect();
    sorted.sort_unstable();
    let touches = |prefix: IpNet| {
        let next = sorted.partition_point(|other| *other < prefix);
        covers(&sorted, prefix) || sorted.get(next).is_some_and(|other| prefix.contains(other))
    };
    let overlap = sorted.windows(2).any(|pair| pair[0].contains(&pair[1]));
    let is_dialled_inside = || {
        part.peers.iter().flat_map(|peer| &peer.endpoints).any(|endpoint| match endpoint.host {
            Host::Ip(address) => covers(&sorted, host(address)),
            Host::Dns(_) => false,
        })
    };
    let sites = network.sites.iter().filter(|site| site.gateways.contains(&node)).flat_map(|site| &site.prefixes);
    let mut around = sites.map(|prefix| sibling(*prefix).map_or(*prefix, |(_, both)| both));
    !overlap
        && !is_dialled_inside()
        && !around.any(touches)
        && !network.prefixes.iter().any(|overlay| covers(&sorted, *overlay))
        && !network.fixed.iter().any(|fixed| fixed.of == part.name)
}
