//! Two gateways of one site: who stands in front of it, as everybody sees it, when the preferred one fails, flaps and comes back.

use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::names::Name;
use wayleave_core::network::Network;
use wayleave_core::node::Event;
use wayleave_core::plan::{Ledger, plan};

use crate::random::read;
use crate::wire::S;
use crate::world::World;

fn network() -> Arc<Network> {
    let mut text = String::from("[network]\nname = \"gates\"\nprefixes = [\"10.0.0.0/16\"]\n");
    for (at, name) in ["far", "first", "hub", "other", "second"].iter().enumerate() {
        let hub = *name == "hub" || *name == "other";
        let _ = writeln!(text, "[nodes.{name}]\nendpoint = \"192.0.2.{at}:51820\"\nhub = {hub}");
    }
    text.push_str("[[links]]\nfrom = [\"*\"]\nto = [\"hub\", \"other\"]\n");
    text.push_str("[sites.office]\nprefixes = [\"192.168.7.0/24\"]\ngateways = [\"first\", \"second\"]\n");
    text.push_str("[rtt_ms]\nhub = { far = 50, first = 10, second = 12, other = 20 }\nother = { far = 60, first = 20, second = 22 }\n");
    Arc::new(read(&text))
}

/// Where a host sends packets for the office: along the path of which gateway.
fn gateway_seen_by(world: &World, who: &str) -> Option<Name> {
    let states = &world.hosts[world.find(who)].states;
    let (plan, ..) = plan(world.network.clone(), &Ledger::default(), states);
    let (member, office) = (plan.find(&Name::new(who).unwrap())?, "192.168.7.9".parse().unwrap());
    let next = |name: &Name| plan.of(plan.find(name).unwrap()).next_hop(office).cloned();
    // The last on the way is the gateway.
    let mut at = plan.name(member).clone();
    while let Some(further) = next(&at) {
        at = further;
    }
    Some(at)
}

/// Runs on, and notes which gateways `far` has used.
fn watch(world: &mut World, seconds: u64) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..seconds * 4 {
        world.run(S / 4);
        let gateway = gateway_seen_by(world, "far").map_or(String::new(), |name| name.to_string());
        if seen.last() != Some(&gateway) {
            seen.push(gateway);
        }
    }
    seen
}

fn started() -> World {
    let mut world = World::new(network(), 3);
    let (far, first) = (world.find("far"), world.find("first"));
    world.run(10 * S);
    world.flow(far, first, 10_000 * S);
    world.run(5 * S);
    world
}

#[test]
fn the_second_gateway_takes_over_within_a_second_and_the_first_comes_back_when_it_is_steady() {
    let mut world = started();
    let first = world.find("first");
    world.kill_host(first);
    world.run(S);
    // Those that packets for the site pass; the second gateway has it next door, whatever it believes.
    for who in ["far", "hub", "other"] {
        assert_eq!(gateway_seen_by(&world, who).unwrap().as_str(), "second", "{who}");
    }
    world.run(20 * S);
    world.start_agent(first);
    assert_eq!(watch(&mut world, 4), ["second"], "not before it has worked for a while");
    assert_eq!(watch(&mut world, 20), ["second", "first"]);
    for who in ["hub", "other"] {
        assert_eq!(gateway_seen_by(&world, who).unwrap().as_str(), "first", "{who}");
    }
}

#[test]
fn a_gateway_that_has_one_link_left_stays() {
    let mut world = started();
    let (first, hub) = (world.find("first"), world.find("hub"));
    world.cut(first, hub, true);
    assert_eq!(watch(&mut world, 20), ["first"]);
}

#[test]
fn a_gateway_that_flaps_every_two_seconds_is_left_once() {
    let mut world = started();
    let (first, hub, other) = (world.find("first"), world.find("hub"), world.find("other"));
    let mut seen = Vec::new();
    for flap in 0..30 {
        [hub, other].into_iter().for_each(|relay| world.cut(first, relay, flap % 2 == 0));
        seen.extend(watch(&mut world, 2));
    }
    seen.dedup();
    assert_eq!(seen, ["first", "second"]);
    assert_eq!(watch(&mut world, 60), ["second", "first"]);
}

#[test]
fn a_gateway_that_does_not_get_into_its_site_hands_over_and_comes_back_when_it_is_steady() {
    let mut world = started();
    let (first, second) = (world.find("first"), world.find("second"));
    let site = |works: bool| Event::Site { site: Name::new("office").unwrap(), works };
    [first, second].into_iter().for_each(|at| world.tell(at, site(true)));
    world.run(S);
    world.tell(first, site(false));
    world.run(S / 2);
    for who in ["far", "hub", "other", "first"] {
        assert_eq!(gateway_seen_by(&world, who).unwrap().as_str(), "second", "{who}");
    }
    // One that gets in no better is no reason to move; one that says so again after its agent was restarted stays left.
    world.tell(second, site(false));
    assert_eq!(watch(&mut world, 2), ["first"]);
    world.tell(second, site(true));
    assert_eq!(watch(&mut world, 12), ["first", "second"]);
    world.kill_agent(first);
    world.run(5 * S);
    world.start_agent(first);
    world.tell(first, site(false));
    assert_eq!(watch(&mut world, 10), ["second"]);
    world.tell(first, site(true));
    assert_eq!(watch(&mut world, 15), ["second", "first"]);
    // What was said before a restart does not outlive it.
    world.tell(first, site(false));
    world.run(2 * S);
    world.kill_agent(first);
    world.run(5 * S);
    world.start_agent(first);
    world.tell(first, site(true));
    assert_eq!(watch(&mut world, 20), ["second", "first"]);
}
