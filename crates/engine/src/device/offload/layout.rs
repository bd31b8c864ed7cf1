//! Where the headers of a TCP or UDP packet are.
//!
//! Only what can be joined has a [`Layout`]: no fragments, no IPv4 options, no IPv6 extension headers, and lengths that agree with
//! the packet's. Everything else passes as it is.

use crate::packet::Version;

/// The protocol above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// Its number.
    pub fn protocol(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }

    /// Where its checksum is, from its header's start.
    pub fn checksum_offset(self) -> usize {
        match self {
            Transport::Tcp => 16,
            Transport::Udp => 6,
        }
    }
}

/// Where the headers of a packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// IP version.
    pub version: Version,
    /// What is above IP.
    pub transport: Transport,
    /// Bytes of the IP header: where the transport header begins.
    pub ip_len: usize,
    /// Bytes of both headers: where the payload begins.
    pub header_len: usize,
}

impl Layout {
    /// Finds the headers of a packet that can be joined with others.
    pub fn parse(packet: &[u8]) -> Option<Layout> {
        let version = Version::of(packet)?;
        let (ip_len, protocol, total_len) = match version {
            Version::V4 => {
                let header: &[u8; 20] = packet.first_chunk()?;
                let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
                if header[0] != 0x45 || is_fragment {
                    return None;
                }
                (20, header[9], usize::from(u16::from_be_bytes([header[2], header[3]])))
            }
            Version::V6 => {
                let header: &[u8; 40] = packet.first_chunk()?;
                (40, header[6], 40 + usize::from(u16::from_be_bytes([header[4], header[5]])))
            }
        };
        if total_len != packet.len() {
            return None;
        }
        let (transport, transport_len) = match protocol {
            6 => (Transport::Tcp, usize::from(packet.get(ip_len + 12)? >> 4) * 4),
            17 => (Transport::Udp, 8),
            _ => return None,
        };
        let shortest = if transport == Transport::Tcp { 20 } else { 8 };
        let header_len = ip_len + transport_len;
        (transport_len >= shortest && header_len <= packet.len()).then_some(Layout {
            version,
            transport,
            ip_len,
            header_len,
        })
    }
}

/// The number at `offset`; zero beyond the end.
pub fn u16_at(packet: &[u8], offset: usize) -> u16 {
    packet.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// The number at `offset`; zero beyond the end.
pub fn u32_at(packet: &[u8], offset: usize) -> u32 {
    packet.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Writes bytes at `offset`, if there is room.
pub fn put(packet: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(place) = packet.get_mut(offset..offset + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
