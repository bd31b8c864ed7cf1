//! Which of several servers accepts a connection first.
//!
//! All are asked at the same moment by TCP, at the port that an entry node opens only while it is ready. Who refuses, or is a black
//! hole, costs the others nothing. A connection is closed as soon as it is there; nothing is said over it.

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::path::set_mark;

/// Asks all of them from the namespace of the calling thread, and tells of each that accepts, by its place in the list, when it does.
/// Returns when all have said something, or after `patience`.
pub fn accepting(targets: &[SocketAddr], mark: u32, patience: Duration, mut tell: impl FnMut(usize)) {
    let end = Instant::now() + patience;
    // What can't even be asked does not answer.
    let opened = targets.iter().enumerate().filter_map(|(at, target)| Some((at, connect(*target, mark).ok()?)));
    let mut waiting: Vec<(usize, OwnedFd)> = opened.collect();
    while !waiting.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let Ok(answered) = wait(&waiting, left) else { return };
        let mut still = Vec::new();
        for ((at, socket), has_answered) in waiting.into_iter().zip(answered) {
            match has_answered {
                true if is_connected(&socket) => tell(at),
                true => {}
                false => still.push((at, socket)),
            }
        }
        waiting = still;
    }
}

/// Begins to connect.
fn connect(target: SocketAddr, mark: u32) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointer; the result is checked.
    let raw = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    set_mark(socket.as_raw_fd(), mark)?;
    let result = match target {
        SocketAddr::V4(target) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: target.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*target.ip()).to_be() },
                sin_zero: [0; 8],
            };
            let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            // SAFETY: the address lives through the call, its size goes with it.
            unsafe { libc::connect(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) }
        }
        SocketAddr::V6(target) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: target.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: target.ip().octets() },
                sin6_scope_id: target.scope_id(),
            };
            let length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            // SAFETY: the address lives through the call, its size goes with it.
            unsafe { libc::connect(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) }
        }
    };
    let error = io::Error::last_os_error();
    if result < 0 && error.raw_os_error() != Some(libc::EINPROGRESS) { Err(error) } else { Ok(socket) }
}

/// Waits until some have answered, whatever they say, and tells which.
fn wait(waiting: &[(usize, OwnedFd)], patience: Duration) -> io::Result<Vec<bool>> {
    let asked =
        |(_, socket): &(usize, OwnedFd)| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    let mut descriptors: Vec<libc::pollfd> = waiting.iter().map(asked).collect();
    let timeout_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX).max(1);
    // SAFETY: the list lives through the call, its length goes with it.
    let count = unsafe { libc::poll(descriptors.as_mut_ptr(), descriptors.len() as libc::nfds_t, timeout_ms) };
    if count < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(descriptors.iter().map(|descriptor| descriptor.revents != 0).collect())
}

fn is_connected(socket: &OwnedFd) -> bool {
    let mut error: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both values live through the call, and the size is that of the first.
    let result = unsafe {
        let value = std::ptr::from_mut(&mut error).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, value, &raw mut length)
    };
    result == 0 && error == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn who_accepts_is_told_at_once_and_who_refuses_never() {
        let (v4, v6) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap());
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let targets = [closed, v4.local_addr().unwrap(), v6.local_addr().unwrap()];
        let (mut told, begin) = (Vec::new(), Instant::now());
        accepting(&targets, 0, Duration::from_secs(30), |at| told.push(at));
        told.sort_unstable();
        assert_eq!(told, [1, 2]);
        assert!(begin.elapsed() < Duration::from_secs(10), "all have said something");
    }

    #[test]
    fn a_black_hole_keeps_nobody_waiting() {
        // A listener whose queue is full says nothing to who connects.
        let full = TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: no pointer; the descriptor is a listener's.
        assert_eq!(unsafe { libc::listen(full.as_raw_fd(), 0) }, 0);
        let address = full.local_addr().unwrap();
        let _held: Vec<OwnedFd> = (0..4).filter_map(|_| connect(address, 0).ok()).collect();
        let lives = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut told, begin) = (Vec::new(), Instant::now());
        let patience = Duration::from_millis(300);
        accepting(&[address, lives.local_addr().unwrap()], 0, patience, |at| {
            told.push((at, begin.elapsed() < patience))
        });
        assert_eq!(told, [(1, true)]);
        assert!(begin.elapsed() >= patience, "the other one had its time");
    }
}
