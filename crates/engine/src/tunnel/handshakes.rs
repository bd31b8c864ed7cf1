//! Handshake messages: initiations, responses, cookie replies.
//!
//! Cheap checks come before dear ones: first MAC, then (under load) the cookie and the rate limit of the sender's address. What
//! passes them waits for its X25519, a few of which are done at each [`Tunnel::handle_timeout`]. An initiation is then answered; its
//! session waits as `next` for the initiator's first packet. A response completes this end's initiation and is followed by a
//! packet, so that the other end may use the session too.

use std::net::SocketAddr;
use std::sync::Arc;

use super::load::Waiting;
use super::peer::{Peer, retire};
use super::session::{Role, Session};
use super::{Endpoint, Shared, Transmit, Tunnel};
use crate::limits::{HANDSHAKES_PER_TURN, INITIATION_INTERVAL_MIN};
use crate::noise::handshake::{Caller, Initiation, SessionKeys};
use crate::noise::messages::{COOKIE_REPLY_BYTES, INITIATION_BYTES, Message, RESPONSE_BYTES, u32_at};
use crate::packet::PacketBuf;
use crate::time::{Monotonic, Now, Tai64N};

impl Tunnel {
    /// Initiations and responses: those that deserve X25519 wait for it.
    pub(super) fn handle_handshake_message(&mut self, now: Now, source: Endpoint, datagram: PacketBuf) {
        if self.admit(now.monotonic, source, datagram.packet()) {
            let waits = self.handshakes.push(Waiting { arrived: now.monotonic, source, datagram });
            self.shared.out.counters.rx_handshake_overflow += u64::from(!waits);
        }
    }

    /// Works off some of the messages that wait.
    pub(super) fn handle_waiting_handshakes(&mut self, now: Now) {
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(Waiting { source, datagram, .. }) = self.handshakes.pop() else { return };
            let led_somewhere = match Message::parse(datagram.packet()) {
                Some(Message::Initiation(message)) => self.handle_initiation(now, source, message),
                Some(Message::Response(message)) => self.handle_response(now, source, message),
                _ => false,
            };
            if !led_somewhere {
                self.load.note_wasted(now.monotonic);
            }
        }
    }

    fn handle_initiation(&mut self, now: Now, source: Endpoint, message: &[u8; INITIATION_BYTES]) -> bool {
        let Some(identity) = &self.shared.identity else { return false };
        let Some(caller) = Caller::open(identity, message) else {
            self.shared.out.counters.rx_bad_handshake += 1;
            return false;
        };
        let Some(&id) = self.by_key.get(&caller.public_key) else {
            self.shared.out.counters.rx_unknown_peer += 1;
            return false;
        };
        let answered = self.with_peer(id, |peer, shared| {
            let identity = shared.identity.as_ref();
            let initiation = identity.and_then(|identity| caller.authenticate(peer.static_secret(identity)));
            let Some(initiation) = initiation else {
                shared.out.counters.rx_bad_handshake += 1;
                return false;
            };
            if initiation.timestamp <= peer.latest_timestamp {
                shared.out.counters.rx_replayed_handshake += 1;
                peer.call_instead(now, initiation.timestamp, shared);
                return false;
            }
            if peer.initiation_accepted.is_some_and(|at| now.monotonic.since(at) < INITIATION_INTERVAL_MIN) {
                shared.out.counters.rx_rate_limited += 1;
                return false;
            }
            peer.latest_timestamp = initiation.timestamp;
            peer.initiation_accepted = Some(now.monotonic);
            peer.note_endpoint(source, shared);
            #[cfg(test)]
            if shared.single_handshake {
                peer.clear_pending(shared);
            }
            peer.respond(now, initiation, shared);
            peer.note_handshake_message_received(now, message.len(), shared);
            true
        });
        answered == Some(true)
    }

    fn handle_response(&mut self, now: Now, source: Endpoint, message: &[u8; RESPONSE_BYTES]) -> bool {
        let receiver = u32_at(message, 8);
        let id = self.shared.indices.lookup(receiver).map(super::index::Indexed::peer);
        let completed = id.and_then(|id| {
            self.with_peer(id, |peer, shared| {
                let keys = peer.open_response(receiver, message, shared)?;
                peer.note_endpoint(source, shared);
                peer.note_answer(now, source);
                peer.complete(now, receiver, keys, shared);
                peer.note_handshake_message_received(now, message.len(), shared);
                Some(())
            })
        });
        let is_completed = completed.flatten().is_some();
        self.shared.out.counters.rx_bad_handshake += u64::from(!is_completed);
        is_completed
    }

    pub(super) fn handle_cookie_reply(&mut self, now: Now, message: &[u8; COOKIE_REPLY_BYTES]) {
        let id = self.shared.indices.lookup(u32_at(message, 4)).map(super::index::Indexed::peer);
        let taken = id.and_then(|id| self.with_peer(id, |peer, _| peer.macs.handle_reply(now.monotonic, message)));
        if taken != Some(true) {
            self.shared.out.counters.rx_bad_handshake += 1;
        }
    }

    /// Whether a response is to an initiation that another device with the same key has sent, from whoever knows that key.
    pub(super) fn is_others_response(&self, source: SocketAddr, message: &[u8; RESPONSE_BYTES]) -> bool {
        let index = u32_at(message, 8);
        let is_given_away = || self.given_away.contains(&source) && self.shared.indices.lookup(index).is_none();
        (self.shared.indices.owner(index).is_some() || is_given_away())
            && self.checker.as_ref().is_some_and(|checker| checker.mac1_is_valid(message))
    }

    /// Whether a handshake message deserves X25519. Sends a cookie to who has to prove its address first.
    fn admit(&mut self, now: Monotonic, source: Endpoint, message: &[u8]) -> bool {
        let Some(checker) = &mut self.checker else { return false };
        let counters = &mut self.shared.out.counters;
        if !checker.mac1_is_valid(message) {
            counters.rx_bad_mac += 1;
            return false;
        }
        if !self.load.is_under_load(now, self.handshakes.len(), self.handshakes.since()) {
            return true;
        }
        if checker.mac2_is_valid(now, message, source.remote) {
            let allowed = self.limiter.allow(now, source.remote.ip());
            counters.rx_rate_limited += u64::from(!allowed);
            return allowed;
        }
        if self.known_endpoints.are_old(now) {
            let peers = self.peers.iter().flatten().filter(|peer| peer.sessions.current.is_some());
            self.known_endpoints.learn(now, peers.filter_map(|peer| Some(peer.endpoint?.remote)));
        }
        if self.known_endpoints.allow(now, source.remote) {
            return true;
        }
        self.load.note_wasted(now);
        if let Some(reply) = checker.reply(now, message, source.remote, self.shared.rng.as_mut()) {
            counters.cookies_sent += 1;
            let packet = PacketBuf::new(&reply);
            self.shared.out.transmits.push_back(Transmit { endpoint: source, packet, peer: None });
        }
        false
    }
}

impl Peer {
    /// An initiation was older than what was heard from the peer: a recorded one, or the peer has started again with a clock that is
    /// behind, and can't be heard until it is called. So it is called where it was, as soon as a handshake may be started again;
    /// whoever replays gets nothing but that, and a datagram that comes twice not even that. A device that shares its key calls
    /// nobody so: its peer may be with another one, and would come to this one.
    fn call_instead(&mut self, now: Now, timestamp: Tai64N, shared: &mut Shared) {
        if timestamp < self.latest_timestamp && !shared.indices.is_numbered() && self.pending.is_none() {
            self.send_initiation(now, shared, false);
        }
    }

    /// Answers an initiation and keeps the new session until the other end uses it.
    fn respond(&mut self, now: Now, initiation: Initiation, shared: &mut Shared) {
        let timestamp = initiation.timestamp;
        let remote_index = initiation.remote_index;
        let local_index = shared.indices.reserve(self.id, shared.rng.as_mut());
        let Some((mut message, keys)) = initiation.respond(&self.psk, local_index, shared.rng.as_mut()) else {
            return shared.indices.remove(local_index);
        };
        self.handshake_sent = Some(now.monotonic);
        self.macs.sign(now.monotonic, &mut message);
        let session = Session::new(self.id, Role::Responder, (local_index, remote_index), &keys, now.monotonic);
        let session = Arc::new(session);
        shared.indices.promote(Arc::clone(&session));
        let retired = self.sessions.put_responded(session);
        retire(retired, shared);
        if let Some(pending) = &mut self.pending {
            pending.crossed_by = Some(local_index);
        }
        self.answered_timestamp = Some(timestamp);
        self.note_session_derived(now, &shared.timing);
        self.note_any_sent(now);
        self.transmit(PacketBuf::new(&message), shared);
    }

    fn open_response(
        &self,
        receiver: u32,
        message: &[u8; RESPONSE_BYTES],
        shared: &Shared,
    ) -> Option<(SessionKeys, u32)> {
        let pending = self.pending.as_ref().filter(|pending| pending.local_index == receiver)?;
        pending.initiator.open_response(shared.identity.as_ref()?, &self.psk, message)
    }

    /// This end's initiation was answered.
    fn complete(&mut self, now: Now, local_index: u32, (keys, remote_index): (SessionKeys, u32), shared: &mut Shared) {
        let crossed_by = self.pending.take().and_then(|pending| pending.crossed_by);
        let session = Session::new(self.id, Role::Initiator, (local_index, remote_index), &keys, now.monotonic);
        let session = Arc::new(session);
        shared.indices.promote(Arc::clone(&session));
        // Of two ends that started at once, the one with the smaller key follows the other.
        let gives_way = shared.identity.as_ref().is_some_and(|identity| identity.public() < self.public_key);
        let retired = self.sessions.put_initiated(session, crossed_by, gives_way);
        retire(retired, shared);
        self.note_session_derived(now, &shared.timing);
        self.note_handshake_complete(now, None, shared);
        self.send_keepalive(now, shared);
    }

    fn note_handshake_message_received(&mut self, now: Now, bytes: usize, shared: &mut Shared) {
        self.rx_bytes += bytes as u64;
        shared.news.insert(self.id);
        self.note_any_received();
        self.note_traversal(now);
    }
}
