//! What the device's thread sleeps on: descriptors that become readable, and one deadline.
//!
//! Descriptors are registered once and the timer is set only when the deadline changes, so that a wake-up costs one system call
//! however many descriptors there are. What is watched is told anew before each wait; only differences reach the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super as sys;
use crate::time::Monotonic;

/// Something to watch: a descriptor, and the generation of who has it. A number may come again for another descriptor, and the
/// kernel forgets what is closed, so a new owner must be told from the old by its generation. None is not watched.
pub type Watched = Option<(RawFd, u64)>;

/// Waits for `N` descriptors and a deadline.
#[derive(Debug)]
pub struct Waiter<const N: usize> {
    epoll: OwnedFd,
    timer: OwnedFd,
    watched: [Watched; N],
    armed: Option<Monotonic>,
}

impl<const N: usize> Waiter<N> {
    /// A waiter that watches nothing.
    pub fn new() -> io::Result<Waiter<N>> {
        let (epoll, timer) = (sys::epoll()?, sys::timer()?);
        sys::epoll_add(epoll.as_fd(), timer.as_raw_fd(), N as u64)?;
        Ok(Waiter { epoll, timer, watched: [None; N], armed: None })
    }

    /// Sets what is watched from here on.
    pub fn watch(&mut self, wanted: [Watched; N]) -> io::Result<()> {
        if self.watched == wanted {
            return Ok(());
        }
        let changed: Vec<usize> = (0..N).filter(|&at| self.watched[at] != wanted[at]).collect();
        // All that goes goes first: the number of one may have become that of another.
        for &at in &changed {
            if let Some((fd, _)) = self.watched[at].take() {
                // If it is closed, it is not watched any more.
                let _ = sys::epoll_remove(self.epoll.as_fd(), fd);
            }
        }
        for &at in &changed {
            if let Some((fd, _)) = wanted[at] {
                sys::epoll_add(self.epoll.as_fd(), fd, at as u64)?;
            }
            self.watched[at] = wanted[at];
        }
        Ok(())
    }

    /// Sleeps until something is readable, or has an error, or the deadline has come; says which descriptors are.
    pub fn wait(&mut self, now: Monotonic, deadline: Option<Monotonic>) -> io::Result<[bool; N]> {
        if deadline != self.armed {
            sys::set_timer(self.timer.as_fd(), deadline.map(|deadline| deadline.since(now)))?;
            self.armed = deadline;
        }
        let mut ready = [false; N];
        sys::epoll_wait(self.epoll.as_fd(), |place| match ready.get_mut(place as usize) {
            Some(ready) => *ready = true,
            None => {
                // Reading makes it quiet; the next wait arms it anew.
                let _ = sys::read(self.timer.as_fd(), &mut [0; 8]);
                self.armed = None;
            }
        })?;
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn signalled() -> OwnedFd {
        let event = sys::eventfd().unwrap();
        sys::write(event.as_fd(), &1u64.to_ne_bytes()).unwrap();
        event
    }

    #[test]
    fn what_is_readable_is_told_and_what_is_not_watched_is_not() {
        let (quiet, loud) = (sys::eventfd().unwrap(), signalled());
        let mut waiter = Waiter::<3>::new().unwrap();
        let (quiet, loud) = (Some((quiet.as_raw_fd(), 0)), (Some((loud.as_raw_fd(), 0)), loud));
        waiter.watch([quiet, loud.0, None]).unwrap();
        assert_eq!(waiter.wait(Monotonic::default(), None).unwrap(), [false, true, false]);
        waiter.watch([loud.0, None, None]).unwrap();
        assert_eq!(waiter.wait(Monotonic::default(), None).unwrap(), [true, false, false]);
        waiter.watch([None; 3]).unwrap();
        let soon = Some(Monotonic(Duration::from_millis(1)));
        assert_eq!(waiter.wait(Monotonic::default(), soon).unwrap(), [false; 3]);
        // A deadline that has passed ends the wait at once.
        assert_eq!(waiter.wait(Monotonic(Duration::from_secs(1)), soon).unwrap(), [false; 3]);
    }

    #[test]
    fn a_number_that_comes_again_is_watched_again() {
        let mut waiter = Waiter::<1>::new().unwrap();
        for generation in 0..3 {
            let loud = signalled();
            waiter.watch([Some((loud.as_raw_fd(), generation))]).unwrap();
            assert_eq!(waiter.wait(Monotonic::default(), None).unwrap(), [true]);
        }
    }
}
