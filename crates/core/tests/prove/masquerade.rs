//! Sources that a host replaces by its own address: answers find their way, and only answers.

use std::sync::Arc;

use ipnet::IpNet;
use wayleave_core::prove::{Device, Host, Hosts, Peer, Proof, Route, RouteTo, TABLE_MAIN, Verdict, reachability};

/// A LAN behind `gateway`, which `server` has never heard of.
fn behind_a_gateway(masquerade: bool) -> Proof {
    let host = |name: &str, address: &str, to: u32, allowed: &str, masquerade| Host {
        name: name.into(),
        addresses: vec![address.parse().expect("it is an address")],
        devices: vec![Device {
            name: "wg0".into(),
            routed_in: Some(TABLE_MAIN),
            masquerade,
            peers: vec![Peer {
                to: Some((to, 0)),
                dials: true,
                allowed: Arc::from([allowed.parse::<IpNet>().expect("it is a prefix")]),
                written: None,
            }],
            ..Device::default()
        }],
        forwards_v4: true,
        ..Host::default()
    };
    let mut gateway = host("gateway", "10.0.0.1", 1, "10.0.0.2/32", masquerade);
    let prefix = "192.168.9.0/24".parse().expect("it is a prefix");
    gateway.routes.push(Route { table: TABLE_MAIN, prefix, to: RouteTo::Lan });
    let server = host("server", "10.0.0.2", 0, "10.0.0.1/32", false);
    let mut hosts = Hosts { hosts: vec![gateway, server], ..Hosts::default() };
    hosts.name_ends();
    reachability(hosts)
}

#[test]
fn a_lan_behind_a_masquerading_gateway_reaches_out_and_is_not_reached() {
    let (lan, server) = (2, 1);
    let proof = behind_a_gateway(true);
    assert_eq!((proof.verdict(lan, server), proof.verdict(server, lan)), (Verdict::Fine, Verdict::Dropped));
    assert_eq!((proof.verdict(0, server), proof.verdict(server, 0)), (Verdict::Fine, Verdict::Fine));
    let proof = behind_a_gateway(false);
    assert_eq!((proof.verdict(lan, server), proof.verdict(server, lan)), (Verdict::Dropped, Verdict::Dropped));
}
