//! Tries what can't be read off: a draft is planned and held against what was read, and the one that differs least wins.
//!
//! Regions, hubs that nobody uses, and client ranges are switched on and off one by one. Round-trip times are moved until
//! the planner's paths are those of the files: each path that differs makes the links it should use shorter and those it
//! does use longer, which ends where times exist at all (the perceptron's rule). Everything is bounded, and large networks
//! are taken as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Taken;
use super::draft::Draft;
use super::members::World;
use super::walk::Tables;
use crate::check::Severity;
use crate::file::load_with;
use crate::import::sources::Read;
use crate::import::verify::verify;
use crate::limits::{IMPORT_SEARCH_MEMBERS_MAX, IMPORT_SEARCH_PLANS_MAX, IMPORT_WEIGH_ROUNDS_MAX, RTT_MS_MAX};
use crate::names::Name;
use crate::network::resolve::resolve;
use crate::network::{Network, NodeIx};
use crate::plan::{Ledger, LinkState, LinkStates, Paths, plan};

/// Time of a link before anything is learnt, in milliseconds: room to become shorter.
const START_MS: u32 = 20;

/// The network that a draft's text means, or what is wrong with it.
pub(super) fn resolved(draft: &Draft) -> Result<Network, Vec<String>> {
    let text = draft.text();
    let loaded = load_with("network.toml", |_| Ok(text.clone().into_bytes()));
    let mut findings = loaded.findings;
    let resolution = resolve(&loaded.file);
    findings.extend(resolution.findings);
    let errors = findings.sorted().into_iter().filter(|finding| finding.severity() == Severity::Error);
    resolution.network.ok_or_else(|| errors.map(|finding| finding.kind.to_string()).collect())
}

/// A region that could be.
struct Candidate {
    name: Name,
    prefixes: Vec<IpNet>,
    members: Vec<usize>,
}

struct Search<'s> {
    read: &'s Read,
    taken: &'s [Taken],
    /// Plans that may still be made.
    plans: usize,
}

/// The draft that explains best what was read.
pub(super) fn best(read: &Read, world: &World<'_>, tables: &Tables, taken: &[Taken], draft: Draft) -> Draft {
    let count = draft.members.len();
    if !(2..=IMPORT_SEARCH_MEMBERS_MAX).contains(&count) || taken.is_empty() {
        return draft;
    }
    let plans = IMPORT_SEARCH_PLANS_MAX.min(IMPORT_SEARCH_PLANS_MAX * 256 / (count * count)).max(24);
    let mut search = Search { read, taken, plans };
    let plain = draft.clone();
    let draft = weighed(tables, draft, |_| false);
    let candidates = candidates(world, tables, &draft);
    let mut all_regions = draft.clone();
    candidates.iter().for_each(|candidate| toggle_region(&mut all_regions, candidate));
    let mut best = (search.score(&draft), draft);
    search.consider(&mut best, all_regions);
    let may_relay = may_relay(world, tables, &best.1);
    search.toggle(&may_relay, &candidates, &mut best);
    // Hubs that were found by trying, and others that forward and nobody uses, tell who is kept apart from whom.
    let again = weighed(tables, best.1.clone(), |at| may_relay.contains(&at));
    if best.0 > 0 && search.consider(&mut best, again) {
        search.toggle(&may_relay, &candidates, &mut best);
    }
    // Times that make no difference are not worth a reader's while.
    let mut without = best.1.clone();
    without.rtt_ms.clear();
    if search.score(&without) <= best.0 {
        best.1 = without;
    }
    if best.0 == usize::MAX { plain } else { best.1 }
}

impl Search<'_> {
    fn score(&mut self, draft: &Draft) -> usize {
        self.plans = self.plans.saturating_sub(1);
        let Ok(network) = resolved(draft) else { return usize::MAX };
        let (plan, ..) = plan(Arc::new(network), &Ledger::default(), &LinkStates::default());
        verify(self.read, self.taken, &plan).len()
    }

    /// Takes a draft that is better. Says whether it is.
    fn consider(&mut self, best: &mut (usize, Draft), draft: Draft) -> bool {
        if self.plans == 0 {
            return false;
        }
        let score = self.score(&draft);
        let is_better = score < best.0;
        if is_better {
            *best = (score, draft);
        }
        is_better
    }

    fn toggle(&mut self, may_relay: &BTreeSet<usize>, candidates: &[Candidate], best: &mut (usize, Draft)) {
        let mut again = true;
        while again && self.plans > 0 && best.0 > 0 {
            again = false;
            for candidate in candidates {
                let mut draft = best.1.clone();
                toggle_region(&mut draft, candidate);
                again |= self.consider(best, draft);
            }
            for at in best.1.nodes().collect::<Vec<_>>() {
                if best.1.members[at].hub || may_relay.contains(&at) {
                    let mut draft = best.1.clone();
                    draft.members[at].hub ^= true;
                    again |= self.consider(best, draft);
                }
            }
            for range in best.1.client_prefixes.clone() {
                let mut draft = best.1.clone();
                draft.client_prefixes.remove(&range);
                again |= self.consider(best, draft);
            }
        }
    }
}

/// Nodes that may be hubs though no packet shows it: who forwards, and who is sent prefixes with others' addresses in them.
/// The second tells of hosts whose files are silent of forwarding, as routers' are.
pub(super) fn may_relay(world: &World<'_>, tables: &Tables, draft: &Draft) -> BTreeSet<usize> {
    let holds_others = |prefix: IpNet, owner: usize| {
        let others = draft.nodes().filter(|at| *at != owner);
        others.flat_map(|at| &draft.members[at].addresses).any(|address| prefix.contains(address))
    };
    let sent: BTreeSet<(IpNet, usize)> =
        draft.nodes().filter_map(|at| tables.of(at)).flat_map(|table| table.prefixes().collect::<Vec<_>>()).collect();
    let sent = sent.into_iter().filter(|(prefix, owner)| holds_others(*prefix, *owner)).map(|(_, owner)| owner);
    sent.chain((0..draft.members.len()).filter(|at| world.forwards(*at))).collect()
}

fn toggle_region(draft: &mut Draft, candidate: &Candidate) {
    if draft.regions.remove(&candidate.name).is_some() {
        return;
    }
    let overlaps = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
    let rivals: Vec<Name> = draft
        .regions
        .iter()
        .filter(|(_, (prefixes, _))| prefixes.iter().any(|one| candidate.prefixes.iter().any(|b| overlaps(one, b))))
        .map(|(name, _)| name.clone())
        .collect();
    rivals.iter().for_each(|name| drop(draft.regions.remove(name)));
    draft.regions.insert(candidate.name.clone(), (candidate.prefixes.clone(), candidate.members.clone()));
}

/// Regions that could be: nodes in one /24 or /64, and prefixes that somebody names and nodes are in.
fn candidates(world: &World<'_>, tables: &Tables, draft: &Draft) -> Vec<Candidate> {
    let nodes: Vec<usize> = draft.nodes().collect();
    let mut prefixes: BTreeSet<IpNet> = BTreeSet::new();
    for address in nodes.iter().flat_map(|at| &draft.members[*at].addresses) {
        prefixes.extend(IpNet::new(*address, if address.is_ipv4() { 24 } else { 64 }).map(|prefix| prefix.trunc()));
    }
    let named: Vec<IpNet> = world
        .stations()
        .filter_map(|(at, _)| tables.of(at))
        .flat_map(|table| table.prefixes().map(|(prefix, _)| prefix).collect::<Vec<_>>())
        .filter(|prefix| prefix.max_prefix_len() - prefix.prefix_len() > 1)
        .collect();
    let common = prefixes.clone();
    let is_inside = |prefix: &IpNet| draft.prefixes.iter().any(|overlay| overlay != prefix && overlay.contains(prefix));
    let holds = |prefix: &IpNet| -> Vec<usize> {
        let in_it = |at: &usize| draft.members[*at].addresses.iter().any(|address| prefix.contains(address));
        nodes.iter().copied().filter(in_it).collect()
    };
    // The usual ones last, so that they stay where others overlap them.
    let mut ordered: Vec<IpNet> = named.into_iter().filter(|prefix| !common.contains(prefix)).collect();
    ordered.sort_by_key(|prefix| (prefix.prefix_len(), *prefix));
    ordered.dedup();
    ordered.extend(common);
    let taken: BTreeSet<&Name> = draft.members.iter().map(|member| &member.name).collect();
    let mut made: Vec<Candidate> = Vec::new();
    for prefix in ordered.into_iter().filter(is_inside) {
        let members = holds(&prefix);
        // The same nodes by the other family: one region with both.
        if let Some(same) = made.iter_mut().find(|other| other.members == members && !members.is_empty())
            && same.prefixes.iter().all(|other| other.addr().is_ipv4() != prefix.addr().is_ipv4())
        {
            same.prefixes.push(prefix);
            continue;
        }
        let name = Name::suggest(&format!("net-{}-{}", prefix.network(), prefix.prefix_len()));
        if let Some(name) = name.filter(|name| !members.is_empty() && !taken.contains(name)) {
            made.push(Candidate { name, prefixes: vec![prefix], members });
        }
    }
    made
}

/// Milliseconds of each link.
type Times = BTreeMap<(NodeIx, NodeIx), i64>;

/// A path as read: its members, from one end to the other.
struct Seen {
    from: NodeIx,
    to: NodeIx,
    path: Vec<NodeIx>,
}

/// Gives links the times, and pairs the isolation, by which paths are those of the files. Who may be a hub becomes one where
/// only that explains who answers whom.
pub(super) fn weighed(tables: &Tables, mut draft: Draft, may_relay: impl Fn(usize) -> bool) -> Draft {
    let Ok(network) = resolved(&draft) else { return draft };
    let nodes: Vec<usize> = draft.nodes().collect();
    let numbers: Vec<Option<NodeIx>> = draft.members.iter().map(|member| network.find_node(&member.name)).collect();
    let number = |at: usize| numbers[at];
    let mut seen = Vec::new();
    let (mut apart, mut hubs) = (Vec::new(), Vec::new());
    // Whoever has no path anyway need not be kept apart.
    let joined = {
        let mut free = network.clone();
        free.isolated.clear();
        let paths = Paths::new(&free, &LinkStates::default());
        move |a: NodeIx, b: NodeIx| paths.path(a, b).is_some()
    };
    for (i, a) in nodes.iter().enumerate() {
        for b in &nodes[i + 1..] {
            let there = walk(tables, *a, *b, &draft);
            let back =
                walk(tables, *b, *a, &draft).map(|path| path.map(|list| list.into_iter().rev().collect::<Vec<_>>()));
            let hub = |at: &usize| draft.members[*at].hub;
            let by = kept_apart([hub(a), hub(b)], [may_relay(*a), may_relay(*b)], [&there, &back]);
            if let Some(by) = by.filter(|_| number(*a).zip(number(*b)).is_some_and(|(a, b)| joined(a, b))) {
                hubs.extend(by.map(|side| [*a, *b][side]));
                apart.push((*a, *b));
                continue;
            }
            match (there, back) {
                (Some(Some(path)), _) | (_, Some(Some(path))) => {
                    let path: Option<Vec<NodeIx>> = path.into_iter().map(number).collect();
                    if let (Some(from), Some(to), Some(path)) = (number(*a), number(*b), path) {
                        seen.push(Seen { from, to, path });
                    }
                }
                _ => {}
            }
        }
    }
    hubs.into_iter().for_each(|at| draft.members[at].hub = true);
    draft.isolated.clear();
    for (a, b) in apart {
        draft.isolated.insert((a.min(b), a.max(b)));
    }
    if let Some(times) = times(&network, &seen) {
        let at: BTreeMap<NodeIx, usize> = nodes.iter().filter_map(|at| Some((number(*at)?, *at))).collect();
        draft.rtt_ms = times.into_iter().filter_map(|((a, b), ms)| Some(((*at.get(&a)?, *at.get(&b)?), ms))).collect();
    }
    draft
}

/// Whether two nodes are kept apart, by the ways between them as read; and which of them must be a hub for that and is not
/// known as one. A hub sends to those that are kept apart from it, and these don't answer.
fn kept_apart(hub: [bool; 2], may_relay: [bool; 2], ways: [&Option<Option<Vec<usize>>>; 2]) -> Option<Option<usize>> {
    let ends = ways.map(|way| *way == Some(None));
    let arrives = ways.map(|way| matches!(way, Some(Some(_))));
    let known = match hub {
        [false, true] => ends[0],
        [true, false] => ends[1],
        [false, false] => ends == [true, true],
        [true, true] => false,
    };
    let by = |side: usize| arrives[side] && ends[1 - side] && may_relay[side] && !hub[1 - side];
    if known { Some(None) } else { (0..2).find(|side| by(*side)).map(Some) }
}

/// The way between two nodes as read: none if it leads to somebody whose configuration was not read, and none inside if
/// it certainly ends before.
fn walk(tables: &Tables, from: usize, to: usize, draft: &Draft) -> Option<Option<Vec<usize>>> {
    tables.of(from)?;
    let address: IpAddr = *draft.members[to].addresses.first()?;
    let walk = tables.walk(from, address, |at| at == to);
    let last = *walk.visited.last()?;
    if last == to && walk.visited.iter().all(|at| draft.is_node(*at)) {
        return Some(Some(walk.visited));
    }
    (tables.of(last).is_some() || !walk.ended).then_some(None)
}

/// Times of links in milliseconds, if any give the paths that were seen; none if there is nothing to learn from.
fn times(network: &Network, seen: &[Seen]) -> Option<BTreeMap<(NodeIx, NodeIx), u32>> {
    let mut ms: Times = network.links.iter().map(|link| ((link.a, link.b), i64::from(START_MS))).collect();
    let mut best: Option<(usize, Times)> = None;
    for _ in 0..IMPORT_WEIGH_ROUNDS_MAX {
        let mut states = LinkStates::default();
        for ((a, b), ms) in &ms {
            states.set(&network.node(*a).name, &network.node(*b).name, LinkState::Up { rtt_us: *ms as u64 * 1_000 });
        }
        let paths = Paths::new(network, &states);
        let mut step: BTreeMap<(NodeIx, NodeIx), i64> = BTreeMap::new();
        let mut wrong = 0;
        for one in seen {
            let Some(path) = paths.path(one.from, one.to).filter(|path| *path != one.path) else { continue };
            wrong += 1;
            links(&path).for_each(|link| *step.entry(link).or_default() += 1);
            links(&one.path).for_each(|link| *step.entry(link).or_default() -= 1);
        }
        if best.as_ref().is_none_or(|(least, _)| wrong < *least) {
            best = Some((wrong, ms.clone()));
        }
        if wrong == 0 {
            break;
        }
        for (link, step) in step {
            if let Some(ms) = ms.get_mut(&link) {
                *ms = (*ms + step.clamp(-5, 5)).clamp(1, RTT_MS_MAX as i64);
            }
        }
    }
    let (_, ms) = best.filter(|_| !seen.is_empty())?;
    Some(ms.into_iter().map(|(link, ms)| (link, ms as u32)).collect())
}

fn links(path: &[NodeIx]) -> impl Iterator<Item = (NodeIx, NodeIx)> + '_ {
    path.windows(2).map(|pair| (pair[0].min(pair[1]), pair[0].max(pair[1])))
}
