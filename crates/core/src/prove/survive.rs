//! Who loses what when nodes, links and regions fail: every single one, or every pair of them.
//!
//! Under the planner's rules two nodes have a path if they are linked, or if both hang on hubs that are joined by hubs. So
//! a failure need not be planned again: joined hubs are found anew, each node becomes the set of joined hubs it hangs on,
//! and pairs whose sets have nothing in common and that are not linked are lost. The tests hold this against whole plans
//! with the failed links down, proved pair by pair.

use std::collections::BTreeMap;

use crate::limits::{SURVIVE_CASES_MAX, SURVIVE_MEMBERS_NAMED_MAX};
use crate::network::{ElementKind, Link, Network, NodeIx, Party, RegionIx};

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// A node, with all its links.
    Node(NodeIx),
    /// A link.
    Link(Link),
    /// All nodes of a region.
    Region(RegionIx),
}

/// A failure and what is lost by it. What has failed itself is not counted.
#[derive(Debug, Clone)]
pub struct Loss {
    /// What failed.
    pub failed: Vec<Element>,
    /// Pairs that reach each other without the failure, and not with it.
    pub pairs: usize,
    /// Who lost how many others, the worst first; not all, if there are very many.
    pub who: Vec<(Party, usize)>,
}

/// All failures that lose anything.
#[derive(Debug, Clone, Default)]
pub struct Survival {
    /// The worst first.
    pub losses: Vec<Loss>,
    /// Failures examined.
    pub examined: usize,
    /// Failures not examined since there are too many.
    pub omitted: usize,
}

/// Fails every element of the kinds asked for, and with `depth` 2 also every pair of them.
pub fn survive(network: &Network, kinds: &[ElementKind], depth: usize) -> Survival {
    let ground = Ground::new(network);
    let mut losses = Vec::new();
    let mut survival = ground.each_failure(kinds, depth, SURVIVE_CASES_MAX, |failed, lost| {
        let mut by_party = vec![0_usize; ground.parties.len()];
        for (a, b) in lost {
            by_party[*a] += 1;
            by_party[*b] += 1;
        }
        let each = ground.parties.iter().copied().zip(by_party);
        let mut who: Vec<(Party, usize)> = each.filter(|(_, lost)| *lost > 0).collect();
        who.sort_by_key(|(party, lost)| (std::cmp::Reverse(*lost), *party));
        who.truncate(SURVIVE_MEMBERS_NAMED_MAX);
        losses.push(Loss { failed: failed.to_vec(), pairs: lost.len(), who });
    });
    losses.sort_by_key(|loss: &Loss| std::cmp::Reverse(loss.pairs));
    survival.losses = losses;
    survival
}

/// Regions and nodes first: of a number too large for all pairs, theirs are examined.
fn elements(network: &Network, kinds: &[ElementKind]) -> Vec<Element> {
    let mut all = Vec::new();
    if kinds.contains(&ElementKind::Region) {
        let mut used: Vec<RegionIx> = network.nodes.iter().filter_map(|node| node.region).collect();
        used.sort_unstable();
        used.dedup();
        all.extend(used.into_iter().map(Element::Region));
    }
    if kinds.contains(&ElementKind::Node) {
        all.extend(network.node_numbers().map(Element::Node));
    }
    if kinds.contains(&ElementKind::Link) {
        let is_hub = |ix: NodeIx| network.node(ix).hub;
        let mut links = network.links.clone();
        links.sort_by_key(|link| std::cmp::Reverse(u8::from(is_hub(link.a)) + u8::from(is_hub(link.b))));
        all.extend(links.into_iter().map(Element::Link));
    }
    all
}

/// The network as far as failures go.
pub(super) struct Ground<'n> {
    network: &'n Network,
    /// Links between hubs.
    between: Vec<(u32, u32)>,
    /// The hubs that each other node hangs on.
    attached: Vec<Vec<u32>>,
    /// Links of two nodes that are no hubs, from both sides, sorted.
    direct: Vec<Vec<u32>>,
    /// Numbers of links of each node.
    links: Vec<usize>,
    parties: Vec<Party>,
    /// Without any failure.
    whole: State,
}

/// What a failure leaves.
#[derive(Default, Clone)]
struct State {
    /// Nodes that are down.
    down: Vec<bool>,
    /// Joined hubs: each hub's root; for other nodes unused.
    root: Vec<u32>,
    /// The number of the set of roots that each node hangs on.
    set_of: Vec<u32>,
    /// All sets, sorted inside.
    sets: Vec<Vec<u32>>,
    /// The node over which each party is reached.
    anchor: Vec<Option<u32>>,
}

impl<'n> Ground<'n> {
    pub(super) fn new(network: &'n Network) -> Ground<'n> {
        let count = network.nodes.len();
        let (mut between, mut attached, mut direct) = (Vec::new(), vec![Vec::new(); count], vec![Vec::new(); count]);
        let mut links = vec![0; count];
        for Link { a, b } in &network.links {
            links[a.at()] += 1;
            links[b.at()] += 1;
            match (network.node(*a).hub, network.node(*b).hub) {
                (true, true) => between.push((a.0, b.0)),
                (true, false) => attached[b.at()].push(a.0),
                (false, true) => attached[a.at()].push(b.0),
                (false, false) => {
                    direct[a.at()].push(b.0);
                    direct[b.at()].push(a.0);
                }
            }
        }
        direct.iter_mut().for_each(|list| list.sort_unstable());
        let nodes = network.node_numbers().map(Party::Node);
        let clients = (0..network.clients.len() as u32).map(Party::Client);
        let parties = nodes.chain(clients).chain((0..network.sites.len() as u32).map(Party::Site)).collect();
        let mut ground = Ground { network, between, attached, direct, links, parties, whole: State::default() };
        let mut whole = State::default();
        ground.settle(&[], &mut whole);
        ground.whole = whole;
        ground
    }

    /// A party by its number.
    pub(super) fn party(&self, at: usize) -> Party {
        self.parties[at]
    }

    /// Examines failures of up to `depth` elements and hands out those that lose something, with the pairs lost.
    pub(super) fn each_failure(
        &self,
        kinds: &[ElementKind],
        depth: usize,
        cases_max: usize,
        mut take: impl FnMut(&[Element], &[(usize, usize)]),
    ) -> Survival {
        let elements = elements(self.network, kinds);
        let mut survival = Survival::default();
        let (mut state, mut lost) = (State::default(), Vec::new());
        let mut examine = |failed: &[Element]| {
            lost.clear();
            self.fail(failed, &mut state, &mut lost);
            if !lost.is_empty() {
                take(failed, &lost);
            }
        };
        for element in &elements {
            survival.examined += 1;
            examine(&[*element]);
        }
        for (at, a) in elements.iter().enumerate().filter(|_| depth > 1) {
            let others = &elements[at + 1..];
            let some = others.len().min(cases_max.saturating_sub(survival.examined));
            others[..some].iter().for_each(|b| examine(&[*a, *b]));
            survival.examined += some;
            survival.omitted += others.len() - some;
        }
        survival
    }

    /// Finds the pairs that a failure loses.
    fn fail(&self, failed: &[Element], state: &mut State, lost: &mut Vec<(usize, usize)>) {
        if let [Element::Link(link)] = failed
            && self.is_spare(*link)
        {
            return;
        }
        self.settle(failed, state);
        let groups = self.groups(state);
        for (at, group) in groups.iter().enumerate() {
            if group.is_cut {
                self.compare(failed, state, group, group, lost);
            }
            for other in groups[at + 1..].iter().filter(|other| !shares(state, group, other)) {
                self.compare(failed, state, group, other, lost);
            }
        }
    }

    fn compare(&self, failed: &[Element], state: &State, a: &Group, b: &Group, lost: &mut Vec<(usize, usize)>) {
        let same = std::ptr::eq(a, b);
        for x in &a.parties {
            for y in b.parties.iter().filter(|y| !same || *y > x) {
                if self.reach(&self.whole, *x, *y, &[]) && !self.reach(state, *x, *y, failed) {
                    lost.push((*x, *y));
                }
            }
        }
    }

    /// Whether a link between two nodes that are no hubs carries nothing that hubs would not.
    fn is_spare(&self, Link { a, b }: Link) -> bool {
        let (sets, set_of) = (&self.whole.sets, &self.whole.set_of);
        let is_hub = self.network.node(a).hub || self.network.node(b).hub;
        let common = || meet(&sets[set_of[a.at()] as usize], &sets[set_of[b.at()] as usize]);
        !is_hub && self.links[a.at()] > 1 && self.links[b.at()] > 1 && common()
    }

    /// Works out what a failure leaves.
    fn settle(&self, failed: &[Element], state: &mut State) {
        let network = self.network;
        let count = network.nodes.len();
        state.down.clear();
        state.down.resize(count, false);
        for element in failed {
            match element {
                Element::Node(node) => state.down[node.at()] = true,
                Element::Region(region) => {
                    let inside = network.nodes.iter().map(|node| node.region == Some(*region));
                    state.down.iter_mut().zip(inside).for_each(|(down, inside)| *down |= inside);
                }
                Element::Link(_) => {}
            }
        }
        let cut = cut_links(failed);
        state.root.clear();
        state.root.extend(0..count as u32);
        for (a, b) in &self.between {
            if is_up(&state.down, &cut, *a, *b) {
                let (a, b) = (find(&mut state.root, *a), find(&mut state.root, *b));
                state.root[a.max(b) as usize] = a.min(b);
            }
        }
        let mut known: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        state.sets.clear();
        state.set_of.clear();
        let mut set = Vec::new();
        for node in 0..count as u32 {
            set.clear();
            if state.down[node as usize] {
            } else if network.nodes[node as usize].hub {
                set.push(find(&mut state.root, node));
            } else {
                let hubs = self.attached[node as usize].iter().filter(|hub| is_up(&state.down, &cut, node, **hub));
                set.extend(hubs.map(|hub| find(&mut state.root, *hub)));
                set.sort_unstable();
                set.dedup();
            }
            let number = match known.get(&set) {
                Some(number) => *number,
                None => {
                    known.insert(set.clone(), known.len() as u32);
                    state.sets.push(set.clone());
                    known.len() as u32 - 1
                }
            };
            state.set_of.push(number);
        }
        state.anchor.clear();
        let anchors = self.parties.iter().map(|party| self.anchor(*party, &state.down, &cut));
        state.anchor.extend(anchors);
    }

    /// The node over which a party is reached; none if it can't be.
    fn anchor(&self, party: Party, down: &[bool], cut: &[(u32, u32)]) -> Option<u32> {
        let node = match party {
            Party::Node(node) => Some(node),
            Party::Client(at) => self.network.clients[at as usize].via.first().copied(),
            Party::Site(at) => match self.network.sites[at as usize].gateways.as_slice() {
                [only] => Some(*only),
                gateways => {
                    let linked = |node: &&NodeIx| self.is_linked(node.0, down, cut);
                    gateways.iter().find(linked).or(gateways.first()).copied()
                }
            },
        };
        node.map(|node| node.0).filter(|node| !down[*node as usize])
    }

    fn is_linked(&self, node: u32, down: &[bool], cut: &[(u32, u32)]) -> bool {
        if down.is_empty() || cut.is_empty() && !down.contains(&true) {
            return self.links[node as usize] > 0;
        }
        let ends = self.network.links.iter().filter_map(|link| match (link.a.0, link.b.0) {
            (a, b) if a == node => Some(b),
            (a, b) if b == node => Some(a),
            _ => None,
        });
        let mut ends = ends;
        ends.any(|other| is_up(down, cut, node, other))
    }

    /// Parties that have not failed, by the set of joined hubs they hang on.
    fn groups(&self, state: &State) -> Vec<Group> {
        let mut groups: BTreeMap<Option<u32>, Group> = BTreeMap::new();
        for (at, party) in self.parties.iter().enumerate() {
            let failed = matches!(party, Party::Node(node) if state.down[node.at()]);
            if failed {
                continue;
            }
            let set = state.anchor[at].map(|anchor| state.set_of[anchor as usize]);
            let is_cut = set.is_none_or(|set| state.sets[set as usize].is_empty());
            let group = groups.entry(set).or_insert_with(|| Group { set, is_cut, parties: Vec::new() });
            group.parties.push(at);
        }
        groups.into_values().collect()
    }

    /// Whether two parties reach each other.
    fn reach(&self, state: &State, a: usize, b: usize, failed: &[Element]) -> bool {
        if self.are_together(a, b) {
            return true;
        }
        let (Some(x), Some(y)) = (state.anchor[a], state.anchor[b]) else { return false };
        if x == y {
            return true;
        }
        if self.network.is_isolated(NodeIx(x), NodeIx(y)) {
            return false;
        }
        let set = |node: u32| &state.sets[state.set_of[node as usize] as usize];
        let linked = self.direct[x as usize].binary_search(&y).is_ok() && is_up(&state.down, &cut_links(failed), x, y);
        linked || meet(set(x), set(y))
    }

    /// Whether one of two is a site and the other in front of it: these lose nothing by what fails elsewhere.
    fn are_together(&self, a: usize, b: usize) -> bool {
        let in_front = |site: Party, node: Party| match (site, node) {
            (Party::Site(site), Party::Node(node)) => self.network.sites[site as usize].gateways.contains(&node),
            _ => false,
        };
        in_front(self.parties[a], self.parties[b]) || in_front(self.parties[b], self.parties[a])
    }
}

/// Parties that hang on the same joined hubs.
struct Group {
    set: Option<u32>,
    /// Whether they hang on none at all.
    is_cut: bool,
    parties: Vec<usize>,
}

fn shares(state: &State, a: &Group, b: &Group) -> bool {
    match (a.set, b.set) {
        (Some(a), Some(b)) => meet(&state.sets[a as usize], &state.sets[b as usize]),
        _ => false,
    }
}

fn meet(a: &[u32], b: &[u32]) -> bool {
    a.iter().any(|x| b.contains(x))
}

fn cut_links(failed: &[Element]) -> Vec<(u32, u32)> {
    let link = |element: &Element| match element {
        Element::Link(Link { a, b }) => Some((a.0, b.0)),
        _ => None,
    };
    failed.iter().filter_map(link).collect()
}

fn is_up(down: &[bool], cut: &[(u32, u32)], a: u32, b: u32) -> bool {
    !down[a as usize] && !down[b as usize] && !cut.contains(&(a.min(b), a.max(b)))
}

fn find(root: &mut [u32], mut at: u32) -> u32 {
    while root[at as usize] != at {
        root[at as usize] = root[root[at as usize] as usize];
        at = root[at as usize];
    }
    at
}
