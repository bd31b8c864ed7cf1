//! Namespaces, netlink and TUN devices with the real kernel.

mod bed;

use bed::{describe, turn};
use std::os::fd::AsFd;
use std::time::Duration;
use wayleave_agent::ping::{PingOptions, PingTarget, ping_many};
use wayleave_lab::host::{Namespace, Netlink, Route, Rule, tun};

fn devices() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").expect("/proc is mounted");
    table.lines().skip(2).filter_map(|line| line.split(':').next()).map(|name| name.trim().to_owned()).collect()
}

#[test]
fn a_new_namespace_is_empty_and_set_up() {
    let Some(_turn) = turn("host::a_new_namespace_is_empty_and_set_up") else { return };
    let namespace = Namespace::create().unwrap();
    let setting =
        |path: &str| namespace.run(|| std::fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap()).unwrap();
    assert!(namespace.run(devices).unwrap().contains(&"lo".to_owned()));
    assert_eq!(setting("ipv4/ip_forward").trim(), "1");
    assert_eq!(setting("ipv6/conf/default/forwarding").trim(), "1");
    assert_eq!(setting("ipv4/conf/default/rp_filter").trim(), "0");
    namespace.set("net/ipv4/ip_forward", "0").unwrap();
    assert_eq!(setting("ipv4/ip_forward").trim(), "0");
    let error = describe(namespace.set("net/ipv4/no_such_setting", "1").unwrap_err());
    assert!(error.contains("/proc/sys/net/ipv4/no_such_setting"), "{error}");
    let thread = namespace.spawn("work", || 42).unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), 42);
    assert!(namespace.run(|| panic!("on purpose")).is_err());
}

#[test]
fn the_callers_namespace_stays_as_it_was() {
    let Some(_turn) = turn("host::the_callers_namespace_stays_as_it_was") else { return };
    let before = devices();
    let namespace = Namespace::create().unwrap();
    let _device = namespace.run(|| tun::create("inside").unwrap()).unwrap();
    assert!(namespace.run(devices).unwrap().contains(&"inside".to_owned()));
    assert_eq!(devices(), before);
}

#[test]
fn a_cable_and_a_bridge_carry_packets() {
    let Some(_turn) = turn("host::a_cable_and_a_bridge_carry_packets") else { return };
    let (a, b, switch) = (Namespace::create().unwrap(), Namespace::create().unwrap(), Namespace::create().unwrap());
    switch
        .run(|| {
            let mut netlink = Netlink::open().unwrap();
            netlink.add_bridge("br0").unwrap();
            for (name, namespace) in [("to-a", &a), ("to-b", &b)] {
                netlink.add_veth(name, "eth0", Some(namespace.as_fd())).unwrap();
                netlink.enslave(name, "br0").unwrap();
                netlink.set_mtu(name, 1400).unwrap();
                netlink.set_up(name).unwrap();
            }
            netlink.set_up("br0").unwrap();
        })
        .unwrap();
    for (namespace, address) in [(&a, "10.0.0.1/24"), (&b, "10.0.0.2/24")] {
        namespace
            .run(|| {
                let mut netlink = Netlink::open().unwrap();
                netlink.set_up("eth0").unwrap();
                netlink.add_address("eth0", address.parse().unwrap()).unwrap();
            })
            .unwrap();
    }
    let target = PingTarget { source: None, destination: "10.0.0.2".parse().unwrap() };
    let options = PingOptions { count: 30, interval: Duration::from_millis(20), ..PingOptions::default() };
    let results = a.run(|| ping_many(&[target], &options).unwrap()).unwrap();
    assert!(results[0].received > 0, "{results:?}");
}

#[test]
fn routes_addresses_and_rules_come_and_go() {
    let Some(_turn) = turn("host::routes_addresses_and_rules_come_and_go") else { return };
    let namespace = Namespace::create().unwrap();
    let work = || {
        let _device = tun::create("tun0").unwrap();
        let mut netlink = Netlink::open().unwrap();
        netlink.set_up("tun0").unwrap();
        for (address, destination, gateway) in
            [("10.0.0.1/24", "10.9.0.0/16", "10.0.0.9"), ("fd00::1/64", "fd01::/48", "fd00::9")]
        {
            let address: ipnet::IpNet = address.parse().unwrap();
            netlink.add_address("tun0", address).unwrap();
            let mut route = Route::new(destination.parse().unwrap(), "tun0");
            route.gateway = Some(gateway.parse().unwrap());
            route.preferred_source = Some(address.addr());
            route.table = 7_000;
            netlink.add_route(&route).unwrap();
            assert_eq!(netlink.add_route(&route).unwrap_err().errno(), Some(libc::EEXIST));
            netlink.replace_route(&route).unwrap();
            let rule = Rule {
                priority: 100,
                table: 7_000,
                ipv6: false,
                from: Some(address),
                to: Some(route.destination),
                mark: Some((5, 7)),
                invert: false,
                suppress_length: Some(0),
                protocol: 87,
            };
            netlink.add_rule(&rule).unwrap();
            netlink.remove_rule(&rule).unwrap();
            netlink.remove_route(&route).unwrap();
            netlink.remove_address("tun0", address).unwrap();
        }
        netlink.set_down("tun0").unwrap();
        netlink.remove_link("tun0").unwrap();
        describe(netlink.set_up("tun0").unwrap_err())
    };
    let error = namespace.run(work).unwrap();
    assert_eq!(error, "can't bring up the link on device tun0: No such device (os error 19)");
}

#[test]
fn impossible_names_are_refused() {
    let Some(_turn) = turn("host::impossible_names_are_refused") else { return };
    for name in ["", "much-too-long-for-linux", "zero\0inside"] {
        assert!(matches!(tun::create(name), Err(tun::TunError::Name(_))), "{name:?}");
    }
}
