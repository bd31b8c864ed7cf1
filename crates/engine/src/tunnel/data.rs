//! Packets: from the interface to a peer, and from a peer to the interface.
//!
//! Out: the destination finds the peer, the packet is staged and sent, or waits for a handshake. In: the index finds the session,
//! the session opens, the peer's timers move, and only then is the packet looked at: it must be IP, not longer than what came,
//! and its source must belong to the peer that sent it.
//!
//! Each way there is also one for whole runs of packets, whose owner keeps the bytes and does the cryptography: out
//! [`Tunnel::depart`] and [`Departure::seal`]; in [`Tunnel::session`], [`Session::authenticate`] and [`Session::accept`] and
//! [`Tunnel::handle_opened`] or [`Tunnel::handle_unopened`]. A run costs the tunnel what a packet costs, and other threads may seal
//! and authenticate.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use super::index::Indexed;
use super::peer::Peer;
use super::session::{Rejection, Session, padding};
use super::{Endpoint, PeerId, Shared, Tunnel};
use crate::config::Event;
use crate::limits::{GIVEN_AWAY_STRAYS_PER_S, STRAYS_PER_S, UNKNOWN_SESSION_EVENTS_PER_S, UNREACHABLES_PER_S};
use crate::noise::messages::{DATA_HEADER_BYTES, KEEPALIVE_BYTES, TAG_BYTES};
use crate::packet::{IpHeader, PacketBuf, icmp};
use crate::time::Now;

/// What it takes to seal a run of packets to one peer, beside the tunnel and without it.
#[derive(Clone, Debug)]
pub struct Departure {
    /// To whom.
    pub peer: PeerId,
    /// From where to where.
    pub endpoint: Endpoint,
    pub(super) session: Arc<Session>,
    pub(super) first_counter: u64,
}

impl Departure {
    /// Seals the run's packet number `nth` in place: `datagram` is room for the header, the packet with its padding zeroed, and
    /// room for the tag, as long as [`Tunnel::datagram_bytes`] has it. Each number may be used once.
    pub fn seal(&self, nth: u64, datagram: &mut [u8]) {
        self.session.seal_in_place(self.first_counter + nth, datagram);
    }

    /// Whether this is the same run as another.
    pub fn is(&self, other: &Departure) -> bool {
        Arc::ptr_eq(&self.session, &other.session) && self.first_counter == other.first_counter
    }
}

impl Tunnel {
    /// How long the data message with a packet of `len` bytes is.
    pub fn datagram_bytes(&self, len: usize) -> usize {
        DATA_HEADER_BYTES + len + padding(len, self.shared.mtu) + TAG_BYTES
    }

    /// A packet came from the interface.
    pub fn handle_tun_packet(&mut self, now: Now, packet: PacketBuf) {
        if !self.shared.up {
            return;
        }
        let Some(header) = IpHeader::parse(packet.packet()) else {
            self.shared.out.counters.tx_not_ip += 1;
            return;
        };
        let owner = self.shared.allowed_ips.lookup(header.destination);
        let reachable = |id: &PeerId| self.peer(*id).is_some_and(|(peer, _)| peer.endpoint.is_some());
        let Some(id) = owner.filter(reachable) else { return self.note_no_peer(now, packet.packet()) };
        self.with_peer(id, |peer, shared| {
            peer.stage(packet, shared);
            peer.note_packets(now, shared);
            peer.send_staged(now, shared);
        });
    }

    /// There is nobody to send a packet to: its sender is told.
    fn note_no_peer(&mut self, now: Now, packet: &[u8]) {
        self.shared.out.counters.tx_no_peer += 1;
        if let Some(answer) = icmp::unreachable(packet)
            && self.unreachables.allow(now.monotonic, UNREACHABLES_PER_S)
        {
            self.shared.out.packets.push_back(answer);
        }
    }

    /// Several packets for one destination are about to be sent, in datagrams of `bytes` bytes together: reserves all that it takes
    /// to seal them, and counts them. None, with nothing changed, if they have to go one by one by
    /// [`Tunnel::handle_tun_packet`], which knows what else can become of them.
    pub fn depart(&mut self, now: Now, destination: IpAddr, packets: u64, bytes: u64) -> Option<Departure> {
        let owner = self.shared.allowed_ips.lookup(destination)?;
        self.with_peer(owner, |peer, shared| peer.depart(now, packets, bytes, shared)).flatten()
    }

    /// The session that a data message names, if it may still open.
    pub fn session(&self, now: Now, receiver: u32) -> Option<Arc<Session>> {
        match self.shared.indices.lookup(receiver)? {
            Indexed::Session(session) if session.can_open(now.monotonic, &self.shared.timing) => {
                Some(Arc::clone(session))
            }
            _ => None,
        }
    }

    /// Data messages from one sender were opened by `session`; `packets` says where in `buffer` the padded packets are, an empty one
    /// being a keepalive. What remains of `packets`, less the padding, is for the interface.
    pub fn handle_opened(
        &mut self,
        now: Now,
        source: Endpoint,
        session: &Arc<Session>,
        buffer: &[u8],
        packets: &mut Vec<Range<usize>>,
    ) {
        if packets.is_empty() {
            return;
        }
        self.shared.lent.forget_until(now.monotonic);
        let alive = self.with_peer(session.peer, |peer, shared| {
            peer.note_opened(now, session, source, shared);
            // The second packet says that the first was not the last: more says nothing new.
            for _ in packets.iter().filter(|packet| !packet.is_empty()).take(2) {
                peer.note_data_received(now, &shared.timing);
            }
            packets.retain_mut(|packet| {
                let accepted = peer.accept(buffer.get(packet.clone()).unwrap_or_default(), shared);
                packet.end = packet.start + accepted.unwrap_or(0);
                accepted.is_some()
            });
        });
        if alive.is_none() {
            packets.clear();
        }
    }

    /// A data message could not be opened.
    pub fn handle_rejected(&mut self, rejection: Rejection) {
        match rejection {
            Rejection::Forged => self.shared.out.counters.rx_bad_data += 1,
            Rejection::Replayed => self.shared.out.counters.rx_replayed_data += 1,
        }
    }

    pub(super) fn handle_data(
        &mut self,
        now: Now,
        source: Endpoint,
        receiver: u32,
        counter: u64,
        mut datagram: PacketBuf,
    ) {
        let Some(session) = self.session(now, receiver) else {
            return self.handle_stray(now, source, receiver, datagram.packet());
        };
        if let Err(rejection) = session.open(counter, datagram.packet_mut()) {
            return self.handle_rejected(rejection);
        }
        let whole = DATA_HEADER_BYTES..datagram.len() - TAG_BYTES;
        let mut packets = vec![whole];
        self.handle_opened(now, source, &session, datagram.packet(), &mut packets);
        if let Some(packet) = packets.pop() {
            datagram.truncate(packet.end);
            datagram.advance(packet.start);
            self.shared.out.packets.push_back(datagram);
        }
    }

    /// A data message is for a session that is not here.
    pub fn handle_stray(&mut self, now: Now, source: Endpoint, index: u32, datagram: &[u8]) {
        self.shared.out.counters.rx_unknown_session += 1;
        let number = self.shared.indices.owner(index);
        let is_given_away = self.given_away.contains(&source.remote);
        if number.is_some() || is_given_away {
            let (strays, max) = if is_given_away {
                (&mut self.given_away_strays, GIVEN_AWAY_STRAYS_PER_S)
            } else {
                (&mut self.strays, STRAYS_PER_S)
            };
            if strays.allow(now.monotonic, max) {
                let (source, local) = (source.remote, source.local.map(|local| local.address));
                self.shared.out.event(Event::Stray { number, source, local, datagram: datagram.to_vec() });
            }
            return;
        }
        if self.unknown_sessions.allow(now.monotonic, UNKNOWN_SESSION_EVENTS_PER_S) {
            let local = source.local.map(|local| local.address);
            self.shared.out.event(Event::UnknownSession { index, source: source.remote, local });
        }
    }
}

impl Peer {
    /// Whether the prefix of an address was its own a moment ago, or will be, or is common to it and others.
    #[cold]
    fn may_send_as_well(&self, source: IpAddr, shared: &Shared) -> bool {
        shared.lent.may_send(source, shared.allowed_ips.matched_length(source), self.id)
            || shared.common.may_send(source, &self.public_key)
    }

    /// Judges and counts a padded packet that the peer sent; gives its length if it is for the interface.
    fn accept(&mut self, packet: &[u8], shared: &mut Shared) -> Option<usize> {
        let message_bytes = (packet.len() + KEEPALIVE_BYTES) as u64;
        if packet.is_empty() {
            self.rx_bytes += message_bytes;
            shared.news.insert(self.id);
            return None;
        }
        let Some(header) = IpHeader::parse(packet) else {
            shared.out.counters.rx_not_ip += 1;
            return None;
        };
        if shared.allowed_ips.lookup(header.source) != Some(self.id) && !self.may_send_as_well(header.source, shared) {
            shared.out.counters.rx_source_not_allowed += 1;
            return None;
        }
        self.rx_bytes += message_bytes;
        shared.news.insert(self.id);
        shared.out.counters.rx_packets += 1;
        Some(header.len)
    }
}
