//! What one link has yet to carry: records the other end must be told, receipts it is owed, summaries to compare.
//!
//! In: keys to tell, receipts, the other end's digest. Out: parts for the next message. A message with records whose
//! receipt does not come in time is counted lost, its keys are put back, and the time doubles. Digests that differ while
//! nothing is under way call for a summary, at growing intervals, since the other end may have another network file.

use std::collections::BTreeSet;
use std::time::Duration;

use super::record::{Key, Record};
use super::records::{BUCKETS, Records};
use super::wire::{Part, record_bytes};
use crate::limits::{
    EXCHANGE_MESSAGE_BYTES_MAX, EXCHANGE_RECEIPTS_MAX, EXCHANGE_RETRY_MS_MAX, EXCHANGE_UNDER_WAY_MAX,
    SUMMARY_WAIT_MS_MAX, SUMMARY_WAIT_MS_MIN,
};
use crate::node::Time;

/// Bytes of a message that headers, receipts and a summary may take.
const ASIDE_BYTES: usize = 15 + 3 + 2 * EXCHANGE_RECEIPTS_MAX + 3 + 1 + 4 * BUCKETS + 3;

/// The exchange over one link.
#[derive(Debug)]
pub struct Spread {
    pending: BTreeSet<Key>,
    /// There was no room for some: summaries are to be compared when there is.
    left_out: bool,
    /// Where the next comparison begins.
    next: Option<Key>,
    under_way: Vec<Sent>,
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
            pending: BTreeSet::new(),
            left_out: false,
            next: None,
            under_way: Vec::new(),
            losses: 0,
            receipts: Vec::new(),
            agrees: true,
            summary_at: None,
            summary_wait: Duration::from_millis(SUMMARY_WAIT_MS_MIN),
            is_open: false,
            summary: None,
        }
    }
}

impl Spread {
    /// A record that the other end is to be told. With more than `most` of them the rest is found by summaries, part by part.
    pub fn add(&mut self, key: Key, most: usize) {
        if self.pending.len() < most {
            self.pending.insert(key);
        } else {
            self.left_out |= !self.pending.contains(&key);
        }
    }

    /// The other end has shown that it knows a record.
    pub fn drop_key(&mut self, key: &Key) {
        self.pending.remove(key);
    }

    /// A message with records has come.
    pub fn owe_receipt(&mut self, number: u16) {
        if self.receipts.len() < EXCHANGE_RECEIPTS_MAX {
            self.receipts.push(number);
        }
    }

    /// A message of ours has arrived.
    pub fn handle_receipt(&mut self, number: u16) {
        self.under_way.retain(|sent| sent.number != number);
        self.losses = 0;
    }

    /// A summary has come: what differs is pending, as far as there is room. Where there is not, the next summary goes on with what
    /// was left out, so that all have their turn.
    pub fn handle_summary(&mut self, reply: bool, digests: &[u32; BUCKETS], records: &Records, most: usize) {
        let from = self.next.take();
        let mut differing = records.differing(digests, from.as_ref());
        while self.pending.len() < most
            && let Some(key) = differing.next()
        {
            self.pending.insert(key.clone());
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

    /// Whether the other end's digest was the own one when it last came.
    pub fn agrees(&self) -> bool {
        self.agrees
    }

    /// Sends a summary soon whatever the digests say.
    pub fn compare(&mut self) {
        self.summary = self.summary.or(Some(false));
    }

    /// When there is next something to do.
    pub fn wake(&self) -> Time {
        let can_send = !self.pending.is_empty() && self.under_way.len() < EXCHANGE_UNDER_WAY_MAX;
        let compares = self.summary.is_some() || (self.left_out && self.pending.is_empty());
        if can_send || !self.receipts.is_empty() || compares {
            return Time::default();
        }
        let lost = self.under_way.iter().map(|sent| sent.until);
        lost.chain(self.summary_at).min().unwrap_or(Time::NEVER)
    }

    /// The parts of the next message, which has this number; `patience` is how long its receipt may take.
    pub fn poll(&mut self, number: u16, records: &Records, patience: Duration, now: Time) -> Vec<Part> {
        self.give_up_lost(now);
        self.plan_summary(now);
        if self.left_out && self.pending.is_empty() {
            self.left_out = false;
            self.compare();
        }
        let mut parts = Vec::new();
        if !self.receipts.is_empty() {
            parts.push(Part::Receipts(std::mem::take(&mut self.receipts)));
        }
        if let Some(reply) = self.summary.take() {
            parts.push(Part::Summary { reply, digests: Box::new(records.summary()) });
        }
        if self.under_way.len() < EXCHANGE_UNDER_WAY_MAX {
            let batch = self.batch(records);
            if !batch.is_empty() {
                let keys = batch.iter().map(|record| record.key.clone()).collect();
                let patience = patience * 2_u32.pow(self.losses.min(8));
                let until = now.plus(patience.min(Duration::from_millis(EXCHANGE_RETRY_MS_MAX)));
                self.under_way.push(Sent { number, until, keys });
                parts.push(Part::Records(batch));
            }
        }
        parts
    }

    fn give_up_lost(&mut self, now: Time) {
        let (lost, under_way): (Vec<Sent>, Vec<Sent>) =
            std::mem::take(&mut self.under_way).into_iter().partition(|sent| sent.until <= now);
        self.under_way = under_way;
        self.losses += u32::from(!lost.is_empty());
        // There was room for them before.
        self.pending.extend(lost.into_iter().flat_map(|sent| sent.keys));
    }

    fn plan_summary(&mut self, now: Time) {
        if self.summary_at.is_none_or(|at| at > now) {
            return;
        }
        if self.pending.is_empty() && self.under_way.is_empty() && !self.agrees {
            self.summary = self.summary.or(Some(false));
            self.summary_wait = (self.summary_wait * 2).min(Duration::from_millis(SUMMARY_WAIT_MS_MAX));
        }
        self.summary_at = (!self.agrees).then(|| now.plus(self.summary_wait));
    }

    /// As many pending records as fit.
    fn batch(&mut self, records: &Records) -> Vec<Record> {
        let mut room = EXCHANGE_MESSAGE_BYTES_MAX - ASIDE_BYTES;
        let mut batch = Vec::new();
        while let Some(key) = self.pending.first() {
            if let Some(record) = records.of(key) {
                let bytes = record_bytes(&record).len();
                if bytes > room {
                    break;
                }
                room -= bytes;
                batch.push(record);
            }
            self.pending.pop_first();
        }
        batch
    }
}
