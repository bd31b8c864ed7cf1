//! Outgoing datagrams, laid out one behind the other in one buffer, in the order in which they leave.
//!
//! Datagrams of equal length to one place lie close together and so make one message that the kernel cuts (UDP GSO): a train. The
//! last of a train may be shorter. The owner appends and fills the places it gets, then sends everything and clears.

use super::sys::socket::Message;
use crate::limits::{OUTBOX_BYTES, OUTBOX_SENT_FROM_BYTES, TRAIN_BYTES_MAX, TRAIN_DATAGRAMS_MAX};
use crate::tunnel::{Endpoint, PeerId};

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

    /// Whether waiting for more is no use.
    pub fn is_full(&self) -> bool {
        self.used >= OUTBOX_SENT_FROM_BYTES
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The buffer that the messages are in.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What to send, in order.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// To which peer a message goes.
    pub fn peer(&self, message: usize) -> Option<PeerId> {
        self.peers.get(message).copied().flatten()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.used = 0;
        self.messages.clear();
        self.peers.clear();
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
        let messages: Vec<_> = outbox.messages().iter().map(|m| (m.segment, m.range.len())).collect();
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
        assert!(outbox.is_full());
        outbox.clear();
        assert!(outbox.is_empty() && !outbox.is_full());
        assert!(outbox.append(&to(1), 65_535, true).is_some());
    }
}
