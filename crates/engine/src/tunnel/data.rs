//! Packets: from the interface to a peer, and from a peer to the interface.
//!
//! Out: the destination finds the peer, the packet is staged and sent, or waits for a handshake. In: the index finds the session,
//! the session opens, the peer's timers move, and only then is the packet looked at: it must be IP, not longer than what came,
//! and its source must belong to the peer that sent it.

use std::sync::Arc;

use super::index::Indexed;
use super::peer::is_keepalive;
use super::session::Rejection;
use super::{Endpoint, Tunnel};
use crate::config::Event;
use crate::limits::UNKNOWN_SESSION_EVENTS_PER_S;
use crate::packet::{IpHeader, PacketBuf};
use crate::time::Now;

impl Tunnel {
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
        let sent = owner.and_then(|id| {
            self.with_peer(id, |peer, shared| {
                peer.endpoint?;
                peer.stage(packet, shared);
                peer.send_staged(now, shared);
                Some(())
            })
        });
        if sent.flatten().is_none() {
            self.shared.out.counters.tx_no_peer += 1;
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
        let session = match self.shared.indices.lookup(receiver) {
            Some(Indexed::Session(session)) if session.can_open(now.monotonic, &self.shared.timing) => {
                Arc::clone(session)
            }
            _ => return self.note_unknown_session(now, source, receiver),
        };
        let message_bytes = datagram.len();
        match session.open(counter, &mut datagram) {
            Err(Rejection::Forged) => return self.shared.out.counters.rx_bad_data += 1,
            Err(Rejection::Replayed) => return self.shared.out.counters.rx_replayed_data += 1,
            Ok(()) => {}
        }
        self.with_peer(session.peer, |peer, shared| {
            peer.note_opened(now, &session, source, shared);
            if is_keepalive(message_bytes) {
                peer.rx_bytes += message_bytes as u64;
                return;
            }
            peer.note_data_received(now, &shared.timing);
            let Some(header) = IpHeader::parse(datagram.packet()) else {
                shared.out.counters.rx_not_ip += 1;
                return;
            };
            if shared.allowed_ips.lookup(header.source) != Some(session.peer) {
                shared.out.counters.rx_source_not_allowed += 1;
                return;
            }
            datagram.truncate(header.len);
            peer.rx_bytes += message_bytes as u64;
            shared.out.counters.rx_packets += 1;
            shared.out.packets.push_back(datagram);
        });
    }

    fn note_unknown_session(&mut self, now: Now, source: Endpoint, index: u32) {
        self.shared.out.counters.rx_unknown_session += 1;
        if self.unknown_sessions.allow(now.monotonic, UNKNOWN_SESSION_EVENTS_PER_S) {
            let local = source.local.map(|local| local.address);
            self.shared.out.event(Event::UnknownSession { index, source: source.remote, local });
        }
    }
}
