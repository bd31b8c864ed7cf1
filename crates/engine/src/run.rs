//! The engine as a program: what `wayleave engine IFACE` does, in place of `wireguard-go IFACE`.
//!
//! Makes the interface and its UAPI socket, then waits until the interface is deleted or the process is told to end. Stays in the
//! foreground; whoever wants it in the background starts it there and waits for the socket to appear.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::config::Event;
use crate::device::{Device, DeviceError, DeviceOptions, Offloads, Tun, poll_readable, termination_signals};
use crate::limits::THREADS_MAX;
use crate::uapi;

/// Names the offloads to use, should one of them misbehave on a host; all of them without it.
const OFFLOADS_VARIABLE: &str = "WAYLEAVE_ENGINE_OFFLOADS";

/// How many threads may work for the interface: 1 does everything in one. Without it, as the machine has processors.
const THREADS_VARIABLE: &str = "WAYLEAVE_ENGINE_THREADS";

/// Why the engine could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The interface could not be made.
    #[error("can't make the interface {name}")]
    Tun {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The device could not be started.
    #[error("can't start the engine")]
    Device(#[from] DeviceError),
    /// The process could not be set up to run and end in order.
    #[error("can't set up the process")]
    Process(#[source] io::Error),
}

/// Runs the engine for the interface `name` in the foreground. Returns when the interface is deleted or on SIGTERM or SIGINT.
pub fn run(name: &str) -> Result<(), RunError> {
    let signals = termination_signals().map_err(RunError::Process)?;
    let tun = Tun::create(name).map_err(|source| RunError::Tun { name: name.to_owned(), source })?;
    let mut options = DeviceOptions::new(tun).with_uapi(uapi::default_path(name));
    if let Ok(names) = std::env::var(OFFLOADS_VARIABLE) {
        match Offloads::from_names(&names) {
            Some(offloads) => options.offloads = offloads,
            None => eprintln!("{OFFLOADS_VARIABLE}={names} is ignored: it is a list of tun, uso, gso and gro, or none"),
        }
    }
    if let Ok(number) = std::env::var(THREADS_VARIABLE) {
        match number.parse() {
            Ok(threads @ 1..=THREADS_MAX) => options.threads = threads,
            _ => eprintln!("{THREADS_VARIABLE}={number} is ignored: it is a number from 1 to {THREADS_MAX}"),
        }
    }
    let device = Device::start(options)?;
    let events = device.events();
    loop {
        let fds = [signals.as_raw_fd(), events.as_fd().as_raw_fd()];
        let ready = poll_readable(&fds, None).map_err(RunError::Process)?;
        if ready[0] {
            break;
        }
        match events.poll() {
            Some(Event::InterfaceGone) => break,
            Some(Event::ListenFailed { port, errno }) => {
                eprintln!("can't listen on UDP port {port}: {}", io::Error::from_raw_os_error(errno));
            }
            _ => {}
        }
    }
    device.stop();
    Ok(())
}
