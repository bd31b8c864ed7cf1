//! When an entry node looks at a device that tells nothing by itself: the kernel's.
//!
//! In come the looks that were made and hints that a session may have begun: packets on their way to the device that look like the
//! first ones of a session. Out comes when to look next. Without hints that is five times a second. A hint has the device looked at
//! at once, and three times more soon after unless a new session has been found: it opens packets a moment later. Strangers can send
//! such packets too, so that looks for hints are counted: some at a time, and in the long run hardly more than without hints. Where
//! looks take long, all together take a twentieth of the time; the shortest of the latest few says how long that is, since one that had
//! to wait for a processor says nothing about the next.

use std::time::Duration;

use super::super::Time;
use crate::limits::{HINTED_LOOKS_MAX, LOOK_MS, LOOK_SHARE, LOOKS_AFTER_HINT_MS};

/// The looks at one device.
#[derive(Debug, Clone, Default)]
pub struct Looks {
    /// When to look whatever happens.
    regular: Time,
    /// Before that not at all.
    not_before: Time,
    hinted: Option<Hinted>,
    /// How long the latest looks took.
    took: [Option<Duration>; LATEST],
    /// Looks for hints that were made and not yet paid for by time, and since when.
    spent: u32,
    paid_at: Time,
}

#[derive(Debug, Clone, Copy)]
struct Hinted {
    since: Time,
    /// The latest of several hints.
    latest: Time,
    looks: usize,
}

impl Looks {
    /// A packet came that may have begun a session.
    pub fn handle_hint(&mut self, now: Time) {
        self.pay(now);
        match &mut self.hinted {
            Some(hinted) => hinted.latest = now,
            None if self.spent < HINTED_LOOKS_MAX => self.hinted = Some(Hinted { since: now, latest: now, looks: 0 }),
            None => {}
        }
    }

    /// When to look.
    pub fn wake(&self) -> Time {
        let hinted = self.hinted.map_or(Time::NEVER, Hinted::at);
        self.regular.min(hinted).max(self.not_before)
    }

    /// A look was made, which took so long and has `found` a new session or not.
    pub fn handle_look(&mut self, begin: Time, took: Duration, found: bool) {
        self.pay(begin);
        if let Some(hinted) = self.hinted.filter(|hinted| hinted.at() <= begin) {
            self.spent += 1;
            let next = Hinted { looks: hinted.looks + 1, ..hinted };
            // What has been found need not be what the latest hint was about.
            let next = if found { Hinted { since: next.latest, looks: 1, ..next } } else { next };
            let is_done = found && hinted.latest == hinted.since;
            let goes_on = !is_done && next.looks < LOOKS_AFTER_HINT_MS.len() && self.spent < HINTED_LOOKS_MAX;
            self.hinted = goes_on.then_some(next);
        }
        self.took.rotate_right(1);
        self.took[0] = Some(took);
        let shortest = self.took.iter().flatten().min().copied().unwrap_or(took);
        self.not_before = begin.plus(took.max(shortest * LOOK_SHARE));
        // Where hints go on coming, looks for them take the place of others.
        self.regular = begin.plus(if self.spent > HINTED_LOOKS_MAX / 2 { INTERVAL * 3 / 2 } else { INTERVAL });
    }

    fn pay(&mut self, now: Time) {
        let paid = now.since(self.paid_at).as_micros() / INTERVAL.as_micros();
        if paid > 0 {
            self.spent = self.spent.saturating_sub(u32::try_from(paid).unwrap_or(u32::MAX));
            self.paid_at = now;
        }
    }
}

impl Hinted {
    fn at(self) -> Time {
        let after = LOOKS_AFTER_HINT_MS.get(self.looks).copied().unwrap_or(LOOK_MS);
        self.since.plus(Duration::from_millis(after))
    }
}

const INTERVAL: Duration = Duration::from_millis(LOOK_MS);
/// Looks of which the shortest says what one takes.
const LATEST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    /// For so many seconds, hints come at these milliseconds; looks take `took_us`, and each from `found_ms` on finds something new.
    fn looked(seconds: u64, hints: impl Fn(u64) -> bool, took_us: u64, found_ms: u64) -> Vec<u64> {
        let (mut looks, mut log) = (Looks::default(), Vec::new());
        for ms in 0..seconds * 1_000 {
            if hints(ms) {
                looks.handle_hint(at(ms));
            }
            if looks.wake() <= at(ms) {
                log.push(ms);
                looks.handle_look(at(ms), Duration::from_micros(took_us), ms >= found_ms);
            }
        }
        log
    }

    #[test]
    fn without_hints_there_is_a_look_five_times_a_second() {
        assert_eq!(looked(1, |_| false, 100, 0), [0, 200, 400, 600, 800]);
    }

    #[test]
    fn a_hint_is_followed_by_looks_until_one_finds_a_session() {
        assert_eq!(looked(1, |ms| ms == 250, 100, 0), [0, 200, 251, 451, 651, 851]);
        assert_eq!(looked(1, |ms| ms == 250, 100, 255), [0, 200, 251, 258, 458, 658, 858]);
        // The second of two clients is looked for as well.
        assert_eq!(looked(1, |ms| ms == 250 || ms == 251, 100, 251), [0, 200, 251, 259, 459, 659, 859]);
        assert_eq!(
            looked(1, |ms| ms == 250, 100, 5_000),
            [0, 200, 251, 258, 290, 350, 550, 750, 950],
            "nothing was there"
        );
    }

    #[test]
    fn hints_without_end_cost_hardly_more_looks_than_none_but_for_the_first() {
        for every in [1, 3, 50, 90, 199, 290] {
            let seconds = 60;
            let forged = looked(seconds, |ms| ms % every == 0, 100, u64::MAX).len() as u64;
            let usual = seconds * 1_000 / LOOK_MS;
            assert!(forged <= usual * 4 / 3 + u64::from(HINTED_LOOKS_MAX), "{every} ms: {forged}");
        }
    }

    #[test]
    fn a_look_that_had_to_wait_for_a_processor_does_not_put_the_next_ones_off() {
        let (mut looks, mut log) = (Looks::default(), Vec::new());
        for ms in 0..1_000 {
            if ms == 450 {
                looks.handle_hint(at(ms));
            }
            if looks.wake() <= at(ms) {
                log.push(ms);
                let took_ms = if ms == 400 { 35 } else { 1 };
                looks.handle_look(at(ms), Duration::from_millis(took_ms), ms == 451);
            }
        }
        assert_eq!(log, [0, 200, 400, 451, 651, 851]);
    }

    #[test]
    fn looks_take_a_twentieth_of_the_time_at_most_whatever_hints_come() {
        let took_ms = 39;
        let all = looked(60, |ms| ms % 7 == 0, took_ms * 1_000, u64::MAX);
        assert!(all.len() as u64 * took_ms * u64::from(LOOK_SHARE) <= 60_000 + took_ms * u64::from(LOOK_SHARE));
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] >= took_ms * u64::from(LOOK_SHARE)));
    }
}
