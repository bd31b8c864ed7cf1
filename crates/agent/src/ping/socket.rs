//! Raw ICMP sockets with source addresses and receive timestamps.
//!
//! One socket per IP version serves all targets: the source address travels beside each message (`IP_PKTINFO`), the kernel's
//! time of reception comes back the same way (`SO_TIMESTAMPNS`). Filters keep everything but echo replies away.

use super::PingError;
use super::echo::PROBE_BYTES;
use crate::limits;
use crate::system::sockets::{set_option, set_room};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::SockAddr;

/// `asm-generic/socket.h`, since Linux 5.1.
const SO_BINDTOIFINDEX: libc::c_int = 62;
const ICMP_FILTER: libc::c_int = 1;
const ICMPV6_FILTER: libc::c_int = 1;
/// An IPv4 header with all options, and the probe.
const RECEIVE_BYTES: usize = 60 + PROBE_BYTES;
/// More than the timestamp and whatever else the kernel adds.
const CONTROL_BYTES: usize = 128;

/// Wall clock, because that's what receive timestamps are in.
pub(super) fn clock_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call, which can't fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    nanoseconds(time)
}

fn nanoseconds(time: libc::timespec) -> u64 {
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Space for control messages, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

pub(super) struct EchoSocket {
    descriptor: OwnedFd,
}

impl AsRawFd for EchoSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl AsFd for EchoSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl EchoSocket {
    pub(super) fn v4() -> Result<Self, PingError> {
        let socket = Self::open(libc::AF_INET, libc::IPPROTO_ICMP)?;
        let all_but_reply: u32 = !1;
        socket.set("filter", libc::SOL_RAW, ICMP_FILTER, &all_but_reply)?;
        Ok(socket)
    }

    pub(super) fn v6() -> Result<Self, PingError> {
        let socket = Self::open(libc::AF_INET6, libc::IPPROTO_ICMPV6)?;
        // Set bits are blocked; 129 is the echo reply.
        let mut blocked = [u32::MAX; 8];
        blocked[129 / 32] &= !(1 << (129 % 32));
        socket.set("filter", libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &blocked)?;
        Ok(socket)
    }

    fn open(family: libc::c_int, protocol: libc::c_int) -> Result<Self, PingError> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointer; the result is checked.
        let raw = unsafe { libc::socket(family, kind, protocol) };
        if raw < 0 {
            return Err(PingError::Socket { attempt: "open a raw socket", source: io::Error::last_os_error() });
        }
        // SAFETY: the kernel has just made it, and nobody else has it.
        let socket = Self { descriptor: unsafe { OwnedFd::from_raw_fd(raw) } };
        socket.set("ask for timestamps", libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)?;
        set_room(&socket, limits::PING_RECEIVE_BYTES);
        Ok(socket)
    }

    /// All goes out of this interface, and comes by it.
    pub(super) fn bind_to(&self, device: NonZeroU32) -> Result<(), PingError> {
        self.set("use one interface", libc::SOL_SOCKET, SO_BINDTOIFINDEX, &device.get())
    }

    /// Packets that are too large for a hop are dropped there instead of being cut into pieces, and what the kernel knows of the
    /// way is not asked (RFC 4821's way of finding a path's MTU).
    pub(super) fn forbid_pieces(&self, v4: bool) -> Result<(), PingError> {
        if v4 {
            return self.set("forbid pieces", libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &libc::IP_PMTUDISC_PROBE);
        }
        self.set("forbid pieces", libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &libc::IPV6_PMTUDISC_PROBE)?;
        self.set("forbid pieces", libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, &1_i32)
    }

    fn set<T: Copy>(&self, attempt: &'static str, level: i32, option: i32, value: &T) -> Result<(), PingError> {
        set_option(self, level, option, value).map_err(|source| PingError::Socket { attempt, source })
    }

    /// Sends a probe.
    pub(super) fn send(&self, source: Option<IpAddr>, destination: IpAddr, probe: &[u8]) -> io::Result<()> {
        let address = SockAddr::from(SocketAddr::new(destination, 0));
        let mut part = libc::iovec { iov_base: probe.as_ptr().cast_mut().cast(), iov_len: probe.len() };
        let mut control = Control([0; CONTROL_BYTES]);
        // SAFETY: plain data, for which all zeroes are valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = address.as_ptr().cast_mut().cast();
        message.msg_namelen = address.len();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        match source {
            Some(IpAddr::V4(v4)) => {
                put_control(&mut message, &mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, info_v4(v4))
            }
            Some(IpAddr::V6(v6)) => {
                put_control(&mut message, &mut control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info_v6(v6));
            }
            None => {}
        }
        // SAFETY: the message and all it points to live through the call, which only reads them.
        let sent = unsafe { libc::sendmsg(self.as_raw_fd(), &raw const message, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet and when it was received, or nothing if none waits.
    pub(super) fn receive(&self) -> Option<(Vec<u8>, u64)> {
        let mut bytes = vec![0; RECEIVE_BYTES];
        let mut control = Control([0; CONTROL_BYTES]);
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: plain data, for which all zeroes are valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES as _;
        // SAFETY: the message and all it points to live through the call and may be written.
        let length = unsafe { libc::recvmsg(self.as_raw_fd(), &raw mut message, 0) };
        bytes.truncate(usize::try_from(length).ok()?);
        Some((bytes, timestamp(&message).unwrap_or_else(clock_ns)))
    }
}

/// The value of a socket's integer option.
pub(super) fn setting(descriptor: RawFd, level: i32, option: i32) -> io::Result<i32> {
    let (mut value, mut length) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: value and length live through the call, and the length is the value's.
    let result = unsafe { libc::getsockopt(descriptor, level, option, (&raw mut value).cast(), &raw mut length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

fn timestamp(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel has filled in the control messages of this header, and these macros stay within them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(control).cast());
                return Some(nanoseconds(time));
            }
            header = libc::CMSG_NXTHDR(message, control);
        }
    }
    None
}

fn put_control<T: Copy>(message: &mut libc::msghdr, control: &mut Control, level: i32, kind: i32, value: T) {
    let size = size_of::<T>() as u32;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: arithmetic only.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as _;
    // SAFETY: the buffer has room for both kinds of packet info (at most 40 bytes) and is aligned, so the first header is there.
    unsafe {
        let Some(header) = libc::CMSG_FIRSTHDR(message).as_mut() else { return };
        header.cmsg_level = level;
        header.cmsg_type = kind;
        header.cmsg_len = libc::CMSG_LEN(size) as _;
        std::ptr::write_unaligned(libc::CMSG_DATA(header).cast(), value);
    }
}

fn info_v4(source: Ipv4Addr) -> libc::in_pktinfo {
    let nothing = libc::in_addr { s_addr: 0 };
    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: in_addr(source), ipi_addr: nothing }
}

fn info_v6(source: Ipv6Addr) -> libc::in6_pktinfo {
    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: source.octets() }, ipi6_ifindex: 0 }
}

fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) }
}
