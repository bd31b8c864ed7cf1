//! The wire with real namespaces and real packets: what a link's model promises is what a socket sees.

mod bed;

use bed::{bed, receive, seen_by};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use wayleave_agent::ping::{PingOptions, PingTarget, ping_many};
use wayleave_lab::wire::{LinkModel, NatConfig, NatFiltering, UnderlayId};

const MS: Duration = Duration::from_millis(1);
const LAN: UnderlayId = UnderlayId(1);
const OTHER_LAN: UnderlayId = UnderlayId(2);

#[test]
fn delays_are_exact_for_both_ip_versions() {
    let Some(bed) = bed("wire::delays_are_exact_for_both_ip_versions") else { return };
    let a = bed.public(&["192.0.2.1", "2001:db8::1"]);
    let b = bed.public(&["192.0.2.2", "2001:db8::2"]);
    for rtt_ms in [0, 2, 50, 300] {
        bed.wire.set_links_between(a.port, b.port, &LinkModel::with_delay(MS * rtt_ms / 2)).unwrap();
        for address in ["192.0.2.2", "2001:db8::2"] {
            // A run in which the wire itself was late measures the machine, so it's repeated.
            let measured = (0..5).find_map(|_| {
                bed.wire.reset_lateness().unwrap();
                let result = a.ping(address, 20, 10 * MS);
                assert_eq!(result.received, 20, "{result:?}");
                let lateness = bed.wire.stats().unwrap().lateness;
                (lateness.max < 5 * MS).then(|| result.median().unwrap())
            });
            let measured = measured.expect("five runs with the wire late by more than 5 ms: the machine is too busy");
            let error = measured.abs_diff(MS * rtt_ms);
            assert!(error < MS + MS * rtt_ms / 100, "{address}: {rtt_ms} ms came out as {measured:?}");
        }
    }
}

#[test]
fn many_targets_are_measured_at_once_from_chosen_sources() {
    let Some(bed) = bed("wire::many_targets_are_measured_at_once_from_chosen_sources") else { return };
    let a = bed.public(&["192.0.2.1", "192.0.2.101"]);
    let others: Vec<_> = (2..8).map(|n| bed.public(&[&format!("192.0.2.{n}")])).collect();
    let mut targets = Vec::new();
    for (n, other) in (2_u32..).zip(&others) {
        bed.wire.set_links_between(a.port, other.port, &LinkModel::with_delay(MS * n * 5)).unwrap();
        let destination = format!("192.0.2.{n}").parse().unwrap();
        let source = Some(if n % 2 == 0 { "192.0.2.1" } else { "192.0.2.101" }.parse().unwrap());
        targets.push(PingTarget { source, destination });
    }
    targets.push(PingTarget { source: None, destination: "192.0.2.99".parse().unwrap() });
    let options = PingOptions { count: 5, interval: 20 * MS, timeout: 300 * MS };
    let results = a.namespace.run(|| ping_many(&targets, &options).unwrap()).unwrap();
    for (n, result) in (2_u32..).zip(&results[..6]) {
        assert_eq!(result.received, 5, "{result:?}");
        assert!(result.median().unwrap().abs_diff(MS * n * 10) < 2 * MS, "{result:?}");
    }
    assert_eq!((results[6].sent, results[6].received), (5, 0), "nobody has that address");
    assert_eq!(bed.wire.stats().unwrap().drops.unroutable, 5);
}

#[test]
fn losses_come_at_their_rate() {
    let Some(bed) = bed("wire::losses_come_at_their_rate") else { return };
    let (a, b) = (bed.public(&["192.0.2.1"]), bed.public(&["192.0.2.2"]));
    bed.wire.set_link(a.port, b.port, LinkModel { loss: 0.1, ..LinkModel::default() }).unwrap();
    let result = a.ping("192.0.2.2", 2000, MS);
    assert!((0.07..0.13).contains(&result.loss_ratio()), "{}", result.loss_ratio());
    let stats = bed.wire.stats().unwrap();
    let link = stats.links.iter().find(|link| (link.from, link.to) == (a.port, b.port)).unwrap();
    assert_eq!((link.sent_packets, link.lost), (2000, u64::from(2000 - result.received)));
    assert_eq!(link.delivered_packets, u64::from(result.received));
}

#[test]
fn a_rate_is_kept_and_its_queue_drops_at_the_tail() {
    let Some(bed) = bed("wire::a_rate_is_kept_and_its_queue_drops_at_the_tail") else { return };
    let (a, b) = (bed.public(&["192.0.2.1"]), bed.public(&["192.0.2.2"]));
    let (sender, receiver) = (a.socket("192.0.2.1:1000"), b.socket("192.0.2.2:1000"));
    // 1250 bytes with headers at 10 Mbit/s are one packet per millisecond.
    let data = [0; 1250 - 28];
    let mut model = LinkModel { rate_bit_per_s: Some(10_000_000), ..LinkModel::default() };
    bed.wire.set_link(a.port, b.port, model.clone()).unwrap();
    bed.wire.stats().unwrap();
    for _ in 0..200 {
        sender.send_to(&data, "192.0.2.2:1000").unwrap();
    }
    receive(&receiver).unwrap();
    let start = Instant::now();
    let later = std::iter::from_fn(|| receive(&receiver).map(|_| start.elapsed())).collect::<Vec<_>>();
    assert_eq!(later.len(), 199);
    assert!(later[198].abs_diff(199 * MS) < 20 * MS, "{:?}", later[198]);

    model.queue_packets = 50;
    bed.wire.set_link(a.port, b.port, model).unwrap();
    bed.wire.stats().unwrap();
    for _ in 0..200 {
        sender.send_to(&data, "192.0.2.2:1000").unwrap();
    }
    let received = std::iter::from_fn(|| receive(&receiver)).count();
    assert!((50..80).contains(&received), "{received}");
}

#[test]
fn cuts_and_partitions_work_one_way_and_both() {
    let Some(bed) = bed("wire::cuts_and_partitions_work_one_way_and_both") else { return };
    let (a, b, c) = (bed.public(&["192.0.2.1"]), bed.public(&["192.0.2.2"]), bed.public(&["192.0.2.3"]));
    let (at_a, at_b) = (a.socket("192.0.2.1:1000"), b.socket("192.0.2.2:1000"));
    assert!(a.answers("192.0.2.2") && a.answers("192.0.2.3"));

    // Commands are not waited for, answers are: after one, all commands before it are in force.
    bed.wire.set_link_up(a.port, b.port, false).unwrap();
    bed.wire.stats().unwrap();
    assert!(seen_by(&at_b, &at_a, "192.0.2.2:1000").is_none());
    assert!(seen_by(&at_a, &at_b, "192.0.2.1:1000").is_some(), "the other way is open");
    bed.wire.set_link_up(a.port, b.port, true).unwrap();
    assert!(a.answers("192.0.2.2"));

    bed.wire.set_partition(vec![vec![a.port], vec![b.port]]).unwrap();
    bed.wire.stats().unwrap();
    assert!(!a.answers("192.0.2.2"));
    assert!(a.answers("192.0.2.3") && c.answers("192.0.2.2"), "those in no group reach all");
    bed.wire.set_partition(Vec::new()).unwrap();
    assert!(a.answers("192.0.2.2"));

    bed.wire.set_port_up(c.port, false).unwrap();
    bed.wire.stats().unwrap();
    assert!(!a.answers("192.0.2.3") && a.answers("192.0.2.2"));
    bed.wire.set_port_up(c.port, true).unwrap();
    assert!(a.answers("192.0.2.3"));
}

#[test]
fn a_cut_swallows_what_is_under_way() {
    let Some(bed) = bed("wire::a_cut_swallows_what_is_under_way") else { return };
    let (a, b) = (bed.public(&["192.0.2.1"]), bed.public(&["192.0.2.2"]));
    let (at_a, at_b) = (a.socket("192.0.2.1:1000"), b.socket("192.0.2.2:1000"));
    bed.wire.set_link(a.port, b.port, LinkModel::with_delay(100 * MS)).unwrap();
    bed.wire.stats().unwrap();
    at_a.send_to(b"word", "192.0.2.2:1000").unwrap();
    std::thread::sleep(30 * MS);
    assert_eq!(bed.wire.stats().unwrap().held_packets, 1);
    bed.wire.set_link_up(a.port, b.port, false).unwrap();
    assert!(receive(&at_b).is_none());
}

#[test]
fn private_addresses_reach_only_their_own_network() {
    let Some(bed) = bed("wire::private_addresses_reach_only_their_own_network") else { return };
    let a = bed.node(&[("10.0.0.1", LAN), ("192.0.2.1", UnderlayId::PUBLIC)]);
    let b = bed.node(&[("10.0.0.2", LAN)]);
    let c = bed.node(&[("10.0.0.2", OTHER_LAN)]);
    let d = bed.node(&[("10.0.0.3", OTHER_LAN)]);
    let (at_b, at_c) = (b.socket("10.0.0.2:1000"), c.socket("10.0.0.2:1000"));
    assert!(seen_by(&at_b, &a.socket("10.0.0.1:1000"), "10.0.0.2:1000").is_some());
    assert!(receive(&at_c).is_none());
    assert!(seen_by(&at_c, &d.socket("10.0.0.3:1000"), "10.0.0.2:1000").is_some());
    assert!(!a.answers("10.0.0.3"));
    assert!(b.answers("192.0.2.1"), "a neighbour's public address leads back privately");
    assert!(!d.answers("192.0.2.1"), "a private source has no way back from the internet");
    assert!(bed.wire.stats().unwrap().drops.foreign_source > 0);
}

#[test]
fn a_home_router_shows_one_endpoint_and_filters() {
    let Some(bed) = bed("wire::a_home_router_shows_one_endpoint_and_filters") else { return };
    let inside = bed.node(&[("192.168.1.2", LAN)]);
    let (b, c) = (bed.public(&["192.0.2.2"]), bed.public(&["192.0.2.3"]));
    let outside = Ipv4Addr::new(203, 0, 113, 1);
    let nat = bed.wire.add_nat(NatConfig::home_router(outside), LAN).unwrap();
    bed.wire.set_nat(inside.port, Some(nat)).unwrap();
    let socket = inside.socket("192.168.1.2:5000");
    let (at_b, at_c) = (b.socket("192.0.2.2:1000"), c.socket("192.0.2.3:1000"));
    let stranger = c.socket("192.0.2.3:2000");

    let seen = seen_by(&at_b, &socket, "192.0.2.2:1000").unwrap();
    assert_eq!(*seen.to_string(), *"203.0.113.1:5000");
    assert!(seen_by(&socket, &at_c, "203.0.113.1:5000").is_none(), "nothing was sent there yet");
    assert_eq!(seen_by(&at_c, &socket, "192.0.2.3:1000"), Some(seen), "the same for everybody");
    assert!(seen_by(&socket, &at_b, "203.0.113.1:5000").is_some());
    assert!(seen_by(&socket, &at_c, "203.0.113.1:5000").is_some());
    assert!(seen_by(&socket, &stranger, "203.0.113.1:5000").is_none(), "another port of the same host");
    assert!(inside.answers("192.0.2.2"), "echoes go through too");
    assert!(!b.answers("192.168.1.2"));

    bed.wire.rebind_nat(nat, Some(Ipv4Addr::new(203, 0, 113, 2))).unwrap();
    assert!(seen_by(&socket, &at_b, "203.0.113.1:5000").is_none());
    let again = seen_by(&at_b, &socket, "192.0.2.2:1000").unwrap();
    assert_eq!(again.ip(), Ipv4Addr::new(203, 0, 113, 2));
    assert_eq!(bed.wire.mappings(nat).unwrap().iter().filter(|mapping| mapping.protocol == 17).count(), 1);
}

#[test]
fn a_symmetric_nat_shows_another_endpoint_to_each() {
    let Some(bed) = bed("wire::a_symmetric_nat_shows_another_endpoint_to_each") else { return };
    let inside = bed.node(&[("192.168.1.2", LAN)]);
    let (b, c) = (bed.public(&["192.0.2.2"]), bed.public(&["192.0.2.3"]));
    let nat = bed.wire.add_nat(NatConfig::symmetric(Ipv4Addr::new(203, 0, 113, 1)), LAN).unwrap();
    bed.wire.set_nat(inside.port, Some(nat)).unwrap();
    let socket = inside.socket("192.168.1.2:5000");
    let (at_b, at_c) = (b.socket("192.0.2.2:1000"), c.socket("192.0.2.3:1000"));
    let to_b = seen_by(&at_b, &socket, "192.0.2.2:1000").unwrap();
    let to_c = seen_by(&at_c, &socket, "192.0.2.3:1000").unwrap();
    assert_ne!(to_b, to_c);
    assert!(seen_by(&socket, &at_b, &to_b.to_string()).is_some());
    assert!(seen_by(&socket, &at_b, &to_c.to_string()).is_none());
}

#[test]
fn a_silent_mapping_ends_and_traffic_keeps_one_alive() {
    let Some(bed) = bed("wire::a_silent_mapping_ends_and_traffic_keeps_one_alive") else { return };
    let inside = bed.node(&[("192.168.1.2", LAN)]);
    let b = bed.public(&["192.0.2.2"]);
    let timeout = Duration::from_millis(600);
    let config = NatConfig { udp_timeout: timeout, ..NatConfig::home_router(Ipv4Addr::new(203, 0, 113, 1)) };
    let nat = bed.wire.add_nat(config, LAN).unwrap();
    bed.wire.set_nat(inside.port, Some(nat)).unwrap();
    let (socket, at_b) = (inside.socket("192.168.1.2:5000"), b.socket("192.0.2.2:1000"));
    for _ in 0..4 {
        assert!(seen_by(&at_b, &socket, "192.0.2.2:1000").is_some());
        std::thread::sleep(timeout / 2);
        assert!(seen_by(&socket, &at_b, "203.0.113.1:5000").is_some());
    }
    std::thread::sleep(timeout + 100 * MS);
    assert!(seen_by(&socket, &at_b, "203.0.113.1:5000").is_none());
}

#[test]
fn two_behind_filters_meet_when_they_call_each_other() {
    let Some(bed) = bed("wire::two_behind_filters_meet_when_they_call_each_other") else { return };
    let (a, b) = (bed.node(&[("192.168.1.2", LAN)]), bed.node(&[("192.168.1.2", OTHER_LAN)]));
    for (node, lan, last) in [(&a, LAN, 1), (&b, OTHER_LAN, 2)] {
        let config = NatConfig::home_router(Ipv4Addr::new(203, 0, 113, last));
        assert_eq!(config.filtering, NatFiltering::AddressAndPortDependent);
        let nat = bed.wire.add_nat(config, lan).unwrap();
        bed.wire.set_nat(node.port, Some(nat)).unwrap();
    }
    bed.wire.set_links_between(a.port, b.port, &LinkModel::with_delay(30 * MS)).unwrap();
    bed.wire.stats().unwrap();
    let (at_a, at_b) = (a.socket("192.168.1.2:5000"), b.socket("192.168.1.2:5000"));
    at_a.send_to(b"word", "203.0.113.2:5000").unwrap();
    at_b.send_to(b"word", "203.0.113.1:5000").unwrap();
    assert!(receive(&at_a).is_some() && receive(&at_b).is_some());
}

#[test]
fn two_behind_one_nat_reach_each_other_through_its_outside() {
    let Some(bed) = bed("wire::two_behind_one_nat_reach_each_other_through_its_outside") else { return };
    let (a, b) = (bed.node(&[("192.168.1.2", LAN)]), bed.node(&[("192.168.1.3", LAN)]));
    let config = NatConfig {
        filtering: NatFiltering::EndpointIndependent,
        ..NatConfig::home_router(Ipv4Addr::new(203, 0, 113, 1))
    };
    let nat = bed.wire.add_nat(config, LAN).unwrap();
    bed.wire.set_nat(a.port, Some(nat)).unwrap();
    bed.wire.set_nat(b.port, Some(nat)).unwrap();
    let (at_a, at_b) = (a.socket("192.168.1.2:5000"), b.socket("192.168.1.3:6000"));
    let public = bed.public(&["192.0.2.2"]);
    let at_public = public.socket("192.0.2.2:1000");
    let b_seen = seen_by(&at_public, &at_b, "192.0.2.2:1000").unwrap();
    assert_eq!(seen_by(&at_b, &at_a, &b_seen.to_string()).unwrap().to_string(), "203.0.113.1:5000");
    assert!(seen_by(&at_b, &at_a, "192.168.1.3:6000").is_some(), "and directly");
}

#[test]
fn a_removed_port_is_gone_and_a_stopped_wire_says_so() {
    let Some(bed) = bed("wire::a_removed_port_is_gone_and_a_stopped_wire_says_so") else { return };
    let (a, b) = (bed.public(&["192.0.2.1"]), bed.public(&["192.0.2.2"]));
    bed.wire.remove_port(b.port).unwrap();
    assert!(!a.answers("192.0.2.2"));
    let again = bed.public(&["192.0.2.2"]);
    assert!(a.answers("192.0.2.2"), "the address is free again");
    let error = bed.wire.add_address(a.port, "192.0.2.2".parse::<std::net::IpAddr>().unwrap(), UnderlayId::PUBLIC);
    assert!(error.unwrap_err().to_string().contains("192.0.2.2/32"));
    drop((again, b));
    bed.wire.stop();
    assert!(bed.wire.stats().is_err());
}
