//! A running device: a [`Tunnel`](crate::tunnel::Tunnel) with a TUN interface, two sockets, a clock, and threads of its own.
//!
//! [`Device`] is the handle. One thread (`worker`) decides everything, helped by others where there is much to do (`pool`). It turns what the descriptors report into the tunnel's
//! `handle_*` calls. Commands reach it through a channel and are answered through another, so a call returns only when it is done.
//! Sockets are made in the network namespace of the thread that calls [`Device::start`]; the interface may be in another. Nothing
//! is sent and no port is taken while the interface is down.

mod clock;
mod events;
mod inward;
mod offload;
mod outbox;
mod outward;
mod pool;
mod sys;
mod tun;
mod udp;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

pub use events::Events;
pub(crate) use sys::{interface_index, poll_readable, termination_signals};
pub use tun::Tun;
use worker::Worker;

use crate::config::{ConfigureDevice, DeviceDescription, PeerPlace, PeerTraffic};
use crate::keys::PublicKey;
use crate::limits::{THREADS_DEFAULT_MAX, Timing};
use crate::time::Tai64N;
use crate::tunnel::{ConfigureError, Endpoint, LocalAddress};
use crate::uapi::UapiSocket;

/// What a device is made of.
#[derive(Debug)]
pub struct DeviceOptions {
    /// The interface.
    pub tun: Tun,
    /// Where to listen for `wg` and the like, for example [`default_path`](crate::uapi::default_path); none for not at all.
    pub uapi_path: Option<PathBuf>,
    /// The protocol's intervals; anything but the default is for tests.
    pub timing: Timing,
    /// What the kernel may be asked to do for us; anything but the default is for tests.
    pub offloads: Offloads,
    /// How many threads may work, the one that decides included; those beside it start when there is much to do. With one, it does
    /// everything. At most [`THREADS_MAX`](crate::limits::THREADS_MAX).
    pub threads: usize,
}

/// What the kernel may be asked to do for us. Each is tried, and done without where the kernel can't do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Hand out and take large TCP packets at the interface, and leave checksums to us.
    pub tun: bool,
    /// The same for UDP (Linux 6.2).
    pub uso: bool,
    /// Cut messages of several datagrams at the sockets.
    pub gso: bool,
    /// Join datagrams that come in.
    pub gro: bool,
}

impl Offloads {
    /// All of them.
    pub const ALL: Offloads = Offloads { tun: true, uso: true, gso: true, gro: true };
    /// None of them.
    pub const NONE: Offloads = Offloads { tun: false, uso: false, gso: false, gro: false };

    /// Those named in a list like `tun,gso`; `none` names nothing. None if a name is unknown.
    pub fn from_names(names: &str) -> Option<Offloads> {
        let mut offloads = Offloads::NONE;
        for name in names.split(',') {
            match name.trim() {
                "tun" => offloads.tun = true,
                "uso" => offloads.uso = true,
                "gso" => offloads.gso = true,
                "gro" => offloads.gro = true,
                "none" | "" => {}
                _ => return None,
            }
        }
        Some(offloads)
    }
}

impl DeviceOptions {
    /// A device on `tun` without a UAPI socket.
    pub fn new(tun: Tun) -> DeviceOptions {
        DeviceOptions {
            tun,
            uapi_path: None,
            timing: Timing::default(),
            offloads: Offloads::ALL,
            threads: default_threads(),
        }
    }

    /// Also listen for `wg` at `path`.
    #[must_use]
    pub fn with_uapi(mut self, path: impl Into<PathBuf>) -> DeviceOptions {
        self.uapi_path = Some(path.into());
        self
    }
}

/// As many as there are processors, up to a bound. On two, a second thread would only compete with the programs whose packets these
/// are.
fn default_threads() -> usize {
    match std::thread::available_parallelism().map_or(1, NonZeroUsize::get) {
        1 | 2 => 1,
        processors => processors.min(THREADS_DEFAULT_MAX),
    }
}

/// Why a device can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The device's own descriptors could not be made.
    #[error("can't set up the device")]
    Setup(#[source] io::Error),
    /// The UAPI socket could not be made.
    #[error("can't listen on {path}")]
    Uapi {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The UDP port could not be had. Nothing of the change was applied.
    #[error("can't listen on UDP port {port}")]
    Listen {
        /// Which port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The mark could not be set. Nothing of the change was applied.
    #[error("can't set the mark {fwmark:#x}")]
    Fwmark {
        /// Which mark.
        fwmark: u32,
        /// Why.
        source: io::Error,
    },
    /// The change was refused. Nothing of it was applied.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// The device has ended: its interface was deleted, or it was stopped.
    #[error("the device has ended")]
    Ended,
}

/// What the thread is asked to do.
enum Command {
    Configure(Box<ConfigureDevice>, SyncSender<Result<(), DeviceError>>),
    Describe(SyncSender<DeviceDescription>),
    News(SyncSender<Vec<PeerTraffic>>),
    Initiate(PublicKey, SyncSender<bool>),
    Call(PublicKey, Option<SocketAddr>, Option<Tai64N>, SyncSender<bool>),
    Race(PublicKey, Vec<SocketAddr>),
    Place(PublicKey, SyncSender<Option<PeerPlace>>),
    ForgetSessions(PublicKey),
    GiveAway(SocketAddr, bool),
    Relay(Endpoint, Vec<u8>),
    Stop,
}

/// The sending end of a device's commands; can be cloned and used from any thread.
#[derive(Clone, Debug)]
pub struct DeviceHandle {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
}

impl DeviceHandle {
    fn new() -> io::Result<(DeviceHandle, Receiver<Command>)> {
        let (commands, receiver) = channel();
        Ok((DeviceHandle { commands, wake: Arc::new(sys::eventfd()?) }, receiver))
    }

    /// See [`Device::configure`].
    pub fn configure(&self, change: &ConfigureDevice) -> Result<(), DeviceError> {
        self.ask(|reply| Command::Configure(Box::new(change.clone()), reply))?
    }

    /// See [`Device::describe`].
    pub fn describe(&self) -> Result<DeviceDescription, DeviceError> {
        self.ask(Command::Describe)
    }

    /// See [`Device::traffic_news`].
    pub fn traffic_news(&self) -> Result<Vec<PeerTraffic>, DeviceError> {
        self.ask(Command::News)
    }

    /// See [`Device::initiate`].
    pub fn initiate(&self, peer: &PublicKey) -> Result<bool, DeviceError> {
        self.ask(|reply| Command::Initiate(*peer, reply))
    }

    /// As [`Device::initiate`], however short a time ago that was done: for a peer that was with another device of the same key,
    /// or may be elsewhere, at `place`: for once, since packets go there only when it has answered. `seen` is a timestamp that the
    /// peer has seen from such a device: the own one is made later, or the peer would take it for a replay.
    pub fn call(&self, peer: &PublicKey, place: Option<SocketAddr>, seen: Option<Tai64N>) -> Result<bool, DeviceError> {
        self.ask(|reply| Command::Call(*peer, place, seen, reply))
    }

    /// Sends the initiation for a peer to several places at once: the first that answers is where it is.
    pub fn race(&self, peer: &PublicKey, places: Vec<SocketAddr>) -> Result<(), DeviceError> {
        self.send(Command::Race(*peer, places))
    }

    /// Where a peer is; none if it is not known, or was never heard.
    pub fn place(&self, peer: &PublicKey) -> Result<Option<PeerPlace>, DeviceError> {
        self.ask(|reply| Command::Place(*peer, reply))
    }

    /// Forgets the sessions of a peer that another device with the same key has, so that nothing is sent to it any more: it would
    /// take that for news of where its server is.
    pub fn forget_sessions(&self, peer: &PublicKey) -> Result<(), DeviceError> {
        self.send(Command::ForgetSessions(*peer))
    }

    /// The peer at an address is given away to another device with the same key, or no longer: what comes from there for no session of
    /// this device is handed out ([`Event::Stray`](crate::Event::Stray)), whatever its index says.
    pub fn give_away(&self, source: SocketAddr, is_given: bool) -> Result<(), DeviceError> {
        self.send(Command::GiveAway(source, is_given))
    }

    /// Sends a datagram that another device with the same key has made, from the own port and the address `local`.
    pub fn relay(&self, to: SocketAddr, local: Option<IpAddr>, datagram: Vec<u8>) -> Result<(), DeviceError> {
        let local = local.map(|address| LocalAddress { address, interface: 0 });
        self.send(Command::Relay(Endpoint { remote: to, local }, datagram))
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<T>) -> Command) -> Result<T, DeviceError> {
        let (sender, receiver) = sync_channel(1);
        self.send(command(sender))?;
        receiver.recv().map_err(|_| DeviceError::Ended)
    }

    fn send(&self, command: Command) -> Result<(), DeviceError> {
        self.commands.send(command).map_err(|_| DeviceError::Ended)?;
        // The counter can only be full when the thread has not run for 2^64 commands; it is awake then.
        let _ = sys::write(self.wake.as_fd(), &1u64.to_ne_bytes());
        Ok(())
    }
}

/// A running device. Ends when dropped, and removes its interface if that is not persistent.
#[derive(Debug)]
pub struct Device {
    handle: DeviceHandle,
    events: Arc<Events>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    /// Starts a device. If the interface is up already, its sockets are bound when this returns.
    pub fn start(options: DeviceOptions) -> Result<Device, DeviceError> {
        let (handle, commands) = DeviceHandle::new().map_err(DeviceError::Setup)?;
        let events = Arc::new(Events::new().map_err(DeviceError::Setup)?);
        let uapi = match options.uapi_path {
            Some(path) => {
                let bound = UapiSocket::bind(&path);
                Some(bound.map_err(|source| DeviceError::Uapi { path, source })?)
            }
            None => None,
        };
        let worker = Worker::new(
            options.tun,
            (options.timing, options.offloads, options.threads),
            uapi,
            handle.clone(),
            commands,
            Arc::clone(&events),
        );
        let mut worker = worker.map_err(DeviceError::Setup)?;
        worker.handle_link();
        let thread = std::thread::Builder::new().name("wayleave-engine".to_owned()).spawn(move || worker.run());
        Ok(Device { handle, events, thread: Some(thread.map_err(DeviceError::Setup)?) })
    }

    /// Applies a change, all of it or nothing. Sessions of peers that it does not name go on.
    pub fn configure(&self, change: &ConfigureDevice) -> Result<(), DeviceError> {
        self.handle.configure(change)
    }

    /// Everything there is to know about the device.
    pub fn describe(&self) -> Result<DeviceDescription, DeviceError> {
        self.handle.describe()
    }

    /// The peers whose counters or handshakes have changed since this was last asked: for an owner that asks several times a second.
    pub fn traffic_news(&self) -> Result<Vec<PeerTraffic>, DeviceError> {
        self.handle.traffic_news()
    }

    /// Starts a handshake with a peer without waiting for a packet to send. False if there is no such peer.
    pub fn initiate(&self, peer: &PublicKey) -> Result<bool, DeviceError> {
        self.handle.initiate(peer)
    }

    /// What the device noticed.
    pub fn events(&self) -> Arc<Events> {
        Arc::clone(&self.events)
    }

    /// A handle for other threads.
    pub fn handle(&self) -> DeviceHandle {
        self.handle.clone()
    }

    /// Whether the device still runs.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits until the device ends by itself, because its interface was deleted.
    pub fn wait(mut self) {
        self.join();
    }

    /// Ends the device and waits until its descriptors are closed.
    pub fn stop(self) {
        drop(self);
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // If the thread has ended, so has what should be stopped.
        let _ = self.handle.send(Command::Stop);
        self.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_named() {
        assert_eq!(Offloads::from_names("tun, uso,gso,gro"), Some(Offloads::ALL));
        assert_eq!(Offloads::from_names("none"), Some(Offloads::NONE));
        assert_eq!(Offloads::from_names("gro"), Some(Offloads { gro: true, ..Offloads::NONE }));
        assert_eq!(Offloads::from_names("all"), None);
    }
}
