//! Single failures, told as stories, with the times in which packets flow again.

use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::network::Network;
use wayleave_core::plan::LinkState;

use crate::random::read;
use crate::wire::{MS, S};
use crate::world::World;

/// A full mesh of some nodes in the Asia-Pacific region and a hub elsewhere.
fn apac() -> Arc<Network> {
    let mut text =
        String::from("[network]\nname = \"apac\"\nprefixes = [\"10.0.0.0/16\"]\n[regions.apac]\n[regions.us]\n");
    for (at, name) in ["hkg", "nrt", "sgp", "syd"].iter().enumerate() {
        let _ =
            writeln!(text, "[nodes.{name}]\nregion = \"apac\"\nendpoint = \"192.0.2.{at}:51820\"\nhub = {}", at == 2);
    }
    text.push_str("[nodes.lax]\nregion = \"us\"\nhub = true\nendpoint = \"192.0.2.9:51820\"\n");
    text.push_str("[[links]]\nmesh = [\"apac\"]\n[[links]]\nfrom = [\"*\"]\nto = [\"lax\"]\n");
    text.push_str(
        "[rtt_ms]\nhkg = { nrt = 50, sgp = 35, syd = 130 }\nnrt = { sgp = 70, syd = 110 }\nsgp = { syd = 95 }\n",
    );
    text.push_str("apac = { us = 150 }\n");
    Arc::new(read(&text))
}

#[test]
fn a_cut_link_is_gone_round_within_a_second_and_taken_again_when_it_works() {
    let mut world = World::new(apac(), 1);
    let (hkg, nrt) = (world.find("hkg"), world.find("nrt"));
    world.run(10 * S);
    let flow = world.flow(hkg, nrt, 100 * S);
    world.run(10 * S);
    assert_eq!(world.flows[flow].lost, 0);
    world.cut(hkg, nrt, true);
    world.run(20 * S);
    let reasons = &world.hosts[hkg].reasons;
    assert!(world.flows[flow].worst < 1_000 * MS, "{} us without packets: {reasons:?}", world.flows[flow].worst);
    assert_eq!(world.flows[flow].moves, 1);
    let lost = world.flows[flow].lost;
    world.cut(hkg, nrt, false);
    world.run(40 * S);
    // Ends don't move at the same moment, and each refuses what comes by the other path.
    let lost = world.flows[flow].lost - lost;
    assert!(lost < 5 && world.flows[flow].moves == 2, "{lost} lost: {:?}", world.hosts[hkg].reasons);
}

#[test]
fn an_agent_that_dies_or_leaves_and_comes_back_costs_no_packet() {
    let mut world = World::new(apac(), 2);
    let (hkg, nrt) = (world.find("hkg"), world.find("nrt"));
    world.run(10 * S);
    let flow = world.flow(hkg, nrt, 120 * S);
    world.run(10 * S);
    world.kill_agent(nrt);
    world.run(20 * S);
    world.start_agent(nrt);
    world.run(20 * S);
    world.leave(nrt);
    world.run(20 * S);
    world.start_agent(nrt);
    world.run(20 * S);
    assert_eq!((world.flows[flow].lost, world.flows[flow].moves), (0, 0), "{:?}", world.hosts[hkg].reasons);
}

#[test]
fn a_host_that_dies_is_found_down_by_all_its_neighbours() {
    let mut world = World::new(apac(), 3);
    let (hkg, nrt, sgp) = (world.find("hkg"), world.find("nrt"), world.find("sgp"));
    world.run(10 * S);
    world.flow(hkg, nrt, 100 * S);
    world.run(2 * S);
    world.kill_host(nrt);
    world.run(5 * S);
    for at in [hkg, sgp] {
        let down: Vec<_> = world.hosts[at].states.iter().filter(|(.., state)| *state == LinkState::Down).collect();
        assert_eq!(down.len(), 4, "{:?}", world.hosts[at].reasons);
    }
}

#[test]
fn one_way_loss_is_an_outage_for_both_ends() {
    for direction in 0..2 {
        let mut world = World::new(apac(), 4);
        let (hkg, nrt) = (world.find("hkg"), world.find("nrt"));
        world.run(10 * S);
        let flow = world.flow(hkg, nrt, 100 * S);
        world.run(10 * S);
        world.wire(hkg, nrt).cut[direction] = true;
        world.run(20 * S);
        let (worst, reasons) = (world.flows[flow].worst, &world.hosts[hkg].reasons);
        assert!(worst < 1_000 * MS && world.flows[flow].moves == 1, "{worst} us without packets: {reasons:?}");
    }
}

#[test]
fn a_link_that_flaps_every_two_seconds_moves_packets_once() {
    let mut world = World::new(apac(), 5);
    let (hkg, nrt) = (world.find("hkg"), world.find("nrt"));
    world.run(10 * S);
    let flow = world.flow(hkg, nrt, 200 * S);
    world.run(10 * S);
    for flap in 0..40 {
        world.cut(hkg, nrt, flap % 2 == 0);
        world.run(2 * S);
    }
    assert_eq!(world.flows[flow].moves, 1, "{:?}", world.hosts[hkg].reasons);
    world.run(20 * S);
    assert_eq!(world.flows[flow].moves, 2, "{:?}", world.hosts[hkg].reasons);
}

#[test]
fn a_link_that_loses_a_third_is_left_for_a_better_path_and_is_not_down() {
    let mut world = World::new(apac(), 6);
    let (hkg, nrt) = (world.find("hkg"), world.find("nrt"));
    world.run(10 * S);
    let flow = world.flow(hkg, nrt, 200 * S);
    world.run(10 * S);
    world.wire(hkg, nrt).loss_permille = [300; 2];
    world.run(180 * S);
    let reasons = &world.hosts[hkg].reasons;
    assert!(reasons.iter().all(|(_, reason)| !reason.contains("down")), "{reasons:?}");
    assert_eq!(world.flows[flow].moves, 1, "{reasons:?}");
}
