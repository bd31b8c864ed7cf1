//! Changes on a running device: peers, keys, prefixes, endpoints; and that other peers don't feel them.
//!
//! The usual world is a star: end 0 knows ends 1 and 2, something is changed for end 1, and end 2 must keep its session.
//! Handshake counters tell whether it did.

use super::*;
use crate::keys::PresharedKey;

fn talk(world: &mut World, from: usize, to: usize, payload: u64) -> bool {
    world.send(from, to, payload);
    world.run(s(1));
    world.got(from, to, payload)
}

/// A hub (0) that knows two ends, each of which knows the hub.
fn star() -> World {
    let mut world = World::new(1, 3, Network::GOOD);
    for leaf in [1, 2] {
        world.introduce(0, leaf);
        world.introduce(leaf, 0);
    }
    assert!(talk(&mut world, 1, 0, 1) && talk(&mut world, 2, 0, 1));
    world
}

#[test]
fn preshared_keys_must_agree() {
    let mut world = World::pair(2, Network::GOOD);
    let with_psk = |world: &World, whom: usize, byte: u8| {
        let mut peer = ConfigurePeer::new(world.ends[whom].key);
        peer.preshared_key = Some(PresharedKey::new([byte; 32]));
        peer
    };
    let peer = with_psk(&world, 1, 7);
    world.configure_peer(0, peer);
    assert!(!talk(&mut world, 0, 1, 1));
    let peer = with_psk(&world, 0, 7);
    world.configure_peer(1, peer);
    world.run(s(10));
    assert!(world.got(0, 1, 1), "the retransmitted initiation went through");
}

#[test]
fn a_removed_peer_is_deaf_and_a_re_added_one_starts_afresh() {
    let mut world = star();
    let before = world.ends[0].tunnel.counters().handshakes;
    let mut removal = ConfigurePeer::new(world.ends[1].key);
    removal.remove = true;
    world.configure_peer(0, removal);
    assert!(!talk(&mut world, 1, 0, 2));
    assert!(talk(&mut world, 2, 0, 2) && talk(&mut world, 0, 2, 2));
    assert_eq!(world.ends[0].tunnel.counters().rx_unknown_session, 1);
    assert!(world.ends[0].events.iter().any(|event| matches!(event, Event::UnknownSession { .. })));
    world.introduce(0, 1);
    assert!(talk(&mut world, 0, 1, 3));
    assert!(talk(&mut world, 1, 0, 4));
    assert_eq!(world.ends[0].tunnel.counters().handshakes, before + 1, "peer 2 kept its session");
}

#[test]
fn an_update_of_one_peer_does_not_touch_its_own_or_other_sessions() {
    let mut world = star();
    let before = world.ends[0].tunnel.counters().handshakes;
    for round in 0..20 {
        let mut peer = ConfigurePeer::new(world.ends[1].key);
        peer.replace_allowed_ips = round % 2 == 0;
        peer.allowed_ips = vec![IpAddr::V4(inner(1)).into(), "172.16.0.0/12".parse().unwrap()];
        peer.persistent_keepalive_s = Some(round);
        peer.endpoint = Some(world.ends[1].address);
        world.configure_peer(0, peer);
        for leaf in [1, 2] {
            assert!(
                talk(&mut world, 0, leaf, u64::from(round) + 10) && talk(&mut world, leaf, 0, u64::from(round) + 10)
            );
        }
    }
    assert_eq!(world.ends[0].tunnel.counters().handshakes, before);
}

#[test]
fn a_prefix_moves_to_who_asks_and_back_without_a_gap() {
    let mut world = star();
    let net: ipnet::IpNet = IpAddr::V4(inner(1)).into();
    let mut thief = ConfigurePeer::new(world.ends[2].key);
    thief.allowed_ips = vec![net];
    world.configure_peer(0, thief);
    assert!(!talk(&mut world, 1, 0, 5), "the source is not peer 1's any more");
    assert_eq!(world.ends[0].tunnel.counters().rx_source_not_allowed, 1);
    world.send(0, 1, 6);
    world.run(s(1));
    assert!(world.ends[2].received.contains(&packet(0, 1, 6)), "its packets go to peer 2");
    let prefixes = |world: &World| -> Vec<usize> {
        world.ends[0].tunnel.describe().peers.iter().map(|peer| peer.allowed_ips.len()).collect()
    };
    assert_eq!(prefixes(&world).iter().sum::<usize>(), 2);
    let mut removal = ConfigurePeer::new(world.ends[1].key);
    removal.remove_allowed_ips = vec![net];
    world.configure_peer(0, removal);
    assert_eq!(prefixes(&world).iter().sum::<usize>(), 2, "who does not own a prefix can't lose it");
    world.introduce(0, 1);
    assert!(talk(&mut world, 1, 0, 7) && talk(&mut world, 0, 1, 7));
}

#[test]
fn the_devices_own_key_is_never_a_peer() {
    let mut world = star();
    let own = world.ends[0].key;
    world.configure_peer(0, ConfigurePeer::new(own));
    assert_eq!(world.ends[0].tunnel.describe().peers.len(), 2);
    let secret = PrivateKey::new([5; 32]);
    world.configure_peer(0, ConfigurePeer::new(secret.public_key()));
    assert_eq!(world.ends[0].tunnel.describe().peers.len(), 3);
    world.configure(0, &ConfigureDevice { private_key: Some(secret), ..Default::default() });
    assert_eq!(world.ends[0].tunnel.describe().peers.len(), 2, "a peer whose key becomes the device's own goes");
}

#[test]
fn a_new_private_key_ends_sending_until_the_other_end_knows_it() {
    let mut world = World::pair(3, Network::GOOD);
    assert!(talk(&mut world, 0, 1, 1));
    world.run(s(10));
    let secret = PrivateKey::new([9; 32]);
    let key = secret.public_key();
    world.configure(0, &ConfigureDevice { private_key: Some(secret), ..Default::default() });
    assert!(!talk(&mut world, 0, 1, 2));
    assert_eq!(world.ends[1].tunnel.counters().rx_unknown_peer, 1);
    world.ends[0].key = key;
    world.introduce(1, 0);
    world.run(s(10));
    assert!(world.got(0, 1, 2) && talk(&mut world, 1, 0, 3));
}

#[test]
fn a_new_private_key_need_not_wait_for_the_last_handshake() {
    let mut world = World::pair(6, Network::GOOD);
    assert!(talk(&mut world, 0, 1, 1));
    let secret = PrivateKey::new([9; 32]);
    let key = secret.public_key();
    world.configure(0, &ConfigureDevice { private_key: Some(secret), ..Default::default() });
    world.ends[0].key = key;
    world.introduce(1, 0);
    assert!(talk(&mut world, 0, 1, 2), "within a second of the handshake with the old key");
    assert!(talk(&mut world, 1, 0, 3));
}

#[test]
fn a_key_that_comes_late_lets_go_what_waited_for_it() {
    let mut world = World::pair(7, Network::GOOD);
    let key = |bytes| ConfigureDevice { private_key: Some(PrivateKey::new(bytes)), ..Default::default() };
    let own = world.ends[0].tunnel.describe().private_key.unwrap();
    world.configure(0, &key([0; 32]));
    let mut keepalive = ConfigurePeer::new(world.ends[1].key);
    keepalive.persistent_keepalive_s = Some(25);
    world.configure_peer(0, keepalive);
    world.run(s(1));
    assert_eq!(world.ends[0].tunnel.describe().peers[0].tx_bytes, 0);
    world.configure(0, &key(*own.expose()));
    world.run(s(1));
    assert!(world.ends[0].tunnel.describe().peers[0].last_handshake.is_some());
}

#[test]
fn peers_and_prefixes_are_listed_in_the_order_in_which_they_came() {
    let mut world = star();
    let mut peers: Vec<PublicKey> = world.ends[0].tunnel.describe().peers.iter().map(|peer| peer.public_key).collect();
    for byte in [9, 3, 200, 1] {
        let mut peer = ConfigurePeer::new(PublicKey([byte; 32]));
        peer.allowed_ips = vec!["fd00::/8".parse().unwrap(), "10.9.0.0/16".parse().unwrap()];
        world.configure_peer(0, peer);
        peers.push(PublicKey([byte; 32]));
    }
    let mut removal = ConfigurePeer::new(peers.remove(1));
    removal.remove = true;
    world.configure_peer(0, removal);
    world.configure_peer(0, ConfigurePeer::new(PublicKey([2; 32])));
    peers.push(PublicKey([2; 32]));
    let mut again = ConfigurePeer::new(PublicKey([1; 32]));
    again.allowed_ips = vec!["10.8.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
    world.configure_peer(0, again);
    let described = world.ends[0].tunnel.describe().peers;
    assert_eq!(described.iter().map(|peer| peer.public_key).collect::<Vec<_>>(), peers);
    let prefixes: Vec<String> = described[4].allowed_ips.iter().map(ToString::to_string).collect();
    assert_eq!(
        prefixes,
        ["10.9.0.0/16", "10.8.0.0/16", "fd00::/8"],
        "what is given again comes last, as in the kernel"
    );
}

#[test]
fn without_a_key_or_down_nothing_is_sent_and_nothing_heard() {
    let mut world = World::pair(4, Network::GOOD);
    let none = ConfigureDevice { private_key: Some(PrivateKey::new([0; 32])), ..Default::default() };
    world.tape = Some(Vec::new());
    world.configure(0, &none);
    assert!(!talk(&mut world, 0, 1, 1) && !talk(&mut world, 1, 0, 1));
    world.ends[1].tunnel.handle_down();
    assert!(!talk(&mut world, 1, 0, 2));
    let address = world.ends[0].address;
    assert!(world.tape.iter().flatten().all(|flight| flight.from != address));
    assert_eq!(world.ends[1].tunnel.activity(), (0, 0));
}

#[test]
fn a_roaming_end_is_followed_and_reported() {
    let mut world = World::pair(5, Network::GOOD);
    assert!(talk(&mut world, 0, 1, 1));
    for round in 0..10 {
        let new = SocketAddr::from(([203, 0, 113, round], 4000));
        world.ends[0].address = new;
        assert!(talk(&mut world, 0, 1, 10 + u64::from(round)));
        assert!(talk(&mut world, 1, 0, 10 + u64::from(round)), "answers go to the new address");
        assert!(
            world.ends[1]
                .events
                .iter()
                .any(|event| matches!(event, Event::EndpointChanged { new: reported, .. } if *reported == new))
        );
    }
    assert_eq!(world.ends[1].tunnel.counters().handshakes, 1);
}

#[test]
fn news_of_traffic_are_told_once_and_only_of_peers_that_had_some() {
    let mut world = star();
    let news = |world: &mut World| {
        let mut keys: Vec<PublicKey> =
            world.ends[0].tunnel.traffic_news().iter().map(|traffic| traffic.public_key).collect();
        keys.sort_unstable();
        keys
    };
    let mut both = vec![world.ends[1].key, world.ends[2].key];
    both.sort_unstable();
    assert_eq!(news(&mut world), both);
    assert_eq!(news(&mut world), vec![]);
    assert!(talk(&mut world, 0, 2, 9));
    let traffic = world.ends[0].tunnel.traffic_news();
    let described = world.ends[0].tunnel.describe();
    let peer = described.peers.iter().find(|peer| peer.public_key == world.ends[2].key).unwrap();
    assert_eq!(traffic.len(), 1);
    assert_eq!(
        (traffic[0].public_key, traffic[0].last_handshake, traffic[0].rx_bytes, traffic[0].tx_bytes),
        (peer.public_key, peer.last_handshake, peer.rx_bytes, peer.tx_bytes)
    );
    // A peer that has gone says nothing more, and one that comes is news.
    assert!(talk(&mut world, 0, 1, 10));
    let mut removal = ConfigurePeer::new(world.ends[1].key);
    removal.remove = true;
    world.configure_peer(0, removal);
    assert_eq!(news(&mut world), vec![]);
    world.introduce(0, 1);
    assert_eq!(news(&mut world), vec![world.ends[1].key]);
}

/// Whether the hub lets in what end 1 sends from an address.
fn lets_in(world: &mut World, source: std::net::Ipv4Addr, payload: u64) -> bool {
    let refused = world.ends[0].tunnel.counters().rx_source_not_allowed;
    let mut packet = packet(1, 0, payload);
    packet[12..16].copy_from_slice(&source.octets());
    world.send_packet(1, &packet);
    world.run(Duration::from_millis(200));
    world.ends[0].tunnel.counters().rx_source_not_allowed == refused
}

#[test]
fn what_a_peer_will_own_is_let_in_before_and_what_it_owned_a_while_after() {
    let mut world = star();
    world.ends[0].tunnel.shared.timing.source_grace = s(2);
    let moved = std::net::Ipv4Addr::new(172, 16, 0, 9);
    let prefix: ipnet::IpNet = "172.16.0.0/24".parse().unwrap();
    let with = |world: &World, whom: usize, allowed: bool| {
        let mut peer = ConfigurePeer::new(world.ends[whom].key);
        if allowed {
            peer.allowed_ips = vec![prefix]
        } else {
            peer.expected_ips = vec![prefix]
        }
        peer
    };
    let peer = with(&world, 2, true);
    world.configure_peer(0, peer);
    assert!(!lets_in(&mut world, moved, 20), "another's");
    let peer = with(&world, 1, false);
    world.configure_peer(0, peer);
    assert!(lets_in(&mut world, moved, 21), "expected");
    assert_eq!(
        world.ends[0].tunnel.shared.allowed_ips.lookup(moved.into()),
        world.ends[0].tunnel.by_key.get(&world.ends[2].key).copied()
    );
    world.run(s(2));
    assert!(!lets_in(&mut world, moved, 22), "it was not given in time");
    let peer = with(&world, 1, true);
    world.configure_peer(0, peer);
    let peer = with(&world, 2, true);
    world.configure_peer(0, peer);
    assert!(lets_in(&mut world, moved, 23), "its own until just now");
    world.run(s(2));
    assert!(!lets_in(&mut world, moved, 24), "that is over");
}

#[test]
fn peers_that_share_their_sources_may_send_from_what_is_anothers_or_nobodys() {
    let mut world = star();
    let mut owner = ConfigurePeer::new(world.ends[2].key);
    owner.allowed_ips = vec!["172.16.0.0/24".parse().unwrap()];
    world.configure_peer(0, owner);
    let [others, nobodys, own] = [[172, 16, 0, 9], [172, 16, 1, 9], [172, 16, 7, 9]].map(std::net::Ipv4Addr::from);
    assert!(!lets_in(&mut world, others, 20) && !lets_in(&mut world, nobodys, 21), "by the rule");
    let common = crate::CommonSources {
        peers: vec![world.ends[1].key],
        within: vec!["172.16.0.0/20".parse().unwrap()],
        without: vec!["172.16.7.0/24".parse().unwrap()],
    };
    let change = crate::ConfigureDevice { common: Some(common), ..Default::default() };
    world.configure(0, &change);
    assert!(lets_in(&mut world, others, 22) && lets_in(&mut world, nobodys, 23));
    assert!(!lets_in(&mut world, own, 24), "an exception");
    let lookup = |world: &World| world.ends[0].tunnel.shared.allowed_ips.lookup(others.into());
    assert_eq!(lookup(&world), world.ends[0].tunnel.by_key.get(&world.ends[2].key).copied(), "packets go to the owner");
    world.configure(0, &crate::ConfigureDevice { common: Some(Default::default()), ..Default::default() });
    assert!(!lets_in(&mut world, others, 25), "it is over");
}
