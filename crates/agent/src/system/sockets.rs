//! What sockets of all kinds need and socket2 has no word for: rarer options, and deadlines.

use std::io::{self, ErrorKind};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::{Duration, Instant};

/// Sets an option whose value is plain data.
///
/// # Errors
/// What the kernel says.
pub(crate) fn set_option<T: Copy>(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let (value, length) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the value lives through the call and its length goes with it; only plain data are given.
    let result = unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, value, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives a socket room for so many bytes that were not read yet: as much as an ordinary process may have, and more for the superuser
/// of the machine. A smaller one does as well, later.
pub(crate) fn set_room(socket: &impl AsFd, bytes: libc::c_int) {
    for option in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE] {
        let _ = set_option(socket, libc::SOL_SOCKET, option, &bytes);
    }
}

/// The time until a deadline.
///
/// # Errors
/// Once there is none left.
pub(crate) fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(too_long()) } else { Ok(left) }
}

/// An error in words that say what happened: a timeout is `WouldBlock` to the kernel, which tells nobody anything.
pub(crate) fn in_words(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { too_long() } else { error }
}

pub(crate) fn too_long() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no answer in time")
}
