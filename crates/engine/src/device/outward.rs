//! The way out: from the interface into the sockets.
//!
//! A packet of up to 64 KB is read, cut straight into the outbox, each piece sealed where it lies, and everything sent by one
//! system call. Packets that can't be sealed at once (no session yet, others wait, no such peer) take the tunnel's ordinary way,
//! piece by piece, and what the tunnel wants sent of its own accord leaves through the same outbox, behind what was there before.

use std::io;

use super::offload::{Segments, VirtioHeader};
use super::outbox::{Address, Outbox};
use super::tun::Tun;
use super::udp::{Failure, Sockets};
use crate::limits::{BATCH_BYTES, BATCH_PACKETS, PACKET_BYTES_MAX};
use crate::noise::messages::{DATA_HEADER_BYTES, TAG_BYTES, TYPE_COOKIE_REPLY, TYPE_DATA};
use crate::packet::{IpHeader, PacketBuf};
use crate::time::Now;
use crate::tunnel::{Transmit, Tunnel};

/// The kernel's `HANDSHAKE_DSCP`: handshakes go before data (AF41).
const HANDSHAKE_TOS: u8 = 0x88;

/// The buffers of the way out.
#[derive(Default)]
pub struct Outward {
    /// One packet as it is read. Made when first needed.
    scratch: Vec<u8>,
    outbox: Outbox,
}

impl Outward {
    /// Takes one batch of packets from the interface. An error other than `WouldBlock` says that the interface is not well.
    pub fn handle_tun(&mut self, now: Now, tun: &Tun, tunnel: &mut Tunnel, sockets: &mut Sockets) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.is_empty() {
            scratch = vec![0; Tun::HEADER_ROOM + PACKET_BYTES_MAX];
        }
        let mut result = Ok(());
        let (mut packets, mut bytes) = (0, 0);
        while packets < BATCH_PACKETS && bytes < BATCH_BYTES {
            match tun.read(&mut scratch) {
                Ok((header, packet)) => {
                    packets += 1;
                    bytes += packet.len();
                    self.send_packet(now, &header, &scratch[packet], tunnel, sockets);
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            if self.outbox.is_full() {
                self.flush(now, tunnel, sockets);
            }
        }
        self.flush(now, tunnel, sockets);
        self.scratch = scratch;
        result
    }

    /// Sends what the tunnel wants sent.
    pub fn drain(&mut self, now: Now, tunnel: &mut Tunnel, sockets: &mut Sockets) {
        self.collect(now, tunnel, sockets);
        self.flush(now, tunnel, sockets);
    }

    fn send_packet(
        &mut self,
        now: Now,
        header: &VirtioHeader,
        packet: &[u8],
        tunnel: &mut Tunnel,
        sockets: &mut Sockets,
    ) {
        let Some(segments) = Segments::plan(header, packet) else { return tunnel.handle_tun_nonsense() };
        let (count, last) = (segments.count(), segments.last_len());
        let bytes = (count - 1) * tunnel.datagram_bytes(segments.first_len()) + tunnel.datagram_bytes(last);
        let departure = IpHeader::parse(packet)
            .and_then(|header| tunnel.depart(now, header.destination, count as u64, bytes as u64));
        let Some(departure) = departure else {
            for nth in 0..count {
                let len = if nth + 1 == count { last } else { segments.first_len() };
                let mut piece = PacketBuf::new(&[]);
                piece.pad(len);
                segments.write(nth, packet, piece.packet_mut());
                tunnel.handle_tun_packet(now, piece);
            }
            return self.collect(now, tunnel, sockets);
        };
        let to = Address { endpoint: departure.endpoint, peer: Some(departure.peer), tos: ecn(packet) };
        for nth in 0..count {
            let len = if nth + 1 == count { last } else { segments.first_len() };
            let Some(datagram) = self.append(now, &to, tunnel.datagram_bytes(len), tunnel, sockets) else { continue };
            let (before_tag, end) = (datagram.len() - TAG_BYTES, DATA_HEADER_BYTES + len);
            segments.write(nth, packet, &mut datagram[DATA_HEADER_BYTES..end]);
            datagram[end..before_tag].fill(0);
            departure.seal(nth as u64, datagram);
        }
    }

    /// Takes over the tunnel's own datagrams.
    fn collect(&mut self, now: Now, tunnel: &mut Tunnel, sockets: &mut Sockets) {
        while let Some(Transmit { endpoint, packet, peer }) = tunnel.poll_transmit() {
            let tos = match packet.packet().first() {
                Some(&(TYPE_DATA | TYPE_COOKIE_REPLY)) | None => 0,
                Some(_) => HANDSHAKE_TOS,
            };
            let to = Address { endpoint, peer, tos };
            if let Some(place) = self.append(now, &to, packet.len(), tunnel, sockets) {
                place.copy_from_slice(packet.packet());
            }
        }
    }

    /// Room in the outbox, which is sent first if it has to be.
    fn append(
        &mut self,
        now: Now,
        to: &Address,
        len: usize,
        tunnel: &mut Tunnel,
        sockets: &mut Sockets,
    ) -> Option<&mut [u8]> {
        if !self.outbox.has_room(len) {
            self.flush(now, tunnel, sockets);
        }
        self.outbox.append(to, len, sockets.takes_trains(now.monotonic))
    }

    fn flush(&mut self, now: Now, tunnel: &mut Tunnel, sockets: &mut Sockets) {
        if self.outbox.is_empty() {
            return;
        }
        sockets.send(now.monotonic, self.outbox.bytes(), self.outbox.messages(), |message, failure| {
            let peer = self.outbox.peer(message);
            match failure {
                Failure::Datagram { bytes } => tunnel.handle_transmit_failed(peer, bytes),
                Failure::SourceLost => tunnel.handle_source_lost(peer),
            }
        });
        self.outbox.clear();
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
