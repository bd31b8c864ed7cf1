//! Clients that roam between entry nodes, in the lab with real agents: one address for all, and each is with the nearest.

use crate::desk::{Desk, WAYLEAVE, can_run};
use crate::running::Running;

/// Two regions far apart, an entry node and a client in each.
const NETWORK: &str = r#"[network]
name = "roaming"
prefixes = ["10.50.0.0/16"]

[entry]
endpoint = "198.51.100.1"

[regions.ireland]
[regions.singapore]

[nodes.ie]
region = "ireland"
entry = true
platform = "agent"
endpoint = "203.0.113.10"

[nodes.sg]
region = "singapore"
entry = true
platform = "agent"
endpoint = "203.0.113.20"

[clients.cork]
region = "ireland"

[clients.penang]
region = "singapore"

[rtt_ms]
ireland = { singapore = 180 }
penang = { sg = 3, ie = 180 }
cork = { ie = 6, sg = 190 }
"#;

#[test]
fn all_clients_dial_one_address_and_each_lands_on_the_nearest_entry_node() {
    if !can_run("all_clients_dial_one_address_and_each_lands_on_the_nearest_entry_node", true, &[]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let ran = desk.wayleave("lab up --agents --once --json").expect(0);
    let pairs: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let pairs = pairs.as_array().or_else(|| pairs["pairs"].as_array()).unwrap_or_else(|| panic!("{ran}"));
    let rtt = |a: &str, b: &str| {
        let is_it = |pair: &&serde_json::Value| {
            (pair["from"] == a && pair["to"] == b) || (pair["from"] == b && pair["to"] == a)
        };
        let pair = pairs.iter().find(is_it).unwrap_or_else(|| panic!("no {a} and {b}: {ran}"));
        pair["rtt_ms"].as_f64().unwrap_or_else(|| panic!("{a} and {b} don't reach each other: {ran}"))
    };
    // By the other entry node it would be 360 ms and more.
    assert!((3.0..15.0).contains(&rtt("sg", "penang")), "{ran}");
    assert!((6.0..18.0).contains(&rtt("ie", "cork")), "{ran}");
    assert!((180.0..200.0).contains(&rtt("ie", "penang")), "{ran}");
    assert!((180.0..205.0).contains(&rtt("cork", "penang")), "{ran}");
}

/// What comes from the client to the one address goes to Ireland's entry node from now on, and its answers seem to come from there:
/// a load balancer that changes its mind between two packets.
const MOVED: &str = r#"table ip moved {
    chain out {
        type filter hook output priority -300;
        ip daddr 198.51.100.1 udp dport 51821 ip daddr set 203.0.113.10
    }
    chain in {
        type filter hook prerouting priority -400;
        ip saddr 203.0.113.10 udp sport 51821 ip saddr set 198.51.100.1
    }
}
"#;

#[test]
fn a_client_that_is_moved_between_two_packets_there_and_back_and_there_again_loses_none() {
    let test = "a_client_that_is_moved_between_two_packets_there_and_back_and_there_again_loses_none";
    if can_run(test, true, &["ping", "nft"]) {
        assert_eq!(move_penang("--agents"), 160);
    }
}

#[test]
fn a_client_of_another_make_that_is_moved_there_and_back_and_there_again_loses_one_packet_each_time_at_most() {
    let test =
        "a_client_of_another_make_that_is_moved_there_and_back_and_there_again_loses_one_packet_each_time_at_most";
    if can_run(test, true, &["ping", "nft", "wireguard-go"]) {
        let answered = move_penang("--clients wireguard-go");
        assert!(answered >= 157, "{answered} of 160");
    }
}

/// Takes penang, in a lab with these options, from one entry node to the other and back between two of 160 pings. How many are
/// answered.
fn move_penang(options: &str) -> u32 {
    let desk = Desk::with("network.toml", NETWORK);
    let table = desk.path("moved.nft");
    desk.write("moved.nft", MOVED);
    let there = format!("nft -f {}", table.display());
    let moves = format!("sleep 2; {there}; sleep 1.5; nft delete table ip moved; sleep 1.5; {there}; wait");
    desk.write("move.sh", format!("ping -i 0.05 -c 160 -W 2 10.50.0.1 & {moves}\n"));
    let lab = Running::start(&desk, "moved", &format!("network.toml {options}"));
    let ran = lab.lab(&format!("exec penang sh {}", desk.path("move.sh").display()));
    // Its own WireGuard knows nothing of the move, and would try a new handshake after fifteen seconds.
    let answered = ran.out.lines().find_map(|line| line.strip_prefix("160 packets transmitted, "));
    let answered = answered.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{ran}"));
    if answered < 160 {
        eprintln!("{ran}");
    }
    let status = lab.lab(&format!("exec sg {WAYLEAVE} status"));
    let penang = status.out.lines().find(|line| line.starts_with("penang")).unwrap_or_else(|| panic!("{status}"));
    assert!(penang.contains("with ie"), "{status}");
    answered
}

/// The process of a member's agent.
fn agent_of(desk: &Desk, member: &str) -> i32 {
    let (run, place) = (desk.path("run").display().to_string(), format!("/{member}"));
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
        words.get(1..3) == Some(&["lab", "agent"][..])
            && words.last().is_some_and(|place_of| place_of.starts_with(&run) && place_of.ends_with(&place))
    };
    pids.find(is_it).unwrap_or_else(|| panic!("{member} has no agent"))
}

#[test]
fn an_agent_that_starts_again_calls_the_clients_that_were_with_it() {
    if !can_run("an_agent_that_starts_again_calls_the_clients_that_were_with_it", true, &["ping"]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let lab = Running::start(&desk, "again", "network.toml --agents");
    for (signal, how) in [(libc::SIGKILL, "killed"), (libc::SIGTERM, "ended")] {
        // It is written down a second after it came where a client is.
        assert!(lab.lab("exec cork ping -c 25 -i 0.1 -W 1 10.50.0.1").out.contains("bytes from"), "{how}");
        let pid = agent_of(&desk, "ie");
        // SAFETY: takes no pointers; the process is one of the lab that this test has started.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        let ran = lab.lab("exec cork ping -c 120 -i 0.1 -W 1 10.50.0.1");
        let answered = ran.out.lines().find_map(|line| line.strip_prefix("120 packets transmitted, "));
        let answered: u32 = answered.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0);
        eprintln!("{how}: {answered} of 120 pings in twelve seconds answered");
        // By itself it would notice after fifteen seconds.
        assert!(answered > 50, "{how}: {ran}");
    }
}
