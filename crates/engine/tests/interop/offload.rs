//! Large packets and trains for real: bulk both ways arrives unchanged, with each offload and without.
//!
//! What is sent is compared byte by byte by its receiver. The other end is this engine; `scenarios` does the same with the others,
//! of which some have no offloads, and so send and want plain packets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use wayleave_engine::{Counters, Offloads, Timing};

use crate::ends::{Engine, wait_for};
use crate::{Namespace, needs_machine, pair, peer, ping, ping_until_answered, set_peer};

const BULK_BYTES: usize = 24 << 20;
/// Whoever waits for longer waits for ever: a stream of a test takes seconds.
const STUCK: Duration = Duration::from_secs(60);

/// Bytes in which every misplaced one shows.
pub fn bulk() -> Vec<u8> {
    let mut state = 1u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(BULK_BYTES).collect()
}

/// Sends by TCP from one host to the address of the other and compares.
pub fn check_tcp(from: &Namespace, to: &Namespace, address: &str, bytes: &[u8]) {
    let listener = to.enter(|| TcpListener::bind((address, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let received = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive_all(&listener));
        let to = SocketAddr::new(address.parse().unwrap(), port);
        let mut stream = from.enter(|| TcpStream::connect_timeout(&to, STUCK).unwrap());
        stream.set_write_timeout(Some(STUCK)).unwrap();
        // Of odd sizes, so that segments end everywhere.
        for chunk in bytes.chunks(100_003) {
            stream.write_all(chunk).unwrap();
        }
        drop(stream);
        receiver.join().unwrap()
    });
    assert!(received == bytes, "{} of {} bytes arrived, or not these", received.len(), bytes.len());
}

/// All that the next caller says. Whether or not anybody calls, it ends.
fn receive_all(listener: &TcpListener) -> Vec<u8> {
    listener.set_nonblocking(true).unwrap();
    let mut caller = None;
    wait_for("a caller", || {
        caller = listener.accept().ok();
        caller.is_some()
    });
    let (mut stream, _) = caller.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(STUCK)).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    received
}

/// Sends a thousand numbered datagrams of each length, in bursts small enough that none is lost, and expects all in order.
pub fn check_udp(from: &Namespace, to: &Namespace, address: &str, lens: &[usize]) {
    let in_order = |burst: &[u32]| assert!(burst.is_sorted(), "out of order: {burst:?}");
    check_udp_bursts(from, to, address, lens, &in_order);
}

/// The same, with bursts judged by their numbers in the order in which they came.
///
/// A packet between two hosts waits at the processor that sent it. In an emulated machine one processor may stand still while the
/// other goes on, and what a thread sends after it was moved overtakes what it sent before; engines have no part in that.
pub fn check_udp_bursts(from: &Namespace, to: &Namespace, address: &str, lens: &[usize], judge: &dyn Fn(&[u32])) {
    let receiver = to.enter(|| UdpSocket::bind((address, 0)).unwrap());
    receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let any = if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let sender = from.enter(|| UdpSocket::bind(any).unwrap());
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let mut received = vec![0; 65_536];
    for &len in lens {
        for burst in 0..50u32 {
            let numbers = burst * 20..burst * 20 + 20;
            for number in numbers.clone() {
                let mut datagram = vec![number as u8; len];
                datagram[..4].copy_from_slice(&number.to_be_bytes());
                sender.send(&datagram).unwrap();
            }
            let mut arrived = Vec::new();
            for _ in numbers.clone() {
                let got = receiver.recv(&mut received);
                if got.as_ref().ok() != Some(&len) {
                    let [sent, seen] = [from, to].map(traffic);
                    panic!("{got:?} of {numbers:?} of {len} bytes, after {arrived:?}\nsender {sent}\nreceiver {seen}");
                }
                let number = u32::from_be_bytes(*received.first_chunk().unwrap());
                assert!(received[4..len].iter().all(|byte| *byte == number as u8));
                arrived.push(number);
            }
            judge(&arrived);
            arrived.sort_unstable();
            assert!(arrived.iter().copied().eq(numbers.clone()), "of {numbers:?} there came {arrived:?}");
        }
    }
}

/// What a host's kernel has counted, to tell where something was lost.
fn traffic(host: &Namespace) -> String {
    let counted =
        host.output("cat /proc/thread-self/net/snmp /proc/thread-self/net/snmp6 /proc/thread-self/net/dev").stdout;
    let counted = String::from_utf8_lossy(&counted).into_owned();
    counted.lines().filter(|line| !line.ends_with("\t0")).collect::<Vec<_>>().join("\n")
}

fn engines(at_left: Offloads, at_right: Offloads) -> (Namespace, Namespace, Engine, Engine) {
    let (left, right) = pair();
    let a = Engine::start_with(&left, "10.77.0.1/24", Timing::default(), at_left);
    let b = Engine::start_with(&right, "10.77.0.2/24", Timing::default(), at_right);
    introduce((left, right, a, b))
}

/// Tells two engines of each other, and waits until they have met.
pub fn introduce(
    (left, right, a, b): (Namespace, Namespace, Engine, Engine),
) -> (Namespace, Namespace, Engine, Engine) {
    left.command(&format!("ip addr add fd77::1/64 dev {} nodad", a.name));
    right.command(&format!("ip addr add fd77::2/64 dev {} nodad", b.name));
    set_peer(&b, peer(a.public_key, None, &["10.77.0.1/32", "fd77::1/128"]));
    set_peer(&a, peer(b.public_key, Some(&format!("10.99.0.2:{}", b.port())), &["10.77.0.2/32", "fd77::2/128"]));
    ping(&left, "10.77.0.2", 1);
    (left, right, a, b)
}

/// Nothing may have been dropped for a wrong reason.
pub fn assert_clean(engine: &Engine) -> Counters {
    let counters = engine.device.describe().unwrap().counters;
    let wrong = [
        counters.rx_malformed,
        counters.rx_bad_data,
        counters.rx_replayed_data,
        counters.rx_not_ip,
        counters.rx_source_not_allowed,
        counters.rx_tun_errors,
        counters.tx_not_ip,
        counters.tx_socket_errors,
    ];
    assert_eq!(wrong, [0; 8], "{counters:?}");
    counters
}

#[test]
fn bulk_arrives_unchanged_with_each_offload_and_without() {
    needs_machine!();
    let bytes = bulk();
    let without = |change: fn(&mut Offloads)| {
        let mut offloads = Offloads::ALL;
        change(&mut offloads);
        offloads
    };
    for (at_left, at_right) in [
        (Offloads::ALL, Offloads::ALL),
        (Offloads::NONE, Offloads::ALL),
        (Offloads::NONE, Offloads::NONE),
        (without(|o| o.tun = false), without(|o| o.uso = false)),
        (without(|o| o.gso = false), without(|o| o.gro = false)),
    ] {
        let (left, right, a, b) = engines(at_left, at_right);
        check_tcp(&left, &right, "10.77.0.2", &bytes);
        check_tcp(&right, &left, "fd77::1", &bytes);
        check_udp(&left, &right, "fd77::2", &[4, 64, 1000, 1372]);
        check_udp(&right, &left, "10.77.0.1", &[5, 63, 1001, 1373, 5000]);
        let (at_a, at_b) = (assert_clean(&a), assert_clean(&b));
        assert_eq!((at_a.tx_packets, at_b.tx_packets), (at_b.rx_packets, at_a.rx_packets));
        let (ours, theirs) = (a.device.describe().unwrap(), b.device.describe().unwrap());
        assert_eq!(ours.peers[0].tx_bytes, theirs.peers[0].rx_bytes);
        assert_eq!(ours.peers[0].rx_bytes, theirs.peers[0].tx_bytes);
    }
}

#[test]
fn an_interface_made_by_its_owner_without_virtio_headers_works() {
    needs_machine!();
    let (left, right) = pair();
    let a = Engine::start_plain(&left, "10.77.0.1/24");
    let b = Engine::start(&right, "10.77.0.2/24", Timing::default());
    set_peer(&b, peer(a.public_key, None, &["10.77.0.1/32"]));
    set_peer(&a, peer(b.public_key, Some(&format!("10.99.0.2:{}", b.port())), &["10.77.0.2/32"]));
    let bytes = bulk();
    check_tcp(&left, &right, "10.77.0.2", &bytes);
    check_tcp(&right, &left, "10.77.0.1", &bytes);
    assert_clean(&a);
    assert_clean(&b);
}

#[test]
fn the_mtu_may_change_under_traffic() {
    needs_machine!();
    let (left, right, a, b) = engines(Offloads::ALL, Offloads::ALL);
    let bytes = bulk();
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            check_tcp(&left, &right, "10.77.0.2", &bytes);
            check_tcp(&right, &left, "10.77.0.1", &bytes);
        });
        for mtu in [1280, 1380, 1420, 576, 1420, 1300].iter().cycle() {
            left.command(&format!("ip link set {} mtu {mtu}", a.name));
            right.command(&format!("ip link set {} mtu {mtu}", b.name));
            if traffic.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_clean(&a);
    assert_clean(&b);
}

#[test]
fn a_path_too_narrow_for_trains_gets_fragments() {
    needs_machine!();
    let (left, right, a, b) = engines(Offloads::ALL, Offloads::ALL);
    left.command("ip link set out mtu 1400");
    right.command("ip link set out mtu 1400");
    check_tcp(&left, &right, "10.77.0.2", &bulk()[..4 << 20]);
    check_udp(&right, &left, "10.77.0.1", &[1372]);
    assert_clean(&a);
    assert_clean(&b);
}

#[test]
fn a_flood_of_small_packets_is_counted_to_the_last() {
    needs_machine!();
    let (left, right, a, b) = engines(Offloads::ALL, Offloads::ALL);
    let receiver = right.enter(|| UdpSocket::bind("10.77.0.2:0").unwrap());
    let port = receiver.local_addr().unwrap().port();
    left.enter(|| {
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..200_000u32 {
            let len = 4 + number as usize % 3;
            let _ = sender.send_to(&[&number.to_be_bytes()[..], &[0; 3]].concat()[..len], ("10.77.0.2", port));
        }
    });
    // Behind the flood, if there was still room for it.
    ping_until_answered(&left, "10.77.0.2");
    let (at_a, at_b) = (assert_clean(&a), assert_clean(&b));
    // The sockets between may drop, and nothing else; what was sent and received is counted in bytes too.
    assert!(at_a.tx_packets > 1000 && at_b.rx_packets > 1000 && at_b.rx_packets <= at_a.tx_packets);
}

/// Captures the outer packets that arrive at a host, for their TOS.
pub fn capture(namespace: &Namespace) -> UdpSocket {
    let socket = namespace.enter(|| {
        let protocol = i32::from((libc::ETH_P_IP as u16).to_be());
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol) };
        assert!(fd >= 0, "AF_PACKET: {}", std::io::Error::last_os_error());
        // SAFETY: the kernel has just returned this descriptor, and nobody else knows it.
        UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) })
    });
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket
}

/// The TOS of each message that went to 10.99.0.2, with the message's type.
fn tos_of_messages(captured: &UdpSocket) -> Vec<(u8, u8)> {
    let mut bytes = vec![0; 65_536];
    std::iter::from_fn(|| captured.recv(&mut bytes).ok().map(|len| bytes[..len].to_vec()))
        .filter(|packet| packet.len() > 28 && packet[9] == 17 && packet[16..20] == [10, 99, 0, 2])
        .map(|packet| (packet[28], packet[1]))
        .collect()
}

#[test]
fn congestion_bits_go_outside_and_handshakes_have_precedence() {
    needs_machine!();
    let (left, right, _a, _b) = engines(Offloads::ALL, Offloads::ALL);
    let captured = capture(&right);
    // DSCP 0x2e, which is not copied, with each of the congestion bits, which are.
    for tos in [0xb8, 0xb9, 0xba, 0xbb] {
        left.command(&format!("ping -q -n -c 1 -W 2 -Q {tos} 10.77.0.2"));
    }
    assert_eq!(tos_of_messages(&captured), [(4, 0), (4, 1), (4, 2), (4, 3)]);

    let (left, right) = pair();
    let captured = capture(&right);
    let a = Engine::start(&left, "10.77.0.1/24", Timing::default());
    let b = Engine::start(&right, "10.77.0.2/24", Timing::default());
    set_peer(&b, peer(a.public_key, None, &["10.77.0.1/32"]));
    set_peer(&a, peer(b.public_key, Some(&format!("10.99.0.2:{}", b.port())), &["10.77.0.2/32"]));
    ping(&left, "10.77.0.2", 1);
    assert_eq!(tos_of_messages(&captured)[0], (1, 0x88));
}
