//! Flows of packets: requests every 10 ms and an answer to each, on their way as long as the wires take.
//!
//! Each host sends a packet on by the paths that it carries out when the packet is there, and drops what comes from another
//! peer than the one that its source belongs to, as WireGuard does. The engine also takes what would come by paths that
//! were left a moment ago or will soon be taken; the kernel's WireGuard does not.

use std::collections::VecDeque;
use std::rc::Rc;

use wayleave_core::network::NodeIx;
use wayleave_core::plan::Paths;

use crate::wire::{MS, S};
use crate::world::{Host, What, World};

pub const FLOW_EVERY: u64 = 10 * MS;
const FLOW_SEALED: u64 = 208 + 32;
/// An answer that takes longer is lost: the longest detour there and back, and a handshake.
const ANSWER_WITHIN: u64 = 2 * S;
/// The time to live that Linux gives a packet.
const HOPS_MAX: usize = 64;
/// How long the engine takes packets of other paths than the present one, as the agent sets it.
const SOURCE_GRACE: u64 = 2 * S;

/// Requests and answers between two hosts.
#[derive(Debug, Default)]
pub struct Flow {
    pub ends: (usize, usize),
    pub until: u64,
    began: u64,
    sent: u64,
    /// Of the latest requests, the oldest first: whether they have been answered.
    open: VecDeque<bool>,
    /// Requests in a row without an answer, so far.
    row: u64,
    /// When the first request was sent that was answered.
    pub first_ok: Option<u64>,
    /// The longest time whose requests were all lost, and how many were lost altogether.
    pub worst: u64,
    pub lost: usize,
    /// How often the path of the requests has changed, and the path of the latest that was answered.
    pub moves: usize,
    pub path: Vec<usize>,
    path_of: u64,
}

/// A request or its answer, on its way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    flow: usize,
    number: u64,
    is_answer: bool,
    /// Hosts that the request has visited.
    path: Vec<usize>,
    hops: usize,
}

/// What a host carries out, and by which other paths packets may come for a while.
#[derive(Debug, Clone)]
pub struct Carried {
    pub paths: Rc<Paths>,
    others: Vec<(u64, Rc<Paths>)>,
    /// Until when relays may send from everything.
    relays_until: u64,
    /// Whether the kernel's WireGuard does it.
    pub is_kernel: bool,
}

impl Carried {
    pub fn new(paths: Rc<Paths>) -> Carried {
        Carried { paths, others: Vec::new(), relays_until: 0, is_kernel: false }
    }

    /// A device that is new: it knows nothing of other paths.
    pub fn begin(&mut self, paths: Rc<Paths>) {
        *self = Carried { is_kernel: self.is_kernel, ..Carried::new(paths) };
    }

    /// Sends by other paths from now on.
    pub fn take(&mut self, paths: Rc<Paths>, now: u64) {
        let former = std::mem::replace(&mut self.paths, paths);
        self.expect(former, now);
    }

    /// Takes what comes by other paths as well, for a while.
    pub fn expect(&mut self, paths: Rc<Paths>, now: u64) {
        self.others.retain(|(until, _)| *until > now);
        if !self.is_kernel {
            self.others.push((now + SOURCE_GRACE, paths));
            self.relays_until = now + SOURCE_GRACE;
        }
    }

    /// Whether a packet of a source may come from a peer.
    fn accepts(&self, at: usize, source: usize, (from, is_relay): (usize, bool), now: u64) -> bool {
        let is_on =
            |paths: &Paths| paths.first_hop(NodeIx(at as u32), NodeIx(source as u32)) == Some(NodeIx(from as u32));
        let is_lent = is_relay && now < self.relays_until;
        is_lent || is_on(&self.paths) || self.others.iter().any(|(until, paths)| *until > now && is_on(paths))
    }
}

impl Flow {
    pub fn new(ends: (usize, usize), now: u64, until: u64) -> Flow {
        Flow { ends, until, began: now, ..Flow::default() }
    }

    /// Whether the latest request that had its time was answered.
    pub fn works(&self) -> bool {
        self.row == 0
    }

    fn send(&mut self) -> u64 {
        self.sent += 1;
        self.open.push_back(false);
        if self.open.len() as u64 * FLOW_EVERY > ANSWER_WITHIN
            && let Some(is_answered) = self.open.pop_front()
        {
            self.row = if is_answered { 0 } else { self.row + 1 };
            self.lost += usize::from(!is_answered);
            self.worst = self.worst.max(self.row * FLOW_EVERY);
        }
        self.sent - 1
    }

    fn answer(&mut self, number: u64, path: Vec<usize>) {
        let first = self.sent - self.open.len() as u64;
        let Some(open) = number.checked_sub(first).and_then(|at| self.open.get_mut(at as usize)) else { return };
        *open = true;
        let sent_at = self.began + number * FLOW_EVERY;
        self.first_ok = Some(self.first_ok.map_or(sent_at, |first| first.min(sent_at)));
        if number >= self.path_of {
            self.moves += usize::from(!self.path.is_empty() && self.path != path);
            (self.path, self.path_of) = (path, number);
        }
    }
}

impl World {
    /// Begins a flow.
    pub fn flow(&mut self, a: usize, b: usize, until: u64) -> usize {
        self.flows.push(Flow::new((a, b), self.now, until));
        let at = self.flows.len() - 1;
        self.put(self.now, What::Flow(at));
        at
    }

    /// The next request of a flow.
    pub fn flow_request(&mut self, flow: usize) {
        let (from, until) = (self.flows[flow].ends.0, self.flows[flow].until);
        let number = self.flows[flow].send();
        self.pass_on(from, Packet { flow, number, is_answer: false, path: vec![from], hops: 0 });
        if self.now < until {
            self.put(self.now + FLOW_EVERY, What::Flow(flow));
        }
    }

    /// A packet comes out of a wire.
    pub fn flow_packet(&mut self, at: usize, from: usize, mut packet: Packet) {
        let (a, b) = self.flows[packet.flow].ends;
        let (source, destination) = if packet.is_answer { (b, a) } else { (a, b) };
        let host: &Host = &self.hosts[at];
        let is_relay = self.network.node(NodeIx(from as u32)).hub;
        packet.hops += 1;
        if !host.runs || packet.hops > HOPS_MAX || !host.carried.accepts(at, source, (from, is_relay), self.now) {
            let way = packet.path.iter().map(|at| self.hosts[*at].name.as_str()).collect::<Vec<_>>().join(" ");
            let (answer, from) = (if packet.is_answer { "an answer" } else { "a request" }, &self.hosts[from].name);
            self.drops.push((self.now, format!("{} drops {answer} from {from} to {way}", host.name)));
            return;
        }
        if !packet.is_answer {
            packet.path.push(at);
        }
        match (at == destination, packet.is_answer) {
            (true, true) => self.flows[packet.flow].answer(packet.number, packet.path),
            (true, false) => self.pass_on(at, Packet { is_answer: true, hops: 0, ..packet }),
            (false, _) => self.pass_on(at, packet),
        }
    }

    fn pass_on(&mut self, at: usize, packet: Packet) {
        let (a, b) = self.flows[packet.flow].ends;
        let destination = if packet.is_answer { a } else { b };
        let host = &self.hosts[at];
        let next = host.carried.paths.first_hop(NodeIx(at as u32), NodeIx(destination as u32));
        let Some(next) = next.filter(|_| host.runs).map(NodeIx::at) else {
            self.drops.push((self.now, format!("{} knows no way", host.name)));
            return;
        };
        let arrivals = self.carry(at, next, FLOW_SEALED);
        if arrivals.is_empty() {
            self.drops.push((
                self.now,
                format!("lost on the wire from {} to {}", self.hosts[at].name, self.hosts[next].name),
            ));
        }
        for arrival in arrivals {
            self.put(arrival, What::Packet(next, at, packet.clone()));
        }
    }
}
