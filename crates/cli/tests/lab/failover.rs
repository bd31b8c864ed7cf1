//! The real agents in a lab: links are cut and mended, agents are killed, and traffic finds its way.

use serde_json::Value;
use wayleave_core::node::recording::play;

use crate::desk::{Desk, can_run};
use crate::running::Running;

/// Between two pings.
const INTERVAL_MS: usize = 20;

/// One member as another's agent sees it.
fn seen(lab: &Running<'_>, from: &str, other: &str) -> Value {
    let status = lab.lab(&format!("exec {from} {} status --json", crate::desk::WAYLEAVE));
    let snapshot: Value = serde_json::from_str(&status.out).unwrap_or_else(|error| panic!("{error}: {status}"));
    let members = snapshot["members"].as_array().unwrap().clone();
    members.into_iter().find(|member| member["name"] == other).unwrap_or_else(|| panic!("no {other}: {status}"))
}

/// Waits until a member reaches another over somebody, or directly.
fn wait_until_via(lab: &Running<'_>, from: &str, other: &str, via: &str) {
    let begin = std::time::Instant::now();
    while seen(lab, from, other)["via"] != via {
        assert!(begin.elapsed().as_secs() < 20, "{from} does not reach {other} over {via}: {}", seen(lab, from, other));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// The longest row of pings without an answer, in a run of `ping -O`.
fn longest_gap(output: &str) -> usize {
    let number = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse::<usize>().ok();
    let answered = output.lines().filter(|line| line.contains("bytes from")).filter_map(number);
    let (mut last, mut gap) = (0, 0);
    for sequence in answered {
        gap = gap.max(sequence.saturating_sub(last + 1));
        last = last.max(sequence);
    }
    gap
}

/// What a run of `ping` says of losses, and which answers are missing.
fn lost_of(output: &str) -> String {
    let number = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse::<usize>().ok();
    let answered: std::collections::BTreeSet<usize> = output.lines().filter_map(number).collect();
    let missing: Vec<usize> = (1..=answered.last().copied().unwrap_or(0)).filter(|at| !answered.contains(at)).collect();
    format!("{missing:?}; {}", output.lines().find(|line| line.contains("transmitted")).unwrap_or("no end"))
}

#[test]
fn a_cut_link_is_gone_around_and_taken_again_when_it_is_mended() {
    if !can_run("a_cut_link_is_gone_around_and_taken_again_when_it_is_mended", true, &["ping", "sh"]) {
        return;
    }
    let desk = Desk::with_examples();
    let mut lab = Running::start(&desk, "failover", "edgeproxy.toml --agents");
    assert!(lab.said().contains("12 of 12 agents find all nodes well"), "{}", lab.said());
    // On a busy machine a first handshake may have been lost; then the link has to prove itself.
    wait_until_via(&lab, "hkg", "nrt", "direct");

    let pings = desk.path("pings").display().to_string();
    desk.write("ping.sh", format!("ping -i 0.{INTERVAL_MS:03} -c 600 10.50.4.1 > {pings} 2>&1 &\n"));
    lab.lab("exec hkg sh ping.sh").expect(0);
    std::thread::sleep(std::time::Duration::from_secs(2));
    lab.lab("fail hkg nrt").expect(0);
    wait_until_via(&lab, "hkg", "nrt", "ireland");
    let member = seen(&lab, "hkg", "nrt");
    assert_eq!(member["health"], "degraded", "{member}");
    assert!(
        member["reason"].as_str().unwrap().starts_with("over ireland: nothing has been heard from nrt"),
        "{member}"
    );
    assert_eq!(seen(&lab, "hkg", "sin")["via"], "direct", "a link that works is none of its business");
    // All of the network knows: what went over the link goes another way.
    lab.lab("ping syd nrt -c 3").expect(0);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let gap = longest_gap(&desk.read("pings"));
    // A second is promised on hosts; a busy machine that runs twelve of them gets another.
    assert!((1..=2_000 / INTERVAL_MS).contains(&gap), "{gap} pings of {INTERVAL_MS} ms were lost in a row");

    let pings = desk.path("mending").display().to_string();
    desk.write("ping.sh", format!("ping -i 0.010 -c 1500 10.50.4.1 > {pings} 2>&1 &\n"));
    lab.lab("exec hkg sh ping.sh").expect(0);
    std::thread::sleep(std::time::Duration::from_secs(1));
    lab.lab("heal hkg nrt").expect(0);
    wait_until_via(&lab, "hkg", "nrt", "direct");
    lab.lab("ping hkg nrt -c 5").expect(0);
    let begin = std::time::Instant::now();
    while !desk.read("mending").contains("packets transmitted") {
        assert!(begin.elapsed().as_secs() < 30, "{}", desk.read("mending"));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // The detour takes 490 ms, so that 50 of these are under way when paths change.
    assert!(desk.read("mending").contains(" 0% packet loss"), "{}", lost_of(&desk.read("mending")));
    lab.lab("down").expect(0);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.said());
}

#[test]
fn a_killed_agent_comes_back_and_finds_everybody() {
    if !can_run("a_killed_agent_comes_back_and_finds_everybody", true, &["kill"]) {
        return;
    }
    let desk = Desk::with("network.toml", crate::NETWORK);
    std::fs::create_dir(desk.path("runs")).unwrap();
    let mut lab = Running::start(&desk, "killed", "network.toml --agents --record runs");
    for member in ["hub", "left", "right"] {
        let status = lab.lab(&format!("exec {member} {} status --json", crate::desk::WAYLEAVE));
        let snapshot: Value = serde_json::from_str(&status.out).unwrap();
        let killed = desk.program(&format!("kill -9 {}", snapshot["pid"]), "");
        assert_eq!(killed.code, Some(0), "{killed}");
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    wait_until_via(&lab, "left", "right", "hub");
    let begin = std::time::Instant::now();
    while lab.lab("ping left right -c 2").code != Some(0) {
        assert!(begin.elapsed().as_secs() < 30, "agents that were killed don't find each other");
    }
    lab.lab("down").expect(0);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.said());
    for member in ["hub", "left", "right"] {
        // Played again, the recorded runs do exactly what they did: the one that was killed, and the one that came after.
        let played =
            play(&desk.read(&format!("runs/{member}.jsonl"))).unwrap_or_else(|error| panic!("{member}: {error}"));
        assert_eq!(played.runs, 2, "{member}: {played:?}");
        assert!(played.events > 10 && played.outputs > 5, "{member}: {played:?}");
    }
}

/// Two gateways of one office. Masquerading makes answers come back to the gateway that the question came through.
const GATEWAYS: &str = r#"[network]
name = "gates"
prefixes = ["10.99.0.0/24"]

[nodes.hub]
endpoint = "192.0.2.1"
hub = true

[nodes.other]
endpoint = "192.0.2.2"
hub = true

[nodes.far]
[nodes.first]
[nodes.second]

[[links]]
from = ["*"]
to = ["role:hub"]

[sites.office]
prefixes = ["192.168.7.0/24"]
gateways = ["first", "second"]
masquerade = "v4"

[rtt_ms]
hub = { far = 40, first = 10, second = 12, other = 20 }
other = { far = 60, first = 20, second = 22 }
"#;

#[test]
fn the_second_gateway_of_a_site_takes_over_and_hands_back() {
    if !can_run("the_second_gateway_of_a_site_takes_over_and_hands_back", true, &["ping", "sh", "nft"]) {
        return;
    }
    let desk = Desk::with("network.toml", GATEWAYS);
    let mut lab = Running::start(&desk, "gateways", "network.toml --agents");
    let pings = desk.path("pings").display().to_string();
    desk.write("ping.sh", format!("ping -i 0.{INTERVAL_MS:03} -c 250 192.168.7.10 > {pings} 2>&1 &\n"));
    // What happens a second after pings have begun; their gap, once all have been sent.
    let gap_after = |happens: &str| {
        lab.lab("exec far sh ping.sh").expect(0);
        std::thread::sleep(std::time::Duration::from_secs(1));
        lab.lab(happens).expect(0);
        let begin = std::time::Instant::now();
        while !desk.read("pings").contains("packets transmitted") {
            assert!(begin.elapsed().as_secs() < 30, "{}", desk.read("pings"));
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        // The last of them were answered: over the second gateway.
        assert!(desk.read("pings").contains("icmp_seq=250 "), "after {happens}: {}", desk.read("pings"));
        longest_gap(&desk.read("pings"))
    };
    // The first is well connected to everybody, but not to the office any more.
    let lan = lab.lab("exec first ip -o -4 addr show to 192.168.7.0/24").expect(0);
    let lan = lan.out.split_whitespace().nth(1).unwrap().to_owned();
    let gap = gap_after(&format!("exec first ip link set {lan} down"));
    assert!(gap <= 1_000 / INTERVAL_MS, "{gap} pings of {INTERVAL_MS} ms were lost in a row");
    lab.lab("exec first ping -i 0.02 -c 5 192.168.7.10").expect(0);
    lab.lab(&format!("exec first ip link set {lan} up")).expect(0);
    std::thread::sleep(std::time::Duration::from_secs(8));

    let gap = gap_after("fail node first");
    assert!((1..=2_000 / INTERVAL_MS).contains(&gap), "{gap} pings of {INTERVAL_MS} ms were lost in a row");

    // That the first has the office again shows when the second is gone and nobody notices.
    lab.lab("heal node first").expect(0);
    std::thread::sleep(std::time::Duration::from_secs(10));
    lab.lab("fail node second").expect(0);
    lab.lab("exec far ping -i 0.02 -c 50 192.168.7.10").expect(0);
    let last = lab.lab("exec far ping -i 0.02 -c 50 192.168.7.10").expect(0);
    assert!(last.out.contains(" 0% packet loss"), "{last}");
    lab.lab("down").expect(0);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.said());
}
