//! What is proposed in single situations: sentences and commands.

use std::time::Duration;

use wayleave_core::file::load_with;
use wayleave_core::host::{Actual, Backend, HostState, Obstacle, Resolved, Rule, Sysctl, diff, wanted};
use wayleave_core::keys::PublicKey;
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::network::resolve::resolve;
use wayleave_core::plan::{Ledger, LinkStates, plan};

const TWO: &str = r#"
[network]
name = "two"
prefixes = ["10.0.0.0/24"]
link_prefix = "fd00:1::/64"

[nodes.a]
endpoint = "192.0.2.1:51820"
public_key = "dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ="
prefixes = ["192.168.1.0/24"]

[nodes.b]
public_key = "KrQwSK7d1JnsMs8hz5l4oIhgcyNZaPENC3h2dg6+QEA="
"#;

fn key(text: &str) -> PublicKey {
    PublicKey::parse(text).unwrap()
}

fn device() -> DeviceName {
    DeviceName::new("wg0").unwrap()
}

/// The state of node b, which dials a.
fn state(text: &str) -> HostState {
    let loaded = load_with("two.toml", |_| Ok(text.as_bytes().to_vec()));
    let network = resolve(&loaded.file).network.unwrap();
    let plan = plan(network.into(), &Ledger::default(), &LinkStates::default()).0;
    let node_plan = plan.of(plan.find(&Name::new("b").unwrap()).unwrap());
    let endpoint = "192.0.2.1:51820".parse().unwrap();
    wanted(&node_plan, Backend::Kernel, &Resolved::from([(Name::new("a").unwrap(), endpoint)]))
}

/// The commands that make one of the other.
fn check(actual: &Actual, wanted: &HostState, earlier: Option<&HostState>, expected: &[&str]) {
    let changes = diff(actual, wanted, earlier).unwrap();
    let keys = wanted.devices.keys().map(|device| (device.clone(), "/etc/wireguard/b.key".to_owned())).collect();
    let commands: Vec<_> = changes.iter().map(|change| change.command(&keys)).collect();
    assert_eq!(commands, expected);
}

fn there(state: &HostState) -> Actual {
    Actual { state: state.clone(), ..Actual::default() }
}

#[test]
fn a_bare_host_gets_all_of_it_in_the_order_of_a_careful_person() {
    check(
        &Actual::default(),
        &state(TWO),
        None,
        &[
            "ip link add wg0 type wireguard; ip link set wg0 alias wayleave:two",
            "wg set wg0 private-key /etc/wireguard/b.key",
            "wg set wg0 listen-port 51820",
            "ip link set wg0 mtu 1420",
            "sysctl -w net.ipv4.conf.wg0.rp_filter=2",
            "ip address add 10.0.0.2/32 dev wg0",
            "ip address add fd00:1::2/128 dev wg0",
            "ip link set wg0 up",
            "wg set wg0 peer dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ= endpoint 192.0.2.1:51820 persistent-keepalive 25",
            "wg set wg0 peer dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ= allowed-ips +10.0.0.1/32",
            "wg set wg0 peer dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ= allowed-ips +192.168.1.0/24",
            "wg set wg0 peer dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ= allowed-ips +fd00:1::1/128",
            "ip route replace 10.0.0.1/32 dev wg0 src 10.0.0.2 proto 87",
            "ip route replace 192.168.1.0/24 dev wg0 src 10.0.0.2 proto 87",
            "ip route replace fd00:1::1/128 dev wg0 src fd00:1::2 proto 87",
        ],
    );
}

#[test]
fn a_prefix_that_goes_loses_its_route_first() {
    let fewer = TWO.replace("prefixes = [\"192.168.1.0/24\"]\n", "");
    check(
        &there(&state(TWO)),
        &state(&fewer),
        None,
        &[
            "ip route del 192.168.1.0/24 dev wg0 proto 87",
            "wg set wg0 peer dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ= allowed-ips -192.168.1.0/24",
        ],
    );
}

/// The state of a host whose peer was last heard of from elsewhere, so many seconds ago.
fn roamed(age_s: u64) -> Actual {
    let mut actual = there(&state(TWO));
    let a = key("dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ=");
    let peer = actual.state.devices.get_mut(&device()).unwrap().peers.get_mut(&a).unwrap();
    peer.endpoint = Some("198.51.100.9:40000".parse().unwrap());
    actual.handshake_ages.insert((device(), a), Duration::from_secs(age_s));
    actual
}

#[test]
fn where_a_live_peer_is_now_is_left_alone() {
    check(&roamed(100), &state(TWO), None, &[]);
    check(&roamed(100), &state(TWO), Some(&state(TWO)), &[]);
}

#[test]
fn a_dead_peer_is_dialled_where_the_plan_says() {
    let set = ["wg set wg0 peer dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ= endpoint 192.0.2.1:51820"];
    check(&roamed(181), &state(TWO), Some(&state(TWO)), &set);
}

#[test]
fn a_live_peer_is_dialled_anew_when_the_file_has_moved_it() {
    let mut earlier = state(TWO);
    let a = key("dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ=");
    let peer = earlier.devices.get_mut(&device()).unwrap().peers.get_mut(&a).unwrap();
    peer.endpoint = Some("192.0.2.77:51820".parse().unwrap());
    let set = ["wg set wg0 peer dcDwgwm1TRDDQtc1CpPuFbTjl9fIJw24g/bbBYvxtgQ= endpoint 192.0.2.1:51820"];
    check(&roamed(100), &state(TWO), Some(&earlier), &set);
}

#[test]
fn a_device_of_somebody_else_is_an_obstacle() {
    let actual = Actual { foreign_devices: [device()].into(), ..Actual::default() };
    assert_eq!(diff(&actual, &state(TWO), None), Err(vec![Obstacle::ForeignDevice { device: device() }]));
}

#[test]
fn a_routing_table_of_another_network_is_an_obstacle_if_it_is_wanted() {
    let other = DeviceName::new("wg7").unwrap();
    let actual = Actual { foreign_tables: [(51_800, other.clone())].into(), ..Actual::default() };
    assert!(diff(&actual, &state(TWO), None).is_ok(), "no table of its own is wanted");
    let mut wanted = state(TWO);
    wanted.rules.insert(Rule {
        priority: 8_700,
        ipv6: false,
        table: 51_800,
        unless_mark: 51_800,
        suppresses_default: false,
    });
    let obstacle = Obstacle::ForeignTable { table: 51_800, device: other };
    assert_eq!(diff(&actual, &wanted, None), Err(vec![obstacle]));
}

#[test]
fn tables_in_which_claims_are_told_are_no_two_networks() {
    let other = DeviceName::new("wg7").unwrap();
    let actual = Actual { foreign_tables: [(49_340, other.clone())].into(), ..Actual::default() };
    let mut wanted = state(TWO);
    assert!(diff(&actual, &wanted, None).is_ok(), "no claims are told");
    wanted.meeting_tables = [50_160, 49_340].into();
    let obstacle = Obstacle::ForeignTable { table: 49_340, device: other };
    assert_eq!(diff(&actual, &wanted, None), Err(vec![obstacle]));
}

#[test]
fn a_device_of_the_other_back_end_is_made_anew_with_all_it_has() {
    let mut actual = there(&state(TWO));
    actual.state.devices.get_mut(&device()).unwrap().backend = Backend::Engine;
    let changes = diff(&actual, &state(TWO), None).unwrap();
    assert_eq!(changes[0].to_string(), "make device wg0 anew (kernel)");
    assert_eq!(changes.iter().filter(|change| change.to_string().starts_with("send ")).count(), 3);
}

#[test]
fn a_host_forwards_only_the_families_that_its_peers_have() {
    let state = state(&TWO.replace("[nodes.b]", "[nodes.b]\nhub = true"));
    let forwards = |path: &str| state.sysctls.contains_key(&Sysctl(path.to_owned()));
    assert!(forwards("net/ipv4/ip_forward") && !forwards("net/ipv6/conf/all/forwarding"), "{:?}", state.sysctls);
}

#[test]
fn own_claims_are_told_changed_and_taken_back_by_routes_that_lead_nowhere() {
    let state = |claims: [(&str, u32); 2]| HostState {
        claims: claims.map(|(prefix, epoch)| ((50_160, prefix.parse().unwrap()), epoch)).into(),
        ..HostState::default()
    };
    let (before, after) =
        (state([("10.0.0.7/32", 5), ("10.1.0.0/24", 6)]), state([("10.0.0.7/32", 9), ("fd00::1/128", 1)]));
    check(
        &there(&before),
        &after,
        None,
        &[
            "ip route replace unreachable 10.0.0.7/32 metric 1 window 9 table 50160 proto 88",
            "ip route replace unreachable fd00::1/128 metric 1 window 1 table 50160 proto 88",
            "ip route del unreachable 10.1.0.0/24 table 50160 proto 88",
        ],
    );
    check(&there(&after), &after, None, &[]);
}
