//! The engine against itself: what a user sees of a device that is not the protocol.
//!
//! Counters and events, source addresses of answers, ports and marks, up and down, moving and deleting the interface, and the
//! end of the program. Two engines, the left one knowing where the right one is. `routes`: with two ways between them.

mod routes;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use wayleave_engine::{ConfigureDevice, ConfigurePeer, DeviceError, Event, Timing, uapi};

use crate::ends::{Engine, wait_for};
use crate::net::unique_name;
use crate::{needs_machine, pair, peer, ping, ping_until_answered, set_peer};

fn two() -> (crate::Namespace, crate::Namespace, Engine, Engine) {
    let (left, right) = pair();
    let a = Engine::start(&left, "10.77.0.1/24", Timing::default());
    let b = Engine::start(&right, "10.77.0.2/24", Timing::default());
    set_peer(&b, peer(a.public_key, None, &["10.77.0.1/32"]));
    set_peer(&a, peer(b.public_key, Some(&format!("10.99.0.2:{}", b.port())), &["10.77.0.2/32"]));
    (left, right, a, b)
}

#[test]
fn two_engines_talk_over_v4_and_v6_and_count_exactly() {
    needs_machine!();
    let (left, right, a, b) = two();
    let mut pings = 0;
    for outer in ["10.99.0.2", "[fd99::2]"] {
        set_peer(&a, peer(b.public_key, Some(&format!("{outer}:{}", b.port())), &["10.77.0.2/32"]));
        pings += ping(&left, "10.77.0.2", 5) + ping(&right, "10.77.0.1", 5);
    }
    // On a busy machine more are sent than were asked for, and the last answers are still under way.
    let counted = || (a.device.describe().unwrap(), b.device.describe().unwrap());
    wait_for("every ping to be counted on both sides", || {
        [counted().0, counted().1].iter().all(|at| (at.counters.rx_packets, at.counters.tx_packets) == (pings, pings))
    });
    let (at_a, at_b) = counted();
    assert_eq!(at_a.counters.handshakes, 1);
    // Pings each way of 84 bytes, padded to 96, in 32 bytes of header and tag; the initiation; the response.
    assert_eq!((at_a.peers[0].tx_bytes, at_a.peers[0].rx_bytes), (pings * 128 + 148, pings * 128 + 92));
    assert_eq!((at_b.peers[0].rx_bytes, at_b.peers[0].tx_bytes), (pings * 128 + 148, pings * 128 + 92));
}

#[test]
fn a_program_learns_at_once_that_nobody_is_there() {
    needs_machine!();
    let (left, _right, a, b) = two();
    left.command(&format!("ip addr add fd77::1/64 dev {} nodad", a.name));
    set_peer(&a, peer(wayleave_engine::PublicKey([9; 32]), None, &["10.77.0.7/32"]));
    for nobody in ["10.77.0.7", "10.77.0.9", "fd77::9"] {
        let address = SocketAddr::new(nobody.parse().unwrap(), 9);
        let connected = left.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(10)));
        assert_eq!(connected.unwrap_err().raw_os_error(), Some(libc::EHOSTUNREACH), "{nobody}");
    }
    assert!(a.device.describe().unwrap().counters.tx_no_peer >= 3);
    drop(b);
}

#[test]
fn events_tell_of_handshakes_endpoints_and_unknown_sessions() {
    needs_machine!();
    let (left, right, a, b) = two();
    ping(&left, "10.77.0.2", 1);
    let events = b.device.events();
    let endpoint: SocketAddr = format!("10.99.0.1:{}", a.port()).parse().unwrap();
    let first = events.wait(Duration::from_secs(5)).unwrap();
    let expected = Event::EndpointChanged { peer: a.public_key, old: None, new: endpoint, timestamp_sent: None };
    assert_eq!(first, expected);
    let second = events.wait(Duration::from_secs(5)).unwrap();
    assert!(
        matches!(second, Event::HandshakeDone { peer, endpoint: at, timestamp: Some(_) } if peer == a.public_key && at == Some(endpoint))
    );
    let answers = events.wait(Duration::from_secs(5)).unwrap();
    assert_eq!(answers, Event::SendingBegins { peer: a.public_key });
    let mut data = [0; 32];
    data[0] = 4;
    data[4] = 9;
    let port = b.port();
    left.enter(|| UdpSocket::bind("10.99.0.1:0").unwrap().send_to(&data, ("10.99.0.2", port)).unwrap());
    let last = events.wait(Duration::from_secs(5)).unwrap();
    assert!(
        matches!(last, Event::UnknownSession { index: 9, local: Some(local), .. } if local.to_string() == "10.99.0.2")
    );
    assert_eq!(events.poll(), None);
    drop(right);
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    needs_machine!();
    let (left, right, a, b) = two();
    right.command("ip addr add 10.99.0.77/24 dev out");
    right.command("ip addr add fd99::77/64 dev out nodad");
    for asked in ["10.99.0.77", "[fd99::77]"] {
        let endpoint = format!("{asked}:{}", b.port());
        set_peer(&a, peer(b.public_key, Some(&endpoint), &["10.77.0.2/32"]));
        ping(&left, "10.77.0.2", 3);
        let seen = a.device.describe().unwrap().peers[0].endpoint.unwrap().to_string();
        assert_eq!(seen, endpoint, "an answer from another address would have moved the endpoint");
    }
    right.command("ip addr del fd99::77/64 dev out");
    ping_until_answered(&right, "10.77.0.1");
    let seen = a.device.describe().unwrap().peers[0].endpoint.unwrap().to_string();
    assert_eq!(seen, format!("[fd99::2]:{}", b.port()), "a lost address is left for another");
}

#[test]
fn port_and_mark_change_on_a_live_device_and_a_taken_port_changes_nothing() {
    needs_machine!();
    let (left, right, a, b) = two();
    ping(&left, "10.77.0.2", 1);
    let change = ConfigureDevice { listen_port: Some(4500), fwmark: Some(7), ..ConfigureDevice::default() };
    a.device.configure(&change).unwrap();
    ping(&left, "10.77.0.2", 3);
    ping(&right, "10.77.0.1", 3);
    assert_eq!(b.device.describe().unwrap().peers[0].endpoint.unwrap().port(), 4500);
    let taken = left.enter(|| UdpSocket::bind("0.0.0.0:4600").unwrap());
    let change = ConfigureDevice {
        listen_port: Some(4600),
        fwmark: Some(8),
        peers: vec![ConfigurePeer::new(wayleave_engine::PublicKey([7; 32]))],
        ..ConfigureDevice::default()
    };
    assert!(matches!(a.device.configure(&change), Err(DeviceError::Listen { port: 4600, .. })));
    let description = a.device.describe().unwrap();
    assert_eq!((description.listen_port, description.fwmark, description.peers.len()), (4500, 7, 1));
    ping(&left, "10.77.0.2", 3);
    drop(taken);
    assert_eq!(b.device.describe().unwrap().counters.handshakes, 1);
}

#[test]
fn a_device_that_is_down_has_no_port_and_comes_back() {
    needs_machine!();
    let (left, right, a, b) = two();
    ping(&left, "10.77.0.2", 1);
    let port = b.port();
    right.command(&format!("ip link set {} down", b.name));
    wait_for("the port to be free", || right.enter(|| UdpSocket::bind(("0.0.0.0", port))).is_ok());
    assert!(!left.output("ping -q -n -W 1 -c 1 10.77.0.2").status.success());
    right.command(&format!("ip link set {} up", b.name));
    wait_for("the port to be taken", || right.enter(|| UdpSocket::bind(("0.0.0.0", port))).is_err());
    ping_until_answered(&right, "10.77.0.1");
    assert_eq!(b.port(), port);
    drop(a);
}

#[test]
fn the_interface_may_be_moved_away_from_its_sockets() {
    needs_machine!();
    let (left, _right, a, b) = two();
    ping(&left, "10.77.0.2", 1);
    let inner = crate::Namespace::new();
    left.command(&format!("ip link set {} netns {}", a.name, inner.path()));
    inner.command(&format!("ip addr add 10.77.0.1/24 dev {}", a.name));
    inner.command(&format!("ip link set {} up", a.name));
    ping_until_answered(&inner, "10.77.0.2");
    assert!(a.device.is_running());
    drop(b);
}

#[test]
fn the_device_ends_with_its_interface() {
    needs_machine!();
    let (left, _right, a, _b) = two();
    left.command(&format!("ip link del {}", a.name));
    wait_for("the device to end", || !a.device.is_running());
    assert!(matches!(a.device.describe(), Err(DeviceError::Ended)));
    assert!(!uapi::default_path(&a.name).exists());
}

#[test]
fn the_program_ends_on_a_signal_or_with_its_interface_and_cleans_up() {
    needs_machine!();
    for by_signal in [true, false] {
        let namespace = crate::Namespace::new();
        let name = unique_name();
        let path = uapi::default_path(&name);
        thread::scope(|scope| {
            let (send_thread, thread_id) = std::sync::mpsc::channel();
            let engine = scope.spawn(|| {
                let (name, namespace) = (&name, &namespace);
                namespace.enter(move || {
                    // SAFETY: takes nothing, can't fail.
                    send_thread.send(unsafe { libc::pthread_self() }).unwrap();
                    wayleave_engine::run(name)
                })
            });
            let thread_id = thread_id.recv().unwrap();
            wait_for("the socket", || path.exists());
            namespace.command(&format!("wg show {name}"));
            if by_signal {
                // SAFETY: the thread runs until it is told to end, which is right here.
                unsafe { libc::pthread_kill(thread_id, libc::SIGTERM) };
            } else {
                namespace.command(&format!("ip link del {name}"));
            }
            engine.join().unwrap().unwrap();
        });
        assert!(!path.exists());
        assert!(!namespace.output(&format!("ip link show {name}")).status.success());
    }
}
