//! A peer's timers, and the order in which the peers of a device have to be looked at.
//!
//! Each peer has the kernel's five timers ([`Timer`]). Packets move them all the time, so they are plain fields; only the earliest
//! matters to the device. [`Deadlines`] keeps one entry for each peer that has any timer running, and moves it lazily: a deadline
//! that gets later is noticed when the old one fires. So a busy peer touches the ordered set every few seconds, and an idle
//! peer is not in it at all.

use std::collections::BTreeSet;

use super::peer::PeerId;
use crate::time::Monotonic;

/// The kernel's timers (`timers.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// No response came: send another initiation.
    Retransmit,
    /// Data came and nothing was sent back: send a keepalive.
    Keepalive,
    /// Data was sent and nothing came back: start a handshake.
    NewHandshake,
    /// No session was made for three lifetimes: wipe all keys.
    ZeroKeys,
    /// Send a keepalive whatever happens.
    Persistent,
}

const TIMERS: [Timer; 5] =
    [Timer::Retransmit, Timer::Keepalive, Timer::NewHandshake, Timer::ZeroKeys, Timer::Persistent];

/// When each timer of one peer fires.
#[derive(Debug, Default)]
pub struct PeerTimers {
    at: [Option<Monotonic>; TIMERS.len()],
    /// The peer's entry in [`Deadlines`].
    armed: Option<Monotonic>,
}

impl PeerTimers {
    /// Starts or moves a timer.
    pub fn set(&mut self, timer: Timer, at: Monotonic) {
        self.at[timer as usize] = Some(at);
    }

    /// Starts a timer that does not run.
    pub fn set_if_idle(&mut self, timer: Timer, at: Monotonic) {
        self.at[timer as usize].get_or_insert(at);
    }

    /// Stops a timer.
    pub fn stop(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    /// Stops all timers.
    pub fn stop_all(&mut self) {
        self.at = Default::default();
    }

    /// Whether a timer runs.
    pub fn is_running(&self, timer: Timer) -> bool {
        self.at[timer as usize].is_some()
    }

    /// Takes one timer that is due, and stops it.
    pub fn poll(&mut self, now: Monotonic) -> Option<Timer> {
        let due = TIMERS.into_iter().find(|timer| self.at[*timer as usize].is_some_and(|at| at <= now))?;
        self.stop(due);
        Some(due)
    }

    fn earliest(&self) -> Option<Monotonic> {
        self.at.iter().flatten().min().copied()
    }
}

/// The next deadline of each peer that has one.
#[derive(Debug, Default)]
pub struct Deadlines(BTreeSet<(Monotonic, PeerId)>);

impl Deadlines {
    /// Makes sure that the peer is looked at no later than its earliest timer. To be called after each change.
    pub fn arm(&mut self, peer: PeerId, timers: &mut PeerTimers) {
        let Some(earliest) = timers.earliest() else { return self.disarm(peer, timers) };
        if timers.armed.is_none_or(|armed| earliest < armed) {
            self.disarm(peer, timers);
            self.0.insert((earliest, peer));
            timers.armed = Some(earliest);
        }
    }

    /// Forgets the peer.
    pub fn disarm(&mut self, peer: PeerId, timers: &mut PeerTimers) {
        if let Some(armed) = timers.armed.take() {
            self.0.remove(&(armed, peer));
        }
    }

    /// When to look next.
    pub fn earliest(&self) -> Option<Monotonic> {
        self.0.first().map(|(at, _)| *at)
    }

    /// A peer whose deadline has come. Its timers may turn out to be later; the caller polls and arms them.
    pub fn peek_due(&self, now: Monotonic) -> Option<PeerId> {
        self.0.first().filter(|(at, _)| *at <= now).map(|(_, peer)| *peer)
    }

    /// Number of peers with a deadline.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
