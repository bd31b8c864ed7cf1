//! Hears what comes for the kernel's device of clients, which says nothing of new sessions, nor of packets that it can't open.
//!
//! A packet socket for each family, with a filter in the kernel. Usually it lets pass a handshake's response and the first packet of
//! a session only, two packets a client and two minutes: hints to look at the device, nothing more. Anybody can send such
//! bytes, and [`wayleave_core::node::claims::looks`] decides how often to look. While the server drains, all responses and
//! sessions' packets pass, whole, since some are for other servers. The device gets them all the same.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};

use socket2::{Domain, SockFilter, Socket, Type};

use crate::system::signals::wait_readable;
use crate::system::sockets::set_room;

/// Room for hints: one is as good as a hundred.
const RECEIVE_BYTES: usize = 4_096;
/// Room for what is to be passed on.
const RECEIVE_BYTES_ALL: libc::c_int = 4 << 20;
/// The largest datagram: what a jumbo underlay carries.
const DATAGRAM_BYTES_MAX: usize = 9_216;
/// Datagrams read of one socket before the other has its turn.
const TURN_MAX: usize = 64;
/// First words of WireGuard's messages (whitepaper, section 5.4): a handshake's response, and a packet of a session.
const RESPONSE: u32 = 0x0200_0000;
const TRANSPORT: u32 = 0x0400_0000;
const UDP_HEADER: usize = 8;

/// What listens to a UDP port of this host.
#[derive(Debug)]
pub(super) struct Tap {
    v4: Socket,
    v6: Socket,
    port: u16,
}

/// A datagram that has come for the port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard<'a> {
    pub(super) source: SocketAddr,
    pub(super) local: IpAddr,
    pub(super) payload: &'a [u8],
}

impl Tap {
    /// Starts to listen.
    ///
    /// # Errors
    /// Without CAP_NET_RAW or packet sockets.
    pub(super) fn open(port: u16) -> io::Result<Tap> {
        let v4 = socket(libc::ETH_P_IP as u16, &filter(V4, port, false))?;
        Ok(Tap { v4, v6: socket(libc::ETH_P_IPV6 as u16, &filter(V6, port, false))?, port })
    }

    /// From now on all packets are heard, or those that may begin a session.
    ///
    /// # Errors
    /// If the kernel has no memory for it.
    pub(super) fn hear_all(&self, all: bool) -> io::Result<()> {
        for (socket, family) in [(&self.v4, V4), (&self.v6, V6)] {
            match all {
                true => set_room(socket, RECEIVE_BYTES_ALL),
                false => socket.set_recv_buffer_size(RECEIVE_BYTES)?,
            }
            socket.attach_filter(&filter(family, self.port, all))?;
        }
        Ok(())
    }

    /// Waits until something has come, or for this long, and hands it over. Says whether something may have begun a session.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn wait(&self, timeout_ms: i32, mut each: impl FnMut(&Heard<'_>)) -> io::Result<bool> {
        let mut is_hint = false;
        let ready = wait_readable(&[self.v4.as_fd(), self.v6.as_fd()], timeout_ms)?;
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        for (socket, _) in [&self.v4, &self.v6].into_iter().zip(ready).filter(|(_, is_ready)| *is_ready) {
            for _ in 0..TURN_MAX {
                let mut socket: &Socket = socket;
                let Ok(length) = socket.read(&mut buffer) else { break };
                let Some(heard) = buffer.get(..length).and_then(heard) else { continue };
                is_hint |= may_begin(heard.payload);
                each(&heard);
            }
        }
        Ok(is_hint)
    }
}

/// A UDP datagram with its IP header, as far as it is complete.
fn heard(packet: &[u8]) -> Option<Heard<'_>> {
    let (header, source, local): (usize, IpAddr, IpAddr) = match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
            (usize::from(packet.first()? & 15) * 4, address(12)?, address(16)?)
        }
        _ => {
            let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
            (40, address(8)?, address(24)?)
        }
    };
    let udp = packet.get(header..)?;
    let number = |at: usize| Some(u16::from_be_bytes(*udp.get(at..)?.first_chunk()?));
    // Behind a short packet there may be an Ethernet's padding.
    let payload = udp.get(UDP_HEADER..usize::from(number(4)?))?;
    Some(Heard { source: SocketAddr::new(source, number(0)?), local, payload })
}

/// Whether a message may begin a session: a response, or a packet with the counter zero.
fn may_begin(message: &[u8]) -> bool {
    match message.first_chunk().copied().map(u32::from_be_bytes) {
        Some(RESPONSE) => true,
        Some(TRANSPORT) => message.get(8..16) == Some(&[0; 8]),
        _ => false,
    }
}

/// A packet socket for one kind of Ethernet's payloads, without their Ethernet header; only what the filter lets pass comes in.
fn socket(kind: u16, filter: &[SockFilter]) -> io::Result<Socket> {
    // It hears nothing before it is bound.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking(), None)?;
    socket.attach_filter(filter)?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    // SAFETY: plain data, for which all zeroes are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    (address.sll_family, address.sll_protocol) = (libc::AF_PACKET as u16, kind.to_be());
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives through the call and its length goes with it.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// What a filter needs to know of IP: where the next protocol is said, and how long the header is, if it always is.
#[derive(Debug, Clone, Copy)]
struct Family {
    protocol_at: u32,
    header: Option<u32>,
}

const V4: Family = Family { protocol_at: 9, header: None };
const V6: Family = Family { protocol_at: 6, header: Some(40) };

/// A filter (linux/filter.h) that passes packets for this host and UDP port which are a handshake's response or a session's: `all`, or its
/// first. It begins at the IP header. Of IPv6 only packets without extension headers are seen, as WireGuard sends them.
fn filter(family: Family, port: u16, all: bool) -> Vec<SockFilter> {
    use libc::{BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET, BPF_W};
    let step = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let (load, equal) = (BPF_LD, BPF_JMP | BPF_JEQ | BPF_K);
    let packet_type = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
    // Loads, each with what it must give. The UDP header begins at X.
    let mut program = vec![
        step(load | BPF_W | BPF_ABS, packet_type),
        step(equal, u32::from(libc::PACKET_HOST)),
        step(load | BPF_B | BPF_ABS, family.protocol_at),
        step(equal, libc::IPPROTO_UDP as u32),
    ];
    program.push(match family.header {
        Some(header) => step(BPF_LDX | BPF_W | libc::BPF_IMM, header),
        None => step(BPF_LDX | BPF_B | BPF_MSH, 0),
    });
    program.extend([
        step(load | BPF_H | BPF_IND, 2),
        step(equal, u32::from(port)),
        step(load | BPF_W | BPF_IND, 8),
        step(equal, RESPONSE),
        step(equal, TRANSPORT),
    ]);
    // A packet's counter, eight bytes behind the session's index.
    for at in [16, 20].into_iter().filter(|_| !all) {
        program.extend([step(load | BPF_W | BPF_IND, at), step(equal, 0)]);
    }
    program.extend([step(BPF_RET | BPF_K, DATAGRAM_BYTES_MAX as u32), step(BPF_RET | BPF_K, 0)]);
    let drop = program.len() - 1;
    for (at, step) in program.iter_mut().enumerate().filter(|(_, step)| u32::from(step.code) == equal) {
        match step.k {
            RESPONSE => step.jt = (drop - 1 - at - 1) as u8,
            _ => step.jf = (drop - at - 1) as u8,
        }
    }
    program.iter().map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Sends datagrams to a port over loopback. Returns those that are heard, each with whether it is a hint. Machines without packet
    /// sockets have nothing to hear with.
    fn heard_of(address: &str, all: bool, datagrams: &[Vec<u8>]) -> Option<Vec<(Vec<u8>, bool)>> {
        let (to, from) = (UdpSocket::bind((address, 0)).ok()?, UdpSocket::bind((address, 0)).ok()?);
        let tap = Tap::open(to.local_addr().unwrap().port()).ok()?;
        if all {
            tap.hear_all(true).unwrap();
        }
        let mut seen = Vec::new();
        for datagram in datagrams {
            from.send_to(datagram, to.local_addr().unwrap()).unwrap();
            let mut payloads = Vec::new();
            let is_hint = tap.wait(100, |heard| {
                assert_eq!((heard.source, heard.local), (from.local_addr().unwrap(), to.local_addr().unwrap().ip()));
                payloads.push(heard.payload.to_vec());
            });
            let is_hint = is_hint.unwrap();
            seen.extend(payloads.into_iter().map(|payload| (payload, is_hint)));
        }
        Some(seen)
    }

    fn message(kind: u8, counter: u64) -> Vec<u8> {
        [&[kind, 0, 0, 0, 1, 2, 3, 4][..], &counter.to_le_bytes(), &[0; 1_400]].concat()
    }

    #[test]
    fn responses_and_first_packets_are_hints_and_only_who_drains_hears_the_rest_of_sessions() {
        let cut = message(4, 0)[..15].to_vec();
        let mut datagrams: Vec<Vec<u8>> = [(1, 0), (2, 77), (3, 0), (4, 1), (4, 0), (4, 1 << 32)]
            .map(|(kind, counter)| message(kind, counter))
            .to_vec();
        datagrams.extend([cut.clone(), vec![]]);
        let first = vec![(message(2, 77), true), (message(4, 0), true)];
        let rest = [(message(4, 1), false), (message(4, 0), true), (message(4, 1 << 32), false), (cut, false)];
        for address in ["127.0.0.1", "::1"] {
            if let Some(seen) = heard_of(address, false, &datagrams) {
                assert_eq!(seen, first, "{address}");
            }
            if let Some(seen) = heard_of(address, true, &datagrams) {
                assert_eq!(seen, [&first[..1], &rest].concat(), "{address}");
            }
        }
    }

    #[test]
    fn what_goes_to_another_port_is_not_heard() {
        let (to, from) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let Ok(tap) = Tap::open(from.local_addr().unwrap().port()) else { return };
        from.send_to(&message(4, 0), to.local_addr().unwrap()).unwrap();
        assert!(!tap.wait(100, |heard| panic!("{heard:?}")).unwrap());
    }

    #[test]
    fn cut_packets_are_nothing() {
        let mut packet = [0; 64];
        for version in 0..16 {
            packet[0] = version << 4 | 5;
            for end in 0..packet.len() {
                assert_eq!(heard(&packet[..end]).filter(|heard| !heard.payload.is_empty()), None);
            }
        }
    }
}
