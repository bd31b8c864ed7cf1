//! A session: the keys of one completed handshake, its packet counter and its replay window.
//!
//! A [`Session`] is shared and needs no lock to seal, so that other threads can use it beside the tunnel that owns it. Time
//! limits are judged by the caller, who has the time. [`Sessions`] are the three slots of a peer, moved by the kernel's rule.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::peer::PeerId;
use super::replay::ReplayWindow;
use crate::limits::{REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES, Timing};
use crate::noise::cipher::TransportKey;
use crate::noise::handshake::SessionKeys;
use crate::noise::messages::{DATA_HEADER_BYTES, TAG_BYTES, write_data_header};
use crate::packet::PacketBuf;
use crate::time::Monotonic;

/// Who started the handshake of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This end.
    Initiator,
    /// The other end.
    Responder,
}

/// Why a data message was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It does not authenticate.
    Forged,
    /// Its counter was seen or is too old.
    Replayed,
}

/// The keys of one handshake.
#[derive(Debug)]
pub struct Session {
    /// Whose session it is.
    pub peer: PeerId,
    /// Who started it.
    pub role: Role,
    /// This end's name for it.
    pub local_index: u32,
    remote_index: u32,
    born: Monotonic,
    send: TransportKey,
    receive: TransportKey,
    counter: AtomicU64,
    window: Mutex<ReplayWindow>,
    expired: AtomicBool,
}

impl Session {
    /// A new session from a handshake's keys.
    pub fn new(
        peer: PeerId,
        role: Role,
        (local_index, remote_index): (u32, u32),
        keys: &SessionKeys,
        born: Monotonic,
    ) -> Session {
        Session {
            peer,
            role,
            local_index,
            remote_index,
            born,
            send: TransportKey::new(&keys.send),
            receive: TransportKey::new(&keys.receive),
            counter: AtomicU64::new(0),
            window: Mutex::default(),
            expired: AtomicBool::new(false),
        }
    }

    /// Pads and seals a packet in place into a data message. False, with the packet unchanged, when the counter is used up.
    pub fn seal(&self, packet: &mut PacketBuf, mtu: usize) -> bool {
        let Some(counter) = self.reserve(1) else { return false };
        packet.pad(padding(packet.len(), mtu) + TAG_BYTES);
        packet.prepend_header();
        self.seal_in_place(counter, packet.packet_mut());
        true
    }

    /// Takes `count` counters that nobody else will use, and returns the first; none when they are used up.
    pub fn reserve(&self, count: u64) -> Option<u64> {
        let left = |counter: u64| counter.checked_add(count).filter(|next| *next <= REJECT_AFTER_MESSAGES);
        self.counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).ok()
    }

    /// Makes a data message of a buffer that has room for the header, the padded packet, and room for the tag.
    pub fn seal_in_place(&self, counter: u64, message: &mut [u8]) {
        let Some((header, rest)) = message.split_first_chunk_mut::<DATA_HEADER_BYTES>() else { return };
        let Some((packet, tag)) = rest.split_last_chunk_mut::<TAG_BYTES>() else { return };
        write_data_header(header, self.remote_index, counter);
        *tag = self.send.seal(counter, packet);
    }

    /// Opens a data message in place; the padded packet is then between the room of header and tag.
    pub fn open(&self, counter: u64, message: &mut [u8]) -> Result<(), Rejection> {
        if !self.authenticate(counter, message) {
            return Err(Rejection::Forged);
        }
        if self.accept(counter) { Ok(()) } else { Err(Rejection::Replayed) }
    }

    /// The first half of opening: decrypts in place. True if the message is authentic; whether it is a replay is another question.
    pub fn authenticate(&self, counter: u64, message: &mut [u8]) -> bool {
        let sealed = message.get_mut(DATA_HEADER_BYTES..).filter(|sealed| sealed.len() >= TAG_BYTES);
        sealed.is_some_and(|sealed| self.receive.open(counter, sealed))
    }

    /// The second half: whether the counter of an authentic message is new; remembers it. To be asked in the order in which messages
    /// came, or one that other threads left behind would look older than it is.
    pub fn accept(&self, counter: u64) -> bool {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).accept(counter)
    }

    /// How old the session is.
    pub fn age(&self, now: Monotonic) -> std::time::Duration {
        now.since(self.born)
    }

    /// Whether the session may still seal.
    pub fn can_seal(&self, now: Monotonic, timing: &Timing) -> bool {
        !self.expired.load(Ordering::Relaxed)
            && self.age(now) < timing.reject_after
            && self.counter.load(Ordering::Relaxed) < REJECT_AFTER_MESSAGES
    }

    /// Whether the session may still open. Expiry by [`Session::expire`] concerns sealing only, as in the kernel.
    pub fn can_open(&self, now: Monotonic, timing: &Timing) -> bool {
        self.age(now) < timing.reject_after
    }

    /// Whether the session should be replaced when something is sent.
    ///
    /// That is the initiator's task. Where handshakes crossed, each end may have ended up with the other's session, so a responder
    /// that sees the end come takes it on itself; the kernel would wait for the end and only then start.
    pub fn is_stale_for_sending(&self, now: Monotonic, timing: &Timing) -> bool {
        let age_max = match self.role {
            Role::Initiator => timing.rekey_after,
            Role::Responder => timing.responder_rekey_after(),
        };
        self.counter.load(Ordering::Relaxed) > REKEY_AFTER_MESSAGES || self.age(now) >= age_max
    }

    /// Whether the session should be replaced when something is received: shortly before it ends.
    pub fn is_stale_for_receiving(&self, now: Monotonic, timing: &Timing) -> bool {
        self.role == Role::Initiator && self.age(now) >= timing.receive_rekey_after()
    }

    /// Forbids sealing from here on: the device's key changed.
    pub fn expire(&self) {
        self.expired.store(true, Ordering::Relaxed);
    }

    /// A session of nobody's, to test what it makes of packets.
    #[cfg(test)]
    pub fn for_test(indices: (u32, u32), keys: &SessionKeys) -> Session {
        Session::new(PeerId(0), Role::Initiator, indices, keys, Monotonic::default())
    }

    /// Sets the packet counter, to test what happens at its end.
    #[cfg(test)]
    pub fn set_counter(&self, counter: u64) {
        self.counter.store(counter, Ordering::Relaxed);
    }
}

/// Zeros to add so that lengths tell less, without exceeding the MTU (kernel: `calculate_skb_padding`).
pub fn padding(len: usize, mtu: usize) -> usize {
    let rounded = len.next_multiple_of(16);
    if mtu == 0 {
        return rounded - len;
    }
    let last = if len > mtu { len % mtu } else { len };
    last.next_multiple_of(16).min(mtu).saturating_sub(last)
}

/// A peer's sessions: the one in use, the one not yet confirmed, the one before; and one more where handshakes crossed.
///
/// The slots move by the kernel's rule (`add_new_keypair`), except when both ends start at once and each completes both
/// handshakes. There the kernel gives up a session that packets are still under way with, and two ends like this one would each go
/// on with its own session and both renew for ever. So the end with the smaller key gives way and follows the other.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Seals what is sent.
    pub current: Option<Arc<Session>>,
    /// Made as responder; becomes current when the initiator's first packet proves that it has the keys.
    pub next: Option<Arc<Session>>,
    /// Opens what was still under way when `current` changed.
    pub previous: Option<Arc<Session>>,
    /// Opens what comes by the session of a crossed pair that was not chosen.
    pub aside: Option<Arc<Session>>,
}

/// Sessions that lost their slot and have to leave the index table.
pub type Retired = [Option<Arc<Session>>; 4];

impl Sessions {
    /// Puts in a session whose handshake this end started, which is confirmed by the response. `crossed` is the index of the
    /// session of an initiation that came meanwhile; `gives_way` says that the other end's session is to be used then.
    pub fn put_initiated(&mut self, session: Arc<Session>, crossed: Option<u32>, gives_way: bool) -> Retired {
        let is_crossed =
            |slot: &Option<Arc<Session>>| slot.as_ref().is_some_and(|held| Some(held.local_index) == crossed);
        let aside = self.aside.take();
        if gives_way && is_crossed(&self.current) {
            self.aside = Some(session);
            return [aside, None, None, None];
        }
        let older = self.previous.take();
        self.previous = self.current.replace(session);
        let unconfirmed = match self.next.take() {
            next if is_crossed(&next) && gives_way => {
                self.next = next;
                None
            }
            next if is_crossed(&next) => {
                self.aside = next;
                None
            }
            next => next,
        };
        [aside, older, unconfirmed, None]
    }

    /// Puts in a session whose handshake the other end started; it waits for its first packet.
    pub fn put_responded(&mut self, session: Arc<Session>) -> Retired {
        [self.next.replace(session), self.previous.take(), None, None]
    }

    /// Notes that a packet came in by `session`. Some, with what lost its slot, if this confirmed the waiting session.
    pub fn confirm(&mut self, session: &Arc<Session>) -> Option<Retired> {
        if !self.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, session)) {
            return None;
        }
        let (older, aside) = (self.previous.take(), self.aside.take());
        self.previous = self.current.take();
        self.current = self.next.take();
        Some([older, aside, None, None])
    }

    /// Empties all slots.
    pub fn clear(&mut self) -> Retired {
        [self.current.take(), self.next.take(), self.previous.take(), self.aside.take()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_the_kernels() {
        for (len, mtu, expected) in [
            (0, 1420, 0),
            (1, 1420, 15),
            (16, 1420, 0),
            (1419, 1420, 1),
            (1420, 1420, 0),
            (1409, 1420, 11),
            (20, 0, 12),
        ] {
            assert_eq!(padding(len, mtu), expected, "{len} bytes at MTU {mtu}");
        }
    }

    #[test]
    fn a_session_ends_with_its_counter() {
        let keys = || SessionKeys { send: [1; 32].into(), receive: [1; 32].into() };
        let session = Session::new(PeerId(0), Role::Initiator, (1, 2), &keys(), Monotonic::default());
        session.set_counter(REJECT_AFTER_MESSAGES - 1);
        assert!(session.is_stale_for_sending(Monotonic::default(), &Timing::default()));
        assert!(session.seal(&mut PacketBuf::new(b"last"), 1420));
        assert!(!session.seal(&mut PacketBuf::new(b"none"), 1420));
        assert!(!session.can_seal(Monotonic::default(), &Timing::default()));
    }
}
