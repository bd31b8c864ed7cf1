//! Which peer a prefix belongs to: two path-compressed binary tries, one for each IP version.
//!
//! A prefix has exactly one owner; giving it to another peer moves it in one step. A lookup follows at most as many nodes as
//! there are nested prefixes and branches on the way, and remembers the last owner it saw: the longest match. Nodes live in
//! one vector and name each other by index; freed ones are used again.

mod common;
mod lent;

use std::net::IpAddr;

use ipnet::IpNet;

pub use common::Common;
pub use lent::LentPrefixes;

use super::peer::PeerId;

/// Prefix to peer, longest match first.
#[derive(Debug)]
pub struct AllowedIps {
    v4: Trie,
    v6: Trie,
}

impl Default for AllowedIps {
    fn default() -> AllowedIps {
        AllowedIps { v4: Trie::new(), v6: Trie::new() }
    }
}

impl AllowedIps {
    /// The peer that the address belongs to.
    pub fn lookup(&self, address: IpAddr) -> Option<PeerId> {
        match address {
            IpAddr::V4(v4) => self.v4.lookup(u128::from(v4.to_bits()) << 96),
            IpAddr::V6(v6) => self.v6.lookup(v6.to_bits()),
        }
    }

    /// The length of the prefix that an address belongs to.
    pub fn matched_length(&self, address: IpAddr) -> Option<u8> {
        match address {
            IpAddr::V4(v4) => self.v4.matched_length(u128::from(v4.to_bits()) << 96),
            IpAddr::V6(v6) => self.v6.matched_length(v6.to_bits()),
        }
    }

    /// The peer that a whole prefix belongs to but for longer ones inside it.
    pub fn covering(&mut self, prefix: IpNet) -> Option<PeerId> {
        let (trie, key, len) = self.locate(prefix);
        Some(PeerId(trie.longest_up_to(key, len)?.owner))
    }

    /// Gives the prefix to a peer; returns who had it before. Bits beyond the prefix length are ignored.
    pub fn insert(&mut self, prefix: IpNet, owner: PeerId) -> Option<PeerId> {
        let (trie, key, len) = self.locate(prefix);
        trie.insert(key, len, owner)
    }

    /// Takes the prefix from its owner, who is returned.
    pub fn remove(&mut self, prefix: IpNet) -> Option<PeerId> {
        let (trie, key, len) = self.locate(prefix);
        trie.remove(key, len)
    }

    fn locate(&mut self, prefix: IpNet) -> (&mut Trie, u128, u8) {
        match prefix.trunc() {
            IpNet::V4(net) => (&mut self.v4, u128::from(net.network().to_bits()) << 96, net.prefix_len()),
            IpNet::V6(net) => (&mut self.v6, net.network().to_bits(), net.prefix_len()),
        }
    }
}

/// "No node" and "no owner".
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The prefix, left-aligned, zero beyond `len`.
    key: u128,
    len: u8,
    owner: u32,
    children: [u32; 2],
}

#[derive(Debug)]
struct Trie {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
}

/// Where a node hangs: at the root, or as a child of a node.
#[derive(Clone, Copy)]
enum Place {
    Root,
    Child(u32, usize),
}

impl Trie {
    fn new() -> Trie {
        Trie { nodes: Vec::new(), free: Vec::new(), root: NONE }
    }

    fn lookup(&self, address: u128) -> Option<PeerId> {
        Some(PeerId(self.longest(address)?.owner))
    }

    fn matched_length(&self, address: u128) -> Option<u8> {
        Some(self.longest(address)?.len)
    }

    /// The node of the longest prefix with an owner that covers an address.
    fn longest(&self, address: u128) -> Option<&Node> {
        self.longest_up_to(address, 128)
    }

    /// The same among prefixes up to a length.
    #[inline]
    fn longest_up_to(&self, address: u128, len: u8) -> Option<&Node> {
        let (mut at, mut best) = (self.root, None);
        while let Some(node) = self.nodes.get(at as usize) {
            if node.len > len || common_bits(node.key, address) < node.len {
                break;
            }
            if node.owner != NONE {
                best = Some(node);
            }
            if node.len == 128 {
                break;
            }
            at = node.children[bit(address, node.len)];
        }
        best
    }

    fn insert(&mut self, key: u128, len: u8, owner: PeerId) -> Option<PeerId> {
        let mut place = Place::Root;
        loop {
            let at = self.at(place);
            let Some(&node) = self.nodes.get(at as usize) else {
                let leaf = self.add(Node { key, len, owner: owner.0, children: [NONE; 2] });
                self.hang(place, leaf);
                return None;
            };
            let common = common_bits(node.key, key).min(node.len).min(len);
            if common == node.len && node.len == len {
                let old = std::mem::replace(&mut self.nodes[at as usize].owner, owner.0);
                return (old != NONE).then_some(PeerId(old));
            }
            if common == node.len {
                place = Place::Child(at, bit(key, node.len));
                continue;
            }
            self.split(place, at, common, Node { key, len, owner: owner.0, children: [NONE; 2] });
            return None;
        }
    }

    /// Puts `new` above or beside the node at `place`, with which it shares `common` bits only.
    fn split(&mut self, place: Place, at: u32, common: u8, mut new: Node) {
        let side = bit(self.nodes[at as usize].key, common);
        if common == new.len {
            new.children[side] = at;
            let above = self.add(new);
            return self.hang(place, above);
        }
        let beside = self.add(new);
        let mut children = [beside; 2];
        children[side] = at;
        let fork = self.add(Node { key: new.key & mask(common), len: common, owner: NONE, children });
        self.hang(place, fork);
    }

    fn remove(&mut self, key: u128, len: u8) -> Option<PeerId> {
        let (mut place, mut above) = (Place::Root, None);
        loop {
            let at = self.at(place);
            let node = *self.nodes.get(at as usize)?;
            if common_bits(node.key, key) < node.len || node.len > len {
                return None;
            }
            if node.len == len {
                if node.owner == NONE {
                    return None;
                }
                self.nodes[at as usize].owner = NONE;
                self.prune(place);
                if let Some(parent) = above {
                    self.prune(parent);
                }
                return Some(PeerId(node.owner));
            }
            above = Some(place);
            place = Place::Child(at, bit(key, node.len));
        }
    }

    /// Takes out the node at `place` if it owns nothing and does not fork.
    fn prune(&mut self, place: Place) {
        let at = self.at(place);
        let Some(node) = self.nodes.get(at as usize) else { return };
        let heir = match node.children {
            _ if node.owner != NONE => return,
            [NONE, heir] | [heir, NONE] => heir,
            _ => return,
        };
        self.hang(place, heir);
        self.free.push(at);
    }

    fn at(&self, place: Place) -> u32 {
        match place {
            Place::Root => self.root,
            Place::Child(parent, side) => self.nodes[parent as usize].children[side],
        }
    }

    fn hang(&mut self, place: Place, node: u32) {
        match place {
            Place::Root => self.root = node,
            Place::Child(parent, side) => self.nodes[parent as usize].children[side] = node,
        }
    }

    fn add(&mut self, node: Node) -> u32 {
        if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }
}

fn common_bits(a: u128, b: u128) -> u8 {
    (a ^ b).leading_zeros() as u8
}

/// The bit after the first `len` ones; `len` is below 128.
fn bit(key: u128, len: u8) -> usize {
    (key >> (127 - len)) as usize & 1
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_and_the_versions_are_apart() {
        let mut table = AllowedIps::default();
        for (prefix, owner) in
            [("0.0.0.0/0", 1), ("10.0.0.0/8", 2), ("10.1.0.0/16", 3), ("10.1.2.3/32", 4), ("fd00::/8", 5)]
        {
            assert_eq!(table.insert(net(prefix), PeerId(owner)), None);
        }
        for (address, owner) in
            [("192.0.2.1", Some(1)), ("10.9.9.9", Some(2)), ("10.1.9.9", Some(3)), ("10.1.2.3", Some(4)), ("::1", None)]
        {
            assert_eq!(table.lookup(address.parse().unwrap()), owner.map(PeerId), "{address}");
        }
        assert_eq!(table.insert(net("10.1.0.0/16"), PeerId(9)), Some(PeerId(3)));
        assert_eq!(table.lookup("10.1.9.9".parse().unwrap()), Some(PeerId(9)));
        assert_eq!(table.remove(net("10.1.0.0/16")), Some(PeerId(9)));
        assert_eq!(table.remove(net("10.1.0.0/16")), None);
        assert_eq!(table.lookup("10.1.9.9".parse().unwrap()), Some(PeerId(2)));
    }

    /// What the kernel's own test of its table holds true: nested prefixes, host bits that are set, owners that change, halves.
    #[test]
    fn addresses_belong_to_whom_the_kernel_gives_them() {
        let mut table = AllowedIps::default();
        let prefixes = "a 192.168.4.0/24, b 192.168.4.4/32, c 192.168.0.0/16, d 192.95.5.64/27, c 192.95.5.65/27,
            d 2607:5300:6000:6b00::c05f:543/128, c 2607:5300:6000:6b00::/64, e 0.0.0.0/0, e ::/0, f ::/0, g 2404:6800::/32,
            h 2404:6800:4004:800:dead:beef:dead:beef/64, a 2404:6800:4004:800:dead:beef:dead:beef/128,
            c 2444:6800:40e4:800:deae:beef:def:beef/128, b 2444:6800:f0e4:800:eeae:beef::/98, g 64.15.112.0/20,
            h 64.15.123.211/25, a 10.0.0.0/25, b 10.0.0.128/25, a 10.1.0.0/30, b 10.1.0.4/30, c 10.1.0.8/29, d 10.1.0.16/29";
        let owned = |text: &'static str| {
            text.split(',')
                .map(|entry| entry.trim().split_once(' ').unwrap())
                .map(|(who, what)| (PeerId(who.as_bytes()[0].into()), what))
        };
        for (owner, prefix) in owned(prefixes) {
            table.insert(net(prefix), owner);
        }
        let addresses = "a 192.168.4.20, b 192.168.4.4, c 192.168.200.182, c 192.95.5.68, e 192.95.5.96,
            d 2607:5300:6000:6b00::c05f:543, c 2607:5300:6000:6b00::c02e:1ee, f 2607:5300:6000:6b01::, g 2404:6800:4004:806::1006,
            g 2404:6800:4004:806:0:1234:0:5678, f 2404:67ff:4004:806:0:1234:0:5678, f 2404:6801:4004:806:0:1234:0:5678,
            h 2404:6800:4004:800:0:1234:0:5678, h 2404:6800:4004:800::, h 2404:6800:4004:800:1010:1010:1010:1010,
            a 2404:6800:4004:800:dead:beef:dead:beef, g 64.15.116.26, g 64.15.127.3, g 64.15.123.1, h 64.15.123.128,
            h 64.15.123.129, a 10.0.0.52, b 10.0.0.220, a 10.1.0.2, b 10.1.0.6, c 10.1.0.10, d 10.1.0.20";
        for (owner, address) in owned(addresses) {
            assert_eq!(table.lookup(address.parse().unwrap()), Some(owner), "{address}");
        }
        let hosts = ["1.0.0.0", "64.0.0.0", "128.0.0.0", "192.0.0.0", "255.0.0.0"];
        for host in hosts {
            table.insert(net(&format!("{host}/32")), PeerId(1));
            assert_eq!(table.remove(net(&format!("{host}/32"))), Some(PeerId(1)));
            assert_eq!(table.lookup(host.parse().unwrap()), Some(PeerId(b'e'.into())), "{host} falls to the default");
        }
    }

    /// Few bits, so that prefixes nest and meet.
    fn prefix() -> impl Strategy<Value = IpNet> {
        let v4 = (0u32..64, 0u8..=32).prop_map(|(bits, len)| {
            let address = std::net::Ipv4Addr::from_bits(bits.wrapping_mul(0x0421_0842) ^ (bits << 26));
            IpNet::V4(ipnet::Ipv4Net::new(address, len).unwrap())
        });
        let v6 = (0u128..64, prop::sample::select(vec![0u8, 1, 2, 3, 5, 60, 63, 64, 65, 127, 128])).prop_map(
            |(bits, len)| {
                let address = std::net::Ipv6Addr::from_bits((bits << 122) | (bits << 60) | bits);
                IpNet::V6(ipnet::Ipv6Net::new(address, len).unwrap())
            },
        );
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec((prefix(), 0u32..4, any::<bool>()), 1..120)) {
            let (mut table, mut list) = (AllowedIps::default(), BTreeMap::new());
            for (prefix, owner, insert) in &steps {
                if *insert {
                    let old = list.insert(prefix.trunc(), PeerId(*owner));
                    prop_assert_eq!(table.insert(*prefix, PeerId(*owner)), old);
                } else {
                    prop_assert_eq!(table.remove(*prefix), list.remove(&prefix.trunc()));
                }
                for (probe, _, _) in &steps {
                    let address = probe.addr();
                    let expected = list.iter().filter(|(net, _)| net.contains(&address)).max_by_key(|(net, _)| net.prefix_len());
                    prop_assert_eq!(table.lookup(address), expected.map(|(_, owner)| *owner));
                }
            }
            for prefix in list.keys() {
                table.remove(*prefix);
            }
            prop_assert_eq!((table.v4.root, table.v6.root), (NONE, NONE), "nothing is left behind");
        }
    }
}
