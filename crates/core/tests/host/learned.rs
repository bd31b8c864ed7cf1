//! Routes that are learned: which peer has the prefix of each, and what follows from each change.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use wayleave_core::file::load_with;
use wayleave_core::host::{
    Actual, Backend, Change, HostState, Learned, LearnedRoute, NotCarried, Resolved, diff, wanted,
};
use wayleave_core::keys::PublicKey;
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::network::resolve::resolve;
use wayleave_core::plan::{Ledger, LinkState, LinkStates, NodePlan, plan};
use wayleave_core::render::{BirdNow, bird_now};

/// A speaks BGP with B and C, and knows the hub D and E, who do not.
const FIVE: &str = r#"
[network]
name = "five"
prefixes = ["10.0.0.0/24"]
[bgp]
asn = 64512
own = ["172.22.1.0/27"]
[nodes.a]
endpoint = "192.0.2.1"
address = "10.0.0.1"
bgp = true
[nodes.b]
endpoint = "192.0.2.2"
address = "10.0.0.2"
bgp = true
service_addresses = ["10.0.0.200"]
[nodes.c]
endpoint = "192.0.2.3"
address = "10.0.0.3"
bgp = true
[nodes.d]
endpoint = "192.0.2.4"
address = "10.0.0.4"
hub = true
[nodes.e]
endpoint = "192.0.2.5"
address = "10.0.0.5"
prefixes = ["192.168.0.0/16"]
[[links]]
mesh = ["*"]
"#;

fn key(node: &str) -> PublicKey {
    PublicKey::from_bytes([node.as_bytes()[0]; 32])
}

fn part_of(text: &str, node: &str, states: &LinkStates) -> NodePlan {
    let loaded = load_with("five.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolved = resolve(&loaded.file);
    let network = resolved.network.unwrap();
    let mut ledger = Ledger::default();
    for node in &network.nodes {
        ledger.public_keys.insert(node.name.clone(), key(node.name.as_str()));
    }
    let plan = plan(network.into(), &ledger, states).0;
    plan.of(plan.find(&Name::new(node).unwrap()).unwrap())
}

fn state(part: &NodePlan, learned: &Learned) -> HostState {
    let mut state = wanted(part, Backend::Engine, &Resolved::default());
    learned.add_to(&mut state, part);
    state
}

fn route(prefix: &str, next_hop: Option<&str>) -> LearnedRoute {
    LearnedRoute { prefix: prefix.parse().unwrap(), next_hop: next_hop.map(|hop| hop.parse().unwrap()) }
}

fn follow(learned: &mut Learned, routes: &[LearnedRoute], state: &mut HostState, part: &NodePlan) -> Vec<String> {
    learned.follow(routes, state, part).iter().map(Change::to_string).collect()
}

#[test]
fn a_prefix_goes_where_its_next_hop_is_and_moves_in_one_step() {
    let part = part_of(FIVE, "a", &LinkStates::default());
    let mut learned = Learned::default();
    learned.plan(&part);
    let mut now = state(&part, &learned);
    let begin = now.clone();
    let mut next = |routes: &[LearnedRoute]| follow(&mut learned, routes, &mut now, &part);
    assert_eq!(next(&[route("172.20.0.0/16", Some("10.0.0.2"))]), ["send 172.20.0.0/16 to b over wg0"]);
    assert!(next(&[route("172.20.0.0/16", Some("10.0.0.2"))]).is_empty(), "nothing is done twice");
    assert_eq!(next(&[route("172.20.0.0/16", Some("10.0.0.3"))]), ["send 172.20.0.0/16 to c over wg0"]);
    let several = [
        route("172.20.0.0/16", None),
        route("172.20.1.0/24", Some("10.0.0.2")),
        route("172.20.0.0/16", Some("10.0.0.2")),
        route("172.20.2.0/24", Some("10.0.0.3")),
    ];
    let moved =
        ["send 172.20.0.0/16 to b over wg0", "send 172.20.1.0/24 to b over wg0", "send 172.20.2.0/24 to c over wg0"];
    assert_eq!(next(&several), moved, "what is gone for a moment only is not taken away");
    assert_eq!(next(&[route("172.20.0.0/16", None)]), ["no longer send 172.20.0.0/16 to b over wg0"]);
    next(&[route("172.20.1.0/24", None), route("172.20.2.0/24", None), route("172.29.0.0/16", None)]);
    assert_eq!(now, begin, "nothing is left");
}

#[test]
fn what_the_plan_carries_defaults_and_strangers_are_nobodys() {
    let part = part_of(FIVE, "a", &LinkStates::default());
    let mut learned = Learned::default();
    learned.plan(&part);
    let mut now = state(&part, &learned);
    let (b, planned) = (Some("10.0.0.2"), NotCarried::Planned);
    let refused = [
        (route("0.0.0.0/0", b), NotCarried::Default),
        (route("10.0.0.0/25", b), planned.clone()),
        (route("10.0.0.201/32", b), planned.clone()),
        (route("10.0.0.200/32", Some("10.0.0.3")), planned.clone()),
        (route("192.168.7.0/24", b), planned),
        (route("172.20.0.0/16", Some("10.0.0.77")), NotCarried::Stranger("10.0.0.77".parse().unwrap())),
        (route("172.21.0.0/16", Some("10.0.0.5")), NotCarried::Stranger("10.0.0.5".parse().unwrap())),
    ];
    let routes: Vec<LearnedRoute> = refused.iter().map(|(route, _)| *route).collect();
    assert!(follow(&mut learned, &routes, &mut now, &part).is_empty());
    let expected: BTreeMap<IpNet, NotCarried> =
        refused.iter().map(|(route, why)| (route.prefix, why.clone())).collect();
    assert_eq!(*learned.refused(), expected);
    let wide = [route("10.0.0.0/8", b), route("10.0.0.200/32", b)];
    let taken = ["send 10.0.0.0/8 to b over wg0", "send 10.0.0.200/32 to b over wg0"];
    assert_eq!(follow(&mut learned, &wide, &mut now, &part), taken, "a wider one, and what b says it has itself");
}

#[test]
fn over_a_relay_a_prefix_goes_only_if_that_speaks_bgp_too() {
    let (b, d) = (Name::new("b").unwrap(), Name::new("d").unwrap());
    let mut states = LinkStates::default();
    states.set(&Name::new("a").unwrap(), &b, LinkState::Down);
    let routes = [route("172.20.0.0/16", Some("10.0.0.2"))];
    let mut learned = Learned::default();
    let part = part_of(FIVE, "a", &LinkStates::default());
    learned.plan(&part);
    let mut now = state(&part, &learned);
    follow(&mut learned, &routes, &mut now, &part);
    assert_eq!(learned.carried(), [("10.0.0.2".parse::<IpAddr>().unwrap(), 1)].into());
    let detour = part_of(FIVE, "a", &states);
    learned.plan(&detour);
    let why = NotCarried::Relay { node: b, relay: d };
    assert_eq!(*learned.refused(), [(routes[0].prefix, why)].into());
    assert!(!state(&detour, &learned).devices[&detour.device].allowed.contains_key(&routes[0].prefix));
    let speaking = part_of(&FIVE.replace("hub = true", "hub = true\nbgp = true"), "a", &states);
    learned.plan(&speaking);
    assert!(learned.refused().is_empty());
    let allowed = &state(&speaking, &learned).devices[&speaking.device].allowed;
    assert_eq!(allowed[&routes[0].prefix], key("d"));
}

/// A with the hub d alone, behind which b is; all may be sent to the hub.
const SPOKES: &str = r#"
[network]
name = "spokes"
prefixes = ["10.0.0.0/24"]
[bgp]
asn = 64512
own = ["172.22.1.0/27"]
[nodes.a]
endpoint = "192.0.2.1"
address = "10.0.0.1"
bgp = true
[nodes.b]
endpoint = "192.0.2.2"
address = "10.0.0.2"
bgp = true
[nodes.d]
endpoint = "192.0.2.4"
address = "10.0.0.4"
hub = true
bgp = true
"#;

#[test]
fn a_node_to_which_no_way_leads_gets_nothing_though_a_wider_prefix_leads_towards_it() {
    let (b, d) = (Name::new("b").unwrap(), Name::new("d").unwrap());
    let mut learned = Learned::default();
    let part = part_of(SPOKES, "a", &LinkStates::default());
    learned.plan(&part);
    let mut now = state(&part, &learned);
    let routes = [route("172.20.0.0/16", Some("10.0.0.2"))];
    assert_eq!(follow(&mut learned, &routes, &mut now, &part), ["send 172.20.0.0/16 to d over wg0"]);
    let mut states = LinkStates::default();
    states.set(&b, &d, LinkState::Down);
    let cut = part_of(SPOKES, "a", &states);
    assert_eq!(cut.next_hop("10.0.0.2".parse().unwrap()), Some(&d), "as all of the network's addresses");
    learned.plan(&cut);
    assert_eq!(*learned.refused(), [(routes[0].prefix, NotCarried::NoWay(b.clone()))].into());
    // BIRD is told so, and takes another way at once.
    let lost = BirdNow { lost: [b].into(), ..BirdNow::default() };
    let text = |now: &BirdNow| bird_now(&cut, now).unwrap().text.as_str().to_owned();
    assert!(text(&BirdNow::default()).contains("route 10.0.0.2/32 via 10.0.0.2 % 'wg0' onlink;"));
    let told = text(&lost);
    assert!(
        told.contains("route 10.0.0.2/32 unreachable;") && told.contains("route 10.0.0.4/32 via 10.0.0.4"),
        "{told}"
    );
}

fn device() -> DeviceName {
    DeviceName::new("wg0").unwrap()
}

proptest! {
    /// Against making everything anew.
    #[test]
    fn following_leads_to_what_making_everything_anew_would(
        steps in proptest::collection::vec(proptest::collection::vec((0_u8..8, 0_u8..7), 1..6), 1..20),
    ) {
        let prefixes = ["172.20.0.0/16", "172.20.1.0/24", "10.0.0.0/8", "10.0.0.0/25", "10.0.0.200/32", "0.0.0.0/0", "fd00::/8", "172.20.1.7/32"];
        let hops = ["10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.77", "10.0.0.4"];
        let part = part_of(FIVE, "a", &LinkStates::default());
        let mut learned = Learned::default();
        learned.plan(&part);
        let mut now = state(&part, &learned);
        let mut known = BTreeMap::new();
        for step in steps {
            let routes: Vec<LearnedRoute> = step
                .iter()
                .map(|(prefix, hop)| route(prefixes[usize::from(*prefix)], hops.get(usize::from(*hop)).copied()))
                .collect();
            known.extend(routes.iter().map(|route| (route.prefix, route.next_hop)));
            let before = now.clone();
            let changes = learned.follow(&routes, &mut now, &part);
            let mut anew = Learned::default();
            anew.plan(&part);
            let all: Vec<LearnedRoute> =
                known.iter().map(|(prefix, next_hop)| LearnedRoute { prefix: *prefix, next_hop: *next_hop }).collect();
            anew.follow(&all, &mut HostState::default(), &part);
            prop_assert_eq!(&now, &state(&part, &anew));
            prop_assert_eq!(learned.refused(), anew.refused());
            let mut found = diff(&Actual { state: before, ..Actual::default() }, &now, None).unwrap();
            let mut done = changes;
            found.sort_by_key(Change::to_string);
            done.sort_by_key(Change::to_string);
            prop_assert_eq!(done, found);
            prop_assert!(now.devices[&device()].allowed.contains_key(&"10.0.0.5/32".parse::<IpNet>().unwrap()));
        }
    }
}
