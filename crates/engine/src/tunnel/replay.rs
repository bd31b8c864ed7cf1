//! The memory of which packet counters a session has seen (RFC 6479, as the kernel does it).
//!
//! A ring of bits behind the highest counter. A counter is accepted once, if it is not older than the ring; one word of the ring
//! is always spare, so the window reaches back 8128 packets. Only authenticated counters come in.

use crate::limits::{REJECT_AFTER_MESSAGES, REPLAY_WINDOW_BITS};

const WORD_BITS: u64 = 64;
const WORDS: usize = REPLAY_WINDOW_BITS / WORD_BITS as usize;
const WINDOW: u64 = REPLAY_WINDOW_BITS as u64 - WORD_BITS;

/// Which counters were seen.
#[derive(Debug)]
pub struct ReplayWindow {
    /// The highest counter seen, plus one.
    next: u64,
    seen: [u64; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> ReplayWindow {
        ReplayWindow { next: 0, seen: [0; WORDS] }
    }
}

impl ReplayWindow {
    /// Whether the counter is new; remembers it.
    pub fn accept(&mut self, counter: u64) -> bool {
        if counter >= REJECT_AFTER_MESSAGES {
            return false;
        }
        let position = counter + 1;
        if position.saturating_add(WINDOW) < self.next {
            return false;
        }
        let word = position / WORD_BITS;
        if position > self.next {
            let current = self.next / WORD_BITS;
            for step in 1..=(word - current).min(WORDS as u64) {
                self.seen[(current + step) as usize % WORDS] = 0;
            }
            self.next = position;
        }
        let bit = 1 << (position % WORD_BITS);
        let slot = &mut self.seen[word as usize % WORDS];
        let fresh = *slot & bit == 0;
        *slot |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn the_kernels_selftest() {
        let mut window = ReplayWindow::default();
        let limit = WINDOW + 1;
        let steps: &[(u64, bool)] = &[
            (0, true),
            (1, true),
            (1, false),
            (9, true),
            (8, true),
            (7, true),
            (7, false),
            (limit, true),
            (limit - 1, true),
            (limit - 1, false),
            (limit - 2, true),
            (2, true),
            (2, false),
            (limit + 16, true),
            (3, false),
            (limit + 16, false),
            (limit * 4, true),
            (limit * 4 - (limit - 1), true),
            (10, false),
            (limit * 4 - limit, false),
            (limit * 4 - (limit + 1), false),
            (limit * 4 - (limit - 2), true),
            (limit * 4 + 1 - limit, false),
            (0, false),
            (REJECT_AFTER_MESSAGES, false),
            (REJECT_AFTER_MESSAGES - 1, true),
            (REJECT_AFTER_MESSAGES, false),
            (REJECT_AFTER_MESSAGES - 1, false),
            (REJECT_AFTER_MESSAGES - 2, true),
            (REJECT_AFTER_MESSAGES + 1, false),
            (REJECT_AFTER_MESSAGES + 2, false),
            (REJECT_AFTER_MESSAGES - 2, false),
            (REJECT_AFTER_MESSAGES - 3, true),
            (0, false),
        ];
        for (step, &(counter, expected)) in steps.iter().enumerate() {
            assert_eq!(window.accept(counter), expected, "step {step}, counter {counter}");
        }
    }

    /// Which counters are new, in order, to a fresh window.
    fn check(counters: impl Iterator<Item = u64>, news: impl Fn(u64) -> bool) {
        let mut window = ReplayWindow::default();
        for counter in counters {
            assert_eq!(window.accept(counter), news(counter), "counter {counter}");
        }
    }

    /// The kernel's runs: up, down, and down past the window's end.
    #[test]
    fn whole_windows_forwards_and_backwards() {
        let limit = WINDOW + 1;
        check((1..=WINDOW).chain([0]), |_| true);
        check((2..=limit).chain([1]), |_| true);
        check((2..=limit).chain([0]), |counter| counter > 0);
        check((0..=limit).rev(), |counter| counter > 0);
        check((0..=WINDOW).rev(), |_| true);
        check((0..WINDOW).rev().chain([limit]), |_| true);
        check((0..2 * limit).map(|counter| counter ^ 1), |_| true);
        let mut window = ReplayWindow::default();
        assert!((0..3 * limit).all(|counter| window.accept(counter)));
        assert!((0..3 * limit).all(|counter| !window.accept(counter)));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(moves in prop::collection::vec((0u64..20_000, any::<bool>()), 1..600)) {
            let (mut window, mut seen, mut highest) = (ReplayWindow::default(), HashSet::new(), 0u64);
            for (step, forward) in moves {
                let counter = if forward { highest + step / 40 } else { highest.saturating_sub(step) };
                let expected = counter + WINDOW >= highest && seen.insert(counter);
                prop_assert_eq!(window.accept(counter), expected, "counter {}, highest {}", counter, highest);
                highest = highest.max(counter);
            }
        }
    }
}
