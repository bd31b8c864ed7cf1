//! When handshakes become too many, and who may then still have one.
//!
//! [`LoadMeter`] counts handshake messages in short windows; above the bound the device is under load and answers with cookies.
//! Senders that proved their address then share [`RateLimiter`]: a token bucket for each IPv4 address or IPv6 /64, as in the
//! kernel, in a table of bounded size. [`PerSecond`] bounds anything else that an attacker could make frequent.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::limits::{
    HANDSHAKES_PER_ADDRESS_BURST, HANDSHAKES_PER_ADDRESS_PER_S, LOAD_HOLD, LOAD_MESSAGES_MAX, LOAD_WINDOW,
    RATE_LIMITED_ADDRESSES_MAX,
};
use crate::time::Monotonic;

/// Decides whether the device is under load.
#[derive(Debug, Default)]
pub struct LoadMeter {
    window_start: Monotonic,
    messages: u32,
    under_load_until: Option<Monotonic>,
}

impl LoadMeter {
    /// Counts one handshake message; true if the device is under load.
    pub fn count(&mut self, now: Monotonic) -> bool {
        if now.since(self.window_start) >= LOAD_WINDOW {
            self.window_start = now;
            self.messages = 0;
        }
        self.messages = self.messages.saturating_add(1);
        if self.messages > LOAD_MESSAGES_MAX {
            self.under_load_until = Some(now + LOAD_HOLD);
        }
        self.under_load_until.is_some_and(|until| now < until)
    }

    /// Declares the device under load until `until`, for tests and for an owner that knows better.
    pub fn hold(&mut self, until: Monotonic) {
        self.under_load_until = Some(until);
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
    fn load_begins_with_a_burst_and_ends_a_second_after_it() {
        let mut meter = LoadMeter::default();
        for _ in 0..LOAD_MESSAGES_MAX {
            assert!(!meter.count(at(1000)));
        }
        assert!(meter.count(at(1000)));
        assert!(meter.count(at(1999)));
        assert!(!meter.count(at(2000)));
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
