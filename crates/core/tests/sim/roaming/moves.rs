//! Clients move while everything else works: how fast everybody knows, and what it costs.

use wayleave_core::node::Event;
use wayleave_core::node::claims::drain::Way;

use crate::random::Dice;
use crate::roamers::{servers, servers_with};
use crate::wire::{MS, S};
use crate::world::World;

/// The longest round trip between two hosts, in microseconds, as far as it may waver.
fn longest_round_trip(world: &World) -> u64 {
    world.wires.iter().map(|wire| 2 * (wire.one_way_us + wire.jitter_us)).max().unwrap_or(0)
}

/// A world of twelve servers whose messages come twice and in any order, and of clients that are with any of them.
fn wavering(seed: u64) -> (World, Dice) {
    let mut world = World::new(servers(12, 40, seed), seed);
    let mut dice = Dice(seed ^ 0x0a3e);
    for wire in &mut world.wires {
        (wire.twice_permille, wire.jitter_us) = (200, 20 * MS);
    }
    world.run(10 * S);
    for client in 0..40 {
        let client = world.roamer(&format!("c{}", client + 1), 20 * S);
        let (to, wait) = (dice.roll(12) as usize, dice.roll(5 * S));
        world.rove(client, Some(to), wait);
    }
    world.run(30 * S);
    world.roamers.disturbed_at = world.now;
    (world, dice)
}

#[test]
fn no_client_belongs_to_two_servers_for_longer_than_a_round_trip() {
    let (mut longest, mut known) = (0.0_f64, 0.0_f64);
    for seed in 0..8 {
        let (mut world, mut dice) = wavering(seed);
        for _ in 0..200 {
            let (client, to) = (dice.roll(40) as usize, dice.roll(12) as usize);
            world.rove(client, Some(to), 0);
            let wait = dice.roll(4 * S);
            world.run(wait);
        }
        world.run(5 * S);
        assert!(world.disputed().is_empty(), "seed {seed}: {:?}", world.disputed());
        let worst = world.roamers.disputes.iter().max().copied().unwrap_or_default();
        let round_trip = longest_round_trip(&world);
        longest = longest.max(worst.0 as f64 / round_trip as f64);
        assert!(worst.0 <= round_trip, "seed {seed}: {worst:?} of {round_trip}");
        let spread = (0..40).map(|client| world.roamers.spread_us(client)).max().unwrap_or_default();
        known = known.max(spread as f64 / round_trip as f64);
        assert!(spread <= round_trip, "seed {seed}: it took {spread} of {round_trip} until all knew");
        assert!(world.roamers.disputes.len() > 50, "seed {seed}: {}", world.roamers.disputes.len());
    }
    println!(
        "in longest round trips: a client belonged to two of 12 servers for {longest:.2}, all knew after {known:.2}"
    );
}

#[test]
fn everybody_knows_with_which_of_twelve_look_alike_servers_each_of_forty_look_alike_clients_is() {
    let (mut world, mut dice) = wavering(77);
    for _ in 0..10 {
        for client in 0..40 {
            let to = dice.roll(12) as usize;
            world.rove(client, Some(to), 0);
        }
        world.run(2 * S);
        for (host, client) in (0..12).flat_map(|host| (0..40).map(move |client| (host, client))) {
            let (believed, at) = (world.server_of(host, client), world.roamers.all[client].at);
            assert_eq!(believed, at, "{} of {}", world.hosts[host].name, world.roamers.all[client].name);
        }
    }
}

#[test]
fn a_client_that_comes_back_to_an_older_session_is_found_without_a_handshake() {
    let mut world = World::new(servers(3, 1, 3), 3);
    world.run(10 * S);
    let client = world.roamer("c1", 2 * S);
    for to in [0, 1, 0] {
        world.rove(client, Some(to), 0);
        world.run(10 * S);
        let believed: Vec<_> = (0..3).map(|host| world.server_of(host, client)).collect();
        assert_eq!(believed, [Some(to); 3]);
    }
}

#[test]
fn packets_that_were_under_way_to_the_old_server_take_nobody_back() {
    let mut world = World::new(servers(3, 1, 4), 4);
    world.run(10 * S);
    let client = world.roamer("c1", 20 * S);
    world.rove(client, Some(0), 0);
    world.run(S);
    world.rove(client, Some(1), 0);
    world.run(400 * MS);
    for _ in 0..5 {
        world.roamer_is_seen(0, client, false);
        world.run(100 * MS);
    }
    assert_eq!((world.server_of(0, client), world.server_of(1, client)), (Some(1), Some(1)));
}

#[test]
fn a_silent_client_is_let_go_after_a_quarter_of_an_hour_and_not_before() {
    let mut world = World::new(servers(3, 1, 5), 5);
    world.run(10 * S);
    let client = world.roamer("c1", 10 * S);
    world.rove(client, Some(2), 0);
    world.run(60 * S);
    world.rove(client, None, 0);
    world.run(885 * S);
    assert_eq!(world.server_of(0, client), Some(2));
    world.run(20 * S);
    assert_eq!((0..3).map(|host| world.server_of(host, client)).collect::<Vec<_>>(), [None; 3]);
}

#[test]
fn a_server_that_drains_is_empty_in_five_seconds_and_who_lives_is_with_the_nearest_that_takes_clients() {
    for also_drains in [None, Some(0)] {
        let mut world = World::new(servers(3, 4, 6), 6);
        let nearest = world.wires.iter().filter(|wire| wire.ends.contains(&2)).min_by_key(|wire| wire.one_way_us);
        assert_eq!(nearest.map(|wire| wire.ends[0]), Some(0));
        let with = usize::from(also_drains.is_some());
        world.run(10 * S);
        let all = ["c1", "c2", "c3", "c4"].map(|name| world.roamer(name, 5 * S));
        let [_, hidden, silent, moves] = all;
        all.into_iter().for_each(|client| world.rove(client, Some(2), 0));
        world.roamers.all[hidden].is_behind_nat = true;
        world.run(10 * S);
        world.rove(silent, None, 0);
        world.rove(moves, Some(1), 0);
        world.run(2 * S);
        also_drains.into_iter().for_each(|other| world.tell(other, Event::Drain(true)));
        world.tell(2, Event::Drain(true));
        world.run(5 * S);
        assert_eq!(world.hosts[2].agent.as_ref().unwrap().held(), 0);
        for host in 0..3 {
            let servers = all.map(|client| world.server_of(host, client));
            assert_eq!(servers, [Some(with), Some(with), None, Some(1)], "as {host} knows");
        }
        world.run(60 * S);
        assert_eq!(all.map(|client| world.server_of(0, client)), [Some(with), Some(with), None, Some(1)]);
    }
}

#[test]
fn only_who_has_a_client_can_give_it_away_and_only_to_who_takes_clients() {
    let mut world = World::new(servers(3, 2, 9), 9);
    world.run(10 * S);
    let [taken, absent] = ["c1", "c2"].map(|name| world.roamer(name, 5 * S));
    world.rove(taken, Some(2), 0);
    world.run(10 * S);
    let mut offered = |from: usize, client: usize, to: usize, declined: u64| {
        let (to_name, client) = (world.hosts[to].name.clone(), world.roamers.all[client].name.clone());
        world.hand_over(from, client, to_name, Way::Direct);
        world.tell(from, Event::Drain(false));
        world.run(S);
        assert_eq!(world.hosts[to].agent.as_ref().unwrap().counters().declined, declined, "{from} to {to}");
        world.server_of(0, taken)
    };
    assert_eq!(offered(0, taken, 1, 1), Some(2), "it is not with the one that offers it");
    assert_eq!(offered(2, absent, 1, 2), Some(2), "it is with nobody");
    assert_eq!(offered(2, taken, 1, 2), Some(1));
    world.tell(0, Event::Drain(true));
    let mut offered_to_draining = |to: usize| {
        let (to_name, client) = (world.hosts[to].name.clone(), world.roamers.all[taken].name.clone());
        world.hand_over(1, client, to_name, Way::Direct);
        world.tell(1, Event::Drain(false));
        world.run(S);
        world.hosts[to].agent.as_ref().unwrap().counters().declined
    };
    assert_eq!(offered_to_draining(0), 1);
}

#[test]
fn a_server_that_drains_alone_serves_who_stays_and_lets_go_who_is_silent() {
    let mut world = World::new(servers(2, 2, 6), 6);
    world.run(10 * S);
    let [stays, silent] = ["c1", "c2"].map(|name| world.roamer(name, 5 * S));
    [stays, silent].into_iter().for_each(|client| world.rove(client, Some(1), 0));
    world.run(10 * S);
    world.kill_host(0);
    world.run(5 * S);
    world.tell(1, Event::Drain(true));
    world.rove(silent, None, 0);
    let held = |world: &mut World, wait_s: u64| {
        world.run(wait_s * S);
        world.hosts[1].agent.as_ref().unwrap().held()
    };
    assert_eq!((held(&mut world, 20), held(&mut world, 30)), (2, 1));
}

#[test]
fn a_server_that_ends_lets_all_its_clients_go_however_many() {
    let mut world = World::new(servers(3, 600, 8), 8);
    world.run(10 * S);
    for client in 0..600 {
        let client = world.roamer(&format!("c{}", client + 1), 1_000 * S);
        world.rove(client, Some(2), 0);
    }
    world.run(10 * S);
    assert_eq!((0..600).filter(|client| world.server_of(0, *client) == Some(2)).count(), 600);
    world.end(2);
    world.run(S);
    assert_eq!((0..600).filter(|client| world.server_of(0, *client).is_some()).count(), 0);
}

#[test]
fn an_agent_that_is_restarted_keeps_its_clients_and_one_without_device_is_asked_for_them_no_longer() {
    let mut world = World::new(servers(3, 2, 7), 7);
    world.run(10 * S);
    let (stays, vanishes) = (world.roamer("c1", 10 * S), world.roamer("c2", 10 * S));
    world.rove(stays, Some(1), 0);
    world.rove(vanishes, Some(1), 0);
    world.run(20 * S);
    world.leave(1);
    world.rove(vanishes, None, 0);
    world.run(20 * S);
    assert_eq!(world.server_of(0, stays), Some(1), "the device stays, so the client is served");
    world.start_agent(1);
    world.run(60 * S);
    assert_eq!((world.server_of(0, stays), world.server_of(1, stays)), (Some(1), Some(1)));
    assert_eq!((world.server_of(0, vanishes), world.server_of(1, vanishes)), (None, None));
}

#[test]
fn a_server_that_dies_takes_its_claims_along_as_soon_as_its_links_are_known_to_be_down() {
    let mut world = World::new(servers(12, 1, 8), 8);
    world.run(10 * S);
    let client = world.roamer("c1", 5 * S);
    world.rove(client, Some(5), 0);
    world.flow(0, 5, world.now + 60 * S);
    world.run(10 * S);
    world.kill_host(5);
    world.rove(client, None, 0);
    world.run(3 * S);
    for host in (0..12).filter(|host| *host != 5) {
        let agent = world.hosts[host].agent.as_ref().unwrap();
        let lost: Vec<_> = agent.lost_clients().map(|(client, server)| (client.as_str(), server.as_str())).collect();
        let server = world.hosts[5].name.as_str();
        assert_eq!(lost, [("c1", server)], "{}", world.hosts[host].name);
    }
    world.rove(client, Some(7), 0);
    world.run(S);
    for host in (0..12).filter(|host| *host != 5) {
        assert_eq!(world.server_of(host, client), Some(7));
        assert_eq!(world.hosts[host].agent.as_ref().unwrap().lost_clients().count(), 0);
    }
}

#[test]
fn a_thousand_clients_of_one_of_fifty_servers_are_with_others_within_five_seconds_and_none_is_with_nobody_for_one() {
    let mut world = World::new(servers(50, 1_000, 10), 10);
    world.run(10 * S);
    for at in 0..1_000 {
        let client = world.roamer(&format!("c{}", at + 1), 5 * S);
        world.rove(client, Some(2), 0);
        // As many as can go on through the server that drains, and some that are gone.
        world.roamers.all[client].is_behind_nat = at % 4 == 1;
    }
    world.run(10 * S);
    assert_eq!(world.hosts[2].agent.as_ref().unwrap().held(), 1_000);
    let silent = |client: &usize| client % 50 == 3;
    (0..1_000).filter(silent).for_each(|client| world.rove(client, None, 0));
    world.run(S);
    world.tell(2, Event::Drain(true));
    // As the farthest and the nearest know it, ten times a second.
    let mut alone = [[0_u64; 1_000]; 2];
    let (mut empty_us, mut longest_us) = (None, 0);
    for tenth in 1..=60 {
        world.run(100 * MS);
        for (host, alone) in [0, 49].into_iter().zip(&mut alone) {
            for client in (0..1_000).filter(|client| !silent(client)) {
                alone[client] = if world.server_of(host, client).is_none() { alone[client] + 100 * MS } else { 0 };
                longest_us = longest_us.max(alone[client]);
            }
        }
        if world.hosts[2].agent.as_ref().unwrap().held() == 0 {
            empty_us.get_or_insert(tenth * 100 * MS);
        }
    }
    println!("a server with 1,000 clients empty after {empty_us:?} us, nobody alone for more than {longest_us} us");
    assert!(empty_us.is_some_and(|us| us < 5 * S), "{empty_us:?}");
    assert!(longest_us < S, "{longest_us}");
    for client in 0..1_000 {
        let believed = [0, 1, 2, 49].map(|host| world.server_of(host, client));
        assert!(believed.iter().all(|server| *server == believed[0]), "{client}: {believed:?}");
        assert_eq!((believed[0].is_none(), believed[0] == Some(2)), (silent(&client), false), "{client}");
    }
}

/// Messages that twelve servers in a full mesh send each other while so many clients move in a minute.
fn messages(bgp: &str, moves: u64) -> u64 {
    let mut world = World::new(servers_with(12, 40, 5, bgp), 5);
    world.run(20 * S);
    for client in 0..40 {
        let client = world.roamer(&format!("c{}", client + 1), 20 * S);
        world.rove(client, Some(client % 12), 0);
    }
    world.run(30 * S);
    let sent = |world: &World| -> u64 {
        world.hosts.iter().filter_map(|host| host.agent.as_ref()).map(|agent| agent.counters().sent).sum()
    };
    let before = sent(&world);
    for at in 0..moves {
        world.rove((at % 40) as usize, Some(((at * 7 + 3) % 12) as usize), 0);
        world.run(60 * S / moves);
    }
    world.run(if moves == 0 { 65 * S } else { 5 * S });
    assert!(world.disputed().is_empty(), "{:?}", world.disputed());
    sent(&world) - before
}

#[test]
fn where_bgp_tells_of_clients_agents_send_each_other_nothing_of_them() {
    let bgp = "[bgp]\nasn = 4200000001\nexchange = \"bgp\"\nreflectors = [\"s1\", \"s2\"]\n";
    let [[idle, moving], [idle_bgp, moving_bgp]] = ["", bgp].map(|more| [0, 200].map(|moves| messages(more, moves)));
    println!(
        "messages of 12 servers in a minute: {idle}, with 200 moves {moving}; by BGP {idle_bgp}, with 200 moves {moving_bgp}"
    );
    // Each claim, and each receipt, goes over eleven links at least.
    assert!(moving > idle + 200 * 11, "{moving} and {idle}");
    assert!(moving_bgp <= idle_bgp + idle_bgp / 10, "{moving_bgp} and {idle_bgp}");
}
