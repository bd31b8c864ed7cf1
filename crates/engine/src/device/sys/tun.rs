//! System calls about the TUN device: attaching, offloads, and the vectored write.
//!
//! Constants that libc lacks are here, from `linux/if_tun.h`.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{check, check_len, interface_request, owned};

/// The kernel may leave checksums to us.
pub const TUN_F_CSUM: u32 = 0x01;
/// It may hand out TCP superpackets, with ECN's CWR flag set too ...
pub const TUN_F_TSO: u32 = 0x02 | 0x04 | 0x08;
/// ... and UDP superpackets (Linux 6.2).
pub const TUN_F_USO: u32 = 0x20 | 0x40;

/// Bytes of the header in front of each packet of a TUN with `IFF_VNET_HDR`, as [`tun_offloads`] sets it.
pub const VIRTIO_HEADER_BYTES: usize = 10;

/// Makes the descriptor of `/dev/net/tun` the end of an interface, with a virtio header in front of each packet or without.
pub fn tun_attach(fd: BorrowedFd<'_>, name: &str, virtio_header: bool) -> io::Result<()> {
    let mut request = interface_request(name)?;
    let header = if virtio_header { libc::IFF_VNET_HDR } else { 0 };
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | header) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(())
}

/// The present name of a TUN; an error once its interface is deleted.
pub fn tun_name(fd: BorrowedFd<'_>) -> io::Result<String> {
    let request = attached(fd)?;
    let name: Vec<u8> = request.ifr_name.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
    String::from_utf8(name).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Whether each packet has a virtio header in front.
pub fn tun_has_virtio_header(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let request = attached(fd)?;
    // SAFETY: TUNGETIFF has filled in this member, and any bit pattern is valid.
    let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(flags & libc::IFF_VNET_HDR != 0)
}

fn attached(fd: BorrowedFd<'_>) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain old data, valid when zero.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // SAFETY: TUNGETIFF writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) })?;
    Ok(request)
}

/// Says what the kernel may hand out, and sets the virtio header's length and byte order to ours.
pub fn tun_set_offloads(fd: BorrowedFd<'_>, offloads: u32) -> io::Result<()> {
    let header_bytes = VIRTIO_HEADER_BYTES as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one integer, which outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header_bytes) })?;
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) })?;
    Ok(())
}

/// The network namespace that a TUN's interface is in.
pub fn tun_namespace(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const TUNGETDEVNETNS: libc::Ioctl = 0x54e3;
    // SAFETY: TUNGETDEVNETNS takes no argument and returns a new descriptor.
    owned(unsafe { libc::ioctl(fd.as_raw_fd(), TUNGETDEVNETNS) })
}

/// Writes the parts as one packet, at once or not at all.
pub fn write_vectored(fd: BorrowedFd<'_>, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
    let count = parts.len().try_into().unwrap_or(libc::c_int::MAX);
    // SAFETY: `IoSlice` is guaranteed to have the layout of `iovec`, and the slices live through the call.
    check_len(unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr().cast(), count) })
}
