//! Damping: how long a link that was down has to work before it counts as up again.
//!
//! The first time it is a few seconds; each further failure doubles it, up to some minutes; a long time without any
//! failure makes it forget. So a link that fails every two seconds moves traffic once and then not again, and one that
//! fails every minute soon stays out of use. Where packets have no other way to the other end, that would only keep them from
//! getting there: such a link is waited for no longer than it takes to tell that it works.

use std::time::Duration;

use crate::limits::{HOLD_DOUBLINGS_MAX, HOLD_FIRST_MS, HOLD_FORGET_S, HOLD_MS};
use crate::node::Time;

/// A link's failures, as far as they count.
#[derive(Debug, Default)]
pub struct Damping {
    failures: u32,
    last: Option<Time>,
}

impl Damping {
    /// The link has failed while it was in use.
    pub fn handle_failure(&mut self, now: Time) {
        if self.last.is_some_and(|last| now.since(last).as_secs() >= HOLD_FORGET_S) {
            self.failures = 0;
        }
        self.failures += 1;
        self.last = Some(now);
    }

    /// For how long it has to work before it is used again; whether packets have another way meanwhile.
    pub fn hold(&self, has_detour: bool) -> Duration {
        if self.failures == 0 {
            return Duration::from_millis(HOLD_FIRST_MS);
        }
        let doublings = self.failures.saturating_sub(1).min(HOLD_DOUBLINGS_MAX);
        if !has_detour {
            return Duration::from_millis((HOLD_FIRST_MS << doublings).min(HOLD_MS));
        }
        Duration::from_millis(HOLD_MS << doublings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds for which a link has to work after each of eight failures, a minute apart.
    fn holds_s(has_detour: bool) -> Vec<u64> {
        let mut damping = Damping::default();
        let mut hold = |minute: u64| {
            damping.handle_failure(Time::from_us(minute * 60_000_000));
            damping.hold(has_detour).as_secs()
        };
        (0..8).map(&mut hold).collect()
    }

    #[test]
    fn each_failure_doubles_the_wait_and_where_there_is_no_other_way_it_stays_short() {
        assert_eq!(holds_s(true), [5, 10, 20, 40, 80, 160, 320, 320]);
        assert_eq!(holds_s(false), [1, 2, 4, 5, 5, 5, 5, 5]);
    }
}
