//! Cutting: one packet from the interface into the packets that go out.
//!
//! [`Segments::plan`] looks at the virtio header and says how many packets there will be and how long each is;
//! [`Segments::write`] writes one of them, with headers and checksums as the kernel's own segmentation has them
//! (`tcp_gso_segment`, `__udp_gso_segment`): lengths, IPv4 identifications and sequence numbers count on, FIN and PSH are the last
//! segment's, CWR is the first's. A packet that is not to be cut is a plan with one segment.

use super::layout::{Layout, Transport, put, u16_at, u32_at};
use super::{GSO_ECN, GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CSUM, VirtioHeader};
use crate::packet::Version;
use crate::packet::checksum::{Sum, finish_ipv4_header, pseudo_header};

const TCP_FIN_PSH: u8 = 0x01 | 0x08;
const TCP_CWR: u8 = 0x80;

/// How to cut a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    how: How,
    packet_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// One packet, as it is.
    Whole,
    /// One packet whose checksum is missing: where to start, and where to put it.
    Checksum { start: usize, at: usize },
    /// Several.
    Cut(Cut),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    version: Version,
    transport: Transport,
    /// Where the transport header begins.
    start: usize,
    /// Where the payload begins.
    header_len: usize,
    /// Payload of each segment but the last.
    size: usize,
    /// The pseudo header's sum, less the length.
    pseudo: Sum,
}

impl Segments {
    /// Says how to cut a packet; none if the header makes no sense.
    pub fn plan(header: &VirtioHeader, packet: &[u8]) -> Option<Segments> {
        let needs_checksum = header.flags & NEEDS_CSUM != 0;
        let how = match header.gso_type & !GSO_ECN {
            GSO_NONE if needs_checksum => {
                let start = usize::from(header.csum_start);
                let at = start + usize::from(header.csum_offset);
                if at + 2 > packet.len() {
                    return None;
                }
                How::Checksum { start, at }
            }
            GSO_NONE => How::Whole,
            GSO_TCP4 => How::Cut(Cut::plan(header, packet, Version::V4, Transport::Tcp)?),
            GSO_TCP6 => How::Cut(Cut::plan(header, packet, Version::V6, Transport::Tcp)?),
            GSO_UDP => How::Cut(Cut::plan(header, packet, Version::of(packet)?, Transport::Udp)?),
            _ => return None,
        };
        Some(Segments { how, packet_len: packet.len() })
    }

    /// How many packets there will be; at least one.
    pub fn count(&self) -> usize {
        match self.how {
            How::Cut(cut) => (self.packet_len - cut.header_len).div_ceil(cut.size).max(1),
            How::Whole | How::Checksum { .. } => 1,
        }
    }

    /// The length of each packet but the last.
    pub fn first_len(&self) -> usize {
        match self.how {
            How::Cut(cut) => self.packet_len.min(cut.header_len + cut.size),
            How::Whole | How::Checksum { .. } => self.packet_len,
        }
    }

    /// The length of the last packet.
    pub fn last_len(&self) -> usize {
        match self.how {
            How::Cut(cut) => self.packet_len - (self.count() - 1) * cut.size,
            How::Whole | How::Checksum { .. } => self.packet_len,
        }
    }

    /// Writes packet number `nth` to `out`, which is as long as it.
    pub fn write(&self, nth: usize, packet: &[u8], out: &mut [u8]) {
        match self.how {
            How::Whole => put(out, 0, packet),
            How::Checksum { start, at } => {
                put(out, 0, packet);
                let sum = Sum::default().add(out.get(start..).unwrap_or_default());
                put(out, at, &not_zero(sum.checksum()));
            }
            How::Cut(cut) => {
                let payload = cut.header_len + nth * cut.size;
                let Some((headers, rest)) = out.split_at_mut_checked(cut.header_len) else { return };
                headers.copy_from_slice(packet.get(..cut.header_len).unwrap_or_default());
                put(rest, 0, packet.get(payload..payload + rest.len()).unwrap_or_default());
                cut.fix(nth, nth + 1 == self.count(), out);
            }
        }
    }
}

impl Cut {
    fn plan(header: &VirtioHeader, packet: &[u8], version: Version, transport: Transport) -> Option<Cut> {
        if Version::of(packet) != Some(version) || header.gso_size == 0 {
            return None;
        }
        let shortest = if version == Version::V4 { 20 } else { 40 };
        let start =
            if header.flags & NEEDS_CSUM != 0 { usize::from(header.csum_start) } else { Layout::parse(packet)?.ip_len };
        let transport_len = match transport {
            Transport::Tcp => usize::from(packet.get(start + 12)? >> 4) * 4,
            Transport::Udp => 8,
        };
        let header_len = start + transport_len;
        let is_short = transport == Transport::Tcp && transport_len < 20;
        if start < shortest || is_short || header_len > packet.len() || ip_header_len(version, packet) > start {
            return None;
        }
        let transport_bytes = packet.len() - start;
        let pseudo = if header.flags & NEEDS_CSUM != 0 {
            // The kernel's sum is taken over and corrected: with a routing header its destination is not the one in the packet.
            let field = start + transport.checksum_offset();
            Sum::default().add(packet.get(field..field + 2)?).subtract_u16(transport_bytes as u16)
        } else {
            pseudo_header(version, packet, transport.protocol(), 0)
        };
        Some(Cut { version, transport, start, header_len, size: usize::from(header.gso_size), pseudo })
    }

    /// Makes the copied headers those of segment number `nth`.
    fn fix(&self, nth: usize, is_last: bool, out: &mut [u8]) {
        let len = out.len();
        match self.version {
            Version::V4 => {
                let id = u16_at(out, 4).wrapping_add(nth as u16);
                put(out, 2, &(len as u16).to_be_bytes());
                put(out, 4, &id.to_be_bytes());
                let header_len = ip_header_len(Version::V4, out);
                finish_ipv4_header(out.get_mut(..header_len).unwrap_or_default());
            }
            Version::V6 => put(out, 4, &((len - 40) as u16).to_be_bytes()),
        }
        let transport_len = (len - self.start) as u16;
        match self.transport {
            Transport::Tcp => {
                let sequence = u32_at(out, self.start + 4).wrapping_add((nth * self.size) as u32);
                put(out, self.start + 4, &sequence.to_be_bytes());
                let cleared = if is_last { 0 } else { TCP_FIN_PSH } | if nth == 0 { 0 } else { TCP_CWR };
                if let Some(flags) = out.get_mut(self.start + 13) {
                    *flags &= !cleared;
                }
            }
            Transport::Udp => put(out, self.start + 4, &transport_len.to_be_bytes()),
        }
        let field = self.start + self.transport.checksum_offset();
        put(out, field, &[0, 0]);
        let sum = self.pseudo.add_u16(transport_len).add(out.get(self.start..).unwrap_or_default());
        put(out, field, &not_zero(sum.checksum()));
    }
}

/// Zero would mean "no checksum" for UDP; its complement means the same sum, for all protocols.
fn not_zero(checksum: [u8; 2]) -> [u8; 2] {
    if checksum == [0, 0] { [0xff, 0xff] } else { checksum }
}

fn ip_header_len(version: Version, packet: &[u8]) -> usize {
    match version {
        Version::V4 => usize::from(packet.first().map_or(0, |byte| byte & 0x0f)) * 4,
        Version::V6 => 40,
    }
}
