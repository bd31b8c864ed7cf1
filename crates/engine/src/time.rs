//! Time as the protocol core sees it: handed in, never read.
//!
//! [`Monotonic`] drives timers and ages and never steps. The wall clock is needed twice: for the time of the last handshake that
//! `wg show` prints, and for the TAI64N timestamp in initiations, which [`Tai64N`] makes and compares. [`Now`] carries both. The
//! device's loop reads the clocks, once per wake-up, in `device::clock`.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in monotonic time: the duration since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// How long ago `earlier` was; zero if it is still to come.
    pub fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Monotonic {
    type Output = Monotonic;

    fn add(self, later: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(later))
    }
}

impl Sub<Monotonic> for Monotonic {
    type Output = Duration;

    fn sub(self, earlier: Monotonic) -> Duration {
        self.since(earlier)
    }
}

/// The present, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timers and ages.
    pub monotonic: Monotonic,
    /// The wall clock: time since 1970 in UTC. May step.
    pub unix: Duration,
}

/// The timestamp of an initiation (whitepaper 5.1): it may only grow, which defeats replays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tai64N(pub [u8; 12]);

/// TAI64 label of 1970-01-01 00:00:00 UTC, which was 10 s behind TAI.
const TAI64_UNIX_EPOCH: u64 = 0x4000_0000_0000_000a;
/// Nanoseconds are rounded down to this, as in the kernel, so that a timestamp tells little about the host's clock.
const GRAIN_NS: u64 = 1 << 24;
const NS_PER_S: u64 = 1_000_000_000;

impl Tai64N {
    /// The label of a wall-clock time, coarsened.
    pub fn from_unix(unix: Duration) -> Tai64N {
        let nanoseconds = u64::from(unix.subsec_nanos()) / GRAIN_NS * GRAIN_NS;
        Tai64N::from_parts(TAI64_UNIX_EPOCH.saturating_add(unix.as_secs()), nanoseconds)
    }

    /// The smallest coarse label greater than this one: what to send when the wall clock stepped back.
    pub fn successor(self) -> Tai64N {
        let (seconds, nanoseconds) = self.parts();
        let next = nanoseconds / GRAIN_NS * GRAIN_NS + GRAIN_NS;
        if next >= NS_PER_S {
            Tai64N::from_parts(seconds.saturating_add(1), 0)
        } else {
            Tai64N::from_parts(seconds, next)
        }
    }

    fn from_parts(seconds: u64, nanoseconds: u64) -> Tai64N {
        let mut label = [0; 12];
        label[..8].copy_from_slice(&seconds.to_be_bytes());
        label[8..].copy_from_slice(&(nanoseconds as u32).to_be_bytes());
        Tai64N(label)
    }

    fn parts(self) -> (u64, u64) {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = self.0;
        (u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), u64::from(u32::from_be_bytes([n0, n1, n2, n3])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wall clock, and the label as the other implementations make it: TAI64 with the ten seconds of 1970, nanoseconds cut.
    #[test]
    fn labels_are_those_of_other_implementations() {
        for (seconds, nanoseconds, label) in [
            (0, 0, "400000000000000a00000000"),
            (1, 0x00ff_ffff, "400000000000000b00000000"),
            (1, 0x0100_0000, "400000000000000b01000000"),
            (1_000_000_000, 120_000_000, "400000003b9aca0a07000000"),
            (1_700_000_000, 999_999_999, "400000006553f10a3b000000"),
            (0x1_0000_0000, 0, "400000010000000a00000000"),
        ] {
            let made = Tai64N::from_unix(Duration::new(seconds, nanoseconds));
            let text: String = made.0.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text, label);
        }
    }

    #[test]
    fn labels_grow_with_time_and_by_succession() {
        let mut last = Tai64N::from_unix(Duration::from_millis(1_700_000_000_000));
        for step in 1..200 {
            let label = Tai64N::from_unix(Duration::from_millis(1_700_000_000_000 + step * 20));
            assert!(label > last);
            last = label;
        }
        for _ in 0..200 {
            assert!(last.successor() > last);
            last = last.successor();
        }
    }

    #[test]
    fn label_of_the_epoch() {
        assert_eq!(Tai64N::from_unix(Duration::ZERO).0, [0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0]);
    }
}
