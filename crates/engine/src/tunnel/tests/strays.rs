//! Datagrams for another device with the same key: told by their index, which no stranger can make, and taken over.
//!
//! Ends 0 and 1 share a key, so that end 2 can be with either. A load balancer that moves end 2 is the two changing addresses.

use super::*;
use crate::time::Tai64N;

const RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)), 7);

/// End 2 has a session with end 0, and knows nothing of end 1.
fn shared() -> World {
    let mut world = World::new(7, 3, Network::GOOD);
    let private = world.ends[0].private.clone();
    (world.ends[1].private, world.ends[1].key) = (private.clone(), world.ends[0].key);
    for (end, number) in [(0, 5), (1, 63)] {
        let private_key = Some(private.clone());
        world.configure(end, &ConfigureDevice { private_key, number: Some(number), ..ConfigureDevice::default() });
        world.introduce(end, 2);
    }
    world.introduce(2, 0);
    world.send(2, 0, 1);
    world.run(s(1));
    assert!(world.got(2, 0, 1));
    world
}

/// From now on what end 2 sends to its server comes to end 1.
fn move_to_the_other(world: &mut World) {
    let first = world.ends[0].address;
    world.ends[0].address = world.ends[1].address;
    world.ends[1].address = first;
}

fn strays(world: &World, end: usize) -> Vec<(Option<u8>, SocketAddr, Vec<u8>)> {
    let stray = |event: &Event| match event {
        Event::Stray { number, source, datagram, .. } => Some((*number, *source, datagram.clone())),
        _ => None,
    };
    world.ends[end].events.iter().filter_map(stray).collect()
}

#[test]
fn a_datagram_for_the_other_device_says_whose_it_is_and_is_good_there() {
    let mut world = shared();
    move_to_the_other(&mut world);
    world.send(2, 0, 2);
    world.run(s(1));
    let [(number, source, datagram)] = &strays(&world, 1)[..] else { panic!("{:?}", world.ends[1].events) };
    assert_eq!((*number, *source), (Some(5), world.ends[2].address));
    let datagram = datagram.clone();
    world.inject(RELAY, 0, &datagram);
    assert!(world.got(2, 0, 2), "the owner has opened it");
    let moved =
        |event: &Event| matches!(event, Event::EndpointChanged { new, timestamp_sent: None, .. } if *new == RELAY);
    assert!(world.ends[0].events.iter().any(moved), "and answers by the way it came");
}

#[test]
fn the_other_device_calls_at_once_and_later_than_the_first_whatever_its_clock_says() {
    let mut world = shared();
    // The first has called: the client remembers the time.
    let client = world.ends[2].key;
    world.run(s(10));
    let now = world.now(0);
    world.ends[0].tunnel.initiate(now, &client);
    world.send(0, 2, 1);
    world.run(s(1));
    let seen = world.ends[0].tunnel.peers.iter().flatten().find_map(|peer| peer.timestamp_sent);
    assert!(seen.is_some_and(|seen| seen > Tai64N::default()));
    world.ends[1].unix = s(1_000_000_000);
    move_to_the_other(&mut world);
    let mut take_over = |seen: Option<Tai64N>| {
        let now = world.now(1);
        world.tape = Some(Vec::new());
        world.ends[1].tunnel.call(now, &client, None, seen);
        world.run(s(6));
        let client = world.ends[2].address;
        world.tape.take().iter().flatten().any(|flight| flight.from == client && flight.bytes[0] == 2)
    };
    assert!(!take_over(None), "what looks older than what the client knows is a replay to it, and not answered");
    assert!(take_over(seen));
    world.send(2, 0, 3);
    world.run(s(1));
    assert!(world.ends[1].received.contains(&packet(2, 0, 3)), "the client has followed");
}

#[test]
fn a_strangers_index_is_hardly_ever_anybodys() {
    let mut world = shared();
    let mut taken = 0;
    for _ in 0..50_000 {
        let mut datagram = vec![0; 64];
        world.rng.fill(&mut datagram);
        datagram[..4].copy_from_slice(&[4, 0, 0, 0]);
        world.now = Monotonic(world.now.0 + ms(1));
        world.inject(RELAY, 1, &datagram);
    }
    taken += strays(&world, 1).len();
    assert!((10..120).contains(&taken), "about one in 1,024 is expected: {taken}");
}

#[test]
fn a_device_without_a_number_hands_nothing_out() {
    let mut world = World::pair(3, Network::GOOD);
    world.inject(RELAY, 1, &[&[4, 0, 0, 0][..], &[9; 60]].concat());
    assert!(!world.ends[1].events.iter().any(|event| matches!(event, Event::Stray { .. })));
    assert!(world.ends[1].events.iter().any(|event| matches!(event, Event::UnknownSession { .. })));
}

#[test]
fn a_device_calls_a_peer_through_another_one_and_the_peers_answer_says_whose_it_is() {
    let mut world = shared();
    let client = world.ends[2].key;
    let there = world.ends[0].tunnel.place(&client).expect("it has sent something");
    assert_eq!((there.endpoint, there.timestamp_sent), (world.ends[2].address, None));
    // The first call goes to where nobody is, the second one at once through the first device.
    for relay in [SocketAddr::new(RELAY.ip(), 9), RELAY] {
        let now = world.now(1);
        assert!(world.ends[1].tunnel.call(now, &client, Some(relay), there.timestamp_sent));
    }
    let sent = std::iter::from_fn(|| world.ends[1].tunnel.poll_transmit()).last().expect("an initiation");
    assert_eq!(sent.endpoint.remote, RELAY);
    let known = world.ends[1].tunnel.place(&client).map(|place| place.endpoint);
    assert_eq!(known, Some(world.ends[2].address), "nobody has answered from there yet");
    let (client_address, before) = (world.ends[0].address, world.ends[1].tunnel.counters().handshakes);
    world.inject(client_address, 2, sent.packet.packet());
    world.run(s(1));
    let [(Some(63), _, response)] = &strays(&world, 0)[..] else { panic!("{:?}", world.ends[0].events) };
    let mut forged = response.clone();
    forged[20] ^= 1;
    world.inject(RELAY, 0, &forged);
    assert_eq!(strays(&world, 0).len(), 1, "who does not know the key is not passed on");
    let response = response.clone();
    world.inject(RELAY, 1, &response);
    world.run(ms(10));
    assert_eq!(world.ends[1].tunnel.counters().handshakes, before + 1);
    assert_eq!(world.ends[1].tunnel.place(&client).map(|place| place.endpoint), Some(RELAY));
}

#[test]
fn a_peer_that_was_given_away_is_heard_for_a_device_that_numbers_nothing_and_a_stranger_is_not() {
    let mut world = shared();
    // End 1 is as the kernel's WireGuard.
    world.ends[1].tunnel = started(8, &world.ends[0].private);
    world.introduce(1, 2);
    let (client, source, server) = (world.ends[2].key, world.ends[2].address, world.ends[0].address);
    world.ends[0].tunnel.give_away(source, true);
    let now = world.now(1);
    assert!(world.ends[1].tunnel.call(now, &client, Some(RELAY), None));
    let sent = std::iter::from_fn(|| world.ends[1].tunnel.poll_transmit()).last().expect("an initiation");
    // Through end 0, by whose address the client knows its server.
    world.inject(server, 2, sent.packet.packet());
    world.run(s(1));
    let [(None, from, response)] = &strays(&world, 0)[..] else { panic!("{:?}", world.ends[0].events) };
    let (from, response) = (*from, response.clone());
    assert_eq!(from, source);
    world.tape = Some(Vec::new());
    world.inject(RELAY, 1, &response);
    let tape = world.tape.take().unwrap_or_default();
    let confirmed = tape.iter().find(|flight| flight.to == RELAY && flight.bytes[0] == 4).expect("a packet");
    world.inject(server, 2, &confirmed.bytes);
    world.send(2, 0, 9);
    world.run(ms(100));
    let heard = strays(&world, 0);
    assert_eq!((heard.len(), heard[1].0, heard[1].2[0]), (2, None, 4), "and so are packets of the session");
    world.inject(RELAY, 1, &heard[1].2.clone());
    assert!(world.ends[1].received.contains(&packet(2, 0, 9)));

    let mut forged = response.clone();
    forged[20] ^= 1;
    world.inject(source, 0, &forged);
    for stranger in [RELAY, SocketAddr::new(source.ip(), source.port() ^ 1)] {
        world.inject(stranger, 0, &response);
        world.inject(stranger, 0, &heard[1].2.clone());
    }
    assert_eq!(strays(&world, 0).len(), 2, "who knows neither the key nor where the client is");
    world.ends[0].tunnel.give_away(source, false);
    world.inject(source, 0, &response);
    world.inject(source, 0, &heard[1].2.clone());
    assert_eq!(strays(&world, 0).len(), 2, "nor is anybody, when it is over");
}

#[test]
fn a_peer_whose_sessions_are_forgotten_is_sent_nothing_until_it_calls() {
    let mut world = shared();
    let client = world.ends[2].key;
    world.send(2, 0, 5);
    world.run(ms(100));
    world.ends[0].tunnel.forget_sessions(&client);
    world.tape = Some(Vec::new());
    // After fifteen seconds without an answer the client calls.
    world.run(s(14));
    let (server, tape) = (world.ends[0].address, world.tape.take().unwrap_or_default());
    let said = tape.iter().filter(|flight| flight.from == server).count();
    assert_eq!(said, 0, "not even the keepalive that is due ten seconds after a packet");
    for payload in [6, 7] {
        world.send(2, 0, payload);
        world.run(s(30));
    }
    assert!(world.got(2, 0, 7));
}

#[test]
fn a_peer_that_has_answered_a_call_is_there_whatever_is_still_under_way_elsewhere() {
    let mut world = shared();
    let (client, place) = (world.ends[2].key, world.ends[2].address);
    let now = world.now(0);
    assert!(world.ends[0].tunnel.call(now, &client, Some(place), None));
    world.configure(0, &ConfigureDevice::default());
    world.run(ms(500));
    // The client has heard something through another device, and sends its next packets there.
    world.ends[2].address = SocketAddr::new(RELAY.ip(), 8);
    let seen_at = |world: &World| world.ends[0].tunnel.place(&client).map(|found| found.endpoint);
    world.tape = Some(Vec::new());
    for payload in 0..3 {
        world.send(2, 0, payload);
        world.run(ms(20));
    }
    assert_eq!(seen_at(&world), Some(place));
    let reminders = world.tape.take().unwrap_or_default();
    let reminders = reminders.iter().filter(|flight| flight.to == place && flight.bytes.len() == 32).count();
    assert_eq!(reminders, 1, "it is told where it was called, but not for each packet");
    assert!((0..3).all(|payload| world.got(2, 0, payload)));
    world.run(s(2));
    world.send(2, 0, 9);
    world.run(ms(500));
    assert_eq!(seen_at(&world), Some(world.ends[2].address), "after two seconds it may move again");
}

#[test]
fn a_recorded_initiation_makes_no_device_with_a_shared_key_call_anybody() {
    let mut world = World::new(7, 3, Network::GOOD);
    let private = world.ends[0].private.clone();
    world.configure(0, &ConfigureDevice { private_key: Some(private), number: Some(5), ..ConfigureDevice::default() });
    world.introduce(0, 2);
    world.introduce(2, 0);
    world.tape = Some(Vec::new());
    world.send(2, 0, 1);
    world.run(s(200));
    let old =
        world.tape.iter().flatten().find(|flight| flight.bytes[0] == 1).map(|flight| flight.bytes.clone()).unwrap();
    world.send(2, 0, 2);
    world.run(s(100));
    world.inject(RELAY, 0, &old);
    world.run(s(20));
    assert_eq!(world.ends[0].tunnel.counters().rx_replayed_handshake, 1);
    let from_server = |flight: &&Flight| flight.from == world.ends[0].address && flight.bytes[0] == 1;
    assert_eq!(world.tape.iter().flatten().filter(from_server).count(), 0, "its peer may be with the other one");
}

#[test]
fn of_several_places_where_a_server_may_be_the_first_that_answers_has_the_session() {
    for (dead, near) in [(0, 1), (1, 0)] {
        let mut world = World::new(11, 3, Network::GOOD);
        let private = world.ends[0].private.clone();
        (world.ends[1].private, world.ends[1].key) = (private.clone(), world.ends[0].key);
        let key = world.ends[0].key;
        for (end, number) in [(0, 5), (1, 63)] {
            let private_key = Some(private.clone());
            world.configure(end, &ConfigureDevice { private_key, number: Some(number), ..ConfigureDevice::default() });
            world.introduce(end, 2);
        }
        // Its endpoint is a black hole, and so is one of the two.
        world.introduce(2, 0);
        let places = [world.ends[0].address, RELAY, world.ends[1].address];
        let allowed_ips = (0..2).map(|end| IpAddr::V4(inner(end)).into()).collect();
        let peer = ConfigurePeer { endpoint: Some(RELAY), allowed_ips, ..ConfigurePeer::new(key) };
        world.configure_peer(2, peer);
        world.cut = vec![(2, dead)];
        world.send(2, near, 1);
        let now = world.now(2);
        world.ends[2].tunnel.race(now, &key, &places);
        world.configure(2, &ConfigureDevice::default());
        world.run(ms(100));
        assert!(world.got(2, near, 1), "within a round trip and a half");
        assert_eq!(world.ends[2].tunnel.place(&key).map(|place| place.endpoint), Some(world.ends[near].address));
    }
}

#[test]
fn of_several_servers_that_answer_a_race_only_one_has_the_client() {
    let mut world = World::new(12, 3, Network::GOOD);
    let (private, key) = (world.ends[0].private.clone(), world.ends[0].key);
    (world.ends[1].private, world.ends[1].key) = (private.clone(), key);
    world.configure(1, &ConfigureDevice { private_key: Some(private), ..ConfigureDevice::default() });
    (0..2).for_each(|end| world.introduce(end, 2));
    world.introduce(2, 0);
    let now = world.now(2);
    let places = [world.ends[0].address, world.ends[1].address];
    world.ends[2].tunnel.race(now, &key, &places);
    world.configure(2, &ConfigureDevice::default());
    world.run(s(1));
    // The other one has answered, and waits for the first packet of a session that nobody has.
    let handshakes = [0, 1].map(|end| world.ends[end].tunnel.counters().handshakes);
    assert_eq!(handshakes.iter().sum::<u64>(), 1, "{handshakes:?}");
}
