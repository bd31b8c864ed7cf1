//! Sends datagrams from the UDP port of the kernel's device of clients, which has it for itself: packets with headers of their own.
//!
//! For clients that speak with another server through this one, which know this port only. [`datagram`] makes the bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::ping::{checksum, set_mark};

const UDP_HEADER: usize = 8;
const HOPS: u8 = 64;

/// A socket for each family; they hear nothing.
#[derive(Debug)]
pub(super) struct Raw {
    v4: Socket,
    v6: Socket,
    port: u16,
}

impl Raw {
    /// Opens them, for a port; packets carry this mark, as the device's own do.
    ///
    /// # Errors
    /// Without CAP_NET_RAW.
    pub(super) fn open(port: u16, mark: u32) -> io::Result<Raw> {
        let open = |family| -> io::Result<Socket> {
            let socket = Socket::new(family, Type::RAW.nonblocking(), Some(Protocol::from(libc::IPPROTO_RAW)))?;
            set_mark(&socket, mark)?;
            Ok(socket)
        };
        Ok(Raw { v4: open(Domain::IPV4)?, v6: open(Domain::IPV6)?, port })
    }

    /// Sends a datagram from a local address; of IPv4 the kernel finds one if none is given.
    ///
    /// # Errors
    /// What the kernel says, or that there is no local address.
    pub(super) fn send(&self, to: SocketAddr, local: Option<IpAddr>, payload: &[u8]) -> io::Result<()> {
        let bytes = datagram((local, self.port), to, payload).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        // The port is in the packet.
        socket.send_to(&bytes, &SocketAddr::new(to.ip(), 0).into()).map(drop)
    }
}

/// A UDP datagram with its IP header. None if it is too long, the families differ, or IPv6 has no local address. The kernel
/// fills in the checksum of IPv4's header, and the address if there is none; then UDP goes without a checksum.
fn datagram((local, port): (Option<IpAddr>, u16), to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let (header, addresses) = match (local, to.ip()) {
        (Some(IpAddr::V4(from)), IpAddr::V4(to)) => (v4(length, from, to)?, [from.octets(), to.octets()].concat()),
        (None, IpAddr::V4(to)) => (v4(length, Ipv4Addr::UNSPECIFIED, to)?, Vec::new()),
        (Some(IpAddr::V6(from)), IpAddr::V6(to)) => {
            let start = [0x60, 0, 0, 0, (length >> 8) as u8, length as u8, libc::IPPROTO_UDP as u8, HOPS];
            let addresses = [from.octets(), to.octets()].concat();
            ([&start[..], &addresses].concat(), addresses)
        }
        _ => return None,
    };
    let [from, to] = [port, to.port()].map(u16::to_be_bytes);
    let udp = [&from[..], &to, &length.to_be_bytes(), &[0, 0], payload].concat();
    let mut all = [header, udp].concat();
    if !addresses.is_empty() {
        let at = all.len() - usize::from(length);
        let pseudo = [&addresses[..], &[0, libc::IPPROTO_UDP as u8], &length.to_be_bytes()].concat();
        // What is zero stands for none (RFC 768).
        let sum = match checksum(&[&pseudo, all.get(at..)?].concat()) {
            0 => u16::MAX,
            sum => sum,
        };
        all.get_mut(at + 6..at + 8)?.copy_from_slice(&sum.to_be_bytes());
    }
    Some(all)
}

fn v4(length: u16, from: Ipv4Addr, to: Ipv4Addr) -> Option<Vec<u8>> {
    let total = length.checked_add(20)?.to_be_bytes();
    let start = [0x45, 0, total[0], total[1], 0, 0, 0, 0, HOPS, libc::IPPROTO_UDP as u8, 0, 0];
    Some([&start[..], &from.octets(), &to.octets()].concat())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn headers_have_lengths_and_checksums() {
        let to: SocketAddr = "192.0.2.9:5000".parse().unwrap();
        let bytes = datagram((Some("192.0.2.1".parse().unwrap()), 51_821), to, b"abc").unwrap();
        assert_eq!((bytes.len(), &bytes[2..4], &bytes[12..20]), (31, &[0, 31][..], &[192, 0, 2, 1, 192, 0, 2, 9][..]));
        assert_eq!(&bytes[20..26], [&51_821_u16.to_be_bytes()[..], &5_000_u16.to_be_bytes(), &[0, 11]].concat());
        let pseudo = [&bytes[12..20], &[0, 17, 0, 11], &bytes[20..]].concat();
        assert_eq!(checksum(&pseudo), 0, "it verifies");
        assert_eq!(datagram((None, 1), to, b"abc").unwrap()[26..28], [0, 0]);
        let v6: SocketAddr = "[2001:db8::1]:5000".parse().unwrap();
        let bytes = datagram((Some("2001:db8::2".parse().unwrap()), 51_821), v6, b"abcd").unwrap();
        assert_eq!(checksum(&[&bytes[8..40], &[0, 17, 0, 12], &bytes[40..]].concat()), 0);
        assert_eq!((datagram((None, 1), v6, b""), datagram((None, 1), to, &[0; 65_530])), (None, None));
    }

    #[test]
    fn what_is_sent_arrives_from_the_port() {
        for address in ["127.0.0.1", "::1"] {
            let local: IpAddr = address.parse().unwrap();
            let Ok(to) = UdpSocket::bind((local, 0)) else { continue };
            to.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
            // Takes CAP_NET_RAW.
            let Ok(raw) = Raw::open(51_821, 0) else { return };
            raw.send(to.local_addr().unwrap(), Some(local), b"hello").unwrap();
            let mut buffer = [0; 16];
            let (length, from) = to.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&b"hello"[..], SocketAddr::new(local, 51_821)));
        }
    }
}
