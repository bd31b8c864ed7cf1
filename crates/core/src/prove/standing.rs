//! Who loses what when hosts or their links fail and nothing is planned again: for configurations as they are.
//!
//! A pair of ends needs every host and link on its ways there and back, unless an end can leave by another of its hosts.
//! So each way is a list of alternatives, each a set of what it needs, and a failure loses the pair if it hits all
//! alternatives of some way. The walks are those of the proof.

use std::collections::BTreeMap;

use super::reach::{Example, Proof, Verdict};
use super::tables::NOBODY;
use super::walk::{Outcome, Trace};
use crate::limits::{SURVIVE_CASES_MAX, SURVIVE_MEMBERS_NAMED_MAX};

/// What fails: a host with all its links, or a link between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A host.
    Host(u32),
    /// A link, the smaller number first.
    Link(u32, u32),
}

/// A failure, and what is lost by it. What has failed itself is not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What failed.
    pub failed: Vec<Part>,
    /// Pairs of ends that reach each other without the failure, and not with it.
    pub pairs: usize,
    /// Ends by how many others they lose, the worst first; not all, if there are very many.
    pub who: Vec<(u32, usize)>,
}

/// All failures that lose anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The worst first.
    pub failures: Vec<Failure>,
    /// Failures examined.
    pub examined: usize,
    /// Failures not examined since there are too many.
    pub omitted: usize,
}

impl Part {
    /// What it is called.
    pub fn name(&self, proof: &Proof) -> String {
        let name = |host: &u32| &proof.hosts.hosts[*host as usize].name;
        match self {
            Part::Host(host) => name(host).clone(),
            Part::Link(a, b) => format!("link {}-{}", name(a), name(b)),
        }
    }
}

/// Parts by number, and what each pair needs of them.
struct Ground<'p> {
    proof: &'p Proof,
    parts: Vec<Part>,
    numbers: BTreeMap<Part, u32>,
    pairs: Vec<(u32, u32)>,
    /// Per part the pairs that are lost with it, sorted.
    lost: Vec<Vec<u32>>,
    /// Pairs that are lost only with both.
    jointly: BTreeMap<(u32, u32), Vec<u32>>,
}

impl Proof {
    /// Fails every host and every link, and with `depth` 2 also every two of them.
    pub fn standing(&self, depth: usize) -> Standing {
        let ground = Ground::new(self);
        let count = ground.parts.len() as u32;
        let all = count as usize + if depth > 1 { count as usize * (count as usize).saturating_sub(1) / 2 } else { 0 };
        let mut standing = Standing { examined: all.min(SURVIVE_CASES_MAX), ..Standing::default() };
        standing.omitted = all - standing.examined;
        let singles = (0..count).map(|part| vec![part]);
        let doubles = (0..if depth > 1 { count } else { 0 }).flat_map(|a| (a + 1..count).map(move |b| vec![a, b]));
        for failed in singles.chain(doubles).take(standing.examined) {
            standing.failures.extend(ground.failure(&failed));
        }
        standing.failures.sort_by_key(|failure| std::cmp::Reverse(failure.pairs));
        standing
    }

    /// The parts that one walk needs, if it delivers at the other end.
    fn needs(&self, host: u32, example: Example, numbers: &BTreeMap<Part, u32>) -> Option<Vec<u32>> {
        let mut trace = Trace::default();
        let family = usize::from(example.family);
        let outcome = self.tables.walk(host, example.source, example.destination, family, &mut trace);
        let arrives = outcome == Outcome::Delivered
            && trace.hosts.last().is_some_and(|last| self.hosts.ends[example.to as usize].at.contains(last));
        let links = trace.hosts.windows(2).map(|pair| Part::Link(pair[0].min(pair[1]), pair[0].max(pair[1])));
        let parts = trace.hosts.iter().copied().map(Part::Host).chain(links);
        arrives.then(|| parts.filter_map(|part| numbers.get(&part).copied()).collect())
    }
}

impl<'p> Ground<'p> {
    fn new(proof: &'p Proof) -> Ground<'p> {
        let hosts = (0..proof.hosts.hosts.len() as u32).map(Part::Host);
        let known = proof.tables.peers.iter().filter(|peer| peer.mirror != NOBODY && peer.alive);
        let ends = known.map(|peer| {
            let host = |row: u32| proof.tables.devices[row as usize].host;
            (host(peer.row), host(peer.to))
        });
        let mut links: Vec<Part> = ends.filter(|(a, b)| a < b).map(|(a, b)| Part::Link(a, b)).collect();
        links.sort_unstable();
        links.dedup();
        let parts: Vec<Part> = hosts.chain(links).collect();
        let numbers: BTreeMap<Part, u32> = parts.iter().copied().zip(0..).collect();
        let lost = vec![Vec::new(); parts.len()];
        let mut ground = Ground { proof, parts, numbers, pairs: Vec::new(), lost, jointly: BTreeMap::new() };
        let ends = proof.hosts.ends.len();
        for a in 0..ends {
            for b in a + 1..ends {
                let reach = |from, to| {
                    let verdict = proof.verdict(from, to);
                    verdict.arrives() && verdict != Verdict::OneWay
                };
                if reach(a, b) && reach(b, a) {
                    ground.pair(a as u32, b as u32);
                }
            }
        }
        ground
    }

    /// Notes what a pair needs.
    fn pair(&mut self, a: u32, b: u32) {
        let number = self.pairs.len() as u32;
        self.pairs.push((a, b));
        let mut single: Vec<u32> = Vec::new();
        let mut double: Vec<(u32, u32)> = Vec::new();
        for (from, to) in [(a, b), (b, a)] {
            for example in self.proof.examples(from as usize, to as usize) {
                let at = &self.proof.hosts.ends[from as usize].at;
                let ways: Vec<Vec<u32>> =
                    at.iter().filter_map(|host| self.proof.needs(*host, example, &self.numbers)).collect();
                let Some((first, rest)) = ways.split_first() else { continue };
                for part in first {
                    let spared: Vec<&Vec<u32>> = rest.iter().filter(|way| !way.contains(part)).collect();
                    match spared.split_first() {
                        None => single.push(*part),
                        Some((next, others)) => {
                            let hits = |other: &&u32| others.iter().all(|way| way.contains(other));
                            double.extend(next.iter().filter(hits).map(|other| (*part.min(other), *part.max(other))));
                        }
                    }
                }
            }
        }
        single.sort_unstable();
        single.dedup();
        double.sort_unstable();
        double.dedup();
        single.iter().for_each(|part| self.lost[*part as usize].push(number));
        for (x, y) in double.into_iter().filter(|(x, y)| !single.contains(x) && !single.contains(y)) {
            self.jointly.entry((x, y)).or_default().push(number);
        }
    }

    fn failure(&self, failed: &[u32]) -> Option<Failure> {
        let mut lost: Vec<u32> = failed.iter().flat_map(|part| self.lost[*part as usize].iter().copied()).collect();
        if let [a, b] = failed {
            lost.extend(self.jointly.get(&(*a, *b)).into_iter().flatten());
        }
        lost.sort_unstable();
        lost.dedup();
        let down = |host: &u32| failed.iter().any(|part| self.parts[*part as usize] == Part::Host(*host));
        let gone = |end: u32| self.proof.hosts.ends[end as usize].at.iter().all(down);
        let mut by_end: BTreeMap<u32, usize> = BTreeMap::new();
        let mut pairs = 0;
        for (a, b) in lost.iter().map(|pair| self.pairs[*pair as usize]).filter(|(a, b)| !gone(*a) && !gone(*b)) {
            pairs += 1;
            *by_end.entry(a).or_default() += 1;
            *by_end.entry(b).or_default() += 1;
        }
        let mut who: Vec<(u32, usize)> = by_end.into_iter().collect();
        who.sort_by_key(|(end, lost)| (std::cmp::Reverse(*lost), *end));
        who.truncate(SURVIVE_MEMBERS_NAMED_MAX);
        let failed = failed.iter().map(|part| self.parts[*part as usize]).collect();
        (pairs > 0).then_some(Failure { failed, pairs, who })
    }
}
