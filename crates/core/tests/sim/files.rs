//! Network files that change while agents run, not everywhere at the same time.

use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::network::Network;
use wayleave_core::plan::{LinkState, Paths};

use crate::random::{Dice, read};
use crate::wire::S;
use crate::world::World;

/// Two hubs and four others, each linked with both; `links` are further links.
fn network(links: &[(&str, &str)]) -> Arc<Network> {
    let mut text = String::from("[network]\nname = \"files\"\nprefixes = [\"10.0.0.0/16\"]\n");
    for (at, name) in ["a", "b", "c", "d", "hub", "other"].iter().enumerate() {
        let _ = writeln!(text, "[nodes.{name}]\nendpoint = \"192.0.2.{at}:51820\"\nhub = {}", at >= 4);
    }
    text.push_str("[[links]]\nfrom = [\"*\"]\nto = [\"hub\", \"other\"]\n");
    for (a, b) in links {
        let _ = writeln!(text, "[[links]]\nfrom = [\"{a}\"]\nto = [\"{b}\"]");
    }
    text.push_str(
        "[rtt_ms]\nhub = { a = 20, b = 30, c = 40, d = 50, other = 15 }\nother = { a = 60, b = 50, c = 40, d = 30 }\n",
    );
    text.push_str("a = { b = 10, c = 12 }\nc = { d = 14 }\n");
    Arc::new(read(&text))
}

/// Gives all hosts a file, in any order, up to some seconds apart.
fn roll_out(world: &mut World, file: usize, apart_us: u64, dice: &mut Dice) {
    let mut left: Vec<usize> = (0..world.hosts.len()).collect();
    while !left.is_empty() {
        let at = left.swap_remove(dice.roll(left.len() as u64) as usize);
        world.adopt(at, file);
        let wait = dice.roll(apart_us);
        world.run(wait);
    }
}

#[test]
fn a_link_that_is_added_while_agents_run_is_taken_without_losing_a_packet() {
    for seed in 0..20 {
        let mut world = World::new(network(&[]), seed);
        let mut dice = Dice(seed);
        let (a, b, c) = (world.find("a"), world.find("b"), world.find("c"));
        world.run(10 * S);
        let (flow, other) = (world.flow(a, b, 200 * S), world.flow(c, b, 200 * S));
        world.run(5 * S);
        let file = world.add_file(network(&[("a", "b")]));
        roll_out(&mut world, file, 8 * S, &mut dice);
        world.run(15 * S);
        let reasons = &world.hosts[a].reasons;
        assert_eq!(
            (world.flows[flow].lost, world.flows[flow].path.len()),
            (0, 2),
            "seed {seed}: {reasons:?} {:?}",
            world.drops
        );
        assert_eq!((world.flows[other].lost, world.flows[other].moves), (0, 0), "seed {seed}: another pair's");
    }
}

#[test]
fn a_link_that_is_removed_is_left_like_one_that_failed() {
    for seed in 0..20 {
        let mut world = World::new(network(&[("a", "b")]), seed);
        let mut dice = Dice(seed);
        let (a, b, c) = (world.find("a"), world.find("b"), world.find("c"));
        world.run(10 * S);
        let (flow, other) = (world.flow(a, b, 200 * S), world.flow(c, b, 200 * S));
        world.run(5 * S);
        let file = world.add_file(network(&[]));
        roll_out(&mut world, file, 8 * S, &mut dice);
        world.run(15 * S);
        let (worst, works) = (world.flows[flow].worst, world.flows[flow].works());
        assert!(
            works && worst < S && world.flows[flow].path.len() == 3,
            "seed {seed}: {worst} us, {:?}",
            world.flows[flow].path
        );
        assert_eq!((world.flows[other].lost, world.flows[other].moves), (0, 0), "seed {seed}: another pair's");
    }
}

#[test]
fn who_has_different_files_agrees_on_the_links_that_both_have_and_in_the_end_on_all() {
    for seed in 0..20 {
        let mut world = World::new(network(&[("a", "b"), ("c", "d")]), seed);
        let mut dice = Dice(seed);
        let (a, b, hub) = (world.find("a"), world.find("b"), world.find("hub"));
        world.run(10 * S);
        let file = world.add_file(network(&[("a", "b"), ("a", "c")]));
        for at in 0..world.hosts.len() {
            if dice.chance(50) {
                world.adopt(at, file);
            }
        }
        world.run(10 * S);
        world.flow(a, b, 400 * S);
        world.run(5 * S);
        world.cut(a, b, true);
        world.run(20 * S);
        for host in &world.hosts {
            let state = host.states.of(&world.hosts[a].name, &world.hosts[b].name);
            assert_eq!(state, Some(LinkState::Down), "seed {seed}: {}", host.name);
        }
        roll_out(&mut world, file, 2 * S, &mut dice);
        world.cut(a, b, false);
        world.run(60 * S);
        let first = &world.hosts[hub].states;
        for host in &world.hosts {
            assert_eq!(&host.states, first, "seed {seed}: {}", host.name);
            assert!(first.iter().all(|(.., state)| state != LinkState::Down), "seed {seed}: {first:?}");
        }
        let paths = Paths::new(&network(&[("a", "b"), ("a", "c")]), first);
        assert!(world.hosts.iter().all(|host| {
            host.carried.paths.first_hop(wayleave_core::network::NodeIx(a as u32), wayleave_core::network::NodeIx(2))
                == paths.first_hop(wayleave_core::network::NodeIx(a as u32), wayleave_core::network::NodeIx(2))
        }));
    }
}
