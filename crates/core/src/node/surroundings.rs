//! A node's place in the network: with whom it is linked, which links there are, and what is known of each.
//!
//! The two records of a link, one from each end, are made one [`LinkState`] here: down if either end says so, otherwise
//! the longer of the times they state. All nodes do this alike, so the same records give the same states.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::exchange::record::{Claim, Key, Record, View};
use super::exchange::records::Records;
use crate::names::Name;
use crate::network::{Link, Network, NodeIx};
use crate::plan::{LinkState, LinkStates};

/// The network around one node.
#[derive(Debug)]
pub struct Surroundings {
    network: Arc<Network>,
    own: NodeIx,
    /// The nodes that it is linked with, in order.
    peers: Vec<NodeIx>,
    /// Links of each node.
    degrees: Vec<usize>,
    states: LinkStates,
}

impl Surroundings {
    /// The place of `own` in a network, with nothing known of any link. None if the network has no such node.
    pub fn new(network: Arc<Network>, own: &Name) -> Option<Surroundings> {
        let own = network.find_node(own)?;
        let mut degrees = vec![0; network.nodes.len()];
        let mut peers = Vec::new();
        for link in &network.links {
            degrees[link.a.at()] += 1;
            degrees[link.b.at()] += 1;
            if link.a == own {
                peers.push(link.b);
            } else if link.b == own {
                peers.push(link.a);
            }
        }
        peers.sort_unstable();
        Some(Surroundings { network, own, peers, degrees, states: LinkStates::default() })
    }

    /// The node's name.
    pub fn own(&self) -> &Name {
        &self.network.node(self.own).name
    }

    /// The nodes at the other ends of its links, sorted by name.
    pub fn peers(&self) -> impl ExactSizeIterator<Item = &Name> {
        self.peers.iter().map(|ix| &self.network.node(*ix).name)
    }

    /// The node at the other end of one of its links.
    pub fn peer(&self, at: usize) -> Option<&Name> {
        self.peers.get(at).map(|ix| &self.network.node(*ix).name)
    }

    /// Which of its links leads to a node.
    pub fn find(&self, peer: &Name) -> Option<usize> {
        self.peers.binary_search_by(|ix| self.network.node(*ix).name.cmp(peer)).ok()
    }

    /// The time of one of its links as the file states it, in microseconds.
    pub fn stated_us(&self, at: usize) -> u64 {
        self.network.rtt_us(self.own, self.peers[at])
    }

    /// The number of links of the busier end of one of its links.
    pub fn degree(&self, at: usize) -> usize {
        self.degrees[self.own.at()].max(self.degrees[self.peers[at].at()])
    }

    /// Whether link addresses are IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.network.link_prefix.addr().is_ipv6()
    }

    /// Whether members' first addresses are IPv6.
    pub fn is_overlay_ipv6(&self) -> bool {
        self.network.prefixes.iter().all(|prefix| prefix.addr().is_ipv6())
    }

    /// Whether the network file has a node.
    pub fn knows(&self, node: &Name) -> bool {
        self.network.find_node(node).is_some()
    }

    /// Whether the network file has what a record is about.
    pub fn has(&self, key: &Key) -> bool {
        match key {
            Key::Link { origin, other } => self.is_link(origin, other) || self.is_way(origin, other),
            Key::Client(client) => self.is_claimable(client),
        }
    }

    /// Whether the network file has a client that roams, and so is claimed.
    pub fn is_claimable(&self, client: &Name) -> bool {
        self.find_client(client).is_some_and(|at| self.network.clients[at].roams)
    }

    /// Whether the network file lets a node have clients.
    pub fn is_entry(&self, node: &Name) -> bool {
        self.network.find_node(node).is_some_and(|ix| self.network.node(ix).entry)
    }

    /// Whether BGP carries claims.
    pub fn has_claims_by_bgp(&self) -> bool {
        self.network.has_claims_by_bgp()
    }

    /// A record with the network's own names in place of equal ones, so that a hundred thousand of them share a dozen.
    pub fn with_own_names(&self, mut record: Record) -> Record {
        let node = |name: &mut Name| {
            if let Some(ix) = self.network.find_node(name) {
                name.clone_from(&self.network.node(ix).name);
            }
        };
        match &mut record {
            Record::Link { origin, other, .. } => {
                node(origin);
                node(other);
            }
            Record::Client { client, claim: Claim { server, .. }, .. } => {
                node(server);
                if let Some(at) = self.find_client(client) {
                    client.clone_from(&self.network.clients[at].name);
                }
            }
        }
        record
    }

    /// The nodes that packets from here can get to over links that work, as far as is known; hubs relay.
    pub fn reached(&self) -> BTreeSet<&Name> {
        let mut neighbours: Vec<Vec<NodeIx>> = vec![Vec::new(); self.network.nodes.len()];
        for Link { a, b } in &self.network.links {
            let (from, to) = (&self.network.node(*a).name, &self.network.node(*b).name);
            if self.states.of(from, to) != Some(LinkState::Down) {
                neighbours[a.at()].push(*b);
                neighbours[b.at()].push(*a);
            }
        }
        let (mut reached, mut next) = (vec![false; neighbours.len()], vec![self.own]);
        reached[self.own.at()] = true;
        while let Some(ix) = next.pop() {
            if ix != self.own && !self.network.node(ix).hub {
                continue;
            }
            for to in &neighbours[ix.at()] {
                if !std::mem::replace(&mut reached[to.at()], true) {
                    next.push(*to);
                }
            }
        }
        self.network.nodes.iter().zip(reached).filter(|(_, is)| *is).map(|(node, _)| &node.name).collect()
    }

    /// Whether the network file has a link between two nodes.
    pub fn is_link(&self, a: &Name, b: &Name) -> bool {
        let ends = self.network.find_node(a).zip(self.network.find_node(b));
        ends.is_some_and(|(a, b)| self.has_link(a, b))
    }

    /// Whether a node is one of several gateways of a site, which then has a name that no node has.
    pub fn is_way(&self, gateway: &Name, site: &Name) -> bool {
        let sites = &self.network.sites;
        let site = sites.binary_search_by(|other| other.name.cmp(site)).ok().map(|at| &sites[at]);
        let gateway = self.network.find_node(gateway);
        site.zip(gateway).is_some_and(|(site, gateway)| site.gateways.len() > 1 && site.gateways.contains(&gateway))
    }

    /// Whether the other end of one link has a link of its own, as far as is known working, to the other end of another.
    pub fn covers(&self, from: usize, to: usize) -> bool {
        let (from, to) = (self.peers[from], self.peers[to]);
        let name = |ix| &self.network.node(ix).name;
        self.has_link(from, to) && self.states.of(name(from), name(to)) != Some(LinkState::Down)
    }

    /// What is known of all links.
    pub fn states(&self) -> &LinkStates {
        &self.states
    }

    /// Takes the records of a link between two nodes, or of a gateway's way into a site, anew. Says whether its state is another
    /// one now.
    pub fn update(&mut self, a: &Name, b: &Name, records: &Records) -> bool {
        if !self.is_link(a, b) && !self.is_way(a, b) {
            return false;
        }
        let view = |origin: &Name, other: &Name| records.view(origin, other);
        let state = match view(a, b).max(view(b, a)) {
            View::AsStated => None,
            View::Takes { us } => Some(LinkState::Up { rtt_us: u64::from(us) }),
            View::Down => Some(LinkState::Down),
        };
        if self.states.of(a, b) == state {
            return false;
        }
        match state {
            Some(state) => self.states.set(a, b, state),
            None => self.states.clear(a, b),
        }
        true
    }

    fn find_client(&self, client: &Name) -> Option<usize> {
        self.network.clients.binary_search_by(|other| other.name.cmp(client)).ok()
    }

    fn has_link(&self, a: NodeIx, b: NodeIx) -> bool {
        let (a, b) = (a.min(b), a.max(b));
        self.network.links.binary_search_by_key(&(a, b), |Link { a, b }| (*a, *b)).is_ok()
    }
}
