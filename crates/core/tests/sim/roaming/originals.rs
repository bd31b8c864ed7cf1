//! What the scripts did wrong that this takes the place of (`wg-route`), each as a test that they would fail.
//!
//! They compared the times of handshakes by the clocks of different servers, believed whoever opened a TCP connection, searched
//! for addresses as parts of texts, withdrew nothing, asked for every client on its own, and ended on a peer they did not know.

use wayleave_core::limits::EXCHANGE_GENERATION_MAX;
use wayleave_core::names::Name;
use wayleave_core::node::exchange::record::{Claim, Record};
use wayleave_core::node::exchange::wire::{Header, Part, encode};
use wayleave_core::node::{Event, Node, Output, Time};

use crate::roamers::servers;
use crate::wire::S;
use crate::world::World;

const YEAR: u64 = 365 * 86_400 * S;

/// Three servers, or as many, and one client that is with the first of them.
fn with_client(count: usize, seed: u64) -> (World, usize) {
    let mut world = World::new(servers(count, 1, seed), seed);
    world.run(10 * S);
    let client = world.roamer("c1", 5 * S);
    world.rove(client, Some(0), 0);
    world.run(10 * S);
    (world, client)
}

fn believed(world: &World, client: usize) -> Vec<Option<usize>> {
    (0..world.hosts.len()).map(|host| world.server_of(host, client)).collect()
}

#[test]
fn a_server_whose_clock_is_fast_does_not_keep_a_client_that_has_left() {
    let (mut world, client) = with_client(3, 1);
    world.jump(0, 10 * YEAR);
    world.run(20 * S);
    for to in [1, 2, 0, 1] {
        world.rove(client, Some(to), 0);
        world.run(2 * S);
        assert_eq!(believed(&world, client), [Some(to); 3]);
    }
}

#[test]
fn a_clock_that_jumps_while_a_client_is_there_pins_it_nowhere() {
    let (mut world, client) = with_client(3, 2);
    for round in 0..6 {
        let (at, to) = (round % 3, (round + 1) % 3);
        world.jump(at, YEAR);
        world.run(S);
        world.jump(to, 3 * YEAR);
        world.rove(client, Some(to), 0);
        // Who jumped takes its links for silent, and looks.
        world.run(20 * S);
        assert_eq!(believed(&world, client), [Some(to); 3], "round {round}");
    }
}

#[test]
fn the_tenth_server_is_not_taken_for_the_first() {
    let (mut world, client) = with_client(12, 3);
    for name in ["s1", "s10", "s11", "s12", "s2", "s1"] {
        let to = world.find(name);
        world.rove(client, Some(to), 0);
        world.run(2 * S);
        assert_eq!(believed(&world, client), vec![Some(to); 12], "{name}");
    }
}

#[test]
fn who_is_connected_and_stays_costs_no_messages() {
    let messages = |clients: usize| {
        let mut world = World::new(servers(6, 100, 4), 4);
        world.run(10 * S);
        for at in 0..clients {
            let client = world.roamer(&format!("c{}", at + 1), 20 * S);
            world.rove(client, Some(at % 6), 0);
        }
        world.run(600 * S);
        let sent =
            |world: &World| world.hosts.iter().map(|host| host.agent.as_ref().unwrap().counters().sent).sum::<u64>();
        let before = sent(&world);
        world.run(3_600 * S);
        sent(&world) - before
    };
    let (none, hundred) = (messages(0), messages(100));
    println!("messages in an idle hour of 6 servers: {none} without clients, {hundred} with 100 that stay");
    assert!(none > 0 && hundred <= none + none / 10, "{none} {hundred}");
}

#[test]
fn a_server_that_starts_anew_is_told_of_all_clients() {
    let (mut world, client) = with_client(3, 5);
    for host in [1, 2, 0] {
        world.kill_host(host);
        world.run(2 * S);
        world.start_agent(host);
        world.run(20 * S);
        assert_eq!(believed(&world, client), [Some(0); 3], "after {host} has started anew");
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn claim(client: &str, server: &str, epoch: u32) -> Record {
    Record::Client { client: name(client), epoch, claim: Claim { held: true, server: name(server) } }
}

fn drain(node: &mut Node, now: Time) -> Vec<Output> {
    std::iter::from_fn(|| node.poll(now)).collect()
}

/// The first of three servers, which has looked around and is then sent records by somebody.
fn told(from: &str, records: Vec<Record>) -> Node {
    let mut node = Node::new(servers(3, 2, 1), &name("s1"), 1, Time::default()).unwrap();
    let now = Time::from_us(5 * S);
    drain(&mut node, now);
    let bytes = encode(&Header { number: 1, boot: 9, ..Header::default() }, &[Part::Records(records)]);
    node.handle(Event::Received { from: name(from), bytes }, now);
    drain(&mut node, now);
    node
}

fn server_of<'a>(node: &'a Node, client: &str) -> Option<&'a str> {
    node.claims().of(&name(client)).map(Name::as_str)
}

#[test]
fn claims_count_only_if_they_come_over_a_link() {
    assert_eq!(server_of(&told("s2", vec![claim("c1", "s2", 4)]), "c1"), Some("s2"));
    // A client, a host of a site, somebody on the internet, and the node itself.
    for from in ["c1", "c2", "host", "s1"] {
        let node = told(from, vec![claim("c1", "s2", 4)]);
        assert_eq!((server_of(&node, "c1"), node.counters().strange, node.counters().received), (None, 1, 0));
    }
}

#[test]
fn a_claim_for_who_is_no_entry_server_has_no_effect_and_is_counted() {
    for server in ["somebody", "c2"] {
        let mut node = told("s2", vec![claim("c1", server, 7)]);
        assert_eq!((server_of(&node, "c1"), node.counters().unentitled), (None, 1));
        // Nor does it stand in anybody's way.
        node.handle(Event::ClientHere { client: name("c1") }, Time::from_us(6 * S));
        assert_eq!(server_of(&node, "c1"), Some("s1"));
    }
}

#[test]
fn an_epoch_beyond_all_bounds_is_refused_and_counted_and_pins_no_client() {
    let mut node = told("s2", vec![claim("c1", "s2", 4), claim("c1", "s3", EXCHANGE_GENERATION_MAX + 1)]);
    assert_eq!((server_of(&node, "c1"), node.counters().refused), (Some("s2"), 1));
    node.handle(Event::ClientHere { client: name("c1") }, Time::from_us(6 * S));
    assert_eq!(server_of(&node, "c1"), Some("s1"));
}

#[test]
fn claims_of_clients_that_the_file_does_not_have_are_passed_on_and_believed_when_it_has_them() {
    let mut node = told("s2", vec![claim("c7", "s2", 4)]);
    assert_eq!((server_of(&node, "c7"), node.claims().iter().len()), (None, 0));
    let now = Time::from_us(7 * S);
    node.adopt(servers(3, 9, 1), now).unwrap();
    assert_eq!(server_of(&node, "c7"), Some("s2"));
    node.adopt(servers(3, 2, 1), now).unwrap();
    assert_eq!((server_of(&node, "c7"), node.claims().iter().len()), (None, 0));
    let told: Vec<_> = drain(&mut node, now)
        .into_iter()
        .filter_map(|output| if let Output::Claims { changed } = output { Some(changed) } else { None })
        .collect();
    assert_eq!(told, [vec![(name("c7"), None)]]);
}

#[test]
fn signs_of_clients_and_servers_that_the_file_does_not_have_are_passed_over() {
    let mut node = told("s2", Vec::new());
    let now = Time::from_us(6 * S);
    for client in ["nobody", "s2", "s1"].map(name) {
        node.handle(Event::ClientHere { client: client.clone() }, now);
        node.handle(Event::ClientHeard { client: client.clone() }, now);
        node.handle(Event::ClientGone { client }, now);
    }
    assert_eq!((node.claims().iter().len(), node.held(), node.counters().claims), (0, 0, 0));
}

#[test]
fn what_is_seen_before_the_node_has_looked_around_is_claimed_then_with_the_epoch_that_others_know() {
    let mut node = Node::new(servers(3, 2, 1), &name("s1"), 1, Time::default()).unwrap();
    node.handle(Event::ClientHere { client: name("c1") }, Time::from_us(1_000));
    node.handle(Event::ClientHeard { client: name("c2") }, Time::from_us(1_000));
    let records = vec![claim("c1", "s2", 40), claim("c2", "s3", 50)];
    let bytes = encode(&Header { number: 1, boot: 9, ..Header::default() }, &[Part::Records(records)]);
    let now = Time::from_us(100_000);
    node.handle(Event::Received { from: name("s2"), bytes }, now);
    drain(&mut node, now);
    assert_eq!((server_of(&node, "c1"), server_of(&node, "c2")), (Some("s2"), Some("s3")));
    let now = Time::from_us(5 * S);
    drain(&mut node, now);
    // Packets over an old session are no reason yet to take somebody from another server.
    // Packets over an old session take nobody from a server that others know of.
    assert_eq!((server_of(&node, "c1"), server_of(&node, "c2"), node.held()), (Some("s1"), Some("s3"), 1));
}
