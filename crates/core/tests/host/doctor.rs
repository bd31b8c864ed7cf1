//! What the doctor says of hosts: each complaint is made of a host that has it, and not of one that has not.

use wayleave_core::host::Backend;
use wayleave_core::host::doctor::{Gravity, Hook, Interface, SessionSeen, Symptoms, Way, examine, settings};
use wayleave_core::plan::{Ledger, LinkStates, NodePlan, plan};

const NETWORK: &str = r#"
[network]
name = "n"
prefixes = ["10.50.0.0/24", "fd50::/64"]
[nodes.a]
endpoint = "192.0.2.1"
prefixes = ["192.168.9.0/24"]
[nodes.b]
endpoint = "192.0.2.2"
prefixes = ["192.168.8.0/24"]
"#;

fn a() -> NodePlan {
    part_of_a(NETWORK)
}

fn part_of_a(text: &str) -> NodePlan {
    let (plan, ..) = plan(std::sync::Arc::new(super::random::read(text)), &Ledger::default(), &LinkStates::default());
    let member = plan.members().find(|member| plan.name(*member).as_str() == "a").unwrap();
    plan.of(member)
}

/// A host that has all that node a needs.
fn well() -> Symptoms {
    let value = |name: &str| if name.ends_with("disable_ipv6") { "0" } else { "1" };
    let mut seen = Symptoms {
        backend: Some(Backend::Kernel),
        may_change: true,
        has_nft: true,
        has_bird: true,
        has_device: true,
        clock_s: 1_790_000_000,
        settings: settings(&a()).into_iter().map(|name| (name.clone(), value(&name).to_owned())).collect(),
        ways: vec![Way {
            peer: "b".into(),
            endpoint: "192.0.2.2:51820".parse().unwrap(),
            bytes: Some(1_500),
            is_measured: true,
        }],
        ..Symptoms::default()
    };
    seen.settings.insert("net/ipv4/conf/wg0/rp_filter".into(), "2".into());
    let lan = Interface { addresses: vec!["192.168.9.1/24".parse().unwrap()], lost_routers: false };
    seen.interfaces.insert("lan".into(), lan);
    seen.routes.push(("192.168.9.0/24".parse().unwrap(), "lan".into()));
    seen
}

#[test]
fn of_a_host_that_is_well_nothing_is_said() {
    assert_eq!(examine(&a(), &well()), []);
}

#[test]
fn every_complaint_is_made_of_the_host_that_has_it_and_of_no_other() {
    type Harm = fn(&mut Symptoms);
    use Gravity::{Broken, Doubtful};
    let rows: [(Harm, Gravity, &str); 16] = [
        (|s| s.backend = None, Broken, "neither the kernel has WireGuard"),
        (|s| s.may_change = false, Broken, "no CAP_NET_ADMIN"),
        (|s| s.clock_s = 5, Broken, "the clock is years behind"),
        (|s| s.is_name_taken = true, Broken, "there is a device wg0 already"),
        (|s| s.is_port_taken = true, Broken, "another program has UDP port 51820"),
        (|s| drop(s.settings.insert("net/ipv4/ip_forward".into(), "0".into())), Broken, "net.ipv4.ip_forward is 0"),
        (|s| drop(s.settings.insert("net/ipv4/conf/wg0/rp_filter".into(), "1".into())), Doubtful, "rp_filter is 1"),
        (
            |s| s.dropping.push(("table ip filter chain FORWARD".into(), Hook::Forward)),
            Doubtful,
            "drops packets that are passed on",
        ),
        (
            |s| s.dropping.push(("table ip filter chain INPUT".into(), Hook::Input)),
            Doubtful,
            "drops packets for this host",
        ),
        (|s| s.interfaces.get_mut("lan").unwrap().lost_routers = true, Doubtful, "lan takes no IPv6 router"),
        (
            |s| drop(s.settings.insert("net/ipv6/conf/all/disable_ipv6".into(), "1".into())),
            Doubtful,
            "IPv6 is switched off",
        ),
        (
            |s| s.routes.push(("192.168.8.128/25".parse().unwrap(), "docker0".into())),
            Doubtful,
            "leads into docker0 on this host, and the plan sends 192.168.8.0/24 to b",
        ),
        (
            |s| {
                s.interfaces.clear();
                s.routes.clear();
            },
            Doubtful,
            "stands in front of 192.168.9.0/24",
        ),
        (|s| s.ways[0].bytes = None, Broken, "no route to 192.0.2.2:51820, where b is dialled"),
        (
            |s| s.ways[0].bytes = Some(1_400),
            Doubtful,
            "don't reach 192.0.2.2:51820 of b, so the MTU of wg0 can be 1340 at most, not 1420",
        ),
        (
            |s| (s.ways[0].bytes, s.ways[0].is_measured) = (Some(1_400), false),
            Doubtful,
            "don't fit the first hop to 192.0.2.2:51820 of b",
        ),
    ];
    for (harm, gravity, words) in rows {
        let mut seen = well();
        harm(&mut seen);
        let remarks = examine(&a(), &seen);
        assert_eq!(remarks.len(), 1, "{words}: {remarks:?}");
        assert!(remarks[0].gravity == gravity && remarks[0].what.contains(words), "{words}: {remarks:?}");
        assert!(!remarks[0].remedy.is_empty());
    }
}

#[test]
fn the_worst_is_said_first() {
    let mut seen = well();
    seen.ways[0].bytes = Some(1_400);
    seen.unresolved.push(("b.example".into(), "no such name".into()));
    let remarks = examine(&a(), &seen);
    assert_eq!(remarks.iter().map(|remark| remark.gravity).collect::<Vec<_>>(), [Gravity::Broken, Gravity::Doubtful]);
}

#[test]
fn the_kernels_wireguard_is_said_to_drop_what_comes_by_the_other_of_two_nodes_with_ways_to_one_prefix() {
    let neighbour = |name: &str, node: &str, accept: &str, port: u16| {
        format!(
            "[neighbours.{name}]\nnode = \"{node}\"\nasn = 64513\nport = {port}\naccept = [\"{accept}\"]\nown_addresses = [\"10.9.0.1/30\"]\n\
             addresses = [\"10.9.0.2\"]\npublic_key = \"LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM=\"\n"
        )
    };
    let said = |accept: &str, harm: fn(&mut Symptoms)| {
        let bgp = "[bgp]\nasn = 64512\nown = [\"10.50.0.0/24\"]\n";
        let text = format!("{NETWORK}{bgp}{}{}", neighbour("x", "a", "10.0.0.0/8", 1), neighbour("y", "b", accept, 2));
        let mut seen = well();
        harm(&mut seen);
        let remarks = examine(&part_of_a(&text), &seen);
        remarks.into_iter().any(|remark| remark.what.contains("two nodes may learn ways to the same prefixes"))
    };
    assert!(said("10.64.0.0/10", |_| {}));
    assert!(!said("172.20.0.0/14", |_| {}), "each is behind one node");
    assert!(!said("10.64.0.0/10", |seen| seen.carries = Some(Backend::Engine)), "the agent has the engine");
    assert!(said("10.64.0.0/10", |seen| (seen.backend, seen.carries) = (None, Some(Backend::Kernel))));
}

#[test]
fn of_a_node_that_speaks_bgp_bird_and_its_sessions_are_looked_at() {
    let bgp = "[bgp]\nasn = 64512\nown = [\"10.50.0.0/24\"]\n[neighbours.home]\nnode = \"a\"\nasn = 64513\nport = 24513\n\
               public_key = \"P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=\"\nown_addresses = [\"10.9.0.1/30\"]\n\
               addresses = [\"10.9.0.2\"]\naccept = [\"172.20.0.0/14\"]\n";
    let part = part_of_a(&format!("{NETWORK}{bgp}"));
    let check = |harm: fn(&mut Symptoms), expected: &[(Gravity, &str, &str)]| {
        let mut seen = well();
        harm(&mut seen);
        let got = examine(&part, &seen);
        let fits = got.len() == expected.len()
            && got.iter().zip(expected).all(|(remark, (gravity, what, remedy))| {
                remark.gravity == *gravity && remark.what == *what && remark.remedy.contains(remedy)
            });
        assert!(fits, "{got:#?}");
    };
    check(|_| {}, &[]);
    check(
        |seen| seen.has_bird = false,
        &[(Gravity::Broken, "the node speaks BGP, and there is no bird", "apt install bird2")],
    );
    check(
        |seen| seen.bird_problem = Some("it does not answer".into()),
        &[(Gravity::Broken, "BIRD: it does not answer", "wayleave bgp")],
    );
    check(
        |seen| {
            seen.sessions = vec![
                SessionSeen { name: "b".into(), state: "Established".into(), is_down: false, reason: "silent".into() },
                SessionSeen {
                    name: "home".into(),
                    state: "Active".into(),
                    is_down: true,
                    reason: "no answer yet".into(),
                },
            ];
        },
        &[
            (Gravity::Broken, "no BGP session with home (Active): no answer yet", "render FILE --neighbour home"),
            (Gravity::Doubtful, "the BGP session with b (Established): silent", "wayleave status"),
        ],
    );
    // A node that speaks none needs none.
    assert_eq!(examine(&a(), &Symptoms { has_bird: false, ..well() }), []);
}
