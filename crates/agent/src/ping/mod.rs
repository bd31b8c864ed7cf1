//! Measuring round trips from inside a namespace.
//!
//! One thread asks any number of targets: probes are spread evenly over the interval, so that they don't queue behind each other,
//! and answers carry the time at which the kernel received them, so that a late wake-up of this thread doesn't count. What is
//! measured is the path, not the machine's load. Results come in the order of the targets.

mod accept;
mod echo;
mod path;
mod socket;

pub use accept::accepting;
pub(crate) use echo::checksum;
pub(crate) use path::set_mark;
pub use path::{PathMtu, answering, first_hop, path_mtus};

use crate::limits;
use crate::system::signals::wait_readable;
use echo::{PROBE_BYTES, Probe};
use socket::EchoSocket;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingTarget {
    /// Source address of the probes; the kernel chooses if `None`.
    pub source: Option<IpAddr>,
    /// Who is to answer.
    pub destination: IpAddr,
}

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingOptions {
    /// Probes to each target, at most [`limits::PING_COUNT_MAX`].
    pub count: u32,
    /// Time between two probes to the same target.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Default for PingOptions {
    fn default() -> Self {
        Self { count: 5, interval: Duration::from_millis(200), timeout: Duration::from_secs(2) }
    }
}

/// What came of it, for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingResult {
    /// Who was asked.
    pub target: PingTarget,
    /// Probes sent, those that the kernel refused included.
    pub sent: u32,
    /// Probes answered in time.
    pub received: u32,
    /// Answers beyond the first to the same probe.
    pub duplicates: u32,
    /// Round trips of the answered probes, in the order of sending.
    pub rtts: Vec<Duration>,
    /// The last error number with which the kernel refused to send: no route, no such source.
    pub refused_errno: Option<i32>,
}

impl PingResult {
    /// The shortest round trip: the path without the machine's noise.
    pub fn min(&self) -> Option<Duration> {
        self.rtts.iter().min().copied()
    }

    /// The middle one (the lower of two).
    pub fn median(&self) -> Option<Duration> {
        let mut sorted = self.rtts.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) / 2).copied()
    }

    /// The longest one.
    pub fn max(&self) -> Option<Duration> {
        self.rtts.iter().max().copied()
    }

    /// Share of probes without an answer, 0 to 1.
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        1.0 - f64::from(self.received) / f64::from(self.sent)
    }
}

/// What can go wrong with measuring at all; an unreachable target is a result, not an error.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// A raw socket takes CAP_NET_RAW in the namespace.
    #[error("can't {attempt} for ICMP echo (it takes CAP_NET_RAW in the namespace)")]
    Socket {
        /// What was attempted.
        attempt: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Beyond [`limits::PING_TARGETS_MAX`] or [`limits::PING_COUNT_MAX`].
    #[error("{targets} targets with {count} probes each are too many")]
    TooMany {
        /// Targets given.
        targets: usize,
        /// Probes asked for.
        count: u32,
    },
}

/// Asks all targets from the namespace of the calling thread and returns when all have answered or had their time.
pub fn ping_many(targets: &[PingTarget], options: &PingOptions) -> Result<Vec<PingResult>, PingError> {
    ping_over(None, targets, options)
}

/// The same over one interface, by its number: link-local addresses mean nothing without one.
pub fn ping_over(
    device: Option<NonZeroU32>,
    targets: &[PingTarget],
    options: &PingOptions,
) -> Result<Vec<PingResult>, PingError> {
    if targets.len() > limits::PING_TARGETS_MAX || options.count > limits::PING_COUNT_MAX {
        return Err(PingError::TooMany { targets: targets.len(), count: options.count });
    }
    let mut run = Run::new(targets, options)?;
    if let Some(device) = device {
        [&run.v4, &run.v6].into_iter().flatten().try_for_each(|socket| socket.bind_to(device))?;
    }
    run.go()?;
    Ok(run.results())
}

/// Echo requests one by one, and whoever answers: for an owner who waits for other things as well.
pub struct Echoes {
    v4: EchoSocket,
    /// None where the kernel has no IPv6.
    v6: Option<EchoSocket>,
    identity: echo::Identity,
}

impl Echoes {
    /// Opens sockets in the namespace of the calling thread.
    ///
    /// # Errors
    /// Without the right to raw sockets.
    pub fn open() -> Result<Echoes, PingError> {
        Ok(Echoes { v4: EchoSocket::v4()?, v6: EchoSocket::v6().ok(), identity: echo::Identity::fresh() })
    }

    /// Sends a request whose reply will name `tag`.
    ///
    /// # Errors
    /// What the kernel says, such as that there is no route.
    pub fn send(&self, destination: IpAddr, tag: u32) -> io::Result<()> {
        let v4 = destination.is_ipv4();
        let request = Probe { target: tag, round: 0 }.request(&self.identity, v4, PROBE_BYTES);
        let socket = if v4 { Some(&self.v4) } else { self.v6.as_ref() };
        socket.ok_or(io::ErrorKind::Unsupported)?.send(None, destination, &request)
    }

    /// Waits for replies, at most so long, and hands over their tags.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self, timeout_ms: i32) -> io::Result<Vec<u32>> {
        let sockets = || [Some(&self.v4), self.v6.as_ref()].into_iter().flatten();
        let descriptors: Vec<_> = sockets().map(AsFd::as_fd).collect();
        wait_readable(&descriptors, timeout_ms)?;
        let mut tags = Vec::new();
        for (socket, v4) in sockets().zip([true, false]) {
            while let Some((bytes, _)) = socket.receive() {
                tags.extend(Probe::from_reply(&bytes, &self.identity, v4).map(|probe| probe.target));
            }
        }
        Ok(tags)
    }
}

/// One call of [`ping_many`].
struct Run<'a> {
    targets: &'a [PingTarget],
    options: &'a PingOptions,
    v4: Option<EchoSocket>,
    v6: Option<EchoSocket>,
    identity: echo::Identity,
    /// Per target and round.
    fates: Vec<Vec<Fate>>,
    duplicates: Vec<u32>,
    refused_errno: Vec<Option<i32>>,
    /// Probes sent and neither answered nor refused.
    open: u64,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Sent { at_ns: u64 },
    Refused,
    Answered(Duration),
}

impl<'a> Run<'a> {
    fn new(targets: &'a [PingTarget], options: &'a PingOptions) -> Result<Self, PingError> {
        let any = |v4: bool| targets.iter().any(|target| target.destination.is_ipv4() == v4);
        Ok(Self {
            targets,
            options,
            v4: any(true).then(EchoSocket::v4).transpose()?,
            v6: any(false).then(EchoSocket::v6).transpose()?,
            identity: echo::Identity::fresh(),
            fates: vec![Vec::new(); targets.len()],
            duplicates: vec![0; targets.len()],
            refused_errno: vec![None; targets.len()],
            open: 0,
        })
    }

    fn go(&mut self) -> Result<(), PingError> {
        let start = Instant::now();
        let count = self.targets.len() as u64;
        let total = count * u64::from(self.options.count);
        let mut next = 0;
        let mut end = start;
        while next < total || (self.open > 0 && Instant::now() < end) {
            while next < total && Instant::now() >= start + self.offset(next) {
                self.send((next % count) as usize, (next / count) as u32);
                next += 1;
                end = Instant::now() + self.options.timeout;
                self.receive();
            }
            let until = if next < total { start + self.offset(next) } else { end };
            self.wait(until)?;
            self.receive();
        }
        Ok(())
    }

    /// When the n-th probe of all is sent, after the first.
    fn offset(&self, number: u64) -> Duration {
        let count = self.targets.len() as u64;
        let interval_ns = self.options.interval.as_nanos();
        let ns =
            u128::from(number / count) * interval_ns + u128::from(number % count) * interval_ns / u128::from(count);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    fn send(&mut self, index: usize, round: u32) {
        let target = self.targets[index];
        let socket = if target.destination.is_ipv4() { &self.v4 } else { &self.v6 };
        let Some(socket) = socket else { return };
        let probe = Probe { target: index as u32, round };
        let request = probe.request(&self.identity, target.destination.is_ipv4(), PROBE_BYTES);
        let at_ns = socket::clock_ns();
        match socket.send(target.source, target.destination, &request) {
            Ok(()) => {
                self.fates[index].push(Fate::Sent { at_ns });
                self.open += 1;
            }
            Err(error) => {
                self.fates[index].push(Fate::Refused);
                self.refused_errno[index] = error.raw_os_error();
            }
        }
    }

    fn receive(&mut self) {
        for (v4, socket) in [(true, &self.v4), (false, &self.v6)] {
            while let Some((bytes, at_ns)) = socket.as_ref().and_then(EchoSocket::receive) {
                let Some(probe) = Probe::from_reply(&bytes, &self.identity, v4) else { continue };
                let index = probe.target as usize;
                let fate = self.fates.get_mut(index).and_then(|fates| fates.get_mut(probe.round as usize));
                match fate {
                    Some(fate @ &mut Fate::Sent { at_ns: sent_ns }) => {
                        let rtt = Duration::from_nanos(at_ns.saturating_sub(sent_ns));
                        if rtt <= self.options.timeout {
                            *fate = Fate::Answered(rtt);
                            self.open -= 1;
                        }
                    }
                    Some(Fate::Answered(_)) => self.duplicates[index] += 1,
                    Some(Fate::Refused) | None => {}
                }
            }
        }
    }

    fn wait(&self, until: Instant) -> Result<(), PingError> {
        wait_for([&self.v4, &self.v6], until)
    }

    fn results(self) -> Vec<PingResult> {
        let result = |(index, fates): (usize, &Vec<Fate>)| {
            let answered = fates.iter().filter_map(|fate| match fate {
                Fate::Answered(rtt) => Some(*rtt),
                Fate::Sent { .. } | Fate::Refused => None,
            });
            let rtts: Vec<Duration> = answered.collect();
            PingResult {
                target: self.targets[index],
                sent: fates.len() as u32,
                received: rtts.len() as u32,
                duplicates: self.duplicates[index],
                rtts,
                refused_errno: self.refused_errno[index],
            }
        };
        self.fates.iter().enumerate().map(result).collect()
    }
}

/// Waits until something can be read from a socket, or until a time.
fn wait_for<'a>(sockets: impl IntoIterator<Item = &'a Option<EchoSocket>>, until: Instant) -> Result<(), PingError> {
    let descriptor = |socket: &Option<EchoSocket>| libc::pollfd {
        // A negative descriptor is ignored.
        fd: socket.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut descriptors: Vec<libc::pollfd> = sockets.into_iter().map(descriptor).collect();
    let left = until.saturating_duration_since(Instant::now());
    let timeout = libc::timespec {
        tv_sec: left.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(left.subsec_nanos() as i32),
    };
    let count = descriptors.len() as libc::nfds_t;
    // SAFETY: both structures live through the call; no signal mask.
    let result = unsafe { libc::ppoll(descriptors.as_mut_ptr(), count, &raw const timeout, std::ptr::null()) };
    let error = io::Error::last_os_error();
    if result < 0 && error.kind() != io::ErrorKind::Interrupted {
        return Err(PingError::Socket { attempt: "wait", source: error });
    }
    Ok(())
}
