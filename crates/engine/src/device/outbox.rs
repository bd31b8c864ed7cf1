//! Outgoing datagrams, laid out one behind the other in one buffer, in the order in which they leave.
//!
//! Datagrams of equal length to one place lie close together and so make one message that the kernel cuts (UDP GSO): a train. The
//! last of a train may be shorter. The owner appends and fills the places it gets, seals them or leaves them unsealed, and hands the
//! outbox on or seals the rest, sends everything and so empties it.

use std::ops::Range;

use super::sys::socket::Message;
use super::udp::{Failure, Sockets};
use crate::limits::{
    OUTBOX_BYTES, OUTBOX_SENT_FROM_BYTES, OUTBOX_SHARED_FROM_BYTES, TRAIN_BYTES_MAX, TRAIN_DATAGRAMS_MAX,
};
use crate::time::Monotonic;
use crate::tunnel::{Departure, Endpoint, PeerId};

/// To whom and how a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// From where to where.
    pub endpoint: Endpoint,
    /// To which peer, if any.
    pub peer: Option<PeerId>,
    /// The IP header's TOS or traffic class.
    pub tos: u8,
}

/// Datagrams to send.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Made when first needed: an idle device has no buffer.
    bytes: Vec<u8>,
    used: usize,
    messages: Vec<Message>,
    peers: Vec<Option<PeerId>>,
    /// What it takes to seal the datagrams that are not sealed.
    departures: Vec<Departure>,
    unsealed: Vec<Unsealed>,
}

#[derive(Debug)]
struct Unsealed {
    /// Which of the departures, and which packet of it.
    departure: usize,
    nth: u64,
    range: Range<usize>,
}

impl Outbox {
    /// Room for one more datagram of `len` bytes, filled with whatever was there; none if the outbox has to be sent first. With
    /// `trains`, it may become part of one.
    pub fn append(&mut self, to: &Address, len: usize, trains: bool) -> Option<&mut [u8]> {
        if self.bytes.is_empty() {
            self.bytes = vec![0; OUTBOX_BYTES];
        }
        let range = self.used..self.used + len;
        let place = self.bytes.get_mut(range.clone())?;
        self.used = range.end;
        match self.messages.last_mut() {
            Some(train) if trains && takes(train, to, len) && self.peers.last() == Some(&to.peer) => {
                train.range.end = range.end;
            }
            _ => {
                self.messages.push(Message { endpoint: to.endpoint, tos: to.tos, range, segment: len.max(1) });
                self.peers.push(to.peer);
            }
        }
        Some(place)
    }

    /// Whether a datagram of `len` bytes fits behind what is there.
    pub fn has_room(&self, len: usize) -> bool {
        self.used + len <= OUTBOX_BYTES
    }

    /// Whether waiting for more is no use, or keeps another thread waiting.
    pub fn is_full(&self, shared: bool) -> bool {
        self.used >= if shared { OUTBOX_SHARED_FROM_BYTES } else { OUTBOX_SENT_FROM_BYTES }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The datagram of `len` bytes that was appended last is packet number `nth` of a departure, and not sealed.
    pub fn leave_unsealed(&mut self, departure: &Departure, nth: u64, len: usize) {
        if !self.departures.last().is_some_and(|last| last.is(departure)) {
            self.departures.push(departure.clone());
        }
        let (departure, range) = (self.departures.len() - 1, self.used.saturating_sub(len)..self.used);
        self.unsealed.push(Unsealed { departure, nth, range });
    }

    /// Whether there is something to seal.
    pub fn has_unsealed(&self) -> bool {
        !self.unsealed.is_empty()
    }

    /// Seals what is not sealed.
    pub fn seal(&mut self) {
        for Unsealed { departure, nth, range } in self.unsealed.drain(..) {
            if let (Some(departure), Some(place)) = (self.departures.get(departure), self.bytes.get_mut(range)) {
                departure.seal(nth, place);
            }
        }
        self.departures.clear();
    }

    /// Sends everything in order, and is empty then. Reports each failure with the peer that it concerns.
    pub fn send(&mut self, now: Monotonic, sockets: &Sockets, mut report: impl FnMut(Option<PeerId>, Failure)) {
        sockets.send(now, &self.bytes, &self.messages, |message, failure| {
            report(self.peers.get(message).copied().flatten(), failure);
        });
        self.clear();
    }

    /// Forgets everything.
    fn clear(&mut self) {
        self.used = 0;
        self.messages.clear();
        self.peers.clear();
        self.departures.clear();
        self.unsealed.clear();
    }
}

/// Whether one more datagram can be hung to a message.
fn takes(train: &Message, to: &Address, len: usize) -> bool {
    let all_are_full = train.range.len() == train.datagrams() * train.segment;
    all_are_full
        && len <= train.segment
        && len > 0
        && train.datagrams() < TRAIN_DATAGRAMS_MAX
        && train.range.len() + len <= TRAIN_BYTES_MAX
        && train.tos == to.tos
        && train.endpoint == to.endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> Address {
        Address { endpoint: Endpoint::from(std::net::SocketAddr::from(([192, 0, 2, 1], port))), peer: None, tos: 0 }
    }

    /// Appends datagrams of these lengths (and ports); gives the messages as lengths of datagram and of all.
    fn check(datagrams: &[(u16, usize)], trains: bool, expected: &[(usize, usize)]) {
        let mut outbox = Outbox::default();
        for (port, len) in datagrams {
            assert_eq!(outbox.append(&to(*port), *len, trains).unwrap().len(), *len);
        }
        let messages: Vec<_> = outbox.messages.iter().map(|m| (m.segment, m.range.len())).collect();
        assert_eq!(messages, expected);
    }

    #[test]
    fn equal_datagrams_to_one_place_make_a_train_that_a_shorter_one_ends() {
        check(&[(1, 100), (1, 100), (1, 100)], true, &[(100, 300)]);
        check(&[(1, 100), (1, 100), (1, 100)], false, &[(100, 100); 3]);
        check(&[(1, 100), (1, 40), (1, 40), (1, 100)], true, &[(100, 140), (40, 40), (100, 100)]);
        check(&[(1, 100), (2, 100), (1, 100)], true, &[(100, 100); 3]);
        check(&[(1, 1400); 47], true, &[(1400, 46 * 1400), (1400, 1400)]);
        check(&[(1, 50); 65], true, &[(50, 64 * 50), (50, 50)]);
    }

    #[test]
    fn what_does_not_fit_is_refused_until_all_is_sent() {
        let mut outbox = Outbox::default();
        while outbox.append(&to(1), 1400, true).is_some() {}
        assert!(outbox.is_full(false));
        outbox.clear();
        assert!(outbox.is_empty() && !outbox.is_full(true));
        assert!(outbox.append(&to(1), 65_535, true).is_some());
    }
}
