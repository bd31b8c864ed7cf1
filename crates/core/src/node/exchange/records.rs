//! All records that a node has, with digests by which two nodes see whether and where they differ.
//!
//! Records of links that the own network file has are kept for ever: at most two for each link. Others belong to members
//! with another version of the file; they are passed on, kept in a bounded number for a bounded time, and don't count in
//! the digests, so that they can't come back from each other's memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::record::{Key, Record, View, mix};
use crate::limits::{EXCHANGE_GENERATION_MAX, EXCHANGE_STRANGER_S, EXCHANGE_STRANGERS_MAX};
use crate::node::Time;

/// Digests in a summary.
pub const BUCKETS: usize = 64;

/// The records of one node.
#[derive(Debug)]
pub struct Records {
    known: BTreeMap<Key, Entry>,
    strangers: BTreeMap<Key, (Entry, Time)>,
    buckets: [u64; BUCKETS],
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    generation: u32,
    view: View,
}

/// What became of a record that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is new here.
    New,
    /// It was here already.
    Known,
    /// What is here is newer.
    Old,
    /// Its generation is beyond all bounds, or there is no room for it.
    Refused,
}

impl Default for Records {
    fn default() -> Records {
        Records { known: BTreeMap::new(), strangers: BTreeMap::new(), buckets: [0; BUCKETS] }
    }
}

impl Records {
    /// Takes a record unless what is here is as new. `known` says whether the network file has the link.
    pub fn offer(&mut self, record: &Record, known: bool, now: Time) -> Taken {
        if record.generation > EXCHANGE_GENERATION_MAX {
            return Taken::Refused;
        }
        let offered = (record.generation, record.view);
        let present = self.entry(&record.key).map(|entry| (entry.generation, entry.view));
        match present.map(|present| offered.cmp(&present)) {
            Some(std::cmp::Ordering::Less) => return Taken::Old,
            Some(std::cmp::Ordering::Equal) => return Taken::Known,
            Some(std::cmp::Ordering::Greater) | None => {}
        }
        let hash = record.key.hash();
        let entry = Entry { hash, generation: record.generation, view: record.view };
        if !known {
            return self.keep_stranger(record, entry, now);
        }
        self.toggle(entry);
        if let Some(old) = self.known.insert(record.key.clone(), entry) {
            self.toggle(old);
        }
        Taken::New
    }

    /// The record of a key.
    pub fn of(&self, key: &Key) -> Option<Record> {
        let entry = self.entry(key)?;
        Some(Record { key: key.clone(), generation: entry.generation, view: entry.view })
    }

    /// The keys of all records of links that the network file has.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.known.keys()
    }

    /// A digest of everything.
    pub fn digest(&self) -> u32 {
        (self.buckets.iter().fold(0, |sum: u64, bucket| mix(sum.wrapping_add(*bucket))) >> 16) as u32
    }

    /// A digest of each part.
    pub fn summary(&self) -> [u32; BUCKETS] {
        self.buckets.map(|bucket| (bucket >> 16) as u32)
    }

    /// The keys of records in the parts in which somebody else's summary differs, all in their order; `from` comes first, and
    /// those before it last.
    pub fn differing(&self, other: &[u32; BUCKETS], from: Option<&Key>) -> impl Iterator<Item = &Key> {
        let own = self.summary();
        let differs: Vec<bool> = own.iter().zip(other).map(|(own, other)| own != other).collect();
        let first = from.map_or(Bound::Unbounded, Bound::Included);
        let begin = from.map(|from| (Bound::Unbounded, Bound::Excluded(from)));
        let rest = begin.map(|range| self.known.range::<Key, _>(range)).into_iter().flatten();
        let all = self.known.range::<Key, _>((first, Bound::Unbounded)).chain(rest);
        all.filter(move |(_, entry)| differs[bucket(entry.hash)]).map(|(key, _)| key)
    }

    /// Goes over to another network file: `known` says which links it has. Records of links that are gone are forgotten,
    /// those that were strangers and are known are taken; their keys are returned.
    pub fn adapt(&mut self, known: impl Fn(&Key) -> bool) -> Vec<Key> {
        let gone: Vec<Key> = self.known.keys().filter(|key| !known(key)).cloned().collect();
        for key in &gone {
            if let Some(entry) = self.known.remove(key) {
                self.toggle(entry);
            }
        }
        let met: Vec<Key> = self.strangers.keys().filter(|key| known(key)).cloned().collect();
        for key in &met {
            if let Some((entry, _)) = self.strangers.remove(key) {
                self.toggle(entry);
                self.known.insert(key.clone(), entry);
            }
        }
        met
    }

    /// How many there are: of known links, and others.
    pub fn counts(&self) -> (usize, usize) {
        (self.known.len(), self.strangers.len())
    }

    fn entry(&self, key: &Key) -> Option<&Entry> {
        self.known.get(key).or_else(|| self.strangers.get(key).map(|(entry, _)| entry))
    }

    fn keep_stranger(&mut self, record: &Record, entry: Entry, now: Time) -> Taken {
        let is_full = self.strangers.len() >= EXCHANGE_STRANGERS_MAX && !self.strangers.contains_key(&record.key);
        if is_full {
            self.strangers.retain(|_, (_, since)| now.since(*since).as_secs() < EXCHANGE_STRANGER_S);
            if self.strangers.len() >= EXCHANGE_STRANGERS_MAX {
                return Taken::Refused;
            }
        }
        self.strangers.insert(record.key.clone(), (entry, now));
        Taken::New
    }

    /// Adds an entry to the digests, or takes it out.
    fn toggle(&mut self, entry: Entry) {
        self.buckets[bucket(entry.hash)] ^= entry.view.stamp(entry.hash, entry.generation);
    }
}

fn bucket(hash: u64) -> usize {
    (hash % BUCKETS as u64) as usize
}
