//! What the exchange and the probes cost: an idle day, and how fast packets flow again, in numbers.

use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::network::Network;
use wayleave_core::plan::LinkState;

use crate::random::{Dice, read};
use crate::wire::{MS, S};
use crate::world::World;

const DAY: u64 = 86_400 * S;
/// UDP and IPv4, or IPv6, around each message of WireGuard.
const UNDERLAY: [u64; 2] = [28, 48];

/// A full mesh of nodes, some of them hubs, in regions far apart.
pub fn mesh(nodes: u64, hubs: u64, seed: u64) -> Arc<Network> {
    let mut dice = Dice(seed);
    let mut text = String::from("[network]\nname = \"mesh\"\nprefixes = [\"10.0.0.0/16\"]\n");
    (0..4).for_each(|region| writeln!(text, "[regions.r{region}]").expect("strings take everything"));
    for node in 0..nodes {
        let (region, hub) = (dice.roll(4), node < hubs);
        let endpoint = format!("198.51.{}.{}:51820", node / 250, node % 250 + 1);
        let _ = writeln!(text, "[nodes.n{node}]\nregion = \"r{region}\"\nendpoint = \"{endpoint}\"\nhub = {hub}");
    }
    text.push_str("[[links]]\nmesh = [\"*\"]\n[rtt_ms]\n");
    for region in 0..4 {
        let _ = write!(text, "r{region} = {{ r{region} = {}", 2 + dice.roll(30));
        (region + 1..4).for_each(|other| {
            let _ = write!(text, ", r{other} = {}", 40 + dice.roll(220));
        });
        text.push_str(" }\n");
    }
    Arc::new(read(&text))
}

#[test]
fn an_idle_day_of_twelve_nodes_costs_each_less_than_a_megabyte() {
    let mut world = World::new(mesh(12, 3, 7), 7);
    world.run(3_600 * S);
    let before: Vec<_> = world.wires.iter().map(|wire| wire.counted).collect();
    world.run(DAY);
    for (family, headers) in ["IPv4", "IPv6"].iter().zip(UNDERLAY) {
        let mut of_node = vec![0_u64; world.hosts.len()];
        for (wire, before) in world.wires.iter().zip(&before) {
            for end in 0..2 {
                let (now, before) = (wire.counted[end], before[end]);
                let bytes = now.sent + now.received - before.sent - before.received;
                let messages =
                    now.messages_sent + now.messages_received - before.messages_sent - before.messages_received;
                of_node[wire.ends[end]] += bytes + messages * headers;
            }
        }
        let (least, most) = (of_node.iter().min().unwrap(), of_node.iter().max().unwrap());
        println!(
            "idle day over {family}, sent and received, all headers and handshakes: {least} to {most} bytes a node"
        );
        assert!(*most < 1_000_000 && *least > 0, "{of_node:?}");
    }
}

#[test]
fn packets_flow_again_within_a_second_of_a_cut_99_times_in_100() {
    let mut times = Vec::new();
    for seed in 0..100 {
        let mut world = World::new(mesh(6, 2, seed), seed);
        let mut dice = Dice(seed);
        let (a, b) = (dice.roll(3) as usize, 3 + dice.roll(3) as usize);
        world.run(5 * S);
        let flow = world.flow(a, b, 30 * S);
        let wait = 3 * S + dice.roll(1_000) * MS;
        world.run(wait);
        let path = world.flows[flow].path.clone();
        let hop = dice.roll(path.len() as u64 - 1) as usize;
        let (x, y) = (path[hop], path[hop + 1]);
        if dice.chance(70) {
            world.cut(x, y, true);
        } else {
            world.wire(x, y).cut[dice.roll(2) as usize] = true;
        }
        world.run(15 * S);
        assert_ne!(world.flows[flow].path, path, "seed {seed}");
        times.push(world.flows[flow].worst / MS);
    }
    times.sort_unstable();
    println!("ms without packets after a cut: median {}, p99 {}, worst {}", times[50], times[98], times[99]);
    assert!(times[98] < 1_000, "{times:?}");
}

/// Times in ms from the beginning of traffic on links that broke unseen until packets arrive, sorted.
fn times_to_notice(is_kernel: bool) -> Vec<u64> {
    let time = |seed| {
        let mut world = World::new(mesh(6, 2, seed), seed);
        world.hosts.iter_mut().for_each(|host| host.carried.is_kernel = is_kernel);
        // Sessions are young, old, or over.
        let idle = Dice(seed).roll(400 * S);
        world.run(10 * S + idle);
        world.cut(2, 5, true);
        world.run(10 * S);
        let began = world.now;
        let flow = world.flow(2, 5, world.now + 20 * S);
        world.run(10 * S);
        (world.flows[flow].first_ok.unwrap_or(u64::MAX) - began) / MS
    };
    let mut times: Vec<u64> = (0..200).map(time).collect();
    times.sort_unstable();
    times
}

#[test]
fn traffic_that_begins_on_a_link_that_broke_unseen_flows_within_a_second() {
    for is_kernel in [false, true] {
        let times = times_to_notice(is_kernel);
        let device = if is_kernel { "the kernel's WireGuard" } else { "the engine" };
        let (median, p99, worst) = (times[100], times[197], times[199]);
        println!(
            "ms until packets flow that begin on a broken link, {device}: median {median}, p99 {p99}, worst {worst}"
        );
        assert!(p99 < 1_000, "{times:?}");
    }
}

/// So many nodes, all linked with five hubs.
fn many(nodes: u64) -> Arc<Network> {
    let mut text = String::from("[network]\nname = \"many\"\nprefixes = [\"10.0.0.0/16\"]\n");
    for node in 0..nodes {
        let hub = node < 5;
        let _ = writeln!(
            text,
            "[nodes.n{node}]\nhub = {hub}\nendpoint = \"198.51.{}.{}:51820\"",
            node / 250,
            node % 250 + 1
        );
    }
    text.push_str("[[links]]\nfrom = [\"*\"]\nto = [\"role:hub\"]\n");
    Arc::new(read(&text))
}

#[test]
fn three_hundred_nodes_hear_of_a_cut_between_hubs_within_a_second() {
    let mut world = World::new(many(300), 1);
    world.run(10 * S);
    let (a, b) = (world.find("n0"), world.find("n1"));
    world.flow(a, b, world.now + 10 * S);
    world.run(3 * S);
    let (names, before) = ((world.hosts[a].name.clone(), world.hosts[b].name.clone()), sent(&world));
    world.cut(a, b, true);
    let cut_at = world.now;
    let knows = |host: &crate::world::Host| host.states.of(&names.0, &names.1) == Some(LinkState::Down);
    while !world.hosts.iter().all(knows) && world.now < cut_at + 10 * S {
        world.run(10 * MS);
    }
    let took = (world.now - cut_at) / MS;
    world.run(2 * S);
    println!("300 nodes know of a cut after {took} ms, for {} messages", sent(&world) - before);
    assert!(took < 1_000, "{took} ms");
}

#[test]
fn who_was_away_while_very_much_has_changed_is_told_all_of_it() {
    let mut text = String::from("[network]\nname = \"star\"\nprefixes = [\"10.0.0.0/16\"]\n");
    for node in 0..400 {
        let endpoint = format!("198.51.{}.{}:51820", node / 250, node % 250 + 1);
        let _ = writeln!(text, "[nodes.n{node}]\nhub = {}\nendpoint = \"{endpoint}\"", node == 0);
    }
    text.push_str("[[links]]\nfrom = [\"*\"]\nto = [\"n0\"]\n");
    let mut world = World::new(Arc::new(read(&text)), 3);
    let (hub, away) = (world.find("n0"), world.find("n1"));
    (0..400).filter(|at| ![hub, away].contains(at)).for_each(|at| world.kill_host(at));
    world.cut(hub, away, true);
    world.run(30 * S);
    let known = |world: &World, at: usize| world.hosts[at].states.iter().count();
    assert_eq!((known(&world, hub), known(&world, away)), (399, 1), "far more than a link keeps while nobody is heard");
    world.cut(hub, away, false);
    world.run(20 * S);
    assert!(known(&world, away) >= 398 && world.hosts[away].states == world.hosts[hub].states);
}

#[test]
fn four_hundred_nodes_get_over_the_death_of_a_hub_with_all_its_links() {
    let mut world = World::new(many(400), 2);
    world.run(10 * S);
    let pairs = [("n10", "n300"), ("n20", "n200"), ("n30", "n5")];
    let flows = pairs.map(|(a, b)| {
        let (a, b) = (world.find(a), world.find(b));
        world.flow(a, b, world.now + 60 * S)
    });
    world.run(3 * S);
    let hub = world.flows[flows[0]].path[1];
    let (name, before) = (world.hosts[hub].name.clone(), sent(&world));
    world.kill_host(hub);
    let killed_at = world.now;
    let is_down = |host: &crate::world::Host, other: &crate::world::Host| {
        host.states.of(&name, &other.name) == Some(LinkState::Down)
    };
    let know = |world: &World| {
        let live: Vec<_> = world.hosts.iter().filter(|host| host.name != name).collect();
        live.iter().all(|host| live.iter().all(|other| is_down(host, other)))
    };
    while !know(&world) && world.now < killed_at + 60 * S {
        world.run(S / 2);
    }
    let took = (world.now - killed_at) / MS;
    let worst = flows.map(|flow| world.flows[flow].worst / MS);
    println!(
        "400 nodes know of 399 dead links after {took} ms, for {} messages; ms without packets {worst:?}",
        sent(&world) - before
    );
    assert!(took < 10_000 && worst.iter().all(|ms| *ms < 1_000), "{took} ms, {worst:?}");
}

fn sent(world: &World) -> u64 {
    world.hosts.iter().filter_map(|host| host.agent.as_ref()).map(|agent| agent.counters().sent).sum()
}
