//! Address ranges with a reputation: private ones, and those that other people's equipment uses by habit.
//!
//! The private ones are what a network may use without a word; the others lead to trouble that is hard to find later, so
//! the operator hears of it while the file is still easy to change.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Ranges that are nobody's on the internet: RFC 1918, 6598 (shared), 3927 (link-local), 2544 (benchmarks), 5737
/// (documentation).
const PRIVATE_V4: &[([u8; 4], u8)] = &[
    ([10, 0, 0, 0], 8),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
    ([100, 64, 0, 0], 10),
    ([169, 254, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([192, 0, 2, 0], 24),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
];

/// RFC 4193 (unique local), 4291 (link-local), 3849 (documentation).
const PRIVATE_V6: &[([u16; 2], u8)] = &[([0xfc00, 0], 7), ([0xfe80, 0], 10), ([0x2001, 0xdb8], 32)];

/// Whether a prefix lies in a private range.
pub(crate) fn is_private(prefix: IpNet) -> bool {
    match prefix {
        IpNet::V4(prefix) => PRIVATE_V4
            .iter()
            .any(|(octets, length)| Ipv4Net::new_assert(Ipv4Addr::from(*octets), *length).contains(&prefix)),
        IpNet::V6(prefix) => PRIVATE_V6.iter().any(|([a, b], length)| {
            Ipv6Net::new_assert(Ipv6Addr::new(*a, *b, 0, 0, 0, 0, 0, 0), *length).contains(&prefix)
        }),
    }
}

/// A range that equipment uses by habit.
struct CommonRange {
    octets: [u8; 4],
    length: u8,
    /// Who uses it.
    habit: &'static str,
    /// What to do about it.
    fix: &'static str,
    /// Whether it matters only for sites that clients reach from LANs of their own.
    for_clients: bool,
}

impl CommonRange {
    /// The range.
    fn prefix(&self) -> IpNet {
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(self.octets), self.length))
    }
}

const RENUMBER_LAN: &str = "Renumber the site: a client in a LAN with the same addresses can't reach it.";

/// Ranges to warn of.
const COMMON_RANGES: &[CommonRange] = &[
    CommonRange { octets: [192, 168, 0, 0], length: 24, habit: "home routers", fix: RENUMBER_LAN, for_clients: true },
    CommonRange { octets: [192, 168, 1, 0], length: 24, habit: "home routers", fix: RENUMBER_LAN, for_clients: true },
    CommonRange {
        octets: [172, 17, 0, 0],
        length: 16,
        habit: "Docker hosts",
        fix: "Choose another range: a host that runs Docker keeps 172.17.0.0/16 to itself.",
        for_clients: false,
    },
    CommonRange {
        octets: [100, 64, 0, 0],
        length: 10,
        habit: "carriers' NAT and Tailscale",
        fix: "Choose another range: a host that has an address of it from elsewhere can't reach yours.",
        for_clients: false,
    },
];

/// Who uses a range that overlaps a prefix by habit, and what to do about it. Some matter to clients only.
pub(crate) fn common_range(prefix: IpNet, for_clients: bool) -> Option<(&'static str, &'static str)> {
    let overlap = |range: &&CommonRange| range.prefix().contains(&prefix) || prefix.contains(&range.prefix());
    let mut ranges = COMMON_RANGES.iter().filter(|range| for_clients || !range.for_clients);
    ranges.find(overlap).map(|range| (range.habit, range.fix))
}
