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
fn a_client_that_is_moved_between_two_packets_there_and_back_and_there_again_loses_less_than_a_round_trip() {
    let test = "a_client_that_is_moved_between_two_packets_there_and_back_and_there_again_loses_less_than_a_round_trip";
    if can_run(test, true, &["ping", "nft"]) {
        // A round trip is four packets. Nearly always none is lost.
        let answered = move_penang("--agents");
        assert!(answered > 160 - 4, "{answered} of 160");
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

/// As `moved.nft`, and the first packet of a session that the new server sends does not arrive: an empty one, after a call.
const LOST: &str = r#"table ip lost {
    chain in {
        type filter hook prerouting priority -500;
        ip saddr 203.0.113.10 udp sport 51821 udp length 40 quota until 60 bytes drop
    }
}
"#;

/// What a server's device for clients has received of them.
fn received(desk: &Desk, lab: &str, server: &str) -> u64 {
    let socket = desk.path(&format!("run/lab/{lab}/members/{server}/wg-clients.sock"));
    let device = wayleave_engine::uapi::Client::connect(&socket).unwrap().describe().unwrap();
    device.peers.iter().map(|peer| peer.rx_bytes).sum()
}

#[test]
fn a_client_whose_first_packet_of_the_new_session_was_lost_is_called_again_and_leaves_the_detour() {
    let test = "a_client_whose_first_packet_of_the_new_session_was_lost_is_called_again_and_leaves_the_detour";
    if !can_run(test, true, &["ping", "nft", "wireguard-go", "python3"]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    desk.write("moved.nft", format!("{MOVED}{LOST}"));
    // To an address of nobody: nothing comes back that would tell the client of the new session.
    desk.write(
        "oneway.py",
        "import socket, time\nudp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         for _ in range(300):\n    udp.sendto(b'x' * 40, ('10.50.200.200', 9))\n    time.sleep(0.05)\n",
    );
    let lab = Running::start(&desk, "lost", "network.toml --clients wireguard-go");
    lab.lab("exec penang ping -c 3 -i 0.2 -W 3 10.50.0.2").expect(0);
    desk.write("oneway.sh", format!("python3 {} >/dev/null 2>&1 </dev/null &\n", desk.path("oneway.py").display()));
    lab.lab(&format!("exec penang sh {}", desk.path("oneway.sh").display())).expect(0);
    std::thread::sleep(std::time::Duration::from_secs(1));
    lab.lab(&format!("exec penang nft -f {}", desk.path("moved.nft").display())).expect(0);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let dropped = lab.lab("exec penang nft list table ip lost").expect(0).out;
    assert!(dropped.contains("used 60 bytes"), "the packet that tells it was not there: {dropped}");
    let before = ["sg", "ie"].map(|server| received(&desk, "lost", server));
    std::thread::sleep(std::time::Duration::from_secs(3));
    let after = ["sg", "ie"].map(|server| received(&desk, "lost", server));
    assert!(after[1] > before[1] + 40 * 40, "its packets come to the new server: {before:?} {after:?}");
    assert!(after[0] < before[0] + 500, "and no longer by the detour: {before:?} {after:?}");
}

/// Two entry nodes, two clients with addresses of both families, and a LAN of both behind each of them.
const BOTH: &str = r#"[network]
name = "both"
prefixes = ["10.50.0.0/16", "fd50::/48"]

[entry]
endpoint = "198.51.100.1"

[regions.ireland]
[regions.singapore]

[nodes.ie]
region = "ireland"
entry = true
platform = "agent"
addresses = ["10.50.0.1", "fd50::1"]
endpoint = "203.0.113.10"

[nodes.sg]
region = "singapore"
entry = true
platform = "agent"
addresses = ["10.50.0.2", "fd50::2"]
endpoint = "203.0.113.20"

[clients.cork]
region = "ireland"
addresses = ["10.50.9.1", "fd50::9:1"]
prefixes = ["192.168.71.0/24", "fd71::/64"]

[clients.penang]
region = "singapore"
addresses = ["10.50.9.2", "fd50::9:2"]
prefixes = ["192.168.72.0/24", "fd72::/64"]

[rtt_ms]
ireland = { singapore = 60 }
penang = { sg = 3, ie = 60 }
cork = { ie = 6, sg = 64 }
"#;

/// What a client sends comes to an entry node, whatever the load balancer says; what any of them sends seems to come from there.
fn moved_to(server: &str) -> String {
    let table = MOVED
        .replace("saddr 203.0.113.10", "saddr 203.0.113.0/24")
        .replace("set 203.0.113.10", &format!("set {server}"));
    format!("table ip moved\ndelete table ip moved\n{table}")
}

/// Moves of one of two clients, and of both, while each pings the other and the LAN behind it, in both families. Returns how many of
/// the pings of each flow were not answered.
fn move_both(options: &str, name: &str) -> Vec<(String, u32)> {
    let desk = Desk::with("network.toml", BOTH);
    desk.write("to-ie.nft", moved_to("203.0.113.10"));
    desk.write("to-sg.nft", moved_to("203.0.113.20"));
    let lab = Running::start(&desk, name, &format!("network.toml {options}"));
    let lan = |name: &str, family: &str| {
        let ran = lab.lab(&format!("exec {name}-lan ip -{family} -o address show scope global")).expect(0);
        let address = ran.out.split_whitespace().find_map(|word| Some(word.split_once('/')?.0.to_owned()));
        address.unwrap_or_else(|| panic!("no address: {ran}"))
    };
    let lans = [lan("cork", "4"), lan("cork", "6"), lan("penang", "4"), lan("penang", "6")];
    let [cork4, cork6, penang4, penang6] = lans.each_ref().map(String::as_str);
    let to = |client: &str, server: &str| {
        lab.lab(&format!("exec {client} nft -f {}", desk.path(&format!("to-{server}.nft")).display())).expect(0);
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        // As the other one knows it.
        let other = if server == "ie" { "sg" } else { "ie" };
        let status = lab.lab(&format!("exec {other} {WAYLEAVE} status"));
        let line = status.out.lines().find(|line| line.starts_with(client)).unwrap_or_else(|| panic!("{status}"));
        assert!(line.contains(&format!("with {server}")), "{status}");
    };
    let flows = [
        ("cork", "10.50.9.2"),
        ("cork", "fd50::9:2"),
        ("cork", penang4),
        ("cork", penang6),
        ("penang", "10.50.9.1"),
        ("penang", "fd50::9:1"),
        ("penang", cork4),
        ("penang", cork6),
        // Between the LANs.
        ("cork-lan", penang4),
        ("penang-lan", cork6),
        // From a node, whose packets begin nothing at the client.
        ("ie", penang4),
        ("ie", penang6),
    ];
    for (from, address) in flows {
        // The first finds the neighbours on the LAN.
        lab.lab(&format!("exec {from} ping -n -c 3 -i 0.2 -W 3 {address}")).expect(0);
        let file = desk.path(&format!("{from}-{address}"));
        desk.write("ping.sh", format!("ping -n -i 0.05 -c 200 -W 2 {address} >{} 2>&1 </dev/null &\n", file.display()));
        lab.lab(&format!("exec {from} sh {}", desk.path("ping.sh").display())).expect(0);
    }
    to("penang", "ie");
    // Both at once, to each other's places.
    std::thread::scope(|scope| {
        scope.spawn(|| to("penang", "sg"));
        to("cork", "sg");
    });
    to("cork", "ie");
    std::thread::sleep(std::time::Duration::from_secs(9));
    let lost = flows.map(|(from, address)| {
        let said = desk.read(&format!("{from}-{address}"));
        let answered: Option<u32> = said
            .lines()
            .find_map(|line| line.strip_prefix("200 packets transmitted, ")?.split(' ').next()?.parse().ok());
        (format!("{from} to {address}"), 200 - answered.unwrap_or_else(|| panic!("{from} to {address}: {said}")))
    });
    eprintln!("{lost:?}");
    lost.to_vec()
}

#[test]
fn lans_behind_clients_and_other_clients_are_reached_through_moves_of_one_and_of_both_in_both_families() {
    let test = "lans_behind_clients_and_other_clients_are_reached_through_moves_of_one_and_of_both_in_both_families";
    if can_run(test, true, &["ping", "nft", "ip"]) {
        // Four moves, of which each flow sees two or more.
        let lost = move_both("--agents", "both");
        assert!(lost.iter().all(|(_, lost)| *lost <= 8), "{lost:?}");
    }
}

#[test]
fn lans_behind_stock_clients_and_other_stock_clients_are_reached_through_moves_of_one_and_of_both() {
    let test = "lans_behind_stock_clients_and_other_stock_clients_are_reached_through_moves_of_one_and_of_both";
    if can_run(test, true, &["ping", "nft", "ip", "wireguard-go"]) {
        let lost = move_both("--clients wireguard-go", "stock");
        assert!(lost.iter().all(|(_, lost)| *lost <= 12), "{lost:?}");
    }
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
