//! Signals as something to wait for, instead of something that interrupts.
//!
//! In: SIGINT, SIGTERM and SIGHUP, which all threads leave to one descriptor. Programs that are started get them back
//! ([`unblock_in`]). [`wait_readable`] waits for any descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A signal that a running program takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM: end.
    End,
    /// SIGHUP.
    Hangup,
}

/// SIGINT, SIGTERM and SIGHUP as a descriptor, so that waiting for them and for other things is one wait.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Takes the signals away from their default action. Call it before any thread starts: threads inherit the mask.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn block() -> io::Result<Signals> {
        // SAFETY: the set is initialised by sigemptyset before use, and all pointers are to it.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::sigaddset(&raw mut set, signal);
            }
            if libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Signals(OwnedFd::from_raw_fd(fd))) }
        }
    }

    /// Waits for the next one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self) -> io::Result<Signal> {
        // SAFETY: all-zero bytes are a valid value of this plain C struct.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of_val(&info);
        // SAFETY: the struct is as long as said, and any bytes are a valid value of it.
        let got = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size) };
        if got != size as isize {
            return Err(io::Error::last_os_error());
        }
        Ok(if info.ssi_signo == libc::SIGHUP as u32 { Signal::Hangup } else { Signal::End })
    }

    /// Whether one of them has arrived; it stays so.
    pub fn is_raised(&self) -> bool {
        wait_readable(&[self.as_fd()], 0).is_ok_and(|ready| ready[0])
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives a program that is to be started all signals back: threads of ours don't take those that [`Signals`] takes, a program
/// inherits that from the thread that starts it, and would not even end when asked to.
pub fn unblock_in(command: &mut Command) {
    // SAFETY: between fork and exec only functions are called that signal handlers may call; the set is initialised before use.
    unsafe {
        command.pre_exec(|| {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            match libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// Waits until descriptors can be read; -1 milliseconds waits for ever.
///
/// # Errors
/// What the kernel says; an interruption is none.
pub fn wait_readable(descriptors: &[BorrowedFd<'_>], timeout_ms: i32) -> io::Result<Vec<bool>> {
    let poll = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polls: Vec<libc::pollfd> = descriptors.iter().map(poll).collect();
    // SAFETY: the array lives through the call and its length is given.
    let got = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, timeout_ms) };
    if got < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(polls.iter().map(|poll| poll.revents != 0).collect())
}
