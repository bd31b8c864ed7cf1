//! The clocks of the protocol core: the only place that reads the time for it.
//!
//! The device's thread asks once for each batch of work and hands the answer down. The monotonic clock counts from the
//! device's start, which is all that timers and ages need.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Monotonic, Now};

/// Both clocks, the monotonic one counted from the clock's making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts at zero.
    pub fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    /// The present.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: Monotonic(self.start.elapsed()), unix }
    }
}
