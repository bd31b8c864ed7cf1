//! The real agents through faults of all kinds: after each, what can be measured is what the proof says of the links that are left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use wayleave_core::file::load_with;
use wayleave_core::names::Name;
use wayleave_core::network::{Network, resolve::resolve};
use wayleave_core::plan::{Ledger, LinkState, LinkStates, plan};
use wayleave_core::prove::{Hosts, reachability};

use crate::desk::{Desk, can_run};
use crate::running::Running;

/// How long agents may take to find everything that can be found: a link that has failed twice has to work for ten seconds.
const SETTLE: Duration = Duration::from_secs(30);

/// The network of the example, with what is cut of it.
struct Truth {
    network: Arc<Network>,
    states: LinkStates,
}

impl Truth {
    fn read(desk: &Desk) -> Truth {
        let text = desk.read("edgeproxy.toml");
        let loaded = load_with("edgeproxy.toml", |_| Ok(text.clone().into_bytes()));
        Truth { network: Arc::new(resolve(&loaded.file).network.unwrap()), states: LinkStates::default() }
    }

    fn names(&self) -> Vec<String> {
        self.network.nodes.iter().map(|node| node.name.to_string()).collect()
    }

    /// Cuts the links between some nodes and some others, or mends them.
    fn set(&mut self, some: &[&str], others: &[&str], is_cut: bool) {
        let links: Vec<(Name, Name)> = self
            .network
            .links
            .iter()
            .map(|link| (self.network.node(link.a).name.clone(), self.network.node(link.b).name.clone()))
            .collect();
        for (a, b) in links {
            let is_between = |x: &Name, y: &Name| some.contains(&x.as_str()) && others.contains(&y.as_str());
            if !is_between(&a, &b) && !is_between(&b, &a) {
                continue;
            }
            if is_cut { self.states.set(&a, &b, LinkState::Down) } else { self.states.clear(&a, &b) }
        }
    }

    /// Pairs that reach each other over the links that are left.
    fn ideal(&self) -> BTreeSet<(String, String)> {
        let (plan, ..) = plan(self.network.clone(), &Ledger::default(), &self.states);
        let (proof, names) = (reachability(Hosts::from_plan(&plan)), self.names());
        let pairs = (0..names.len()).flat_map(|a| (0..names.len()).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let reached = pairs.filter(|(a, b)| proof.verdict(*a, *b).arrives() && proof.verdict(*b, *a).arrives());
        reached.map(|(a, b)| (names[a].clone(), names[b].clone())).collect()
    }
}

/// Pings each address once, all at the same time, and says which answer.
const PING_ALL: &str = "for address; do ping -c 1 -W 1 $address > /dev/null && echo $address & done\nwait\n";

/// Pairs that answer one ping, all asked at once.
fn measured(lab: &Running<'_>, truth: &Truth) -> BTreeSet<(String, String)> {
    let (plan, ..) = plan(truth.network.clone(), &Ledger::default(), &LinkStates::default());
    let address = |member| plan.overlay_addresses(member)[0].to_string();
    let members: Vec<(String, String)> = plan.members().map(|at| (plan.name(at).to_string(), address(at))).collect();
    let ask = |from: &String| {
        let others = members.iter().filter(|(name, _)| name != from).map(|(_, address)| address.as_str());
        let ran = lab.lab(&format!("exec {from} sh ping-all.sh {}", others.collect::<Vec<_>>().join(" ")));
        let answered = members.iter().filter(|(_, address)| ran.out.lines().any(|line| line == address));
        answered.map(|(name, _)| (from.clone(), name.clone())).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let ask = &ask;
        let asked: Vec<_> = members.iter().map(|(from, _)| scope.spawn(move || ask(from))).collect();
        asked.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[track_caller]
fn wait_until_ideal(lab: &Running<'_>, truth: &Truth, after: &str) {
    let (ideal, begin) = (truth.ideal(), Instant::now());
    loop {
        let measured = measured(lab, truth);
        if measured == ideal {
            return println!(
                "{after}: {} pairs reach each other after {:.1} s",
                ideal.len(),
                begin.elapsed().as_secs_f64()
            );
        }
        let missing: Vec<_> = ideal.difference(&measured).collect();
        let odd: Vec<_> = measured.difference(&ideal).collect();
        assert!(begin.elapsed() < SETTLE, "{after}: {missing:?} should reach each other, {odd:?} should not");
    }
}

/// A link that loses a third of all packets, and one that fails every other second, are no reason for anybody to be out of reach: both
/// are gone round, and left alone.
fn loses_and_flaps(desk: &Desk, lab: &Running<'_>, truth: &Truth) {
    desk.write("flow.sh", "ping -O -i 0.1 -c $2 $1 > $3 2>&1 &\n");
    let flow = |address: &str, count: usize, name: &str| {
        let path = desk.path(name).display().to_string();
        lab.lab(&format!("exec hkg sh flow.sh {address} {count} {path}")).expect(0);
    };
    let lost_of_last = |name: &str, last: usize| {
        let begin = Instant::now();
        while !desk.read(name).contains("packets transmitted") {
            assert!(begin.elapsed() < 2 * SETTLE, "{}", desk.read(name));
            std::thread::sleep(Duration::from_millis(100));
        }
        let text = desk.read(name);
        let total =
            text.split(" packets transmitted").next().unwrap().split_whitespace().next_back().unwrap().parse::<usize>();
        let total = total.unwrap();
        let number = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse::<usize>().ok();
        let answered: BTreeSet<usize> =
            text.lines().filter(|line| line.contains("bytes from")).filter_map(number).collect();
        (total + 1 - last..=total).filter(|at| !answered.contains(at)).count()
    };
    // 30 % of round trips and more: the detour by way of ireland takes 490 ms and loses nothing.
    lab.lab("fail hkg nrt --loss 30").expect(0);
    flow("10.50.4.1", 400, "lossy");
    let lost = lost_of_last("lossy", 100);
    assert_eq!(lost, 0, "half a minute after a link began to lose a third, it is still taken: {}", desk.read("lossy"));
    wait_until_ideal(lab, truth, "with a third lost between hkg and nrt");
    lab.lab("heal hkg nrt").expect(0);

    flow("10.50.4.2", 200, "flapping");
    for _ in 0..5 {
        lab.lab("fail hkg sin").expect(0);
        std::thread::sleep(Duration::from_secs(2));
        lab.lab("heal hkg sin").expect(0);
        std::thread::sleep(Duration::from_secs(2));
    }
    let lost = lost_of_last("flapping", 100);
    assert_eq!(lost, 0, "packets follow a link that flaps: {}", desk.read("flapping"));
    wait_until_ideal(lab, truth, "after a link between hkg and sin that flapped");
}

#[test]
fn after_every_fault_agents_reach_what_the_proof_says_can_be_reached() {
    if !can_run("after_every_fault_agents_reach_what_the_proof_says_can_be_reached", true, &["ping", "sh", "kill"]) {
        return;
    }
    let desk = Desk::with_examples();
    desk.write("ping-all.sh", PING_ALL);
    let mut truth = Truth::read(&desk);
    let all = truth.names();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut lab = Running::start(&desk, "faults", "edgeproxy.toml --agents");
    assert_eq!(truth.ideal().len(), 12 * 11);
    wait_until_ideal(&lab, &truth, "at the beginning");

    // Without its hub, the rest is apart; what is in Asia does not notice.
    let pings = desk.path("pings").display().to_string();
    desk.write("ping.sh", format!("ping -i 0.020 -c 250 $1 > {pings} 2>&1 &\n"));
    lab.lab("exec nrt sh ping.sh 10.50.4.2").expect(0);
    std::thread::sleep(Duration::from_secs(1));
    lab.lab("fail node ireland").expect(0);
    truth.set(&["ireland"], &all, true);
    wait_until_ideal(&lab, &truth, "without ireland");
    let begin = Instant::now();
    while !desk.read("pings").contains("packets transmitted") {
        assert!(begin.elapsed() < SETTLE, "{}", desk.read("pings"));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(desk.read("pings").contains(" 0% packet loss"), "{}", desk.read("pings"));
    lab.lab("heal node ireland").expect(0);
    truth.set(&["ireland"], &all, false);

    lab.lab("fail hkg nrt --one-way").expect(0);
    truth.set(&["hkg"], &["nrt"], true);
    wait_until_ideal(&lab, &truth, "with ireland again and hkg to nrt lost one way");
    lab.lab("heal hkg nrt").expect(0);
    truth.set(&["hkg"], &["nrt"], false);

    // Two nodes that reach each other and nobody else.
    for (a, b) in [("hkg", "ireland"), ("hkg", "nrt"), ("hkg", "sin"), ("syd", "ireland")] {
        lab.lab(&format!("fail {a} {b}")).expect(0);
        truth.set(&[a], &[b], true);
    }
    wait_until_ideal(&lab, &truth, "with hkg and syd apart from all others");
    for (a, b) in [("hkg", "ireland"), ("hkg", "nrt"), ("hkg", "sin"), ("syd", "ireland")] {
        lab.lab(&format!("heal {a} {b}")).expect(0);
        truth.set(&[a], &[b], false);
    }
    wait_until_ideal(&lab, &truth, "with everything mended");
    loses_and_flaps(&desk, &lab, &truth);

    for member in ["syd", "ireland", "gru", "hkg", "iad", "nrt", "lhr", "fra", "ord", "sin", "cdg", "lax"] {
        let status = lab.lab(&format!("exec {member} {} status --json", crate::desk::WAYLEAVE));
        let snapshot: Value = serde_json::from_str(&status.out).unwrap_or_else(|error| panic!("{error}: {status}"));
        desk.program(&format!("kill -9 {}", snapshot["pid"]), "").expect(0);
    }
    wait_until_ideal(&lab, &truth, "after all agents were killed");
    lab.lab("down").expect(0);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.said());
}
