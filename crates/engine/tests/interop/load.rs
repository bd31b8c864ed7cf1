//! Floods of forged initiations: cookies in both directions, and traffic that goes on meanwhile.
//!
//! The flood comes from the left host with valid first MACs, as from an attacker who knows the public key. A real handshake has
//! to get through it, which takes a cookie and so a second initiation.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wayleave_engine::noise::cookie::PeerMacs;
use wayleave_engine::{Counters, Monotonic, PublicKey, Timing};

use crate::ends::{Engine, wait_for};
use crate::others::{Kind, Other};
use crate::{Namespace, pair, peer, ping, set_peer};

/// Messages that may wait when an engine begins to answer with cookies (`HANDSHAKES_UNDER_LOAD`).
const WAITING_MAX: u64 = 1024;
/// Messages of the flood that may wait in the engine's socket. It has room for twenty thousand, which an emulated machine, at 800 a
/// second, takes half a minute for: then the handshake is done, and no ping is answered within a second.
const IN_SOCKET_MAX: u64 = 300;

/// Sends initiations with a valid first MAC and nothing else valid until told to stop; counts the cookies that answer them.
/// `burst` in each millisecond, or somewhat more, as long as it may be so many (`goes_on`). An engine built without optimisation
/// manages about 8 a millisecond; beyond that the socket's buffer decides who gets in, and not the cookies that are tested here.
fn flood(
    namespace: &Namespace,
    key: PublicKey,
    to: SocketAddr,
    (burst, goes_on): (u32, &(dyn Fn(u64) -> bool + Sync)),
    (stop, cookies): (&AtomicBool, &AtomicU64),
) {
    namespace.enter(|| {
        let socket = UdpSocket::bind("10.99.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut macs = PeerMacs::new(&key);
        let (mut message, mut reply) = ([0; 148], [0; 256]);
        message[0] = 1;
        for round in 0u32.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            message[8..12].copy_from_slice(&round.to_le_bytes());
            macs.sign(Monotonic::default(), &mut message);
            message[132..].fill(0);
            let _ = socket.send_to(&message, to);
            let mut waits = round % burst == 0;
            while waits && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
                waits = round % (8 * burst) == 0 && !goes_on(u64::from(round));
            }
            while let Ok(64) = socket.recv(&mut reply) {
                cookies.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
}

/// Floods the host 10.99.0.2 while `act` runs; gives the number of cookies sent.
fn while_flooded(
    namespace: &Namespace,
    (key, port): (PublicKey, u16),
    pace: (u32, &(dyn Fn(u64) -> bool + Sync)),
    act: impl FnOnce(),
) -> u64 {
    let (stop, cookies) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| flood(namespace, key, SocketAddr::from(([10, 99, 0, 2], port)), pace, (&stop, &cookies)));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    cookies.into_inner()
}

/// Pings until there is an answer; a cookie costs one retransmission of five seconds, and the flood may fill the socket.
fn ping_through(namespace: &Namespace) -> Duration {
    let start = Instant::now();
    while !namespace.output("ping -q -n -W 1 -c 1 10.77.0.2").status.success() {
        assert!(start.elapsed() < Duration::from_secs(60), "no handshake in a minute of flood");
    }
    start.elapsed()
}

pub fn the_other_gets_through_to_a_flooded_engine_with_a_cookie(kind: Kind) {
    let (left, right) = pair();
    let other = Other::start(kind, &left, "10.77.0.1/24");
    let engine = Engine::start(&right, "10.77.0.2/24", Timing::default());
    set_peer(&engine, peer(other.public_key, None, &["10.77.0.1/32"]));
    let key = engine.public_key;
    // Emulated, it manages less, and begins anew to be under load: then it has computed what waited.
    let (burst, cookies_min, per_computed) = if kind == Kind::Linux { (2, 100, 1) } else { (4, 1000, 10) };
    // Emulated, load comes and goes: what arrives in between waits behind the flood and is answered without a cookie.
    let tries = if kind == Kind::Linux { 5 } else { 1 };
    let counters = || engine.device.describe().unwrap().counters;
    let mut before = Counters::default();
    let has_caught_up = |sent: u64| {
        let counters = counters();
        let done = counters.cookies_sent + counters.rx_bad_handshake + counters.rx_handshake_overflow;
        sent < done + WAITING_MAX + IN_SOCKET_MAX
    };
    let cookies = while_flooded(&left, (key, engine.port()), (burst, &has_caught_up), || {
        let introduction = format!("allowed-ips 10.77.0.2/32 endpoint 10.99.0.2:{}", engine.port());
        let waited = (0..tries).find_map(|_| {
            left.command(&format!("wg set {} peer {key} remove", other.name));
            before = counters();
            wait_for("the engine to be under load", || counters().cookies_sent > before.cookies_sent);
            before = counters();
            left.command(&format!("wg set {} peer {key} {introduction}", other.name));
            let waited = std::panic::catch_unwind(|| ping_through(&left));
            let waited = waited.unwrap_or_else(|_| panic!("{before:?}, {:?}, {}", counters(), left.command("wg show")));
            (waited > Duration::from_secs(2)).then_some(waited)
        });
        assert!(waited.is_some(), "the first initiation was answered by a handshake, not by a cookie");
        ping(&left, "10.77.0.2", 20);
    });
    let after = counters();
    assert!(cookies > cookies_min && after.cookies_sent >= cookies, "{cookies} cookies, {after:?}");
    let computed = after.rx_bad_handshake - before.rx_bad_handshake;
    assert!(computed < WAITING_MAX + after.cookies_sent / per_computed, "{computed} computed for nothing, {after:?}");
}

pub fn the_engine_gets_through_to_a_flooded_other(kind: Kind) {
    let (left, right) = pair();
    let engine = Engine::start(&left, "10.77.0.1/24", Timing::default());
    let other = Other::start(kind, &right, "10.77.0.2/24");
    right.command(&format!("wg set {} peer {} allowed-ips 10.77.0.1/32", other.name, engine.public_key));
    let port = other.port(&right);
    while_flooded(&left, (other.public_key, port), (40, &|_| true), || {
        std::thread::sleep(Duration::from_millis(300));
        set_peer(&engine, peer(other.public_key, Some(&format!("10.99.0.2:{port}")), &["10.77.0.2/32"]));
        ping_through(&left);
    });
    ping(&left, "10.77.0.2", 5);
}
