//! Small set arithmetic on prefixes: merging siblings, containment, host prefixes.
//!
//! [`merge`] is exact: the result covers the same addresses as the input, no more, with the fewest prefixes. [`include`] and
//! [`exclude`] keep such a list so without merging all of it anew.

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

/// What a merged list loses and gains by one change of what it covers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Edit {
    /// No longer in the list.
    pub gone: Vec<IpNet>,
    /// In the list from now on.
    pub come: Vec<IpNet>,
}

/// Has a merged list cover a prefix as well. What is in `apart` stays as it is, a merged one with siblings or not.
pub(super) fn include(list: &mut Vec<IpNet>, prefix: IpNet, apart: &[IpNet]) -> Edit {
    let at = list.partition_point(|other| *other <= prefix);
    if at > 0 && list[at - 1].contains(&prefix) {
        return Edit::default();
    }
    let inside = list[at..].iter().take_while(|other| prefix.contains(*other)).count();
    let (mut begin, mut end, mut whole) = (at, at + inside, prefix);
    while let Some((sibling, both)) = sibling(whole).filter(|(sibling, _)| !apart.contains(sibling)) {
        if sibling < whole && begin > 0 && list[begin - 1] == sibling {
            begin -= 1;
        } else if sibling > whole && list.get(end) == Some(&sibling) {
            end += 1;
        } else {
            break;
        }
        whole = both;
    }
    Edit { gone: list.splice(begin..end, [whole]).collect(), come: vec![whole] }
}

/// Has a merged list cover a prefix no longer, but for what is in `kept`, another merged list. None if it did not cover it.
pub(super) fn exclude(list: &mut Vec<IpNet>, prefix: IpNet, kept: &[IpNet]) -> Option<Edit> {
    if covers(kept, prefix) {
        return Some(Edit::default());
    }
    let at = list.partition_point(|other| *other <= prefix).checked_sub(1)?;
    let whole = list.get(at).copied().filter(|whole| whole.contains(&prefix))?;
    let begin = kept.partition_point(|other| *other <= prefix);
    let mut come: Vec<IpNet> = kept[begin..].iter().take_while(|other| prefix.contains(*other)).copied().collect();
    let mut part = prefix;
    while part != whole {
        let (sibling, both) = sibling(part)?;
        come.push(sibling);
        part = both;
    }
    come.sort();
    list.splice(at..=at, come.iter().copied());
    Some(Edit { gone: vec![whole], come })
}

/// Whether a merged list covers a prefix.
pub(crate) fn covers(list: &[IpNet], prefix: IpNet) -> bool {
    let at = list.partition_point(|other| *other <= prefix);
    at > 0 && list[at - 1].contains(&prefix)
}

/// The other half of the prefix of which this one is a half, and that prefix.
pub(super) fn sibling(prefix: IpNet) -> Option<(IpNet, IpNet)> {
    let both = prefix.supernet()?;
    let sibling = both.subnets(prefix.prefix_len()).ok()?.find(|half| *half != prefix)?;
    Some((sibling, both))
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
    fn a_list_that_is_edited_is_what_merging_everything_gives_and_the_edit_tells_the_difference() {
        let kept = merge(nets(&["10.0.0.64/28", "10.0.0.130/31", "10.0.1.0/24"]));
        let all: Vec<IpNet> = (0..=255_u8).map(|last| host(IpAddr::from([10, 0, 0, last]))).collect();
        let (mut list, mut in_it, mut roll) = (kept.clone(), std::collections::BTreeSet::new(), 7_u64);
        for _ in 0..4_000 {
            roll = roll.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (prefix, before) = (all[(roll >> 33) as usize % all.len()], list.clone());
            let edit = if in_it.remove(&prefix) {
                exclude(&mut list, prefix, &kept).unwrap()
            } else {
                in_it.insert(prefix);
                include(&mut list, prefix, &[])
            };
            assert_eq!(list, merge(kept.iter().chain(&in_it).copied().collect()));
            let lacks = |of: &[IpNet], other: &[IpNet]| -> Vec<IpNet> {
                of.iter().filter(|prefix| !other.contains(prefix)).copied().collect()
            };
            assert_eq!((edit.gone, edit.come), (lacks(&before, &list), lacks(&list, &before)));
        }
    }

    #[test]
    fn a_prefix_comes_in_the_place_of_its_parts_and_leaves_those_that_are_kept() {
        let kept = nets(&["10.0.2.0/25"]);
        let mut list = nets(&["10.0.1.0/24", "10.0.2.0/25"]);
        assert_eq!(include(&mut list, "10.0.2.0/24".parse().unwrap(), &[]).come, nets(&["10.0.2.0/24"]));
        assert_eq!(list, nets(&["10.0.1.0/24", "10.0.2.0/24"]));
        assert_eq!(exclude(&mut list, "10.0.2.0/24".parse().unwrap(), &kept).unwrap().come, kept);
        assert_eq!(exclude(&mut list, "10.0.9.0/24".parse().unwrap(), &kept), None);
        assert_eq!(include(&mut list, "10.0.0.0/24".parse().unwrap(), &nets(&["10.0.1.0/24"])).gone, []);
        assert_eq!(list, nets(&["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/25"]), "what is apart is no sibling");
    }

    #[test]
    fn network_and_broadcast_are_not_usable() {
        let pool: IpNet = "10.0.0.0/30".parse().unwrap();
        let usable: Vec<bool> = (0..5).map(|n| is_usable(pool, IpAddr::from([10, 0, 0, n]))).collect();
        assert_eq!(usable, [false, true, true, false, false]);
        assert!(is_usable("10.0.0.0/31".parse().unwrap(), IpAddr::from([10, 0, 0, 0])));
    }
}
