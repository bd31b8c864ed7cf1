//! Where packets go by what was read: the longest prefix at each member whose configuration is known.
//!
//! It answers who is behind whom. Firewalls, tables and hooks are not looked at; `prove` does that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::members::World;

/// Hops after which a packet circles.
const HOPS_MAX: usize = 64;

/// A member's allowed prefixes, each with its owner.
#[derive(Debug, Clone, Default)]
pub(in crate::import) struct Table {
    owners: BTreeMap<IpNet, usize>,
    lengths: BTreeSet<u8>,
}

impl Table {
    /// Of prefixes with their owners; of the same prefix the last counts.
    pub fn new(prefixes: impl Iterator<Item = (IpNet, usize)>) -> Table {
        let mut table = Table::default();
        for (prefix, owner) in prefixes {
            table.owners.insert(prefix, owner);
            table.lengths.insert(prefix.prefix_len());
        }
        table
    }

    /// The owner of the longest prefix that holds an address.
    pub fn owner(&self, address: IpAddr) -> Option<usize> {
        let max = IpNet::from(address).max_prefix_len();
        self.lengths.iter().rev().filter(|length| **length <= max).find_map(|length| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            self.owners.get(&prefix).copied()
        })
    }

    /// All prefixes.
    pub fn prefixes(&self) -> impl Iterator<Item = (IpNet, usize)> + '_ {
        self.owners.iter().map(|(prefix, owner)| (*prefix, *owner))
    }
}

/// Where a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Walk {
    /// Members visited, the first included.
    pub visited: Vec<usize>,
    /// Whether the last one sends the address nowhere else.
    pub ended: bool,
}

/// The tables of all members that were read.
pub(in crate::import) struct Tables(Vec<Option<Table>>);

impl Tables {
    /// Collects them.
    pub fn new(world: &World<'_>) -> Tables {
        let table = |member: usize| {
            let peers = world.peers(world.device(member)?);
            let prefixes =
                peers.flat_map(|(peer, written)| written.allowed.iter().map(move |p| (p.value.trunc(), peer)));
            Some(Table::new(prefixes))
        };
        Tables((0..world.members.len()).map(table).collect())
    }

    /// Tables of anything else that is numbered.
    pub fn of_all(tables: Vec<Option<Table>>) -> Tables {
        Tables(tables)
    }

    /// A member's table, if its configuration was read.
    pub fn of(&self, member: usize) -> Option<&Table> {
        self.0[member].as_ref()
    }

    /// Where an address ends from each member, if it ends: with the last one that sends it nowhere else, or is not known.
    /// Each step is the same whoever asked, so each member is asked once.
    pub fn ends(&self, address: IpAddr) -> Vec<Option<usize>> {
        let mut ends: Vec<Option<Option<usize>>> = vec![None; self.0.len()];
        let mut path = Vec::new();
        for from in 0..self.0.len() {
            let mut at = from;
            let end = loop {
                if let Some(known) = ends[at] {
                    break known;
                }
                path.push(at);
                // Whoever is asked again is on the path, and the path is a circle.
                ends[at] = Some(None);
                match self.of(at).and_then(|table| table.owner(address)) {
                    Some(next) => at = next,
                    None => break Some(at),
                }
            };
            path.drain(..).for_each(|member| ends[member] = Some(end));
        }
        ends.into_iter().map(Option::flatten).collect()
    }

    /// Follows an address until a member has it, sends it nowhere else, or is not known.
    pub fn walk(&self, from: usize, address: IpAddr, arrives: impl Fn(usize) -> bool) -> Walk {
        let (mut visited, mut at) = (vec![from], from);
        while !arrives(at) || visited.len() == 1 {
            let Some(next) = self.of(at).and_then(|table| table.owner(address)) else {
                return Walk { visited, ended: true };
            };
            if visited.len() > HOPS_MAX || next == from {
                return Walk { visited, ended: false };
            }
            visited.push(next);
            at = next;
        }
        Walk { visited, ended: true }
    }
}
