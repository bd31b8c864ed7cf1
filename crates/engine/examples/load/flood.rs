//! An attacker: datagrams from a thousand forged addresses at a steady rate, by a raw socket.
//!
//! `initiations` have a valid first MAC and nothing else valid, as from somebody who knows the server's public key. `hostile` is all
//! there is: random bytes of all lengths, good headers with random rest, initiations, recorded datagrams replayed, cut, and with a
//! bit changed.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use wayleave_engine::noise::cookie::PeerMacs;
use wayleave_engine::{Monotonic, PublicKey, Rng, SeededRng};

use crate::Options;
use crate::clients::key_from_text;

const HEADERS_BYTES: usize = 28;
const PAYLOAD_BYTES_MAX: usize = 1472;
const AT_ONCE_MAX: usize = 64;

pub fn run(options: &Options) {
    let SocketAddr::V4(to) = options.text("to").parse().unwrap() else { panic!("--to: IPv4 only") };
    let rate = f64::from(options.number("rate", 20_000));
    let length = Duration::from_secs(options.number("seconds", 5).into());
    let mut source = Source::new(options);
    let socket = RawSocket::new();
    let sources = options.number("sources", 1000);
    let (mut sent, mut refused) = (0u64, 0u64);
    let begin = Instant::now();
    while begin.elapsed() < length {
        let wanted = (begin.elapsed().as_secs_f64() * rate) as u64;
        while sent + refused < wanted {
            let count = (wanted - sent - refused).min(AT_ONCE_MAX as u64);
            let mut packets: Vec<Vec<u8>> = (0..count)
                .map(|nth| {
                    let from = Ipv4Addr::from_bits(
                        u32::from_be_bytes([10, 67, 0, 0]) + 256 + ((sent + refused + nth) % u64::from(sources)) as u32,
                    );
                    datagram(SocketAddrV4::new(from, 1024 + (sent % 50_000) as u16), to, &source.payload())
                })
                .collect();
            let done = socket.send(&mut packets, to);
            sent += done;
            refused += count - done;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    println!("flood_sent {sent}");
    println!("flood_refused {refused}");
    println!("flood_per_s {:.0}", sent as f64 / begin.elapsed().as_secs_f64());
}

/// What the attacker sends.
struct Source {
    macs: PeerMacs,
    rng: SeededRng,
    is_hostile: bool,
    corpus: Vec<Vec<u8>>,
}

impl Source {
    fn new(options: &Options) -> Source {
        let corpus = options.0.get("corpus").map_or_else(Vec::new, |path| {
            let bytes = std::fs::read(path).unwrap();
            let (mut rest, mut corpus) = (&bytes[..], Vec::new());
            while let Some((len, more)) = rest.split_first_chunk::<2>() {
                let Some((datagram, more)) = more.split_at_checked(u16::from_le_bytes(*len).into()) else { break };
                corpus.push(datagram.to_vec());
                rest = more;
            }
            corpus
        });
        Source {
            macs: PeerMacs::new(&PublicKey(key_from_text(options.text("key")))),
            rng: SeededRng::new(1),
            is_hostile: options.0.get("kind").is_some_and(|kind| kind == "hostile"),
            corpus,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound as u64) as usize
    }

    fn payload(&mut self) -> Vec<u8> {
        if !self.is_hostile {
            return self.initiation();
        }
        match self.below(6) {
            0 => self.initiation(),
            1 => {
                let len = self.below(PAYLOAD_BYTES_MAX + 1);
                self.random(len)
            }
            2 => {
                let kind = 1 + self.below(4);
                let len = [148, 92, 64, 32 + self.below(PAYLOAD_BYTES_MAX - 31)][kind - 1];
                let mut payload = self.random(len);
                payload[..4].copy_from_slice(&[kind as u8, 0, 0, 0]);
                payload
            }
            3 => self.recorded(),
            4 => {
                let mut payload = self.recorded();
                payload.truncate(self.below(payload.len().max(1)));
                payload
            }
            _ => {
                let mut payload = self.recorded();
                let bit = self.below(payload.len().max(1) * 8);
                if let Some(byte) = payload.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                payload
            }
        }
    }

    fn random(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn recorded(&mut self) -> Vec<u8> {
        if self.corpus.is_empty() {
            return self.initiation();
        }
        let at = self.below(self.corpus.len());
        self.corpus[at].clone()
    }

    fn initiation(&mut self) -> Vec<u8> {
        let mut message = self.random(148);
        message[..4].copy_from_slice(&[1, 0, 0, 0]);
        message[132..].fill(0);
        self.macs.sign(Monotonic::default(), &mut message);
        message
    }
}

/// An IPv4 packet with a UDP datagram without checksum. The kernel adds the header's own.
fn datagram(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADERS_BYTES];
    let (total, udp) = ((HEADERS_BYTES + payload.len()) as u16, (8 + payload.len()) as u16);
    (packet[0], packet[8], packet[9]) = (0x45, 64, 17);
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[12..16].copy_from_slice(&from.ip().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    packet[20..22].copy_from_slice(&from.port().to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet[24..26].copy_from_slice(&udp.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

struct RawSocket(i32);

impl RawSocket {
    fn new() -> RawSocket {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
        assert!(fd >= 0, "a raw socket needs root: {}", std::io::Error::last_os_error());
        RawSocket(fd)
    }

    /// Sends packets with headers; gives how many went.
    fn send(&self, packets: &mut [Vec<u8>], to: SocketAddrV4) -> u64 {
        // SAFETY: both are plain old data, valid when zero.
        let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        address.sin_family = libc::AF_INET as u16;
        address.sin_addr.s_addr = to.ip().to_bits().to_be();
        let mut parts: Vec<libc::iovec> = packets
            .iter_mut()
            .map(|packet| libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: as above.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_name = (&raw mut address).cast();
                message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        // SAFETY: the headers point to the address and the packets, which outlive the call.
        let sent = unsafe { libc::sendmmsg(self.0, messages.as_mut_ptr(), messages.len() as u32, 0) };
        u64::try_from(sent).unwrap_or(0)
    }
}
