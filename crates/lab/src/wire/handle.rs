//! How everybody else talks to the wire's thread.
//!
//! A [`Wire`] can be cloned and used from any thread. Calls become commands in a channel, an eventfd wakes the thread; it takes all
//! that wait before it touches the next packet. Most calls return at once and can't fail but for a dead wire; those that can be
//! refused wait for the answer. Commands take effect in the order in which one thread gives them, so a call that waits (such as
//! [`Wire::stats`]) also says that everything before it has happened. The wire ends with its last handle, or by [`Wire::stop`].

use super::cloud::anycast::{AnycastConfig, AnycastFlow, AnycastId};
use super::model::LinkModel;
use super::nat::{Mapping, NatConfig};
use super::route::{NatId, PortId, RouteError, UnderlayId};
use super::stats::WireStats;
use super::thread;
use crate::limits;
use ipnet::IpNet;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// How a wire is run.
#[derive(Debug, Clone)]
pub struct WireOptions {
    /// Where the chances of loss, jitter and port numbers start from.
    pub seed: u64,
    /// Whether to ask for realtime scheduling; the answer is in [`WireStats::scheduling`].
    pub realtime: bool,
}

impl Default for WireOptions {
    fn default() -> Self {
        Self { seed: 1, realtime: true }
    }
}

/// What can go wrong with a wire.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The kernel refused something the wire needs.
    #[error("can't {attempt} for the wire")]
    Kernel {
        /// What was attempted.
        attempt: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The thread is gone: it was stopped, or it failed.
    #[error("the wire has stopped")]
    Stopped,
    /// No answer within [`limits::WIRE_ANSWER_TIMEOUT`].
    #[error("the wire doesn't answer")]
    Silent,
    /// [`limits::PORTS_MAX`] reached.
    #[error("the wire can't have more than {} ports", limits::PORTS_MAX)]
    TooManyPorts,
    /// No such port, or it was removed.
    #[error("the wire has no port {}", .0.0)]
    UnknownPort(PortId),
    /// No such NAT.
    #[error("the wire has no NAT {}", .0.0)]
    UnknownNat(NatId),
    /// No such anycast address.
    #[error("the wire has no anycast address {}", .0.0)]
    UnknownAnycast(AnycastId),
    /// [`limits::ANYCAST_MEMBERS_MAX`] reached.
    #[error("an anycast address can't have more than {} members", limits::ANYCAST_MEMBERS_MAX)]
    TooManyMembers,
    /// An address can't be given away.
    #[error(transparent)]
    Route(#[from] RouteError),
}

/// A running wire.
#[derive(Debug, Clone)]
pub struct Wire {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    next_port: AtomicU32,
    next_nat: AtomicU32,
    next_anycast: AtomicU32,
}

/// Everything that can be asked of the wire's thread.
#[derive(Debug)]
pub(super) enum Command {
    AddPort { port: PortId, tun: OwnedFd, answer: Answer<()> },
    RemovePort { port: PortId },
    AddAddress { port: PortId, prefix: IpNet, underlay: UnderlayId, answer: Answer<()> },
    RemoveAddress { prefix: IpNet, underlay: UnderlayId },
    AddNat { nat: NatId, config: NatConfig, inside: UnderlayId, answer: Answer<()> },
    SetNat { port: PortId, nat: Option<NatId>, answer: Answer<()> },
    RebindNat { nat: NatId, outside: Option<Ipv4Addr>, answer: Answer<()> },
    Mappings { nat: NatId, answer: Answer<Vec<Mapping>> },
    AddAnycast { anycast: AnycastId, config: AnycastConfig, answer: Answer<()> },
    SetHealthy { anycast: AnycastId, member: PortId, healthy: bool },
    Flows { anycast: AnycastId, answer: Answer<Vec<AnycastFlow>> },
    SetDefaultLink { model: LinkModel },
    SetLink { from: PortId, to: PortId, model: LinkModel },
    SetLinkUp { from: PortId, to: PortId, up: bool },
    SetPortUp { port: PortId, up: bool },
    SetPartition { groups: Vec<Vec<PortId>> },
    Stats { answer: Answer<WireStats> },
    ResetLateness,
    Stop,
}

pub(super) type Answer<T> = SyncSender<Result<T, WireError>>;

impl Wire {
    /// Starts a wire without ports. Its thread belongs to the caller's namespace but touches nothing in it.
    pub fn start(options: WireOptions) -> Result<Self, WireError> {
        // SAFETY: eventfd takes no pointer; a result of -1 is handled.
        let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if raw < 0 {
            return Err(WireError::Kernel { attempt: "make an eventfd", source: std::io::Error::last_os_error() });
        }
        // SAFETY: the descriptor was made on the line above and belongs to nobody else.
        let wake = Arc::new(unsafe { OwnedFd::from_raw_fd(raw) });
        let (commands, receiver) = channel();
        let thread = thread::start(options, receiver, Arc::clone(&wake))?;
        let number = || AtomicU32::new(0);
        let (next_port, next_nat, next_anycast) = (number(), number(), number());
        let line = Line { commands, wake, thread: Some(thread), next_port, next_nat, next_anycast };
        Ok(Self { line: Arc::new(line) })
    }

    /// Takes over a node's TUN device (made with [`crate::host::tun::create`]) as a new port, without addresses.
    pub fn add_port(&self, tun: OwnedFd) -> Result<PortId, WireError> {
        let port = PortId(self.line.next_port.fetch_add(1, Ordering::Relaxed));
        self.ask(|answer| Command::AddPort { port, tun, answer })?;
        Ok(port)
    }

    /// Gives a port up: its device is closed, its addresses and links are forgotten, packets on their way to it are dropped.
    pub fn remove_port(&self, port: PortId) -> Result<(), WireError> {
        self.line.tell(Command::RemovePort { port })
    }

    /// Gives an address or a prefix in an underlay to a port, which attaches the port to that underlay.
    pub fn add_address(&self, port: PortId, prefix: impl Into<IpNet>, underlay: UnderlayId) -> Result<(), WireError> {
        let prefix = prefix.into();
        self.ask(|answer| Command::AddAddress { port, prefix, underlay, answer })
    }

    /// Takes an address or a prefix away from whoever has it.
    pub fn remove_address(&self, prefix: impl Into<IpNet>, underlay: UnderlayId) -> Result<(), WireError> {
        self.line.tell(Command::RemoveAddress { prefix: prefix.into(), underlay })
    }

    /// Puts a NAT between the private underlay `inside` and the internet, with its outside address. Ports go through it once
    /// [`Wire::set_nat`] says so; several may share one.
    pub fn add_nat(&self, config: NatConfig, inside: UnderlayId) -> Result<NatId, WireError> {
        let nat = NatId(self.line.next_nat.fetch_add(1, Ordering::Relaxed));
        self.ask(|answer| Command::AddNat { nat, config, inside, answer })?;
        Ok(nat)
    }

    /// Sends a port's packets to public addresses through a NAT, or through none.
    pub fn set_nat(&self, port: PortId, nat: Option<NatId>) -> Result<(), WireError> {
        self.ask(|answer| Command::SetNat { port, nat, answer })
    }

    /// Makes a NAT forget all mappings and choose other ports for the next ones, as a restarted router does; with `outside` it
    /// also gets another public address.
    pub fn rebind_nat(&self, nat: NatId, outside: Option<Ipv4Addr>) -> Result<(), WireError> {
        self.ask(|answer| Command::RebindNat { nat, outside, answer })
    }

    /// The live mappings of a NAT.
    pub fn mappings(&self, nat: NatId) -> Result<Vec<Mapping>, WireError> {
        self.ask(|answer| Command::Mappings { nat, answer })
    }

    /// Gives several ports one address: each flow to it goes to the nearest of them that is healthy.
    pub fn add_anycast(&self, config: AnycastConfig) -> Result<AnycastId, WireError> {
        let anycast = AnycastId(self.line.next_anycast.fetch_add(1, Ordering::Relaxed));
        self.ask(|answer| Command::AddAnycast { anycast, config, answer })?;
        Ok(anycast)
    }

    /// Says whether new flows to an anycast address may go to a member.
    pub fn set_healthy(&self, anycast: AnycastId, member: PortId, healthy: bool) -> Result<(), WireError> {
        self.line.tell(Command::SetHealthy { anycast, member, healthy })
    }

    /// The live flows of an anycast address.
    pub fn flows(&self, anycast: AnycastId) -> Result<Vec<AnycastFlow>, WireError> {
        self.ask(|answer| Command::Flows { anycast, answer })
    }

    /// The model of all ordered pairs that have none of their own.
    pub fn set_default_link(&self, model: LinkModel) -> Result<(), WireError> {
        self.line.tell(Command::SetDefaultLink { model })
    }

    /// The model of packets from one port to another; the other direction has its own.
    pub fn set_link(&self, from: PortId, to: PortId, model: LinkModel) -> Result<(), WireError> {
        self.line.tell(Command::SetLink { from, to, model })
    }

    /// Both directions at once.
    pub fn set_links_between(&self, a: PortId, b: PortId, model: &LinkModel) -> Result<(), WireError> {
        self.set_link(a, b, model.clone())?;
        self.set_link(b, a, model.clone())
    }

    /// Cuts or mends one direction, packets under way included.
    pub fn set_link_up(&self, from: PortId, to: PortId, up: bool) -> Result<(), WireError> {
        self.line.tell(Command::SetLinkUp { from, to, up })
    }

    /// Cuts a port off from everything, or mends it. Independent of the state of its links.
    pub fn set_port_up(&self, port: PortId, up: bool) -> Result<(), WireError> {
        self.line.tell(Command::SetPortUp { port, up })
    }

    /// Separates groups of ports from each other; ports in no group reach all. Replaces the earlier partition, an empty list ends it.
    pub fn set_partition(&self, groups: Vec<Vec<PortId>>) -> Result<(), WireError> {
        self.line.tell(Command::SetPartition { groups })
    }

    /// All counters.
    pub fn stats(&self) -> Result<WireStats, WireError> {
        self.ask(|answer| Command::Stats { answer })
    }

    /// Starts measuring lateness anew, for a run of its own.
    pub fn reset_lateness(&self) -> Result<(), WireError> {
        self.line.tell(Command::ResetLateness)
    }

    /// Ends the wire: all its devices are closed. Other handles get [`WireError::Stopped`] from then on.
    pub fn stop(&self) {
        // Telling a wire that has stopped to stop is no failure.
        let _ = self.line.tell(Command::Stop);
    }

    fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, WireError> {
        let (answer, receiver): (Answer<T>, Receiver<_>) = sync_channel(1);
        self.line.tell(command(answer))?;
        match receiver.recv_timeout(limits::WIRE_ANSWER_TIMEOUT) {
            Ok(result) => result,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Err(WireError::Silent),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(WireError::Stopped),
        }
    }
}

impl Line {
    fn tell(&self, command: Command) -> Result<(), WireError> {
        self.commands.send(command).map_err(|_| WireError::Stopped)?;
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the eight bytes live through the call. The only failure is a full counter, and then the thread is awake already.
        unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A wire that panicked has said so on standard error; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}
