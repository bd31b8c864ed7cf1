//! Best paths between all pairs: lowest round-trip time, then fewest links, the same both ways.
//!
//! Only hubs relay, so a path is a direct link or runs leaf, hub, ..., hub, leaf. Shortest paths are computed among
//! the hubs alone; other nodes are grouped into classes that hang on the same hubs with the same times, so the cost
//! follows hubs and classes rather than pairs of nodes. Ties are broken by the sum of a hash of each hub's name on
//! the way. That makes the best path of a pair unique, and unique best paths are symmetric, agree hop by hop, and
//! don't change when unrelated nodes come or go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use blake2::{Blake2s256, Digest};

use super::{LinkState, LinkStates};
use crate::names::Name;
use crate::network::{Link, Network, NodeIx};

/// What a path costs; compared field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// Round-trip time in microseconds.
    pub rtt_us: u64,
    /// Links on the way.
    pub links: u32,
    /// Sum of the hubs' hashes: breaks ties.
    salt: u64,
}

impl Cost {
    const ZERO: Cost = Cost { rtt_us: 0, links: 0, salt: 0 };

    fn link(rtt_us: u64) -> Cost {
        Cost { rtt_us, links: 1, salt: 0 }
    }

    fn plus(self, other: Cost) -> Cost {
        Cost {
            rtt_us: self.rtt_us.saturating_add(other.rtt_us),
            links: self.links.saturating_add(other.links),
            salt: self.salt.saturating_add(other.salt),
        }
    }
}

/// A hub's number among the hubs.
pub(super) type HubNo = u32;

/// A way from one hub to another: its cost with both hubs' hashes, and the hub after the first.
#[derive(Debug, Clone, Copy)]
struct Leg {
    cost: Cost,
    next: HubNo,
}

/// The best way from a class to a hub.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    pub cost: Cost,
    /// The hub on which the way enters.
    pub entry: HubNo,
}

/// The hubs that the nodes of a class hang on. A hub is alone in its class and hangs on itself at no cost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    pub attached: Vec<(HubNo, Cost)>,
    /// The hub's own number, if this is a hub's class.
    pub hub: Option<HubNo>,
}

/// All best paths of a network under given link states.
#[derive(Debug, Clone)]
pub struct Paths {
    pub(super) hubs: Vec<NodeIx>,
    pub(super) class_of: Vec<u32>,
    pub(super) classes: Vec<Class>,
    /// Links between two nodes that are no hubs, from each node's side, sorted.
    pub(super) leaf_links: Vec<Vec<(NodeIx, u64)>>,
    /// Whether a node has a link that is up.
    linked: Vec<bool>,
    /// Row by row: from hub i to hub j.
    legs: Vec<Option<Leg>>,
}

/// The first step of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// Straight over the link to the destination, which is no hub.
    Direct,
    /// To this neighbouring hub, the destination or a relay.
    Hub(HubNo),
}

impl Paths {
    /// Computes all paths.
    pub fn new(network: &Network, states: &LinkStates) -> Paths {
        let hubs: Vec<NodeIx> = network.node_numbers().filter(|ix| network.node(*ix).hub).collect();
        let mut number = vec![None; network.nodes.len()];
        for (no, hub) in hubs.iter().enumerate() {
            number[hub.at()] = Some(no as HubNo);
        }
        let mut between: Vec<Vec<(HubNo, u64)>> = vec![Vec::new(); hubs.len()];
        let mut attached: Vec<Vec<(HubNo, Cost)>> = vec![Vec::new(); network.nodes.len()];
        let mut leaf_links: Vec<Vec<(NodeIx, u64)>> = vec![Vec::new(); network.nodes.len()];
        let mut linked = vec![false; network.nodes.len()];
        let known = numbered(network, states);
        for link in &network.links {
            let Some(rtt_us) = rtt_of(network, &known, link) else { continue };
            linked[link.a.at()] = true;
            linked[link.b.at()] = true;
            match (number[link.a.at()], number[link.b.at()]) {
                (Some(a), Some(b)) => {
                    between[a as usize].push((b, rtt_us));
                    between[b as usize].push((a, rtt_us));
                }
                (Some(hub), None) => attached[link.b.at()].push((hub, Cost::link(rtt_us))),
                (None, Some(hub)) => attached[link.a.at()].push((hub, Cost::link(rtt_us))),
                (None, None) => {
                    leaf_links[link.a.at()].push((link.b, rtt_us));
                    leaf_links[link.b.at()].push((link.a, rtt_us));
                }
            }
        }
        leaf_links.iter_mut().for_each(|list| list.sort_unstable());
        let salts: Vec<u64> = hubs.iter().map(|hub| salt(&network.node(*hub).name)).collect();
        let legs = (0..hubs.len()).flat_map(|from| legs_from(from, &between, &salts)).collect();
        let (class_of, classes) = classify(attached, &number);
        Paths { hubs, class_of, classes, leaf_links, linked, legs }
    }

    /// The node after `from` on the best path to `to`; none if there is no path or nothing to go.
    pub fn first_hop(&self, from: NodeIx, to: NodeIx) -> Option<NodeIx> {
        if from == to {
            return None;
        }
        let class = self.class_of[from.at()] as usize;
        let via = self.best_to(&self.reach(class), self.class_of[to.at()] as usize);
        let direct = self.leaf_link(from, to).map(Cost::link);
        match (direct, via) {
            (None, None) => None,
            (Some(direct), Some((cost, ..))) if direct >= cost => self.step(class, via, to),
            (Some(_), _) => Some(to),
            (None, Some(_)) => self.step(class, via, to),
        }
    }

    /// All nodes on the best path, both ends included; none if there is no path.
    pub fn path(&self, from: NodeIx, to: NodeIx) -> Option<Vec<NodeIx>> {
        let mut path = vec![from];
        let mut at = from;
        while at != to {
            at = self.first_hop(at, to)?;
            path.push(at);
            if path.len() > self.hubs.len() + 2 {
                return None;
            }
        }
        Some(path)
    }

    /// What a node's part of a plan takes from the paths: the first step to everybody over hubs, and who is reached straight over a
    /// link between two that are none. Times alone are in no plan.
    pub(super) fn steps(&self, from: NodeIx) -> (Vec<Option<Hop>>, Vec<NodeIx>) {
        let class = self.class_of[from.at()] as usize;
        let reach = self.reach(class);
        let ways: Vec<Option<(Cost, Hop)>> = (0..self.classes.len())
            .map(|to| self.best_to(&reach, to).map(|(cost, entry, exit)| (cost, self.hop(class, entry, exit))))
            .collect();
        let is_better = |(other, rtt_us): &&(NodeIx, u64)| {
            let over_hubs = ways[self.class_of[other.at()] as usize];
            over_hubs.is_none_or(|(cost, _)| Cost::link(*rtt_us) < cost)
        };
        let direct = self.leaf_links[from.at()].iter().filter(is_better).map(|(other, _)| *other).collect();
        (self.class_of.iter().map(|class| ways[*class as usize].map(|(_, hop)| hop)).collect(), direct)
    }

    /// Whether any of a node's links is up.
    pub fn is_linked(&self, node: NodeIx) -> bool {
        self.linked[node.at()]
    }

    fn leaf_link(&self, from: NodeIx, to: NodeIx) -> Option<u64> {
        let links = &self.leaf_links[from.at()];
        links.binary_search_by_key(&to, |(other, _)| *other).ok().map(|at| links[at].1)
    }

    fn step(&self, class: usize, via: Option<(Cost, HubNo, HubNo)>, to: NodeIx) -> Option<NodeIx> {
        let (_, entry, exit) = via?;
        Some(match self.hop(class, entry, exit) {
            Hop::Direct => to,
            Hop::Hub(hub) => self.hubs[hub as usize],
        })
    }

    /// The best ways from a class to every hub.
    pub(super) fn reach(&self, class: usize) -> Vec<Option<Reach>> {
        let count = self.hubs.len();
        let mut reach: Vec<Option<Reach>> = vec![None; count];
        for (entry, cost) in &self.classes[class].attached {
            let row = &self.legs[*entry as usize * count..(*entry as usize + 1) * count];
            for (slot, leg) in reach.iter_mut().zip(row) {
                let Some(leg) = leg else { continue };
                let found = Reach { cost: cost.plus(leg.cost), entry: *entry };
                if slot.is_none_or(|best| found.cost < best.cost) {
                    *slot = Some(found);
                }
            }
        }
        reach
    }

    /// The best way over hubs from where `reach` was taken to a class: cost, first hub, last hub.
    pub(super) fn best_to(&self, reach: &[Option<Reach>], class: usize) -> Option<(Cost, HubNo, HubNo)> {
        let ways = self.classes[class].attached.iter().filter_map(|(exit, cost)| {
            let reach = reach[*exit as usize]?;
            Some((reach.cost.plus(*cost), reach.entry, *exit))
        });
        ways.min()
    }

    /// The first step from a class on a way that enters and leaves the hubs at the given ones.
    pub(super) fn hop(&self, class: usize, entry: HubNo, exit: HubNo) -> Hop {
        if self.classes[class].hub.is_none() {
            return Hop::Hub(entry);
        }
        if entry == exit {
            return Hop::Direct;
        }
        let leg = self.legs[entry as usize * self.hubs.len() + exit as usize];
        Hop::Hub(leg.expect("a way from entry to exit was found over this leg").next)
    }
}

/// States by numbers; those of links between nodes that are not in the network mean nothing.
fn numbered(network: &Network, states: &LinkStates) -> BTreeMap<(NodeIx, NodeIx), LinkState> {
    let number = |(a, b, state): (&Name, &Name, LinkState)| {
        let (a, b) = network.find_node(a).zip(network.find_node(b))?;
        Some(((a.min(b), a.max(b)), state))
    };
    states.iter().filter_map(number).collect()
}

/// A link's round-trip time under the states, or none while it is down.
fn rtt_of(network: &Network, known: &BTreeMap<(NodeIx, NodeIx), LinkState>, link: &Link) -> Option<u64> {
    let state = if known.is_empty() { None } else { known.get(&(link.a, link.b)) };
    match state {
        None => Some(network.rtt_us(link.a, link.b)),
        Some(LinkState::Up { rtt_us }) => Some(*rtt_us),
        Some(LinkState::Down) => None,
    }
}

/// 48 bits of a hash of the name: sums of up to 65,536 of them don't overflow.
fn salt(name: &Name) -> u64 {
    let digest = Blake2s256::digest(name.as_str().as_bytes());
    digest.iter().take(6).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Dijkstra's algorithm from one hub.
fn legs_from(from: usize, between: &[Vec<(HubNo, u64)>], salts: &[u64]) -> Vec<Option<Leg>> {
    let mut legs: Vec<Option<Leg>> = vec![None; salts.len()];
    let mut done = vec![false; salts.len()];
    let start = Cost { salt: salts[from], ..Cost::ZERO };
    legs[from] = Some(Leg { cost: start, next: from as HubNo });
    let mut queue = BinaryHeap::from([Reverse((start, from as HubNo))]);
    while let Some(Reverse((cost, at))) = queue.pop() {
        if std::mem::replace(&mut done[at as usize], true) {
            continue;
        }
        let first = legs[at as usize].map(|leg| leg.next);
        for (to, rtt_us) in &between[at as usize] {
            let found = cost.plus(Cost { salt: salts[*to as usize], ..Cost::link(*rtt_us) });
            let slot = &mut legs[*to as usize];
            if slot.is_none_or(|leg| found < leg.cost) {
                let next = if at as usize == from { Some(*to) } else { first };
                *slot = next.map(|next| Leg { cost: found, next });
                queue.push(Reverse((found, *to)));
            }
        }
    }
    legs
}

/// Groups nodes by what they hang on. Classes are numbered by their first node.
fn classify(attached: Vec<Vec<(HubNo, Cost)>>, number: &[Option<HubNo>]) -> (Vec<u32>, Vec<Class>) {
    let mut known: BTreeMap<Class, u32> = BTreeMap::new();
    let mut classes = Vec::new();
    let mut class_of = Vec::with_capacity(attached.len());
    for (mut attached, hub) in attached.into_iter().zip(number) {
        attached.sort_unstable();
        if let Some(hub) = hub {
            attached = vec![(*hub, Cost::ZERO)];
        }
        let class = Class { attached, hub: *hub };
        let no = *known.entry(class).or_insert_with_key(|class| {
            classes.push(class.clone());
            classes.len() as u32 - 1
        });
        class_of.push(no);
    }
    (class_of, classes)
}
