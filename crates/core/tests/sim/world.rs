//! A network of nodes in virtual time: their agents, their clocks, the wires between them, and flows of packets.
//!
//! Agents are the real [`Node`]s. Each host forwards by the paths that its own agent planned last, checks the source of
//! what comes in as WireGuard does, and goes on forwarding while its agent is dead. Packets are in [`crate::flows`].
//! Everything is decided by one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wayleave_core::names::Name;
use wayleave_core::network::{Network, NodeIx};
use wayleave_core::node::recording::{Line, Texts};
use wayleave_core::node::{ECHO_BYTES, EchoAddress, Event, Node, Output, Time};
use wayleave_core::plan::{LinkStates, Paths};

use crate::flows::{Carried, Flow, Packet};
use crate::random::Dice;
use crate::roamers::Roamers;
use crate::told::{Routes, Subject};
use crate::wire::{MS, Wire};

/// An echo request or its reply, as WireGuard counts it: ICMP's header is as long as UDP's; overlay addresses are IPv4 here.
fn echo_sealed(address: EchoAddress) -> u64 {
    let headers = if address == EchoAddress::Link { 48 } else { 28 };
    (ECHO_BYTES as u64 + headers).next_multiple_of(16) + 32
}
/// A message over IPv6 link addresses, as WireGuard counts it.
fn sealed(payload: usize) -> u64 {
    (payload as u64 + 48).next_multiple_of(16) + 32
}

pub struct Host {
    pub name: Name,
    pub agent: Option<Node>,
    /// Whether the kernel, and so the device, is there.
    pub runs: bool,
    pub states: LinkStates,
    pub carried: Carried,
    /// Which version of the network file it has.
    pub file: usize,
    /// Whether it has never had an agent, and so no link address.
    pub is_plain: bool,
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
    /// Until when its program gets no processor, while its kernel works.
    pub paused_until: u64,
    /// What its agent's recording holds, if it writes one.
    pub recording: Option<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Message {
        to: usize,
        from: usize,
        bytes: Vec<u8>,
    },
    Echo {
        to: usize,
        from: usize,
        reply: bool,
        bytes: u64,
    },
    Wake(usize),
    Counters(usize),
    Apply(usize, usize),
    Expect(usize, usize),
    KeepAlive(usize, usize),
    Flow(usize),
    /// At a host, from another.
    Packet(usize, usize, Packet),
    /// A client sends something, unless it has moved since.
    Roamer(usize, u64),
    /// A server sees that it has.
    Sign {
        at: usize,
        client: usize,
        is_new: bool,
    },
    /// At a host, what BGP holds for the best may be another.
    Route(usize, Subject),
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
    pub roamers: Roamers,
    pub routes: Routes,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    count: u64,
    /// Versions of the network file; hosts begin with the first.
    files: Vec<Arc<Network>>,
    /// Their texts, for recordings.
    pub texts: Vec<String>,
    /// Plans made so far, by file and states.
    planned: Vec<(usize, LinkStates, Rc<Paths>)>,
    check_is_due: bool,
    /// Pairs whose packets circle, since when.
    circling: BTreeMap<(usize, usize), u64>,
    pub longest_loop: u64,
    /// Packets of flows that were lost, when and where.
    pub drops: Vec<(u64, String)>,
}

impl World {
    pub fn new(network: Arc<Network>, seed: u64) -> World {
        World::with_plain(network, seed, &[])
    }

    /// A world in which some hosts have no agent, and never will: they have the kernel's WireGuard.
    pub fn with_plain(network: Arc<Network>, seed: u64, plain: &[&str]) -> World {
        let mut dice = Dice(seed);
        let none = LinkStates::default();
        let paths = Rc::new(Paths::new(&network, &none));
        let host = |node: &wayleave_core::network::Node| Host {
            name: node.name.clone(),
            agent: None,
            runs: true,
            states: none.clone(),
            carried: Carried::new(paths.clone()),
            file: 0,
            is_plain: plain.contains(&node.name.as_str()),
            clock: (dice.roll(1 << 50), dice.roll(1_000) as i64 - 500),
            wake: None,
            has_begun: false,
            reads_counters: false,
            changes: 0,
            reasons: Vec::new(),
            paused_until: 0,
            recording: None,
        };
        let hosts: Vec<Host> = network.nodes.iter().map(host).collect();
        let ends = |link: &wayleave_core::network::Link| [link.a.at(), link.b.at()];
        let wire = |link| Wire::new(ends(link), network.rtt_us(link.a, link.b) / 2);
        let wires: Vec<Wire> = network.links.iter().map(wire).collect();
        let wire_of = wires.iter().enumerate().map(|(at, wire)| ((wire.ends[0], wire.ends[1]), at)).collect();
        let mut world = World {
            files: vec![network.clone()],
            texts: Vec::new(),
            planned: vec![(0, none, paths)],
            network,
            now: 0,
            dice,
            hosts,
            wires,
            wire_of,
            flows: Vec::new(),
            roamers: Roamers::default(),
            routes: Routes::default(),
            queue: BinaryHeap::new(),
            count: 0,
            check_is_due: false,
            circling: BTreeMap::new(),
            longest_loop: 0,
            drops: Vec::new(),
        };
        for at in 0..world.hosts.len() {
            world.hosts[at].carried.is_kernel = world.hosts[at].is_plain;
            world.start_agent(at);
        }
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
        if self.hosts[at].is_plain {
            return;
        }
        self.set_gone(at, false);
        self.roamers.disturbed_at = self.now;
        let now = self.clock(at);
        let boot = self.dice.roll(1 << 16) as u16;
        self.record(at, |host, texts| Line::began(host.name.clone(), boot, now, texts));
        let host = &mut self.hosts[at];
        host.has_begun = false;
        host.agent =
            Some(Node::new(self.files[host.file].clone(), &host.name, boot, now).expect("a node of the network"));
        let is_new = !host.runs;
        if is_new {
            // A host that starts begins with what the file says; one that carries packets is left alone.
            host.carried.begin(self.planned[0].2.clone());
            host.runs = true;
        }
        self.begin_routes(at, is_new);
        self.drain(at);
    }

    fn record(&mut self, at: usize, line: impl FnOnce(&Host, Texts) -> Line) {
        let host = &self.hosts[at];
        if host.recording.is_none() {
            return;
        }
        let texts = self.texts.get(host.file).map(|text| ("network.toml".to_owned(), text.clone()));
        let text = line(host, texts.into_iter().collect()).text().unwrap();
        self.hosts[at].recording.as_mut().unwrap().push_str(&text);
    }

    /// Another version of the network file, with the same nodes. Nobody has it yet; wires of its new links pass nothing until
    /// both ends do. Returns its number.
    pub fn add_file(&mut self, network: Arc<Network>) -> usize {
        for link in &network.links {
            let ends = (link.a.at(), link.b.at());
            if !self.wire_of.contains_key(&ends) {
                let mut wire = Wire::new([ends.0, ends.1], network.rtt_us(link.a, link.b) / 2);
                wire.gone = [true; 2];
                self.wire_of.insert(ends, self.wires.len());
                self.wires.push(wire);
            }
        }
        self.files.push(network);
        self.files.len() - 1
    }

    /// A host gets a version of the network file while its agent runs.
    pub fn adopt(&mut self, at: usize, file: usize) {
        let network = self.files[file].clone();
        for wire in &mut self.wires {
            let has = network.links.iter().any(|link| [link.a.at(), link.b.at()] == wire.ends);
            (0..2).filter(|end| wire.ends[*end] == at).for_each(|end| wire.gone[end] = !has);
        }
        let now = self.clock(at);
        self.hosts[at].file = file;
        self.record(at, |_, texts| Line::Adopted { at_us: now.us(), texts });
        if let Some(agent) = &mut self.hosts[at].agent {
            agent.adopt(network, now).expect("the same nodes");
            // The agent plans at once; what it says comes after that.
            let states = agent.states().clone();
            let planned = self.plan_with(at, &states);
            self.hosts[at].carried.take(self.planned[planned].2.clone(), self.now);
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
        self.forget_roamers(at, false);
    }

    /// The host is gone.
    pub fn kill_host(&mut self, at: usize) {
        self.hosts[at].agent = None;
        self.hosts[at].runs = false;
        self.wires.iter_mut().filter(|wire| wire.ends.contains(&at)).for_each(Wire::forget);
        self.set_gone(at, true);
        self.forget_roamers(at, true);
    }

    /// The program ends, and says so.
    pub fn leave(&mut self, at: usize) {
        self.hear(at, Event::Leaving);
        self.drain(at);
        self.hosts[at].agent = None;
        self.forget_roamers(at, false);
    }

    /// The program ends, and the device with it.
    pub fn end(&mut self, at: usize) {
        self.hear(at, Event::Ending);
        self.drain(at);
        self.kill_host(at);
    }

    /// A host's clock jumps ahead.
    pub fn jump(&mut self, at: usize, by_us: u64) {
        self.roamers.disturbed_at = self.now;
        self.hosts[at].clock.0 += by_us;
        self.drain(at);
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

    pub fn put(&mut self, at: u64, what: What) {
        self.count += 1;
        self.queue.push(Reverse((at, self.count, what)));
    }

    fn happen(&mut self, what: What) {
        if let What::Message { to: at, .. }
        | What::Echo { to: at, reply: true, .. }
        | What::Wake(at)
        | What::Counters(at) = what
            && self.hosts[at].paused_until > self.now
        {
            // It waits for the program, which hears what has come before it does what is due.
            let is_due = matches!(what, What::Wake(_));
            return self.put(self.hosts[at].paused_until + u64::from(is_due), what);
        }
        match what {
            What::Message { to, from, bytes } => {
                self.arrive(to, from, sealed(bytes.len()));
                let from = self.hosts[from].name.clone();
                self.tell(to, Event::Received { from, bytes });
            }
            What::Echo { to, from, reply: false, bytes } if self.hosts[to].runs => {
                self.arrive(to, from, bytes);
                self.send(to, from, bytes, |to, from| What::Echo { to, from, reply: true, bytes });
            }
            What::Echo { reply: false, .. } => {}
            What::Echo { to, from, bytes, .. } => {
                self.arrive(to, from, bytes);
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
                    self.hosts[at].carried.take(self.planned[planned].2.clone(), self.now);
                    self.check_soon();
                }
            }
            What::Expect(at, planned) => self.hosts[at].carried.expect(self.planned[planned].2.clone(), self.now),
            What::KeepAlive(wire, end) => {
                if self.wires[wire].keepalive_at[end].is_some_and(|at| at <= self.now) {
                    self.wires[wire].keep_alive(end, &mut self.dice);
                }
            }
            What::Flow(at) => self.flow_request(at),
            What::Packet(at, from, packet) => self.flow_packet(at, from, packet),
            What::Roamer(client, moves) => self.roamer_sends(client, moves),
            What::Sign { at, client, is_new } => self.roamer_is_seen(at, client, is_new),
            What::Route(to, subject) => self.choose(to, subject),
            What::Check => self.check_loops(),
        }
    }

    pub fn tell(&mut self, to: usize, event: Event) {
        self.hear(to, event);
        self.drain(to);
    }

    pub fn hear(&mut self, at: usize, event: Event) {
        let now = self.clock(at);
        let Some(agent) = &mut self.hosts[at].agent else { return };
        agent.handle(event.clone(), now);
        self.record(at, |_, _| Line::Happened { at_us: now.us(), event });
    }

    /// Does what an agent wants done, and notes when it wants to be called.
    fn drain(&mut self, at: usize) {
        let now = self.clock(at);
        let Some(agent) = &mut self.hosts[at].agent else { return };
        let is_due = agent.next_wake() <= now;
        let outputs: Vec<Output> = std::iter::from_fn(|| agent.poll(now)).collect();
        assert!(is_due || outputs.is_empty(), "a node does nothing before it is due");
        if is_due {
            self.record(at, |_, _| Line::Polled { at_us: now.us(), outputs: outputs.clone() });
        }
        for output in outputs {
            match output {
                Output::Send { to, bytes } => {
                    let to = self.find(to.as_str());
                    self.send(at, to, sealed(bytes.len()), |to, from| What::Message { to, from, bytes: bytes.clone() });
                }
                Output::SendEcho { to, at: address } => self.send_echo(at, to.as_str(), address),
                Output::Expect { states } => {
                    let (planned, takes) = (self.plan_with(at, &states), self.planning());
                    self.put(self.now + takes, What::Expect(at, planned));
                }
                Output::States { states, reasons } => self.replan(at, states, reasons),
                Output::Claims { changed } => self.take_claims(at, &changed),
                Output::Originate { client, epoch } => self.say(at, Subject::Client(client), epoch),
                Output::OriginateSite { site, preference } => self.say(at, Subject::Site(site), preference),
                Output::HandOver { client, to, way } => self.hand_over(at, client, to, way),
                Output::Call { offer, .. } => self.call_roamer(at, &offer),
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

    /// Hosts that never had an agent have no link address; overlay addresses are asked over the link or not at all.
    fn send_echo(&mut self, from: usize, to: &str, address: EchoAddress) {
        let to = self.find(to);
        let next = self.hosts[from].carried.paths.first_hop(NodeIx(from as u32), NodeIx(to as u32));
        let is_answered = match address {
            EchoAddress::Link => !self.hosts[to].is_plain,
            EchoAddress::Overlay => next.map(NodeIx::at) == Some(to),
        };
        if is_answered {
            let bytes = echo_sealed(address);
            self.send(from, to, bytes, |to, from| What::Echo { to, from, reply: false, bytes });
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

    /// Sends a packet that is no agent's over the wire between two hosts. Returns when it arrives.
    pub fn carry(&mut self, from: usize, to: usize, sealed: u64) -> Vec<u64> {
        let no = self.wire_of[&(from.min(to), from.max(to))];
        let end = usize::from(self.wires[no].ends[1] == from);
        let begins = self.wires[no].pauses(end, self.now);
        let arrivals = self.wires[no].send(end, sealed, true, self.now, &mut self.dice);
        self.after_sending(no);
        if begins && !self.hosts[from].carried.is_kernel {
            // The engine says so, and the agent looks.
            let soon = 1 + self.dice.roll(5 * MS);
            self.put(self.now + soon, What::Counters(from));
        }
        arrivals
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

    /// Which of the plans made so far is the one of a host's file with these states; makes it if there is none.
    fn plan_with(&mut self, at: usize, states: &LinkStates) -> usize {
        let file = self.hosts[at].file;
        let known = self.planned.iter().position(|(of, known, _)| *of == file && known == states);
        known.unwrap_or_else(|| {
            let paths = Rc::new(Paths::new(&self.files[file], states));
            self.planned.push((file, states.clone(), paths));
            self.planned.len() - 1
        })
    }

    /// How long a host takes to plan and to carry out.
    fn planning(&mut self) -> u64 {
        2 * MS + self.dice.roll(20 * MS)
    }

    fn replan(&mut self, at: usize, states: LinkStates, reasons: Vec<String>) {
        let planned = self.plan_with(at, &states);
        let host = &mut self.hosts[at];
        host.states = states;
        host.has_begun = true;
        host.changes += 1;
        self.roamers.disturbed_at = self.now;
        host.reasons.extend(reasons.into_iter().map(|reason| (self.now, reason)));
        let takes = self.planning();
        self.put(self.now + takes, What::Apply(at, planned));
        self.choose_again(at);
    }

    fn read_soon(&mut self, at: usize) {
        if !self.hosts[at].reads_counters {
            self.hosts[at].reads_counters = true;
            let wait = self.dice.roll(if self.hosts[at].carried.is_kernel { 100 * MS } else { 200 * MS });
            self.put(self.now + wait, What::Counters(at));
        }
    }

    fn read_counters(&mut self, at: usize) {
        self.hosts[at].reads_counters = false;
        let mut news = Vec::new();
        for wire in self.wires.iter().filter(|wire| wire.ends.contains(&at)) {
            let end = usize::from(wire.ends[1] == at);
            let counted = wire.counted[end];
            let with = self.network.node(NodeIx(wire.ends[1 - end] as u32)).name.clone();
            let age = wire.handshake_age(self.now).map(Duration::from_micros);
            news.push(Event::Handshake { with: with.clone(), age });
            let (sent_bytes, received_bytes) = (counted.sent, counted.received);
            news.push(Event::Traffic { with, sent_bytes, received_bytes });
        }
        news.into_iter().for_each(|event| self.hear(at, event));
        self.drain(at);
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
            let next = self.hosts[at].carried.paths.first_hop(NodeIx(at as u32), NodeIx(to as u32));
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
