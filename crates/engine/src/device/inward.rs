//! The way in: from the sockets into the interface.
//!
//! Many messages are received by one system call, each one a datagram or a train that the kernel has joined (UDP GRO). Data
//! messages are opened where they lie; a run of them, from one sender by one session, is told to the tunnel at once. What remains
//! is joined into large packets and written to the interface. All other messages go to the tunnel one by one.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::offload::Coalescer;
use super::tun::Tun;
use super::udp::{Family, Sockets};
use crate::limits::{LARGE_MESSAGE_BYTES, LARGE_MESSAGES_AT_ONCE, MESSAGE_BYTES_MAX, MESSAGES_AT_ONCE_MAX};
use crate::noise::messages::{DATA_HEADER_BYTES, Message, TAG_BYTES};
use crate::packet::{PacketBuf, Version, checksum};
use crate::time::Now;
use crate::tunnel::{Endpoint, Session, Tunnel, Unopened};

use super::sys::socket;

/// Congestion was experienced on the way.
const ECN_CE: u8 = 3;

/// The buffers of the way in.
pub struct Inward {
    /// All messages of a batch. Made when first needed, and touched only as far as messages are long.
    buffer: Vec<u8>,
    received: Vec<socket::Message>,
    /// How many messages to ask for.
    wanted: usize,
    /// Where the packets of the present run are.
    packets: Vec<Range<usize>>,
    coalescer: Coalescer,
}

/// Data messages from one sender by one session.
struct Run {
    receiver: u32,
    session: Arc<Session>,
    source: Endpoint,
    tos: u8,
}

impl Inward {
    /// Buffers for an interface.
    pub fn new(tun: &Tun) -> Inward {
        Inward {
            buffer: Vec::new(),
            received: Vec::new(),
            wanted: LARGE_MESSAGES_AT_ONCE,
            packets: Vec::new(),
            coalescer: Coalescer::new(tun.joins()),
        }
    }

    /// Takes one batch of messages from a socket.
    pub fn handle_socket(&mut self, now: Now, family: Family, tunnel: &mut Tunnel, sockets: &Sockets, tun: &Tun) {
        if self.buffer.is_empty() {
            self.buffer = vec![0; MESSAGES_AT_ONCE_MAX * MESSAGE_BYTES_MAX];
        }
        let mut received = std::mem::take(&mut self.received);
        received.clear();
        // An error may belong to a datagram that we sent before; what waits behind it is reported by the next poll.
        let result: io::Result<()> = sockets.receive(family, &mut self.buffer, self.wanted, &mut received);
        if result.is_ok() {
            self.handle_messages(now, &received, tunnel, tun);
            let bytes: usize = received.iter().map(|message| message.range.len()).sum();
            let is_large = bytes >= received.len() * LARGE_MESSAGE_BYTES;
            self.wanted = if is_large { LARGE_MESSAGES_AT_ONCE } else { MESSAGES_AT_ONCE_MAX };
        }
        self.received = received;
    }

    fn handle_messages(&mut self, now: Now, received: &[socket::Message], tunnel: &mut Tunnel, tun: &Tun) {
        let mut run: Option<Run> = None;
        for message in received {
            let mut start = message.range.start;
            while start < message.range.end {
                let end = (start + message.segment).min(message.range.end);
                self.handle_datagram(now, message, start..end, &mut run, tunnel, tun);
                start = end;
            }
        }
        self.end_run(now, run, tunnel, tun);
        self.write_out(tunnel, tun);
    }

    fn handle_datagram(
        &mut self,
        now: Now,
        message: &socket::Message,
        range: Range<usize>,
        run: &mut Option<Run>,
        tunnel: &mut Tunnel,
        tun: &Tun,
    ) {
        let Some(datagram) = self.buffer.get_mut(range.clone()) else { return };
        let Some(Message::Data { receiver, counter }) = Message::parse(datagram) else {
            let datagram = PacketBuf::new(datagram);
            self.end_run(now, run.take(), tunnel, tun);
            return tunnel.handle_datagram(now, message.endpoint, datagram);
        };
        let belongs = |run: &Run| run.receiver == receiver && run.source == message.endpoint && run.tos == message.tos;
        if !run.as_ref().is_some_and(belongs) {
            self.end_run(now, run.take(), tunnel, tun);
            let Some(session) = tunnel.session(now, receiver) else {
                return tunnel.handle_unopened(now, message.endpoint, receiver, Unopened::UnknownSession);
            };
            *run = Some(Run { receiver, session, source: message.endpoint, tos: message.tos });
        }
        let (Some(run), Some(datagram)) = (run, self.buffer.get_mut(range.clone())) else { return };
        match run.session.open(counter, datagram) {
            Ok(()) => self.packets.push(range.start + DATA_HEADER_BYTES..range.end - TAG_BYTES),
            Err(why) => tunnel.handle_unopened(now, message.endpoint, receiver, Unopened::Rejected(why)),
        }
    }

    /// Tells the tunnel of a run, and takes what is for the interface.
    fn end_run(&mut self, now: Now, run: Option<Run>, tunnel: &mut Tunnel, tun: &Tun) {
        let Some(run) = run else { return };
        let mut packets = std::mem::take(&mut self.packets);
        tunnel.handle_opened(now, run.source, &run.session, &self.buffer, &mut packets);
        for packet in packets.drain(..) {
            if run.tos & ECN_CE == ECN_CE {
                mark_congestion(self.buffer.get_mut(packet.clone()).unwrap_or_default());
            }
            if !self.coalescer.join(&self.buffer, packet.clone()) {
                self.write_out(tunnel, tun);
                self.coalescer.start(&self.buffer, packet);
            }
        }
        self.packets = packets;
    }

    /// Writes what was joined so far.
    fn write_out(&mut self, tunnel: &mut Tunnel, tun: &Tun) {
        let Some((header, parts)) = self.coalescer.finish(&mut self.buffer) else { return };
        if tun.write_parts(&header, &self.buffer, parts).is_err() {
            tunnel.handle_tun_refused(parts.len() as u64);
        }
        self.coalescer.clear();
    }
}

/// Tells the receiver that its packet met congestion, if the packet says that it understands (RFC 6040, as the kernel has it).
fn mark_congestion(packet: &mut [u8]) {
    match Version::of(packet) {
        Some(Version::V4) => {
            let header_len = usize::from(packet[0] & 0x0f) * 4;
            let Some(header) = packet.get_mut(..header_len).filter(|header| header.len() >= 20) else { return };
            if header[1] & ECN_CE != 0 && checksum::Sum::default().add(header).is_valid() {
                header[1] |= ECN_CE;
                checksum::finish_ipv4_header(header);
            }
        }
        Some(Version::V6) => {
            if let Some(class) = packet.get_mut(1).filter(|class| **class >> 4 & ECN_CE != 0) {
                *class |= ECN_CE << 4;
            }
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_is_told_to_who_understands_it() {
        for (before, after) in [(0, 0), (1, 3), (2, 3), (3, 3)] {
            let mut v4 = [0; 20];
            (v4[0], v4[1]) = (0x45, before | 0x88);
            checksum::finish_ipv4_header(&mut v4);
            mark_congestion(&mut v4);
            assert_eq!(v4[1], after | 0x88);
            assert!(checksum::Sum::default().add(&v4).is_valid());
            let mut v6 = [0; 40];
            (v6[0], v6[1]) = (0x6a, before << 4 | 0x4c);
            mark_congestion(&mut v6);
            assert_eq!((v6[0], v6[1]), (0x6a, after << 4 | 0x4c));
        }
    }
}
