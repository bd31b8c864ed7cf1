//! Sleeping until something happens: epoll over devices, the command eventfd, and one timerfd.
//!
//! The timer is armed to the next packet's deadline, exact to the nanosecond, and touched only when that deadline changes.
//! Which packet it is for the poller does not know.

use super::route::PortId;
use crate::limits;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Why the thread woke up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// There are commands.
    Wake,
    /// A packet is due.
    Deadline,
    /// A port has packets.
    Readable(PortId),
    /// A port's device has gone.
    Broken(PortId),
}

const WAKE: u64 = u64::MAX;
const DEADLINE: u64 = u64::MAX - 1;

pub(super) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    armed_ns: Option<u64>,
    ready: Vec<libc::epoll_event>,
}

/// The monotonic clock.
pub(super) fn clock_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call, which can't fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    // Both are positive for this clock.
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

impl Poller {
    pub(super) fn new(wake: &OwnedFd) -> io::Result<Self> {
        // SAFETY: no pointer; the result is checked.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: no pointer; the result is checked.
        let timer =
            owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })?;
        let ready = vec![libc::epoll_event { events: 0, u64: 0 }; limits::WAKE_PORTS];
        let poller = Self { epoll, timer, armed_ns: None, ready };
        poller.watch(wake.as_raw_fd(), libc::EPOLLIN, WAKE)?;
        // Edge-triggered: setting the timer again is what resets it.
        poller.watch(poller.timer.as_raw_fd(), libc::EPOLLIN | libc::EPOLLET, DEADLINE)?;
        Ok(poller)
    }

    pub(super) fn add(&self, port: PortId, device: &OwnedFd) -> io::Result<()> {
        let fd = device.as_raw_fd();
        // SAFETY: no pointers; the descriptor is open.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        // SAFETY: as above. A blocking device would stop the whole wire.
        if flags < 0 || unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
            return Err(io::Error::last_os_error());
        }
        self.watch(fd, libc::EPOLLIN, u64::from(port.0))
    }

    pub(super) fn remove(&self, device: &OwnedFd) {
        // SAFETY: the event pointer may be null for this operation. Closing the descriptor would do the same.
        unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, device.as_raw_fd(), std::ptr::null_mut())
        };
    }

    /// Sleeps until the deadline at the latest.
    pub(super) fn wait(&mut self, deadline_ns: Option<u64>, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = match deadline_ns {
            Some(at_ns) if at_ns <= clock_ns() => 0,
            Some(at_ns) => {
                self.arm(at_ns)?;
                -1
            }
            // A timer that still runs costs one needless wake-up.
            None => -1,
        };
        let room = self.ready.len() as i32;
        // SAFETY: the array has `room` elements and lives through the call.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.ready.as_mut_ptr(), room, timeout) };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        for ready in &self.ready[..count] {
            // The structure is packed: its fields can be copied but not referred to.
            let (token, interest) = (ready.u64, ready.events);
            events.push(match token {
                WAKE => Event::Wake,
                DEADLINE => Event::Deadline,
                // Ports are registered by their 32 bits.
                port if interest & libc::EPOLLIN as u32 != 0 => Event::Readable(PortId(port as u32)),
                port => Event::Broken(PortId(port as u32)),
            });
        }
        Ok(())
    }

    fn arm(&mut self, at_ns: u64) -> io::Result<()> {
        if self.armed_ns == Some(at_ns) {
            return Ok(());
        }
        let value = libc::timespec {
            tv_sec: (at_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (at_ns % 1_000_000_000) as libc::c_long,
        };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = libc::itimerspec { it_interval: never, it_value: value };
        // SAFETY: the setting lives through the call; the old one isn't asked for.
        let result = unsafe {
            libc::timerfd_settime(
                self.timer.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const setting,
                std::ptr::null_mut(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        self.armed_ns = Some(at_ns);
        Ok(())
    }

    fn watch(&self, fd: RawFd, interest: i32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        // SAFETY: the event lives through the call, which copies it.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn owned(raw: RawFd) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for the caller, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
