//! Reading and changing IP packets in place.
//!
//! Every read is bounded by the slice: packets come from nodes and may be anything. Changes fix checksums incrementally
//! (RFC 1624, equation 3) instead of computing them anew, so a packet that was broken before stays broken after. A UDP checksum
//! of zero means "none" and stays zero.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Source and destination of a packet of either version.
pub(super) fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let header = HeaderV4::parse(packet)?;
            Some((header.source.into(), header.destination.into()))
        }
        6 => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            Some((Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into()))
        }
        _ => None,
    }
}

/// The parts of an IPv4 header that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeaderV4 {
    /// Where the header starts in the buffer: 0, or further in for a packet quoted by an ICMP error.
    pub start: usize,
    pub length: usize,
    pub protocol: u8,
    pub identification: u16,
    /// In units of eight bytes.
    pub fragment_offset: u16,
    pub more_fragments: bool,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

impl HeaderV4 {
    /// Reads the header at the start of the packet.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        Self::parse_at(packet, 0)
    }

    /// Reads the header at `start`. Says nothing about what follows it.
    pub(super) fn parse_at(packet: &[u8], start: usize) -> Option<Self> {
        let bytes = packet.get(start..)?;
        let first = *bytes.first()?;
        let length = usize::from(first & 15) * 4;
        if first >> 4 != 4 || length < 20 || bytes.len() < length {
            return None;
        }
        let fragment = read16(bytes, 6)?;
        Some(Self {
            start,
            length,
            protocol: bytes[9],
            identification: read16(bytes, 4)?,
            fragment_offset: fragment & 0x1fff,
            more_fragments: fragment & 0x2000 != 0,
            source: read_address(bytes, 12)?,
            destination: read_address(bytes, 16)?,
        })
    }

    /// Where the transport header starts.
    pub(super) fn payload(&self) -> usize {
        self.start + self.length
    }
}

pub(super) fn read16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

/// The checksums that cover a word, by position. Those that lie beyond the buffer (cut off in an ICMP error) don't count.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    /// The IP header's.
    pub header: Option<usize>,
    /// The transport's.
    pub transport: Option<TransportSum>,
    /// The one of an ICMP error that quotes all of this; it covers the other two checksums as well.
    pub quoting: Option<usize>,
}

/// Where a transport checksum is, and whether zero means that there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransportSum {
    pub at: usize,
    pub zero_is_none: bool,
}

/// Replaces the word at `at` and corrects all checksums in `sums`. Does nothing where the buffer is too short.
pub(super) fn replace16(packet: &mut [u8], at: usize, new: u16, sums: Sums) {
    let Some(old) = read16(packet, at) else { return };
    packet[at..at + 2].copy_from_slice(&new.to_be_bytes());
    let quoted = Sums { quoting: sums.quoting, ..Sums::default() };
    if let Some(position) = sums.header
        && let Some(sum) = read16(packet, position)
    {
        replace16(packet, position, corrected(sum, old, new), quoted);
    }
    if let Some(transport) = sums.transport
        && let Some(sum) = read16(packet, transport.at)
        && !(transport.zero_is_none && sum == 0)
    {
        let fixed = match corrected(sum, old, new) {
            0 if transport.zero_is_none => 0xffff,
            fixed => fixed,
        };
        replace16(packet, transport.at, fixed, quoted);
    }
    if let Some(position) = sums.quoting
        && let Some(sum) = read16(packet, position)
    {
        packet[position..position + 2].copy_from_slice(&corrected(sum, old, new).to_be_bytes());
    }
}

/// RFC 1624: HC' = ~(~HC + ~m + m').
fn corrected(sum: u16, old: u16, new: u16) -> u16 {
    let mut total = u32::from(!sum) + u32::from(!old) + u32::from(new);
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    // Two folds leave at most sixteen bits.
    !(total as u16)
}

/// Replaces an IPv4 address.
pub(super) fn replace_address(packet: &mut [u8], at: usize, new: Ipv4Addr, sums: Sums) {
    let [a, b, c, d] = new.octets();
    replace16(packet, at, u16::from_be_bytes([a, b]), sums);
    replace16(packet, at + 2, u16::from_be_bytes([c, d]), sums);
}

/// Length of an IPv6 header.
const HEADER_V6: usize = 40;

/// Source and destination of a UDP datagram of either version, if it is whole (no fragment) and has no IPv6 extension headers.
pub(super) fn udp_endpoints(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, destination) = addresses(packet)?;
    let at = udp_at(packet)?;
    let ports = (read16(packet, at)?, read16(packet, at + 2)?);
    Some((SocketAddr::new(source, ports.0), SocketAddr::new(destination, ports.1)))
}

/// Replaces the source of such a datagram by an address of the same version. Does nothing with any other packet or address.
pub(super) fn replace_udp_source(packet: &mut [u8], new: IpAddr) {
    replace_udp_address(packet, (12, 8), new);
}

/// The same with the destination.
pub(super) fn replace_udp_destination(packet: &mut [u8], new: IpAddr) {
    replace_udp_address(packet, (16, 24), new);
}

/// `at`: where the address is in an IPv4 and in an IPv6 packet.
fn replace_udp_address(packet: &mut [u8], at: (usize, usize), new: IpAddr) {
    let (Some(udp), Some((old, _))) = (udp_at(packet), addresses(packet)) else { return };
    let transport = Some(TransportSum { at: udp + 6, zero_is_none: true });
    match (old, new) {
        (IpAddr::V4(_), IpAddr::V4(new)) => {
            replace_address(packet, at.0, new, Sums { header: Some(10), transport, quoting: None });
        }
        (IpAddr::V6(_), IpAddr::V6(new)) => {
            for (word, value) in new.segments().into_iter().enumerate() {
                replace16(packet, at.1 + 2 * word, value, Sums { header: None, transport, quoting: None });
            }
        }
        _ => {}
    }
}

/// Where the UDP header of a whole datagram starts.
fn udp_at(packet: &[u8]) -> Option<usize> {
    if packet.first()? >> 4 == 6 {
        return (*packet.get(6)? == UDP).then_some(HEADER_V6);
    }
    let header = HeaderV4::parse(packet)?;
    let is_whole = header.fragment_offset == 0 && !header.more_fragments;
    (header.protocol == UDP && is_whole).then(|| header.payload())
}

/// The Internet checksum of some bytes.
#[cfg(test)]
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut total = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            total += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_correction_equals_a_computation(mut bytes in proptest::collection::vec(any::<u8>(), 4..40), new: u16) {
            bytes.truncate(bytes.len() & !1);
            bytes[..2].copy_from_slice(&[0, 0]);
            let sum = checksum(&[&bytes]);
            bytes[..2].copy_from_slice(&sum.to_be_bytes());
            replace16(&mut bytes, 2, new, Sums { header: Some(0), ..Sums::default() });
            let found = read16(&bytes, 0).unwrap();
            bytes[..2].copy_from_slice(&[0, 0]);
            let computed = checksum(&[&bytes]);
            // Zero has two representations; both verify.
            prop_assert!(found == computed || (found == 0 && computed == 0xffff) || (found == 0xffff && computed == 0));
        }

        #[test]
        fn nothing_panics_on_garbage(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), start in 0_usize..100, at in 0_usize..100) {
            addresses(&bytes);
            HeaderV4::parse_at(&bytes, start);
            let sums = Sums {
                header: Some(at), transport: Some(TransportSum { at: start, zero_is_none: true }), quoting: Some(at / 2),
            };
            replace_address(&mut bytes, at, Ipv4Addr::new(1, 2, 3, 4), sums);
            udp_endpoints(&bytes);
            replace_udp_source(&mut bytes, Ipv4Addr::LOCALHOST.into());
            replace_udp_destination(&mut bytes, Ipv6Addr::LOCALHOST.into());
        }
    }
}
