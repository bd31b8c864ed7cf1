//! The wire format: four message types, little-endian, fixed layouts (whitepaper section 5.4).
//!
//! [`Message::parse`] is the only place that looks at an unauthenticated datagram's header: it checks type, reserved bytes and
//! length and lends out the fields. Layout constants for building messages are here too.

/// Bytes of a handshake initiation.
pub const INITIATION_BYTES: usize = 148;
/// Bytes of a handshake response.
pub const RESPONSE_BYTES: usize = 92;
/// Bytes of a cookie reply.
pub const COOKIE_REPLY_BYTES: usize = 64;
/// Bytes before the sealed packet in a data message.
pub const DATA_HEADER_BYTES: usize = 16;
/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of each of the two MACs that end a handshake message.
pub const MAC_BYTES: usize = 16;
/// Bytes of a data message with nothing in it: a keepalive.
pub const KEEPALIVE_BYTES: usize = DATA_HEADER_BYTES + TAG_BYTES;

/// Message type of an initiation.
pub const TYPE_INITIATION: u8 = 1;
/// Message type of a response.
pub const TYPE_RESPONSE: u8 = 2;
/// Message type of a cookie reply.
pub const TYPE_COOKIE_REPLY: u8 = 3;
/// Message type of a data message.
pub const TYPE_DATA: u8 = 4;

/// A datagram with a valid header. Nothing in it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The first handshake message, MACs included.
    Initiation(&'a [u8; INITIATION_BYTES]),
    /// The second handshake message, MACs included.
    Response(&'a [u8; RESPONSE_BYTES]),
    /// The answer of a host under load.
    CookieReply(&'a [u8; COOKIE_REPLY_BYTES]),
    /// A sealed packet.
    Data {
        /// The session, in the receiver's numbering.
        receiver: u32,
        /// The nonce.
        counter: u64,
    },
}

impl<'a> Message<'a> {
    /// Looks at a datagram; `None` if it is no WireGuard message.
    pub fn parse(datagram: &'a [u8]) -> Option<Message<'a>> {
        let (&[kind, 0, 0, 0], _) = datagram.split_first_chunk::<4>()? else { return None };
        match kind {
            TYPE_INITIATION => datagram.try_into().ok().map(Message::Initiation),
            TYPE_RESPONSE => datagram.try_into().ok().map(Message::Response),
            TYPE_COOKIE_REPLY => datagram.try_into().ok().map(Message::CookieReply),
            TYPE_DATA if datagram.len() >= KEEPALIVE_BYTES => {
                Some(Message::Data { receiver: u32_at(datagram, 4), counter: u64_at(datagram, 8) })
            }
            _ => None,
        }
    }
}

/// Writes the header of a data message.
pub fn write_data_header(header: &mut [u8; DATA_HEADER_BYTES], receiver: u32, counter: u64) {
    header[..4].copy_from_slice(&[TYPE_DATA, 0, 0, 0]);
    header[4..8].copy_from_slice(&receiver.to_le_bytes());
    header[8..].copy_from_slice(&counter.to_le_bytes());
}

/// The little-endian number at `offset`, zero beyond the end.
pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_lengths_and_zero_reserved_bytes_parse() {
        for (kind, length) in [(1u8, 148), (2, 92), (3, 64)] {
            for off in [-1i32, 0, 1] {
                let mut datagram = vec![0; (length + off) as usize];
                datagram[0] = kind;
                assert_eq!(Message::parse(&datagram).is_some(), off == 0);
            }
            for reserved in 1..4 {
                let mut datagram = vec![0; length as usize];
                datagram[0] = kind;
                datagram[reserved] = 1;
                assert!(Message::parse(&datagram).is_none());
            }
        }
        let mut data = vec![0; 32];
        data[0] = 4;
        assert_eq!(Message::parse(&data), Some(Message::Data { receiver: 0, counter: 0 }));
        assert_eq!(Message::parse(&data[..31]), None);
        assert_eq!(Message::parse(&[]), None);
    }
}
