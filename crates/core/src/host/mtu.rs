//! The MTU of a device, from what the ways to its peers take.

use std::net::IpAddr;

/// IPv6 takes no device with less (RFC 8200).
const LEAST: u16 = 1_280;

/// Bytes that WireGuard adds to a packet over IPv4, and over IPv6: the outer IP header, 8 of UDP, 32 of its own.
pub const OVERHEAD: [u16; 2] = [60, 80];

/// Bytes that WireGuard adds to a packet on its way to an address.
pub fn overhead(outer: IpAddr) -> u16 {
    OVERHEAD[usize::from(outer.is_ipv6())]
}

/// The MTU of a device in bytes: the planned one, or less where a way to a peer takes less; and the address of that peer.
///
/// `ways` has the largest packet in bytes, IP header included, that gets to an address in one piece.
pub fn mtu(planned: u16, ways: impl IntoIterator<Item = (IpAddr, u16)>) -> (u16, Option<IpAddr>) {
    let inside = ways.into_iter().map(|(address, bytes)| (bytes.saturating_sub(overhead(address)).max(LEAST), address));
    match inside.min() {
        Some((bytes, address)) if bytes < planned => (bytes, Some(address)),
        _ => (planned, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_way_decides_but_nothing_grows_beyond_the_plan_or_shrinks_below_ipv6() {
        let (v4, v6): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap());
        assert_eq!(mtu(1_420, []), (1_420, None));
        assert_eq!(mtu(1_420, [(v4, 1_500), (v6, 1_500)]), (1_420, None));
        assert_eq!(mtu(1_420, [(v4, 1_492), (v6, 1_492)]), (1_412, Some(v6)));
        assert_eq!(mtu(1_420, [(v4, 9_001)]), (1_420, None));
        assert_eq!(mtu(1_420, [(v4, 600)]), (1_280, Some(v4)));
    }
}
