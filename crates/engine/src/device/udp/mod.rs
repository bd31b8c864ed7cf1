//! The outer sockets: one for IPv4, one for IPv6, on the same port.
//!
//! Each reports the local address of what it receives and sends from the address it is told, so that answers leave from the
//! address that was asked. Packets may be fragmented on the way, as the kernel's module has it. A host without one of the two
//! protocols gets only the other.
//!
//! Datagrams of equal length to one place are sent as one message that the kernel cuts (a train), and come in joined. Where the
//! kernel or the way out refuses a train, its datagrams are sent one by one, and that is remembered.

pub mod sources;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::sys::socket::Message;
use super::{Offloads, sys};
use crate::limits::{MESSAGE_BYTES_MAX, PORT_PAIR_TRIES, SOCKET_BUFFER_BYTES, TRAIN_RETRY};
use crate::time::Monotonic;
use crate::tunnel::{PeerId, Tunnel};

/// Which of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The outer sockets of a device.
#[derive(Debug)]
pub struct Sockets {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
    /// From when on messages of several datagrams are made, in nanoseconds of the monotonic clock: [`ALWAYS`], [`NEVER`], or when
    /// to try again after one was refused. Threads that send tell the one that makes messages, which may learn it a little later.
    trains_from_ns: AtomicU64,
    /// The port of both.
    pub port: u16,
}

const ALWAYS: u64 = 0;
const NEVER: u64 = u64::MAX;

/// What went wrong in sending a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A datagram of that length was not sent.
    Datagram {
        /// Its length.
        bytes: usize,
    },
    /// The local address to send from is not ours any more. What happened to the datagram is another matter.
    SourceLost,
}

impl Failure {
    /// Tells the tunnel.
    pub fn tell(self, peer: Option<PeerId>, tunnel: &mut Tunnel) {
        match self {
            Failure::Datagram { bytes } => tunnel.handle_transmit_failed(peer, bytes),
            Failure::SourceLost => tunnel.handle_source_lost(peer),
        }
    }
}

impl Sockets {
    /// Binds both sockets in the calling thread's network namespace; port 0 takes one that is free for both.
    pub fn bind(port: u16, fwmark: u32, offloads: Offloads) -> io::Result<Sockets> {
        let mut tries = PORT_PAIR_TRIES;
        loop {
            match Sockets::bind_once(port, fwmark, offloads) {
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse && tries > 0 => tries -= 1,
                result => return result,
            }
        }
    }

    fn bind_once(port: u16, fwmark: u32, offloads: Offloads) -> io::Result<Sockets> {
        let v4 = if_supported(bind_one(Family::V4, port, fwmark, offloads))?;
        let port = v4.as_ref().map_or(Ok(port), |socket| sys::socket::local_port(socket.as_fd()))?;
        let v6 = if_supported(bind_one(Family::V6, port, fwmark, offloads))?;
        let port = v6.as_ref().map_or(Ok(port), |socket| sys::socket::local_port(socket.as_fd()))?;
        if v4.is_none() && v6.is_none() {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        }
        let knows_trains = [&v4, &v6].into_iter().flatten().all(|socket| {
            // Zero is what it is anyway; a kernel that does not know the option (before 4.18) says so.
            sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
        });
        let from = if offloads.gso && knows_trains { ALWAYS } else { NEVER };
        Ok(Sockets { v4, v6, trains_from_ns: AtomicU64::new(from), port })
    }

    /// Marks what is sent from here on; 0 takes the mark away.
    pub fn set_fwmark(&self, fwmark: u32) -> io::Result<()> {
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_MARK, fwmark.cast_signed())?;
        }
        Ok(())
    }

    /// Receives up to `count` messages into equal parts of `buffer`; `WouldBlock` if there is none.
    pub fn receive(
        &self,
        family: Family,
        buffer: &mut [u8],
        count: usize,
        received: &mut Vec<Message>,
    ) -> io::Result<()> {
        match self.socket(family) {
            Some(socket) => sys::socket::receive(socket.as_fd(), buffer, MESSAGE_BYTES_MAX, count, received),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether messages of several datagrams should be made.
    pub fn takes_trains(&self, now: Monotonic) -> bool {
        nanoseconds(now) >= self.trains_from_ns.load(Ordering::Relaxed)
    }

    /// Sends all messages in order. Reports each failure with the number of the message that it concerns.
    pub fn send(&self, now: Monotonic, buffer: &[u8], messages: &[Message], mut report: impl FnMut(usize, Failure)) {
        let mut at = 0;
        while let Some(first) = messages.get(at) {
            let family = family_of(first);
            let same = messages[at..].iter().take_while(|message| family_of(message) == family).count();
            match self.send_some(buffer, &messages[at..at + same]) {
                Ok(sent) => at += sent.max(1),
                Err(error) => {
                    self.send_apart(now, buffer, first, &error, |failure| report(at, failure));
                    at += 1;
                }
            }
        }
    }

    fn send_some(&self, buffer: &[u8], messages: &[Message]) -> io::Result<usize> {
        match messages.first().and_then(|first| self.socket(family_of(first))) {
            Some(socket) => sys::socket::send(socket.as_fd(), buffer, messages),
            None => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        }
    }

    /// A message was refused: tries its datagrams one by one, and each without its source address if that is what is wrong.
    fn send_apart(
        &self,
        now: Monotonic,
        buffer: &[u8],
        message: &Message,
        error: &io::Error,
        mut report: impl FnMut(Failure),
    ) {
        // Against a full buffer, less at once is no help.
        let is_train = message.datagrams() > 1 && error.kind() != io::ErrorKind::WouldBlock;
        let mut any_sent = false;
        for start in message.range.clone().step_by(message.segment) {
            let range = start..(start + message.segment).min(message.range.end);
            let mut single = Message { range: range.clone(), ..message.clone() };
            let mut result = if is_train { self.send_some(buffer, &[single.clone()]) } else { Err(copy_of(error)) };
            any_sent |= result.is_ok();
            if single.endpoint.local.is_some() && result.as_ref().is_err_and(is_lost_source) {
                report(Failure::SourceLost);
                single.endpoint.local = None;
                result = self.send_some(buffer, &[single]);
            }
            if result.is_err() {
                report(Failure::Datagram { bytes: range.len() });
            }
        }
        if is_train && any_sent {
            let from = match error.raw_os_error() {
                // The device can't checksum, so it never will.
                Some(libc::EIO) => NEVER,
                Some(libc::EINVAL | libc::EMSGSIZE) => nanoseconds(now + TRAIN_RETRY),
                _ => return,
            };
            self.trains_from_ns.store(from, Ordering::Relaxed);
        }
    }

    /// The descriptor to wait for.
    pub fn raw_fd(&self, family: Family) -> Option<RawFd> {
        self.socket(family).map(AsRawFd::as_raw_fd)
    }

    fn socket(&self, family: Family) -> Option<&OwnedFd> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }
}

fn nanoseconds(at: Monotonic) -> u64 {
    // Less than never: the clock would have to run for five hundred years.
    u64::try_from(at.0.as_nanos()).unwrap_or(NEVER - 1)
}

fn family_of(message: &Message) -> Family {
    if message.endpoint.remote.is_ipv4() { Family::V4 } else { Family::V6 }
}

fn is_lost_source(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH))
}

fn copy_of(error: &io::Error) -> io::Error {
    io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}

fn if_supported(socket: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match socket {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => Ok(None),
        result => result.map(Some),
    }
}

fn bind_one(family: Family, port: u16, fwmark: u32, offloads: Offloads) -> io::Result<OwnedFd> {
    let domain = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
    let socket = sys::socket(domain, libc::SOCK_DGRAM, 0)?;
    let fd = socket.as_fd();
    let address = match family {
        Family::V4 => {
            sys::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            sys::set_option(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
            sys::set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
        }
        Family::V6 => {
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
        }
    };
    if fwmark != 0 {
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_MARK, fwmark.cast_signed())?;
    }
    let size = SOCKET_BUFFER_BYTES as i32;
    for (forced, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        // Without privilege the system's own bound holds, which is no reason not to run.
        if sys::set_option(fd, libc::SOL_SOCKET, forced, size).is_err() {
            sys::set_option(fd, libc::SOL_SOCKET, plain, size)?;
        }
    }
    if offloads.gro {
        // Unknown before Linux 5.0, where datagrams come one by one.
        let _ = sys::set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
    }
    sys::socket::bind(fd, address)?;
    Ok(socket)
}
