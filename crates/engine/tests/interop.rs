//! The engine against itself and against the real wireguard-go and `wg`, over veth between namespaces of the test's own.
//!
//! Needs root, /dev/net/tun, and the programs named in `NEEDED`. Where one is missing a test fails; with WAYLEAVE_NOT_RUN_FILE set
//! it writes its name and the reason to that file instead, so that what was not run is listed, never silently passed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "interop/ends.rs"]
mod ends;
#[path = "interop/net.rs"]
mod net;

use std::net::SocketAddr;

use ends::{Engine, WireguardGo};
use net::{Namespace, join};
use wayleave_engine::{ConfigureDevice, ConfigurePeer, PublicKey, Timing};

const NEEDED: [&str; 4] = ["ip", "ping", "wg", "wireguard-go"];

/// Whether the test can run here. Panics if not, unless there is a file to say so in.
fn can_run(test: &str) -> bool {
    let Some(reason) = what_is_missing() else { return true };
    let Some(file) = std::env::var_os("WAYLEAVE_NOT_RUN_FILE") else { panic!("interop::{test} can't run: {reason}") };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    std::io::Write::write_all(&mut file, format!("interop::{test}: {reason}\n").as_bytes()).unwrap();
    false
}

fn what_is_missing() -> Option<String> {
    // SAFETY: takes nothing, can't fail.
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root".to_owned());
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun".to_owned());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &&str| std::env::split_paths(&paths).any(|directory| directory.join(program).exists());
    NEEDED.iter().find(|program| !found(program)).map(|program| format!("needs {program}"))
}

/// Two namespaces joined by a veth pair: the engine's side and the other's.
fn pair() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(), Namespace::new());
    join(&a, &b);
    (a, b)
}

fn peer(public_key: PublicKey, endpoint: Option<&str>, allowed: &[&str]) -> ConfigurePeer {
    let mut peer = ConfigurePeer::new(public_key);
    peer.endpoint = endpoint.map(|text| text.parse::<SocketAddr>().unwrap());
    peer.allowed_ips = allowed.iter().map(|text| text.parse().unwrap()).collect();
    peer
}

fn set_peer(engine: &Engine, peer: ConfigurePeer) {
    engine.device.configure(&ConfigureDevice { peers: vec![peer], ..ConfigureDevice::default() }).unwrap();
}

/// Pings from inside; panics if any of the pings is not answered.
fn ping(namespace: &Namespace, address: &str, count: u32) {
    namespace.command(&format!("ping -q -n -i 0.05 -W 2 -c {count} {address}"));
}

#[test]
fn two_engines_talk_over_v4_and_v6() {
    if !can_run("two_engines_talk_over_v4_and_v6") {
        return;
    }
    let (left, right) = pair();
    let a = Engine::start(&left, "10.77.0.1/24", Timing::default());
    let b = Engine::start(&right, "10.77.0.2/24", Timing::default());
    set_peer(&b, peer(a.public_key, None, &["10.77.0.1/32"]));
    for outer in ["10.99.0.2", "[fd99::2]"] {
        set_peer(&a, peer(b.public_key, Some(&format!("{outer}:{}", b.port())), &["10.77.0.2/32"]));
        ping(&left, "10.77.0.2", 5);
        ping(&right, "10.77.0.1", 5);
    }
    let description = a.device.describe().unwrap();
    assert_eq!(description.counters.rx_packets, 20);
    assert_eq!(description.counters.tx_packets, 20);
    assert_eq!(description.counters.handshakes, 1);
}

#[test]
fn wireguard_go_answers_and_calls() {
    if !can_run("wireguard_go_answers_and_calls") {
        return;
    }
    for engine_calls in [true, false] {
        let (left, right) = pair();
        let engine = Engine::start(&left, "10.77.0.1/24", Timing::default());
        let go = WireguardGo::start(&right, "10.77.0.2/24");
        let endpoint = format!("10.99.0.2:{}", go.port(&right));
        set_peer(
            &engine,
            peer(go.public_key, Some(&endpoint).filter(|_| engine_calls).map(|x| x.as_str()), &["10.77.0.2/32"]),
        );
        right.command(&format!(
            "wg set {} peer {} allowed-ips 10.77.0.1/32 {}",
            go.name,
            engine.public_key,
            if engine_calls { String::new() } else { format!("endpoint 10.99.0.1:{}", engine.port()) }
        ));
        if engine_calls {
            ping(&left, "10.77.0.2", 5);
            ping(&right, "10.77.0.1", 5);
        } else {
            ping(&right, "10.77.0.1", 5);
            ping(&left, "10.77.0.2", 5);
        }
    }
}
