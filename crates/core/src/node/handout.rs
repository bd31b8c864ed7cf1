//! When what is known of links is handed out: failures at once, everything else in two steps.
//!
//! In come changes of links' states with their reasons; out come [`Output::Expect`] and [`Output::States`]. A path that is gone
//! carries nothing, so everybody leaves it as soon as he hears of it. A better path can wait: first each node that hears of it
//! lets in what will come that way, and only when all others have heard it as well, it sends that way itself. Whoever moves
//! first is expected everywhere; whoever moves last still finds the old path, since what comes over it is let in for a while
//! after a move. The ends of a link move a little before all others: who sends to a node that has yet to follow may be sent his
//! packets back. So no packet is lost where the device can take a source from two peers. A change that is taken back before
//! its time is never carried out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Output, Time};
use crate::limits::{EXPECT_EVERY_MS, EXPECT_MS, FOLLOW_MS, REASONS_NAMED_MAX, STATES_EVERY_MS};
use crate::names::Name;
use crate::plan::{LinkState, LinkStates};

/// What has been handed out, and what waits.
#[derive(Debug, Default)]
pub struct Handout {
    handed: LinkStates,
    /// Links whose change waits for the others to hear of it, with the time at which it is acted on.
    waiting: BTreeMap<(Name, Name), Time>,
    /// Whether states are to be handed out; none have been before the first.
    is_due: bool,
    has_begun: bool,
    /// Whether others are waiting than when that was last told.
    is_news: bool,
    states_at: Option<Time>,
    expect_at: Option<Time>,
    /// Why states have changed since they were last handed out.
    reasons: Vec<String>,
    /// How many more there are.
    unnamed: usize,
    /// How often states were handed out.
    pub count: u64,
}

impl Handout {
    /// A link's state is another one now; `is_own` if it is one of this node's.
    pub fn handle_change(&mut self, link: (&Name, &Name), is_own: bool, state: Option<LinkState>, now: Time) {
        let (a, b) = link;
        let link = (a.min(b).clone(), a.max(b).clone());
        if self.handed.of(a, b) == state {
            self.waiting.remove(&link);
            self.is_news |= !self.waiting.is_empty();
            return;
        }
        if state == Some(LinkState::Down) {
            self.waiting.remove(&link);
            self.handed.set(a, b, LinkState::Down);
            self.is_due = true;
        } else {
            self.waiting.insert(link, now.plus(if is_own { EXPECT } else { EXPECT + FOLLOW }));
        }
        self.is_news |= !self.waiting.is_empty();
    }

    /// Everything is to be handed out as it is: at the beginning, and when the network file is another one.
    pub fn handle_all(&mut self, states: &LinkStates, reason: String) {
        self.take_all(states);
        self.note(reason);
    }

    /// Hands out the first states.
    pub fn begin(&mut self, states: &LinkStates) {
        self.take_all(states);
        self.reasons.insert(0, "the node has looked around".to_owned());
        self.has_begun = true;
    }

    /// Whether states have been handed out.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// What is to be handed out, if anything; `states` is all that is known.
    pub fn poll(&mut self, states: &LinkStates, now: Time) -> Option<Output> {
        if !self.has_begun {
            return None;
        }
        if self.states_due() <= now {
            self.take_waiting(states, now);
            self.is_due = false;
            self.states_at = Some(now);
            self.count += 1;
            let mut reasons = std::mem::take(&mut self.reasons);
            let more = std::mem::take(&mut self.unnamed);
            if more > 0 {
                reasons.push(format!("and {more} more"));
            }
            return Some(Output::States { states: self.handed.clone(), reasons });
        }
        if self.expect_due() <= now {
            self.is_news = false;
            self.expect_at = Some(now);
            return Some(Output::Expect { states: states.clone() });
        }
        None
    }

    /// When [`Handout::poll`] has something.
    pub fn wake(&self) -> Time {
        if self.has_begun { self.states_due().min(self.expect_due()) } else { Time::NEVER }
    }

    fn take_all(&mut self, states: &LinkStates) {
        self.handed = states.clone();
        self.waiting.clear();
        (self.is_due, self.is_news) = (true, false);
    }

    /// Remembers why states have changed.
    pub fn note(&mut self, reason: String) {
        if self.reasons.len() < REASONS_NAMED_MAX {
            self.reasons.push(reason);
        } else {
            self.unnamed += 1;
        }
    }

    fn take_waiting(&mut self, states: &LinkStates, now: Time) {
        let handed = &mut self.handed;
        self.waiting.retain(|(a, b), due| {
            let is_over = *due <= now;
            match states.of(a, b) {
                _ if !is_over => {}
                Some(state) => handed.set(a, b, state),
                None => handed.clear(a, b),
            }
            !is_over
        });
    }

    fn states_due(&self) -> Time {
        let waited = self.waiting.values().min().copied().unwrap_or(Time::NEVER);
        let due = if self.is_due { Time::default() } else { waited };
        due.max(after(self.states_at, STATES_EVERY_MS))
    }

    fn expect_due(&self) -> Time {
        if self.is_news { after(self.expect_at, EXPECT_EVERY_MS) } else { Time::NEVER }
    }
}

const EXPECT: Duration = Duration::from_millis(EXPECT_MS);
const FOLLOW: Duration = Duration::from_millis(FOLLOW_MS);

/// The earliest time after the last time.
fn after(last: Option<Time>, pause_ms: u64) -> Time {
    last.map_or(Time::default(), |at| at.plus(Duration::from_millis(pause_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("it is one")
    }

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    /// A story of a link's states, each at a time in ms, and what comes out: for each output its time, `expect` or `states`,
    /// and what it says of the link.
    fn check(story: &[(u64, Option<LinkState>)], expected: &[(u64, &str, Option<LinkState>)]) {
        let (a, b) = (name("a"), name("b"));
        let (mut handout, mut states) = (Handout::default(), LinkStates::default());
        handout.begin(&states);
        assert!(matches!(handout.poll(&states, at(0)), Some(Output::States { .. })));
        let (mut story, mut out) = (story.iter().peekable(), Vec::new());
        for ms in 0..10_000 {
            while let Some((_, state)) = story.next_if(|(when, _)| *when == ms) {
                match state {
                    Some(state) => states.set(&a, &b, *state),
                    None => states.clear(&a, &b),
                }
                handout.handle_change((&b, &a), true, *state, at(ms));
            }
            let is_due = handout.wake() <= at(ms);
            while let Some(output) = handout.poll(&states, at(ms)) {
                assert!(is_due, "asked for at {ms}");
                match output {
                    Output::Expect { states } => out.push((ms, "expect", states.of(&a, &b))),
                    Output::States { states, .. } => out.push((ms, "states", states.of(&a, &b))),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(out, expected);
    }

    const DOWN: Option<LinkState> = Some(LinkState::Down);
    const SLOW: Option<LinkState> = Some(LinkState::Up { rtt_us: 90_000 });

    #[test]
    fn a_failure_is_handed_out_at_once() {
        check(&[(100, DOWN)], &[(100, "states", DOWN)]);
    }

    #[test]
    fn what_is_no_failure_is_expected_first_and_handed_out_when_all_have_heard_of_it() {
        check(
            &[(100, DOWN), (300, None)],
            &[(100, "states", DOWN), (300, "expect", None), (300 + EXPECT_MS, "states", None)],
        );
        check(&[(100, SLOW)], &[(100, "expect", SLOW), (100 + EXPECT_MS, "states", SLOW)]);
    }

    #[test]
    fn what_is_taken_back_in_time_is_never_carried_out() {
        check(&[(100, DOWN), (300, None), (700, DOWN)], &[(100, "states", DOWN), (300, "expect", None)]);
    }

    #[test]
    fn who_changes_his_mind_is_expected_anew_for_the_whole_time() {
        let last = 600 + EXPECT_MS;
        check(
            &[(100, SLOW), (600, None), (600, SLOW)],
            &[(100, "expect", SLOW), (600, "expect", SLOW), (last, "states", SLOW)],
        );
    }
}
