//! The engine against the real wireguard-go, in both roles.
//!
//! The engine is on the left (10.99.0.1 outside, 10.77.0.1 inside), wireguard-go on the right (.2). Who knows whose endpoint
//! decides who calls. Pings are counted: none may be lost unless the test says so.

use std::time::{Duration, Instant};

use wayleave_engine::{ConfigureDevice, ConfigurePeer, Event, PresharedKey, Timing};

use crate::ends::{Engine, KeyFile, WireguardGo, base64, wait_for};
use crate::{Namespace, needs_machine, pair, peer, ping, ping_until_answered, set_peer};

struct Ends {
    left: Namespace,
    right: Namespace,
    engine: Engine,
    go: WireguardGo,
}

/// The two ends, not yet introduced.
fn ends(timing: Timing) -> Ends {
    let (left, right) = pair();
    let engine = Engine::start(&left, "10.77.0.1/24", timing);
    let go = WireguardGo::start(&right, "10.77.0.2/24");
    Ends { left, right, engine, go }
}

impl Ends {
    /// The engine learns where wireguard-go is.
    fn tell_engine(&self, outer: &str) {
        let endpoint = format!("{outer}:{}", self.go.port(&self.right));
        set_peer(&self.engine, peer(self.go.public_key, Some(&endpoint), &["10.77.0.2/32"]));
    }

    /// wireguard-go learns of the engine.
    fn tell_go(&self, more: &str) {
        let (name, key) = (&self.go.name, self.engine.public_key);
        self.right.command(&format!("wg set {name} peer {key} allowed-ips 10.77.0.1/32 {more}"));
    }

    fn engine_at(&self, outer: &str) -> String {
        format!("endpoint {outer}:{}", self.engine.port())
    }

    fn ping_both_ways(&self, count: u32) {
        ping(&self.left, "10.77.0.2", count);
        ping(&self.right, "10.77.0.1", count);
    }
}

#[test]
fn the_engine_calls_over_v4_and_v6() {
    needs_machine!();
    for outer in ["10.99.0.2", "[fd99::2]"] {
        let ends = ends(Timing::default());
        ends.tell_go("");
        ends.tell_engine(outer);
        ends.ping_both_ways(5);
    }
}

#[test]
fn wireguard_go_calls_over_v4_and_v6() {
    needs_machine!();
    for outer in ["10.99.0.1", "[fd99::1]"] {
        let ends = ends(Timing::default());
        set_peer(&ends.engine, peer(ends.go.public_key, None, &["10.77.0.2/32"]));
        ends.tell_go(&ends.engine_at(outer));
        ping(&ends.right, "10.77.0.1", 5);
        ping(&ends.left, "10.77.0.2", 5);
    }
}

#[test]
fn preshared_keys_must_agree() {
    needs_machine!();
    let ends = ends(Timing::default());
    let file = KeyFile::new(&ends.go.name, &base64(&[7; 32]));
    ends.tell_go(&format!("preshared-key {}", file.0.display()));
    ends.tell_engine("10.99.0.2");
    assert!(!ends.left.output("ping -q -n -W 1 -c 1 10.77.0.2").status.success());
    let mut change = ConfigurePeer::new(ends.go.public_key);
    change.preshared_key = Some(PresharedKey::new([7; 32]));
    set_peer(&ends.engine, change);
    ping_until_answered(&ends.left, "10.77.0.2");
    ends.ping_both_ways(3);
}

#[test]
fn rekeying_under_traffic_loses_nothing() {
    needs_machine!();
    let s = Duration::from_secs;
    let timing = Timing {
        rekey_after: s(2),
        reject_after: s(5),
        keepalive_timeout: s(1),
        rekey_timeout: s(1),
        ..Timing::default()
    };
    for engine_calls in [true, false] {
        let ends = ends(timing);
        if engine_calls {
            ends.tell_go("");
            ends.tell_engine("10.99.0.2");
            ping(&ends.left, "10.77.0.2", 140);
        } else {
            set_peer(&ends.engine, peer(ends.go.public_key, None, &["10.77.0.2/32"]));
            ends.tell_go(&ends.engine_at("10.99.0.1"));
            ping(&ends.right, "10.77.0.1", 140);
        }
        let handshakes = ends.engine.device.describe().unwrap().counters.handshakes;
        assert!((3..=5).contains(&handshakes), "{handshakes} handshakes in 7 s");
    }
}

#[test]
fn a_persistent_keepalive_keeps_wireguard_go_informed() {
    needs_machine!();
    let ends = ends(Timing::default());
    ends.tell_go("");
    let mut change =
        peer(ends.go.public_key, Some(&format!("10.99.0.2:{}", ends.go.port(&ends.right))), &["10.77.0.2/32"]);
    change.persistent_keepalive_s = Some(1);
    set_peer(&ends.engine, change);
    let received = || -> u64 {
        let line = ends.right.command(&format!("wg show {} transfer", ends.go.name));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    wait_for("the first keepalive", || received() >= 148 + 32);
    let before = received();
    wait_for("three more", || received() >= before + 3 * 32);
    ping(&ends.right, "10.77.0.1", 3);
}

#[test]
fn each_end_follows_the_other_to_a_new_port() {
    needs_machine!();
    let ends = ends(Timing::default());
    ends.tell_go("");
    ends.tell_engine("10.99.0.2");
    ends.ping_both_ways(1);
    ends.right.command(&format!("wg set {} listen-port 4501", ends.go.name));
    ping(&ends.right, "10.77.0.1", 3);
    ping(&ends.left, "10.77.0.2", 3);
    assert_eq!(ends.engine.device.describe().unwrap().peers[0].endpoint.unwrap().to_string(), "10.99.0.2:4501");
    let events = ends.engine.device.events();
    let moved = std::iter::from_fn(|| events.poll())
        .any(|event| matches!(event, Event::EndpointChanged { new, .. } if new.port() == 4501));
    assert!(moved);
    ends.engine.device.configure(&ConfigureDevice { listen_port: Some(4502), ..ConfigureDevice::default() }).unwrap();
    ends.ping_both_ways(3);
    let endpoints = ends.right.command(&format!("wg show {} endpoints", ends.go.name));
    assert!(endpoints.contains("10.99.0.1:4502"), "{endpoints}");
    assert_eq!(ends.engine.device.describe().unwrap().counters.handshakes, 1);
}

#[test]
fn a_peer_removed_and_added_again_on_either_side_comes_back() {
    needs_machine!();
    let ends = ends(Timing::default());
    ends.tell_go("");
    ends.tell_engine("10.99.0.2");
    ends.ping_both_ways(1);
    let mut removal = ConfigurePeer::new(ends.go.public_key);
    removal.remove = true;
    set_peer(&ends.engine, removal);
    assert!(!ends.left.output("ping -q -n -W 1 -c 1 10.77.0.2").status.success());
    ends.tell_engine("10.99.0.2");
    ping_until_answered(&ends.left, "10.77.0.2");
    ends.ping_both_ways(3);
    ends.right.command(&format!("wg set {} peer {} remove", ends.go.name, ends.engine.public_key));
    ends.tell_go(&ends.engine_at("10.99.0.1"));
    ping_until_answered(&ends.right, "10.77.0.1");
    ends.ping_both_ways(3);
}

/// wireguard-go keeps one handshake at a time, so this is the hard case. It hung for seconds in spikes.
#[test]
fn both_starting_at_once_settle_at_once() {
    needs_machine!();
    let ends = ends(Timing::default());
    let mut slowest = Duration::ZERO;
    for round in 0..25 {
        let mut removal = ConfigurePeer::new(ends.go.public_key);
        removal.remove = true;
        set_peer(&ends.engine, removal);
        ends.right.command(&format!("wg set {} peer {} remove", ends.go.name, ends.engine.public_key));
        ends.tell_go(&ends.engine_at("10.99.0.1"));
        ends.tell_engine("10.99.0.2");
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| ping(&ends.left, "10.77.0.2", 3));
            scope.spawn(|| ping(&ends.right, "10.77.0.1", 3));
        });
        slowest = slowest.max(start.elapsed());
        assert!(slowest < Duration::from_secs(2), "round {round} took {slowest:?}");
    }
}
