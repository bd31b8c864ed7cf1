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

/// What tells of gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Exchange,
    Bgp,
}

fn network(by: By) -> Arc<Network> {
    let mut text = String::from("[network]\nname = \"gates\"\nprefixes = [\"10.0.0.0/16\"]\nplatform = \"agent\"\n");
    if by == By::Bgp {
        text.push_str("[bgp]\nasn = 4200000001\nexchange = \"bgp\"\nreflectors = [\"hub\", \"other\"]\n");
    }
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

fn started(by: By) -> World {
    let mut world = World::new(network(by), 3);
    let (far, first, second) = (world.find("far"), world.find("first"), world.find("second"));
    [first, second].into_iter().for_each(|at| world.tell(at, site(true)));
    world.run(10 * S);
    world.flow(far, first, 10_000 * S);
    world.run(5 * S);
    world
}

fn site(works: bool) -> Event {
    Event::Site { site: Name::new("office").unwrap(), works }
}

fn drain(is_on: bool) -> Event {
    Event::Drain(is_on)
}

#[test]
fn the_second_gateway_takes_over_within_a_second_and_the_first_comes_back_when_it_is_steady() {
    [By::Exchange, By::Bgp].into_iter().for_each(takes_over);
}

fn takes_over(by: By) {
    let mut world = started(by);
    let first = world.find("first");
    world.kill_host(first);
    world.run(S);
    // Those that packets for the site pass; the second gateway has it next door, whatever it believes.
    for who in ["far", "hub", "other"] {
        assert_eq!(gateway_seen_by(&world, who).unwrap().as_str(), "second", "{who}");
    }
    world.run(20 * S);
    world.start_agent(first);
    world.tell(first, site(true));
    assert_eq!(watch(&mut world, 4), ["second"], "{by:?}: not before it has worked for a while");
    assert_eq!(watch(&mut world, 20), ["second", "first"]);
    for who in ["hub", "other"] {
        assert_eq!(gateway_seen_by(&world, who).unwrap().as_str(), "first", "{who}");
    }
}

#[test]
fn a_gateway_that_has_one_link_left_stays() {
    for by in [By::Exchange, By::Bgp] {
        let mut world = started(by);
        let (first, hub) = (world.find("first"), world.find("hub"));
        world.cut(first, hub, true);
        assert_eq!(watch(&mut world, 20), ["first"], "{by:?}");
    }
}

#[test]
fn a_gateway_that_flaps_every_two_seconds_is_left_once() {
    [By::Exchange, By::Bgp].into_iter().for_each(flaps);
}

fn flaps(by: By) {
    let mut world = started(by);
    let (first, hub, other) = (world.find("first"), world.find("hub"), world.find("other"));
    let mut seen = Vec::new();
    for flap in 0..30 {
        [hub, other].into_iter().for_each(|relay| world.cut(first, relay, flap % 2 == 0));
        seen.extend(watch(&mut world, 2));
    }
    seen.dedup();
    assert_eq!(seen, ["first", "second"], "{by:?}");
    assert_eq!(watch(&mut world, 60), ["second", "first"], "{by:?}");
}

#[test]
fn a_gateway_that_does_not_get_into_its_site_hands_over_and_comes_back_when_it_is_steady() {
    let mut world = started(By::Exchange);
    let (first, second) = (world.find("first"), world.find("second"));
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

/// Where packets for the office end that this host sends by what it believes, each host on their way by what that believes: nowhere, if they
/// circle.
fn ends(world: &World, from: &str) -> Option<Name> {
    let office = "192.168.7.9".parse().unwrap();
    let mut at = Name::new(from).unwrap();
    for _ in 0..world.hosts.len() {
        let states = &world.hosts[world.find(at.as_str())].states;
        let (plan, ..) = plan(world.network.clone(), &Ledger::default(), states);
        match plan.of(plan.find(&at)?).next_hop(office) {
            Some(next) => at = next.clone(),
            None => return Some(at),
        }
    }
    None
}

#[test]
fn by_bgp_a_gateway_hands_over_when_it_loses_its_site_or_is_to_go_and_gets_it_back() {
    let mut world = started(By::Bgp);
    let (first, second) = (world.find("first"), world.find("second"));
    world.tell(first, site(false));
    world.run(S / 2);
    for who in ["far", "hub", "other", "first"] {
        assert_eq!(gateway_seen_by(&world, who).unwrap().as_str(), "second", "{who}");
    }
    world.tell(first, site(true));
    assert_eq!(watch(&mut world, 15), ["second", "first"]);
    // Who is to go comes last, and is used where it is the last.
    world.tell(first, drain(true));
    assert_eq!(watch(&mut world, 3), ["second"]);
    world.tell(second, drain(true));
    assert_eq!(watch(&mut world, 5), ["second", "first"]);
    world.tell(second, drain(false));
    assert_eq!(watch(&mut world, 5), ["second"]);
    world.tell(first, drain(false));
    assert_eq!(watch(&mut world, 5), ["second", "first"]);
    // Who ends in good order hands over before its links are known to be down.
    world.end(first);
    world.run(S / 5);
    assert_eq!(gateway_seen_by(&world, "far").unwrap().as_str(), "second");
    // What was said before a restart does not outlive it.
    world.start_agent(first);
    world.tell(first, site(false));
    assert_eq!(watch(&mut world, 15), ["second"]);
    world.kill_agent(first);
    world.run(5 * S);
    world.start_agent(first);
    world.tell(first, site(true));
    assert_eq!(watch(&mut world, 20), ["second", "first"]);
}

#[test]
fn by_bgp_packets_for_a_site_end_at_the_gateway_that_gets_in_and_circle_for_a_second_at_most() {
    let mut longest = 0;
    for seed in 0..4 {
        let mut world = started(By::Bgp);
        let mut dice = crate::random::Dice(seed);
        let gateways = [world.find("first"), world.find("second")];
        let mut gets_in = [true; 2];
        for _ in 0..40 {
            let at = dice.roll(2) as usize;
            gets_in[at] = !gets_in[at];
            world.tell(gateways[at], site(gets_in[at]));
            let (mut circles, mut is_circle, mut seen) = (0, false, 0);
            for _ in 0..dice.roll(60) {
                world.run(S / 10);
                let changes: usize = world.hosts.iter().map(|host| host.changes).sum();
                if std::mem::replace(&mut seen, changes) != changes {
                    is_circle = ["far", "hub", "first", "second"].iter().any(|who| ends(&world, who).is_none());
                }
                circles = if is_circle { circles + 1 } else { 0 };
                longest = longest.max(circles);
            }
        }
        // Failures that often are held against it for minutes.
        world.run(700 * S);
        let right = if gets_in[0] || !gets_in[1] { "first" } else { "second" };
        for who in ["far", "hub", "other", "first", "second"] {
            let is_there = (who == "first" && gets_in[0]) || (who == "second" && gets_in[1]);
            let expected = if is_there { who } else { right };
            assert_eq!(ends(&world, who).unwrap().as_str(), expected, "seed {seed}: {who}, {gets_in:?}");
        }
    }
    println!("packets have circled for {longest} tenths of a second at most");
    // While a gateway that is better again is waited for, and the one that it takes over from fails.
    assert!(longest <= 12, "{longest} tenths of a second");
}
