//! What a network card would do: cut large packets, join small ones, finish checksums.
//!
//! The kernel hands out packets of up to 64 KB with a [`VirtioHeader`] that says how to cut them (`segment`), and takes packets
//! that were joined again (`coalesce`). Both work on bytes in buffers of their caller and do no I/O. Only the headers of our own
//! kernel come in at `segment`, but any packet that a peer sent comes in at `coalesce`; neither is believed.

pub mod coalesce;
#[cfg(test)]
mod fuzz;
pub mod layout;
pub mod segment;
#[cfg(test)]
mod tests;

pub use coalesce::Coalescer;
pub use segment::Segments;

use super::sys::tun::VIRTIO_HEADER_BYTES;

/// The packet is to be checksummed from `csum_start`; the field holds the pseudo header's sum.
pub const NEEDS_CSUM: u8 = 1;
/// Not to be cut.
pub const GSO_NONE: u8 = 0;
/// TCP over IPv4.
pub const GSO_TCP4: u8 = 1;
/// TCP over IPv6.
pub const GSO_TCP6: u8 = 4;
/// UDP, cut into datagrams.
pub const GSO_UDP: u8 = 5;
/// Added to a TCP type: the first segment only has the CWR flag.
pub const GSO_ECN: u8 = 0x80;

/// The header in front of each packet of a TUN with `IFF_VNET_HDR` (`linux/virtio_net.h`), in the machine's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioHeader {
    /// [`NEEDS_CSUM`], and others that mean nothing here.
    pub flags: u8,
    /// One of the `GSO_` constants.
    pub gso_type: u8,
    /// Bytes of all headers, as a hint.
    pub header_len: u16,
    /// Bytes of payload in each segment but the last.
    pub gso_size: u16,
    /// Where the transport header begins.
    pub csum_start: u16,
    /// Where its checksum is, from there.
    pub csum_offset: u16,
}

impl VirtioHeader {
    /// Reads the header.
    pub fn parse(bytes: &[u8; VIRTIO_HEADER_BYTES]) -> VirtioHeader {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = *bytes;
        VirtioHeader {
            flags,
            gso_type,
            header_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([g0, g1]),
            csum_start: u16::from_ne_bytes([s0, s1]),
            csum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }

    /// The header as bytes.
    pub fn to_bytes(self) -> [u8; VIRTIO_HEADER_BYTES] {
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }
}
