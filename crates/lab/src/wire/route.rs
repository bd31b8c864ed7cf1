//! Which port has an address.
//!
//! The public internet is underlay 0; every private network (a VPC, an office LAN behind its router) is an underlay of its own, with
//! addresses that may well be the same as in another one. A port that has an address in an underlay is attached to it. A
//! destination is looked up in the sender's private underlays first, longest prefix first, then in the public one; so a private
//! address reaches only those who share its network. An address belongs to a port or, in the public underlay, to a NAT or to several
//! ports at once (anycast).

use super::cloud::anycast::AnycastId;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// A node's connection to the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u32);

/// A network in which addresses have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnderlayId(pub u16);

impl UnderlayId {
    /// The internet.
    pub const PUBLIC: Self = Self(0);
}

/// A NAT between a private underlay and the public one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NatId(pub u32);

/// Who receives what is sent to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A node.
    Port(PortId),
    /// A NAT, which looks further in its inside underlay.
    Nat(NatId),
    /// One of several, chosen for each flow.
    Anycast(AnycastId),
}

/// Why an address can't be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The same prefix belongs to somebody else in that underlay.
    #[error("{prefix} in underlay {} already belongs to {owner:?}, {wanted:?} can't have it too", underlay.0)]
    Taken {
        /// The prefix.
        prefix: IpNet,
        /// Where.
        underlay: UnderlayId,
        /// Who has it.
        owner: Target,
        /// Who asked for it.
        wanted: Target,
    },
}

/// All addresses of the wire.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    underlays: HashMap<UnderlayId, Underlay>,
    /// Private underlays of each port; everybody is in the public one.
    attached: HashMap<PortId, BTreeSet<UnderlayId>>,
}

#[derive(Debug, Clone, Default)]
struct Underlay {
    owners: HashMap<IpNet, Target>,
    /// How many prefixes there are of each length, so that a lookup asks only for lengths that exist.
    lengths_v4: BTreeMap<u8, usize>,
    lengths_v6: BTreeMap<u8, usize>,
}

impl Directory {
    /// Gives a prefix in an underlay to a port or a NAT. Giving it again to the same one changes nothing.
    pub fn add(&mut self, target: Target, prefix: IpNet, underlay: UnderlayId) -> Result<(), RouteError> {
        let prefix = prefix.trunc();
        let network = self.underlays.entry(underlay).or_default();
        match network.owners.get(&prefix) {
            Some(&owner) if owner == target => return Ok(()),
            Some(&owner) => return Err(RouteError::Taken { prefix, underlay, owner, wanted: target }),
            None => {}
        }
        network.owners.insert(prefix, target);
        *network.lengths(&prefix).entry(prefix.prefix_len()).or_default() += 1;
        if let (Target::Port(port), true) = (target, underlay != UnderlayId::PUBLIC) {
            self.attached.entry(port).or_default().insert(underlay);
        }
        Ok(())
    }

    /// Takes a prefix away from whoever has it; true if somebody had.
    pub fn remove(&mut self, prefix: IpNet, underlay: UnderlayId) -> bool {
        let Some(network) = self.underlays.get_mut(&underlay) else { return false };
        let Some(owner) = network.remove(prefix.trunc()) else { return false };
        if let Target::Port(port) = owner
            && !network.owners.values().any(|&other| other == owner)
            && let Some(attached) = self.attached.get_mut(&port)
        {
            attached.remove(&underlay);
        }
        true
    }

    /// Takes all prefixes away from a port or a NAT.
    pub fn remove_target(&mut self, target: Target) {
        for network in self.underlays.values_mut() {
            let owned: Vec<IpNet> = network.owners.iter().filter(|(_, o)| **o == target).map(|(p, _)| *p).collect();
            for prefix in owned {
                network.remove(prefix);
            }
        }
        if let Target::Port(port) = target {
            self.attached.remove(&port);
        }
    }

    /// Who has `destination`, seen from `from`, and in which underlay.
    pub fn lookup(&self, from: PortId, destination: IpAddr) -> Option<(UnderlayId, Target)> {
        let private = self.attached.get(&from).into_iter().flatten();
        private
            .filter_map(|&id| self.match_in(id, destination).map(|(length, target)| (length, id, target)))
            .max_by_key(|&(length, id, _)| (length, std::cmp::Reverse(id)))
            .or_else(|| {
                self.match_in(UnderlayId::PUBLIC, destination).map(|(length, t)| (length, UnderlayId::PUBLIC, t))
            })
            .map(|(_, id, target)| (id, target))
    }

    /// Who has `address` in one underlay.
    pub fn owner(&self, underlay: UnderlayId, address: IpAddr) -> Option<Target> {
        self.match_in(underlay, address).map(|(_, target)| target)
    }

    fn match_in(&self, underlay: UnderlayId, address: IpAddr) -> Option<(u8, Target)> {
        let network = self.underlays.get(&underlay)?;
        let lengths = if address.is_ipv4() { &network.lengths_v4 } else { &network.lengths_v6 };
        lengths.keys().rev().find_map(|&length| {
            let prefix = IpNet::new(address, length).ok()?.trunc();
            network.owners.get(&prefix).map(|&target| (length, target))
        })
    }
}

impl Underlay {
    fn lengths(&mut self, prefix: &IpNet) -> &mut BTreeMap<u8, usize> {
        match prefix {
            IpNet::V4(_) => &mut self.lengths_v4,
            IpNet::V6(_) => &mut self.lengths_v6,
        }
    }

    fn remove(&mut self, prefix: IpNet) -> Option<Target> {
        let owner = self.owners.remove(&prefix)?;
        let lengths = self.lengths(&prefix);
        if let Some(count) = lengths.get_mut(&prefix.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&prefix.prefix_len());
            }
        }
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: PortId = PortId(1);
    const B: PortId = PortId(2);
    const C: PortId = PortId(3);
    const VPC: UnderlayId = UnderlayId(1);

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut directory = Directory::default();
        directory.add(Target::Port(A), net("198.51.100.0/24"), UnderlayId::PUBLIC).unwrap();
        directory.add(Target::Port(B), net("198.51.100.7/32"), UnderlayId::PUBLIC).unwrap();
        let owner = |text| directory.lookup(C, ip(text)).map(|(_, t)| t);
        assert_eq!(owner("198.51.100.7"), Some(Target::Port(B)));
        assert_eq!(owner("198.51.100.8"), Some(Target::Port(A)));
        assert_eq!(owner("198.51.101.8"), None);
        assert_eq!(owner("2001:db8::1"), None);
    }

    #[test]
    fn private_addresses_reach_only_those_who_share_the_underlay() {
        let mut directory = Directory::default();
        directory.add(Target::Port(A), net("10.0.0.1/32"), VPC).unwrap();
        directory.add(Target::Port(B), net("10.0.0.2/32"), VPC).unwrap();
        directory.add(Target::Port(C), net("10.0.0.2/32"), UnderlayId(2)).unwrap();
        assert_eq!(directory.lookup(A, ip("10.0.0.2")), Some((VPC, Target::Port(B))));
        assert_eq!(directory.lookup(C, ip("10.0.0.2")), Some((UnderlayId(2), Target::Port(C))));
        assert_eq!(directory.lookup(C, ip("10.0.0.1")), None);
        directory.remove(net("10.0.0.1/32"), VPC);
        assert_eq!(directory.lookup(A, ip("10.0.0.2")), None, "without an address A isn't there any more");
    }

    #[test]
    fn an_address_has_one_owner() {
        let mut directory = Directory::default();
        directory.add(Target::Port(A), net("192.0.2.1/32"), UnderlayId::PUBLIC).unwrap();
        assert!(directory.add(Target::Port(A), net("192.0.2.1/32"), UnderlayId::PUBLIC).is_ok());
        let error = directory.add(Target::Port(B), net("192.0.2.1/32"), UnderlayId::PUBLIC).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1/32"), "{error}");
        directory.remove_target(Target::Port(A));
        assert!(directory.add(Target::Port(B), net("192.0.2.1/32"), UnderlayId::PUBLIC).is_ok());
    }

    proptest! {
        #[test]
        fn against_a_list(
            entries in proptest::collection::vec((0_u32..4, 0_u16..3, 0_u8..16, 0_u8..=8), 0..20),
            removed in proptest::collection::vec(0_usize..20, 0..5), from in 0_u32..4, wanted in 0_u8..16,
        ) {
            let address = |last: u8| IpAddr::from([10, 0, 0, last]);
            let mut directory = Directory::default();
            let mut list: Vec<(Target, IpNet, UnderlayId)> = Vec::new();
            for (port, underlay, last, short) in entries {
                let entry = (Target::Port(PortId(port)), IpNet::new(address(last), 32 - short).unwrap().trunc(), UnderlayId(underlay));
                let owned = list.iter().find(|e| (e.1, e.2) == (entry.1, entry.2)).map(|e| e.0);
                prop_assert_eq!(directory.add(entry.0, entry.1, entry.2).is_ok(), owned.is_none_or(|o| o == entry.0));
                if owned.is_none() {
                    list.push(entry);
                }
            }
            for index in removed {
                if index < list.len() {
                    let (_, prefix, underlay) = list.remove(index);
                    prop_assert!(directory.remove(prefix, underlay));
                }
            }
            let from = PortId(from);
            let attached = |u: UnderlayId| u == UnderlayId::PUBLIC || list.iter().any(|e| e.0 == Target::Port(from) && e.2 == u);
            let expected = list.iter().filter(|e| attached(e.2) && e.1.contains(&address(wanted)))
                .max_by_key(|e| (e.2 != UnderlayId::PUBLIC, e.1.prefix_len(), std::cmp::Reverse(e.2)))
                .map(|e| (e.2, e.0));
            prop_assert_eq!(directory.lookup(from, address(wanted)), expected);
        }
    }
}
