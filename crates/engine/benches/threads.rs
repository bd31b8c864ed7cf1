//! One engine that has the machine almost to itself: how fast it goes in each direction with one thread and with several.
//!
//! Out: a program hands out superpackets of UDP as fast as the interface takes them, and what the engine sends falls into nothing
//! behind the wire. In: what another engine has sealed is recorded, then played from memory, and the packets end in a socket that
//! nobody reads. The program and the player cost about a fifth of what the engine does. Prints medians and asserts nothing. Needs root.
//!
//! `cargo bench -p wayleave-engine --bench threads`; numbers of threads may be named behind `--`.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(dead_code, reason = "what the tests need of namespaces is more")]

#[path = "../tests/interop/net.rs"]
mod net;

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net::{Namespace, join, unique_name};
use wayleave_engine::noise::cipher::TransportKey;
use wayleave_engine::{ConfigureDevice, ConfigurePeer, Device, DeviceOptions, PrivateKey, PublicKey, Tun};

/// Datagrams of one superpacket, and the bytes of each: as TCP has them at an MTU of 1420.
const TRAIN_DATAGRAMS: usize = 46;
const DATAGRAM_BYTES: usize = 1392;
const ROUNDS: usize = 5;
const SECONDS_OUT: u64 = 2;
/// Recorded for the way in: a third of a second.
const RECORDED_TRAINS: usize = 2500;

fn main() {
    let named: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let numbers = if named.is_empty() { vec![1, 2, 4] } else { named };
    println!("sealing one packet of 1420 bytes: {:.2} us", seal_us());
    println!("{:<10}{:>9}{:>12}{:>16}  CPU of each thread, us for 64 KB", "direction", "threads", "Mbit/s", "CPU s/GB");
    let mut runs: Vec<(&str, usize, Vec<Run>)> = Vec::new();
    for round in 0..ROUNDS {
        for &threads in &numbers {
            for (direction, run) in [("out", outward(threads)), ("in", inward(threads))] {
                match runs.iter_mut().find(|(name, number, _)| (*name, *number) == (direction, threads)) {
                    Some((_, _, all)) => all.push(run),
                    None => runs.push((direction, threads, vec![run])),
                }
            }
        }
        eprintln!("round {} of {ROUNDS}", round + 1);
    }
    runs.sort_by_key(|(direction, threads, _)| (std::cmp::Reverse(*direction), *threads));
    for (direction, threads, mut all) in runs {
        all.sort_by(|one, other| one.mbit.total_cmp(&other.mbit));
        let run = &all[all.len() / 2];
        let shares: Vec<String> = run.cpu.iter().map(|(name, us)| format!("{name} {us:.1}")).collect();
        println!("{direction:<10}{threads:>9}{:>12.0}{:>16.3}  {}", run.mbit, run.cpu_s_per_gb(), shares.join(", "));
    }
}

/// What a run found.
struct Run {
    mbit: f64,
    /// Of each thread of the engine, microseconds for 64 KB.
    cpu: Vec<(String, f64)>,
}

impl Run {
    fn new(bytes: u64, took: Duration, cpu: Vec<(String, u64)>) -> Run {
        let blocks = bytes as f64 / 65_536.0;
        let cpu = cpu.into_iter().map(|(name, ns)| (name, ns as f64 / 1000.0 / blocks)).collect();
        Run { mbit: bytes as f64 * 8.0 / 1e6 / took.as_secs_f64(), cpu }
    }

    fn cpu_s_per_gb(&self) -> f64 {
        self.cpu.iter().map(|(_, us)| us).sum::<f64>() / 1e6 / (65_536.0 / 1e9)
    }
}

fn seal_us() -> f64 {
    let (key, mut packet) = (TransportKey::new(&[7; 32]), vec![1; 1420]);
    let start = Instant::now();
    for counter in 0..200_000 {
        std::hint::black_box(key.seal(counter, &mut packet));
    }
    start.elapsed().as_secs_f64() * 1e6 / 200_000.0
}

/// Two hosts with an engine each, that have met; the one to measure has `threads` threads.
struct Ends {
    left: Namespace,
    right: Namespace,
    a: (Device, PublicKey),
    b: (Device, PublicKey),
}

fn ends(threads_left: usize, threads_right: usize) -> Ends {
    let (left, right) = (Namespace::new(), Namespace::new());
    join(&left, &right);
    let a = engine(&left, 1, threads_left);
    let b = engine(&right, 2, threads_right);
    configure(&b.0, a.1, None, "10.77.0.1/32");
    let endpoint = format!("10.99.0.2:{}", b.0.describe().unwrap().listen_port);
    configure(&a.0, b.1, Some(&endpoint), "10.77.0.2/32");
    left.command("ping -q -n -W 2 -c 2 10.77.0.2");
    Ends { left, right, a, b }
}

fn engine(namespace: &Namespace, host: u8, threads: usize) -> (Device, PublicKey) {
    let name = unique_name();
    let device = namespace.enter(|| {
        let mut options = DeviceOptions::new(Tun::create(&name).unwrap());
        options.threads = threads;
        Device::start(options).unwrap()
    });
    let key = PrivateKey::new([host; 32]);
    let public_key = key.public_key();
    device.configure(&ConfigureDevice { private_key: Some(key), ..ConfigureDevice::default() }).unwrap();
    namespace.command(&format!("ip addr add 10.77.0.{host}/24 dev {name}"));
    namespace.command(&format!("ip link set {name} mtu 1420 up"));
    while device.describe().unwrap().listen_port == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    (device, public_key)
}

fn configure(device: &Device, key: PublicKey, endpoint: Option<&str>, allowed: &str) {
    let mut peer = ConfigurePeer::new(key);
    peer.endpoint = endpoint.map(|endpoint| endpoint.parse().unwrap());
    peer.allowed_ips = vec![allowed.parse().unwrap()];
    device.configure(&ConfigureDevice { peers: vec![peer], ..ConfigureDevice::default() }).unwrap();
}

/// Sends what the program hands out, into nothing.
fn outward(threads: usize) -> Run {
    let ends = ends(threads, 1);
    let Ends { left, a, .. } = &ends;
    // Frames for somebody else fall to the ground on the other side.
    left.command("ip neigh replace 10.99.0.2 lladdr 02:00:00:00:00:99 dev out nud permanent");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| left.enter(|| send_trains(&stop)));
        std::thread::sleep(Duration::from_millis(200));
        let (cpu, sent, start) = (cpu_ns(), sent_bytes(&a.0), Instant::now());
        std::thread::sleep(Duration::from_secs(SECONDS_OUT));
        let (cpu, bytes) = (difference(&cpu, cpu_ns()), sent_bytes(&a.0) - sent);
        let run = Run::new(bytes, start.elapsed(), cpu);
        stop.store(true, Ordering::Relaxed);
        run
    })
}

fn send_trains(stop: &AtomicBool) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("10.77.0.2:7000").unwrap();
    set_segment(&socket, DATAGRAM_BYTES);
    let train = vec![0; DATAGRAM_BYTES * TRAIN_DATAGRAMS];
    while !stop.load(Ordering::Relaxed) {
        socket.send(&train).unwrap();
    }
}

/// Takes in what was recorded before.
fn inward(threads: usize) -> Run {
    let ends = ends(1, threads);
    let Ends { left, right, a, b } = &ends;
    let sink = right.enter(|| UdpSocket::bind("10.77.0.2:7000").unwrap());
    let recorder = right.enter(|| UdpSocket::bind("10.99.0.2:9").unwrap());
    recorder.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    configure(&a.0, b.1, Some("10.99.0.2:9"), "10.77.0.2/32");
    let trains = record(left, &recorder);
    let played: u64 = trains.iter().map(|train| train.len() as u64).sum();
    let port = b.0.describe().unwrap().listen_port;
    let (cpu, before, start) = (cpu_ns(), received_bytes(&b.0), Instant::now());
    left.enter(|| {
        let socket = UdpSocket::bind("10.99.0.1:0").unwrap();
        socket.connect(("10.99.0.2", port)).unwrap();
        set_segment(&socket, DATAGRAM_BYTES + 28 + 32);
        for train in &trains {
            socket.send(train).unwrap();
        }
    });
    // What waits in the socket belongs to it.
    let (mut bytes, mut took) = (0, Duration::ZERO);
    while received_bytes(&b.0) - before > bytes {
        (bytes, took) = (received_bytes(&b.0) - before, start.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(sink);
    assert!(bytes > played / 20, "{bytes} of {played}");
    Run::new(bytes, took, difference(&cpu, cpu_ns()))
}

/// Has the left engine seal trains of datagrams, and keeps what comes of them.
fn record(left: &Namespace, recorder: &UdpSocket) -> Vec<Vec<u8>> {
    let source = left.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    source.connect("10.77.0.2:7000").unwrap();
    set_segment(&source, DATAGRAM_BYTES);
    let train = vec![0; DATAGRAM_BYTES * TRAIN_DATAGRAMS];
    let mut datagram = vec![0; 2048];
    (0..RECORDED_TRAINS)
        .map(|_| {
            source.send(&train).unwrap();
            let mut sealed = Vec::new();
            for _ in 0..TRAIN_DATAGRAMS {
                let len = recorder.recv(&mut datagram).unwrap();
                sealed.extend_from_slice(&datagram[..len]);
            }
            sealed
        })
        .collect()
}

fn set_segment(socket: &UdpSocket, bytes: usize) {
    let (segment, len) = (bytes as i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the pointer and length are those of a live integer.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const segment).cast(), len)
    };
    assert_eq!(set, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
}

fn sent_bytes(device: &Device) -> u64 {
    device.describe().unwrap().peers[0].tx_bytes
}

fn received_bytes(device: &Device) -> u64 {
    device.describe().unwrap().peers[0].rx_bytes
}

/// Nanoseconds of processor that each thread of an engine has used so far. Threads of equal name are added.
fn cpu_ns() -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok) {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let (name, used) = (read("comm").trim().to_owned(), read("schedstat"));
        let used = used.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        match all.iter_mut().find(|(known, _)| *known == name) {
            _ if !name.starts_with("wayleave-eng") => {}
            Some((_, sum)) => *sum += used,
            None => all.push((name, used)),
        }
    }
    all.sort();
    all
}

fn difference(before: &[(String, u64)], after: Vec<(String, u64)>) -> Vec<(String, u64)> {
    let start = |name: &str| before.iter().find(|(known, _)| known == name).map_or(0, |(_, ns)| *ns);
    after
        .into_iter()
        .map(|(name, ns)| {
            let start = start(&name);
            (name, ns - start)
        })
        .collect()
}
