//! Finding and rewriting the endpoints in a packet.
//!
//! A NAT sees a packet as two endpoints and a protocol. For an ICMP echo the identifier stands in for a port, on the side of the
//! one who asks. An ICMP error quotes the packet that caused it, and what has to be rewritten is (also) in the quotation.

use crate::wire::packet::{HeaderV4, ICMP, Sums, TCP, TransportSum, UDP, read16, replace_address, replace16};
use std::net::SocketAddrV4;

/// Protocol and endpoints of a packet, as it is written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    pub protocol: u8,
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
}

/// What a packet is to a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has its endpoints in it.
    Whole(Flow),
    /// It quotes one that has: the header of the quoted packet, and its flow.
    Error(HeaderV4, Flow),
    /// A later fragment.
    Fragment,
    /// Another protocol.
    Unsupported,
}

/// Which endpoint is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// What the packet with this header is.
pub(super) fn classify(packet: &[u8], header: &HeaderV4) -> Kind {
    if header.fragment_offset != 0 {
        return Kind::Fragment;
    }
    if header.protocol == ICMP && is_error(packet, header) {
        let quoted = HeaderV4::parse_at(packet, header.payload() + 8);
        return match quoted.and_then(|quoted| Some((quoted, flow(packet, &quoted)?))) {
            Some((quoted, flow)) if quoted.fragment_offset == 0 => Kind::Error(quoted, flow),
            _ => Kind::Unsupported,
        };
    }
    flow(packet, header).map_or(Kind::Unsupported, Kind::Whole)
}

/// Destination unreachable, source quench, time exceeded, parameter problem.
fn is_error(packet: &[u8], header: &HeaderV4) -> bool {
    matches!(packet.get(header.payload()), Some(3 | 4 | 11 | 12))
}

fn flow(packet: &[u8], header: &HeaderV4) -> Option<Flow> {
    let payload = header.payload();
    let (source, destination) = match header.protocol {
        UDP | TCP => (read16(packet, payload)?, read16(packet, payload + 2)?),
        ICMP => match packet.get(payload)? {
            8 => (read16(packet, payload + 4)?, 0),
            0 => (0, read16(packet, payload + 4)?),
            _ => return None,
        },
        _ => return None,
    };
    Some(Flow {
        protocol: header.protocol,
        source: SocketAddrV4::new(header.source, source),
        destination: SocketAddrV4::new(header.destination, destination),
    })
}

/// Rewrites one endpoint of a packet that has its ports in it.
pub(super) fn rewrite(packet: &mut [u8], header: &HeaderV4, side: Side, new: SocketAddrV4) {
    rewrite_in(packet, header, side, new, None);
}

/// Rewrites an ICMP error: `side` of the outer packet's addresses, and the opposite side of the quoted packet's endpoints.
pub(super) fn rewrite_error(
    packet: &mut [u8],
    header: &HeaderV4,
    quoted: &HeaderV4,
    side: Side,
    outer: SocketAddrV4,
    inner: SocketAddrV4,
) {
    let opposite = if side == Side::Source { Side::Destination } else { Side::Source };
    rewrite_in(packet, quoted, opposite, inner, Some(header.payload() + 2));
    rewrite_address(packet, header, side, outer);
}

/// Rewrites an address only, in packets without ports (fragments, the outside of ICMP errors).
pub(super) fn rewrite_address(packet: &mut [u8], header: &HeaderV4, side: Side, new: SocketAddrV4) {
    let sums = Sums { header: Some(header.start + 10), ..Sums::default() };
    replace_address(packet, header.start + address_offset(side), *new.ip(), sums);
}

fn rewrite_in(packet: &mut [u8], header: &HeaderV4, side: Side, new: SocketAddrV4, quoting: Option<usize>) {
    let payload = header.payload();
    let transport = match header.protocol {
        UDP => Some(TransportSum { at: payload + 6, zero_is_none: true }),
        TCP => Some(TransportSum { at: payload + 16, zero_is_none: false }),
        ICMP => Some(TransportSum { at: payload + 2, zero_is_none: false }),
        _ => None,
    };
    // ICMP has no pseudo-header: its checksum doesn't cover addresses.
    let pseudo = transport.filter(|_| header.protocol != ICMP);
    let address_sums = Sums { header: Some(header.start + 10), transport: pseudo, quoting };
    replace_address(packet, header.start + address_offset(side), *new.ip(), address_sums);
    let port = match (header.protocol, side) {
        (ICMP, _) => payload + 4,
        (_, Side::Source) => payload,
        (_, Side::Destination) => payload + 2,
    };
    replace16(packet, port, new.port(), Sums { header: None, transport, quoting });
}

fn address_offset(side: Side) -> usize {
    match side {
        Side::Source => 12,
        Side::Destination => 16,
    }
}
