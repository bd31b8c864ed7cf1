//! Several tunnels in one virtual world: a network with delay, loss, reordering and duplicates, and clocks that step.
//!
//! [`World`] moves from one due thing to the next, so a week costs as long as its packets do. One seed gives one run. The files:
//! `crossing` (both ends start at once), `lifetime` (timers, rekeying, a week), `configuration` (changes at run time), `hostile`
//! (datagrams that nobody should have sent), `flood` (too many of them),
//! `fuzz` (mutated ones), `strays` (those of another device with the same key), `weeks` (all faults of networks, clocks and hosts, and what must hold through them).

mod configuration;
mod crossing;
mod flood;
mod fuzz;
mod hostile;
mod lifetime;
mod strays;
mod weeks;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{Endpoint, Tunnel};
use crate::config::{ConfigureDevice, ConfigurePeer, Event};
use crate::keys::{PrivateKey, PublicKey};
use crate::limits::Timing;
use crate::packet::PacketBuf;
use crate::rng::{Rng, SeededRng};
use crate::time::{Monotonic, Now};

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// How the network treats datagrams.
#[derive(Clone, Copy)]
pub struct Network {
    pub delay_ms: u64,
    /// Up to this much is added at random, which reorders.
    pub jitter_ms: u64,
    pub loss_percent: u64,
    pub duplicates_percent: u64,
}

impl Network {
    pub const GOOD: Network = Network { delay_ms: 20, jitter_ms: 0, loss_percent: 0, duplicates_percent: 0 };
    pub const BAD: Network = Network { delay_ms: 20, jitter_ms: 60, loss_percent: 5, duplicates_percent: 5 };
}

/// One tunnel with its place in the world.
pub struct End {
    pub tunnel: Tunnel,
    pub private: PrivateKey,
    pub key: PublicKey,
    pub address: SocketAddr,
    /// Its wall clock.
    pub unix: Duration,
    /// Its process is stopped: what comes waits in its socket, and its timers with it.
    pub paused: bool,
    backlog: Vec<Flight>,
    /// What its interface got.
    pub received: Vec<Vec<u8>>,
    pub events: Vec<Event>,
}

pub struct Flight {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub struct World {
    pub ends: Vec<End>,
    pub now: Monotonic,
    pub network: Network,
    pub rng: SeededRng,
    /// Ways on which nothing arrives any more, as sender and receiver.
    pub cut: Vec<(usize, usize)>,
    /// All datagrams ever sent, if wanted.
    pub tape: Option<Vec<Flight>>,
    flights: BTreeMap<(Monotonic, u64), Flight>,
    sequence: u64,
}

impl World {
    /// `count` tunnels with keys, up, and knowing nobody.
    pub fn new(seed: u64, count: usize, network: Network) -> World {
        let mut rng = SeededRng::new(seed);
        let ends = (0..count)
            .map(|number| {
                let mut private = [0; 32];
                rng.fill(&mut private);
                let private = PrivateKey::new(private);
                let key = private.public_key();
                let tunnel = started(rng.next_u64(), &private);
                End {
                    tunnel,
                    private,
                    key,
                    address: SocketAddr::from(([192, 0, 2, number as u8], 1000)),
                    unix: s(1_700_000_000),
                    paused: false,
                    backlog: Vec::new(),
                    received: Vec::new(),
                    events: Vec::new(),
                }
            })
            .collect();
        let now = Monotonic(s(1000));
        World { ends, now, network, rng, cut: Vec::new(), tape: None, flights: BTreeMap::new(), sequence: 0 }
    }

    /// Two tunnels that know each other.
    pub fn pair(seed: u64, network: Network) -> World {
        let mut world = World::new(seed, 2, network);
        world.introduce(0, 1);
        world.introduce(1, 0);
        world
    }

    pub fn now(&self, end: usize) -> Now {
        Now { monotonic: self.now, unix: self.ends[end].unix }
    }

    /// Makes `who` know `whom`, with one inner address.
    pub fn introduce(&mut self, who: usize, whom: usize) {
        let mut peer = ConfigurePeer::new(self.ends[whom].key);
        peer.endpoint = Some(self.ends[whom].address);
        peer.allowed_ips = vec![IpAddr::V4(inner(whom)).into()];
        self.configure_peer(who, peer);
    }

    pub fn configure_peer(&mut self, who: usize, peer: ConfigurePeer) {
        self.configure(who, &ConfigureDevice { peers: vec![peer], ..ConfigureDevice::default() });
    }

    pub fn configure(&mut self, who: usize, change: &ConfigureDevice) {
        let now = self.now(who);
        self.ends[who].tunnel.configure(now, change).unwrap();
        self.drain(who);
    }

    /// `from` has a packet for `to`; the payload tells packets apart.
    pub fn send(&mut self, from: usize, to: usize, payload: u64) {
        self.send_packet(from, &packet(from, to, payload));
    }

    /// A packet comes to `from`'s interface.
    pub fn send_packet(&mut self, from: usize, packet: &[u8]) {
        let now = self.now(from);
        self.ends[from].tunnel.handle_tun_packet(now, PacketBuf::new(packet));
        self.drain(from);
    }

    /// Whether `to` got that packet.
    pub fn got(&self, from: usize, to: usize, payload: u64) -> bool {
        self.ends[to].received.contains(&packet(from, to, payload))
    }

    /// The process of `who` ends, and another one begins with the same configuration and no memory of sessions.
    pub fn restart(&mut self, who: usize) {
        self.ends[who].tunnel = started(self.rng.next_u64(), &self.ends[who].private);
        (0..self.ends.len()).filter(|whom| *whom != who).for_each(|whom| self.introduce(who, whom));
    }

    /// The process of `who` goes on after a pause.
    pub fn resume(&mut self, who: usize) {
        self.ends[who].paused = false;
        for flight in std::mem::take(&mut self.ends[who].backlog) {
            self.inject(flight.from, who, &flight.bytes);
        }
    }

    /// Puts a datagram into the network, to arrive at once.
    pub fn inject(&mut self, from: SocketAddr, to: usize, bytes: &[u8]) {
        let now = self.now(to);
        self.ends[to].tunnel.handle_datagram(now, Endpoint::from(from), PacketBuf::new(bytes));
        self.ends[to].tunnel.handle_timeout(now);
        self.drain(to);
    }

    /// Lets `duration` pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let awake = self.ends.iter().filter(|end| !end.paused);
            let deadlines = awake.filter_map(|end| end.tunnel.poll_timeout());
            let arrivals = self.flights.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = deadlines.chain(arrivals).min().filter(|next| *next <= end) else { break };
            self.advance(next.max(self.now));
            while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let flight = entry.remove();
                self.deliver(flight);
            }
            for who in (0..self.ends.len()).filter(|who| !self.ends[*who].paused).collect::<Vec<_>>() {
                let now = self.now(who);
                self.ends[who].tunnel.handle_timeout(now);
                self.drain(who);
            }
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Monotonic) {
        let passed = to.since(self.now);
        self.now = to;
        self.ends.iter_mut().for_each(|end| end.unix += passed);
    }

    fn deliver(&mut self, flight: Flight) {
        let Some(who) = self.ends.iter().position(|end| end.address == flight.to) else { return };
        let from = self.ends.iter().position(|end| end.address == flight.from);
        if self.cut.iter().any(|(sender, receiver)| (Some(*sender), *receiver) == (from, who)) {
            return;
        }
        if self.ends[who].paused {
            return self.ends[who].backlog.push(flight);
        }
        self.inject(flight.from, who, &flight.bytes);
    }

    fn drain(&mut self, who: usize) {
        let end = &mut self.ends[who];
        let from = end.address;
        while let Some(packet) = end.tunnel.poll_tun() {
            end.received.push(packet.packet().to_vec());
        }
        while let Some(event) = end.tunnel.poll_event() {
            end.events.push(event);
        }
        let mut sent = Vec::new();
        while let Some(transmit) = end.tunnel.poll_transmit() {
            let bytes = transmit.packet.packet().to_vec();
            sent.push(Flight { from, to: transmit.endpoint.remote, bytes });
        }
        sent.into_iter().for_each(|flight| self.launch(flight));
    }

    fn launch(&mut self, flight: Flight) {
        assert!(!shows_a_packet(&flight.bytes), "a packet left in the clear: {:02x?}", flight.bytes);
        if let Some(tape) = &mut self.tape {
            tape.push(Flight { bytes: flight.bytes.clone(), ..flight });
        }
        let copies = 1 + u64::from(self.chance(self.network.duplicates_percent));
        for _ in 0..copies {
            if self.chance(self.network.loss_percent) {
                continue;
            }
            let jitter = self.rng.next_u64() % (self.network.jitter_ms + 1);
            self.sequence += 1;
            let arrival = (self.now + ms(self.network.delay_ms + jitter), self.sequence);
            self.flights.insert(arrival, Flight { bytes: flight.bytes.clone(), ..flight });
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.next_u64() % 100 < percent
    }
}

impl Tunnel {
    /// Whether the only peer was sent an initiation.
    fn has_called(&self) -> bool {
        self.peers.iter().flatten().all(|peer| peer.timestamp_sent.is_some())
    }
}

/// A tunnel with a key, up, and knowing nobody.
fn started(seed: u64, private: &PrivateKey) -> Tunnel {
    let mut tunnel = Tunnel::new(Box::new(SeededRng::new(seed)), Timing::default());
    let change = ConfigureDevice { private_key: Some(private.clone()), ..ConfigureDevice::default() };
    tunnel.configure(Now::default(), &change).unwrap();
    tunnel.handle_up(Now::default());
    tunnel
}

/// Whether the addresses of a [`packet`] can be read anywhere in the bytes.
fn shows_a_packet(bytes: &[u8]) -> bool {
    bytes.windows(8).any(|window| matches!(window, [10, 0, 0, _, 10, 0, 0, _]))
}

pub fn inner(end: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, end as u8)
}

/// A minimal IPv4 packet between the inner addresses of two ends.
pub fn packet(from: usize, to: usize, payload: u64) -> Vec<u8> {
    let mut packet = vec![0; 28];
    packet[0] = 0x45;
    packet[3] = 28;
    packet[12..16].copy_from_slice(&inner(from).octets());
    packet[16..20].copy_from_slice(&inner(to).octets());
    packet[20..].copy_from_slice(&payload.to_be_bytes());
    packet
}
