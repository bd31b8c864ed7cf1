//! Policies: what firewalls let through, found by a proof, is what a stupid reader of the rules would allow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod random;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use wayleave_core::check::Findings;
use wayleave_core::file::load_with;
use wayleave_core::names::Name;
use wayleave_core::network::resolve::resolve;
use wayleave_core::network::{Network, Ports};
use wayleave_core::node::CONTROL_PORT;
use wayleave_core::plan::{Ledger, LinkStates, NodePlan, plan};
use wayleave_core::prove::{Hosts, Proof, Verdict, reachability};

use random::{Dice, network_text, read, with_clients};

/// A rule as the stupid reader keeps it: lists of selectors and of ports, as text.
#[derive(Debug)]
struct Rule {
    from: Vec<String>,
    to: Vec<String>,
    ports: Vec<&'static str>,
}

/// A random policy: its text, and what the reader knows of it.
struct Made {
    text: String,
    denies: bool,
    allows: Vec<Rule>,
    /// On which nodes, which ports, for whom; nobody named: everybody.
    services: Vec<Rule>,
    /// Nodes and clients that are kept apart, with all that is behind the nodes.
    apart: Vec<[Vec<String>; 2]>,
    /// The node by which everybody's packets enter and leave the overlay at first.
    homes: BTreeMap<String, String>,
}

const PORTS: [&str; 6] = ["tcp/22", "tcp/400-500", "udp/53", "icmp", "tcp", "udp/1-60000"];

fn ports_of(text: &str) -> Ports {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (first.parse().unwrap(), last.parse().unwrap())
    };
    let nothing = Ports::default();
    match text.split_once('/') {
        Some(("tcp", ports)) => Ports { tcp: vec![range(ports)], ..nothing },
        Some((_, ports)) => Ports { udp: vec![range(ports)], ..nothing },
        None if text == "tcp" => Ports { tcp: vec![(0, u16::MAX)], ..nothing },
        None => Ports { icmp: true, ..nothing },
    }
}

/// Single kinds of traffic, on both sides of every border.
fn samples() -> Vec<Ports> {
    let tcp = [0, 21, 22, 23, 399, 400, 450, 500, 501, 65535].map(|p| Ports { tcp: vec![(p, p)], ..Ports::default() });
    let udp = [0, 1, 52, 53, 54, 60000, 60001].map(|p| Ports { udp: vec![(p, p)], ..Ports::default() });
    let rest = [Ports { icmp: true, ..Ports::default() }, Ports { other: true, ..Ports::default() }];
    tcp.into_iter().chain(udp).chain(rest).collect()
}

fn some(dice: &mut Dice, from: &[String]) -> Vec<String> {
    (0..1 + dice.roll(3)).map(|_| from[dice.roll(from.len() as u64) as usize].clone()).collect()
}

fn random_policy(base: &str, network: &Network, dice: &mut Dice) -> Made {
    let nodes: Vec<String> = network.nodes.iter().map(|node| node.name.to_string()).collect();
    let mut all: Vec<String> = nodes.clone();
    all.extend(network.clients.iter().map(|client| client.name.to_string()));
    all.extend(network.sites.iter().map(|site| format!("site:{}", site.name)));
    all.push("*".into());
    let denies = dice.chance(70);
    let mut text = base.to_owned();
    if denies {
        text = text.replacen("[network]\n", "[network]\npolicy = \"deny\"\n", 1);
    }
    let ports = |dice: &mut Dice| (0..dice.roll(3)).map(|_| PORTS[dice.roll(6) as usize]).collect::<Vec<_>>();
    let (mut allows, mut services, mut apart) = (Vec::new(), Vec::new(), Vec::new());
    if dice.chance(50) {
        let members: Vec<String> = all.iter().filter(|name| !name.contains([':', '*'])).cloned().collect();
        let sides = [some(dice, &members), some(dice, &members)];
        let _ = writeln!(text, "[[isolate]]\nbetween = {sides:?}");
        apart.push(sides);
    }
    for _ in 0..dice.roll(5) {
        let rule = Rule { from: some(dice, &all), to: some(dice, &all), ports: ports(dice) };
        let _ = write!(text, "[[allow]]\nfrom = {:?}\nto = {:?}\n", rule.from, rule.to);
        if !rule.ports.is_empty() {
            let _ = writeln!(text, "ports = {:?}", rule.ports);
        }
        allows.push(rule);
    }
    for at in 0..dice.roll(3) {
        let from = if dice.chance(60) { some(dice, &all) } else { Vec::new() };
        let mut rule = Rule { from, to: some(dice, &nodes), ports: ports(dice) };
        rule.ports.push("tcp/22");
        let _ = write!(text, "[services.s{at}]\non = {:?}\nports = {:?}\n", rule.to, rule.ports);
        if !rule.from.is_empty() {
            let _ = writeln!(text, "from = {:?}", rule.from);
        }
        services.push(rule);
    }
    let doors = network.parties().filter_map(|party| Some((party, *network.doors(&party).first()?)));
    let homes = doors.map(|(party, door)| (selector(&party.name(network)), network.node(door).name.to_string()));
    Made { text, denies, allows, services, apart, homes: homes.collect() }
}

/// What the reader says of one kind of traffic; ends are called as in selectors.
fn allowed(made: &Made, from: &str, to: &str, kind: &Ports) -> bool {
    let among = |list: &[String], name: &str| list.iter().any(|one| one == "*" || one == name);
    let matches = |rule: &Rule| rule.ports.iter().any(|ports| ports_of(ports).contains(kind));
    // A site and its gateway, which gives it its name, are next to each other.
    if from.strip_prefix("site:") == Some(to) || to.strip_prefix("site:") == Some(from) {
        return true;
    }
    let on = |side: &Vec<String>, name: &str| side.iter().any(|one| one == name || *one == made.homes[name]);
    let kept_apart =
        |[one, other]: &[Vec<String>; 2]| (on(one, from) && on(other, to)) || (on(other, from) && on(one, to));
    // Nodes bring what is behind them; among what is behind the same, a client that is named is kept apart, too.
    let names_client = |sides: &[Vec<String>; 2]| sides.iter().flatten().any(|name| name.starts_with('c'));
    let far = made.homes[from] != made.homes[to];
    if made.apart.iter().any(|sides| kept_apart(sides) && (far || names_client(sides))) {
        return false;
    }
    let by_rule = made
        .allows
        .iter()
        .any(|rule| among(&rule.from, from) && among(&rule.to, to) && (rule.ports.is_empty() || matches(rule)));
    let mut here = made.services.iter().filter(|service| among(&service.to, to) && matches(service));
    let by_service = here.any(|service| service.from.is_empty() || among(&service.from, from));
    let mut closed = made.services.iter().filter(|service| among(&service.to, to) && matches(service));
    let restricted = closed.any(|service| !service.from.is_empty() && !among(&service.from, "*"));
    by_rule || by_service || (!made.denies && !restricted)
}

/// An end's name as a selector names its party.
fn selector(name: &str) -> String {
    let site = name.strip_prefix("site ").map(|site| format!("site:{site}"));
    let home = || name.strip_prefix("LAN of ").map(str::to_owned);
    site.or_else(home).unwrap_or_else(|| name.to_owned())
}

struct Case {
    made: Made,
    proof: Proof,
    before: Proof,
    /// Whether a finding says that something can't be enforced.
    exposed: bool,
    isolated: Arc<Network>,
}

/// A random network with a policy, and what became of it; some nodes are without firewalls if that is wanted.
fn case(seed: u64, with_bare: bool) -> Case {
    let mut dice = Dice(!seed);
    let text = network_text(seed);
    let mut base = with_clients(&text, &read(&text), &mut dice);
    if with_bare {
        for node in 0..14 {
            let platform = if dice.chance(25) { "firewall = \"none\"\n" } else { "" };
            let header = format!("[nodes.n{node}]\n");
            base = base.replacen(&header, &format!("{header}{platform}"), 1);
        }
    }
    let open = Arc::new(read(&base));
    let made = random_policy(&base, &open, &mut dice);
    let loaded = load_with("random.toml", |_| Ok(made.text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let has = |findings: &Findings, code: &str| findings.sorted().iter().any(|finding| finding.kind.code() == code);
    let exposed = has(&resolution.findings, "WL144");
    let findings = format!("{:?} {:?}\n{}", loaded.findings.sorted(), resolution.findings.sorted(), made.text);
    let network = Arc::new(resolution.network.unwrap_or_else(|| panic!("a bad policy: {findings}")));
    let prove = |network: &Arc<Network>| {
        let (plan, _, findings) = plan(network.clone(), &Ledger::default(), &LinkStates::default());
        (reachability(Hosts::from_plan(&plan)), has(&findings, "WL204"))
    };
    let (proof, hub_exposed) = prove(&network);
    Case { proof, before: prove(&open).0, made, exposed: exposed || hub_exposed, isolated: open }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn firewalls_let_through_what_the_rules_allow_and_nothing_else(seed: u64, with_bare: bool) {
        let Case { made, proof, before, exposed, isolated } = case(seed, with_bare);
        let ends: Vec<String> = proof.hosts.ends.iter().map(|end| selector(&end.name)).collect();
        for from in 0..ends.len() {
            for to in (0..ends.len()).filter(|to| ends[*to] != ends[from]) {
                // Without a policy they would not reach each other either.
                if before.verdict(from, to) != Verdict::Fine { continue; }
                let passes = proof.passes(from, to);
                let said = proof.verdict(from, to);
                for kind in samples() {
                    let wanted = allowed(&made, &ends[from], &ends[to], &kind);
                    let got = passes.contains(&kind);
                    prop_assert!(got || !wanted,
                        "{} to {}: {kind} is refused, seed {seed}\n{}", ends[from], ends[to], made.text);
                    prop_assert!(!got || wanted || exposed,
                        "{} to {}: {kind} passes, seed {seed}\n{}", ends[from], ends[to], made.text);
                    prop_assert!(!got || wanted || matches!(said, Verdict::NotDenied | Verdict::NotApart), "{said:?} hides a leak, seed {seed}");
                }
            }
        }
        prop_assert!(isolated.policy.allowed.is_empty());
    }
}

#[test]
fn a_firewall_older_than_the_policy_cuts_somebody_off_and_is_found() {
    let open = "[nodes.a]\nendpoint = \"192.0.2.1\"\n[nodes.b]\nendpoint = \"192.0.2.2\"\n";
    let network = "[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/16\"]\npolicy = \"deny\"\n";
    let older = format!("{network}{open}[[allow]]\nfrom = [\"a\"]\nto = [\"b\"]\nports = [\"tcp/80\"]\n");
    let allowed = format!("{older}[[allow]]\nfrom = [\"a\"]\nto = [\"b\"]\nports = [\"tcp/443\"]\n");
    let hosts = |text: &str| {
        let (plan, ..) = plan(Arc::new(read(text)), &Ledger::default(), &LinkStates::default());
        Hosts::from_plan(&plan)
    };
    assert_eq!(reachability(hosts(&allowed)).findings().sorted().len(), 0);
    let mut stale = hosts(&allowed);
    for (host, old) in stale.hosts.iter_mut().zip(hosts(&older).hosts) {
        host.firewall = old.firewall;
    }
    let found = reachability(stale).findings();
    let codes: Vec<_> = found.sorted().iter().map(|finding| (finding.kind.code(), finding.kind.to_string())).collect();
    assert_eq!(codes.len(), 1, "{codes:?}");
    assert_eq!(codes[0].0, "WL321");
    assert!(codes[0].1.contains("tcp/443"), "{codes:?}");
}

#[test]
fn hubs_are_kept_apart_by_a_firewall_and_relay_all_the_same() {
    let network = "[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/16\"]\nPOLICY
        [nodes.hub]\nendpoint = \"192.0.2.1\"\nhub = true\nprefixes = [\"192.168.9.0/24\"]\nMORE
        [nodes.a]\nendpoint = \"192.0.2.2\"\nhub = true\nprefixes = [\"192.168.1.0/24\"]\nMORE
        [nodes.b]\n[nodes.c]\nendpoint = \"192.0.2.3\"
        [[links]]\nmesh = [\"role:hub\"]\n[[links]]\nfrom = [\"hub\"]\nto = [\"b\"]\n[[links]]\nfrom = [\"a\"]\nto = [\"c\"]
        [[isolate]]\nbetween = [[\"hub\"], [\"a\", \"c\"]]\n";
    let deny = "policy = \"deny\"\n[[allow]]\nfrom = [\"*\"]\nto = [\"*\"]\n";
    let verdicts = |text: &str| {
        let (plan, ..) = plan(Arc::new(read(text)), &Ledger::default(), &LinkStates::default());
        let proof = reachability(Hosts::from_plan(&plan));
        let end = |name: &str| proof.hosts.ends.iter().position(|end| end.name == name).unwrap();
        let of = |(a, b): (&str, &str)| [proof.verdict(end(a), end(b)), proof.verdict(end(b), end(a))];
        let kept_apart = [("hub", "a"), ("site hub", "a"), ("hub", "site a"), ("hub", "c")].map(of);
        (kept_apart, [("hub", "b"), ("a", "b"), ("b", "c"), ("site a", "b")].map(of))
    };
    let (apart, open) = ([[Verdict::Apart; 2]; 4], [[Verdict::Fine; 2]; 4]);
    for policy in ["", deny] {
        for more in ["", "firewall = \"iptables\""] {
            let text = network.replace("POLICY", policy).replace("MORE", more);
            assert_eq!(verdicts(&text), (apart, open), "{policy}{more}");
            let one =
                network.replace("POLICY", policy).replacen("MORE", more, 1).replace("MORE", "platform = \"edgeos\"");
            assert_eq!(verdicts(&one), (apart, open), "{policy}{more}, an EdgeRouter");
        }
    }
    let bare = network.replace("POLICY", "").replace("MORE", "firewall = \"none\"");
    let (of_hubs, relayed) = verdicts(&bare);
    assert_eq!((of_hubs[0], of_hubs[3], relayed), ([Verdict::NotApart; 2], [Verdict::Apart; 2], open));
}

#[test]
fn nodes_that_never_talk_are_not_told_of_each_other_and_need_no_firewall() {
    let text = "[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/16\"]\npolicy = \"deny\"
        [nodes.hub]\nendpoint = \"192.0.2.1\"\nhub = true
        [nodes.a]\nendpoint = \"192.0.2.2\"\nplatform = \"edgeos\"\nprefixes = [\"192.168.1.0/24\"]
        [nodes.b]\nfirewall = \"none\"\n[nodes.c]\nfirewall = \"none\"
        [[allow]]\nfrom = [\"a\", \"site:a\"]\nto = [\"c\"]\n[[allow]]\nfrom = [\"c\"]\nto = [\"a\", \"site:a\"]\n";
    let network = Arc::new(read(text));
    let (plan, ..) = plan(network.clone(), &Ledger::default(), &LinkStates::default());
    let told = |name: &str| plan.of(plan.find(&Name::new(name).unwrap()).unwrap());
    let (a, b) = (told("a"), told("b"));
    assert!(a.firewall.is_none() && b.firewall.is_none());
    let knows = |one: &NodePlan, address| one.routes.iter().any(|prefix| prefix.contains(&address));
    assert!(!knows(&a, b.addresses[0]) && !knows(&b, a.addresses[0]) && !knows(&b, "192.168.1.7".parse().unwrap()));
    assert!(knows(&a, told("c").addresses[0]));
    let proof = reachability(Hosts::from_plan(&plan));
    let end = |name: &str| proof.hosts.ends.iter().position(|end| end.name == name).unwrap();
    let verdicts = [("a", "b"), ("b", "site a"), ("site a", "b"), ("a", "c"), ("c", "site a")];
    let found = verdicts.map(|(from, to)| proof.verdict(end(from), end(to)));
    let (denied, fine) = (Verdict::Denied, Verdict::Fine);
    assert_eq!(found, [denied, denied, denied, fine, fine]);
    assert!(proof.is_clean());
}

#[test]
fn agents_hear_each_other_under_a_policy_that_denies_nearly_everything() {
    let network = "[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/16\"]\npolicy = \"deny\"
        [nodes.a]\nendpoint = \"192.0.2.1\"\nplatform = \"agent\"\n[nodes.b]\nendpoint = \"192.0.2.2\"
        [[allow]]\nfrom = [\"*\"]\nto = [\"*\"]\nports = [\"tcp/22\"]\n";
    let (plan, ..) = plan(Arc::new(read(network)), &Ledger::default(), &LinkStates::default());
    let lets_in = |name: &str| {
        let member = plan.of(plan.find(&Name::new(name).unwrap()).unwrap());
        let link = member.link_address.unwrap();
        let to_link = |prefixes: &Vec<ipnet::IpNet>| prefixes.iter().any(|prefix| prefix.contains(&link));
        let rules = member.firewall.unwrap().rules.into_iter();
        let mut rules = rules.filter(|rule| rule.accept && rule.to.as_ref().is_some_and(to_link));
        rules.any(|rule| rule.ports.icmp && rule.ports.udp == [(CONTROL_PORT, CONTROL_PORT)])
    };
    assert_eq!((lets_in("a"), lets_in("b")), (true, false));
}
