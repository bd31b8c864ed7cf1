//! Many clients in one thread: a [`Tunnel`] and a UDP socket each, no interface. They start their handshakes all at once, then ping
//! the server's inner address through their tunnels, at a rate together or each as soon as its last ping is answered.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wayleave_engine::packet::PacketBuf;
use wayleave_engine::tunnel::{Endpoint, Tunnel};
use wayleave_engine::{ConfigureDevice, ConfigurePeer, Event, Monotonic, Now, PublicKey, SystemRng, Timing};

use crate::{Options, inner_address, key_of, print_percentiles};

/// How long the first handshakes may take.
const PATIENCE: Duration = Duration::from_secs(30);
const SERVER_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 198, 0, 1);

pub fn run(options: &Options) {
    let mut crowd = Crowd::new(options, options.text("server").parse().unwrap());
    crowd.greet();
    crowd.talk(options);
    crowd.report();
}

struct Client {
    tunnel: Tunnel,
    socket: UdpSocket,
    handshakes: Vec<Duration>,
    connected_us: Option<u64>,
    /// Whether it is behind a NAT that lets in nothing but answers, to these.
    is_closed: bool,
    dialled: HashSet<SocketAddr>,
    /// When an echo was answered last, and the longest time without one.
    answered: Duration,
    silence: Duration,
}

/// All of them.
pub struct Crowd {
    clients: Vec<Client>,
    server: PublicKey,
    start: Instant,
    epoll: i32,
    size: usize,
    window: u32,
    inside: Ipv4Addr,
    sent: u64,
    rtts_ms: Vec<f64>,
    traffic: Duration,
    record: Option<BufWriter<File>>,
}

impl Crowd {
    /// As many as the options say, who dial a server when they are told to.
    pub fn new(options: &Options, remote: SocketAddr) -> Crowd {
        let server = PublicKey(key_from_text(options.text("key")));
        // SAFETY: takes no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let clients = (0..options.number("count", 1000)).map(|at| client(at, server, remote, epoll));
        let keepalive_s = options.number("keepalive", 0) as u16;
        let closed_every = options.number("closed-every", 0);
        let clients = clients.zip(1_u32..).map(|(mut client, nth)| {
            client.is_closed = closed_every > 0 && nth.is_multiple_of(closed_every);
            let mut peer = ConfigurePeer::new(server);
            peer.persistent_keepalive_s = Some(keepalive_s);
            let change = ConfigureDevice { peers: vec![peer], ..ConfigureDevice::default() };
            client.tunnel.configure(Now::default(), &change).unwrap();
            client
        });
        let clients = clients.collect();
        Crowd {
            clients,
            server,
            start: Instant::now(),
            epoll,
            size: options.number("size", 84) as usize,
            window: options.number("window", 0),
            inside: options.0.get("inside").map_or(SERVER_INSIDE, |text| text.parse().unwrap()),
            sent: 0,
            rtts_ms: Vec::new(),
            traffic: Duration::ZERO,
            record: options.0.get("record").map(|path| BufWriter::new(File::create(path).unwrap())),
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Now { monotonic: Monotonic(self.start.elapsed()), unix }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.clients.len()
    }

    /// A client forgets its session and makes a handshake with a server.
    pub fn dial(&mut self, at: usize, remote: SocketAddr) {
        let (now, server) = (self.now(), self.server);
        let peer = ConfigurePeer { endpoint: Some(remote), ..ConfigurePeer::new(server) };
        let client = &mut self.clients[at];
        client.tunnel.configure(now, &ConfigureDevice { peers: vec![peer], ..ConfigureDevice::default() }).unwrap();
        client.tunnel.forget_sessions(&server);
        client.tunnel.initiate(now, &server);
        client.connected_us = None;
        self.drain(at);
    }

    /// When a client has had its handshake since it last dialled, in microseconds of the machine's monotonic clock.
    pub fn latest(&self, at: usize) -> Option<u64> {
        self.clients[at].connected_us
    }

    /// From now on it counts who goes without answers for how long.
    pub fn watch(&mut self) {
        let now = self.start.elapsed();
        self.clients.iter_mut().for_each(|client| (client.answered, client.silence) = (now, Duration::ZERO));
        (self.sent, self.rtts_ms) = (0, Vec::new());
    }

    /// Each client's longest time without an answer since then, whether it is behind a NAT, and where its server is to it.
    pub fn watched(&mut self) -> Vec<(Duration, bool, Option<SocketAddr>)> {
        let (now, server) = (self.start.elapsed(), self.server);
        let place = |client: &Client| client.tunnel.place(&server).map(|place| place.endpoint);
        let silence = |client: &Client| client.silence.max(now.saturating_sub(client.answered));
        self.clients.iter().map(|client| (silence(client), client.is_closed, place(client))).collect()
    }

    /// How many echoes were asked for, and how many were answered.
    pub fn echoes(&self) -> (u64, usize) {
        (self.sent, self.rtts_ms.len())
    }

    /// Takes what comes, and runs timers, until then.
    pub fn turn_until(&mut self, end: Instant) {
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.turn(left.min(Duration::from_millis(2)));
        }
    }

    /// All start at once, and are waited for.
    fn greet(&mut self) {
        let (now, server) = (self.now(), self.server);
        for at in 0..self.clients.len() {
            self.clients[at].tunnel.initiate(now, &server);
            self.drain(at);
        }
        let begin = Instant::now();
        let is_done = |crowd: &Crowd| crowd.clients.iter().all(|client| !client.handshakes.is_empty());
        while !is_done(self) && begin.elapsed() < PATIENCE {
            self.turn(Duration::from_millis(5));
        }
        let firsts = self.clients.iter().filter_map(|client| client.handshakes.first());
        let mut ms: Vec<f64> = firsts.map(|at| (*at - now.unix).as_secs_f64() * 1e3).collect();
        println!("clients_connected {}", ms.len());
        print_percentiles("connected_ms", &mut ms);
    }

    fn talk(&mut self, options: &Options) {
        let (rate, seconds) = (options.number("rate", 0), options.number("seconds", 5));
        let count = self.clients.len();
        let begin = Instant::now();
        for at in 0..count * self.window as usize {
            self.ping(at % count);
        }
        let mut due = 0;
        while begin.elapsed() < Duration::from_secs(seconds.into()) {
            let wanted = (begin.elapsed().as_secs_f64() * f64::from(rate)) as usize;
            for at in due..wanted {
                self.ping(at % count);
            }
            due = wanted;
            self.turn(Duration::from_millis(1));
        }
        self.window = 0;
        self.traffic = begin.elapsed();
        let last = Instant::now();
        while last.elapsed() < Duration::from_millis(500) {
            self.turn(Duration::from_millis(5));
        }
    }

    /// Takes what came, for as long as `wait`, and runs timers.
    fn turn(&mut self, wait: Duration) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        // SAFETY: the array outlives the call and is as long as said.
        let ready = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), 256, wait.as_millis() as i32) };
        for event in &events[..usize::try_from(ready).unwrap_or(0)] {
            self.receive(event.u64 as usize);
        }
        let now = self.now();
        for at in 0..self.clients.len() {
            if self.clients[at].tunnel.poll_timeout().is_some_and(|due| due <= now.monotonic) {
                self.clients[at].tunnel.handle_timeout(now);
                self.drain(at);
            }
        }
    }

    fn receive(&mut self, at: usize) {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = self.clients[at].socket.recv_from(&mut buffer) {
            let now = self.now();
            let client = &mut self.clients[at];
            if client.is_closed && !client.dialled.contains(&from) {
                continue;
            }
            client.tunnel.handle_datagram(now, Endpoint::from(from), PacketBuf::new(&buffer[..len]));
            client.tunnel.handle_timeout(now);
            self.drain(at);
        }
    }

    /// A client sends an echo request.
    pub fn ping(&mut self, at: usize) {
        let now = self.now();
        let packet = echo_request(at as u32, self.inside, self.size, now.monotonic.0);
        self.clients[at].tunnel.handle_tun_packet(now, PacketBuf::new(&packet));
        self.sent += 1;
        self.drain(at);
    }

    fn drain(&mut self, at: usize) {
        let client = &mut self.clients[at];
        while let Some(transmit) = client.tunnel.poll_transmit() {
            let bytes = transmit.packet.packet();
            if let Some(record) = &mut self.record {
                record.write_all(&(bytes.len() as u16).to_le_bytes()).and_then(|()| record.write_all(bytes)).unwrap();
            }
            // A full buffer is a lost datagram.
            let _ = client.socket.send_to(bytes, transmit.endpoint.remote);
            if client.is_closed {
                client.dialled.insert(transmit.endpoint.remote);
            }
        }
        while let Some(event) = client.tunnel.poll_event() {
            if matches!(event, Event::HandshakeDone { .. }) {
                client.handshakes.push(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
                client.connected_us = Some(monotonic_us());
            }
        }
        let mut answers = 0;
        while let Some(packet) = client.tunnel.poll_tun() {
            if let Some(sent) = echo_reply(packet.packet()) {
                let now = self.start.elapsed();
                client.silence = client.silence.max(now.saturating_sub(client.answered));
                client.answered = now;
                self.rtts_ms.push(now.saturating_sub(sent).as_secs_f64() * 1e3);
                answers += 1;
            }
        }
        for _ in 0..answers.min(self.window) {
            self.ping(at);
        }
    }

    fn report(mut self) {
        let (answers, seconds) = (self.rtts_ms.len() as f64, self.traffic.as_secs_f64());
        println!("echoes_per_s {:.0}", answers / seconds);
        println!("echoes_mbit {:.1}", answers * self.size as f64 * 8.0 / seconds / 1e6);
        println!("echoes_lost {}", self.sent - answers as u64);
        println!("echoes_bytes {:.0}", answers * self.size as f64);
        print_percentiles("echo_ms", &mut self.rtts_ms);
        for client in &self.clients {
            for again in &client.handshakes[1.min(client.handshakes.len())..] {
                println!("again {:.3}", again.as_secs_f64());
            }
        }
    }
}

/// The time of the clock that all processes of the machine share.
fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

fn client(at: u32, server: PublicKey, remote: SocketAddr, epoll: i32) -> Client {
    let address = Ipv4Addr::from_bits(u32::from_be_bytes([10, 66, 0, 0]) + 256 + at);
    let socket = UdpSocket::bind((address, 5000)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: at.into() };
    // SAFETY: the event outlives the call.
    let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) };
    assert_eq!(result, 0, "epoll_ctl");
    let mut tunnel = Tunnel::new(Box::new(SystemRng), Timing::default());
    let mut peer = ConfigurePeer::new(server);
    peer.endpoint = Some(remote);
    peer.allowed_ips = vec!["0.0.0.0/0".parse().unwrap()];
    let private_key = Some(key_of(at));
    tunnel
        .configure(Now::default(), &ConfigureDevice { private_key, peers: vec![peer], ..ConfigureDevice::default() })
        .unwrap();
    tunnel.handle_up(Now::default());
    Client {
        tunnel,
        socket,
        handshakes: Vec::new(),
        connected_us: None,
        is_closed: false,
        dialled: HashSet::new(),
        answered: Duration::ZERO,
        silence: Duration::ZERO,
    }
}

fn echo_request(at: u32, inside: Ipv4Addr, size: usize, time: Duration) -> Vec<u8> {
    let mut packet = vec![0; size.max(36)];
    let len = packet.len() as u16;
    (packet[0], packet[8], packet[9], packet[20]) = (0x45, 64, 1, 8);
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[12..16].copy_from_slice(&inner_address(at).octets());
    packet[16..20].copy_from_slice(&inside.octets());
    packet[28..36].copy_from_slice(&(time.as_nanos() as u64).to_be_bytes());
    for (range, place) in [(0..20, 10), (20..packet.len(), 22)] {
        let sum = checksum(&packet[range]);
        packet[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// When the request was sent that this answers.
fn echo_reply(packet: &[u8]) -> Option<Duration> {
    let is_reply = packet.len() >= 36 && (packet[9], packet[20]) == (1, 0);
    let time = u64::from_be_bytes(packet.get(28..36)?.try_into().ok()?);
    is_reply.then(|| Duration::from_nanos(time))
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A key as `wg` writes it.
pub fn key_from_text(text: &str) -> [u8; 32] {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text.trim()).unwrap().try_into().unwrap()
}
