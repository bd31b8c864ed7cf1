//! Damping: how long a link that was down has to work before it counts as up again.
//!
//! The first time it is a few seconds; each further failure doubles it, up to some minutes; a long time without any
//! failure makes it forget. So a link that fails every two seconds moves traffic once and then not again, and one that
//! fails every minute soon stays out of use.

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

    /// For how long it has to work before it is used again.
    pub fn hold(&self) -> Duration {
        if self.failures == 0 {
            return Duration::from_millis(HOLD_FIRST_MS);
        }
        let doublings = self.failures.saturating_sub(1).min(HOLD_DOUBLINGS_MAX);
        Duration::from_millis(HOLD_MS << doublings)
    }
}
