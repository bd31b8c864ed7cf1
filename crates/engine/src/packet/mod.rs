//! Packet buffers and the little of IP that the engine reads.
//!
//! A [`PacketBuf`] owns one packet with room in front for the header of a data message, so that sealing and opening happen in
//! place and a packet is handed on, not copied. [`IpHeader`] reads addresses and length of an inner packet and believes nothing
//! else about it. `checksum` is the internet's, `icmp` the answer to packets that go nowhere.

pub(crate) mod checksum;
pub(crate) mod icmp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::noise::messages::{DATA_HEADER_BYTES, TAG_BYTES};

/// Room at the end for padding and tag, so that sealing never moves the packet.
const TAILROOM_BYTES: usize = 16 + TAG_BYTES;

/// A packet with room around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketBuf {
    bytes: Vec<u8>,
    start: usize,
}

impl PacketBuf {
    /// A buffer with a copy of `packet`.
    pub fn new(packet: &[u8]) -> PacketBuf {
        let mut storage = Vec::with_capacity(DATA_HEADER_BYTES + packet.len() + TAILROOM_BYTES);
        storage.resize(DATA_HEADER_BYTES, 0);
        storage.extend_from_slice(packet);
        PacketBuf { bytes: storage, start: DATA_HEADER_BYTES }
    }

    /// The packet.
    pub fn packet(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The packet, to change in place.
    pub fn packet_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// The packet's length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    /// Whether the packet has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds zeros at the end.
    pub(crate) fn pad(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    /// Cuts the packet to its first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.start + len);
    }

    /// Drops the first `count` bytes of the packet.
    pub(crate) fn advance(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
    }

    /// Makes room for a data header in front of the packet and returns it. The packet then includes the header.
    pub(crate) fn prepend_header(&mut self) -> &mut [u8; DATA_HEADER_BYTES] {
        if self.start < DATA_HEADER_BYTES {
            self.bytes.splice(0..self.start, [0; DATA_HEADER_BYTES]);
            self.start = DATA_HEADER_BYTES;
        }
        self.start -= DATA_HEADER_BYTES;
        self.bytes[self.start..].first_chunk_mut().expect("a header's room was made just above")
    }
}

/// The IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Version {
    /// What a packet says it is.
    pub fn of(packet: &[u8]) -> Option<Version> {
        match packet.first()? >> 4 {
            4 => Some(Version::V4),
            6 => Some(Version::V6),
            _ => None,
        }
    }
}

/// What an IP packet says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Length of the whole packet in bytes, as the header has it: not longer than the buffer it was read from.
    pub len: usize,
}

impl IpHeader {
    /// Reads the header; `None` for what is no IP packet or is cut short.
    pub fn parse(packet: &[u8]) -> Option<IpHeader> {
        let header = match packet.first()? >> 4 {
            4 => IpHeader::parse_v4(packet.first_chunk()?),
            6 => IpHeader::parse_v6(packet.first_chunk()?),
            _ => return None,
        }?;
        (header.len <= packet.len()).then_some(header)
    }

    fn parse_v4(header: &[u8; 20]) -> Option<IpHeader> {
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let source = Ipv4Addr::from(*header[12..].first_chunk::<4>()?);
        let destination = Ipv4Addr::from(*header[16..].first_chunk::<4>()?);
        (len >= header.len()).then_some(IpHeader { source: source.into(), destination: destination.into(), len })
    }

    fn parse_v6(header: &[u8; 40]) -> Option<IpHeader> {
        let len = usize::from(u16::from_be_bytes([header[4], header[5]])) + header.len();
        let source = Ipv6Addr::from(*header[8..].first_chunk::<16>()?);
        let destination = Ipv6Addr::from(*header[24..].first_chunk::<16>()?);
        Some(IpHeader { source: source.into(), destination: destination.into(), len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_prepended_in_place_and_after_the_room_is_used_up() {
        let mut buf = PacketBuf::new(b"packet");
        buf.prepend_header()[0] = 1;
        buf.prepend_header()[0] = 2;
        assert_eq!(buf.len(), 38);
        assert_eq!((buf.packet()[0], buf.packet()[16]), (2, 1));
        buf.advance(32);
        assert_eq!(buf.packet(), b"packet");
        buf.advance(100);
        assert!(buf.is_empty());
    }

    #[test]
    fn a_header_longer_than_the_packet_is_refused() {
        let mut packet = [0u8; 28];
        packet[0] = 0x45;
        packet[3] = 28;
        assert_eq!(IpHeader::parse(&packet).map(|header| header.len), Some(28));
        packet[3] = 29;
        assert_eq!(IpHeader::parse(&packet), None);
        packet[3] = 19;
        assert_eq!(IpHeader::parse(&packet), None);
        assert_eq!(IpHeader::parse(&[0x60; 39]), None);
        assert_eq!(IpHeader::parse(&[]), None);
    }
}
