//! All records that a node has, with digests by which two nodes see whether and where they differ.
//!
//! Records of links and clients that the own network file has are kept for ever: two for each link at most, one for each client.
//! Others belong to members with another version of the file; they are passed on, kept in a bounded number for a bounded
//! time, and don't count in the digests, so that they can't come back from each other's memory.
//!
//! Records lie in as many buckets as a summary has digests. What differs is listed bucket by bucket, so that two nodes that
//! have told each other the half of it differ in the other half only. Where few claims are news, the parts that they are in are
//! left out of a comparison: what differs there is under way, and told without one. News of links are seldom, and come with nodes
//! that are to be told everything.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use super::record::{Claim, Key, Record, Value, View, mix};
use crate::limits::{
    EXCHANGE_GENERATION_MAX, EXCHANGE_NEWS_MAX, EXCHANGE_NEWS_MS, EXCHANGE_STRANGER_S, EXCHANGE_STRANGERS_MAX,
};
use crate::names::Name;
use crate::node::Time;

/// Digests in a summary.
pub const BUCKETS: usize = 64;
/// In the place of a digest: this part is not to be compared.
const NOT_COMPARED: u32 = u32::MAX;

/// The records of one node.
#[derive(Debug)]
pub struct Records {
    known: Vec<Bucket>,
    count: usize,
    /// The parts in which the last claims that were new here lie, and when they came; one more than are waited for.
    news: VecDeque<(Time, usize)>,
    strangers: BTreeMap<Key, (Entry, Time)>,
}

/// The records whose keys' hashes have the same remainder.
#[derive(Debug, Default)]
struct Bucket {
    entries: BTreeMap<Key, Entry>,
    digest: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    hash: u64,
    generation: u32,
    value: Value,
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
        let known = (0..BUCKETS).map(|_| Bucket::default()).collect();
        Records { known, count: 0, news: VecDeque::new(), strangers: BTreeMap::new() }
    }
}

impl Records {
    /// Takes a record unless what is here is as new. `known` says whether the network file has the link or client.
    pub fn offer(&mut self, record: &Record, known: bool, now: Time) -> Taken {
        if record.generation() > EXCHANGE_GENERATION_MAX {
            return Taken::Refused;
        }
        let key = record.key();
        let hash = key.hash();
        let entry = Entry { hash, generation: record.generation(), value: record.value() };
        let present = self.entry(&key, hash).map(|present| entry.order().cmp(&present.order()));
        match present {
            Some(std::cmp::Ordering::Less) => return Taken::Old,
            Some(std::cmp::Ordering::Equal) => return Taken::Known,
            Some(std::cmp::Ordering::Greater) | None => {}
        }
        if !known {
            return self.keep_stranger(key, entry, now);
        }
        if matches!(key, Key::Client(_)) {
            self.news.push_back((now, bucket(hash)));
        }
        if self.news.len() > EXCHANGE_NEWS_MAX + 1 {
            self.news.pop_front();
        }
        self.insert(key, entry);
        Taken::New
    }

    /// The record of a key.
    pub fn of(&self, key: &Key) -> Option<Record> {
        let entry = self.entry(key, key.hash())?;
        Record::join(key, entry.generation, &entry.value)
    }

    /// A node's view of a link with another one: works as stated, if it has said nothing else.
    pub fn view(&self, origin: &Name, other: &Name) -> View {
        let key = Key::Link { origin: origin.clone(), other: other.clone() };
        match self.entry(&key, key.hash()).map(|entry| &entry.value) {
            Some(Value::View(view)) => *view,
            Some(Value::Claim(_)) | None => View::AsStated,
        }
    }

    /// The last claim of a client.
    pub fn claim(&self, client: &Name) -> Option<&Claim> {
        let key = Key::Client(client.clone());
        match self.entry(&key, key.hash()).map(|entry| &entry.value) {
            Some(Value::Claim(claim)) => Some(claim),
            Some(Value::View(_)) | None => None,
        }
    }

    /// How often a record has been said anew.
    pub fn generation(&self, key: &Key) -> Option<u32> {
        self.entry(key, key.hash()).map(|entry| entry.generation)
    }

    /// The keys of all records of links and clients that the network file has.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.known.iter().flat_map(|bucket| bucket.entries.keys())
    }

    /// A digest of everything.
    pub fn digest(&self) -> u32 {
        (self.known.iter().fold(0, |sum: u64, bucket| mix(sum.wrapping_add(bucket.digest))) >> 16) as u32
    }

    /// A digest of each part; of those in which there is news no digest, unless there is news everywhere.
    pub fn summary(&self, now: Time) -> [u32; BUCKETS] {
        let mut summary = self.digests();
        let is_new = |at: &Time| now.since(*at) < Duration::from_millis(EXCHANGE_NEWS_MS);
        if self.news.iter().filter(|(at, _)| is_new(at)).count() <= EXCHANGE_NEWS_MAX {
            let parts = self.news.iter().filter(|(at, _)| is_new(at)).map(|(_, part)| *part);
            parts.for_each(|part| summary[part] = NOT_COMPARED);
        }
        summary
    }

    fn digests(&self) -> [u32; BUCKETS] {
        std::array::from_fn(|at| ((self.known[at].digest >> 16) as u32).min(NOT_COMPARED - 1))
    }

    /// Which parts differ from somebody else's. Where most of those that are compared do, the other end misses very much, and
    /// those with news are wanting there as well.
    fn differences(&self, other: &[u32; BUCKETS], now: Time) -> [bool; BUCKETS] {
        let (own, all) = (self.summary(now), self.digests());
        let is_compared = |at: &usize| own[*at] != NOT_COMPARED && other[*at] != NOT_COMPARED;
        let compared = (0..BUCKETS).filter(is_compared).count();
        let differing = (0..BUCKETS).filter(is_compared).filter(|at| own[*at] != other[*at]).count();
        std::array::from_fn(|at| all[at] != other[at] && (2 * differing > compared || is_compared(&at)))
    }

    /// The keys of records in the parts in which somebody else's summary differs, part by part; `from` comes first, and
    /// those before it last.
    pub fn differing<'a>(
        &'a self,
        other: &[u32; BUCKETS],
        from: Option<&Key>,
        now: Time,
    ) -> impl Iterator<Item = &'a Key> + use<'a> {
        let differs = self.differences(other, now);
        let begin = from.map_or(0, |key| bucket(key.hash()));
        let (first, last) = match from.cloned() {
            Some(key) => (Bound::Included(key.clone()), Some((Bound::Unbounded, Bound::Excluded(key)))),
            None => (Bound::Unbounded, None),
        };
        let range = |at: usize, range| self.known[at].entries.range::<Key, _>(range);
        let differs = |at: &usize| differs[*at];
        let first = Some(begin).filter(differs).map(|at| range(at, (first, Bound::Unbounded)));
        let last = last.filter(|_| differs(&begin)).map(|before| range(begin, before));
        let others = (begin + 1..BUCKETS).chain(0..begin).filter(differs);
        let others: Vec<_> = others.map(|at| range(at, (Bound::Unbounded, Bound::Unbounded))).collect();
        first.into_iter().chain(others).chain(last).flatten().map(|(key, _)| key)
    }

    /// Goes over to another network file: `known` says which links and clients it has. Records of those that are gone are
    /// forgotten, those that were strangers and are known are taken; their keys are returned.
    pub fn adapt(&mut self, known: impl Fn(&Key) -> bool) -> Vec<Key> {
        let gone: Vec<Key> = self.keys().filter(|key| !known(key)).cloned().collect();
        gone.iter().for_each(|key| self.forget(key));
        let met: Vec<Key> = self.strangers.keys().filter(|key| known(key)).cloned().collect();
        for key in &met {
            if let Some((entry, _)) = self.strangers.remove(key) {
                self.insert(key.clone(), entry);
            }
        }
        met
    }

    /// How many there are: of known links and clients, and others.
    pub fn counts(&self) -> (usize, usize) {
        (self.count, self.strangers.len())
    }

    fn entry(&self, key: &Key, hash: u64) -> Option<&Entry> {
        let known = self.known[bucket(hash)].entries.get(key);
        known.or_else(|| self.strangers.get(key).map(|(entry, _)| entry))
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        let bucket = &mut self.known[bucket(entry.hash)];
        bucket.digest ^= entry.stamp();
        match bucket.entries.insert(key, entry) {
            Some(old) => bucket.digest ^= old.stamp(),
            None => self.count += 1,
        }
    }

    fn forget(&mut self, key: &Key) {
        let bucket = &mut self.known[bucket(key.hash())];
        if let Some(entry) = bucket.entries.remove(key) {
            bucket.digest ^= entry.stamp();
            self.count -= 1;
        }
    }

    fn keep_stranger(&mut self, key: Key, entry: Entry, now: Time) -> Taken {
        let is_full = self.strangers.len() >= EXCHANGE_STRANGERS_MAX && !self.strangers.contains_key(&key);
        if is_full {
            self.strangers.retain(|_, (_, since)| now.since(*since).as_secs() < EXCHANGE_STRANGER_S);
            if self.strangers.len() >= EXCHANGE_STRANGERS_MAX {
                return Taken::Refused;
            }
        }
        self.strangers.insert(key, (entry, now));
        Taken::New
    }
}

impl Entry {
    fn order(&self) -> (u32, &Value) {
        (self.generation, &self.value)
    }

    /// What it adds to the digests.
    fn stamp(&self) -> u64 {
        self.value.stamp(self.hash, self.generation)
    }
}

fn bucket(hash: u64) -> usize {
    (hash % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(client: usize, epoch: u32) -> Record {
        let server = Name::new("s1").unwrap();
        let client = Name::new(&format!("c{client}")).unwrap();
        Record::Client { client, epoch, claim: Claim { held: true, server } }
    }

    /// Records of so many clients, learnt at the beginning.
    fn records(clients: std::ops::Range<usize>) -> Records {
        let mut records = Records::default();
        for client in clients {
            records.offer(&claim(client, 1), true, Time::default());
        }
        records
    }

    fn differing(here: &Records, there: &Records, now: Time) -> usize {
        here.differing(&there.summary(now), None, now).count()
    }

    #[test]
    fn news_under_way_are_not_compared_until_they_should_have_arrived() {
        let (mut here, mut there) = (records(0..3_000), records(0..3_000));
        let (now, later) = (Time::from_us(5_000_000), Time::from_us(7_000_000));
        for client in 0..5 {
            here.offer(&claim(client, 2), true, now);
            there.offer(&claim(client + 100, 2), true, now);
        }
        assert_eq!((differing(&here, &there, now), differing(&there, &here, now)), (0, 0));
        assert!(differing(&here, &there, later) > 200, "what has been lost is found");
    }

    #[test]
    fn who_misses_very_much_is_told_everything_however_much_of_it_is_news() {
        let (mut here, mut there) = (records(0..3_000), records(0..0));
        let now = Time::from_us(5_000_000);
        for client in 0..30 {
            here.offer(&claim(client, 2), true, now);
            there.offer(&claim(client + 50, 2), true, now);
        }
        assert_eq!(differing(&here, &there, now), 3_000);
    }
}
