//! A batch of data messages on its way from a socket to the interface.
//!
//! Its stages: [`Batch::sort`] finds the sessions (device's thread), [`Batch::open`] authenticates and decrypts (any thread),
//! [`Batch::judge`] has the tunnel decide, in the order in which batches came (device's thread: replay windows, counters, timers,
//! allowed prefixes), [`Batch::write`] joins what is left and gives it to the interface (any thread, in order). Bytes stay where
//! they were received. A batch is used again: its buffer is made once and touched only as far as messages are long.

use std::ops::Range;
use std::sync::Arc;

use super::super::offload::Coalescer;
use super::super::offload::coalesce::Joins;
use super::super::sys::socket::Message as Received;
use super::super::tun::Tun;
use crate::limits::{MESSAGE_BYTES_MAX, MESSAGES_AT_ONCE_MAX};
use crate::noise::messages::{DATA_HEADER_BYTES, Message, TAG_BYTES};
use crate::packet::{PacketBuf, Version, checksum};
use crate::time::Now;
use crate::tunnel::{Endpoint, Rejection, Session, Tunnel};

/// Congestion was experienced on the way.
const ECN_CE: u8 = 3;

/// Messages received together, and what became of them.
#[derive(Debug)]
pub struct Batch {
    /// All messages. Made when first needed.
    buffer: Vec<u8>,
    received: Vec<Received>,
    runs: Vec<Run>,
    datagrams: Vec<Datagram>,
    /// Where the packets for the interface are.
    packets: Vec<Range<usize>>,
    /// Those of one run, while it is judged.
    of_run: Vec<Range<usize>>,
    coalescer: Coalescer,
}

/// Data messages from one sender by one session.
#[derive(Debug)]
struct Run {
    receiver: u32,
    session: Arc<Session>,
    source: Endpoint,
    tos: u8,
    /// Which of the datagrams.
    datagrams: Range<usize>,
}

#[derive(Debug)]
struct Datagram {
    range: Range<usize>,
    counter: u64,
    authentic: bool,
}

impl Batch {
    /// An empty batch for an interface that takes such joined packets.
    pub fn new(joins: Joins) -> Batch {
        Batch {
            buffer: Vec::new(),
            received: Vec::new(),
            runs: Vec::new(),
            datagrams: Vec::new(),
            packets: Vec::new(),
            of_run: Vec::new(),
            coalescer: Coalescer::new(joins),
        }
    }

    /// Forgets everything and gives the places to receive into: the buffer, and the list of what it holds.
    pub fn room(&mut self) -> (&mut [u8], &mut Vec<Received>) {
        if self.buffer.is_empty() {
            self.buffer = vec![0; MESSAGES_AT_ONCE_MAX * MESSAGE_BYTES_MAX];
        }
        self.received.clear();
        self.forget();
        (&mut self.buffer, &mut self.received)
    }

    /// How many messages were received, and how long they are together.
    pub fn received(&self) -> (usize, usize) {
        (self.received.len(), self.received.iter().map(|message| message.range.len()).sum())
    }

    /// Finds the session of each data message. What is no data message is given to `other`.
    pub fn sort(&mut self, now: Now, tunnel: &mut Tunnel, mut other: impl FnMut(Endpoint, PacketBuf)) {
        self.forget();
        for message in &self.received {
            let mut start = message.range.start;
            while start < message.range.end {
                let range = start..(start + message.segment).min(message.range.end);
                start = range.end;
                let datagram = self.buffer.get(range.clone()).unwrap_or_default();
                let Some(Message::Data { receiver, counter }) = Message::parse(datagram) else {
                    other(message.endpoint, PacketBuf::new(datagram));
                    continue;
                };
                let belongs =
                    |run: &Run| run.receiver == receiver && run.source == message.endpoint && run.tos == message.tos;
                if !self.runs.last().is_some_and(belongs) {
                    let Some(session) = tunnel.session(now, receiver) else {
                        tunnel.handle_stray(now, message.endpoint, receiver, datagram);
                        continue;
                    };
                    let at = self.datagrams.len();
                    let (source, tos) = (message.endpoint, message.tos);
                    self.runs.push(Run { receiver, session, source, tos, datagrams: at..at });
                }
                self.datagrams.push(Datagram { range, counter, authentic: false });
                if let Some(run) = self.runs.last_mut() {
                    run.datagrams.end = self.datagrams.len();
                }
            }
        }
    }

    /// How many data messages of known sessions there are.
    pub fn datagrams(&self) -> usize {
        self.datagrams.len()
    }

    /// Authenticates and decrypts.
    pub fn open(&mut self) {
        for run in &self.runs {
            for datagram in self.datagrams.get_mut(run.datagrams.clone()).unwrap_or_default() {
                let bytes = self.buffer.get_mut(datagram.range.clone()).unwrap_or_default();
                datagram.authentic = run.session.authenticate(datagram.counter, bytes);
            }
        }
    }

    /// Tells the tunnel what was opened and what was not. True if there is something for the interface.
    pub fn judge(&mut self, now: Now, tunnel: &mut Tunnel) -> bool {
        for run in self.runs.drain(..) {
            let packets = &mut self.of_run;
            for datagram in self.datagrams.get(run.datagrams.clone()).unwrap_or_default() {
                let why = match datagram.authentic {
                    true if run.session.accept(datagram.counter) => {
                        packets.push(datagram.range.start + DATA_HEADER_BYTES..datagram.range.end - TAG_BYTES);
                        continue;
                    }
                    true => Rejection::Replayed,
                    false => Rejection::Forged,
                };
                tunnel.handle_rejected(why);
            }
            tunnel.handle_opened(now, run.source, &run.session, &self.buffer, packets);
            if run.tos & ECN_CE == ECN_CE {
                for packet in &*packets {
                    mark_congestion(self.buffer.get_mut(packet.clone()).unwrap_or_default());
                }
            }
            self.packets.append(packets);
        }
        !self.packets.is_empty()
    }

    /// Writes the packets to the interface, joined as far as they can be. Gives the number of those that it refused.
    pub fn write(&mut self, tun: &Tun) -> u64 {
        let mut refused = 0;
        for packet in self.packets.drain(..) {
            if !self.coalescer.join(&self.buffer, packet.clone()) {
                refused += write_joined(&mut self.coalescer, &mut self.buffer, tun);
                self.coalescer.start(&self.buffer, packet);
            }
        }
        refused + write_joined(&mut self.coalescer, &mut self.buffer, tun)
    }

    fn forget(&mut self) {
        self.runs.clear();
        self.datagrams.clear();
        self.packets.clear();
    }
}

/// Writes what was joined so far.
fn write_joined(coalescer: &mut Coalescer, buffer: &mut [u8], tun: &Tun) -> u64 {
    let Some((header, parts)) = coalescer.finish(buffer) else { return 0 };
    let refused = if tun.write_parts(&header, buffer, parts).is_err() { parts.len() as u64 } else { 0 };
    coalescer.clear();
    refused
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
