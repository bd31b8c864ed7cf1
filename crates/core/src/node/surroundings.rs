//! A node's place in the network: with whom it is linked, which links there are, and what is known of each.
//!
//! The two records of a link, one from each end, are made one [`LinkState`] here: down if either end says so, otherwise
//! the longer of the times they state. All nodes do this alike, so the same records give the same states.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::exchange::record::{Claim, Key, Record, View};
use super::exchange::records::Records;
use super::links::Place;
use super::links::detours::detours;
use crate::names::Name;
use crate::network::{Link, Network, NodeIx, Site};
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
    /// Whether packets to each of its peers have another way.
    has_detour: Vec<bool>,
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
        let is_hub: Vec<bool> = network.nodes.iter().map(|node| node.hub).collect();
        let mut has_detour = detours(&network.links, &is_hub, own, &peers);
        // What is behind one of several gateways can be reached by another.
        for site in network.sites.iter().filter(|site| site.gateways.len() > 1) {
            for (peer, has) in peers.iter().zip(&mut has_detour) {
                *has |= site.gateways.contains(peer) || site.gateways.contains(&own);
            }
        }
        Some(Surroundings { network, own, peers, degrees, has_detour, states: LinkStates::default() })
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

    /// What the file says of one of its links.
    pub fn place(&self, at: usize) -> Place {
        let peer = self.peers[at];
        Place {
            degree: self.degrees[self.own.at()].max(self.degrees[peer.at()]),
            stated_us: self.network.rtt_us(self.own, peer),
            has_detour: self.has_detour[at],
        }
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

    /// Whether a node is one of several gateways of a site of which the exchange tells, and which has a name that no node has.
    pub fn is_way(&self, gateway: &Name, site: &Name) -> bool {
        let gateway = self.network.find_node(gateway);
        self.find_site(site).zip(gateway).is_some_and(|(site, gateway)| {
            site.gateways.len() > 1 && site.gateways.contains(&gateway) && !self.network.is_site_by_bgp(site)
        })
    }

    /// The same of a site of which BGP tells.
    pub fn is_way_by_bgp(&self, gateway: &Name, site: &Name) -> bool {
        self.gateways_by_bgp(site).contains(gateway)
    }

    /// The gateways of a site of which BGP tells, the preferred one first; none of any other.
    pub fn gateways_by_bgp(&self, site: &Name) -> Vec<Name> {
        let site = self.find_site(site).filter(|site| self.network.is_site_by_bgp(site));
        let gateways = site.iter().flat_map(|site| &site.gateways);
        gateways.map(|gateway| self.network.node(*gateway).name.clone()).collect()
    }

    /// The sites of which BGP tells.
    pub fn sites_by_bgp(&self) -> Vec<Name> {
        let sites = self.network.sites.iter().filter(|site| self.network.is_site_by_bgp(site));
        sites.map(|site| site.name.clone()).collect()
    }

    /// Whether this node passes on what BGP tells it.
    pub fn is_reflector(&self) -> bool {
        self.network.bgp.as_ref().and_then(|bgp| bgp.speaker(self.own)).is_some_and(|speaker| speaker.is_reflector)
    }

    /// A gateway gets into a site, or does not. Says whether that is news.
    pub fn set_way(&mut self, gateway: &Name, site: &Name, is_down: bool) -> bool {
        let state = is_down.then_some(LinkState::Down);
        if self.states.of(gateway, site) == state {
            return false;
        }
        match state {
            Some(state) => self.states.set(gateway, site, state),
            None => self.states.clear(gateway, site),
        }
        true
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

    fn find_site(&self, site: &Name) -> Option<&Site> {
        let sites = &self.network.sites;
        sites.binary_search_by(|other| other.name.cmp(site)).ok().map(|at| &sites[at])
    }

    fn find_client(&self, client: &Name) -> Option<usize> {
        self.network.clients.binary_search_by(|other| other.name.cmp(client)).ok()
    }

    fn has_link(&self, a: NodeIx, b: NodeIx) -> bool {
        let (a, b) = (a.min(b), a.max(b));
        self.network.links.binary_search_by_key(&(a, b), |Link { a, b }| (*a, *b)).is_ok()
    }
}
