//! The outer sockets: one for IPv4, one for IPv6, on the same port.
//!
//! Each reports the local address of what it receives and sends from the address it is told, so that answers leave from the
//! address that was asked. Packets may be fragmented on the way, as the kernel's module has it. A host without one of the two
//! protocols gets only the other.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::sys;
use crate::limits::{PORT_PAIR_TRIES, SOCKET_BUFFER_BYTES};
use crate::tunnel::Endpoint;

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
    /// The port of both.
    pub port: u16,
}

impl Sockets {
    /// Binds both sockets in the calling thread's network namespace; port 0 takes one that is free for both.
    pub fn bind(port: u16, fwmark: u32) -> io::Result<Sockets> {
        let mut tries = PORT_PAIR_TRIES;
        loop {
            match Sockets::bind_once(port, fwmark) {
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse && tries > 0 => tries -= 1,
                result => return result,
            }
        }
    }

    fn bind_once(port: u16, fwmark: u32) -> io::Result<Sockets> {
        let v4 = if_supported(bind_one(Family::V4, port, fwmark))?;
        let port = v4.as_ref().map_or(Ok(port), |socket| sys::local_port(socket.as_fd()))?;
        let v6 = if_supported(bind_one(Family::V6, port, fwmark))?;
        let port = v6.as_ref().map_or(Ok(port), |socket| sys::local_port(socket.as_fd()))?;
        if v4.is_none() && v6.is_none() {
            return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
        }
        Ok(Sockets { v4, v6, port })
    }

    /// Marks what is sent from here on; 0 takes the mark away.
    pub fn set_fwmark(&self, fwmark: u32) -> io::Result<()> {
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_MARK, fwmark.cast_signed())?;
        }
        Ok(())
    }

    /// Receives one datagram; `WouldBlock` if there is none.
    pub fn receive(&self, family: Family, buffer: &mut [u8]) -> io::Result<(usize, Endpoint)> {
        match self.socket(family) {
            Some(socket) => sys::receive(socket.as_fd(), buffer),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Sends one datagram.
    pub fn send(&self, endpoint: &Endpoint, datagram: &[u8]) -> io::Result<()> {
        let family = if endpoint.remote.is_ipv4() { Family::V4 } else { Family::V6 };
        match self.socket(family) {
            Some(socket) => sys::send(socket.as_fd(), endpoint, datagram),
            None => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        }
    }

    /// The descriptor to poll; negative, which poll ignores, if there is none.
    pub fn raw_fd(&self, family: Family) -> RawFd {
        self.socket(family).map_or(-1, AsRawFd::as_raw_fd)
    }

    fn socket(&self, family: Family) -> Option<&OwnedFd> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }
}

fn if_supported(socket: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match socket {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => Ok(None),
        result => result.map(Some),
    }
}

fn bind_one(family: Family, port: u16, fwmark: u32) -> io::Result<OwnedFd> {
    let domain = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
    let socket = sys::socket(domain, libc::SOCK_DGRAM, 0)?;
    let fd = socket.as_fd();
    let address = match family {
        Family::V4 => {
            sys::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            sys::set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
        }
        Family::V6 => {
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
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
    sys::bind(fd, address)?;
    Ok(socket)
}
