//! Datagrams that nobody should have sent: replayed, cut, changed, reflected, random. All are dropped and counted.
//!
//! After each attack the peers must still know each other's address, have received nothing twice, and be able to talk: that
//! is `assert_untouched`.

use proptest::prelude::*;

use super::*;
use crate::noise::cookie::PeerMacs;

const ATTACKER: ([u8; 4], u16) = ([203, 0, 113, 66], 666);

fn conversation(seed: u64) -> World {
    let mut world = World::pair(seed, Network::GOOD);
    world.tape = Some(Vec::new());
    for payload in 0..5 {
        world.send(0, 1, payload);
        world.send(1, 0, payload);
        world.run(s(1));
    }
    world
}

fn tape(world: &mut World) -> Vec<Flight> {
    world.tape.take().unwrap()
}

/// Nothing that an attacker sends may change what is known of the peers.
fn assert_untouched(world: &mut World) {
    for end in 0..2 {
        let address = world.ends[1 - end].address;
        assert_eq!(world.ends[end].tunnel.describe().peers[0].endpoint, Some(address));
        assert_eq!(world.ends[end].received.len(), 5);
    }
    world.send(0, 1, 99);
    world.send(1, 0, 99);
    world.run(s(7));
    assert!(world.got(0, 1, 99) && world.got(1, 0, 99));
}

#[test]
fn everything_replayed_and_reflected_is_dropped() {
    let mut world = conversation(1);
    for flight in tape(&mut world) {
        for end in 0..2 {
            world.inject(ATTACKER.into(), end, &flight.bytes);
        }
    }
    let counters = *world.ends[1].tunnel.counters();
    assert_eq!(counters.rx_replayed_data, 5);
    assert_eq!(counters.rx_replayed_handshake, 1);
    assert_untouched(&mut world);
}

#[test]
fn everything_with_one_bit_changed_is_dropped() {
    let mut world = conversation(2);
    for flight in tape(&mut world) {
        for bit in 0..flight.bytes.len() * 8 {
            let mut changed = flight.bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let end = usize::from(flight.to == world.ends[1].address);
            world.inject(ATTACKER.into(), end, &changed);
        }
    }
    let counters = *world.ends[1].tunnel.counters();
    assert!(counters.rx_bad_data > 1000 && counters.rx_bad_mac > 900 && counters.rx_malformed > 100);
    assert_untouched(&mut world);
}

#[test]
fn everything_cut_short_or_made_longer_is_dropped() {
    let mut world = conversation(3);
    for flight in tape(&mut world) {
        let end = usize::from(flight.to == world.ends[1].address);
        for len in 0..flight.bytes.len() {
            world.inject(ATTACKER.into(), end, &flight.bytes[..len]);
        }
        let mut longer = flight.bytes.clone();
        longer.push(0);
        world.inject(ATTACKER.into(), end, &longer);
    }
    assert_untouched(&mut world);
}

#[test]
fn an_initiation_too_soon_after_another_is_not_answered() {
    let mut world = World::pair(6, Network { delay_ms: 1, ..Network::GOOD });
    world.tape = Some(Vec::new());
    // An end that restarts has forgotten when it last called.
    for round in 0..10 {
        world.send(0, 1, round);
        world.ends[0].tunnel.handle_down();
        let now = world.now(0);
        world.ends[0].tunnel.handle_up(now);
        world.run(ms(2));
    }
    assert!(world.ends[1].tunnel.counters().rx_rate_limited >= 5);
}

#[test]
fn the_table_of_unknown_sessions_events_is_bounded() {
    let mut world = World::pair(7, Network::GOOD);
    let mut message = [0; 32];
    message[0] = 4;
    for round in 0..100_000u32 {
        message[4..8].copy_from_slice(&round.to_le_bytes());
        world.inject(ATTACKER.into(), 0, &message);
    }
    assert_eq!(world.ends[0].tunnel.counters().rx_unknown_session, 100_000);
    assert!(world.ends[0].events.len() <= 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_datagrams_and_packets_change_nothing(
        datagrams in prop::collection::vec((0u8..6, prop::collection::vec(any::<u8>(), 0..200)), 1..20),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..5),
    ) {
        let mut world = conversation(8);
        for (kind, mut datagram) in datagrams {
            datagram.splice(0..datagram.len().min(4), [kind, 0, 0, 0]);
            // Exact lengths get further.
            match kind {
                1 => datagram.resize(148, 0),
                2 => datagram.resize(92, 0),
                3 => datagram.resize(64, 0),
                _ => {}
            }
            if kind == 1 || kind == 2 {
                PeerMacs::new(&world.ends[0].key).sign(world.now, &mut datagram);
            }
            world.inject(ATTACKER.into(), 0, &datagram);
        }
        for packet in packets {
            let now = world.now(0);
            world.ends[0].tunnel.handle_tun_packet(now, PacketBuf::new(&packet));
        }
        assert_untouched(&mut world);
    }
}
