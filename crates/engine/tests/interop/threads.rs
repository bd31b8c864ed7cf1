//! Several threads for one device and one peer: order, counters, changes under load, the end.
//!
//! All engines here have four threads, whatever the machine. Load comes from a program that hands out trains of numbered datagrams
//! of one flow as fast as it can; the wire between the hosts loses nothing by itself and keeps the order.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wayleave_engine::{ConfigureDevice, ConfigurePeer, PrivateKey};

use crate::ends::{Engine, wait_for};
use crate::offload::{assert_clean, bulk, capture, check_tcp, check_udp, introduce};
use crate::{Namespace, needs_machine, pair, peer, ping, set_peer};

const DATAGRAM_BYTES: usize = 1300;
const TRAIN_DATAGRAMS: usize = 40;

fn engines() -> (Namespace, Namespace, Engine, Engine) {
    let (left, right) = pair();
    let a = Engine::start_threads(&left, "10.77.0.1/24", 4);
    let b = Engine::start_threads(&right, "10.77.0.2/24", 4);
    introduce((left, right, a, b))
}

/// Sends trains of numbered datagrams to port 7000 of a host until told to stop. Gives how many it sent.
fn send_trains(from: &Namespace, to: &str, stop: &AtomicBool) -> u32 {
    from.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((to, 7000)).unwrap();
        let (segment, len) = (DATAGRAM_BYTES as i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: the pointer and length are those of a live integer.
        let set = unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const segment).cast(), len)
        };
        assert_eq!(set, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
        let (mut number, mut train) = (0u32, vec![0; DATAGRAM_BYTES * TRAIN_DATAGRAMS]);
        while !stop.load(Ordering::Relaxed) {
            for datagram in train.chunks_exact_mut(DATAGRAM_BYTES) {
                datagram[..4].copy_from_slice(&number.to_be_bytes());
                number += 1;
            }
            // An interface that is gone or down for a moment is a loss like any other.
            let _ = socket.send(&train);
        }
        number
    })
}

/// Receives numbered datagrams until none comes for a while after `stop`. Gives how many came, and how many of them after a later one.
fn receive_numbers(host: &Namespace, stop: &AtomicBool) -> (u32, u32) {
    let socket = host.enter(|| UdpSocket::bind("0.0.0.0:7000").unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let (mut received, mut late, mut next, mut bytes) = (0, 0, 0, [0; 2048]);
    loop {
        match socket.recv(&mut bytes) {
            Ok(len) => {
                assert_eq!(len, DATAGRAM_BYTES);
                let number = u32::from_be_bytes(bytes[..4].try_into().unwrap());
                received += 1;
                late += u32::from(number < next);
                next = next.max(number + 1);
            }
            Err(_) if stop.load(Ordering::Relaxed) => return (received, late),
            Err(_) => {}
        }
    }
}

/// Loads the way from left to right while `act` runs; gives how many datagrams came and how many of them late.
fn while_loaded(left: &Namespace, right: &Namespace, act: impl FnOnce()) -> (u32, u32) {
    let (stop, sent) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive_numbers(right, &sent));
        let sender = scope.spawn(|| send_trains(left, "10.77.0.2", &stop));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap();
        sent.store(true, Ordering::Relaxed);
        let received = receiver.join().unwrap();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        received
    })
}

fn jobs(engine: &Engine) -> Vec<u64> {
    engine.device.describe().unwrap().jobs
}

#[test]
fn a_flow_keeps_its_order_while_all_threads_work_for_it() {
    needs_machine!();
    let (left, right, a, b) = engines();
    // What waits when the engines meet may be much, where the processors are taken.
    let before = (jobs(&a), jobs(&b));
    left.command("ping -q -n -W 10 -c 1 10.77.0.2");
    assert_eq!((jobs(&a), jobs(&b)), before, "a ping is too little to wake anybody");
    let (received, late) = while_loaded(&left, &right, || {
        let start = Instant::now();
        wait_for("all threads to have worked", || {
            let all: Vec<u64> = [jobs(&a), jobs(&b)].concat();
            start.elapsed() > Duration::from_secs(2) && all.iter().all(|jobs| *jobs > 10)
        });
    });
    assert!(received > 5000, "{received}");
    assert_eq!(late, 0, "of {received}");
    assert_clean(&a);
    let counters = assert_clean(&b);
    assert!(counters.rx_packets >= u64::from(received));
}

#[test]
fn bulk_arrives_unchanged_through_several_threads() {
    needs_machine!();
    let (left, right, a, b) = engines();
    let bytes = bulk();
    check_tcp(&left, &right, "10.77.0.2", &bytes);
    check_tcp(&right, &left, "fd77::1", &bytes);
    check_udp(&left, &right, "fd77::2", &[4, 64, 1372]);
    // Both ways at once.
    std::thread::scope(|scope| {
        scope.spawn(|| check_tcp(&left, &right, "10.77.0.2", &bytes));
        scope.spawn(|| check_tcp(&right, &left, "10.77.0.1", &bytes));
    });
    assert!(jobs(&a).iter().sum::<u64>() > 100 && jobs(&b).iter().sum::<u64>() > 100);
    assert_clean(&a);
    assert_clean(&b);
    let (ours, theirs) = (a.device.describe().unwrap(), b.device.describe().unwrap());
    assert_eq!(ours.peers[0].tx_bytes, theirs.peers[0].rx_bytes);
    assert_eq!(ours.peers[0].rx_bytes, theirs.peers[0].tx_bytes);
}

/// A socket that sends whole IPv4 packets, to say again what another said.
fn raw_socket(namespace: &Namespace) -> UdpSocket {
    namespace.enter(|| {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
        assert!(fd >= 0, "a raw socket: {}", std::io::Error::last_os_error());
        // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
        UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) })
    })
}

#[test]
fn replayed_and_forged_datagrams_amid_a_stream_are_dropped_and_counted() {
    needs_machine!();
    let (left, right, a, b) = engines();
    let captured = capture(&right);
    ping(&left, "10.77.0.2", 1);
    let mut said = vec![0; 2048];
    let said = loop {
        let len = captured.recv(&mut said).unwrap();
        // IPv4 and UDP headers without options, and a data message.
        if len > 60 && said[9] == 17 && said[12..16] == [10, 99, 0, 1] && said[28] == 4 {
            break &mut said[..len];
        }
    };
    // No checksum of UDP, or the kernel would drop what is forged.
    said[26..28].fill(0);
    let raw = raw_socket(&left);
    let (replayed, forged) = (500, 300);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                check_udp(&left, &right, "10.77.0.2", &[1372]);
            }
        });
        for number in 0..replayed + forged {
            said[50] ^= u8::from(number == replayed);
            raw.send_to(said, "10.99.0.2:0").unwrap();
            if number % 10 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        stop.store(true, Ordering::Relaxed);
        stream.join().unwrap();
    });
    let counters = b.device.describe().unwrap().counters;
    assert_eq!((counters.rx_replayed_data, counters.rx_bad_data), (replayed, forged));
    assert_eq!(counters.rx_packets, a.device.describe().unwrap().counters.tx_packets);
}

#[test]
fn changes_under_load_take_effect_at_once_and_disturb_nothing_else() {
    needs_machine!();
    let (left, right, a, b) = engines();
    let known = peer(a.public_key, None, &["10.77.0.1/32"]);
    let calls = peer(b.public_key, Some(&format!("10.99.0.2:{}", b.port())), &["10.77.0.2/32"]);
    let received = || b.device.describe().unwrap().counters.rx_packets;
    let wait_for_packets = || {
        let before = received();
        wait_for("packets", || received() > before + 1000);
    };
    let down_and_up = |host: &Namespace, engine: &Engine| {
        host.command(&format!("ip link set {} down", engine.name));
        host.command(&format!("ip link set {} up", engine.name));
    };
    let (_, late) = while_loaded(&left, &right, || {
        for round in 0..6 {
            wait_for_packets();
            set_peer(&b, ConfigurePeer { remove: true, ..ConfigurePeer::new(a.public_key) });
            let before = received();
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(received(), before, "nothing comes from a removed peer");
            set_peer(&a, ConfigurePeer { remove: true, ..ConfigurePeer::new(b.public_key) });
            let sent = || a.device.describe().unwrap().counters.tx_packets;
            let before = sent();
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(sent(), before, "nothing goes to a removed peer");
            if round % 2 == 0 {
                down_and_up(&right, &b);
            }
            // In this order, or the first initiation would be for nothing and the next five seconds away.
            set_peer(&b, known.clone());
            set_peer(&a, calls.clone());
            wait_for_packets();
            down_and_up(&left, &a);
        }
        wait_for_packets();
        let key = PrivateKey::new([0x77; 32]);
        set_peer(&b, peer(key.public_key(), None, &["10.77.0.1/32"]));
        a.device.configure(&ConfigureDevice { private_key: Some(key), ..ConfigureDevice::default() }).unwrap();
        wait_for_packets();
    });
    assert_eq!(late, 0);
    assert!(a.device.is_running() && b.device.is_running());
}

#[test]
fn a_device_under_load_moves_to_another_namespace_and_ends_with_all_its_threads() {
    needs_machine!();
    let (left, right, a, b) = engines();
    let threads =
        || std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok).filter(belongs_to_a_pool).count();
    let inner = Namespace::new();
    while_loaded(&left, &right, || {
        wait_for("the threads to start", || threads() >= 6);
        right.command(&format!("ip link set {} netns {}", b.name, inner.path()));
        inner.command(&format!("ip addr add 10.77.0.2/24 dev {}", b.name));
        inner.command(&format!("ip link set {} up", b.name));
        // No ping: the trains overflow the queue of a's interface, and nine answers in ten with it.
        let arrived = inner.enter(|| UdpSocket::bind("0.0.0.0:7000").unwrap());
        arrived.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        wait_for("a thousand datagrams in a row", || {
            assert!(b.device.initiate(&a.public_key).unwrap());
            (0..1000).all(|_| matches!(arrived.recv(&mut [0; 2048]), Ok(DATAGRAM_BYTES)))
        });
        inner.command(&format!("ip link del {}", b.name));
        wait_for("the device to end", || !b.device.is_running());
        a.device.stop();
    });
}

/// Whether a thread of this process is one of those that engines start.
fn belongs_to_a_pool(task: &std::fs::DirEntry) -> bool {
    std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("wayleave-eng/"))
}
