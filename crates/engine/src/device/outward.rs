//! The way out: from the interface into the sockets.
//!
//! A packet of up to 64 KB is read, cut straight into the outbox, each piece sealed where it lies, and everything sent by one
//! system call. With a pool and much to do, sealing and sending are left to the pool; as long as it has something, all that leaves
//! goes through it, so that nothing overtakes. Packets that can't be sealed at once (no session yet, others wait, no such peer) take the tunnel's ordinary way,
//! piece by piece, and what the tunnel wants sent of its own accord leaves through the same outbox, behind what was there before.

use std::io;
use std::sync::Arc;

use super::offload::{Segments, VirtioHeader};
use super::outbox::{Address, Outbox};
use super::pool::{Pool, Sealing};
use super::tun::Tun;
use super::udp::Sockets;
use super::udp::sources::Sources;
use crate::limits::{
    BATCH_BYTES, BATCH_PACKETS, PACKET_BYTES_MAX, PARALLEL_FROM_BYTES, PARALLEL_FROM_PACKETS, QUIET_BYTES, QUIET_GAP,
};
use crate::noise::messages::{DATA_HEADER_BYTES, TAG_BYTES, TYPE_COOKIE_REPLY, TYPE_DATA};
use crate::packet::{IpHeader, PacketBuf};
use crate::time::{Monotonic, Now};
use crate::tunnel::{Departure, Transmit, Tunnel};

/// The kernel's `HANDSHAKE_DSCP`: handshakes go before data (AF41).
const HANDSHAKE_TOS: u8 = 0x88;

/// The buffers of the way out.
#[derive(Default)]
pub struct Outward {
    /// One packet as it is read. Made when first needed.
    scratch: Vec<u8>,
    outbox: Outbox,
    /// Where to send from.
    pub sources: Sources,
    /// Sealing is left to the pool.
    defers: bool,
    /// When a packet last came, and whether it was small and came alone: nothing before it for [`QUIET_GAP`], nothing known behind it.
    last: Monotonic,
    is_quiet: bool,
}

/// What the way out leads through.
pub struct Way<'a> {
    /// The time.
    pub now: Now,
    /// Who decides.
    pub tunnel: &'a mut Tunnel,
    /// Where datagrams leave.
    pub sockets: &'a Arc<Sockets>,
    /// Who helps, if anybody.
    pub pool: Option<&'a mut Pool>,
}

impl Outward {
    /// Takes one batch of packets from the interface. An error other than `WouldBlock` says that the interface is not well.
    pub fn handle_tun(&mut self, tun: &Tun, way: &mut Way<'_>) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.is_empty() {
            scratch = vec![0; Tun::HEADER_ROOM + PACKET_BYTES_MAX];
        }
        let mut result = Ok(());
        let (mut packets, mut bytes) = (0, 0);
        self.defers = way.pool.as_ref().is_some_and(|pool| !pool.nothing_leaves());
        let gap = way.now.monotonic.since(self.last);
        while packets < BATCH_PACKETS && bytes < BATCH_BYTES {
            match tun.read(&mut scratch) {
                Ok((header, packet)) => {
                    packets += 1;
                    bytes += packet.len();
                    let is_much = bytes >= PARALLEL_FROM_BYTES || packets >= PARALLEL_FROM_PACKETS;
                    self.defers |= is_much && way.pool.is_some();
                    self.send_packet(&header, &scratch[packet], way);
                    // Probably there is no other. To ask would keep this one waiting, or its answer; the next wait asks anyway.
                    if packets == 1 && self.is_quiet && gap >= QUIET_GAP && bytes <= QUIET_BYTES && !self.defers {
                        break;
                    }
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            if self.outbox.is_full(self.defers) {
                self.flush(way);
            }
        }
        self.flush(way);
        if packets > 0 {
            self.is_quiet = packets == 1 && gap >= QUIET_GAP && bytes <= QUIET_BYTES;
            self.last = way.now.monotonic;
        }
        self.scratch = scratch;
        result
    }

    /// Sends what the tunnel wants sent.
    pub fn drain(&mut self, way: &mut Way<'_>) {
        self.collect(way);
        self.flush(way);
    }

    fn send_packet(&mut self, header: &VirtioHeader, packet: &[u8], way: &mut Way<'_>) {
        let Some(segments) = Segments::plan(header, packet) else { return way.tunnel.handle_tun_nonsense() };
        let (count, last) = (segments.count(), segments.last_len());
        let bytes = (count - 1) * way.tunnel.datagram_bytes(segments.first_len()) + way.tunnel.datagram_bytes(last);
        let departure = IpHeader::parse(packet)
            .and_then(|header| way.tunnel.depart(way.now, header.destination, count as u64, bytes as u64));
        let Some(departure) = departure else {
            for nth in 0..count {
                let len = if nth + 1 == count { last } else { segments.first_len() };
                let mut piece = PacketBuf::new(&[]);
                piece.pad(len);
                segments.write(nth, packet, piece.packet_mut());
                way.tunnel.handle_tun_packet(way.now, piece);
            }
            return self.collect(way);
        };
        self.send_run(&departure, &segments, packet, way);
    }

    /// Cuts a packet into the outbox. Each piece is sealed while it is in the nearest cache, or left to the pool.
    fn send_run(&mut self, departure: &Departure, segments: &Segments, packet: &[u8], way: &mut Way<'_>) {
        let to = Address {
            endpoint: self.sources.checked(departure.endpoint),
            peer: Some(departure.peer),
            tos: ecn(packet),
        };
        let (count, last) = (segments.count(), segments.last_len());
        for nth in 0..count {
            let len = if nth + 1 == count { last } else { segments.first_len() };
            let (datagram_len, defers) = (way.tunnel.datagram_bytes(len), self.defers);
            let Some(datagram) = self.append(&to, datagram_len, way) else { continue };
            let (before_tag, end) = (datagram_len - TAG_BYTES, DATA_HEADER_BYTES + len);
            segments.write(nth, packet, &mut datagram[DATA_HEADER_BYTES..end]);
            datagram[end..before_tag].fill(0);
            if defers {
                self.outbox.leave_unsealed(departure, nth as u64, datagram_len);
            } else {
                departure.seal(nth as u64, datagram);
            }
        }
    }

    /// Takes over the tunnel's own datagrams.
    fn collect(&mut self, way: &mut Way<'_>) {
        while let Some(Transmit { endpoint, packet, peer }) = way.tunnel.poll_transmit() {
            let tos = match packet.packet().first() {
                Some(&(TYPE_DATA | TYPE_COOKIE_REPLY)) | None => 0,
                Some(_) => HANDSHAKE_TOS,
            };
            // A stranger gets a cookie where it was asked for, and no work beside it.
            let endpoint = if peer.is_some() { self.sources.checked(endpoint) } else { endpoint };
            let to = Address { endpoint, peer, tos };
            if let Some(place) = self.append(&to, packet.len(), way) {
                place.copy_from_slice(packet.packet());
            }
        }
    }

    /// Room in the outbox, which is sent first if it has to be.
    fn append(&mut self, to: &Address, len: usize, way: &mut Way<'_>) -> Option<&mut [u8]> {
        if !self.outbox.has_room(len) {
            self.flush(way);
        }
        self.outbox.append(to, len, way.sockets.takes_trains(way.now.monotonic))
    }

    /// Sends what is in the outbox, behind what the pool has.
    fn flush(&mut self, way: &mut Way<'_>) {
        if self.outbox.is_empty() {
            return;
        }
        let now = way.now.monotonic;
        match &mut way.pool {
            Some(pool) if self.outbox.has_unsealed() || !pool.nothing_leaves() => {
                let outbox = std::mem::replace(&mut self.outbox, pool.outbox());
                pool.seal(Sealing { outbox, sockets: Arc::clone(way.sockets), now });
            }
            _ => self.outbox.send(now, way.sockets, |peer, failure| failure.tell(peer, way.tunnel)),
        }
    }
}

/// The ECN bits of a packet, which its datagram gets too (RFC 6040; the DSCP is not copied, as in the kernel).
fn ecn(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 6 => second >> 4 & 3,
        [_, second, ..] => second & 3,
        _ => 0,
    }
}
