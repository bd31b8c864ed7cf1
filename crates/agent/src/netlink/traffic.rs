//! Counters and handshakes of a kernel's device and where its peers are, and nothing else of it.
//!
//! Kernels tell all or nothing of a device. An entry node with thousands of clients asks several times a second, so what it does not
//! want (keys, prefixes) is passed over where it lies instead of being read.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable};
use wayleave_engine::{PeerTraffic, PublicKey};

/// Bytes of `struct genlmsghdr`.
const GENERIC_HEADER: usize = 4;
/// `WG_CMD_GET_DEVICE`, and the version that is spoken (`linux/wireguard.h`, as the numbers below).
const COMMAND: [u8; GENERIC_HEADER] = [0, 1, 0, 0];
const DEVICE_NAME: u16 = 2;
const DEVICE_PEERS: u16 = 8;
const PEER_PUBLIC_KEY: u16 = 1;
const PEER_ENDPOINT: u16 = 4;
const PEER_LAST_HANDSHAKE: u16 = 6;
const PEER_RX_BYTES: u16 = 7;
const PEER_TX_BYTES: u16 = 8;
/// Bits of an attribute's type that say how it is to be read (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// The question, or one of the answers.
#[derive(Debug)]
pub(super) struct Traffic {
    family: u16,
    question: Vec<u8>,
    /// What an answer says: of each peer, also where it is.
    pub(super) peers: Vec<(PeerTraffic, Option<SocketAddr>)>,
}

impl Traffic {
    /// Asks for a device.
    pub(super) fn of(device: &str, family: u16) -> Traffic {
        let length = 4 + device.len() + 1;
        let mut question = COMMAND.to_vec();
        question.extend((length as u16).to_ne_bytes());
        question.extend(DEVICE_NAME.to_ne_bytes());
        question.extend(device.as_bytes());
        question.resize(GENERIC_HEADER + length.next_multiple_of(4), 0);
        Traffic { family, question, peers: Vec::new() }
    }
}

impl NetlinkSerializable for Traffic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        self.question.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..self.question.len()].copy_from_slice(&self.question);
    }
}

impl NetlinkDeserializable for Traffic {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Traffic, Self::Error> {
        let device = attributes(payload.get(GENERIC_HEADER..).unwrap_or_default());
        let lists = device.filter(|(kind, _)| *kind == DEVICE_PEERS).flat_map(|(_, list)| attributes(list));
        let peers = lists.filter_map(|(_, one)| peer(one)).collect();
        Ok(Traffic { family: header.message_type, question: Vec::new(), peers })
    }
}

impl From<Traffic> for NetlinkPayload<Traffic> {
    fn from(traffic: Traffic) -> Self {
        NetlinkPayload::InnerMessage(traffic)
    }
}

/// One peer. Where its prefixes don't fit into one message, the rest comes without counters, and is none.
fn peer(bytes: &[u8]) -> Option<(PeerTraffic, Option<SocketAddr>)> {
    let (mut endpoint, mut public_key, mut last_handshake, mut rx_bytes, mut tx_bytes) = (None, None, None, None, None);
    for (kind, value) in attributes(bytes) {
        match kind {
            PEER_PUBLIC_KEY => public_key = Some(PublicKey(value.try_into().ok()?)),
            PEER_ENDPOINT => endpoint = socket_address(value),
            PEER_LAST_HANDSHAKE => {
                let (seconds, rest) = value.split_first_chunk()?;
                let (seconds, nanoseconds) = (i64::from_ne_bytes(*seconds), i64::from_ne_bytes(rest.try_into().ok()?));
                let at = Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
                last_handshake = (!at.is_zero()).then_some(at);
            }
            PEER_RX_BYTES => rx_bytes = Some(u64::from_ne_bytes(value.try_into().ok()?)),
            PEER_TX_BYTES => tx_bytes = Some(u64::from_ne_bytes(value.try_into().ok()?)),
            _ => {}
        }
    }
    let traffic = PeerTraffic { public_key: public_key?, last_handshake, rx_bytes: rx_bytes?, tx_bytes: tx_bytes? };
    Some((traffic, endpoint))
}

/// A `struct sockaddr_in` or `sockaddr_in6`.
fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    let address = match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => IpAddr::from(*rest.first_chunk::<4>()?),
        libc::AF_INET6 => IpAddr::from(*rest.get(4..)?.first_chunk::<16>()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// The attributes that lie one behind the other, with their types; up to the first that is none.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = bytes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn one(key: u8, counters: bool) -> Vec<u8> {
        let handshake = [5_i64.to_ne_bytes(), 7_i64.to_ne_bytes()].concat();
        let mut all = attribute(PEER_PUBLIC_KEY, &[key; 32]);
        if counters {
            all.extend(attribute(2, &[0xee; 32]));
            all.extend(attribute(PEER_ENDPOINT, &endpoint()));
            all.extend(attribute(PEER_LAST_HANDSHAKE, &handshake));
            all.extend(attribute(PEER_TX_BYTES, &11_u64.to_ne_bytes()));
            all.extend(attribute(PEER_RX_BYTES, &u64::from(key).to_ne_bytes()));
        }
        all.extend(attribute(9 | 0x8000, &[0xaa; 50]));
        attribute(0x8000, &all)
    }

    /// 192.0.2.1:51820 as the kernel has it.
    fn endpoint() -> Vec<u8> {
        let family = (libc::AF_INET as u16).to_ne_bytes();
        [&family[..], &51_820_u16.to_be_bytes(), &[192, 0, 2, 1], &[0; 8]].concat()
    }

    #[test]
    fn an_address_of_either_family_is_read_and_a_shorter_one_is_none() {
        assert_eq!(socket_address(&endpoint()), Some(SocketAddr::from(([192, 0, 2, 1], 51_820))));
        let family = (libc::AF_INET6 as u16).to_ne_bytes();
        let v6 = [&family[..], &[1, 2], &[0; 4], &[0xfd; 16], &[0; 4]].concat();
        assert_eq!(socket_address(&v6), Some(SocketAddr::from(([0xfd; 16], 0x0102))));
        assert_eq!((socket_address(&v6[..23]), socket_address(&[0; 28])), (None, None));
    }

    fn read(bytes: &[u8]) -> Vec<(PeerTraffic, Option<SocketAddr>)> {
        Traffic::deserialize(&NetlinkHeader::default(), bytes).unwrap().peers
    }

    #[test]
    fn counters_and_handshakes_are_read_and_the_rest_of_a_peers_prefixes_is_no_peer() {
        let list = [one(1, false), one(2, true), one(3, true)].concat();
        let message = [COMMAND.to_vec(), attribute(1, &[0; 4]), attribute(DEVICE_PEERS | 0x8000, &list)].concat();
        let at = Some(Duration::new(5, 7));
        let traffic = |key| {
            let public_key = PublicKey([key; 32]);
            let traffic = PeerTraffic { public_key, last_handshake: at, rx_bytes: u64::from(key), tx_bytes: 11 };
            (traffic, Some(SocketAddr::from(([192, 0, 2, 1], 51_820))))
        };
        assert_eq!(read(&message), vec![traffic(2), traffic(3)]);
        for end in 0..message.len() {
            assert!(read(&message[..end]).len() <= 2, "whatever is cut off");
        }
    }

    #[test]
    fn the_question_is_that_of_the_whole_device() {
        let traffic = Traffic::of("wg0", 29);
        let mut bytes = vec![0; traffic.buffer_len()];
        traffic.serialize(&mut bytes);
        assert_eq!(bytes, [&[0, 1, 0, 0, 8, 0, 2, 0][..], b"wg0\0"].concat());
    }
}
