//! The sockets of all flows that are passed on to other entry servers, and one thread's wait for what comes back over any.
//!
//! A flow has a socket of its own, connected to the server that has its session, so that nobody else can answer and the answer
//! says whose it is by where it comes in. The kernel is asked for those that have something (`epoll`), whose cost does not grow
//! with how many there are. Whoever adds and removes flows does it from another thread.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The largest datagram: what a jumbo underlay carries.
const DATAGRAM_BYTES_MAX: usize = 9_216;
/// Flows that are told of in one wait.
const READY_MAX: usize = 64;
/// Datagrams read of one flow before the others have their turn.
const TURN_MAX: usize = 16;

/// All flows.
#[derive(Debug)]
pub(super) struct Flows {
    epoll: OwnedFd,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    all: HashMap<u64, Arc<Flow>>,
    /// Numbers are never used again, so that late readiness can't be another flow's.
    next: u64,
}

/// One flow.
#[derive(Debug)]
pub(super) struct Flow {
    number: u64,
    /// Where the client is.
    pub(super) source: SocketAddr,
    /// To the server that has the session.
    pub(super) socket: UdpSocket,
}

impl Flows {
    /// None so far.
    pub(super) fn new() -> io::Result<Flows> {
        // SAFETY: takes flags only, and returns a descriptor that is nobody else's.
        let epoll = unsafe {
            let descriptor = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(descriptor)
        };
        Ok(Flows { epoll, known: Mutex::default() })
    }

    /// Begins to wait for what comes over a socket.
    pub(super) fn add(&self, source: SocketAddr, socket: UdpSocket) -> io::Result<Arc<Flow>> {
        socket.set_nonblocking(true)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.next += 1;
        let number = known.next;
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number };
        // SAFETY: both descriptors are open, and the kernel copies the event.
        let result =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let flow = Arc::new(Flow { number, source, socket });
        known.all.insert(number, flow.clone());
        Ok(flow)
    }

    /// Forgets a flow; its socket is closed, and so no longer waited for, when nobody has it any more.
    pub(super) fn remove(&self, flow: &Flow) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&flow.number);
    }

    /// Waits until something has come, or for this long, and hands over what has.
    pub(super) fn wait(&self, timeout: Duration, mut each: impl FnMut(&Flow, &[u8])) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; READY_MAX];
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the array is as long as is said.
        let count =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), READY_MAX as i32, timeout_ms) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        for event in &events[..count as usize] {
            let number = event.u64;
            let flow = self.known.lock().unwrap_or_else(PoisonError::into_inner).all.get(&number).cloned();
            let Some(flow) = flow else { continue };
            for _ in 0..TURN_MAX {
                match flow.socket.recv(&mut buffer) {
                    Ok(length) => each(&flow, &buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error came back for something sent; reading has taken it.
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow, and the server's end of it.
    fn flow(flows: &Flows, port: u16) -> (Arc<Flow>, UdpSocket) {
        let (here, there) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        here.connect(there.local_addr().unwrap()).unwrap();
        there.connect(here.local_addr().unwrap()).unwrap();
        (flows.add(SocketAddr::from(([192, 0, 2, 1], port)), here).unwrap(), there)
    }

    fn heard(flows: &Flows) -> Vec<(u16, Vec<u8>)> {
        let mut all = Vec::new();
        flows.wait(Duration::ZERO, |flow, bytes| all.push((flow.source.port(), bytes.to_vec()))).unwrap();
        all.sort();
        all
    }

    #[test]
    fn what_comes_is_handed_over_with_its_flow_and_what_comes_for_one_that_is_gone_is_not() {
        let flows = Flows::new().unwrap();
        let all: Vec<_> = (0..200).map(|port| flow(&flows, port)).collect();
        assert_eq!(heard(&flows), vec![]);
        for (at, (_, server)) in all.iter().enumerate().take(3) {
            server.send(&[at as u8; 3]).unwrap();
            server.send(&[]).unwrap();
        }
        flows.remove(&all[1].0);
        let none = Vec::new;
        assert_eq!(heard(&flows), vec![(0, none()), (0, vec![0; 3]), (2, none()), (2, vec![2; 3])]);
        let (gone, server) = all.into_iter().nth(1).unwrap();
        drop(gone);
        server.send(&[1]).unwrap();
        assert_eq!(heard(&flows), vec![]);
        assert!(server.send(&[1]).is_err(), "nobody has the socket any more");
    }
}
