//! One peer: its keys, sessions, waiting packets and timers, moved exactly as the kernel's module moves them.
//!
//! The kernel's names for what happens (`timers.c`) are kept: *data sent*, *any authenticated packet received*, and so on. Methods
//! take the time and the device's [`Shared`] part, change the peer and leave messages in `shared.out`. The five timers:
//! retransmit (5 s + jitter after an initiation, at most 18 times), keepalive (10 s after data came and nothing left), new handshake
//! (15 s after data left and nothing came), zero keys (three session lifetimes after the last session), persistent keepalive.
//! The caller arms the peer's deadline after each call.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::session::{Retired, Session, Sessions};
use super::timers::{PeerTimers, Timer};
use super::{Departure, Endpoint, Shared, Transmit};
use crate::config::Event;
use crate::keys::{PresharedKey, PublicKey};
use crate::limits::{CALLED_REMINDER, CALLED_SETTLES, SENDING_PAUSE, STAGED_PACKETS_MAX, Timing};
use crate::noise::cookie::PeerMacs;
use crate::noise::handshake::{Identity, Initiator, StaticSecret, initiate};
use crate::noise::messages::INITIATION_BYTES;
use crate::packet::PacketBuf;
use crate::time::{Monotonic, Now, Tai64N};

/// A peer's place in its tunnel. Used again after the peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// Some of a tunnel's peers.
#[derive(Debug, Default)]
pub struct PeerSet(Vec<u64>);

impl PeerSet {
    /// Puts a peer in.
    pub fn insert(&mut self, id: PeerId) {
        let (word, bit) = (id.0 as usize / 64, id.0 % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    /// Takes a peer out.
    pub fn remove(&mut self, id: PeerId) {
        if let Some(word) = self.0.get_mut(id.0 as usize / 64) {
            *word &= !(1 << (id.0 % 64));
        }
    }

    /// Takes all out.
    pub fn drain(&mut self) -> impl Iterator<Item = PeerId> {
        self.0.iter_mut().zip(0_u32..).flat_map(|(word, at)| {
            let mut left = std::mem::take(word);
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(PeerId(at * 64 + bit))
            })
        })
    }
}

/// Before or after: peers and prefixes are shown in the order in which they came, so that a saved configuration reads as it was
/// written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(u64);

impl Sequence {
    /// The next one.
    pub fn next(&mut self) -> Sequence {
        self.0 += 1;
        *self
    }
}

/// An initiation that waits for its response.
pub struct PendingInitiation {
    /// The index reserved for it.
    pub local_index: u32,
    /// The handshake's state.
    pub initiator: Initiator,
    /// The session that answers an initiation of the other end, if one came while this one waited.
    pub crossed_by: Option<u32>,
    /// What was sent.
    pub message: [u8; INITIATION_BYTES],
}

/// A call at an address where a peer may be.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    pub place: SocketAddr,
    /// When it answered from there.
    pub answered: Option<Monotonic>,
    reminded: Option<Monotonic>,
}

impl Called {
    /// It has not answered yet.
    pub fn at(place: SocketAddr) -> Called {
        Called { place, answered: None, reminded: None }
    }
}

/// Everything about one peer.
pub struct Peer {
    /// Its place.
    pub id: PeerId,
    /// Its name.
    pub public_key: PublicKey,
    /// When it was made.
    pub added: Sequence,
    /// All zero if there is none.
    pub psk: PresharedKey,
    /// The secret of both static keys. Computed when first needed: ten thousand of them take a third of a second.
    static_secret: Option<StaticSecret>,
    /// Signs handshake messages to it.
    pub macs: PeerMacs,
    /// Where it is.
    pub endpoint: Option<Endpoint>,
    /// Seconds; 0 is off.
    pub persistent_keepalive_s: u16,
    /// Its prefixes, each with when it was given: the other direction of the trie.
    pub allowed_ips: BTreeMap<IpNet, Sequence>,
    /// Its sessions.
    pub sessions: Sessions,
    /// Its timers.
    pub timers: PeerTimers,
    /// This end's initiation, if one waits. Apart from what the other end may start, so that crossing handshakes both complete.
    pub pending: Option<Box<PendingInitiation>>,
    /// The greatest timestamp that it has sent.
    pub latest_timestamp: Tai64N,
    /// Its clock in the initiation that this end answered last; reported when that session is confirmed.
    pub answered_timestamp: Option<Tai64N>,
    /// When its last initiation was accepted.
    pub initiation_accepted: Option<Monotonic>,
    /// When a handshake message was last sent to it.
    pub handshake_sent: Option<Monotonic>,
    /// Bytes accepted from it.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// Wall-clock time of its last completed handshake.
    pub last_handshake: Option<Duration>,
    /// The timestamp of the last initiation to it.
    pub timestamp_sent: Option<Tai64N>,
    /// Where it was called that may have been elsewhere.
    pub called: Option<Called>,
    staged: VecDeque<PacketBuf>,
    /// When packets for it last came.
    packets_at: Option<Monotonic>,
    attempts: u32,
    sent_lastminute_handshake: bool,
    need_another_keepalive: bool,
}

impl Peer {
    /// A peer that has only its key.
    pub fn new(id: PeerId, public_key: PublicKey, added: Sequence) -> Peer {
        Peer {
            id,
            public_key,
            added,
            psk: PresharedKey::default(),
            static_secret: None,
            macs: PeerMacs::new(&public_key),
            endpoint: None,
            persistent_keepalive_s: 0,
            allowed_ips: BTreeMap::new(),
            sessions: Sessions::default(),
            timers: PeerTimers::default(),
            pending: None,
            latest_timestamp: Tai64N::default(),
            answered_timestamp: None,
            initiation_accepted: None,
            handshake_sent: None,
            rx_bytes: 0,
            tx_bytes: 0,
            last_handshake: None,
            timestamp_sent: None,
            called: None,
            staged: VecDeque::new(),
            packets_at: None,
            attempts: 0,
            sent_lastminute_handshake: false,
            need_another_keepalive: false,
        }
    }

    /// The secret of both static keys.
    pub fn static_secret(&mut self, identity: &Identity) -> &StaticSecret {
        self.static_secret.get_or_insert_with(|| identity.static_secret(&self.public_key))
    }

    /// The device's key changed: ends what belongs to the old one. The next handshake need not wait for the last one's time.
    pub fn handle_identity_changed(&mut self, shared: &mut Shared) {
        self.static_secret = None;
        self.clear_pending(shared);
        self.handshake_sent = None;
        for session in [&self.sessions.current, &self.sessions.next].into_iter().flatten() {
            session.expire();
        }
    }

    /// Keeps a packet until it can be sent; the oldest goes when there are too many.
    pub fn stage(&mut self, packet: PacketBuf, shared: &mut Shared) {
        if self.staged.len() >= STAGED_PACKETS_MAX {
            self.staged.pop_front();
            shared.out.counters.tx_staged_dropped += 1;
        }
        self.staged.push_back(packet);
    }

    /// Drops what waits.
    pub fn purge_staged(&mut self, shared: &mut Shared) {
        shared.out.counters.tx_staged_dropped += self.staged.iter().filter(|packet| !packet.is_empty()).count() as u64;
        self.staged = VecDeque::new();
    }

    /// Seals and sends what waits, or starts a handshake for it.
    pub fn send_staged(&mut self, now: Now, shared: &mut Shared) {
        if self.staged.is_empty() || self.endpoint.is_none() || !shared.up {
            return;
        }
        let mut data_sent = false;
        let usable = |session: &&Arc<Session>| session.can_seal(now.monotonic, &shared.timing);
        if let Some(session) = self.sessions.current.as_ref().filter(usable).cloned() {
            while let Some(mut packet) = self.staged.pop_front() {
                let is_keepalive = packet.is_empty();
                if !session.seal(&mut packet, shared.mtu) {
                    self.staged.push_front(packet);
                    break;
                }
                data_sent |= !is_keepalive;
                shared.out.counters.tx_packets += u64::from(!is_keepalive);
                self.transmit(packet, shared);
            }
            self.note_any_sent(now);
            if data_sent {
                self.note_data_sent(now, shared);
            }
            self.keep_key_fresh_sending(now, shared);
        }
        if !self.staged.is_empty() {
            self.send_initiation(now, shared, false);
        }
    }

    /// Reserves what it takes to seal `packets` packets at once into datagrams of `bytes` bytes, and counts them as sent. None,
    /// with nothing changed, if they have to wait or to take their turn behind others.
    pub fn depart(&mut self, now: Now, packets: u64, bytes: u64, shared: &mut Shared) -> Option<Departure> {
        let endpoint = self.endpoint?;
        if !self.staged.is_empty() || !shared.up {
            return None;
        }
        let usable = |session: &&Arc<Session>| session.can_seal(now.monotonic, &shared.timing);
        let session = Arc::clone(self.sessions.current.as_ref().filter(usable)?);
        let first_counter = session.reserve(packets)?;
        shared.out.counters.tx_packets += packets;
        self.tx_bytes += bytes;
        shared.news.insert(self.id);
        self.note_any_sent(now);
        self.note_data_sent(now, shared);
        self.note_packets(now, shared);
        self.keep_key_fresh_sending(now, shared);
        Some(Departure { peer: self.id, endpoint, session, first_counter })
    }

    /// Sends what waits or, if nothing does, an empty packet.
    pub fn send_keepalive(&mut self, now: Now, shared: &mut Shared) {
        if self.endpoint.is_none() {
            return;
        }
        if self.staged.is_empty() {
            self.staged.push_back(PacketBuf::new(&[]));
        }
        self.send_staged(now, shared);
    }

    /// Starts a handshake, unless one was started or answered just before.
    pub fn send_initiation(&mut self, now: Now, shared: &mut Shared, is_retry: bool) {
        if !is_retry {
            self.attempts = 0;
        }
        let timeout = shared.timing.rekey_timeout;
        let recent = self.handshake_sent.is_some_and(|sent| now.monotonic.since(sent) < timeout);
        let Some(identity) = &shared.identity else { return };
        if self.endpoint.is_none() || !shared.up {
            return;
        }
        if let Some(sent) = self.handshake_sent.filter(|_| recent) {
            // Try later, or what waits would wait for ever if the handshake answered just now never completes.
            let jitter = jitter(shared);
            self.timers.set_if_idle(Timer::Retransmit, sent + timeout + jitter);
            return;
        }
        self.handshake_sent = Some(now.monotonic);
        // The wall clock may have stepped back since the last initiation; the other end would take a smaller stamp for a replay.
        let clock = Tai64N::from_unix(now.unix);
        let timestamp = self.timestamp_sent.map_or(clock, |sent| clock.max(sent.successor()));
        self.timestamp_sent = Some(timestamp);
        let index = shared.indices.reserve(self.id, shared.rng.as_mut());
        let public_key = self.public_key;
        let made = initiate(identity, &public_key, self.static_secret(identity), index, timestamp, shared.rng.as_mut());
        let Some((initiator, mut message)) = made else {
            return shared.indices.remove(index);
        };
        self.macs.sign(now.monotonic, &mut message);
        self.clear_pending(shared);
        self.pending = Some(Box::new(PendingInitiation { local_index: index, initiator, crossed_by: None, message }));
        self.note_any_sent(now);
        self.note_traversal(now);
        let jitter = jitter(shared);
        self.timers.set(Timer::Retransmit, now.monotonic + timeout + jitter);
        self.transmit(PacketBuf::new(&message), shared);
    }

    /// Hands a message to the socket and counts it.
    pub fn transmit(&mut self, packet: PacketBuf, shared: &mut Shared) {
        let Some(endpoint) = self.endpoint else { return };
        self.tx_bytes += packet.len() as u64;
        shared.news.insert(self.id);
        shared.out.transmits.push_back(Transmit { endpoint, packet, peer: Some(self.id) });
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Now, shared: &mut Shared) {
        while let Some(timer) = self.timers.poll(now.monotonic) {
            match timer {
                Timer::Retransmit => self.handle_retransmit(now, shared),
                Timer::Keepalive => {
                    self.send_keepalive(now, shared);
                    if std::mem::take(&mut self.need_another_keepalive) {
                        self.timers.set(Timer::Keepalive, now.monotonic + shared.timing.keepalive_timeout);
                    }
                }
                Timer::NewHandshake => {
                    self.clear_source();
                    self.send_initiation(now, shared, false);
                }
                Timer::ZeroKeys => self.clear_keys(shared),
                Timer::Persistent => {
                    if self.persistent_keepalive_s > 0 {
                        // Sending moves the timer; without a session it is the handshake that does, so make sure it runs.
                        self.note_traversal(now);
                        self.send_keepalive(now, shared);
                    }
                }
            }
        }
    }

    fn handle_retransmit(&mut self, now: Now, shared: &mut Shared) {
        if self.attempts > shared.timing.attempts_max() {
            self.timers.stop(Timer::Keepalive);
            self.purge_staged(shared);
            self.timers.set_if_idle(Timer::ZeroKeys, now.monotonic + shared.timing.reject_after * 3);
            return;
        }
        self.attempts += 1;
        self.clear_source();
        self.send_initiation(now, shared, true);
    }

    /// A packet was opened by `session`: authenticated, not yet looked into. Sends what that allows.
    pub fn note_opened(&mut self, now: Now, session: &Arc<Session>, source: Endpoint, shared: &mut Shared) {
        if self.called.is_none() || self.is_settled(now, source, shared) {
            self.note_endpoint(source, shared);
        }
        if let Some(retired) = self.sessions.confirm(session) {
            retire(retired, shared);
            let timestamp = self.answered_timestamp.take();
            self.note_handshake_complete(now, timestamp, shared);
            self.send_staged(now, shared);
        }
        self.keep_key_fresh_receiving(now, shared);
        self.note_any_received();
        self.note_traversal(now);
    }

    /// Data, not a keepalive, was received: an answer is owed.
    pub fn note_data_received(&mut self, now: Now, timing: &Timing) {
        if self.timers.is_running(Timer::Keepalive) {
            self.need_another_keepalive = true;
        } else {
            self.timers.set(Timer::Keepalive, now.monotonic + timing.keepalive_timeout);
        }
    }

    /// Packets for it have come from the interface.
    pub fn note_packets(&mut self, now: Now, shared: &mut Shared) {
        let before = self.packets_at.replace(now.monotonic);
        if before.is_none_or(|before| now.monotonic.since(before) >= SENDING_PAUSE) {
            shared.out.event(Event::SendingBegins { peer: self.public_key });
        }
    }

    fn note_data_sent(&mut self, now: Now, shared: &mut Shared) {
        if self.timers.is_running(Timer::NewHandshake) {
            return;
        }
        let jitter = jitter(shared);
        let timeout = shared.timing.keepalive_timeout + shared.timing.rekey_timeout + jitter;
        self.timers.set(Timer::NewHandshake, now.monotonic + timeout);
    }

    /// Something authenticated was sent: no keepalive is owed.
    pub fn note_any_sent(&mut self, now: Now) {
        self.timers.stop(Timer::Keepalive);
        self.note_traversal(now);
    }

    /// Something authenticated was received: the other end lives.
    pub fn note_any_received(&mut self) {
        self.timers.stop(Timer::NewHandshake);
    }

    /// Something went either way: the persistent keepalive can wait.
    pub fn note_traversal(&mut self, now: Now) {
        if self.persistent_keepalive_s > 0 {
            let interval = Duration::from_secs(u64::from(self.persistent_keepalive_s));
            self.timers.set(Timer::Persistent, now.monotonic + interval);
        }
    }

    /// A session was made, confirmed or not.
    pub fn note_session_derived(&mut self, now: Now, timing: &Timing) {
        self.timers.set(Timer::ZeroKeys, now.monotonic + timing.reject_after * 3);
    }

    /// A session was made and the other end has proven that it has its keys.
    pub fn note_handshake_complete(&mut self, now: Now, timestamp: Option<Tai64N>, shared: &mut Shared) {
        self.timers.stop(Timer::Retransmit);
        self.attempts = 0;
        self.sent_lastminute_handshake = false;
        self.last_handshake = Some(now.unix);
        shared.news.insert(self.id);
        shared.out.counters.handshakes += 1;
        let endpoint = self.endpoint.map(|endpoint| endpoint.remote);
        shared.out.event(Event::HandshakeDone { peer: self.public_key, endpoint, timestamp });
    }

    /// An authenticated message came from `source`: that is where the peer is.
    pub fn note_endpoint(&mut self, source: Endpoint, shared: &mut Shared) {
        let old = self.endpoint.replace(source).map(|endpoint| endpoint.remote);
        if old != Some(source.remote) {
            shared.out.event(Event::EndpointChanged {
                peer: self.public_key,
                old,
                new: source.remote,
                timestamp_sent: self.timestamp_sent,
            });
        }
    }

    /// The peer has answered an initiation from there.
    pub fn note_answer(&mut self, now: Now, source: Endpoint) {
        let called = self.called.filter(|called| called.place == source.remote);
        self.called = called.map(|called| Called { answered: Some(now.monotonic), ..called });
    }

    /// Whether it may be elsewhere than where it has answered a call: packets that went to it through somebody else may have come to
    /// it after that call, so that it answers there. It is reminded of where it was called.
    fn is_settled(&mut self, now: Now, source: Endpoint, shared: &mut Shared) -> bool {
        let Some(called) = &mut self.called else { return true };
        let Some(answered) = called.answered.filter(|_| called.place != source.remote) else { return true };
        if now.monotonic.since(answered) >= CALLED_SETTLES {
            self.called = None;
            return true;
        }
        if called.reminded.is_none_or(|at| now.monotonic.since(at) >= CALLED_REMINDER) {
            called.reminded = Some(now.monotonic);
            self.send_keepalive(now, shared);
        }
        false
    }

    /// Lets the next packet choose its source address anew.
    pub fn clear_source(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.local = None;
        }
    }

    fn keep_key_fresh_sending(&mut self, now: Now, shared: &mut Shared) {
        let stale = |session: &Arc<Session>| session.is_stale_for_sending(now.monotonic, &shared.timing);
        if self.sessions.current.as_ref().is_some_and(stale) {
            self.send_initiation(now, shared, false);
        }
    }

    fn keep_key_fresh_receiving(&mut self, now: Now, shared: &mut Shared) {
        let stale = |session: &Arc<Session>| session.is_stale_for_receiving(now.monotonic, &shared.timing);
        if !self.sent_lastminute_handshake && self.sessions.current.as_ref().is_some_and(stale) {
            self.sent_lastminute_handshake = true;
            self.send_initiation(now, shared, false);
        }
    }

    /// Forgets the handshake that waits for a response.
    pub fn clear_pending(&mut self, shared: &mut Shared) {
        if let Some(pending) = self.pending.take() {
            shared.indices.remove(pending.local_index);
        }
    }

    /// Forgets all keys but the long-lived ones.
    pub fn clear_keys(&mut self, shared: &mut Shared) {
        self.clear_pending(shared);
        let retired = self.sessions.clear();
        retire(retired, shared);
    }

    /// The interface went down: forgets everything that was under way.
    pub fn handle_down(&mut self, shared: &mut Shared) {
        self.purge_staged(shared);
        self.timers.stop_all();
        self.clear_keys(shared);
        self.handshake_sent = None;
    }
}

/// Takes sessions that lost their slot out of the index table; with the last reference their keys are wiped.
pub fn retire(retired: Retired, shared: &mut Shared) {
    for session in retired.into_iter().flatten() {
        shared.indices.remove(session.local_index);
    }
}

fn jitter(shared: &mut Shared) -> Duration {
    let span_us = shared.timing.rekey_jitter.as_micros().max(1) as u64;
    Duration::from_micros(shared.jitter.next_u64() % span_us)
}
