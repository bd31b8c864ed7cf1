//! A packet walked from host to host with nothing but what the hosts are told.
//!
//! At each host: is the destination its own; does it pass on what is not; where does the route lead; who owns the
//! destination in that device; does that peer know this host, and can one of them dial the other. At the next: is the
//! source allowed for the peer it came from, is the way back as demanded, does the firewall let it in. A walk stands for
//! all addresses of a class of sources and a class of destinations.

use super::hosts::RpFilter;
use super::tables::{NOBODY, Tables, Way};

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived at the last host of the walk.
    Delivered,
    /// It was dropped.
    Dropped(Drop),
    /// It came to a host a second time.
    Circles,
}

/// Where and why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drop {
    /// The host that dropped it.
    pub host: u32,
    /// The device in which it did, by its position on the host.
    pub device: Option<u32>,
    /// The entry to blame, by its position in the device.
    pub peer: Option<u32>,
    /// Why.
    pub reason: Reason,
}

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The host has no route to the destination.
    NoRoute,
    /// The route leads nowhere, or out of what is known.
    Nowhere,
    /// The route leads into a device in which no peer has the destination.
    NoOwner,
    /// The peer's key belongs to no host that is known.
    UnknownPeer,
    /// The host at the other end has no entry for this one.
    NotKnown,
    /// Neither of the two has an endpoint of the other.
    NoEndpoint,
    /// The source is not allowed for the peer it came from.
    Source,
    /// The way back to the source does not lead where the packet came from (`rp_filter`).
    ReversePath,
    /// The host does not pass on what is not its own.
    NotForwarding,
    /// The firewall refuses it.
    Refused,
}

/// A walk's trace; reused from walk to walk.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    /// Hosts visited, the first included.
    pub hosts: Vec<u32>,
    /// The peer by which each host but the last was left.
    pub peers: Vec<u32>,
    /// Hosts that replaced the source by an address of their own, and that address's class.
    pub translated: Vec<(u32, u32)>,
}

impl Tables {
    /// Walks a packet from a host; `family` is 0 for v4 and 1 for v6.
    pub(super) fn walk(&self, from: u32, source: u32, destination: u32, family: usize, trace: &mut Trace) -> Outcome {
        trace.hosts.clear();
        trace.peers.clear();
        trace.translated.clear();
        trace.hosts.push(from);
        let (mut host, mut source, mut came) = (from, source, None);
        loop {
            let drop = |device: Option<u32>, peer: Option<u32>, reason| {
                let device = device.or(peer.map(|peer| self.peers[peer as usize].row));
                let place = |peer| self.position(peer) as u32;
                let device = device.map(|row| self.device_no(row) as u32);
                Outcome::Dropped(Drop { host, device, peer: peer.map(place), reason })
            };
            let way = self.way(host, source, destination);
            let foreign = came.is_some() || self.way(host, source, source) != Way::Own;
            if foreign && !self.accepts(host, source, destination) {
                return drop(None, came, Reason::Refused);
            }
            if way == Way::Own {
                return Outcome::Delivered;
            }
            if foreign && !self.forwards(host, family) {
                return drop(None, None, Reason::NotForwarding);
            }
            let row = match way {
                Way::Own | Way::Lan => return Outcome::Delivered,
                Way::Device(row) => row,
                Way::Nowhere => return drop(None, None, Reason::Nowhere),
                Way::None => return drop(None, None, Reason::NoRoute),
            };
            let peer = self.owner(row, destination);
            if peer == NOBODY {
                return drop(Some(row), None, Reason::NoOwner);
            }
            let entry = self.peers[peer as usize];
            if entry.to == NOBODY {
                return drop(None, Some(peer), Reason::UnknownPeer);
            }
            if entry.mirror == NOBODY {
                return drop(None, Some(peer), Reason::NotKnown);
            }
            if !entry.alive {
                return drop(None, Some(peer), Reason::NoEndpoint);
            }
            if let Some(own) = self.devices[row as usize].masquerade[family].filter(|_| foreign) {
                source = own;
                trace.translated.push((host, own));
            }
            let next = self.devices[entry.to as usize].host;
            trace.peers.push(peer);
            let seen = trace.hosts.contains(&next);
            trace.hosts.push(next);
            if let Some(reason) = self.refuses(entry.to, entry.mirror, source, destination) {
                let (device, peer) = (self.device_no(entry.to) as u32, self.position(entry.mirror) as u32);
                return Outcome::Dropped(Drop { host: next, device: Some(device), peer: Some(peer), reason });
            }
            if seen {
                return Outcome::Circles;
            }
            (host, came) = (next, Some(entry.mirror));
        }
    }

    /// Whether a device refuses a packet from a peer because of its source.
    fn refuses(&self, row: u32, peer: u32, source: u32, destination: u32) -> Option<Reason> {
        if self.owner(row, source) != peer {
            return Some(Reason::Source);
        }
        let host = self.devices[row as usize].host;
        let back = || self.way(host, destination, source);
        let fits = match self.rp_filter(host) {
            RpFilter::Off => true,
            RpFilter::Loose => !matches!(back(), Way::None | Way::Nowhere),
            RpFilter::Strict => back() == Way::Device(row),
        };
        (!fits).then_some(Reason::ReversePath)
    }

    /// Walks the answer to a packet whose walk left this trace: to each translated source in turn, then to the first one.
    /// The hosts of the whole way are left in `trace`.
    pub(super) fn walk_answer(
        &self,
        there: &Trace,
        (source, destination): (u32, u32),
        family: usize,
        trace: &mut Trace,
    ) -> Outcome {
        let mut at = there.hosts.last().copied().unwrap_or_default();
        let mut whole: Option<Trace> = None;
        for (host, class) in there.translated.iter().rev() {
            let outcome = self.walk(at, destination, *class, family, trace);
            if outcome != Outcome::Delivered || trace.hosts.last() != Some(host) {
                return outcome;
            }
            at = *host;
            let whole = whole.get_or_insert_default();
            whole.hosts.extend(&trace.hosts[..trace.hosts.len() - 1]);
            whole.peers.append(&mut trace.peers);
        }
        let outcome = self.walk(at, destination, source, family, trace);
        if let Some(mut whole) = whole {
            whole.hosts.append(&mut trace.hosts);
            whole.peers.append(&mut trace.peers);
            *trace = whole;
        }
        outcome
    }
}
