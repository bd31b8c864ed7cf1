//! Which of a node's links have a detour: another way between their ends, over hubs, by the network file alone.
//!
//! In: all links, which nodes are hubs, and the node. Out: whether there is a detour, for each of its links. Both ends of a link come to the
//! same answer. What is down at present does not matter.

use crate::network::{Link, NodeIx};

/// For each of these nodes that `own` is linked with: whether packets could go there another way.
pub fn detours(links: &[Link], is_hub: &[bool], own: NodeIx, peers: &[NodeIx]) -> Vec<bool> {
    let is_relay = |ix: NodeIx| ix != own && is_hub.get(ix.at()).copied().unwrap_or(false);
    let mut beside: Vec<Vec<NodeIx>> = vec![Vec::new(); is_hub.len()];
    for Link { a, b } in links {
        for (from, to) in [(*a, *b), (*b, *a)].into_iter().filter(|(_, to)| is_relay(*to)) {
            beside[from.at()].push(to);
        }
    }
    let group = groups(&beside, is_relay);
    // Relays beside the node, in each group of relays that reach each other without it.
    let mut doors = vec![0_usize; is_hub.len()];
    beside[own.at()].iter().for_each(|relay| doors[group[relay.at()]] += 1);
    let by_another = |peer: &NodeIx| {
        if is_relay(*peer) {
            return doors[group[peer.at()]] > 1;
        }
        beside[peer.at()].iter().any(|relay| doors[group[relay.at()]] > 0)
    };
    peers.iter().map(by_another).collect()
}

/// The group that each relay is in, by a number of its own; of others it says nothing.
fn groups(beside: &[Vec<NodeIx>], is_relay: impl Fn(NodeIx) -> bool) -> Vec<usize> {
    let mut group: Vec<Option<usize>> = vec![None; beside.len()];
    for relay in beside.iter().flatten().filter(|ix| is_relay(**ix)) {
        let mut next = vec![*relay];
        while let Some(ix) = next.pop() {
            if group[ix.at()].is_none() {
                group[ix.at()] = Some(relay.at());
                next.extend(&beside[ix.at()]);
            }
        }
    }
    group.into_iter().map(Option::unwrap_or_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes are letters, hubs capital ones; links are pairs of them. The node `own` has a detour to `expected` of its peers.
    fn check(links: &str, own: char, expected: &str) {
        let mut names: Vec<char> = links.chars().filter(|name| name.is_alphabetic()).collect();
        names.sort_unstable();
        names.dedup();
        let ix = |name: char| NodeIx(names.iter().position(|other| *other == name).unwrap() as u32);
        let pairs: Vec<(char, char)> =
            links.split(' ').map(|pair| (pair.chars().next().unwrap(), pair.chars().nth(1).unwrap())).collect();
        let all: Vec<Link> = pairs.iter().map(|(a, b)| Link { a: ix(*a), b: ix(*b) }).collect();
        let is_hub: Vec<bool> = names.iter().map(|name| name.is_uppercase()).collect();
        let ends = pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]);
        let peers: Vec<char> = ends.filter(|(from, _)| *from == own).map(|(_, to)| to).collect();
        let found = detours(&all, &is_hub, ix(own), &peers.iter().map(|peer| ix(*peer)).collect::<Vec<_>>());
        let with: String = peers.iter().zip(found).filter(|(_, has)| *has).map(|(peer, _)| *peer).collect();
        assert_eq!(with, expected, "{links} at {own}");
    }

    #[test]
    fn a_link_has_a_detour_if_hubs_join_its_ends_without_it() {
        check("ab", 'a', "");
        check("ab bc ac", 'a', "");
        check("aH bH ab", 'a', "b");
        check("aH bH ab", 'b', "a");
        check("aH bH ab", 'H', "");
        check("aH aJ HJ", 'a', "HJ");
        check("aH aJ HJ", 'H', "a");
        check("aH aJ", 'a', "");
        check("aH HJ Jb ab", 'a', "b");
        check("aH HJ Jb ab", 'b', "a");
        check("HJ JK HK", 'H', "JK");
        check("HJ JK Ka Ha", 'H', "a");
        check("aH Hb bJ Ja", 'a', "");
    }

    #[test]
    fn both_ends_of_a_link_agree_in_all_networks_of_five() {
        let names = ['a', 'b', 'H', 'J', 'K'];
        let all: Vec<(usize, usize)> = (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b))).collect();
        let is_hub: Vec<bool> = names.iter().map(|name| name.is_uppercase()).collect();
        let ix = |at: usize| NodeIx(at as u32);
        for set in 0_u32..1 << all.len() {
            let links: Vec<Link> = all
                .iter()
                .enumerate()
                .filter(|(at, _)| set >> at & 1 == 1)
                .map(|(_, (a, b))| Link { a: ix(*a), b: ix(*b) })
                .collect();
            for link in &links {
                let ends = [(link.a, link.b), (link.b, link.a)];
                let said = ends.map(|(own, peer)| {
                    let peers: Vec<NodeIx> = links
                        .iter()
                        .filter_map(|link| if link.a == own { Some(link.b) } else { (link.b == own).then_some(link.a) })
                        .collect();
                    let found = detours(&links, &is_hub, own, &peers);
                    found[peers.iter().position(|other| *other == peer).unwrap()]
                });
                let stupid = is_joined(&links, &is_hub, *link);
                assert_eq!(said, [stupid, stupid], "{links:?} {link:?}");
            }
        }
    }

    /// Whether hubs join the ends of a link without it: by walking.
    fn is_joined(links: &[Link], is_hub: &[bool], without: Link) -> bool {
        let (mut reached, mut next) = (vec![without.a], vec![without.a]);
        while let Some(ix) = next.pop() {
            if ix != without.a && !is_hub[ix.at()] {
                continue;
            }
            for link in links.iter().filter(|link| **link != without) {
                for (from, to) in [(link.a, link.b), (link.b, link.a)] {
                    if from == ix && !reached.contains(&to) {
                        reached.push(to);
                        next.push(to);
                    }
                }
            }
        }
        reached.contains(&without.b)
    }
}
