//! System calls about datagrams: addresses, one datagram and many, with the kernel cutting and joining them (UDP GSO and GRO).
//!
//! What concerns one datagram beside its bytes (local address, TOS, segment size) travels in control messages, which are written
//! and read here only.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::limits::{LARGE_MESSAGES_AT_ONCE, MESSAGES_AT_ONCE_MAX, MESSAGES_WHILE_QUIET};
use crate::tunnel::{Endpoint, LocalAddress};

/// A socket address as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C)]
union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    fn zero() -> RawAddress {
        // SAFETY: all members are plain old data, valid when zero.
        unsafe { zeroed() }
    }

    fn new(address: SocketAddr) -> (RawAddress, libc::socklen_t) {
        let mut raw = RawAddress::zero();
        match address {
            SocketAddr::V4(v4) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: v4.ip().to_bits().to_be() },
                    sin_zero: [0; 8],
                };
                (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    fn address(&self) -> Option<SocketAddr> {
        // SAFETY: every bit pattern is a valid family, v4 and v6 address, and the union was zeroed before the kernel wrote.
        let (family, v4, v6) = unsafe { (self.family, self.v4, self.v6) };
        match i32::from(family) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

/// Gives a socket its local address.
pub fn bind(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let (raw, len) = RawAddress::new(address);
    // SAFETY: the pointer and length are those of a live address.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), len) })?;
    Ok(())
}

/// The port that a socket is bound to.
pub fn local_port(socket: BorrowedFd<'_>) -> io::Result<u16> {
    let mut raw = RawAddress::zero();
    let mut len = size_of::<RawAddress>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to the address, which outlives the call.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut raw).cast(), &raw mut len) })?;
    Ok(raw.address().map_or(0, |address| address.port()))
}

/// Room for the control messages of one datagram (at most 40 for the local address, 24 for TOS, 24 for the segment size), aligned
/// as their headers must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

const CONTROL_BYTES: usize = 96;

/// One datagram, or several of equal length (the last may be shorter) to or from one address, lying one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// From where to where.
    pub endpoint: Endpoint,
    /// The IP header's TOS or traffic class.
    pub tos: u8,
    /// Where they are in the buffer.
    pub range: Range<usize>,
    /// Length of each; never zero.
    pub segment: usize,
}

impl Message {
    /// How many datagrams it is.
    pub fn datagrams(&self) -> usize {
        self.range.len().div_ceil(self.segment)
    }
}

/// What the kernel wants to know about `N` messages. Filled from the front.
struct Headers<const N: usize> {
    addresses: [RawAddress; N],
    controls: [Control; N],
    vectors: [libc::iovec; N],
    messages: [libc::mmsghdr; N],
}

impl<const N: usize> Headers<N> {
    fn zero() -> Headers<N> {
        // SAFETY: all members are plain old data, valid when zero.
        unsafe { zeroed() }
    }

    /// Makes message number `at` point to its address, its control buffer and `bytes`.
    fn point(&mut self, at: usize, bytes: *mut u8, len: usize, address_len: libc::socklen_t) -> &mut libc::msghdr {
        self.vectors[at] = libc::iovec { iov_base: bytes.cast(), iov_len: len };
        let header = &mut self.messages[at].msg_hdr;
        header.msg_name = (&raw mut self.addresses[at]).cast();
        header.msg_namelen = address_len;
        header.msg_iov = &raw mut self.vectors[at];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut self.controls[at]).cast();
        header.msg_controllen = CONTROL_BYTES as _;
        header
    }
}

/// Receives up to `count` messages into as many equal parts of `buffer` and puts them into `received`. Errors if there is none.
/// Messages whose sender is unknown or that did not fit are left out.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    part: usize,
    count: usize,
    received: &mut Vec<Message>,
) -> io::Result<()> {
    // Zeroed headers for 32 are seven kilobytes, which take longer than the call where caches are cold.
    if count <= MESSAGES_WHILE_QUIET {
        receive_some::<MESSAGES_WHILE_QUIET>(socket, buffer, part, count, received)
    } else if count <= LARGE_MESSAGES_AT_ONCE {
        receive_some::<LARGE_MESSAGES_AT_ONCE>(socket, buffer, part, count, received)
    } else {
        receive_some::<MESSAGES_AT_ONCE_MAX>(socket, buffer, part, count, received)
    }
}

fn receive_some<const N: usize>(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    part: usize,
    count: usize,
    received: &mut Vec<Message>,
) -> io::Result<()> {
    let mut headers = Headers::<N>::zero();
    let count = count.min(N).min(buffer.len() / part);
    for (at, bytes) in buffer.chunks_exact_mut(part).take(count).enumerate() {
        headers.point(at, bytes.as_mut_ptr(), part, size_of::<RawAddress>() as libc::socklen_t);
    }
    let messages = headers.messages.as_mut_ptr();
    // SAFETY: `count` headers were filled in above with pointers to live objects of the lengths given; no timeout is given.
    let result = unsafe { libc::recvmmsg(socket.as_raw_fd(), messages, count as _, 0, std::ptr::null_mut()) };
    let filled = usize::try_from(check(result)?).unwrap_or(0);
    for (at, (message, address)) in headers.messages.iter().zip(&headers.addresses).take(filled).enumerate() {
        let header = &message.msg_hdr;
        let len = (message.msg_len as usize).min(part);
        let Some(remote) = address.address().filter(|_| header.msg_flags & libc::MSG_TRUNC == 0) else { continue };
        let (local, tos, segment) = read_controls(header);
        let segment = segment.filter(|segment| *segment > 0).unwrap_or(len).max(1);
        let range = at * part..at * part + len;
        received.push(Message { endpoint: Endpoint { remote, local }, tos, range, segment });
    }
    Ok(())
}

/// The local address, the TOS and the segment size of a message that came in.
fn read_controls(header: &libc::msghdr) -> (Option<LocalAddress>, u8, Option<usize>) {
    let (mut local, mut tos, mut segment) = (None, 0, None);
    // SAFETY: the header was filled in by the kernel; the macros stay within its control buffer, and the kernel puts into it what
    // the types say. A TOS is one byte, a traffic class and a segment size are integers.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = message.as_ref() {
            let content = libc::CMSG_DATA(message);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = content.cast::<libc::in_pktinfo>().read_unaligned();
                    let address = IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr)));
                    local = Some(LocalAddress { address, interface: u32::try_from(info.ipi_ifindex).unwrap_or(0) });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = content.cast::<libc::in6_pktinfo>().read_unaligned();
                    let address = IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                    local = Some(LocalAddress { address, interface: info.ipi6_ifindex });
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => tos = content.read(),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => tos = content.cast::<i32>().read_unaligned() as u8,
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    segment = usize::try_from(content.cast::<i32>().read_unaligned()).ok();
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    (local, tos, segment)
}

/// Sends the first messages, as many as fit into one call; gives how many the kernel took. An error concerns the first. A message
/// of several datagrams is cut by the kernel.
pub fn send(socket: BorrowedFd<'_>, buffer: &[u8], messages: &[Message]) -> io::Result<usize> {
    if messages.len() <= 1 {
        send_some::<1>(socket, buffer, messages)
    } else if messages.len() <= LARGE_MESSAGES_AT_ONCE {
        send_some::<LARGE_MESSAGES_AT_ONCE>(socket, buffer, messages)
    } else {
        send_some::<MESSAGES_AT_ONCE_MAX>(socket, buffer, messages)
    }
}

fn send_some<const N: usize>(socket: BorrowedFd<'_>, buffer: &[u8], messages: &[Message]) -> io::Result<usize> {
    let mut headers = Headers::<N>::zero();
    let mut count = 0;
    for (at, message) in messages.iter().take(N).enumerate() {
        let bytes = buffer.get(message.range.clone()).unwrap_or_default();
        let (address, address_len) = RawAddress::new(message.endpoint.remote);
        headers.addresses[at] = address;
        let header = headers.point(at, bytes.as_ptr().cast_mut(), bytes.len(), address_len);
        write_controls(header, message);
        count += 1;
    }
    let pointer = headers.messages.as_mut_ptr();
    // SAFETY: `count` headers were filled in above with pointers to live objects of the lengths given; the kernel writes only to the
    // headers' lengths.
    let result = unsafe { libc::sendmmsg(socket.as_raw_fd(), pointer, count, 0) };
    Ok(usize::try_from(check(result)?).unwrap_or(0))
}

/// Writes what the message wants: a source address, a TOS, a segment size.
fn write_controls(header: &mut libc::msghdr, message: &Message) {
    let mut used = 0;
    if let Some(local) = &message.endpoint.local {
        write_local_address(header, &mut used, local);
    }
    if message.tos != 0 {
        let (level, kind) = match message.endpoint.remote {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        write_control(header, &mut used, level, kind, i32::from(message.tos));
    }
    if message.range.len() > message.segment {
        let segment = u16::try_from(message.segment).unwrap_or(u16::MAX);
        write_control(header, &mut used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    header.msg_controllen = used as _;
    if used == 0 {
        header.msg_control = std::ptr::null_mut();
    }
}

/// Asks for a source address. The interface is left to routing, except where the address means nothing without it.
fn write_local_address(header: &mut libc::msghdr, used: &mut usize, local: &LocalAddress) {
    match local.address {
        IpAddr::V4(address) => {
            let s_addr = address.to_bits().to_be();
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            write_control(header, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(address) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                ipi6_ifindex: if address.is_unicast_link_local() { local.interface } else { 0 },
            };
            write_control(header, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
}

/// Appends a control message behind the `used` bytes of a header's control buffer, which is a [`Control`].
fn write_control<T>(header: &libc::msghdr, used: &mut usize, level: libc::c_int, kind: libc::c_int, content: T) {
    // SAFETY: computes lengths only.
    let (len, space) = unsafe { (libc::CMSG_LEN(size_of::<T>() as u32), libc::CMSG_SPACE(size_of::<T>() as u32)) };
    if *used + space as usize > CONTROL_BYTES {
        return;
    }
    // SAFETY: the control buffer has CONTROL_BYTES bytes, of which the check above leaves enough; `used` is a sum of spaces, which
    // are multiples of the header's alignment.
    unsafe {
        let message = header.msg_control.cast::<u8>().add(*used).cast::<libc::cmsghdr>();
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = len as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(content);
    }
    *used += space as usize;
}
