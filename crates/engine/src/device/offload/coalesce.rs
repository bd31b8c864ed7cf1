//! Joining: consecutive packets of one flow into one that the kernel takes in one go, as if its network card had joined them.
//!
//! The caller offers packets in order with [`Coalescer::join`]; if it says no, the caller writes out what [`Coalescer::finish`]
//! gives and begins anew with [`Coalescer::start`]. The rules are those of the kernel (`tcp_gro_receive`, `udp_gro_receive`): the
//! same headers but for what counts on; consecutive sequence numbers; equal payloads, of which only the last may be shorter or
//! carry PSH; valid checksums, since nobody will look at them again. Bytes stay where they are: a joined packet is a list of places,
//! the first of which holds the headers.

use std::ops::Range;

use super::layout::{Layout, Transport, put, u16_at, u32_at};
use super::{GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CSUM, VirtioHeader};
use crate::limits::{JOINED_PACKETS_MAX, PACKET_BYTES_MAX};
use crate::packet::Version;
use crate::packet::checksum::{Sum, finish_ipv4_header, pseudo_header};

const TCP_PSH: u8 = 0x08;
const TCP_ACK: u8 = 0x10;
const TCP_ECE: u8 = 0x40;

/// What is joined at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joins {
    /// TCP.
    pub tcp: bool,
    /// UDP.
    pub udp: bool,
}

/// A packet in the making.
#[derive(Debug)]
pub struct Coalescer {
    joins: Joins,
    /// Where the parts are: the first packet, then payloads.
    parts: Vec<Range<usize>>,
    len: usize,
    /// How the first packet looks, if others can be joined to it.
    head: Option<Head>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    layout: Layout,
    /// Payload of each packet but the last.
    size: usize,
    next_sequence: u32,
    /// The first packet's checksum was found valid.
    verified: bool,
    /// The last packet pushed.
    pushed: bool,
    /// The last packet was shorter or pushed: nothing can follow.
    complete: bool,
}

impl Coalescer {
    /// One that is empty.
    pub fn new(joins: Joins) -> Coalescer {
        Coalescer { joins, parts: Vec::new(), len: 0, head: None }
    }

    /// Adds a packet to what is being made. False, with nothing changed, if it does not belong there.
    pub fn join(&mut self, buffer: &[u8], packet: Range<usize>) -> bool {
        let (Some(head), Some(first)) = (&mut self.head, self.parts.first()) else { return false };
        let room = self.parts.len() < JOINED_PACKETS_MAX;
        let (Some(head_bytes), Some(bytes)) = (buffer.get(first.clone()), buffer.get(packet.clone())) else {
            return false;
        };
        let payload = bytes.len().saturating_sub(head.layout.header_len);
        if head.complete || !room || payload == 0 || payload > head.size || self.len + payload > PACKET_BYTES_MAX {
            return false;
        }
        let nth = self.parts.len();
        if !head.continues_with(head_bytes, bytes, nth) || !has_valid_checksum(&head.layout, bytes) {
            return false;
        }
        if !head.verified {
            if !has_valid_checksum(&head.layout, head_bytes) {
                self.head = None;
                return false;
            }
            head.verified = true;
        }
        head.pushed = head.pushes(bytes);
        head.complete = payload < head.size || head.pushed;
        head.next_sequence = head.next_sequence.wrapping_add(payload as u32);
        self.len += payload;
        self.parts.push(packet.start + head.layout.header_len..packet.end);
        true
    }

    /// Begins with a packet. Whatever was there is forgotten.
    pub fn start(&mut self, buffer: &[u8], packet: Range<usize>) {
        self.parts.clear();
        let bytes = buffer.get(packet.clone()).unwrap_or_default();
        self.len = bytes.len();
        self.head = Head::of(bytes, self.joins);
        self.parts.push(packet);
    }

    /// Completes what was made and leaves nothing: its virtio header, its parts, and of how many packets it is made.
    pub fn finish(&mut self, buffer: &mut [u8]) -> Option<(VirtioHeader, &[Range<usize>])> {
        let first = self.parts.first()?;
        let header = match (&self.head, self.parts.len()) {
            (Some(head), 2..) => {
                let bytes = buffer.get_mut(first.clone()).unwrap_or_default();
                head.finish(bytes, self.len)
            }
            _ => VirtioHeader::default(),
        };
        self.head = None;
        Some((header, &self.parts))
    }

    /// Forgets what was made, once it is written.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.head = None;
    }
}

impl Head {
    fn of(packet: &[u8], joins: Joins) -> Option<Head> {
        let layout = Layout::parse(packet)?;
        let size = packet.len() - layout.header_len;
        let is_candidate = match layout.transport {
            // A packet that pushes or has any other flag ends what came before it and begins nothing.
            Transport::Tcp => joins.tcp && packet.get(layout.ip_len + 13)? & !TCP_ECE == TCP_ACK,
            Transport::Udp => {
                let has_checksum = u16_at(packet, layout.ip_len + 6) != 0;
                joins.udp && has_checksum && usize::from(u16_at(packet, layout.ip_len + 4)) == 8 + size
            }
        };
        let next_sequence = u32_at(packet, layout.ip_len + 4).wrapping_add(size as u32);
        (is_candidate && size > 0).then_some(Head {
            layout,
            size,
            next_sequence,
            verified: false,
            pushed: false,
            complete: false,
        })
    }

    /// Whether `packet` is the `nth` after the head, judged by its headers.
    fn continues_with(&self, head: &[u8], packet: &[u8], nth: usize) -> bool {
        if packet.len() < self.layout.header_len {
            return false;
        }
        let ip_agrees = match self.layout.version {
            Version::V4 => {
                let keeps_id = u16_at(head, 6) & 0x4000 != 0;
                let id = u16_at(head, 4).wrapping_add(nth as u16);
                usize::from(u16_at(packet, 2)) == packet.len()
                    && (keeps_id || u16_at(packet, 4) == id)
                    && head[..2] == packet[..2]
                    && head[6..10] == packet[6..10]
                    && head[12..20] == packet[12..20]
            }
            Version::V6 => {
                usize::from(u16_at(packet, 4)) + 40 == packet.len()
                    && head[..4] == packet[..4]
                    && head[6..40] == packet[6..40]
            }
        };
        if !ip_agrees {
            return false;
        }
        let (head, segment) = (&head[self.layout.ip_len..self.layout.header_len], &packet[self.layout.ip_len..]);
        match self.layout.transport {
            Transport::Tcp => {
                u32_at(segment, 4) == self.next_sequence
                    && head[..4] == segment[..4]
                    && head[8..13] == segment[8..13]
                    && head[13] == segment[13] & !TCP_PSH
                    && head[14..16] == segment[14..16]
                    && head[18..] == segment[18..head.len()]
            }
            Transport::Udp => {
                head[..4] == segment[..4] && usize::from(u16_at(segment, 4)) == segment.len() && u16_at(segment, 6) != 0
            }
        }
    }

    fn pushes(&self, packet: &[u8]) -> bool {
        self.layout.transport == Transport::Tcp
            && packet.get(self.layout.ip_len + 13).is_some_and(|flags| flags & TCP_PSH != 0)
    }

    /// Makes the first packet's headers those of the whole, and the header that says how to cut it again.
    fn finish(&self, first: &mut [u8], len: usize) -> VirtioHeader {
        let Layout { version, transport, ip_len, header_len } = self.layout;
        match version {
            Version::V4 => {
                put(first, 2, &(len as u16).to_be_bytes());
                finish_ipv4_header(first.get_mut(..ip_len).unwrap_or_default());
            }
            Version::V6 => put(first, 4, &((len - 40) as u16).to_be_bytes()),
        }
        let transport_len = len - ip_len;
        match transport {
            Transport::Tcp if self.pushed => put(first, ip_len + 13, &[TCP_ACK | TCP_PSH | first[ip_len + 13]]),
            Transport::Tcp => {}
            Transport::Udp => put(first, ip_len + 4, &(transport_len as u16).to_be_bytes()),
        }
        let pseudo = pseudo_header(version, first, transport.protocol(), transport_len);
        put(first, ip_len + transport.checksum_offset(), &pseudo.partial());
        VirtioHeader {
            flags: NEEDS_CSUM,
            gso_type: match (transport, version) {
                (Transport::Tcp, Version::V4) => GSO_TCP4,
                (Transport::Tcp, Version::V6) => GSO_TCP6,
                (Transport::Udp, _) => GSO_UDP,
            },
            header_len: header_len as u16,
            gso_size: self.size as u16,
            csum_start: ip_len as u16,
            csum_offset: transport.checksum_offset() as u16,
        }
    }
}

fn has_valid_checksum(layout: &Layout, packet: &[u8]) -> bool {
    let Some(segment) = packet.get(layout.ip_len..) else { return false };
    let ip_is_valid = layout.version == Version::V6 || Sum::default().add(&packet[..layout.ip_len]).is_valid();
    let pseudo = pseudo_header(layout.version, packet, layout.transport.protocol(), segment.len());
    ip_is_valid && pseudo.add(segment).is_valid()
}
