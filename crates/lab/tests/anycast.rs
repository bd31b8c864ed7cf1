//! An anycast address on the wire, with real sockets: who gets whose packets, and what answers look like.

#![allow(clippy::unwrap_used, reason = "this is a test, though not all of it test functions")]

mod bed;

use bed::{Bed, Node, bed, receive, seen_by};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};
use wayleave_lab::session::{Accelerator, HealthChecks};
use wayleave_lab::wire::{AnycastConfig, AnycastMember, LinkModel, NatConfig, UnderlayId};

const MS: Duration = Duration::from_millis(1);
const LAN: UnderlayId = UnderlayId(1);
const PORT: u16 = 51821;
const READY_PORT: u16 = 51819;
/// How long a flow lives here: long against what a busy machine needs, short for a test.
const IDLE: Duration = Duration::from_millis(1_500);

struct World {
    near: Node,
    far: Node,
    at_near: UdpSocket,
    at_far: UdpSocket,
    accelerator: Accelerator,
}

/// Two members, both ready; `client` is near the first.
fn world(bed: &Bed, client: &Node, family: u8) -> (World, TcpListener, TcpListener) {
    let [near_address, far_address, anycast, own] = match family {
        4 => ["192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2"],
        _ => ["2001:db8::1", "2001:db8::2", "2001:db8:1::1", "2001:db8:1::2"],
    };
    let (near, far) = (bed.public(&[near_address]), bed.public(&[far_address]));
    bed.wire.set_links_between(client.port, near.port, &LinkModel::with_delay(MS)).unwrap();
    bed.wire.set_links_between(client.port, far.port, &LinkModel::with_delay(5 * MS)).unwrap();
    let listeners = (listen(&near, near_address), listen(&far, far_address));
    let member = |node: &Node, address: &str| AnycastMember { port: node.port, address: address.parse().unwrap() };
    let members = vec![member(&far, far_address), member(&near, near_address)];
    let config = AnycastConfig { address: anycast.parse().unwrap(), port: PORT, idle: IDLE, members };
    let checks = HealthChecks { port: READY_PORT, interval: 100 * MS, timeout: 300 * MS, threshold: 2 };
    let accelerator = Accelerator::start(&bed.wire, config, own.parse().unwrap(), checks).unwrap();
    let socket = |node: &Node, address: &str| node.socket(&endpoint(address, PORT).to_string());
    let (at_near, at_far) = (socket(&near, near_address), socket(&far, far_address));
    (World { near, far, at_near, at_far, accelerator }, listeners.0, listeners.1)
}

fn endpoint(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn listen(node: &Node, address: &str) -> TcpListener {
    node.namespace.run(|| TcpListener::bind(endpoint(address, READY_PORT)).unwrap()).unwrap()
}

impl World {
    fn until_healthy(&self, bed: &Bed, member: &Node, healthy: bool) {
        let end = Instant::now() + Duration::from_secs(10);
        let is_it = || bed.wire.stats().unwrap().anycasts[0].members.contains(&(member.port, healthy));
        while !is_it() {
            assert!(Instant::now() < end, "health of {:?} never became {healthy}", member.port);
            std::thread::sleep(10 * MS);
        }
    }
}

#[test]
fn the_nearest_member_gets_the_packet_and_answers_with_the_anycast_address() {
    let Some(bed) = bed("anycast::the_nearest_member_gets_the_packet_and_answers_with_the_anycast_address") else {
        return;
    };
    for (family, own, anycast) in
        [(4, "203.0.113.9:4000", "198.51.100.1:51821"), (6, "[2001:db8:9::9]:4000", "[2001:db8:1::1]:51821")]
    {
        let own: SocketAddr = own.parse().unwrap();
        let client = bed.public(&[&own.ip().to_string()]);
        let (world, ..) = world(&bed, &client, family);
        let at_client = client.socket(&own.to_string());
        assert_eq!(seen_by(&world.at_near, &at_client, anycast), Some(own), "members see the client itself");
        assert_eq!(seen_by(&at_client, &world.at_near, &own.to_string()), Some(anycast.parse().unwrap()));
        let stranger =
            world.near.socket(&endpoint(&world.at_near.local_addr().unwrap().ip().to_string(), 9).to_string());
        let seen = seen_by(&at_client, &stranger, &own.to_string());
        assert_eq!(seen, Some(stranger.local_addr().unwrap()), "what is no answer keeps its source");
        let flows = world.accelerator.flows().unwrap();
        assert_eq!(flows.iter().map(|flow| (flow.client, flow.member)).collect::<Vec<_>>(), [(own, world.near.port)]);
    }
}

#[test]
fn a_flow_is_pinned_to_a_member_that_is_no_longer_ready_until_it_is_silent_or_has_another_port() {
    let Some(bed) = bed("anycast::a_flow_is_pinned_to_a_member_that_is_no_longer_ready") else { return };
    let client = bed.public(&["203.0.113.9"]);
    let (world, ready_near, ready_far) = world(&bed, &client, 4);
    let (first, second) = (client.socket("203.0.113.9:4000"), client.socket("203.0.113.9:4001"));
    let anycast = "198.51.100.1:51821";
    assert!(seen_by(&world.at_near, &first, anycast).is_some());
    drop(ready_near);
    world.until_healthy(&bed, &world.near, false);
    assert!(seen_by(&world.at_near, &first, anycast).is_some(), "pinned");
    assert!(seen_by(&world.at_far, &second, anycast).is_some(), "another port is another flow");
    std::thread::sleep(IDLE + 100 * MS);
    assert!(seen_by(&world.at_far, &first, anycast).is_some(), "silence ends the flow");

    drop(ready_far);
    world.until_healthy(&bed, &world.far, false);
    let third = client.socket("203.0.113.9:4002");
    assert!(seen_by(&world.at_near, &third, anycast).is_some(), "nobody is ready: the nearest of all");
    let _ready_far = listen(&world.far, "192.0.2.2");
    world.until_healthy(&bed, &world.far, true);
    let fourth = client.socket("203.0.113.9:4003");
    assert!(seen_by(&world.at_far, &fourth, anycast).is_some(), "ready again");
}

#[test]
fn a_member_that_is_cut_off_becomes_unhealthy_by_silence() {
    let Some(bed) = bed("anycast::a_member_that_is_cut_off_becomes_unhealthy_by_silence") else { return };
    let client = bed.public(&["203.0.113.9"]);
    let (world, _near, _far) = world(&bed, &client, 4);
    bed.wire.set_port_up(world.near.port, false).unwrap();
    world.until_healthy(&bed, &world.near, false);
    let at_client = client.socket("203.0.113.9:4000");
    assert!(seen_by(&world.at_far, &at_client, "198.51.100.1:51821").is_some());
    bed.wire.set_port_up(world.near.port, true).unwrap();
    world.until_healthy(&bed, &world.near, true);
}

#[test]
fn clients_behind_a_nat_reach_members_and_hear_their_answers() {
    let Some(bed) = bed("anycast::clients_behind_a_nat_reach_members_and_hear_their_answers") else { return };
    let client = bed.node(&[("192.168.0.2", LAN)]);
    let nat = bed.wire.add_nat(NatConfig::symmetric("203.0.113.1".parse().unwrap()), LAN).unwrap();
    bed.wire.set_nat(client.port, Some(nat)).unwrap();
    let (world, ..) = world(&bed, &client, 4);
    let at_client = client.socket("192.168.0.2:4000");
    let seen = seen_by(&world.at_near, &at_client, "198.51.100.1:51821").unwrap();
    assert_eq!(seen.ip().to_string(), "203.0.113.1");
    assert_eq!(seen_by(&at_client, &world.at_near, &seen.to_string()), Some("198.51.100.1:51821".parse().unwrap()));
}

#[test]
fn only_the_services_port_is_there() {
    let Some(bed) = bed("anycast::only_the_services_port_is_there") else { return };
    let client = bed.public(&["203.0.113.9"]);
    let (world, ..) = world(&bed, &client, 4);
    let at_client = client.socket("203.0.113.9:4000");
    assert!(seen_by(&world.at_near, &at_client, "198.51.100.1:51820").is_none());
    assert!(!client.answers("198.51.100.1"), "no echo either");
    assert_eq!(bed.wire.stats().unwrap().drops.anycast, 4);
    assert!(receive(&world.at_far).is_none());
}
