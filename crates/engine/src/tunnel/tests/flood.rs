//! Too many handshake messages: from an attacker, who gets cookies at most, and from a thousand peers at once, who are welcome.

use super::*;
use crate::limits::{HANDSHAKES_PER_TURN, HANDSHAKES_UNDER_LOAD, LOAD_HOLD, LOAD_WASTED_MAX};
use crate::noise::cookie::PeerMacs;
use crate::noise::messages::{TYPE_COOKIE_REPLY, TYPE_INITIATION};

/// Initiations with a valid first MAC and nothing else valid, each from another address.
struct Flood {
    macs: PeerMacs,
    round: u32,
}

impl Flood {
    fn of(world: &World, victim: usize) -> Flood {
        Flood { macs: PeerMacs::new(&world.ends[victim].key), round: 0 }
    }

    fn next(&mut self, now: Monotonic) -> (SocketAddr, [u8; 148]) {
        let mut message = [0; 148];
        message[0] = TYPE_INITIATION;
        message[8..12].copy_from_slice(&self.round.to_le_bytes());
        self.macs.sign(now, &mut message);
        self.round += 1;
        (SocketAddr::from(((0xcb00_0000 | self.round).to_be_bytes(), 5)), message)
    }
}

#[test]
fn under_load_the_address_must_be_proven_first() {
    let mut world = World::pair(4, Network::GOOD);
    world.tape = Some(Vec::new());
    let until = world.now + s(60);
    world.ends[1].tunnel.hold_under_load(until);
    world.send(0, 1, 1);
    world.run(s(1));
    assert!(!world.got(0, 1, 1));
    assert_eq!(world.ends[1].tunnel.counters().cookies_sent, 1);
    assert!(world.tape.iter().flatten().any(|flight| flight.bytes[0] == TYPE_COOKIE_REPLY));
    world.run(s(5));
    assert!(world.got(0, 1, 1), "the second initiation carried the cookie");
    assert_eq!(world.ends[1].tunnel.counters().cookies_sent, 1);
}

#[test]
fn a_flood_of_forged_initiations_costs_cookies_only_and_peers_renew_their_sessions_through_it() {
    let mut world = World::pair(5, Network::GOOD);
    world.send(0, 1, 0);
    world.run(s(1));
    let mut flood = Flood::of(&world, 1);
    // The session has to be renewed in the middle of the flood.
    for tick in 1..1500 {
        for _ in 0..if (1100..1300).contains(&tick) { 120 } else { 0 } {
            let (from, message) = flood.next(world.now);
            world.inject(from, 1, &message);
        }
        world.send(0, 1, tick);
        world.send(1, 0, tick);
        world.run(ms(100));
    }
    let counters = *world.ends[1].tunnel.counters();
    assert!(counters.rx_bad_handshake <= u64::from(LOAD_WASTED_MAX) + 1, "few cost X25519: {counters:?}");
    assert!(counters.cookies_sent + counters.rx_bad_handshake == 120 * 200, "{counters:?}");
    assert_eq!(counters.handshakes, 2, "the session was renewed without a cookie, from the address that is known");
    assert_eq!(world.ends[0].tunnel.counters().rx_bad_handshake, 0);
    assert_eq!((world.ends[0].received.len(), world.ends[1].received.len()), (1499, 1500), "no packet was lost");
    assert!(world.ends[1].tunnel.activity().1 < 8);
}

#[test]
fn a_flood_that_forges_a_peers_own_address_costs_its_bucket_only_and_the_peer_a_cookie() {
    let mut world = World::pair(6, Network::GOOD);
    world.send(0, 1, 0);
    world.run(s(1));
    let until = world.now + s(300);
    world.ends[1].tunnel.hold_under_load(until);
    let (mut flood, peer) = (Flood::of(&world, 1), world.ends[0].address);
    for tick in 1..1500 {
        for _ in 0..20 {
            let (_, message) = flood.next(world.now);
            world.inject(peer, 1, &message);
        }
        world.send(0, 1, tick);
        world.run(ms(100));
    }
    let counters = *world.ends[1].tunnel.counters();
    assert!(counters.rx_bad_handshake < 20 * 151, "{counters:?}");
    assert_eq!(counters.handshakes, 2);
    assert_eq!(world.ends[1].received.len(), 1500, "no packet was lost");
    assert_eq!(world.ends[1].tunnel.describe().peers[0].endpoint, Some(peer));
}

/// First initiations of so many peers to one server that knows them.
fn storm(peers: usize) -> (Tunnel, Vec<Vec<u8>>) {
    let mut rng = SeededRng::new(7);
    let mut server = Tunnel::new(Box::new(SeededRng::new(8)), Timing::default());
    let key = PrivateKey::new([3; 32]);
    let mut to_server = ConfigurePeer::new(key.public_key());
    to_server.endpoint = Some(SocketAddr::from(([192, 0, 2, 1], 1)));
    let (mut change, now) = (ConfigureDevice { private_key: Some(key), ..Default::default() }, Now::default());
    let mut initiations = Vec::new();
    for _ in 0..peers {
        let mut private = [0; 32];
        rng.fill(&mut private);
        let private = PrivateKey::new(private);
        change.peers.push(ConfigurePeer::new(private.public_key()));
        let mut client = Tunnel::new(Box::new(SeededRng::new(rng.next_u64())), Timing::default());
        let own = ConfigureDevice { private_key: Some(private), peers: vec![to_server.clone()], ..Default::default() };
        client.configure(now, &own).unwrap();
        client.handle_up(now);
        client.initiate(now, &to_server.public_key);
        initiations.push(client.poll_transmit().unwrap().packet.packet().to_vec());
    }
    server.configure(now, &change).unwrap();
    server.handle_up(now);
    (server, initiations)
}

#[test]
fn a_thousand_peers_who_come_back_at_once_are_all_answered_a_few_at_a_turn_and_are_no_load() {
    let (mut server, initiations) = storm(1000);
    let now = Now { monotonic: Monotonic(s(1)), unix: s(1_700_000_000) };
    for (number, message) in initiations.iter().enumerate() {
        let from = SocketAddr::from(([198, 51, (number / 250) as u8, (number % 250) as u8], 7));
        server.handle_datagram(now, Endpoint::from(from), PacketBuf::new(message));
    }
    assert!(server.poll_transmit().is_none(), "packets that came with them go first");
    let mut turns = 0;
    while server.poll_timeout().is_some_and(|due| due <= now.monotonic) {
        server.handle_timeout(now);
        turns += 1;
    }
    assert_eq!(turns, 1000 / HANDSHAKES_PER_TURN);
    let answers = std::iter::from_fn(|| server.poll_transmit()).filter(|transmit| transmit.packet.packet()[0] == 2);
    assert_eq!(answers.count(), 1000);
    assert_eq!(server.counters().cookies_sent, 0);
}

#[test]
fn what_waits_is_bounded_and_forgotten_when_the_interface_goes_down() {
    let mut world = World::pair(9, Network::GOOD);
    let mut flood = Flood::of(&world, 1);
    let now = world.now(1);
    for _ in 0..10_000 {
        let (from, message) = flood.next(now.monotonic);
        world.ends[1].tunnel.handle_datagram(now, Endpoint::from(from), PacketBuf::new(&message));
    }
    let tunnel = &mut world.ends[1].tunnel;
    assert_eq!(tunnel.counters().cookies_sent as usize, 10_000 - HANDSHAKES_UNDER_LOAD);
    assert_eq!(tunnel.poll_timeout(), Some(now.monotonic));
    tunnel.handle_down();
    assert_eq!((tunnel.poll_timeout(), tunnel.counters().rx_bad_handshake), (None, 0));
    world.run(LOAD_HOLD);
}
