//! Datagrams that nobody should have sent: replayed, cut, changed, reflected, random. All are dropped and counted.
//!
//! After each attack the peers must still know each other's address, have received nothing twice, and be able to talk: that
//! is `assert_untouched`.

use proptest::prelude::*;

use super::*;
use crate::config::Counters;
use crate::noise::cookie::PeerMacs;

pub const ATTACKER: ([u8; 4], u16) = ([203, 0, 113, 66], 666);

pub fn conversation(seed: u64) -> World {
    let mut world = World::pair(seed, Network::GOOD);
    world.tape = Some(Vec::new());
    for payload in 0..5 {
        world.send(0, 1, payload);
        world.send(1, 0, payload);
        world.run(s(1));
    }
    world
}

pub fn tape(world: &mut World) -> Vec<Flight> {
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

/// What an end counted since `before`, as names and numbers.
fn counted(world: &World, end: usize, before: &Counters) -> Vec<(&'static str, u64)> {
    let after = world.ends[end].tunnel.counters().named();
    let changes = after.zip(before.named()).map(|((name, after), (_, before))| (name, after - before));
    changes.filter(|(_, change)| *change > 0).collect()
}

/// Sends each datagram of the tape that is meant, as `change` makes it, to the end that got it or, reflected, that sent it.
fn attack(kind: u8, is_reflected: bool, change: impl Fn(&mut Vec<u8>)) -> Vec<(&'static str, u64)> {
    let mut world = conversation(12);
    let tape = tape(&mut world);
    let before = *world.ends[1].tunnel.counters();
    let address = world.ends[1].address;
    let meant =
        |flight: &&Flight| flight.bytes[0] == kind && (if is_reflected { flight.from } else { flight.to }) == address;
    for flight in tape.iter().filter(meant) {
        let mut bytes = flight.bytes.clone();
        change(&mut bytes);
        world.inject(ATTACKER.into(), 1, &bytes);
    }
    let counted = counted(&world, 1, &before);
    assert_untouched(&mut world);
    counted
}

#[test]
fn each_kind_of_attack_is_dropped_and_has_its_own_counter() {
    // The second end got one initiation, one cookie-less conversation of five packets and one keepalive, and answered with one
    // response and five packets.
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    let flip = |byte: usize| move |bytes: &mut Vec<u8>| bytes[byte] ^= 1;
    let none = |_: &mut Vec<u8>| {};
    for (attack, counter, least) in [
        (attack(1, false, none), "rx_replayed_handshake", 1),
        (attack(1, false, cut), "rx_malformed", 1),
        (attack(1, false, flip(1)), "rx_malformed", 1),
        (attack(1, false, flip(9)), "rx_bad_mac", 1),
        (attack(2, true, none), "rx_bad_mac", 1),
        (attack(4, false, none), "rx_replayed_data", 5),
        (attack(4, false, cut), "rx_bad_data", 5),
        (attack(4, false, |bytes| bytes.truncate(31)), "rx_malformed", 5),
        (attack(4, false, flip(20)), "rx_bad_data", 5),
        (attack(4, false, flip(8)), "rx_bad_data", 5),
        (attack(4, false, flip(4)), "rx_unknown_session", 5),
        (attack(4, true, none), "rx_unknown_session", 5),
    ] {
        assert!(
            matches!(attack[..], [(name, count)] if name == counter && count >= least),
            "{attack:?}, not {counter}"
        );
    }
}

#[test]
fn who_was_removed_is_a_stranger() {
    let mut world = conversation(13);
    let before = *world.ends[1].tunnel.counters();
    let mut peer = ConfigurePeer::new(world.ends[0].key);
    peer.remove = true;
    world.configure_peer(1, peer);
    assert_eq!(world.ends[1].tunnel.activity(), (0, 0), "nothing of it is left");
    world.send(0, 1, 50);
    world.run(s(1));
    assert_eq!(counted(&world, 1, &before), [("rx_unknown_session", 1)]);
    world.run(s(20));
    let counted = counted(&world, 1, &before);
    assert!(matches!(counted[..], [("rx_unknown_peer", 1..=2), ("rx_unknown_session", 1)]), "{counted:?}");
    assert!(!world.got(0, 1, 50));
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
