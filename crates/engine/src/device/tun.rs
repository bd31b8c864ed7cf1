//! The interface: a TUN device, one packet of up to 64 KB for each read and write, and the watch over its state.
//!
//! [`Tun`] is a descriptor of `/dev/net/tun`. Where the kernel can, packets are large and have a virtio header in front; where it
//! can't, or the descriptor was made otherwise, they are plain. [`LinkWatch`] reports whether the interface is up, its MTU, and its end; it listens
//! to the kernel's notifications in the interface's own network namespace and follows the interface when that is moved.

use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::offload::VirtioHeader;
use super::offload::coalesce::Joins;
use super::sys::tun::{
    TUN_F_CSUM, TUN_F_TSO, TUN_F_USO, VIRTIO_HEADER_BYTES, tun_attach, tun_has_virtio_header, tun_name, tun_namespace,
    tun_set_offloads, write_vectored,
};
use super::{Offloads, sys};
use crate::limits::JOINED_PACKETS_MAX;

/// A TUN interface's packet side. The interface goes away when this is dropped, unless it was made persistent.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    /// Each packet has a virtio header in front.
    virtio_header: bool,
    /// What the kernel takes in joined packets.
    joins: Joins,
}

impl Tun {
    /// Room in front of a packet that [`Tun::read`] needs.
    pub(super) const HEADER_ROOM: usize = VIRTIO_HEADER_BYTES;

    /// Makes the interface `name` in the calling thread's network namespace, or attaches to a persistent one.
    pub fn create(name: &str) -> io::Result<Tun> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        // A kernel that knows no virtio header, or an interface that can't have one, still has the plain kind.
        tun_attach(file.as_fd(), name, true).or_else(|_| tun_attach(file.as_fd(), name, false))?;
        quieten(name);
        Tun::from_fd(file.into())
    }

    /// Takes over a descriptor that was attached with `IFF_TUN | IFF_NO_PI`, for owners who make interfaces themselves. With
    /// `IFF_VNET_HDR` too, it is faster.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Tun> {
        let virtio_header = tun_has_virtio_header(fd.as_fd())?;
        sys::set_nonblocking(fd.as_fd())?;
        let mut tun = Tun { fd, virtio_header, joins: Joins { tcp: false, udp: false } };
        tun.set_offloads(Offloads::NONE)?;
        Ok(tun)
    }

    /// Asks the kernel for large packets, as far as it can and `wanted` says.
    pub(super) fn set_offloads(&mut self, wanted: Offloads) -> io::Result<()> {
        if !self.virtio_header {
            return Ok(());
        }
        let fd = self.fd.as_fd();
        self.joins = if wanted.tun && wanted.uso && tun_set_offloads(fd, TUN_F_CSUM | TUN_F_TSO | TUN_F_USO).is_ok() {
            Joins { tcp: true, udp: true }
        } else if wanted.tun && tun_set_offloads(fd, TUN_F_CSUM | TUN_F_TSO).is_ok() {
            Joins { tcp: true, udp: false }
        } else {
            tun_set_offloads(fd, 0)?;
            Joins { tcp: false, udp: false }
        };
        Ok(())
    }

    /// The interface's present name. An error if it is deleted.
    pub fn name(&self) -> io::Result<String> {
        tun_name(self.fd.as_fd())
    }

    /// What may be joined for [`Tun::write_parts`].
    pub(super) fn joins(&self) -> Joins {
        self.joins
    }

    /// Reads one packet; gives how to cut it and where in `buffer` it is. `WouldBlock` if there is none.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<(VirtioHeader, Range<usize>)> {
        let len = sys::read(self.fd.as_fd(), buffer)?;
        match buffer.first_chunk() {
            Some(header) if self.virtio_header => {
                Ok((VirtioHeader::parse(header), VIRTIO_HEADER_BYTES.min(len)..len.min(buffer.len())))
            }
            _ => Ok((VirtioHeader::default(), 0..len.min(buffer.len()))),
        }
    }

    /// Writes one packet.
    pub(super) fn write(&self, packet: &[u8]) -> io::Result<()> {
        self.write_parts(&VirtioHeader::default(), packet, std::slice::from_ref(&(0..packet.len())))
    }

    /// Writes one packet, which lies in parts of `buffer`.
    pub(super) fn write_parts(&self, header: &VirtioHeader, buffer: &[u8], parts: &[Range<usize>]) -> io::Result<()> {
        // Two kilobytes of places for a packet that has one part take longer than all else where caches are cold.
        match parts.len() {
            ..=1 => self.write_some::<2>(header, buffer, parts),
            _ => self.write_some::<{ JOINED_PACKETS_MAX + 1 }>(header, buffer, parts),
        }
    }

    /// Writes with `N` places, of which the first is the header's.
    fn write_some<const N: usize>(
        &self,
        header: &VirtioHeader,
        buffer: &[u8],
        parts: &[Range<usize>],
    ) -> io::Result<()> {
        let header = header.to_bytes();
        let header = if self.virtio_header { &header[..] } else { &[] };
        let mut slices = [IoSlice::new(&[]); N];
        slices[0] = IoSlice::new(header);
        for (slice, part) in slices[1..].iter_mut().zip(parts) {
            *slice = IoSlice::new(buffer.get(part.clone()).unwrap_or_default());
        }
        // A plain interface is not to see an empty part in front.
        let first = usize::from(header.is_empty());
        write_vectored(self.fd.as_fd(), &slices[first..=parts.len().min(N - 1)]).map(|_| ())
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Sets what the kernel's module sets for its interfaces: no link-local address of the system's own invention (`wg-quick save` would
/// write it down), and no redirects for packets that go out where they came in. What can't be set is left as it is.
fn quieten(name: &str) {
    for (setting, value) in [("ipv6", "addr_gen_mode", "1"), ("ipv4", "send_redirects", "0")]
        .map(|(protocol, setting, value)| (format!("/proc/sys/net/{protocol}/conf/{name}/{setting}"), value))
    {
        // A host may be without IPv6, and a container without the right.
        let _ = std::fs::write(setting, value);
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the interface is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Packets flow.
    Up { mtu: usize },
    /// No packets flow.
    Down { mtu: usize },
    /// The interface was deleted.
    Gone,
}

/// Reports changes of an interface's state.
pub(super) struct LinkWatch {
    notifications: OwnedFd,
    query: OwnedFd,
}

impl LinkWatch {
    /// Watches in the namespace that the interface is in, or in the caller's if that can't be found out or entered.
    pub fn open(tun: &Tun) -> io::Result<LinkWatch> {
        let Ok(namespace) = tun_namespace(tun.as_fd()) else { return LinkWatch::open_here() };
        let entered = std::thread::Builder::new().spawn(move || {
            sys::enter_namespace(namespace.as_fd())?;
            LinkWatch::open_here()
        })?;
        match entered.join() {
            Ok(Ok(watch)) => Ok(watch),
            _ => LinkWatch::open_here(),
        }
    }

    fn open_here() -> io::Result<LinkWatch> {
        Ok(LinkWatch {
            notifications: sys::netlink(libc::RTMGRP_LINK as u32)?,
            query: sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?,
        })
    }

    /// The present state, after taking all notifications that wait.
    pub fn state(&mut self, tun: &Tun) -> LinkState {
        let mut discarded = [0; 16 * 1024];
        while sys::read(self.notifications.as_fd(), &mut discarded).is_ok() {}
        if let Some(state) = self.query(tun) {
            return state;
        }
        // Not found, yet alive: the interface was moved to another namespace.
        if let Ok(watch) = LinkWatch::open(tun) {
            *self = watch;
        }
        self.query(tun).unwrap_or(LinkState::Down { mtu: 0 })
    }

    fn query(&self, tun: &Tun) -> Option<LinkState> {
        let Ok(name) = tun.name() else { return Some(LinkState::Gone) };
        let (up, mtu) = sys::interface_state(self.query.as_fd(), &name).ok()?;
        Some(if up { LinkState::Up { mtu } } else { LinkState::Down { mtu } })
    }

    pub fn raw_fd(&self) -> RawFd {
        self.notifications.as_raw_fd()
    }
}
