//! Hosts that run no agent: what others see of them, and what becomes of their packets.

use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::network::Network;

use crate::random::read;
use crate::wire::S;
use crate::world::World;

/// Two hubs, two nodes with agents that know both, and one without that knows `hubs` of them and `left`.
fn network(links: &str) -> Arc<Network> {
    let mut text = String::from("[network]\nname = \"plain\"\nprefixes = [\"10.0.0.0/16\"]\n");
    for (at, name) in ["east", "left", "plain", "right", "west"].iter().enumerate() {
        let hub = *name == "east" || *name == "west";
        let _ = writeln!(text, "[nodes.{name}]\nendpoint = \"192.0.2.{at}:51820\"\nhub = {hub}");
    }
    text.push_str("[[links]]\nmesh = [\"east\", \"west\", \"left\", \"right\"]\n");
    let _ = writeln!(text, "[[links]]\nfrom = [\"plain\"]\nto = [{links}]");
    text.push_str("[rtt_ms]\neast = { west = 60, left = 30, right = 40, plain = 20 }\nwest = { left = 50, right = 20, plain = 80 }\n");
    text.push_str("left = { right = 90, plain = 25 }\n");
    Arc::new(read(&text))
}

fn world(links: &str) -> (World, usize) {
    let mut world = World::with_plain(network(links), 9, &["plain"]);
    let plain = world.find("plain");
    world.run(10 * S);
    (world, plain)
}

/// What somebody's agent has said of a link, since a time.
fn said(world: &World, who: &str, since: u64) -> Vec<String> {
    let host = &world.hosts[world.find(who)];
    host.reasons.iter().filter(|(when, _)| *when >= since).map(|(_, reason)| reason.clone()).collect()
}

#[test]
fn a_link_of_a_host_without_agent_is_left_alone_while_it_works() {
    let (mut world, plain) = world("\"east\"");
    let right = world.find("right");
    let flow = world.flow(right, plain, 200 * S);
    world.run(200 * S);
    // And then nothing at all, for a day.
    world.run(86_400 * S);
    assert_eq!(world.flows[flow].lost, 0);
    let reasons = said(&world, "east", 10 * S);
    assert!(!reasons.iter().any(|reason| reason.contains("down")), "{reasons:?}");
}

#[test]
fn a_host_without_agent_whose_only_link_breaks_is_found_again_when_it_is_mended() {
    for cut_s in [20, 100, 400] {
        let (mut world, plain) = world("\"east\"");
        let (right, east) = (world.find("right"), world.find("east"));
        let flow = world.flow(right, plain, 1_000 * S);
        world.run(10 * S);
        let begin = world.now;
        world.cut(east, plain, true);
        world.run(cut_s * S);
        let reasons = said(&world, "east", begin);
        assert!(reasons.iter().any(|reason| reason.contains("down")), "{reasons:?}");
        assert_eq!(reasons.iter().filter(|reason| reason.contains("works")).count(), 0, "{reasons:?}");
        let mended = world.now;
        world.cut(east, plain, false);
        world.run(40 * S);
        // A handshake is tried every 5 s; then the link has to work for 5 s, and everybody is told a second before.
        assert!(world.flows[flow].works(), "after {cut_s} s: {:?}", said(&world, "east", mended));
        let lost = world.flows[flow].lost;
        world.run(120 * S);
        assert_eq!(world.flows[flow].lost, lost, "{:?}", said(&world, "east", mended));
    }
}

#[test]
fn what_moves_beyond_its_hub_is_nothing_to_a_host_without_agent() {
    let (mut world, plain) = world("\"east\"");
    let (right, east) = (world.find("right"), world.find("east"));
    let flow = world.flow(right, plain, 300 * S);
    world.run(10 * S);
    world.cut(east, right, true);
    world.run(20 * S);
    assert!(world.flows[flow].works() && world.flows[flow].worst < S, "{:?}", said(&world, "right", 0));
    assert_eq!(world.flows[flow].path.len(), 4, "right, west, east, plain");
    let lost = world.flows[flow].lost;
    world.cut(east, right, false);
    world.run(20 * S);
    assert_eq!((world.flows[flow].lost - lost, world.flows[flow].path.len()), (0, 3));
}

#[test]
fn a_host_without_agent_refuses_packets_that_come_by_another_of_its_links() {
    let (mut world, plain) = world("\"left\", \"east\"");
    let left = world.find("left");
    let flow = world.flow(left, plain, 300 * S);
    world.run(10 * S);
    assert!(world.flows[flow].works());
    let before = world.flows[flow].lost;
    world.cut(left, plain, true);
    world.run(30 * S);
    // `left` sends over `east`; the host expects `left` on its own link.
    assert!(
        !world.flows[flow].works()
            && world.drops.iter().any(|(_, what)| what.starts_with("plain drops a request from east"))
    );
    world.cut(left, plain, false);
    world.run(60 * S);
    assert!(world.flows[flow].works() && world.flows[flow].lost > before, "{:?}", said(&world, "left", 0));
}
