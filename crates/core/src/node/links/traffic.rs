//! Whether a link carries traffic, by the device's counters.
//!
//! The counters of WireGuard contain everything: data, our own probes, handshakes, keepalives. Own messages are
//! subtracted, whose size is known. Data messages are multiples of 16 bytes, initiations (148) and responses (92) are
//! not, so they are found by the remainder; packets that wait for a handshake are on no counter at all. Keepalives are smaller than any packet that carries something. A message that was
//! received may be on the counter before it is here, so of received bytes the lower of two readings counts: otherwise probes
//! would be taken for traffic, and traffic makes more probes.

use crate::limits::TRAFFIC_BYTES_MIN;

/// Bytes that WireGuard adds to a packet: type, receiver, counter, tag.
const SEAL_BYTES: u64 = 32;
const INITIATION_BYTES: u64 = 148;
const RESPONSE_BYTES: u64 = 92;

/// What has passed besides our own messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// Nothing, or keepalives and answers to handshakes.
    Nothing,
    /// The beginning of a handshake, and no more than that.
    Initiation,
    /// Others' packets.
    Packets,
}

/// One direction of a link.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes of our own messages.
    own: u64,
    /// The counter less our own messages: at the last reading, and when traffic was last seen.
    last: Option<i128>,
    counted: Option<i128>,
    /// Readings in a row that were below what was counted.
    below: u8,
}

/// The size of a control message or an echo on WireGuard's counters.
pub fn sealed_bytes(payload: usize, is_ipv6: bool) -> u64 {
    let packet = payload as u64 + 8 + if is_ipv6 { 40 } else { 20 };
    packet.next_multiple_of(16) + SEAL_BYTES
}

impl Traffic {
    /// A message of our own has passed.
    pub fn handle_own(&mut self, bytes: u64) {
        self.own += bytes;
    }

    /// Takes the counter of sent bytes, and says what was sent since.
    pub fn handle_sent(&mut self, counter: u64) -> Passed {
        self.handle(i128::from(counter) - i128::from(self.own))
    }

    /// The same for received bytes.
    pub fn handle_received(&mut self, counter: u64) -> Passed {
        let foreign = i128::from(counter) - i128::from(self.own);
        let last = self.last.replace(foreign).unwrap_or(foreign);
        self.handle(foreign.min(last))
    }

    fn handle(&mut self, foreign: i128) -> Passed {
        let before = *self.counted.get_or_insert(foreign);
        if foreign < before {
            // Our own message is counted here before it is counted there. If it stays away, it was never sent, or the
            // device is a new one.
            self.below += 1;
            if self.below >= 3 {
                (self.counted, self.below) = (Some(foreign), 0);
            }
            return Passed::Nothing;
        }
        (self.counted, self.below) = (Some(foreign), 0);
        passed(u64::try_from(foreign - before).unwrap_or(u64::MAX))
    }
}

/// What so many bytes were.
fn passed(bytes: u64) -> Passed {
    let fits = |initiations: u64, responses: u64| {
        let rest = bytes.checked_sub(initiations * INITIATION_BYTES + responses * RESPONSE_BYTES)?;
        rest.is_multiple_of(16).then_some((rest, initiations))
    };
    let tries = [(0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (3, 0), (0, 3), (2, 1), (1, 2)];
    match tries.into_iter().find_map(|(initiations, responses)| fits(initiations, responses)).unwrap_or((bytes, 0)) {
        (rest, _) if rest >= TRAFFIC_BYTES_MIN => Passed::Packets,
        (_, 0) => Passed::Nothing,
        _ => Passed::Initiation,
    }
}
