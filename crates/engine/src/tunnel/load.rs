//! When handshakes become too many, and who may then still have one.
//!
//! Handshake messages wait in a [`HandshakeQueue`] and are worked off a few at a turn, so that packets never wait for more than a few
//! X25519. [`LoadMeter`] says when the device is under load: too many wait, or too many were for nothing. Strangers are then
//! answered with cookies. Who proved its address, or sends from where a peer was just heard of, passes a [`RateLimiter`]: a token
//! bucket for each IPv4 address or IPv6 /64, as in the kernel, in a table of bounded size. [`PerSecond`] bounds anything else
//! that an attacker could make frequent.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Endpoint;
use crate::limits::{
    HANDSHAKE_WAIT_MAX, HANDSHAKES_PER_ADDRESS_BURST, HANDSHAKES_PER_ADDRESS_PER_S, HANDSHAKES_QUEUED_MAX,
    HANDSHAKES_UNDER_LOAD, LOAD_ENDPOINTS_AGE, LOAD_HOLD, LOAD_WASTED_MAX, LOAD_WINDOW, RATE_LIMITED_ADDRESSES_MAX,
};
use crate::packet::PacketBuf;
use crate::time::Monotonic;

/// A handshake message that was found worth its X25519.
#[derive(Debug)]
pub struct Waiting {
    /// When it came.
    pub arrived: Monotonic,
    /// Where it came from.
    pub source: Endpoint,
    /// The message.
    pub datagram: PacketBuf,
}

/// Handshake messages in the order of their arrival.
#[derive(Debug, Default)]
pub struct HandshakeQueue(VecDeque<Waiting>);

impl HandshakeQueue {
    /// Lets a message wait. False if too many do.
    pub fn push(&mut self, waiting: Waiting) -> bool {
        let has_room = self.0.len() < HANDSHAKES_QUEUED_MAX;
        if has_room {
            self.0.push_back(waiting);
        }
        has_room
    }

    /// The message whose turn it is. With the last one goes the memory that a flood made it take.
    pub fn pop(&mut self) -> Option<Waiting> {
        let next = self.0.pop_front();
        if self.0.is_empty() && self.0.capacity() > HANDSHAKES_UNDER_LOAD {
            self.0 = VecDeque::new();
        }
        next
    }

    /// Since when the next message has been waiting.
    pub fn since(&self) -> Option<Monotonic> {
        self.0.front().map(|waiting| waiting.arrived)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all that wait.
    pub fn clear(&mut self) {
        self.0 = VecDeque::new();
    }
}

/// Decides whether the device is under load.
#[derive(Debug, Default)]
pub struct LoadMeter {
    window_start: Monotonic,
    messages: u32,
    under_load_until: Option<Monotonic>,
}

impl LoadMeter {
    /// Whether the device is under load while `queued` messages wait, the first of them since `since`.
    pub fn is_under_load(&mut self, now: Monotonic, queued: usize, since: Option<Monotonic>) -> bool {
        let is_late = since.is_some_and(|since| now.since(since) >= HANDSHAKE_WAIT_MAX);
        if queued >= HANDSHAKES_UNDER_LOAD || is_late {
            self.under_load_until = Some(now + LOAD_HOLD);
        }
        self.under_load_until.is_some_and(|until| now < until)
    }

    /// Counts a message that was for nothing, or that comes from a stranger while there is load: too many make or prolong it.
    pub fn note_wasted(&mut self, now: Monotonic) {
        if now.since(self.window_start) >= LOAD_WINDOW {
            self.window_start = now;
            self.messages = 0;
        }
        self.messages = self.messages.saturating_add(1);
        if self.messages > LOAD_WASTED_MAX {
            self.under_load_until = Some(now + LOAD_HOLD);
        }
    }

    /// Declares the device under load until `until`, for tests and for an owner that knows better.
    pub fn hold(&mut self, until: Monotonic) {
        self.under_load_until = Some(until);
    }
}

/// Where peers with a session are, looked up only under load: there, a message is probably the peer's own, and the peer is spared the
/// cookie and with it five seconds. Whoever forges such an address gets the bucket of that address and no more.
#[derive(Debug, Default)]
pub struct KnownEndpoints {
    remotes: HashSet<SocketAddr>,
    learned: Option<Monotonic>,
    limiter: RateLimiter,
}

impl KnownEndpoints {
    /// Whether the endpoints should be told anew.
    pub fn are_old(&self, now: Monotonic) -> bool {
        self.learned.is_none_or(|learned| now.since(learned) >= LOAD_ENDPOINTS_AGE)
    }

    /// These are all.
    pub fn learn(&mut self, now: Monotonic, remotes: impl Iterator<Item = SocketAddr>) {
        self.remotes.clear();
        self.remotes.extend(remotes);
        self.learned = Some(now);
    }

    /// Whether a message from there may have its X25519 without a proof.
    pub fn allow(&mut self, now: Monotonic, source: SocketAddr) -> bool {
        self.remotes.contains(&source) && self.limiter.allow(now, source.ip())
    }
}

/// Nanoseconds of credit that one message costs.
const COST: Duration = Duration::from_nanos(1_000_000_000 / HANDSHAKES_PER_ADDRESS_PER_S as u64);
const CREDIT_MAX: Duration = Duration::from_nanos(COST.as_nanos() as u64 * HANDSHAKES_PER_ADDRESS_BURST as u64);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    filled: Monotonic,
    credit: Duration,
}

/// Token buckets by address.
#[derive(Debug, Default)]
pub struct RateLimiter {
    buckets: HashMap<u128, Bucket>,
    swept: Monotonic,
}

impl RateLimiter {
    /// Whether the address may have another handshake message processed.
    pub fn allow(&mut self, now: Monotonic, address: IpAddr) -> bool {
        let key = match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits() & !u128::from(u64::MAX) | 1 << 63,
        };
        if self.buckets.len() >= RATE_LIMITED_ADDRESSES_MAX && !self.buckets.contains_key(&key) && !self.sweep(now) {
            return false;
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket { filled: now, credit: CREDIT_MAX });
        bucket.credit = (bucket.credit + now.since(bucket.filled)).min(CREDIT_MAX);
        bucket.filled = now;
        if bucket.credit < COST {
            return false;
        }
        bucket.credit -= COST;
        true
    }

    /// Forgets addresses whose bucket is full again. True if there is room. Rarely, as a full table is slow to look through.
    fn sweep(&mut self, now: Monotonic) -> bool {
        if now.since(self.swept) >= CREDIT_MAX {
            self.swept = now;
            self.buckets.retain(|_, bucket| now.since(bucket.filled) < CREDIT_MAX);
        }
        self.buckets.len() < RATE_LIMITED_ADDRESSES_MAX
    }
}

/// Lets through at most so many of something in each second.
#[derive(Debug, Default)]
pub struct PerSecond {
    second: Monotonic,
    count: u32,
}

impl PerSecond {
    /// Whether another one may pass.
    pub fn allow(&mut self, now: Monotonic, max: u32) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            *self = PerSecond { second: now, count: 0 };
        }
        self.count += 1;
        self.count <= max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    #[test]
    fn load_begins_with_many_waiting_or_wasted_and_ends_a_second_after_the_last() {
        let mut meter = LoadMeter::default();
        assert!(!meter.is_under_load(at(500), HANDSHAKES_UNDER_LOAD - 1, None));
        assert!(meter.is_under_load(at(500), HANDSHAKES_UNDER_LOAD, None));
        assert!(!meter.is_under_load(at(1500), 0, None));
        for _ in 0..LOAD_WASTED_MAX {
            meter.note_wasted(at(2000));
        }
        assert!(!meter.is_under_load(at(2000), 0, None));
        meter.note_wasted(at(2099));
        assert!(meter.is_under_load(at(3098), 0, None));
        assert!(!meter.is_under_load(at(3099), 0, None));
        for ms in 0..LOAD_WASTED_MAX {
            meter.note_wasted(at(4000 + u64::from(ms)));
        }
        assert!(!meter.is_under_load(at(4100), 0, None), "as many in a longer time are no load");
        assert!(!meter.is_under_load(at(6999), 300, Some(at(5000))));
        assert!(meter.is_under_load(at(7000), 300, Some(at(5000))), "one waited for two seconds");
    }

    #[test]
    fn the_queue_is_bounded_and_gives_its_memory_back() {
        let mut queue = HandshakeQueue::default();
        let message = |ms| Waiting {
            arrived: at(ms),
            source: Endpoint::from(SocketAddr::from(([192, 0, 2, 1], 1))),
            datagram: PacketBuf::new(&[1; 148]),
        };
        assert_eq!((0..5000).filter(|ms| queue.push(message(*ms))).count(), HANDSHAKES_QUEUED_MAX);
        assert_eq!(queue.since(), Some(at(0)));
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), HANDSHAKES_QUEUED_MAX);
        assert_eq!((queue.0.capacity(), queue.since()), (0, None));
    }

    #[test]
    fn only_known_endpoints_are_spared_the_proof_and_each_address_has_its_bucket() {
        let mut known = KnownEndpoints::default();
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        assert!(known.are_old(at(0)));
        known.learn(at(0), [peer].into_iter());
        assert!(!known.are_old(at(1999)) && known.are_old(at(2000)));
        assert!(!known.allow(at(1), SocketAddr::from(([192, 0, 2, 1], 2))));
        assert_eq!((0..100).filter(|_| known.allow(at(1), peer)).count(), HANDSHAKES_PER_ADDRESS_BURST as usize);
        known.learn(at(2000), std::iter::empty());
        assert!(!known.allow(at(9000), peer));
    }

    #[test]
    fn an_address_has_a_burst_then_a_rate_and_forged_ones_do_not_grow_the_table() {
        let mut limiter = RateLimiter::default();
        let address = IpAddr::from([192, 0, 2, 1]);
        assert_eq!((0..10).filter(|_| limiter.allow(at(0), address)).count(), 5);
        assert_eq!((0..100).filter(|ms| limiter.allow(at(ms * 10 + 10), address)).count(), 20);
        for host in 0..200_000u32 {
            limiter.allow(at(1010), IpAddr::from(host.to_be_bytes()));
        }
        assert!(limiter.buckets.len() <= RATE_LIMITED_ADDRESSES_MAX);
        assert!(limiter.allow(at(5000), IpAddr::from([198, 51, 100, 1])));
    }
}
