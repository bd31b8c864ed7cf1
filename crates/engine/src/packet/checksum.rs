//! The internet checksum (RFC 1071), fast enough for every byte that goes through.
//!
//! A [`Sum`] adds 16-bit words in the machine's byte order, which the ones' complement sum allows, and many at once. What is added
//! must start at an even offset of what is checksummed.

use super::Version;

/// A ones' complement sum that is not folded yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last one counts as if a zero followed.
    #[must_use]
    pub fn add(self, bytes: &[u8]) -> Sum {
        let (blocks, rest) = bytes.as_chunks::<32>();
        let mut lanes = [0u64; 8];
        for block in blocks {
            let (words, _) = block.as_chunks::<4>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        let mut sum = lanes.iter().fold(u128::from(self.0), |sum, lane| sum + u128::from(*lane));
        let (pairs, odd) = rest.as_chunks::<2>();
        for pair in pairs {
            sum += u128::from(u16::from_ne_bytes(*pair));
        }
        if let [last] = odd {
            sum += u128::from(u16::from_ne_bytes([*last, 0]));
        }
        Sum(fold_to_32(sum))
    }

    /// Adds a number that stands in the packet in network order.
    #[must_use]
    pub fn add_u16(self, number: u16) -> Sum {
        Sum(self.0 + u64::from(number.to_be()))
    }

    /// Takes away a number that stands in the packet in network order.
    #[must_use]
    pub fn subtract_u16(self, number: u16) -> Sum {
        self.add_u16(!number)
    }

    /// The sum as the two bytes that a partial checksum has.
    pub fn partial(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum as u16).to_ne_bytes()
    }

    /// The checksum, as the two bytes of its field.
    pub fn checksum(self) -> [u8; 2] {
        self.partial().map(|byte| !byte)
    }

    /// Whether the sum, taken over everything with its checksum, says that nothing changed.
    pub fn is_valid(self) -> bool {
        self.partial() == [0xff, 0xff]
    }
}

fn fold_to_32(sum: u128) -> u64 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum as u64
}

/// The sum of the pseudo header: addresses, protocol, and the length from the transport header on.
pub fn pseudo_header(version: Version, packet: &[u8], protocol: u8, transport_len: usize) -> Sum {
    let addresses = match version {
        Version::V4 => packet.get(12..20),
        Version::V6 => packet.get(8..40),
    };
    let sum = Sum::default().add(addresses.unwrap_or_default());
    sum.add_u16(u16::from(protocol)).add_u16(transport_len as u16)
}

/// Computes the checksum of an IPv4 header.
pub fn finish_ipv4_header(header: &mut [u8]) {
    if let Some(field) = header.get_mut(10..12) {
        field.fill(0);
    }
    let checksum = Sum::default().add(header).checksum();
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&checksum);
    }
}
