//! A network of nodes in virtual time: their agents, their clocks, the wires between them, and flows of packets.
//!
//! Agents are the real [`Node`]s. Each host forwards by the paths that its own agent planned last, checks the source of
//! what comes in as WireGuard does, and goes on forwarding while its agent is dead. A flow sends a packet each way every
//! 20 ms; it is walked over all hosts at one moment. Everything is decided by one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wayleave_core::names::Name;
use wayleave_core::network::{Network, NodeIx};
use wayleave_core::node::{ECHO_BYTES, Event, Node, Output, Time};
use wayleave_core::plan::{LinkStates, Paths};

use crate::random::Dice;
use crate::wire::{MS, S, Wire};

/// An echo request or its reply, as WireGuard counts it: ICMP's header is as long as UDP's.
const ECHO_SEALED: u64 = (ECHO_BYTES as u64 + 48).next_multiple_of(16) + 32;
/// A message over IPv6 link addresses, as WireGuard counts it.
fn sealed(payload: usize) -> u64 {
    (payload as u64 + 48).next_multiple_of(16) + 32
}

const FLOW_SEALED: u64 = 208 + 32;
pub const FLOW_EVERY: u64 = 20 * MS;

pub struct Host {
    pub name: Name,
    pub agent: Option<Node>,
    /// Whether the kernel, and so the device, is there.
    pub runs: bool,
    pub states: LinkStates,
    pub paths: Rc<Paths>,
    /// The own clock: where it begins, and how much too fast it goes, in millionths.
    clock: (u64, i64),
    wake: Option<u64>,
    /// Whether the agent has handed out states since it started.
    has_begun: bool,
    reads_counters: bool,
    /// States handed out by the agent.
    pub changes: usize,
    /// What the agent said about them, with the true time.
    pub reasons: Vec<(u64, String)>,
}

#[derive(Debug, Default)]
pub struct Flow {
    pub ends: (usize, usize),
    pub until: u64,
    pub last_ok: Option<u64>,
    /// The longest time without an answer, and how many packets were not answered.
    pub worst: u64,
    pub lost: usize,
    /// How often the path of the packets has changed.
    pub moves: usize,
    pub path: Vec<usize>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Message { to: usize, from: usize, bytes: Vec<u8> },
    Echo { to: usize, from: usize, reply: bool },
    Wake(usize),
    Counters(usize),
    Apply(usize, usize),
    KeepAlive(usize, usize),
    Flow(usize),
    Check,
}

pub struct World {
    pub network: Arc<Network>,
    pub now: u64,
    pub dice: Dice,
    pub hosts: Vec<Host>,
    pub wires: Vec<Wire>,
    wire_of: BTreeMap<(usize, usize), usize>,
    pub flows: Vec<Flow>,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    count: u64,
    planned: Vec<(LinkStates, Rc<Paths>)>,
    check_is_due: bool,
    /// Pairs whose packets circle, since when.
    circling: BTreeMap<(usize, usize), u64>,
    pub longest_loop: u64,
}

impl World {
    pub fn new(network: Arc<Network>, seed: u64) -> World {
        let mut dice = Dice(seed);
        let none = LinkStates::default();
        let paths = Rc::new(Paths::new(&network, &none));
        let host = |node: &wayleave_core::network::Node| Host {
            name: node.name.clone(),
            agent: None,
            runs: true,
            states: none.clone(),
            paths: paths.clone(),
            clock: (dice.roll(1 << 50), dice.roll(1_000) as i64 - 500),
            wake: None,
            has_begun: false,
            reads_counters: false,
            changes: 0,
            reasons: Vec::new(),
        };
        let hosts: Vec<Host> = network.nodes.iter().map(host).collect();
        let ends = |link: &wayleave_core::network::Link| [link.a.at(), link.b.at()];
        let wire = |link| Wire::new(ends(link), network.rtt_us(link.a, link.b) / 2);
        let wires: Vec<Wire> = network.links.iter().map(wire).collect();
        let wire_of = wires.iter().enumerate().map(|(at, wire)| ((wire.ends[0], wire.ends[1]), at)).collect();
        let mut world = World {
            planned: vec![(none, paths)],
            network,
            now: 0,
            dice,
            hosts,
            wires,
            wire_of,
            flows: Vec::new(),
            queue: BinaryHeap::new(),
            count: 0,
            check_is_due: false,
            circling: BTreeMap::new(),
            longest_loop: 0,
        };
        (0..world.hosts.len()).for_each(|at| world.start_agent(at));
        world
    }

    pub fn find(&self, name: &str) -> usize {
        self.hosts.iter().position(|host| host.name.as_str() == name).expect("a node of the network")
    }

    pub fn wire(&mut self, a: usize, b: usize) -> &mut Wire {
        &mut self.wires[self.wire_of[&(a.min(b), a.max(b))]]
    }

    /// Cuts a wire in both directions, or mends it.
    pub fn cut(&mut self, a: usize, b: usize, cut: bool) {
        self.wire(a, b).cut = [cut; 2];
    }

    pub fn start_agent(&mut self, at: usize) {
        self.set_gone(at, false);
        let now = self.clock(at);
        let boot = self.dice.roll(1 << 16) as u16;
        let host = &mut self.hosts[at];
        host.has_begun = false;
        host.agent = Some(Node::new(self.network.clone(), &host.name, boot, now).expect("a node of the network"));
        if !host.runs {
            // A host that starts begins with what the file says; one that carries packets is left alone.
            host.paths = self.planned[0].1.clone();
            host.runs = true;
        }
        self.drain(at);
    }

    fn set_gone(&mut self, at: usize, gone: bool) {
        for wire in &mut self.wires {
            (0..2).filter(|end| wire.ends[*end] == at).for_each(|end| wire.gone[end] = gone);
        }
    }

    /// The program ends; the kernel goes on.
    pub fn kill_agent(&mut self, at: usize) {
        self.hosts[at].agent = None;
    }

    /// The host is gone.
    pub fn kill_host(&mut self, at: usize) {
        self.hosts[at].agent = None;
        self.hosts[at].runs = false;
        self.wires.iter_mut().filter(|wire| wire.ends.contains(&at)).for_each(Wire::forget);
        self.set_gone(at, true);
    }

    /// The program ends, and says so.
    pub fn leave(&mut self, at: usize) {
        let now = self.clock(at);
        if let Some(agent) = &mut self.hosts[at].agent {
            agent.handle(Event::Leaving, now);
        }
        self.drain(at);
        self.hosts[at].agent = None;
    }

    pub fn flow(&mut self, a: usize, b: usize, until: u64) -> usize {
        self.flows.push(Flow { ends: (a, b), until, ..Flow::default() });
        let at = self.flows.len() - 1;
        self.put(self.now, What::Flow(at));
        at
    }

    /// Lets time pass.
    pub fn run(&mut self, for_us: u64) {
        let until = self.now + for_us;
        while self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= until) {
            let Some(Reverse((at, _, what))) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            self.happen(what);
        }
        self.now = until;
    }

    fn clock(&self, at: usize) -> Time {
        let (begin, fast) = self.hosts[at].clock;
        let elapsed = i128::from(self.now) + i128::from(self.now) * i128::from(fast) / 1_000_000;
        Time::from_us(begin + elapsed as u64)
    }

    /// The true time of a moment on a host's clock.
    fn true_time(&self, at: usize, time: Time) -> u64 {
        let (begin, fast) = self.hosts[at].clock;
        let elapsed = i128::from(time.us().saturating_sub(begin));
        (elapsed * 1_000_000 / (1_000_000 + i128::from(fast))) as u64 + 1
    }

    fn put(&mut self, at: u64, what: What) {
        self.count += 1;
        self.queue.push(Reverse((at, self.count, what)));
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Message { to, from, bytes } => {
                self.arrive(to, from, sealed(bytes.len()));
                let from = self.hosts[from].name.clone();
                self.tell(to, Event::Received { from, bytes });
            }
            What::Echo { to, from, reply: false } if self.hosts[to].runs => {
                self.arrive(to, from, ECHO_SEALED);
                self.send(to, from, ECHO_SEALED, |to, from| What::Echo { to, from, reply: true });
            }
            What::Echo { reply: false, .. } => {}
            What::Echo { to, from, .. } => {
                self.arrive(to, from, ECHO_SEALED);
                let from = self.hosts[from].name.clone();
                self.tell(to, Event::EchoReply { from });
            }
            What::Wake(at) => {
                if self.hosts[at].wake == Some(self.now) {
                    self.hosts[at].wake = None;
                }
                self.drain(at);
            }
            What::Counters(at) => self.read_counters(at),
            What::Apply(at, planned) => {
                if self.hosts[at].agent.is_some() {
                    self.hosts[at].paths = self.planned[planned].1.clone();
                    self.check_soon();
                }
            }
            What::KeepAlive(wire, end) => {
                if self.wires[wire].keepalive_at[end].is_some_and(|at| at <= self.now) {
                    self.wires[wire].keep_alive(end, &mut self.dice);
                }
            }
            What::Flow(at) => self.flow_packet(at),
            What::Check => self.check_loops(),
        }
    }

    fn tell(&mut self, to: usize, event: Event) {
        let now = self.clock(to);
        let Some(agent) = &mut self.hosts[to].agent else { return };
        agent.handle(event, now);
        self.drain(to);
    }

    /// Does what an agent wants done, and notes when it wants to be called.
    fn drain(&mut self, at: usize) {
        let now = self.clock(at);
        loop {
            let Some(agent) = &mut self.hosts[at].agent else { return };
            let Some(output) = agent.poll(now) else { break };
            match output {
                Output::Send { to, bytes } => {
                    let to = self.find(to.as_str());
                    self.send(at, to, sealed(bytes.len()), |to, from| What::Message { to, from, bytes: bytes.clone() });
                }
                Output::SendEcho { to } => {
                    let to = self.find(to.as_str());
                    self.send(at, to, ECHO_SEALED, |to, from| What::Echo { to, from, reply: false });
                }
                Output::States { states, reasons } => self.replan(at, states, reasons),
                Output::Log(_) => {}
            }
        }
        let Some(agent) = &self.hosts[at].agent else { return };
        let wake = agent.next_wake();
        if wake == Time::NEVER {
            return;
        }
        let wake = self.true_time(at, wake).max(self.now + 1);
        if self.hosts[at].wake.is_none_or(|before| wake < before || before <= self.now) {
            self.hosts[at].wake = Some(wake);
            self.put(wake, What::Wake(at));
        }
    }

    fn send(&mut self, from: usize, to: usize, sealed: u64, what: impl Fn(usize, usize) -> What) {
        if !self.hosts[from].runs {
            return;
        }
        let no = self.wire_of[&(from.min(to), from.max(to))];
        let end = usize::from(self.wires[no].ends[1] == from);
        let arrivals = self.wires[no].send(end, sealed, false, self.now, &mut self.dice);
        self.after_sending(no);
        for at in arrivals {
            if self.hosts[to].runs {
                self.put(at, what(to, from));
            }
        }
    }

    fn arrive(&mut self, to: usize, from: usize, bytes: u64) {
        let no = self.wire_of[&(from.min(to), from.max(to))];
        let end = usize::from(self.wires[no].ends[1] == to);
        self.wires[no].arrive(end, bytes);
        self.read_soon(to);
    }

    fn after_sending(&mut self, no: usize) {
        for end in 0..2 {
            if let Some(at) = self.wires[no].keepalive_at[end] {
                self.put(at, What::KeepAlive(no, end));
            }
            self.read_soon(self.wires[no].ends[end]);
        }
    }

    fn replan(&mut self, at: usize, states: LinkStates, reasons: Vec<String>) {
        let known = self.planned.iter().position(|(known, _)| *known == states);
        let planned = known.unwrap_or_else(|| {
            let paths = Rc::new(Paths::new(&self.network, &states));
            self.planned.push((states.clone(), paths));
            self.planned.len() - 1
        });
        let host = &mut self.hosts[at];
        host.states = states;
        host.has_begun = true;
        host.changes += 1;
        host.reasons.extend(reasons.into_iter().map(|reason| (self.now, reason)));
        let takes = 2 * MS + self.dice.roll(20 * MS);
        self.put(self.now + takes, What::Apply(at, planned));
    }

    fn read_soon(&mut self, at: usize) {
        if !self.hosts[at].reads_counters {
            self.hosts[at].reads_counters = true;
            let wait = self.dice.roll(200 * MS);
            self.put(self.now + wait, What::Counters(at));
        }
    }

    fn read_counters(&mut self, at: usize) {
        self.hosts[at].reads_counters = false;
        let now = self.clock(at);
        let Some(agent) = &mut self.hosts[at].agent else { return };
        for wire in self.wires.iter().filter(|wire| wire.ends.contains(&at)) {
            let end = usize::from(wire.ends[1] == at);
            let counted = wire.counted[end];
            let with = self.network.node(NodeIx(wire.ends[1 - end] as u32)).name.clone();
            let age = wire.handshake_age(self.now).map(Duration::from_micros);
            agent.handle(Event::Handshake { with: with.clone(), age }, now);
            let (sent_bytes, received_bytes) = (counted.sent, counted.received);
            agent.handle(Event::Traffic { with, sent_bytes, received_bytes }, now);
        }
        self.drain(at);
    }

    fn flow_packet(&mut self, no: usize) {
        let (a, b) = self.flows[no].ends;
        let there = self.walk(a, b);
        let back = if there.is_some() { self.walk(b, a) } else { None };
        let now = self.now;
        let flow = &mut self.flows[no];
        match (there, back) {
            (Some(there), Some(_)) => {
                flow.worst = flow.worst.max(now - flow.last_ok.unwrap_or(now));
                flow.last_ok = Some(now);
                flow.moves += usize::from(!flow.path.is_empty() && flow.path != there);
                flow.path = there;
            }
            _ => flow.lost += 1,
        }
        if now < flow.until {
            self.put(now + FLOW_EVERY, What::Flow(no));
        }
    }

    /// A packet from one host to another, now; the hosts that it visits if it arrives.
    fn walk(&mut self, from: usize, to: usize) -> Option<Vec<usize>> {
        let (mut at, mut visited) = (from, vec![from]);
        while at != to {
            if !self.hosts[at].runs || visited.len() > self.hosts.len() {
                return None;
            }
            let next = self.hosts[at].paths.first_hop(NodeIx(at as u32), NodeIx(to as u32))?.at();
            let no = self.wire_of[&(at.min(next), at.max(next))];
            let end = usize::from(self.wires[no].ends[1] == at);
            let arrives = self.wires[no].send(end, FLOW_SEALED, true, self.now, &mut self.dice);
            self.after_sending(no);
            let in_time = arrives.first().is_some_and(|at| *at < self.now + 2 * S);
            let expected = self.hosts[next].paths.first_hop(NodeIx(next as u32), NodeIx(from as u32));
            if !in_time || !self.hosts[next].runs || expected != Some(NodeIx(at as u32)) {
                return None;
            }
            visited.push(next);
            at = next;
        }
        self.hosts[to].runs.then_some(visited)
    }

    fn check_soon(&mut self) {
        if !self.check_is_due {
            self.check_is_due = true;
            self.put(self.now + 5 * MS, What::Check);
        }
    }

    /// Follows what hosts would do with packets between all pairs, sources not checked: does any circle?
    fn check_loops(&mut self) {
        self.check_is_due = false;
        let count = self.hosts.len();
        for _ in 0..40 {
            let (from, to) = (self.dice.roll(count as u64) as usize, self.dice.roll(count as u64) as usize);
            self.check_loop(from, to);
        }
        let pairs: Vec<(usize, usize)> = self.circling.keys().copied().collect();
        pairs.into_iter().for_each(|(from, to)| self.check_loop(from, to));
        if !self.circling.is_empty() {
            self.check_is_due = true;
            self.put(self.now + 10 * MS, What::Check);
        }
    }

    fn check_loop(&mut self, from: usize, to: usize) {
        let (mut at, mut steps) = (from, 0);
        while at != to && steps <= self.hosts.len() {
            let next = self.hosts[at].paths.first_hop(NodeIx(at as u32), NodeIx(to as u32));
            // Whose agent is dead, or has just begun, can't follow the others. WireGuard's check of sources ends such circles.
            let follows = |host: &Host| host.agent.is_some() && host.has_begun;
            let Some(next) = next.filter(|next| follows(&self.hosts[next.at()])) else { break };
            let wire = &self.wires[self.wire_of[&(at.min(next.at()), at.max(next.at()))]];
            if !wire.works() {
                break;
            }
            (at, steps) = (next.at(), steps + 1);
        }
        if steps > self.hosts.len() {
            let since = *self.circling.entry((from, to)).or_insert(self.now);
            self.longest_loop = self.longest_loop.max(self.now - since);
        } else {
            self.circling.remove(&(from, to));
        }
    }
}
