//! What the doctor says of hosts: each complaint is made of a host that has it, and not of one that has not.

use wayleave_core::host::Backend;
use wayleave_core::host::doctor::{Gravity, Hook, Interface, Symptoms, Way, examine, settings};
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
    let (plan, ..) =
        plan(std::sync::Arc::new(super::random::read(NETWORK)), &Ledger::default(), &LinkStates::default());
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
