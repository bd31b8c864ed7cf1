//! The wire of one link, with the part of WireGuard that matters here: sessions, handshakes, keepalives, counters.
//!
//! A message needs a session of at most 180 s; without one a handshake goes first, and if any of its messages is lost,
//! nothing passes for 5 s. A session of more than 120 s is renewed when something is sent. Whoever has received something
//! and sends nothing for 10 s sends a keepalive; whoever has sent something and hears nothing for 15 s begins a handshake. All that passes is counted twice: as WireGuard counts it, and as the
//! underlay carries it.

use crate::random::Dice;

pub const MS: u64 = 1_000;
pub const S: u64 = 1_000_000;

const INITIATION: u64 = 148;
const RESPONSE: u64 = 92;
const KEEPALIVE: u64 = 32;

/// What is counted at one end.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counted {
    /// As WireGuard counts.
    pub sent: u64,
    pub received: u64,
    /// Of which others' packets.
    pub foreign_sent: u64,
    pub foreign_received: u64,
    /// Messages, for the underlay's headers.
    pub messages_sent: u64,
    pub messages_received: u64,
}

pub struct Wire {
    /// The two ends' numbers, the smaller first.
    pub ends: [usize; 2],
    pub one_way_us: u64,
    pub jitter_us: u64,
    /// From each end: whether nothing passes, and how many of a thousand packets are lost or come twice.
    pub cut: [bool; 2],
    pub loss_permille: [u64; 2],
    /// Which ends have no device.
    pub gone: [bool; 2],
    pub twice_permille: u64,
    pub counted: [Counted; 2],
    session_at: Option<u64>,
    /// After a lost handshake message.
    blocked_until: u64,
    /// When each end last sent anything.
    sent_at: [Option<u64>; 2],
    /// Since when each end has sent something and heard nothing.
    unanswered_since: [Option<u64>; 2],
    /// When each end has to send a keepalive.
    pub keepalive_at: [Option<u64>; 2],
}

impl Wire {
    pub fn new(ends: [usize; 2], one_way_us: u64) -> Wire {
        Wire {
            ends,
            one_way_us,
            jitter_us: one_way_us / 20 + 200,
            cut: [false; 2],
            loss_permille: [0; 2],
            gone: [false; 2],
            twice_permille: 0,
            counted: [Counted::default(); 2],
            session_at: None,
            blocked_until: 0,
            sent_at: [None; 2],
            unanswered_since: [None; 2],
            keepalive_at: [None; 2],
        }
    }

    /// The device of an end is gone, and its sessions with it.
    pub fn forget(&mut self) {
        (self.session_at, self.blocked_until, self.keepalive_at) = (None, 0, [None; 2]);
        self.unanswered_since = [None; 2];
    }

    /// Whether packets pass both ways, however many are lost.
    pub fn works(&self) -> bool {
        self.cut == [false; 2]
    }

    fn passes(&self, from: usize, dice: &mut Dice) -> bool {
        !self.cut[from] && !self.gone[1 - from] && dice.roll(1_000) >= self.loss_permille[from]
    }

    fn count(&mut self, from: usize, bytes: u64, arrives: bool, foreign: bool) {
        let sender = &mut self.counted[from];
        sender.sent += bytes;
        sender.messages_sent += u64::from(!foreign);
        sender.foreign_sent += if foreign { bytes } else { 0 };
        if arrives {
            let receiver = &mut self.counted[1 - from];
            receiver.received += bytes;
            receiver.messages_received += u64::from(!foreign);
            receiver.foreign_received += if foreign { bytes } else { 0 };
        }
    }

    /// Whether an end has sent nothing for as long as the engine calls a pause.
    pub fn pauses(&self, from: usize, now: u64) -> bool {
        self.sent_at[from].is_none_or(|at| now - at >= 2 * S)
    }

    /// Sends a sealed packet of so many bytes from an end. Returns when it arrives, if it does; twice for a copy.
    pub fn send(&mut self, from: usize, bytes: u64, foreign: bool, now: u64, dice: &mut Dice) -> Vec<u64> {
        self.sent_at[from] = Some(now);
        let Some(ready) = self.session(from, now, dice) else { return Vec::new() };
        let arrives = self.passes(from, dice);
        // What agents are told is counted when they are.
        self.count(from, bytes, arrives && foreign, foreign);
        self.keepalive_at[from] = None;
        self.unanswered_since[from].get_or_insert(now);
        if !arrives {
            return Vec::new();
        }
        self.unanswered_since[1 - from] = None;
        let delay = |dice: &mut Dice| self.one_way_us + dice.roll(self.jitter_us + 1);
        let mut all = vec![ready + delay(dice)];
        if dice.roll(1_000) < self.twice_permille {
            all.push(ready + 3 * delay(dice));
        }
        self.keepalive_at[1 - from].get_or_insert(all[0] + 10 * S);
        all
    }

    /// A message of an agent, or an echo, has come to an end.
    pub fn arrive(&mut self, at: usize, bytes: u64) {
        self.counted[at].received += bytes;
        self.counted[at].messages_received += 1;
    }

    /// A keepalive that is due.
    pub fn keep_alive(&mut self, from: usize, dice: &mut Dice) {
        self.keepalive_at[from] = None;
        let arrives = self.passes(from, dice);
        if arrives {
            self.unanswered_since[1 - from] = None;
        }
        self.count(from, KEEPALIVE, arrives, false);
    }

    /// How long ago the last handshake was.
    pub fn handshake_age(&self, now: u64) -> Option<u64> {
        self.session_at.filter(|at| *at <= now).map(|at| now - at)
    }

    /// When a session is there, if one can be had.
    fn session(&mut self, from: usize, now: u64, dice: &mut Dice) -> Option<u64> {
        let age = self.session_at.map(|at| now.saturating_sub(at));
        if self.unanswered_since[from].is_some_and(|since| now - since >= 15 * S) && now >= self.blocked_until {
            self.blocked_until = now + 5 * S;
            if self.handshake(from, dice) {
                self.session_at = Some(now + 2 * self.one_way_us);
                (self.blocked_until, self.unanswered_since[from]) = (0, None);
            }
        }
        match age {
            Some(age) if age < 120 * S => return self.session_at.map(|at| at.max(now)),
            Some(age) if age < 180 * S => {
                if self.handshake(from, dice) {
                    self.session_at = Some(now);
                }
                return Some(now);
            }
            _ => {}
        }
        if now < self.blocked_until {
            return None;
        }
        if !self.handshake(from, dice) {
            self.blocked_until = now + 5 * S;
            return None;
        }
        self.session_at = Some(now + 2 * self.one_way_us);
        self.session_at
    }

    fn handshake(&mut self, from: usize, dice: &mut Dice) -> bool {
        let there = self.passes(from, dice);
        self.count(from, INITIATION, there, false);
        let back = there && self.passes(1 - from, dice);
        if there {
            self.count(1 - from, RESPONSE, back, false);
        }
        back
    }
}
