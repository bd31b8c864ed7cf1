//! DN42's rules as data: which prefixes are routed there, and what follows from an AS number.
//!
//! The ranges are those of the registry's filter.txt as its members use them: DN42's own, and those of the networks joined to it.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::limits::NEIGHBOUR_PORTS;
use crate::network::PrefixRange;

/// Prefix, shortest and longest length.
const RANGES: [(&str, u8, u8); 10] = [
    ("172.20.0.0/14", 21, 29),
    // Anycast services.
    ("172.20.0.0/24", 28, 32),
    ("172.21.0.0/24", 28, 32),
    ("172.22.0.0/24", 28, 32),
    ("172.23.0.0/24", 28, 32),
    // ChaosVPN, NeoNetwork, Freifunk.
    ("172.31.0.0/16", 16, 32),
    ("10.100.0.0/14", 14, 32),
    ("10.127.0.0/16", 16, 32),
    ("10.0.0.0/8", 15, 24),
    ("fd00::/8", 44, 64),
];

/// What is accepted from neighbours.
pub(super) fn ranges() -> Vec<PrefixRange> {
    let range =
        |(text, min, max): &(&str, u8, u8)| Some(PrefixRange { prefix: text.parse().ok()?, min: *min, max: *max });
    RANGES.iter().filter_map(range).collect()
}

/// Whether a prefix is accepted there.
pub(super) fn accepts(prefix: IpNet) -> bool {
    let fits =
        |range: &PrefixRange| range.prefix.contains(&prefix) && (range.min..=range.max).contains(&prefix.prefix_len());
    ranges().iter().any(fits)
}

/// The UDP port for a neighbour.
pub(super) fn port(asn: u32) -> u16 {
    NEIGHBOUR_PORTS + (asn % 10_000) as u16
}

/// The link-local address of an AS: its last four digits, read as they stand.
pub(super) fn link_local(asn: u32) -> IpAddr {
    let digits = format!("{:04}", asn % 10_000);
    let group = u16::from_str_radix(&digits, 16).unwrap_or_default();
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, group).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_addresses_follow_from_the_last_four_digits() {
        assert_eq!(port(4_242_421_869), 21_869);
        assert_eq!(link_local(4_242_421_869), "fe80::1869".parse::<IpAddr>().unwrap());
        assert_eq!((port(64512), link_local(64512)), (24_512, "fe80::4512".parse::<IpAddr>().unwrap()));
    }

    #[test]
    fn ranges_are_those_of_the_registry() {
        assert_eq!(ranges().len(), RANGES.len());
        let accepted = |text: &str| accepts(text.parse().unwrap());
        for good in ["172.20.4.96/29", "172.20.0.53/32", "172.22.132.160/27", "fd42:4242::/48", "10.127.1.0/24"] {
            assert!(accepted(good), "{good}");
        }
        for bad in [
            "172.22.132.169/32",
            "172.16.0.0/12",
            "0.0.0.0/0",
            "10.0.0.0/8",
            "192.168.0.0/24",
            "fd00::/8",
            "2001:db8::/48",
        ] {
            assert!(!accepted(bad), "{bad}");
        }
    }
}
