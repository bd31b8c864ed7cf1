//! What has been heard over one link: numbers that came and that are missing, round-trip times, the other end's run.
//!
//! Numbers of sent and received probes are kept in windows of 64. What is lost is counted over the last received numbers,
//! late ones filled in; a long silence begins the window anew, so that old losses are not held against a link. A round
//! trip is measured by the number that a probe says was heard, less the time for which it was held back there. What was sent
//! in a silence in which WireGuard's session may have ended waited for a handshake, and is not measured.

use std::time::Duration;

use crate::limits::{LOSS_SAMPLES_MIN, SESSION_FRESH_S};
use crate::node::Time;
use crate::node::exchange::wire::{AGO_LONG, Header};

/// Numbers that are remembered.
const WINDOW: u16 = 64;

/// A record of what was sent and heard.
#[derive(Debug)]
pub struct Hearing {
    boot: Option<u16>,
    /// The highest number heard, and when.
    latest: Option<(u16, Time)>,
    /// Bit n: whether the number n below the highest was heard.
    heard: u64,
    /// How many bits of it mean anything.
    seen: u16,
    sent: [Option<(u16, Time)>; WINDOW as usize],
    next: u16,
    /// Since when there has been no long silence: the first that was heard after one.
    fresh_since: Time,
    rtt_us: Option<u64>,
    variation_us: u64,
    /// What the other end says of its own losses, in 255ths.
    told_loss: u8,
}

/// What a probe turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The newest so far.
    New,
    /// The first of a new run of the other end's program.
    Restarted,
    /// Late: newer ones have been heard.
    Late,
    /// A copy of one that was heard.
    Again,
}

impl Default for Hearing {
    fn default() -> Hearing {
        Hearing {
            boot: None,
            latest: None,
            heard: 0,
            seen: 0,
            sent: [None; WINDOW as usize],
            next: 0,
            fresh_since: Time::default(),
            rtt_us: None,
            variation_us: 0,
            told_loss: 0,
        }
    }
}

impl Hearing {
    /// The number of the next probe to be sent.
    pub fn next_number(&self) -> u16 {
        self.next
    }

    /// Notes that it is sent.
    pub fn handle_sent(&mut self, now: Time) {
        self.sent[usize::from(self.next % WINDOW)] = Some((self.next, now));
        self.next = self.next.wrapping_add(1);
    }

    /// Takes a probe's header.
    pub fn handle(&mut self, header: &Header, now: Time) -> Heard {
        let restarted = self.boot.is_some_and(|boot| boot != header.boot);
        let before = self.latest.map(|(_, at)| at);
        let silent = before.is_none_or(|at| now.since(at).as_secs() >= SESSION_FRESH_S);
        if restarted || silent {
            (self.latest, self.fresh_since) = (None, now);
        }
        self.boot = Some(header.boot);
        let heard = self.count(header.number, now);
        if heard == Heard::New {
            self.told_loss = header.loss;
            self.measure(header, now);
        }
        if restarted && heard == Heard::New { Heard::Restarted } else { heard }
    }

    /// The link works again: what was lost while it did not says nothing about it.
    pub fn forgive(&mut self) {
        (self.latest, self.told_loss) = (None, 0);
    }

    /// The highest number heard, and how long ago, for the next header.
    pub fn heard(&self, now: Time) -> Option<(u16, u16)> {
        let (number, at) = self.latest?;
        Some((number, u16::try_from(now.since(at).as_micros() / 10).unwrap_or(AGO_LONG)))
    }

    /// The part of the other end's probes that was lost, in 255ths.
    pub fn loss(&self) -> u8 {
        if self.seen < LOSS_SAMPLES_MIN {
            return 0;
        }
        let lost = u32::from(self.seen) - (self.heard & mask(self.seen)).count_ones();
        (lost * 255 / u32::from(self.seen)) as u8
    }

    /// The part of round trips that fail, in thousandths, by what both ends have counted.
    pub fn loss_both_ways_permille(&self) -> u32 {
        let arrives = |loss: u8| 255 - u32::from(loss);
        1_000 - arrives(self.loss()) * arrives(self.told_loss) * 1_000 / (255 * 255)
    }

    /// The smoothed round-trip time in microseconds, once there is one.
    pub fn rtt_us(&self) -> Option<u64> {
        self.rtt_us
    }

    /// A time within which nearly all answers come; none before anything was measured.
    pub fn patience(&self) -> Option<Duration> {
        self.rtt_us.map(|rtt_us| Duration::from_micros(rtt_us + rtt_us / 4 + 4 * self.variation_us))
    }

    /// How much round-trip times vary.
    pub fn variation(&self) -> Duration {
        Duration::from_micros(self.variation_us)
    }

    fn count(&mut self, number: u16, now: Time) -> Heard {
        let Some((latest, _)) = self.latest else {
            (self.latest, self.heard, self.seen) = (Some((number, now)), 1, 1);
            return Heard::New;
        };
        let ahead = number.wrapping_sub(latest);
        if ahead == 0 {
            return Heard::Again;
        }
        if ahead < 1 << 15 {
            self.heard = if ahead < WINDOW { self.heard << ahead | 1 } else { 1 };
            self.seen = if ahead < WINDOW { (self.seen + ahead).min(WINDOW) } else { 1 };
            self.latest = Some((number, now));
            return Heard::New;
        }
        let behind = latest.wrapping_sub(number);
        let bit = if behind < WINDOW { 1 << behind } else { 0 };
        if bit == 0 || self.heard & bit != 0 {
            return Heard::Again;
        }
        self.heard |= bit;
        Heard::Late
    }

    fn measure(&mut self, header: &Header, now: Time) {
        let Some((number, ago)) = header.heard.filter(|(_, ago)| *ago != AGO_LONG) else { return };
        let Some((_, at)) = self.sent[usize::from(number % WINDOW)].filter(|(sent, _)| *sent == number) else { return };
        if at <= self.fresh_since {
            return;
        }
        let us = now.since(at).as_micros() as u64;
        let us = us.saturating_sub(u64::from(ago) * 10);
        // RFC 6298, with an eighth and a quarter.
        match self.rtt_us {
            None => (self.rtt_us, self.variation_us) = (Some(us), us / 4),
            Some(rtt_us) => {
                self.variation_us = (3 * self.variation_us + rtt_us.abs_diff(us)) / 4;
                self.rtt_us = Some((7 * rtt_us + us) / 8);
            }
        }
    }
}

fn mask(bits: u16) -> u64 {
    if bits >= WINDOW { u64::MAX } else { (1 << bits) - 1 }
}
