//! Whether a link carries traffic, by the device's counters.
//!
//! The counters of WireGuard contain everything: data, our own probes, handshakes, keepalives. Own messages are
//! subtracted, whose size is known. Data messages are multiples of 16 bytes, initiations (148) and responses (92) are
//! not, so they are found by the remainder. Keepalives are smaller than any packet that carries something.

use crate::limits::TRAFFIC_BYTES_MIN;

/// Bytes that WireGuard adds to a packet: type, receiver, counter, tag.
const SEAL_BYTES: u64 = 32;
const INITIATION_BYTES: u64 = 148;
const RESPONSE_BYTES: u64 = 92;

/// One direction of a link.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes of our own messages.
    own: u64,
    /// The counter less our own messages when traffic was last seen.
    foreign: Option<i128>,
    /// Readings in a row that were below it.
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

    /// Takes the device's counter. Says whether others' packets have passed since.
    pub fn handle_counter(&mut self, counter: u64) -> bool {
        let foreign = i128::from(counter) - i128::from(self.own);
        let Some(before) = self.foreign else {
            self.foreign = Some(foreign);
            return false;
        };
        if foreign < before {
            // Our own message is counted here before it is counted there. If it stays away, it was never sent, or the
            // device is a new one.
            self.below += 1;
            if self.below >= 3 {
                (self.foreign, self.below) = (Some(foreign), 0);
            }
            return false;
        }
        (self.foreign, self.below) = (Some(foreign), 0);
        without_handshakes(u64::try_from(foreign - before).unwrap_or(u64::MAX)) >= TRAFFIC_BYTES_MIN
    }
}

/// What is left of some bytes when handshakes are taken out of them.
fn without_handshakes(bytes: u64) -> u64 {
    let fits = |initiations: u64, responses: u64| {
        let rest = bytes.checked_sub(initiations * INITIATION_BYTES + responses * RESPONSE_BYTES)?;
        rest.is_multiple_of(16).then_some(rest)
    };
    let tries = [(0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (3, 0), (0, 3), (2, 1), (1, 2)];
    tries.into_iter().find_map(|(initiations, responses)| fits(initiations, responses)).unwrap_or(bytes)
}
