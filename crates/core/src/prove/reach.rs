//! Reachability of all pairs of ends, exactly: what becomes of every packet between any two of them, both ways.
//!
//! An end's addresses fall into classes; a pair is walked once per pair of classes, so the answer covers every address.
//! Pairs are visited in blocks, so that the columns of the tables that a block needs stay in the processor's cache.

use std::collections::BTreeMap;

use super::hosts::Hosts;
use super::tables::Tables;
use super::walk::{Drop, Outcome, Reason, Trace};
use crate::limits::{BLAMES_MAX, LOOPS_NAMED_MAX};
use crate::network::Ports;

/// Ends per block.
const BLOCK: usize = 48;

/// What one end's packets to another come to. The better one comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// The same end, or no address family in common: nothing to send.
    Nothing,
    /// Delivered, and answers come back the same way.
    Fine,
    /// They must not reach each other, and don't.
    Apart,
    /// The policy allows none of it, and none gets through.
    Denied,
    /// Delivered, and answers come back another way.
    Asymmetric,
    /// They must not reach each other, and do.
    NotApart,
    /// Some ports can be opened that the policy refuses.
    NotDenied,
    /// Some ports can't be opened that the policy allows.
    Curtailed,
    /// Delivered, but answers are not.
    OneWay,
    /// Delivered where the destination is not.
    Elsewhere,
    /// Dropped on the way.
    Dropped,
    /// Sent in a circle.
    Circles,
}

impl Verdict {
    /// Whether it is as it should be.
    pub fn is_good(self) -> bool {
        matches!(self, Verdict::Nothing | Verdict::Fine | Verdict::Apart | Verdict::Denied)
    }

    /// Whether packets arrive.
    pub fn arrives(self) -> bool {
        matches!(
            self,
            Verdict::Fine
                | Verdict::Asymmetric
                | Verdict::NotApart
                | Verdict::NotDenied
                | Verdict::Curtailed
                | Verdict::OneWay
        )
    }
}

/// One pair of ends, with the classes of addresses and the family that were walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// The sending end.
    pub from: u32,
    /// The receiving end.
    pub to: u32,
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) family: u8,
}

impl Example {
    /// The answer's.
    pub(super) fn reversed(self) -> Example {
        Example { from: self.to, to: self.from, source: self.destination, destination: self.source, ..self }
    }
}

/// How many pairs something concerns, with the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub pairs: usize,
    /// The first.
    pub first: Example,
}

/// What all pairs of ends come to.
pub struct Proof {
    /// The hosts that were examined.
    pub hosts: Hosts,
    pub(super) tables: Tables,
    /// Row by row: from each end to each.
    verdicts: Vec<Verdict>,
    /// Every place that drops packets.
    pub drops: BTreeMap<Drop, Tally>,
    /// Pairs that a host breaks by taking what belongs to others: by host.
    pub elsewhere: BTreeMap<u32, Tally>,
    /// Pairs by verdict, of those that are neither dropped nor fine, first ones kept.
    pub others: BTreeMap<Verdict, Tally>,
    /// Sources whose packets to addresses of nobody circle.
    pub stray_loops: Vec<Example>,
}

/// Examines all pairs of ends.
pub fn reachability(hosts: Hosts) -> Proof {
    let tables = Tables::new(&hosts);
    let count = hosts.ends.len();
    let mut examiner = Examiner::new(&hosts, &tables);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|end| examiner.classes[*end].first().copied());
    let blocks: Vec<&[usize]> = order.chunks(BLOCK).collect();
    let mut verdicts = vec![Verdict::Nothing; count * count];
    for (at, block) in blocks.iter().enumerate() {
        for others in &blocks[at..] {
            for a in *block {
                for b in others.iter().filter(|b| !std::ptr::eq(*block, *others) || *b > a) {
                    let (there, back) = examiner.pair(*a, *b);
                    verdicts[a * count + b] = there;
                    verdicts[b * count + a] = back;
                }
            }
        }
    }
    let stray_loops = examiner.stray_loops();
    let Examiner { drops, elsewhere, others, .. } = examiner;
    Proof { hosts, tables, verdicts, drops, elsewhere, others, stray_loops }
}

impl Proof {
    /// What one end's packets to another come to.
    pub fn verdict(&self, from: usize, to: usize) -> Verdict {
        self.verdicts[from * self.hosts.ends.len() + to]
    }

    /// The ports that one end can open at another: what every part of their addresses lets through.
    pub fn passes(&self, from: usize, to: usize) -> Ports {
        let mut mask = self.tables.all_ports;
        for example in self.examples(from, to) {
            let (sent, trace) = self.walk_example(example);
            let passed = self.tables.passes(&trace, example.source, example.destination).0;
            mask &= if sent == Sent::Arrived { passed } else { 0 };
        }
        self.tables.port_classes.ports(mask)
    }

    /// The first host whose firewall refuses any of some ports, on the way from one end to another.
    pub fn refuser(&self, from: usize, to: usize, ports: &Ports) -> Option<&str> {
        let asked = self.tables.port_classes.mask(ports);
        let host = self.examples(from, to).into_iter().find_map(|example| {
            let (_, trace) = self.walk_example(example);
            self.tables.refuser(&trace, example.source, example.destination, asked)
        })?;
        Some(&self.hosts.hosts[host as usize].name)
    }

    /// The ports that the policy lets one end open at another.
    pub fn wanted(&self, from: usize, to: usize) -> Ports {
        let everything = self.tables.all_ports;
        let mask = self.hosts.intent.as_ref().map_or(everything, |intent| intent.mask(from, to));
        self.tables.port_classes.ports(mask)
    }

    /// Pairs by verdict, each direction counted.
    pub fn counts(&self) -> BTreeMap<Verdict, usize> {
        let mut counts = BTreeMap::new();
        self.verdicts.iter().for_each(|verdict| *counts.entry(*verdict).or_insert(0) += 1);
        counts
    }

    /// Whether every pair is as it should be, addresses of nobody included.
    pub fn is_clean(&self) -> bool {
        self.stray_loops.is_empty() && self.verdicts.iter().all(|verdict| verdict.is_good())
    }
}

/// Walks pairs and keeps what it finds.
struct Examiner<'a> {
    hosts: &'a Hosts,
    tables: &'a Tables,
    /// The classes of each end.
    classes: Vec<Vec<u32>>,
    there: Trace,
    back: Trace,
    drops: BTreeMap<Drop, Tally>,
    elsewhere: BTreeMap<u32, Tally>,
    others: BTreeMap<Verdict, Tally>,
    has_firewalls: bool,
}

impl<'a> Examiner<'a> {
    fn new(hosts: &'a Hosts, tables: &'a Tables) -> Examiner<'a> {
        Examiner {
            hosts,
            tables,
            classes: hosts.ends.iter().map(|end| tables.classes_of(&end.prefixes)).collect(),
            there: Trace::default(),
            back: Trace::default(),
            drops: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            others: BTreeMap::new(),
            has_firewalls: hosts.hosts.iter().any(|host| host.firewall.is_some()),
        }
    }

    /// Both verdicts of a pair: the worst over its addresses.
    fn pair(&mut self, a: usize, b: usize) -> (Verdict, Verdict) {
        let mut worst = (Verdict::Nothing, Verdict::Nothing);
        for x in 0..self.classes[a].len() {
            for y in 0..self.classes[b].len() {
                let (source, destination) = (self.classes[a][x], self.classes[b][y]);
                let both = self.tables.families[source as usize] & self.tables.families[destination as usize];
                if both == 0 {
                    continue;
                }
                let family = both.trailing_zeros() as u8;
                let there = Example { from: a as u32, to: b as u32, source, destination, family };
                let found = self.both_ways(there);
                worst = (worst.0.max(found.0), worst.1.max(found.1));
            }
        }
        worst
    }

    fn both_ways(&mut self, there: Example) -> (Verdict, Verdict) {
        let back = there.reversed();
        let (mut first, mut second) = (std::mem::take(&mut self.there), std::mem::take(&mut self.back));
        let ends = &self.hosts.ends;
        let (a, b) = (&ends[there.from as usize], &ends[there.to as usize]);
        let mut one = send(self.tables, (&a.at, &b.at), there, &mut first);
        let mut other = send(self.tables, (&b.at, &a.at), back, &mut second);
        let arrived = |sent: &Sent| *sent == Sent::Arrived;
        let verdicts = if self.hosts.is_apart(a.at[0], b.at[0]) {
            let verdict = |sent| if arrived(sent) { Verdict::NotApart } else { Verdict::Apart };
            (verdict(&one), verdict(&other))
        } else if first.translated.is_empty() && second.translated.is_empty() {
            let same = || first.hosts.iter().eq(second.hosts.iter().rev());
            let verdict = |sent: &Sent, answer: &Sent| match sent {
                Sent::Arrived if !arrived(answer) => Verdict::OneWay,
                Sent::Arrived if same() => Verdict::Fine,
                Sent::Arrived => Verdict::Asymmetric,
                Sent::Elsewhere(_) => Verdict::Elsewhere,
                Sent::Lost(Outcome::Circles) => Verdict::Circles,
                Sent::Lost(_) => Verdict::Dropped,
            };
            (verdict(&one, &other), verdict(&other, &one))
        } else {
            (answered(self.tables, &one, &first, there), answered(self.tables, &other, &second, back))
        };
        let verdicts =
            (self.judged(there, verdicts.0, &mut one, &first), self.judged(back, verdicts.1, &mut other, &second));
        self.note(there, verdicts.0, &one);
        self.note(back, verdicts.1, &other);
        (self.there, self.back) = (first, second);
        verdicts
    }

    /// A verdict about addresses made one about ports: what firewalls on the way let through against what is meant.
    fn judged(&self, example: Example, verdict: Verdict, sent: &mut Sent, trace: &Trace) -> Verdict {
        let wanted = match &self.hosts.intent {
            Some(intent) => intent.mask(example.from as usize, example.to as usize),
            None if self.has_firewalls => self.tables.all_ports,
            None => return verdict,
        };
        if *sent != Sent::Arrived {
            // What allowed addresses keep apart because of the policy is denied by it like the rest.
            let is_denied = wanted == 0 && matches!(verdict, Verdict::Dropped | Verdict::Apart);
            return if is_denied { Verdict::Denied } else { verdict };
        }
        let (passed, refusing) = self.tables.passes(trace, example.source, example.destination);
        let refused = || Drop { host: refusing.unwrap_or_default(), device: None, peer: None, reason: Reason::Refused };
        match verdict {
            Verdict::NotApart if passed == 0 => Verdict::Apart,
            Verdict::NotApart => verdict,
            _ if passed & !wanted != 0 => Verdict::NotDenied,
            _ if wanted == 0 => Verdict::Denied,
            _ if passed == 0 => {
                *sent = Sent::Lost(Outcome::Dropped(refused()));
                Verdict::Dropped
            }
            _ if passed != wanted => Verdict::Curtailed,
            _ => verdict,
        }
    }

    fn note(&mut self, example: Example, verdict: Verdict, sent: &Sent) {
        if verdict.is_good() {
            return;
        }
        match sent {
            Sent::Lost(Outcome::Dropped(drop)) if verdict == Verdict::Dropped => count(&mut self.drops, *drop, example),
            Sent::Elsewhere(host) => count(&mut self.elsewhere, *host, example),
            _ => count(&mut self.others, verdict, example),
        }
    }

    /// Sources whose packets to addresses of nobody circle: for each class of such addresses that circles from anywhere
    /// when sources are not checked, all sources are walked.
    fn stray_loops(&mut self) -> Vec<Example> {
        let mut found = Vec::new();
        let mut trace = Trace::default();
        for destination in (0..self.tables.classes as u32).filter(|class| !self.tables.owned[*class as usize]) {
            let families = self.tables.families[destination as usize];
            for (from, end) in self.hosts.ends.iter().enumerate() {
                for source in &self.classes[from] {
                    let both = families & self.tables.families[*source as usize];
                    if both == 0 {
                        continue;
                    }
                    let family = both.trailing_zeros() as u8;
                    let example = Example { from: from as u32, to: from as u32, source: *source, destination, family };
                    let mut circles = |host: &u32| {
                        let family = usize::from(family);
                        self.tables.walk(*host, *source, destination, family, &mut trace) == Outcome::Circles
                    };
                    if found.len() < LOOPS_NAMED_MAX && end.at.iter().any(&mut circles) {
                        found.push(example);
                    }
                }
            }
        }
        found
    }
}

/// What became of one end's packets to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Delivered at a host of the other end.
    Arrived,
    /// Delivered at this other host.
    Elsewhere(u32),
    /// Not delivered.
    Lost(Outcome),
}

/// Sends from the hosts of an end until one of them succeeds; the walk that counts is left in the trace.
pub(super) fn send(tables: &Tables, (from, to): (&[u32], &[u32]), example: Example, trace: &mut Trace) -> Sent {
    let mut first = None;
    let walk = |host: u32, trace: &mut Trace| {
        let outcome = tables.walk(host, example.source, example.destination, usize::from(example.family), trace);
        match (outcome, trace.hosts.last()) {
            (Outcome::Delivered, Some(last)) if to.contains(last) => Sent::Arrived,
            (Outcome::Delivered, Some(last)) => Sent::Elsewhere(*last),
            _ => Sent::Lost(outcome),
        }
    };
    for host in from {
        let sent = walk(*host, trace);
        if sent == Sent::Arrived {
            return sent;
        }
        first.get_or_insert((*host, sent));
    }
    // The host that speaks for the end is the one whose failure is told.
    match first {
        Some((host, _)) if from.len() > 1 => walk(host, trace),
        Some((_, sent)) => sent,
        None => Sent::Lost(Outcome::Circles),
    }
}

/// The verdict where sources are translated: an answer goes to the translated source.
fn answered(tables: &Tables, sent: &Sent, there: &Trace, example: Example) -> Verdict {
    match sent {
        Sent::Elsewhere(_) => return Verdict::Elsewhere,
        Sent::Lost(Outcome::Circles) => return Verdict::Circles,
        Sent::Lost(_) => return Verdict::Dropped,
        Sent::Arrived => {}
    }
    let mut back = Trace::default();
    let classes = (example.source, example.destination);
    let outcome = tables.walk_answer(there, classes, usize::from(example.family), &mut back);
    match outcome {
        Outcome::Delivered if back.hosts.iter().rev().eq(there.hosts.iter()) => Verdict::Fine,
        Outcome::Delivered => Verdict::Asymmetric,
        _ => Verdict::OneWay,
    }
}

fn count<K: Ord>(tallies: &mut BTreeMap<K, Tally>, key: K, example: Example) {
    if tallies.len() < BLAMES_MAX || tallies.contains_key(&key) {
        tallies.entry(key).or_insert(Tally { pairs: 0, first: example }).pairs += 1;
    }
}
