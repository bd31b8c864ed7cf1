//! Which of several servers accepts a connection first.
//!
//! All are asked at the same moment by TCP, at the port that an entry node opens only while it is ready. Who refuses, or is a black
//! hole, costs the others nothing. A connection is closed as soon as it is there; nothing is said over it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::path::set_mark;

/// Asks all of them from the namespace of the calling thread, and tells of each that accepts, by its place in the list, when it does.
/// Returns when all have said something, or after `patience`.
pub fn accepting(targets: &[SocketAddr], mark: u32, patience: Duration, mut tell: impl FnMut(usize)) {
    let end = Instant::now() + patience;
    // What can't even be asked does not answer.
    let opened = targets.iter().enumerate().filter_map(|(at, target)| Some((at, connect(*target, mark).ok()?)));
    let mut waiting: Vec<(usize, Socket)> = opened.collect();
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
fn connect(target: SocketAddr, mark: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), None)?;
    set_mark(&socket, mark)?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// Waits until some have answered, whatever they say, and tells which.
fn wait(waiting: &[(usize, Socket)], patience: Duration) -> io::Result<Vec<bool>> {
    let asked =
        |(_, socket): &(usize, Socket)| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
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

fn is_connected(socket: &Socket) -> bool {
    matches!(socket.take_error(), Ok(None))
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
        let _held: Vec<Socket> = (0..4).filter_map(|_| connect(address, 0).ok()).collect();
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
