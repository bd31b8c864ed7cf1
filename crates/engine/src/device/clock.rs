//! The only place of this crate that reads a clock.

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
