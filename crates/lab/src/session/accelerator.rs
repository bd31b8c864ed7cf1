//! The load balancer of the lab's internet: an anycast address whose members are asked all the time whether they are ready.
//!
//! It has a host of its own on the wire, with an address, from which each member's health port is connected to by TCP, as AWS Global
//! Accelerator does it: at an interval, and so many answers of one kind in a row change what is thought of a member. A connection
//! that is accepted is an answer; a refused one, and silence, are none. What comes of it is told to the wire, which alone chooses
//! members ([`crate::wire::cloud::anycast`]). One thread per member asks, one more counts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use wayleave_core::plan::Member;

use super::Lab;
use super::members::configure_underlay;
use crate::host::{Namespace, NamespaceError, NetlinkError, tun};
use crate::wire::{AnycastConfig, AnycastFlow, AnycastId, AnycastMember, PortId, UnderlayId, Wire, WireError};

/// Where health checks come from: beyond the addresses that the lab makes up for members.
const OWN_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 254);
/// The same over IPv6.
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0xffff, 0, 0, 0, 0, 1);
/// After so long without a packet a flow is forgotten, as by AWS Global Accelerator.
const IDLE: Duration = Duration::from_secs(30);
/// Between two health checks in a lab: ten times as often as AWS does it, so that nobody waits for half a minute.
const INTERVAL: Duration = Duration::from_secs(1);

/// How members are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthChecks {
    /// The TCP port of all members.
    pub port: u16,
    /// Between two connections to one member.
    pub interval: Duration,
    /// How long a connection may take.
    pub timeout: Duration,
    /// So many in a row of the other kind change what is thought of a member.
    pub threshold: u32,
}

impl HealthChecks {
    /// The faster of the two intervals that AWS Global Accelerator offers, with the threshold that it suggests.
    pub fn of_global_accelerator(port: u16) -> Self {
        Self { port, interval: Duration::from_secs(10), timeout: Duration::from_secs(5), threshold: 3 }
    }
}

/// Why there is no accelerator.
#[derive(Debug, thiserror::Error)]
pub enum AcceleratorError {
    /// Its host.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// Its host's addresses and routes.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Its host's device.
    #[error(transparent)]
    Tun(#[from] tun::TunError),
    /// The wire.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A thread.
    #[error("can't start a thread for the accelerator's health checks")]
    Thread(#[source] io::Error),
}

/// A running accelerator. Dropped, it asks no more; the wire keeps the address, and what was last known of its members.
#[derive(Debug)]
pub struct Accelerator {
    anycast: AnycastId,
    wire: Wire,
    /// Of no use but for being dropped, which ends the threads that ask.
    ends: Vec<Sender<()>>,
    answers: Option<Sender<Answer>>,
    counter: Option<JoinHandle<()>>,
}

/// What a member said when it was asked; none is the end.
type Answer = Option<(PortId, bool)>;

impl Accelerator {
    /// Gives `config`'s address to its members, and starts to ask them from `own`.
    ///
    /// # Errors
    /// What the kernel or the wire refuses.
    pub fn start(
        wire: &Wire,
        config: AnycastConfig,
        own: IpAddr,
        checks: HealthChecks,
    ) -> Result<Accelerator, AcceleratorError> {
        let namespace = build_host(wire, own)?;
        let members = config.members.clone();
        let anycast = wire.add_anycast(config)?;
        let (answers, receiver) = channel();
        let (own_wire, threshold) = (wire.clone(), checks.threshold);
        let count = move || count(&own_wire, anycast, &receiver, threshold);
        let counter =
            std::thread::Builder::new().name("health".into()).spawn(count).map_err(AcceleratorError::Thread)?;
        let mut accelerator = Accelerator {
            anycast,
            wire: wire.clone(),
            ends: Vec::new(),
            answers: Some(answers.clone()),
            counter: Some(counter),
        };
        for member in members {
            let (end, until) = channel();
            let answers = answers.clone();
            namespace.spawn("health check", move || ask(member, checks, &until, &answers))?;
            accelerator.ends.push(end);
        }
        Ok(accelerator)
    }

    /// Its address on the wire.
    pub fn anycast(&self) -> AnycastId {
        self.anycast
    }

    /// Who is pinned to whom.
    ///
    /// # Errors
    /// If the wire has stopped.
    pub fn flows(&self) -> Result<Vec<AnycastFlow>, WireError> {
        self.wire.flows(self.anycast)
    }
}

impl Drop for Accelerator {
    /// Threads that are waiting for a member end when that connection does; they hold nothing but the namespace.
    fn drop(&mut self) {
        self.ends.clear();
        if let Some(answers) = self.answers.take() {
            let _ = answers.send(None);
        }
        if let Some(counter) = self.counter.take() {
            let _ = counter.join();
        }
    }
}

/// What clients that roam dial: each endpoint of `[entry]` in front of all entry nodes, but for those that are a node's own.
pub(super) fn build(lab: &Lab) -> Result<Vec<Accelerator>, AcceleratorError> {
    let Some(entry) = &lab.network.entry else { return Ok(Vec::new()) };
    let checks =
        HealthChecks { interval: INTERVAL, timeout: INTERVAL, ..HealthChecks::of_global_accelerator(entry.ready_port) };
    let mut built = Vec::new();
    for (endpoint, at) in entry.endpoints.iter().zip(0..=u8::MAX) {
        let mut own = lab.underlay.homes.values().flat_map(|home| &home.addresses);
        let address = lab.underlay.resolve(endpoint);
        let Some(address) = address.filter(|address| !own.any(|(own, _)| own == address)) else { continue };
        let member = |node| {
            let own = lab.underlay.homes[&Member::Node(node)].addresses.iter();
            let mut public = own.filter(|(own, network)| *network == 0 && own.is_ipv4() == address.is_ipv4());
            Some(AnycastMember { port: lab.members[&Member::Node(node)].port, address: public.next()?.0 })
        };
        let config = AnycastConfig {
            address,
            port: endpoint.port,
            idle: IDLE,
            members: lab.network.entries().filter_map(member).collect(),
        };
        let own: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::from(u32::from(OWN_V4) - u32::from(at)).into(),
            IpAddr::V6(_) => Ipv6Addr::from(u128::from(OWN_V6) + u128::from(at)).into(),
        };
        built.push(Accelerator::start(&lab.wire, config, own, checks)?);
    }
    Ok(built)
}

/// A host without anything but an address and a way out.
fn build_host(wire: &Wire, own: IpAddr) -> Result<Namespace, AcceleratorError> {
    let namespace = Namespace::create()?;
    let device = namespace.run(|| -> Result<_, AcceleratorError> {
        let device = tun::create(super::members::UNDERLAY_DEVICE)?;
        configure_underlay(&[own], &[own])?;
        Ok(device)
    })??;
    let port = wire.add_port(device)?;
    wire.add_address(port, own, UnderlayId::PUBLIC)?;
    Ok(namespace)
}

/// Connects to a member again and again until nobody is interested any more.
fn ask(member: AnycastMember, checks: HealthChecks, until: &Receiver<()>, answers: &Sender<Answer>) {
    let address = SocketAddr::new(member.address, checks.port);
    loop {
        let is_well = TcpStream::connect_timeout(&address, checks.timeout).is_ok();
        if answers.send(Some((member.port, is_well))).is_err() {
            return;
        }
        match until.recv_timeout(checks.interval) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}

/// Tells the wire what the answers come to.
fn count(wire: &Wire, anycast: AnycastId, answers: &Receiver<Answer>, threshold: u32) {
    let mut opinions = std::collections::BTreeMap::new();
    while let Ok(Some((member, is_well))) = answers.recv() {
        let opinion: &mut Opinion = opinions.entry(member).or_default();
        if let Some(healthy) = opinion.handle(is_well, threshold)
            && wire.set_healthy(anycast, member, healthy).is_err()
        {
            return;
        }
    }
}

/// What is thought of a member.
#[derive(Debug, Clone, Copy)]
struct Opinion {
    healthy: bool,
    /// Answers in a row that speak against it.
    against: u32,
}

impl Default for Opinion {
    /// As on the wire: healthy until shown otherwise.
    fn default() -> Self {
        Self { healthy: true, against: 0 }
    }
}

impl Opinion {
    /// Takes an answer; says what is thought now, if that has changed.
    fn handle(&mut self, is_well: bool, threshold: u32) -> Option<bool> {
        if is_well == self.healthy {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < threshold {
            return None;
        }
        *self = Self { healthy: is_well, against: 0 };
        Some(is_well)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_row_of_equal_answers_changes_what_is_thought() {
        let mut opinion = Opinion::default();
        let answers = [true, false, false, true, false, false, false, false, true, true, false, true, true, true, true];
        let changes: Vec<(usize, bool)> = answers
            .into_iter()
            .enumerate()
            .filter_map(|(at, is_well)| Some((at, opinion.handle(is_well, 3)?)))
            .collect();
        assert_eq!(changes, [(6, false), (13, true)]);
    }
}
