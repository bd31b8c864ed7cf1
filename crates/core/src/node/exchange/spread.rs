//! What one link has yet to carry: records the other end must be told, receipts it is owed, summaries to compare.
//!
//! In: keys to tell, receipts, the other end's digest. Out: parts for the next message, news first. A message with records whose
//! receipt does not come in time is counted lost, its keys are put back, and the time doubles; fewer are under way at a time
//! then, and more with each receipt. Where only a few records are lost they go out twice, since all others wait for who misses them. Digests that differ while
//! nothing is under way call for a summary, at growing intervals, since the other end may have another network file.

use std::collections::BTreeSet;
use std::time::Duration;

use super::record::{Key, Record};
use super::records::{BUCKETS, Records};
use super::wire::{Part, record_bytes};
use crate::limits::{
    EXCHANGE_MESSAGE_BYTES_MAX, EXCHANGE_RECEIPTS_MAX, EXCHANGE_RETRY_MS_MAX, EXCHANGE_TWICE_MAX,
    EXCHANGE_UNDER_WAY_MAX, EXCHANGE_UNDER_WAY_MIN, SUMMARY_WAIT_MS_MAX, SUMMARY_WAIT_MS_MIN,
};
use crate::node::Time;

/// Bytes of a message's header, and of each part's kind and length.
const HEADER_BYTES: usize = 15;
const PART_BYTES: usize = 3;

/// The exchange over one link.
#[derive(Debug)]
pub struct Spread {
    /// What is new here: goes before the rest.
    news: BTreeSet<Key>,
    /// What a comparison has shown to be wanting there.
    wanting: BTreeSet<Key>,
    /// News that have been lost once, and go out once more when they have gone out again.
    again: BTreeSet<Key>,
    /// There was no room for some: summaries are to be compared when there is.
    left_out: bool,
    /// Where the next comparison begins.
    next: Option<Key>,
    under_way: Vec<Sent>,
    /// How many messages with records may be under way.
    window: usize,
    /// How often in a row a message was lost.
    losses: u32,
    receipts: Vec<u16>,
    agrees: bool,
    summary_at: Option<Time>,
    summary_wait: Duration,
    /// Whether the other end is heard.
    pub is_open: bool,
    /// A summary to be sent at once: whether as a reply.
    summary: Option<bool>,
    /// Whether the other end is to say what its digest is.
    asks: bool,
}

/// A message that waits for its receipt.
#[derive(Debug)]
struct Sent {
    number: u16,
    until: Time,
    keys: Vec<Key>,
}

impl Default for Spread {
    fn default() -> Spread {
        Spread {
            news: BTreeSet::new(),
            wanting: BTreeSet::new(),
            again: BTreeSet::new(),
            left_out: false,
            next: None,
            under_way: Vec::new(),
            window: EXCHANGE_UNDER_WAY_MIN,
            losses: 0,
            receipts: Vec::new(),
            agrees: true,
            summary_at: None,
            summary_wait: Duration::from_millis(SUMMARY_WAIT_MS_MIN),
            is_open: false,
            summary: None,
            asks: false,
        }
    }
}

impl Spread {
    /// A record that the other end is to be told. With more than `most` of them the rest is found by summaries, part by part.
    pub fn add(&mut self, key: Key, most: usize) {
        if self.news.len() < most {
            self.wanting.remove(&key);
            self.news.insert(key);
        } else {
            self.left_out |= !self.news.contains(&key);
        }
    }

    /// The other end has shown that it knows a record.
    pub fn drop_key(&mut self, key: &Key) {
        self.news.remove(key);
        self.wanting.remove(key);
        self.again.remove(key);
    }

    /// A message with records has come. While they come, there is no need to ask for more.
    pub fn owe_receipt(&mut self, number: u16, now: Time) {
        self.summary_at = self.summary_at.map(|at| at.max(now.plus(Duration::from_millis(SUMMARY_WAIT_MS_MIN))));
        if self.receipts.len() < EXCHANGE_RECEIPTS_MAX {
            self.receipts.push(number);
        }
    }

    /// A message of ours has arrived.
    pub fn handle_receipt(&mut self, number: u16) {
        let before = self.under_way.len();
        self.under_way.retain(|sent| sent.number != number);
        if self.under_way.len() < before {
            self.window = (self.window + 1).min(EXCHANGE_UNDER_WAY_MAX);
        }
        self.losses = 0;
    }

    /// A summary has come: what differs is pending, as far as there is room. Where there is not, the next summary goes on with what
    /// was left out, so that all have their turn.
    pub fn handle_summary(&mut self, reply: bool, digests: &[u32; BUCKETS], records: &Records, most: usize, now: Time) {
        let from = self.next.take();
        let mut differing = records.differing(digests, from.as_ref(), now);
        while self.wanting.len() < most
            && let Some(key) = differing.next()
        {
            if !self.news.contains(key) {
                self.wanting.insert(key.clone());
            }
        }
        self.next = differing.next().cloned();
        self.left_out |= self.next.is_some();
        if !reply {
            self.summary = Some(true);
        }
    }

    /// Whether the other end's digest is the own one.
    pub fn handle_digest(&mut self, agrees: bool, now: Time) {
        self.agrees = agrees;
        if agrees {
            self.summary_at = None;
            self.summary_wait = Duration::from_millis(SUMMARY_WAIT_MS_MIN);
        } else if self.summary_at.is_none() {
            self.summary_at = Some(now.plus(self.summary_wait));
        }
    }

    /// How many records a comparison has found wanting that have not gone out yet.
    pub fn wanting(&self) -> usize {
        self.wanting.len()
    }

    /// Whether the other end's digest was the own one when it last came.
    pub fn agrees(&self) -> bool {
        self.agrees
    }

    /// Sends a summary soon whatever the digests say.
    pub fn compare(&mut self) {
        self.summary = self.summary.or(Some(false));
    }

    /// Has the other end say soon what its digest is.
    pub fn ask(&mut self) {
        self.asks = true;
    }

    /// Another network file is in force: whether the other end has the same records is to be found out anew.
    pub fn expect_agreement(&mut self) {
        (self.agrees, self.summary_at) = (true, None);
        self.summary_wait = Duration::from_millis(SUMMARY_WAIT_MS_MIN);
    }

    /// When there is next something to do; summaries may not be compared before `compares_from`.
    pub fn wake(&self, compares_from: Time) -> Time {
        let can_send = self.has_pending() && self.under_way.len() < self.window;
        if can_send || self.asks || !self.receipts.is_empty() {
            return Time::default();
        }
        let compares = self.summary.is_some() || (self.left_out && !self.has_pending());
        let summary = if compares { Some(Time::default()) } else { self.summary_at };
        let lost = self.under_way.iter().map(|sent| sent.until);
        lost.chain(summary.map(|at| at.max(compares_from))).min().unwrap_or(Time::NEVER)
    }

    fn has_pending(&self) -> bool {
        !self.news.is_empty() || !self.wanting.is_empty()
    }

    /// The parts of the next message, which has this number; `patience` is how long its receipt may take.
    pub fn poll(
        &mut self,
        number: u16,
        records: &Records,
        patience: Duration,
        may_compare: bool,
        now: Time,
    ) -> Vec<Part> {
        self.give_up_lost(now);
        let mut parts = Vec::new();
        let mut room = EXCHANGE_MESSAGE_BYTES_MAX - HEADER_BYTES;
        if !self.receipts.is_empty() {
            room -= PART_BYTES + 2 * self.receipts.len();
            parts.push(Part::Receipts(std::mem::take(&mut self.receipts)));
        }
        if may_compare && let Some(reply) = self.poll_summary(now) {
            room -= PART_BYTES + 1 + 4 * BUCKETS;
            parts.push(Part::Summary { reply, digests: Box::new(records.summary(now)) });
        }
        if self.under_way.len() < self.window {
            let batch = self.batch(records, room - PART_BYTES);
            if !batch.is_empty() {
                let keys = batch.iter().map(Record::key).collect();
                let patience = patience * 2_u32.pow(self.losses.min(8));
                let until = now.plus(patience.min(Duration::from_millis(EXCHANGE_RETRY_MS_MAX)));
                self.under_way.push(Sent { number, until, keys });
                parts.push(Part::Records(batch));
                if self.news.is_empty() {
                    self.news.append(&mut self.again);
                }
            }
        }
        if std::mem::take(&mut self.asks) && !parts.iter().any(Part::asks) {
            parts.push(Part::Records(Vec::new()));
        }
        parts
    }

    /// The same when this is the last chance, however much is under way: news, and nothing else.
    pub fn poll_last(&mut self, records: &Records) -> Option<Part> {
        self.wanting.clear();
        let batch = self.batch(records, EXCHANGE_MESSAGE_BYTES_MAX - HEADER_BYTES - PART_BYTES);
        (!batch.is_empty()).then_some(Part::Records(batch))
    }

    fn give_up_lost(&mut self, now: Time) {
        let (lost, under_way): (Vec<Sent>, Vec<Sent>) =
            std::mem::take(&mut self.under_way).into_iter().partition(|sent| sent.until <= now);
        self.under_way = under_way;
        if lost.is_empty() {
            return;
        }
        self.losses += 1;
        self.window = (self.window / 2).max(EXCHANGE_UNDER_WAY_MIN);
        let lost: BTreeSet<Key> = lost.into_iter().flat_map(|sent| sent.keys).collect();
        if lost.len() <= EXCHANGE_TWICE_MAX {
            self.again.clone_from(&lost);
        }
        // There was room for them before.
        self.news.extend(lost);
    }

    /// The summary that is to go out, if one is: whether as a reply.
    fn poll_summary(&mut self, now: Time) -> Option<bool> {
        self.plan_summary(now);
        if self.left_out && !self.has_pending() {
            self.left_out = false;
            self.compare();
        }
        self.summary.take()
    }

    fn plan_summary(&mut self, now: Time) {
        if self.summary_at.is_none_or(|at| at > now) {
            return;
        }
        if !self.has_pending() && self.under_way.is_empty() && !self.agrees {
            self.summary = self.summary.or(Some(false));
            self.summary_wait = (self.summary_wait * 2).min(Duration::from_millis(SUMMARY_WAIT_MS_MAX));
        }
        self.summary_at = (!self.agrees).then(|| now.plus(self.summary_wait));
    }

    /// As many pending records as fit.
    fn batch(&mut self, records: &Records, mut room: usize) -> Vec<Record> {
        let mut batch = Vec::new();
        while let Some(key) = self.news.first().or_else(|| self.wanting.first()) {
            if let Some(record) = records.of(key) {
                let bytes = record_bytes(&record).len();
                if bytes > room {
                    break;
                }
                room -= bytes;
                batch.push(record);
            }
            if self.news.pop_first().is_none() {
                self.wanting.pop_first();
            }
        }
        batch
    }
}
