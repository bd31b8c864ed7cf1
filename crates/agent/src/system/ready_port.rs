//! A TCP port that is open or closed, which is all that it says.
//!
//! For the health checks of load balancers: while it is open connections are accepted and closed at once, nothing is read and nothing
//! sent; when it is closed they are refused. One thread, which holds at most one connection, and that for no time.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::thread::JoinHandle;
use std::time::Duration;

/// Until a connection is taken again after none could be: when descriptors are short.
const PAUSE: Duration = Duration::from_millis(100);

/// An open port; dropped, it is closed.
#[derive(Debug)]
pub struct ReadyPort {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl ReadyPort {
    /// Opens a port on all addresses of the calling thread's network namespace.
    ///
    /// # Errors
    /// If another program has it.
    pub fn open(port: u16) -> io::Result<ReadyPort> {
        let listener =
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| match error.raw_os_error() {
                // A kernel without IPv6.
                Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
                _ => Err(error),
            })?;
        let accepting = listener.try_clone()?;
        let thread = std::thread::Builder::new().name("ready port".into()).spawn(move || accept(&accepting))?;
        Ok(ReadyPort { listener, thread: Some(thread) })
    }

    /// The port.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }
}

impl Drop for ReadyPort {
    fn drop(&mut self) {
        // Closing a descriptor wakes nobody up who waits at it; this does, and connections are refused from here on.
        // SAFETY: the descriptor is open, and no memory is concerned.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener) {
    loop {
        match listener.accept() {
            Ok(connection) => drop(connection),
            // The listener was shut down.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
                std::thread::sleep(PAUSE);
            }
            // That connection was given up before it was taken.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpStream};

    #[test]
    fn a_port_is_open_until_it_is_dropped_and_can_be_opened_again() {
        let mut port = 0;
        for _ in 0..3 {
            let ready = ReadyPort::open(port).unwrap();
            port = ready.port().unwrap();
            let addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()];
            for _ in 0..50 {
                TcpStream::connect(addresses[0]).unwrap();
            }
            drop(ready);
            for address in addresses {
                let refused = TcpStream::connect(address).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            }
        }
    }
}
