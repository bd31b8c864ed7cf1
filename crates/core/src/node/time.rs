//! Time as an argument: microseconds on a node's own clock, which begins anywhere and never goes back.

use std::time::Duration;

/// A moment on one node's clock. Moments of different nodes have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(u64);

impl Time {
    /// Later than everything.
    pub const NEVER: Time = Time(u64::MAX);

    /// So many microseconds after the clock's beginning.
    pub fn from_us(us: u64) -> Time {
        Time(us)
    }

    /// Microseconds after the clock's beginning.
    pub fn us(self) -> u64 {
        self.0
    }

    /// The moment so much later.
    #[must_use]
    pub fn plus(self, later: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(later.as_micros()).unwrap_or(u64::MAX)))
    }

    /// The moment so much earlier, not before the clock's beginning.
    #[must_use]
    pub fn before(self, earlier: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(earlier.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long after an earlier moment; nothing if it is not earlier.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}
