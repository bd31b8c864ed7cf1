//! Round-trip times between regions or nodes: the planner's weights, and the lab's latencies.
//!
//! The most specific entry wins: node and node, then node and region, then region and region. Without any, nodes of
//! one region are taken to be near each other and all others far apart, so paths prefer to stay in a region. Nodes without
//! a region are far from everybody: a forgotten pair must not look attractive.

use std::collections::BTreeMap;

use super::{Network, NodeIx, RegionIx};
use crate::limits::{RTT_US_ELSEWHERE, RTT_US_SAME_REGION};

/// One end of a stated round-trip time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A node.
    Node(NodeIx),
    /// All nodes and clients of a region.
    Region(RegionIx),
    /// A client, by its position in [`Network::clients`].
    Client(u32),
}

/// Stated round-trip times in microseconds.
#[derive(Debug, Clone, Default)]
pub struct RttTable {
    entries: BTreeMap<(Place, Place), u64>,
}

impl RttTable {
    /// States the time between two places, in microseconds. Says whether it is new: false means it was stated before,
    /// and the earlier value stays.
    pub fn insert(&mut self, a: Place, b: Place, us: u64) -> bool {
        match self.entries.entry((a.min(b), a.max(b))) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(us);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn stated(&self, a: Place, b: Place) -> Option<u64> {
        self.entries.get(&(a.min(b), a.max(b))).copied()
    }
}

impl Network {
    /// Round-trip time between two nodes in microseconds, stated or assumed.
    pub fn rtt_us(&self, a: NodeIx, b: NodeIx) -> u64 {
        // In a fixed order, so that both directions choose the same entry when two are equally specific.
        let (a, b) = (a.min(b), a.max(b));
        let (region_a, region_b) = (self.node(a).region, self.node(b).region);
        self.rtt_between(Place::Node(a), region_a, Place::Node(b), region_b)
    }

    /// Round-trip time between a client (its position in [`Network::clients`]) and a node, in microseconds.
    pub fn client_rtt_us(&self, client: usize, node: NodeIx) -> u64 {
        let region = self.clients[client].region;
        self.rtt_between(Place::Client(client as u32), region, Place::Node(node), self.node(node).region)
    }

    /// The same for a client that has gone to some region: what holds for anybody there.
    pub fn visitor_rtt_us(&self, region: RegionIx, node: NodeIx) -> u64 {
        self.rtt_between(Place::Region(region), Some(region), Place::Node(node), self.node(node).region)
    }

    /// The same as [`Network::client_rtt_us`], only if it is stated.
    pub fn client_rtt_stated_us(&self, client: usize, node: NodeIx) -> Option<u64> {
        let region = self.clients[client].region;
        self.rtt_stated(Place::Client(client as u32), region, Place::Node(node), self.node(node).region)
    }

    fn rtt_between(&self, a: Place, region_a: Option<RegionIx>, b: Place, region_b: Option<RegionIx>) -> u64 {
        let assumed = if region_a.is_some() && region_a == region_b { RTT_US_SAME_REGION } else { RTT_US_ELSEWHERE };
        self.rtt_stated(a, region_a, b, region_b).unwrap_or(assumed)
    }

    fn rtt_stated(&self, a: Place, region_a: Option<RegionIx>, b: Place, region_b: Option<RegionIx>) -> Option<u64> {
        if self.rtt.is_empty() {
            return None;
        }
        let (in_a, in_b) = (region_a.map(Place::Region), region_b.map(Place::Region));
        let stated = |a, b| self.rtt.stated(a, b);
        stated(a, b)
            .or_else(|| in_b.and_then(|in_b| stated(a, in_b)))
            .or_else(|| in_a.and_then(|in_a| stated(in_a, b)))
            .or_else(|| stated(in_a?, in_b?))
    }
}
