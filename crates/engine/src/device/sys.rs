//! System calls that the standard library lacks, each behind a safe function.
//!
//! Descriptors come in as [`BorrowedFd`] and go out as [`OwnedFd`], lengths come from slices, and what the kernel writes is
//! checked before it is believed. All `unsafe` of the device is here. No policy: callers decide what an error means.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::tunnel::{Endpoint, LocalAddress};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn owned(result: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just returned this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A counter that wakes a poller.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Reads what is there.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a live slice.
    check_len(unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// Writes at once or not at all, for descriptors that keep message boundaries.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a live slice.
    check_len(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

/// Which of the descriptors have something to read or an error; a negative descriptor is left out. None for "for ever".
pub fn poll_readable(fds: &[RawFd], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout_pointer = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = polled.len() as libc::nfds_t;
    // SAFETY: `polled` and `timeout` outlive the call; no signal mask is given.
    let result = unsafe { libc::ppoll(polled.as_mut_ptr(), count, timeout_pointer, std::ptr::null()) };
    match check(result) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(vec![false; fds.len()]),
        Err(error) => Err(error),
        Ok(_) => Ok(polled.iter().map(|fd| fd.revents != 0).collect()),
    }
}

/// Makes reads and writes return at once.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// An `ifreq` that names an interface. The name must be 1 to 15 bytes.
fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['/', '\0']) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: `ifreq` is plain old data, valid when zero.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Makes the descriptor of `/dev/net/tun` the end of an interface.
pub fn tun_attach(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(())
}

/// The present name of a TUN; an error once its interface is deleted.
pub fn tun_name(fd: BorrowedFd<'_>) -> io::Result<String> {
    // SAFETY: `ifreq` is plain old data, valid when zero.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // SAFETY: TUNGETIFF writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    let name: Vec<u8> = request.ifr_name.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    String::from_utf8(name).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// The network namespace that a TUN's interface is in.
pub fn tun_namespace(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;
    // SAFETY: TUNGETDEVNETNS takes no argument and returns a new descriptor.
    owned(unsafe { libc::ioctl(fd.as_raw_fd(), TUNGETDEVNETNS) })
}

/// Moves the calling thread to a network namespace.
pub fn enter_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers; concerns the calling thread only.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}

/// Whether an interface is up, and its MTU. The socket says in which namespace.
pub fn interface_state(socket: BorrowedFd<'_>, name: &str) -> io::Result<(bool, usize)> {
    let mut request = interface_request(name)?;
    // SAFETY: SIOCGIFFLAGS reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as libc::Ioctl, &raw mut request) })?;
    // SAFETY: the call succeeded, so it filled in this member.
    let up = i32::from(unsafe { request.ifr_ifru.ifru_flags }) & libc::IFF_UP != 0;
    // SAFETY: as above, for SIOCGIFMTU.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as libc::Ioctl, &raw mut request) })?;
    // SAFETY: the call succeeded, so it filled in this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok((up, usize::try_from(mtu).unwrap_or(0)))
}

/// The index of an interface of the calling thread's namespace.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the pointer is that of a live C string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// A socket of any kind, not inherited by programs.
pub fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    owned(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) })
}

/// A netlink socket that hears of every change to interfaces.
pub fn link_notifications() -> io::Result<OwnedFd> {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    // SAFETY: `sockaddr_nl` is plain old data, valid when zero.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = libc::RTMGRP_LINK as u32;
    let len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the pointer and length are those of a live address.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(socket)
}

/// Sets an integer socket option.
pub fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer and length are those of a live integer.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) })?;
    Ok(())
}

/// A socket address as the kernel wants it.
#[repr(C)]
union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    storage: libc::sockaddr_storage,
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

/// Room for one packet-information control message, aligned as its header must be.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Receives one datagram; where from, and to which of our addresses if the kernel says so. Errors for what did not fit.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Endpoint)> {
    let mut raw = RawAddress::zero();
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `msghdr` is plain old data, valid when zero.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut raw).cast();
    header.msg_namelen = size_of::<RawAddress>() as libc::socklen_t;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of::<Control>() as _;
    // SAFETY: all pointers in the header are to live objects of the lengths given.
    let len = check_len(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) })?;
    let Some(remote) = raw.address().filter(|_| header.msg_flags & libc::MSG_TRUNC == 0) else {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    };
    Ok((len, Endpoint { remote, local: local_address(&header) }))
}

fn local_address(header: &libc::msghdr) -> Option<LocalAddress> {
    // SAFETY: the header was filled in by `recvmsg`; the macros stay within its control buffer.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = message.as_ref() {
            match (control.cmsg_level, control.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().read_unaligned();
                    let address = IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr)));
                    return Some(LocalAddress { address, interface: u32::try_from(info.ipi_ifindex).unwrap_or(0) });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>().read_unaligned();
                    let address = IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                    return Some(LocalAddress { address, interface: info.ipi6_ifindex });
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    None
}

/// Sends one datagram, from the endpoint's local address if it has one.
pub fn send(socket: BorrowedFd<'_>, endpoint: &Endpoint, datagram: &[u8]) -> io::Result<()> {
    let (mut raw, len) = RawAddress::new(endpoint.remote);
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    // SAFETY: `msghdr` is plain old data, valid when zero.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut raw).cast();
    header.msg_namelen = len;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    if let Some(local) = &endpoint.local {
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = size_of::<Control>() as _;
        write_local_address(&mut header, local);
    }
    // SAFETY: all pointers in the header are to live objects of the lengths given; the kernel only reads them.
    check_len(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) })?;
    Ok(())
}

/// Asks for a source address. The interface is left to routing, except where the address means nothing without it.
fn write_local_address(header: &mut libc::msghdr, local: &LocalAddress) {
    match local.address {
        IpAddr::V4(address) => {
            let s_addr = address.to_bits().to_be();
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            write_control(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(address) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                ipi6_ifindex: if address.is_unicast_link_local() { local.interface } else { 0 },
            };
            write_control(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
}

/// Writes the only control message of a header, whose control buffer is a [`Control`].
fn write_control<T>(header: &mut libc::msghdr, level: libc::c_int, kind: libc::c_int, content: T) {
    const { assert!(size_of::<T>() <= 32) };
    let len = size_of::<T>() as libc::c_uint;
    // SAFETY: the control buffer has 64 bytes, aligned: room for a header of 16 and a content of at most 32.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(len) as _;
        let message = libc::CMSG_FIRSTHDR(header);
        if let Some(control) = message.as_mut() {
            control.cmsg_level = level;
            control.cmsg_type = kind;
            control.cmsg_len = libc::CMSG_LEN(len) as _;
            libc::CMSG_DATA(message).cast::<T>().write_unaligned(content);
        }
    }
}

/// Blocks SIGTERM and SIGINT in this thread and those it starts, and returns a descriptor that reports them.
pub fn termination_signals() -> io::Result<OwnedFd> {
    // SAFETY: `sigset_t` is plain old data, valid when zero, and initialised right here; the calls read or write only it.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        let error = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        owned(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))
    }
}
