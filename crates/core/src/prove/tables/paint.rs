//! Rows painted over the atoms of the address space, and atoms grouped into classes by their columns.
//!
//! A row is what one device, one lookup of routes or one set of a rule's prefixes says of every atom. Rows are made one at a time
//! and never kept over all atoms: first to group the atoms, then to verify the groups, then to write down one column
//! per group.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::super::hosts::{Host, Hosts, RouteTo};
use super::space::Atoms;
use super::{LAN, NO_ROUTE, NOBODY, NOWHERE, OWN};

/// One row of routes to be painted: a host, and the rules whose tables are asked one after the other.
pub(super) struct LookupRow<'a> {
    pub host: &'a Host,
    pub tables: Vec<(u32, Option<u8>)>,
}

/// Atoms grouped into classes.
pub(super) struct Partition {
    pub class_of: Vec<u32>,
    /// The first atom of each class.
    pub first: Vec<usize>,
}

/// Makes rows over all atoms, one at a time.
pub(super) struct Painter<'a> {
    pub hosts: &'a Hosts,
    pub atoms: &'a Atoms,
    /// Per device the number of its first peer.
    pub first_peers: Vec<u32>,
    pub lookups: &'a [LookupRow<'a>],
    pub bits: &'a [Vec<IpNet>],
}

impl Painter<'_> {
    /// Hands every row to a function: owners, then routes, then bits.
    pub fn rows(&self, mut take: impl FnMut(RowOf, &[u32])) {
        let mut row = vec![NOBODY; self.atoms.len()];
        let mut found: Vec<(u8, IpNet, u32)> = Vec::new();
        let devices = self.hosts.hosts.iter().flat_map(|host| &host.devices);
        for (device, first_peer) in devices.zip(&self.first_peers) {
            row.fill(NOBODY);
            found.clear();
            for (at, peer) in device.peers.iter().enumerate() {
                let number = first_peer + at as u32;
                found.extend(peer.allowed.iter().map(|prefix| (prefix.prefix_len(), *prefix, number)));
            }
            self.paint(&mut found, &mut row);
            take(RowOf::Owners, &row);
        }
        for lookup in self.lookups {
            row.fill(u32::from(NO_ROUTE));
            for (table, suppress) in lookup.tables.iter().rev() {
                found.clear();
                routes_in(lookup.host, *table, &mut found);
                found.retain(|(length, ..)| suppress.is_none_or(|suppress| *length > suppress));
                self.paint(&mut found, &mut row);
            }
            lookup.host.addresses.iter().for_each(|own| row[self.atoms.at(*own)] = u32::from(OWN));
            take(RowOf::Routes, &row);
        }
        for set in self.bits {
            row.fill(0);
            set.iter().flat_map(|prefix| self.atoms.of(prefix)).for_each(|atom| row[atom] = 1);
            take(RowOf::Bits, &row);
        }
    }

    /// Longer prefixes over shorter ones, and of the same prefix the later over the earlier.
    fn paint(&self, found: &mut [(u8, IpNet, u32)], row: &mut [u32]) {
        found.sort_by_key(|(length, ..)| *length);
        for (_, prefix, value) in found.iter() {
            row[self.atoms.of(prefix)].fill(*value);
        }
    }

    /// Groups atoms by hashes of their columns.
    pub fn partition(&self, uniform: bool) -> Partition {
        let mut hashes: Vec<u128> = vec![0; self.atoms.len()];
        self.rows(|_, row| {
            for (hash, value) in hashes.iter_mut().zip(row) {
                // A multiplicative hash; that equal hashes are equal columns is verified below.
                *hash = (*hash ^ u128::from(*value))
                    .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
                    .rotate_left(47);
            }
        });
        let mut known: BTreeMap<(bool, u128), u32> = BTreeMap::new();
        let mut first = Vec::new();
        let class = |(atom, hash): (usize, &u128)| {
            *known.entry((uniform || self.atoms.is_v4(atom), *hash)).or_insert_with(|| {
                first.push(atom);
                first.len() as u32 - 1
            })
        };
        let class_of = hashes.iter().enumerate().map(class).collect();
        Partition { class_of, first }
    }

    /// Whether all atoms of a class have the same column indeed.
    pub fn is_exact(&self, partition: &Partition) -> bool {
        let mut exact = true;
        let of_first: Vec<usize> = partition.class_of.iter().map(|class| partition.first[*class as usize]).collect();
        let shared: Vec<usize> = (0..of_first.len()).filter(|atom| of_first[*atom] != *atom).collect();
        self.rows(|_, row| exact &= shared.iter().all(|atom| row[*atom] == row[of_first[*atom]]));
        exact
    }
}

/// What a row is of.
#[derive(Clone, Copy)]
pub(super) enum RowOf {
    /// The peers that own each atom in a device.
    Owners,
    /// The route codes of a lookup.
    Routes,
    /// Whether an atom is inside a set of prefixes.
    Bits,
}

/// All routes of a table, as codes; of the same prefix the one that counts last.
fn routes_in(host: &Host, table: u32, found: &mut Vec<(u8, IpNet, u32)>) {
    for (no, device) in host.devices.iter().enumerate().rev().filter(|(_, device)| device.routed_in == Some(table)) {
        let prefixes = device.peers.iter().flat_map(|peer| peer.allowed.iter());
        found.extend(prefixes.map(|prefix| (prefix.prefix_len(), *prefix, no as u32)));
    }
    for route in host.routes.iter().rev().filter(|route| route.table == table) {
        let code = match route.to {
            RouteTo::Device(device) if (device as usize) < host.devices.len() => device,
            RouteTo::Lan => u32::from(LAN),
            RouteTo::Device(_) | RouteTo::Nowhere => u32::from(NOWHERE),
        };
        found.push((route.prefix.prefix_len(), route.prefix, code));
    }
}
