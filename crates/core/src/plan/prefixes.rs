//! Small set arithmetic on prefixes: merging siblings, containment, host prefixes.
//!
//! [`merge`] is exact: the result covers the same addresses as the input, no more, with the fewest prefixes.

use std::net::IpAddr;

use ipnet::IpNet;

/// The prefix that holds one address alone: a /32 or a /128.
pub fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// Covers the same addresses with the fewest prefixes, sorted v4 before v6.
pub fn merge(prefixes: Vec<IpNet>) -> Vec<IpNet> {
    if prefixes.len() < 2 {
        return prefixes;
    }
    let mut merged = IpNet::aggregate(&prefixes);
    merged.sort();
    merged
}

/// Whether an address may be handed out of a pool: not the network's own, and in v4 not its broadcast address.
/// In prefixes of two addresses (RFC 3021, RFC 6164) or one, all are usable.
pub fn is_usable(pool: IpNet, address: IpAddr) -> bool {
    if !pool.contains(&address) {
        return false;
    }
    if pool.max_prefix_len() - pool.prefix_len() <= 1 {
        return true;
    }
    address != pool.network() && !(address.is_ipv4() && address == pool.broadcast())
}

/// The address after one, or none at the end of the address space.
pub fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|n| IpAddr::V6(n.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(text: &[&str]) -> Vec<IpNet> {
        text.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn siblings_merge_and_strangers_stay() {
        let input =
            nets(&["10.0.1.0/24", "10.0.0.0/24", "10.0.3.0/24", "10.0.3.7/32", "fd00::/65", "fd00::8000:0:0:0/65"]);
        assert_eq!(merge(input), nets(&["10.0.0.0/23", "10.0.3.0/24", "fd00::/64"]));
    }

    #[test]
    fn network_and_broadcast_are_not_usable() {
        let pool: IpNet = "10.0.0.0/30".parse().unwrap();
        let usable: Vec<bool> = (0..5).map(|n| is_usable(pool, IpAddr::from([10, 0, 0, n]))).collect();
        assert_eq!(usable, [false, true, true, false, false]);
        assert!(is_usable("10.0.0.0/31".parse().unwrap(), IpAddr::from([10, 0, 0, 0])));
    }
}
