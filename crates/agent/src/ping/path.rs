//! How large a packet may be to get to an address in one piece.
//!
//! The first hop's limit comes from the kernel, with whatever it has learnt of the way beyond. Whether the way really takes that
//! much is tried with echo requests that nobody may cut into pieces: routers that drop large packets without a word are found
//! too. Many addresses are tried at once, in rounds; those that answer no request at all keep the first hop's limit.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::echo::{Identity, PROBE_BYTES, Probe};
use super::socket::{EchoSocket, setting};
use super::{PingError, wait_for};

/// What every path takes: IPv6's smallest MTU inside, and WireGuard's largest header around it.
const FLOOR: u16 = 1_280 + 80;
/// Requests of one size before it counts as too large: a line that loses one packet in three is not a narrow one.
const TRIES: u32 = 5;
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// How long all of it may take: three dozen rounds, which are enough for any first hop.
const ALL_MAX: Duration = Duration::from_secs(60);

/// What is known of the way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtu {
    /// Bytes of the largest packet, with its IP header.
    pub bytes: u16,
    /// Whether an answer has shown it; else it is the first hop's.
    pub is_measured: bool,
}

/// The kernel's limit for packets to an address, in bytes; none without a route. `mark` is the mark of WireGuard's own packets.
pub fn first_hop(destination: IpAddr, mark: u32) -> Option<u16> {
    let any: IpAddr = if destination.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    set_mark(&socket, mark).ok()?;
    // Connecting a datagram socket sends nothing: it looks the route up. Port 9 is where nothing is expected.
    socket.connect(SocketAddr::new(destination, 9)).ok()?;
    let (level, option) =
        if destination.is_ipv4() { (libc::IPPROTO_IP, libc::IP_MTU) } else { (libc::IPPROTO_IPV6, libc::IPV6_MTU) };
    let bytes = setting(socket.as_raw_fd(), level, option).ok()?;
    Some(u16::try_from(bytes).unwrap_or(u16::MAX))
}

/// Tries the ways to some addresses, from the namespace of the calling thread; none for those without a route. Takes at most a
/// minute, and a round trip where nothing is in the way.
///
/// # Errors
/// Without the right to raw sockets.
pub fn path_mtus(destinations: &[IpAddr], mark: u32) -> Result<Vec<Option<PathMtu>>, PingError> {
    let mut tries: Vec<Option<Try>> =
        destinations.iter().map(|address| first_hop(*address, mark).map(Try::new)).collect();
    let sockets = sockets(destinations, mark)?;
    for (socket, v4) in sockets.iter().zip([true, false]) {
        socket.as_ref().map_or(Ok(()), |socket| socket.forbid_pieces(v4))?;
    }
    let end = Instant::now() + ALL_MAX;
    for round in 0.. {
        let identity = Identity::fresh();
        let mut asked = 0;
        for (index, (destination, state)) in destinations.iter().zip(&mut tries).enumerate() {
            let Some((state, size)) = state.as_mut().and_then(|state| state.next().map(|size| (state, size))) else {
                continue;
            };
            let v4 = destination.is_ipv4();
            let header = if v4 { 20 } else { 40 };
            let request = Probe { target: index as u32, round }.request(&identity, v4, usize::from(size) - header);
            let socket = sockets[usize::from(!v4)].as_ref();
            match socket.map(|socket| socket.send(None, *destination, &request)) {
                Some(Ok(())) => asked += 1,
                // The kernel has just learnt that the way is narrower, or there is no route any more.
                _ => state.refused(first_hop(*destination, mark)),
            }
        }
        let open = |state: &Option<Try>| state.is_some_and(|state| state.next().is_some());
        if Instant::now() >= end || (asked == 0 && !tries.iter().any(open)) {
            break;
        }
        hear(&sockets, &identity, asked, &mut tries)?;
        for (state, destination) in tries.iter_mut().zip(destinations) {
            if let Some(state) = state {
                state.end_of_round(first_hop(*destination, mark));
            }
        }
    }
    Ok(tries.into_iter().map(|state| state.map(Try::outcome)).collect())
}

/// Which of some addresses answer an echo request, from the namespace of the calling thread. Takes at most a second and a half, and
/// a round trip where all answer.
///
/// # Errors
/// Without the right to raw sockets.
pub fn answering(destinations: &[IpAddr], mark: u32) -> Result<BTreeSet<IpAddr>, PingError> {
    let sockets = sockets(destinations, mark)?;
    let identity = Identity::fresh();
    let mut answered = BTreeSet::new();
    for round in 0..3 {
        for (index, destination) in destinations.iter().enumerate().filter(|(_, one)| !answered.contains(*one)) {
            let v4 = destination.is_ipv4();
            let request = Probe { target: index as u32, round }.request(&identity, v4, PROBE_BYTES);
            // No route is no answer.
            let _ = sockets[usize::from(!v4)].as_ref().map(|socket| socket.send(None, *destination, &request));
        }
        let end = Instant::now() + ANSWER_MAX / 2;
        while answered.len() < destinations.len() && Instant::now() < end {
            receive(&sockets, &identity, end, |target| answered.extend(destinations.get(target)))?;
        }
    }
    Ok(answered)
}

/// A socket for each version of IP that is needed.
fn sockets(destinations: &[IpAddr], mark: u32) -> Result<[Option<EchoSocket>; 2], PingError> {
    let socket = |v4: bool| -> Result<Option<EchoSocket>, PingError> {
        if !destinations.iter().any(|address| address.is_ipv4() == v4) {
            return Ok(None);
        }
        let socket = if v4 { EchoSocket::v4()? } else { EchoSocket::v6()? };
        set_mark(&socket, mark).map_err(|source| PingError::Socket { attempt: "set the mark", source })?;
        Ok(Some(socket))
    };
    Ok([socket(true)?, socket(false)?])
}

/// Waits for replies until a time, and hands over whom they are from.
fn receive(
    sockets: &[Option<EchoSocket>; 2],
    identity: &Identity,
    end: Instant,
    mut hear: impl FnMut(usize),
) -> Result<(), PingError> {
    wait_for(sockets, end)?;
    for (socket, v4) in sockets.iter().zip([true, false]) {
        while let Some((bytes, _)) = socket.as_ref().and_then(EchoSocket::receive) {
            if let Some(probe) = Probe::from_reply(&bytes, identity, v4) {
                hear(probe.target as usize);
            }
        }
    }
    Ok(())
}

/// Waits until all have answered or had their time.
fn hear(
    sockets: &[Option<EchoSocket>; 2],
    identity: &Identity,
    mut open: usize,
    tries: &mut [Option<Try>],
) -> Result<(), PingError> {
    let end = Instant::now() + ANSWER_MAX;
    while open > 0 && Instant::now() < end {
        receive(sockets, identity, end, |target| {
            if let Some(Some(state)) = tries.get_mut(target)
                && state.answered()
            {
                open -= 1;
            }
        })?;
    }
    Ok(())
}

/// One way: sizes that were answered and sizes that were not.
#[derive(Debug, Clone, Copy)]
struct Try {
    /// What the first hop takes.
    first_hop: u16,
    /// The largest size that was answered.
    passes: Option<u16>,
    /// The smallest size that was not, or more than which can't be.
    stuck: u32,
    missed: u32,
    heard: bool,
    is_silent: bool,
}

impl Try {
    fn new(first_hop: u16) -> Try {
        Try { first_hop, passes: None, stuck: u32::from(first_hop) + 1, missed: 0, heard: false, is_silent: false }
    }

    /// The size to try next: first what the first hop takes, then the floor, then halfway between.
    fn next(&self) -> Option<u16> {
        let largest = (self.stuck - 1) as u16;
        match self.passes {
            _ if self.is_silent => None,
            // Below the floor there is nothing to gain.
            None if self.first_hop <= FLOOR => None,
            None if self.stuck == u32::from(self.first_hop) + 1 => Some(largest),
            None => Some(FLOOR.min(largest)),
            Some(passes) if passes >= largest => None,
            Some(passes) => Some(passes + (largest - passes).div_ceil(2)),
        }
    }

    /// Notes an answer; false if there was one in this round.
    fn answered(&mut self) -> bool {
        !std::mem::replace(&mut self.heard, true)
    }

    fn end_of_round(&mut self, first_hop: Option<u16>) {
        let Some(size) = self.next() else { return };
        if std::mem::take(&mut self.heard) {
            (self.passes, self.missed) = (Some(size), 0);
            return;
        }
        self.missed += 1;
        if first_hop.is_some_and(|bytes| u32::from(bytes) < self.stuck - 1) {
            // A router has said so, and the kernel has kept it.
            return self.refused(first_hop);
        }
        if self.missed < TRIES {
            return;
        }
        self.missed = 0;
        if self.passes.is_none() && size <= FLOOR {
            // Not even what every way takes: whoever it is answers no requests, or none so large.
            self.is_silent = true;
        } else {
            self.stuck = u32::from(size);
        }
    }

    /// The kernel knows of a narrower way than it did.
    fn refused(&mut self, first_hop: Option<u16>) {
        match first_hop {
            Some(bytes) if u32::from(bytes) < self.stuck - 1 && bytes > self.passes.unwrap_or(0) => {
                (self.first_hop, self.stuck, self.missed) = (bytes, u32::from(bytes) + 1, 0);
            }
            _ => self.is_silent = true,
        }
    }

    fn outcome(self) -> PathMtu {
        match self.passes {
            Some(bytes) => PathMtu { bytes, is_measured: true },
            None => PathMtu { bytes: self.first_hop, is_measured: false },
        }
    }
}

/// Has packets of a socket carry a mark; 0 for none, which needs no privilege.
pub(crate) fn set_mark(socket: &impl AsFd, mark: u32) -> io::Result<()> {
    if mark == 0 { Ok(()) } else { SockRef::from(socket).set_mark(mark) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a way that takes packets up to `takes` and answers unless `silent`; and how many requests it took.
    fn found(first_hop: u16, takes: u16, silent: bool) -> (PathMtu, usize) {
        let mut state = Try::new(first_hop);
        let mut requests = 0;
        while let Some(size) = state.next() {
            requests += 1;
            state.heard = !silent && size <= takes;
            state.end_of_round(Some(first_hop));
        }
        (state.outcome(), requests)
    }

    #[test]
    fn every_width_is_found_to_the_byte() {
        for takes in FLOOR..=1_500 {
            assert_eq!(found(1_500, takes, false).0, PathMtu { bytes: takes, is_measured: true });
        }
        assert_eq!(found(1_500, 1_500, false), (PathMtu { bytes: 1_500, is_measured: true }, 1));
        assert_eq!(found(9_001, 1_500, false).0.bytes, 1_500);
        assert!(found(65_535, 1_492, false).1 < 100);
    }

    #[test]
    fn whoever_answers_nothing_keeps_the_first_hops_limit() {
        assert_eq!(found(1_500, 0, true), (PathMtu { bytes: 1_500, is_measured: false }, 2 * TRIES as usize));
        assert_eq!(found(1_300, 1_300, false), (PathMtu { bytes: 1_300, is_measured: false }, 0));
    }

    #[test]
    fn what_routers_say_is_believed() {
        let mut state = Try::new(1_500);
        state.end_of_round(Some(1_400));
        assert_eq!(state.next(), Some(1_400));
        state.heard = true;
        state.end_of_round(Some(1_400));
        assert_eq!((state.next(), state.outcome().bytes), (None, 1_400));
    }

    #[test]
    fn probes_are_as_large_as_asked_for() {
        let request = Probe { target: 1, round: 2 }.request(&Identity::fresh(), true, 1_472);
        assert_eq!(request.len(), 1_472);
    }
}
