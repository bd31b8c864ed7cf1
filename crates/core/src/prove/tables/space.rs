//! The whole address space, v4 and v6, cut into atoms: ranges inside which no prefix begins or ends.
//!
//! Every address is in exactly one atom, and all addresses of an atom are treated alike by any longest-prefix match over
//! the prefixes that made the cuts. So what holds for an atom holds for each of its addresses: nothing is sampled.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

/// All atoms: those of v4 first, then those of v6, each in the order of addresses.
#[derive(Debug, Clone)]
pub struct Atoms {
    /// First address of each v4 atom; the first of them is 0.
    v4: Vec<u32>,
    /// First address of each v6 atom; the first of them is 0.
    v6: Vec<u128>,
}

impl Atoms {
    /// Cuts the space at both ends of every prefix.
    pub fn new(prefixes: impl Iterator<Item = IpNet>) -> Atoms {
        let (mut v4, mut v6) = (vec![0], vec![0]);
        for prefix in prefixes {
            match prefix {
                IpNet::V4(net) => {
                    v4.push(net.network().into());
                    v4.extend(u32::from(net.broadcast()).checked_add(1));
                }
                IpNet::V6(net) => {
                    v6.push(net.network().into());
                    v6.extend(u128::from(net.broadcast()).checked_add(1));
                }
            }
        }
        v4.sort_unstable();
        v4.dedup();
        v6.sort_unstable();
        v6.dedup();
        Atoms { v4, v6 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Never: both families have at least one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an atom is in v4.
    pub fn is_v4(&self, atom: usize) -> bool {
        atom < self.v4.len()
    }

    /// The atom of an address.
    pub fn at(&self, address: IpAddr) -> usize {
        match address {
            IpAddr::V4(v4) => self.v4.partition_point(|start| *start <= u32::from(v4)) - 1,
            IpAddr::V6(v6) => self.v4.len() + self.v6.partition_point(|start| *start <= u128::from(v6)) - 1,
        }
    }

    /// The atoms of a prefix that made cuts.
    pub fn of(&self, prefix: &IpNet) -> Range<usize> {
        let first = self.at(prefix.network());
        if prefix.prefix_len() == prefix.max_prefix_len() {
            return first..first + 1;
        }
        first..self.at(prefix.broadcast()) + 1
    }

    /// An atom's first address.
    pub fn first(&self, atom: usize) -> IpAddr {
        match atom.checked_sub(self.v4.len()) {
            None => IpAddr::V4(self.v4[atom].into()),
            Some(at) => IpAddr::V6(self.v6[at].into()),
        }
    }

    /// An atom's last address.
    pub fn last(&self, atom: usize) -> IpAddr {
        match atom.checked_sub(self.v4.len()) {
            None => IpAddr::V4(self.v4.get(atom + 1).map_or(u32::MAX, |next| next - 1).into()),
            Some(at) => IpAddr::V6(self.v6.get(at + 1).map_or(u128::MAX, |next| next - 1).into()),
        }
    }

    /// The prefixes that cover some atoms (sorted) exactly, as few as possible.
    pub fn prefixes(&self, atoms: impl IntoIterator<Item = usize>) -> Vec<IpNet> {
        let pieces = atoms.into_iter().flat_map(|atom| match (self.first(atom), self.last(atom)) {
            (IpAddr::V4(a), IpAddr::V4(b)) => Ipv4Subnets::new(a, b, 0).map(IpNet::V4).collect::<Vec<_>>(),
            (IpAddr::V6(a), IpAddr::V6(b)) => Ipv6Subnets::new(a, b, 0).map(IpNet::V6).collect(),
            _ => Vec::new(),
        });
        crate::plan::merge(pieces.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atoms(text: &[&str]) -> Atoms {
        Atoms::new(text.iter().map(|prefix| prefix.parse().unwrap()))
    }

    #[test]
    fn every_address_is_in_one_atom_and_prefixes_come_back_exactly() {
        let cut = ["10.0.0.0/8", "10.1.0.0/16", "255.255.255.255/32", "0.0.0.0/0", "fd00::/8", "fd00::1/128"];
        let atoms = atoms(&cut);
        assert_eq!(atoms.len(), 6 + 5);
        for prefix in cut.iter().map(|text| text.parse::<IpNet>().unwrap()) {
            assert_eq!(atoms.prefixes(atoms.of(&prefix)), [prefix]);
        }
        for atom in 0..atoms.len() {
            assert_eq!((atoms.at(atoms.first(atom)), atoms.at(atoms.last(atom))), (atom, atom));
        }
        assert_eq!(atoms.first(0).to_string(), "0.0.0.0");
        assert_eq!(atoms.last(atoms.len() - 1).to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }
}
