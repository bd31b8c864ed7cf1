//! What a proof of other people's hosts shows beyond what rules over single hosts and pairs of peers say of them.
//!
//! Those rules name a peer that does not know the other side, that nobody can dial, that refuses the other's own address,
//! and hosts with forwarding off; a host that never asks for a destination may well mean it so. What is left are packets
//! that somebody sends and that are lost further on, answers that are lost, ways that differ, and circles. What a peer
//! does whose own file was not read is not known, and is no finding.

use std::collections::BTreeSet;

use super::super::hosts::EndKind;
use super::super::reach::{Example, Proof, Sent, Tally, Verdict};
use super::super::walk::{Drop, Outcome, Reason, Trace};
use crate::check::Findings;

impl Proof {
    /// Findings about what only a walk through several hosts shows. Hosts that one script makes are meant to reach each other.
    pub fn beyond_pairs(mut self, made: &BTreeSet<u32>) -> Findings {
        let drops = std::mem::take(&mut self.drops);
        self.drops = drops
            .into_iter()
            .filter(|(drop, tally)| self.is_beyond(drop, tally.first) || self.is_among(made, drop, tally))
            .collect();
        if self.others.remove(&Verdict::OneWay).is_some() {
            let one_way = self.one_ways();
            self.others.extend(one_way.map(|tally| (Verdict::OneWay, tally)));
        }
        self.findings()
    }

    /// Whether hosts that one script makes have no way to each other.
    fn is_among(&self, made: &BTreeSet<u32>, drop: &Drop, tally: &Tally) -> bool {
        let is_made = |end: u32| self.hosts.ends[end as usize].at.iter().all(|host| made.contains(host));
        let unrouted = matches!(drop.reason, Reason::NoRoute | Reason::NoOwner);
        unrouted && is_made(tally.first.from) && is_made(tally.first.to)
    }

    /// Whether a loss concerns more than a host and its peer.
    fn is_beyond(&self, drop: &Drop, example: Example) -> bool {
        let from = &self.hosts.ends[example.from as usize];
        match drop.reason {
            Reason::UnknownPeer | Reason::NotKnown | Reason::NoEndpoint | Reason::NotForwarding => false,
            Reason::NoRoute | Reason::NoOwner | Reason::Nowhere => !from.at.contains(&drop.host),
            Reason::Source => from.kind == EndKind::Site || self.walk_example(example).1.hosts.len() > 2,
            Reason::ReversePath | Reason::Refused => true,
        }
    }

    /// Pairs of which one reaches the other and gets no answer, as far as that is certain.
    fn one_ways(&self) -> Option<Tally> {
        let ends = self.hosts.ends.len();
        let pairs = (0..ends).flat_map(|from| (0..ends).map(move |to| (from, to)));
        let unanswered = pairs.filter(|(from, to)| self.verdict(*from, *to) == Verdict::OneWay);
        let mut certain = unanswered.filter_map(|(from, to)| {
            self.examples(from, to).into_iter().find(|example| {
                let unrouted = |drop: &Drop| matches!(drop.reason, Reason::NoRoute | Reason::NoOwner | Reason::Nowhere);
                self.lost_answer(*example)
                    .is_some_and(|drop| unrouted(&drop) || self.is_beyond(&drop, example.reversed()))
            })
        });
        let first = certain.next()?;
        Some(Tally { pairs: 1 + certain.count(), first })
    }

    /// Where the answer to a packet that arrives is dropped.
    pub(in crate::prove) fn lost_answer(&self, example: Example) -> Option<Drop> {
        let (sent, there) = self.walk_example(example);
        let classes = (example.source, example.destination);
        let mut back = Trace::default();
        match self.tables.walk_answer(&there, classes, usize::from(example.family), &mut back) {
            Outcome::Dropped(drop) if sent == Sent::Arrived => Some(drop),
            _ => None,
        }
    }
}
