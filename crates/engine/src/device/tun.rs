//! The interface: a TUN device, one packet for each read and write, and the watch over its state.
//!
//! [`Tun`] is a descriptor of `/dev/net/tun`. [`LinkWatch`] reports whether the interface is up, its MTU, and its end; it listens
//! to the kernel's notifications in the interface's own network namespace and follows the interface when that is moved.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::sys;

/// A TUN interface's packet side. The interface goes away when this is dropped, unless it was made persistent.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
}

impl Tun {
    /// Makes the interface `name` in the calling thread's network namespace, or attaches to a persistent one.
    pub fn create(name: &str) -> io::Result<Tun> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        sys::tun_attach(file.as_fd(), name)?;
        Tun::from_fd(file.into())
    }

    /// Takes over a descriptor that was attached with `IFF_TUN | IFF_NO_PI`, for owners who make interfaces themselves.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Tun> {
        sys::tun_name(fd.as_fd())?;
        sys::set_nonblocking(fd.as_fd())?;
        Ok(Tun { fd })
    }

    /// The interface's present name. An error if it is deleted.
    pub fn name(&self) -> io::Result<String> {
        sys::tun_name(self.fd.as_fd())
    }

    /// Reads one packet; `WouldBlock` if there is none.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::read(self.fd.as_fd(), buffer)
    }

    /// Writes one packet.
    pub(super) fn write(&self, packet: &[u8]) -> io::Result<()> {
        sys::write(self.fd.as_fd(), packet).map(|_| ())
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
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
        let Ok(namespace) = sys::tun_namespace(tun.as_fd()) else { return LinkWatch::open_here() };
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
            notifications: sys::link_notifications()?,
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
