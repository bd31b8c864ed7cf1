//! The exchange: how link states and claims of clients get from each node to all others.
//!
//! A node tells its view of each of its links in a record, an entry server its claim of a client in another ([`record`]);
//! what is new to a node it passes on at once over all its links that work. A link keeps a set of keys that the other end has yet to be told; they go out in messages of
//! bounded size, a few at a time, and are put back unless a receipt comes. Every message carries a digest of all records
//! ([`wire`]); where two nodes' digests stay different, they compare summaries, and each sends what is in the parts that
//! differ, but for what is news and so under way. So a node that was away, or forgot everything, catches up with any neighbour. Whoever sends an old record is
//! sent the newer one; that is how a node that has started anew hears of its own earlier generations.
//!
//! Where there are very many records (clients), a node has summaries compared with one neighbour at a time: one that starts anew
//! is told everything once and not by everybody. Nothing is accepted but from the link's own end, which the tunnel proves
//! and the caller names.

pub mod record;
pub mod records;
mod spread;
pub mod wire;

use std::time::Duration;

use record::{Claim, Key, Record, View};
use records::{Records, Taken};
use spread::Spread;
use wire::Part;

use super::Time;
use super::surroundings::Surroundings;
use crate::limits::{
    EXCHANGE_COMPARE_ALL_MAX, EXCHANGE_COMPARE_MS, EXCHANGE_COMPARED_MAX, EXCHANGE_COVER_LINKS_MIN,
    EXCHANGE_PENDING_ALL_MAX, EXCHANGE_PENDING_MAX, EXCHANGE_PENDING_MIN,
};
use crate::names::Name;

/// A node's part in the exchange.
#[derive(Debug)]
pub struct Exchange {
    own: Name,
    records: Records,
    /// One per link, in the order of the node's links.
    spreads: Vec<Spread>,
    /// The link over which records are compared, and until when no other may, where they are compared one by one.
    compared: Option<(usize, Time)>,
    /// Records that were refused.
    pub refused: u64,
}

impl Exchange {
    /// Knows nothing yet.
    pub fn new(own: Name, links: usize) -> Exchange {
        let spreads = (0..links).map(|_| Spread::default()).collect();
        Exchange { own, records: Records::default(), spreads, compared: None, refused: 0 }
    }

    /// All records.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Goes over to another network file; `from` says which of the earlier links each link is. Returns the keys of
    /// records that meant nothing before.
    pub fn adapt(&mut self, from: &[Option<usize>], around: &Surroundings) -> Vec<Key> {
        let mut old: Vec<Option<Spread>> = std::mem::take(&mut self.spreads).into_iter().map(Some).collect();
        let mut take = |at: &Option<usize>| at.and_then(|at| old.get_mut(at)?.take()).unwrap_or_default();
        self.spreads = from.iter().map(&mut take).collect();
        self.spreads.iter_mut().for_each(Spread::expect_agreement);
        self.compared = None;
        self.records.adapt(|key| around.has(key))
    }

    /// States the own view of a link with `other`. Says whether it is news.
    pub fn publish(&mut self, other: &Name, view: View, around: &Surroundings, now: Time) -> bool {
        let (origin, other) = (self.own.clone(), other.clone());
        let key = Key::Link { origin: origin.clone(), other: other.clone() };
        if self.records.view(&origin, &other) == view {
            return false;
        }
        let generation = self.records.generation(&key).unwrap_or(0).saturating_add(1);
        self.take(Record::Link { origin, other, generation, view }, None, around, now)
    }

    /// Claims a client for this node, or lets it go, with the highest epoch known and one more. Says whether that is news.
    pub fn claim(&mut self, client: &Name, held: bool, around: &Surroundings, now: Time) -> bool {
        let key = Key::Client(client.clone());
        let epoch = self.records.generation(&key).unwrap_or(0).saturating_add(1);
        let claim = Claim { held, server: self.own.clone() };
        self.take(Record::Client { client: client.clone(), epoch, claim }, None, around, now)
    }

    /// Takes a part of a message that came over a link. Returns the keys of records that are new here; those of the
    /// node itself among them are from its past.
    pub fn handle_part(&mut self, at: usize, number: u16, part: Part, around: &Surroundings, now: Time) -> Vec<Key> {
        match part {
            Part::Receipts(numbers) => {
                numbers.into_iter().for_each(|number| self.spreads[at].handle_receipt(number));
                Vec::new()
            }
            Part::Summary { reply, digests } => {
                let most = self.room_to_compare();
                self.spreads[at].handle_summary(reply, &digests, &self.records, most, now);
                Vec::new()
            }
            // Not about what is known.
            Part::Offer(_) => Vec::new(),
            Part::Records(records) => {
                self.spreads[at].owe_receipt(number, now);
                let mut new = Vec::new();
                for record in records {
                    let record = around.with_own_names(record);
                    let key = record.key();
                    if self.take(record, Some(at), around, now) {
                        new.push(key);
                    }
                }
                if let Some((_, until)) = self.compared.as_mut().filter(|(with, _)| *with == at && !new.is_empty()) {
                    *until = now.plus(COMPARE);
                }
                new
            }
        }
    }

    /// Notes what the other end's digest is. Says whether other links may compare from now on.
    pub fn handle_digest(&mut self, at: usize, digest: u32, now: Time) -> bool {
        self.spreads[at].handle_digest(digest == self.records.digest(), now);
        self.agrees(at) && self.release(at)
    }

    /// Whether the other end of a link has the same records, as far as it has told.
    pub fn agrees(&self, at: usize) -> bool {
        self.spreads[at].agrees()
    }

    /// The other end of a link has forgotten everything, or nothing goes over the link: what was under way is void.
    pub fn forget(&mut self, at: usize) {
        self.spreads[at] = Spread::default();
        self.release(at);
    }

    /// Has summaries compared over a link, where a node with so many links relies on others to pass news on. With very many
    /// records digests come first: while news are under way, much looks different that will soon be alike.
    pub fn compare_if_crowded(&mut self, at: usize) {
        if self.spreads.len() < EXCHANGE_COVER_LINKS_MIN {
            return;
        }
        if self.records.counts().0 > EXCHANGE_COMPARE_ALL_MAX {
            self.spreads[at].ask();
        } else {
            self.spreads[at].compare();
        }
    }

    /// Whether the other end of a link is heard: while it is not, little is kept for it.
    pub fn set_open(&mut self, at: usize, is_open: bool) {
        let was_open = std::mem::replace(&mut self.spreads[at].is_open, is_open);
        if is_open && !was_open && !self.agrees(at) {
            self.spreads[at].compare();
        }
        if !is_open {
            self.release(at);
        }
    }

    /// Ends a comparison. Says whether it was with this link's end.
    fn release(&mut self, at: usize) -> bool {
        self.compared.take_if(|(with, _)| *with == at).is_some()
    }

    /// Until when a link may not compare.
    fn compares_from(&self, at: usize) -> Time {
        match self.compared {
            Some((with, until)) if with != at && self.records.counts().0 > EXCHANGE_COMPARE_ALL_MAX => until,
            _ => Time::default(),
        }
    }

    /// How many records may wait on one link.
    fn room(&self, is_open: bool) -> usize {
        let share = EXCHANGE_PENDING_ALL_MAX / self.spreads.len().max(1);
        if is_open { share.clamp(EXCHANGE_PENDING_MIN, EXCHANGE_PENDING_MAX) } else { EXCHANGE_PENDING_MIN }
    }

    /// How many records a comparison may find wanting.
    fn room_to_compare(&self) -> usize {
        let waiting = self.spreads.iter().map(Spread::wanting).sum();
        let left = EXCHANGE_PENDING_ALL_MAX.saturating_sub(waiting);
        left.min(EXCHANGE_COMPARED_MAX).max(self.room(true))
    }

    /// When a link next has something to send.
    pub fn wake(&self, at: usize) -> Time {
        self.spreads[at].wake(self.compares_from(at))
    }

    /// What is to go over a link in a message with this number; `patience` is how long its receipt may take.
    pub fn poll(&mut self, at: usize, number: u16, patience: Duration, now: Time) -> Vec<Part> {
        let may_compare = self.compares_from(at) <= now;
        let parts = self.spreads[at].poll(number, &self.records, patience, may_compare, now);
        if parts.iter().any(|part| matches!(part, Part::Summary { .. })) {
            self.compared = Some((at, now.plus(COMPARE)));
        }
        parts
    }

    /// The same when this is the last chance, however much is under way.
    pub fn poll_last(&mut self, at: usize) -> Option<Part> {
        self.spreads[at].poll_last(&self.records)
    }

    /// Takes a record that came over a link or from the node itself, and passes it on. Says whether it is news.
    fn take(&mut self, record: Record, from: Option<usize>, around: &Surroundings, now: Time) -> bool {
        let key = record.key();
        let taken = self.records.offer(&record, around.has(&key), now);
        match (taken, from) {
            (Taken::New, _) => {
                let is_crowded = self.spreads.len() >= EXCHANGE_COVER_LINKS_MIN;
                let covered = |to: usize| is_crowded && from.is_some_and(|from| around.covers(from, to));
                let (open, closed) = (self.room(true), self.room(false));
                for (at, spread) in self.spreads.iter_mut().enumerate() {
                    if Some(at) == from {
                        spread.drop_key(&key);
                    } else if !covered(at) {
                        spread.add(key.clone(), if spread.is_open { open } else { closed });
                    }
                }
                true
            }
            (Taken::Old, Some(from)) => {
                let most = self.room(true);
                self.spreads[from].add(key, most);
                false
            }
            (Taken::Known, Some(from)) => {
                self.spreads[from].drop_key(&key);
                false
            }
            (Taken::Refused, _) => {
                self.refused += 1;
                false
            }
            (Taken::Old | Taken::Known, None) => false,
        }
    }
}

const COMPARE: Duration = Duration::from_millis(EXCHANGE_COMPARE_MS);
