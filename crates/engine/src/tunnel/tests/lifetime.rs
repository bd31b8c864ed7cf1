//! Timers: what happens when, and that nothing happens when nothing should; a week of it.
//!
//! Each test is a story in virtual time: packets sent, time passed, datagrams counted on the tape. The intervals are the
//! protocol's own, so what is asserted here is whitepaper section 6 as the kernel has it.

use super::*;
use crate::limits::STAGED_PACKETS_MAX;
use crate::noise::messages::{KEEPALIVE_BYTES, TYPE_INITIATION};

fn sent(world: &World, from: usize, matches: impl Fn(&[u8]) -> bool) -> usize {
    let address = world.ends[from].address;
    world.tape.iter().flatten().filter(|flight| flight.from == address && matches(&flight.bytes)).count()
}

fn is_initiation(bytes: &[u8]) -> bool {
    bytes[0] == TYPE_INITIATION
}

fn taped(seed: u64) -> World {
    let mut world = World::pair(seed, Network::GOOD);
    world.tape = Some(Vec::new());
    world
}

#[test]
fn the_first_packet_starts_a_handshake_and_arrives_after_it() {
    let mut world = taped(1);
    world.send(0, 1, 5);
    world.run(ms(50));
    assert!(!world.got(0, 1, 5));
    world.run(ms(10));
    assert!(world.got(0, 1, 5));
    let peer = &world.ends[1].tunnel.describe().peers[0];
    assert_eq!((peer.rx_bytes, peer.tx_bytes), (148 + 64, 92));
    assert!(peer.last_handshake.is_some());
    assert!(world.ends[1].events.iter().any(|event| matches!(event, Event::HandshakeDone { timestamp: Some(_), .. })));
}

#[test]
fn who_only_receives_sends_a_keepalive_after_ten_seconds() {
    let mut world = taped(2);
    world.send(0, 1, 1);
    world.run(ms(9_900));
    assert_eq!(sent(&world, 1, |bytes| bytes.len() == KEEPALIVE_BYTES), 0);
    world.run(ms(200));
    assert_eq!(sent(&world, 1, |bytes| bytes.len() == KEEPALIVE_BYTES), 1);
    world.run(s(60));
    assert_eq!(sent(&world, 0, is_initiation), 1, "the keepalive was an answer, so there is no new handshake");
}

#[test]
fn who_gets_no_answer_starts_a_new_handshake_after_fifteen_seconds() {
    let mut world = taped(3);
    world.send(0, 1, 1);
    world.run(s(1));
    world.run(s(60));
    world.network.loss_percent = 100;
    world.send(0, 1, 2);
    world.run(ms(14_900));
    assert_eq!(sent(&world, 0, is_initiation), 1);
    world.run(ms(500));
    assert_eq!(sent(&world, 0, is_initiation), 2);
    world.network.loss_percent = 0;
    world.run(s(6));
    world.send(0, 1, 3);
    world.run(s(1));
    assert!(world.got(0, 1, 3));
}

#[test]
fn an_unanswered_initiation_is_repeated_for_ninety_seconds_and_what_waits_is_bounded() {
    let mut world = taped(4);
    world.network.loss_percent = 100;
    for payload in 0..200 {
        world.send(0, 1, payload);
    }
    world.run(s(300));
    assert_eq!(sent(&world, 0, is_initiation), 20);
    assert_eq!(world.ends[0].tunnel.counters().tx_staged_dropped, 200);
    world.network.loss_percent = 0;
    for payload in 1000..1200 {
        world.send(0, 1, payload);
    }
    world.run(s(1));
    assert_eq!(world.ends[1].received.len(), STAGED_PACKETS_MAX);
    assert!(world.got(0, 1, 1199) && !world.got(0, 1, 1000), "the oldest were dropped");
}

#[test]
fn an_idle_peer_has_no_timer_and_no_key_left_after_three_lifetimes() {
    let mut world = World::pair(5, Network::GOOD);
    world.send(0, 1, 1);
    world.run(s(200));
    assert_ne!(world.ends[0].tunnel.activity().1, 0);
    world.run(s(400));
    assert_eq!([0, 1].map(|end| world.ends[end].tunnel.activity()), [(0, 0); 2]);
    world.send(1, 0, 2);
    world.run(s(1));
    assert!(world.got(1, 0, 2));
}

#[test]
fn a_persistent_keepalive_keeps_its_interval_for_ever() {
    let mut world = taped(6);
    let mut peer = ConfigurePeer::new(world.ends[1].key);
    peer.persistent_keepalive_s = Some(25);
    world.configure_peer(0, peer);
    world.run(s(3600));
    let keepalives = sent(&world, 0, |bytes| bytes.len() == KEEPALIVE_BYTES);
    assert!((160..=180).contains(&keepalives), "{keepalives}: one each 25 s and one for each session");
    assert!(world.ends[0].tunnel.describe().peers[0].last_handshake.is_some());
    world.network.loss_percent = 100;
    world.run(s(3600));
    world.network.loss_percent = 0;
    world.run(s(40));
    world.send(1, 0, 1);
    world.run(s(1));
    assert!(world.got(1, 0, 1), "it comes back by itself after an hour without network");
}

#[test]
fn a_one_way_stream_renews_its_session_from_either_side() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut world = World::pair(7, Network::GOOD);
        world.send(0, 1, 0);
        world.run(s(1));
        for tick in 1..1000 {
            world.send(from, to, tick);
            world.run(s(1));
        }
        assert!((1..1000).all(|tick| world.got(from, to, tick)), "no packet was lost by rekeying");
        assert!(world.ends[to].tunnel.counters().handshakes >= 6);
    }
}

#[test]
fn a_clock_that_steps_back_does_not_stop_rekeying() {
    let mut world = World::pair(8, Network::GOOD);
    for tick in 0..1000 {
        if tick == 150 {
            world.ends[0].unix -= s(86_400);
        }
        if tick == 500 {
            world.ends[0].unix += s(172_800);
            world.ends[1].unix -= s(3600);
        }
        world.send(0, 1, tick);
        world.run(s(1));
    }
    assert_eq!(world.ends[1].received.len(), 1000);
    assert_eq!(world.ends[1].tunnel.counters().rx_replayed_handshake, 0);
}

#[test]
fn an_end_that_starts_again_with_its_clock_ten_years_back_is_called_within_two_round_trips() {
    let mut world = taped(9);
    world.send(0, 1, 1);
    world.run(s(60));
    world.ends[0].unix -= s(10 * 365 * 86_400);
    world.restart(0);
    world.send(0, 1, 2);
    world.run(ms(100));
    assert!(world.got(0, 1, 2), "its own initiation is a replay to the other end, which calls instead");
    assert_eq!(world.ends[1].tunnel.counters().rx_replayed_handshake, 1);
    // And again, when its second clock is all that the other end has heard since: that one remembers the first.
    world.run(s(60));
    world.restart(0);
    world.send(0, 1, 3);
    world.run(ms(100));
    assert!(world.got(0, 1, 3));
}

#[test]
fn who_replays_an_old_initiation_makes_an_end_call_its_peer_once_in_five_seconds_at_most() {
    let mut world = taped(10);
    let first_of = |world: &World| {
        let tape = world.tape.as_deref().unwrap_or_default();
        tape.iter().find(|flight| is_initiation(&flight.bytes)).map(|flight| flight.bytes.clone()).unwrap()
    };
    world.send(0, 1, 1);
    world.run(s(1));
    let old = first_of(&world);
    world.run(s(200));
    world.send(0, 1, 2);
    world.run(s(10));
    let stranger = SocketAddr::from(([203, 0, 113, 9], 9));
    let before = sent(&world, 1, is_initiation);
    for _ in 0..1_000 {
        world.inject(stranger, 1, &old);
        world.run(ms(20));
    }
    let called = sent(&world, 1, is_initiation) - before;
    assert!((3..=5).contains(&called), "{called} in twenty seconds");
    let to_stranger = world.tape.iter().flatten().filter(|flight| flight.to == stranger).count();
    assert_eq!(to_stranger, 0, "nobody but the peer itself hears of it");
    world.send(1, 0, 3);
    world.run(s(1));
    assert!(world.got(1, 0, 3));
}

#[test]
fn a_week_on_a_bad_network() {
    let mut world = World::pair(9, Network::BAD);
    let mut sent = 0;
    while world.now < Monotonic(s(1000 + 7 * 86_400)) {
        let (from, pause) = ((world.rng.next_u64() % 2) as usize, world.rng.next_u64() % 40_000);
        // Some pauses are long enough for all timers to stop.
        let pause = if world.rng.next_u64().is_multiple_of(500) { pause * 60 } else { pause };
        world.send(from, 1 - from, sent);
        sent += 1;
        if world.rng.next_u64().is_multiple_of(1000) {
            let step = s(world.rng.next_u64() % 100_000);
            world.ends[from].unix =
                if sent % 2 == 0 { world.ends[from].unix + step } else { world.ends[from].unix - step };
        }
        world.run(ms(pause));
        for end in &world.ends {
            assert!(
                end.tunnel.activity().0 <= 1 && end.tunnel.activity().1 <= 4,
                "bounded: {:?}",
                end.tunnel.activity()
            );
        }
    }
    let received = world.ends[0].received.len() + world.ends[1].received.len();
    assert!(received as u64 > sent * 92 / 100, "{received} of {sent} packets arrived at 5 % loss");
    assert!(received as u64 <= sent, "no duplicate got through");
    let unique: std::collections::HashSet<_> = world.ends.iter().flat_map(|end| &end.received).collect();
    assert_eq!(unique.len(), received);
}

#[test]
fn that_packets_are_sent_again_after_a_pause_is_reported_once() {
    let mut world = World::pair(3, Network::GOOD);
    let begins = |world: &World| {
        let begins = |event: &&Event| matches!(event, Event::SendingBegins { .. });
        world.ends[0].events.iter().filter(begins).count()
    };
    // The first waits for a handshake, and is reported all the same.
    for payload in 0..20 {
        world.send(0, 1, payload);
        world.run(ms(100));
    }
    assert_eq!(begins(&world), 1);
    world.run(s(60));
    assert_eq!(begins(&world), 1, "keepalives are no packets");
    world.send(0, 1, 99);
    world.run(s(1));
    assert_eq!(begins(&world), 2);
}

#[test]
fn an_end_that_starts_again_with_an_old_clock_at_any_moment_is_heard_as_soon_as_a_handshake_may_be_made() {
    let mut longest = Duration::ZERO;
    for seed in 0..90 {
        let mut world = taped(seed);
        world.network.delay_ms = 2 + seed % 60;
        let probe = |world: &mut World| {
            let payload = world.now.0.as_millis() as u64;
            world.send(0, 1, payload);
            world.send(1, 0, payload);
            world.run(ms(100));
            world.got(0, 1, payload) && world.got(1, 0, payload)
        };
        // Both ends ask for answers all the time, as agents do; one is away for some of it.
        for _ in 0..20 + seed % 13 {
            probe(&mut world);
        }
        world.ends[0].paused = true;
        for _ in 0..[1, 3, 20][seed as usize % 3] {
            probe(&mut world);
        }
        (world.ends[0].paused, world.ends[0].backlog) = (false, Vec::new());
        world.ends[0].unix -= s(10 * 365 * 86_400);
        world.restart(0);
        let begin = world.now;
        while !probe(&mut world) {}
        longest = longest.max(world.now.since(begin));
    }
    // The other end has made one a moment ago, and calls when it may make the next.
    assert!(longest < s(6), "{longest:?}");
}
