//! TUN devices: where a namespace's packets meet a program.
//!
//! One descriptor per device, without packet information and without offloads: every read gives one IP packet with correct
//! checksums, every write takes one. The device belongs to the namespace of the thread that makes it, and goes with the descriptor.

use super::{Netlink, NetlinkError};
use crate::limits;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Where TUN devices come from.
pub const CLONE_DEVICE: &str = "/dev/net/tun";

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The device file.
    #[error("can't open {CLONE_DEVICE}{}", open_hint(.0))]
    Open(#[source] io::Error),
    /// Longer than the kernel's 15 characters, empty, or with a zero in it.
    #[error("{0:?} can't be the name of a network device (1 to 15 bytes)")]
    Name(String),
    /// The device itself.
    #[error("can't make TUN device {name}")]
    Create {
        /// Its name.
        name: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Its queue.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Makes a TUN device in the namespace of the calling thread. It is down and has the long queue that a wire needs.
pub fn create(name: &str) -> Result<OwnedFd, TunError> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(TunError::Name(name.into()));
    }
    let device = open().map_err(TunError::Open)?;
    // SAFETY: plain data, for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request lives through the call and is what TUNSETIFF takes.
    if unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } < 0 {
        return Err(TunError::Create { name: name.into(), source: io::Error::last_os_error() });
    }
    Netlink::open()?.set_queue(name, limits::TUN_QUEUE_PACKETS)?;
    Ok(device)
}

/// Says whether this process may make TUN devices at all, as far as the device file goes.
pub fn check_access() -> Result<(), TunError> {
    open().map(drop).map_err(TunError::Open)
}

fn open() -> io::Result<OwnedFd> {
    let mut options = OpenOptions::new();
    Ok(options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(CLONE_DEVICE)?.into())
}

fn open_hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            " (everybody may have it, it gives no rights outside one's own namespaces: as root `chmod 0666 /dev/net/tun`)"
        }
        Some(libc::ENOENT) => {
            " (as root `modprobe tun`, or `mkdir -p /dev/net && mknod -m 0666 /dev/net/tun c 10 200`; a container needs \
             `--device /dev/net/tun`)"
        }
        Some(libc::ENODEV | libc::ENXIO) => " (the kernel has no TUN driver: as root `modprobe tun`)",
        _ => "",
    }
}
