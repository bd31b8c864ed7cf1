//! Where clients are, told by BGP: real agents and real BIRDs in the lab, two entry nodes with links to two reflectors only.

use std::time::{Duration, Instant};

use crate::desk::{Desk, WAYLEAVE, can_run};
use crate::running::Running;

#[path = "claims/leaving.rs"]
mod leaving;
#[path = "claims/sites.rs"]
mod sites;

const NETWORK: &str = r#"[network]
name = "claims"
prefixes = ["10.50.0.0/16"]
platform = "agent"

[bgp]
asn = 4200000001
exchange = "bgp"
reflectors = ["r1", "r2"]

[entry]
endpoint = "198.51.100.1"

[regions.ireland]
[regions.singapore]

[nodes.ie]
region = "ireland"
entry = true
endpoint = "203.0.113.10"

[nodes.sg]
region = "singapore"
entry = true
endpoint = "203.0.113.20"

[nodes.r1]
region = "ireland"
hub = true
endpoint = "203.0.113.31"

[nodes.r2]
region = "singapore"
hub = true
endpoint = "203.0.113.32"

[clients.penang]
region = "singapore"

[rtt_ms]
ireland = { singapore = 60 }
"#;

/// Waits until all of these send to where the client is by their own account, with a packet of it now and then.
fn until_all_know(lab: &Running<'_>, nodes: &[&str], server: &str) {
    let begin = Instant::now();
    let knows = |node: &str| {
        let status = lab.lab(&format!("exec {node} {WAYLEAVE} status"));
        let line = status.out.lines().find(|line| line.starts_with("penang")).unwrap_or_default().to_owned();
        line.contains(&format!("with {server}")) || (node == server && line.split_whitespace().nth(3) == Some("direct"))
    };
    loop {
        lab.lab("exec penang ping -c 2 -i 0.2 -W 1 10.50.0.2");
        let behind: Vec<&&str> = nodes.iter().filter(|node| !knows(node)).collect();
        if behind.is_empty() {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(40), "{behind:?} don't know that penang is with {server}");
    }
}

/// The routes in a table of a node.
fn table(lab: &Running<'_>, node: &str, table: u32) -> Vec<String> {
    let ran = lab.lab(&format!("exec {node} ip route show table {table}"));
    ran.out.lines().filter(|line| line.contains("proto")).map(|line| line.trim().to_owned()).collect()
}

/// The epoch of a claim, by its route.
fn epoch(route: &str) -> u32 {
    route.split(' ').skip_while(|word| *word != "window").nth(1).unwrap().parse().unwrap()
}

/// A process of the lab's own, by the file that has its number.
fn kill_bird(desk: &Desk, node: &str) {
    let place = desk.path(&format!("run/lab/claims/members/{node}/networks/claims/bird.pid"));
    let pid: i32 = std::fs::read_to_string(&place).unwrap().trim().parse().unwrap();
    // SAFETY: takes no pointers; the process is one of the lab that this test has started.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

#[test]
fn bgp_tells_all_nodes_where_a_client_is_and_goes_on_when_a_reflector_is_lost() {
    let test = "bgp_tells_all_nodes_where_a_client_is_and_goes_on_when_a_reflector_is_lost";
    if !can_run(test, true, &["ping", "ip", "bird"]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let lab = Running::start(&desk, "claims", "network.toml --agents");
    let all = ["ie", "sg", "r1", "r2"];
    until_all_know(&lab, &all, "sg");
    // The own claim on one side, what BIRD hears of it on the other, with its epoch and the entry node.
    let own = table(&lab, "sg", 50_160);
    assert!(own.len() == 1 && own[0].starts_with("unreachable") && own[0].contains("window"), "{own:?}");
    let address = own[0].split(' ').nth(1).unwrap().to_owned();
    let heard = table(&lab, "ie", 49_340);
    assert!(
        heard.len() == 1 && heard[0].starts_with(&format!("{address} via 10.50.0.4 dev wg0 proto bird")),
        "{heard:?}"
    );
    assert!(table(&lab, "ie", 50_980).is_empty(), "nothing of it is where packets go by");
    let first = epoch(&own[0]);
    lab.lab("move penang ireland");
    until_all_know(&lab, &all, "ie");
    let own = table(&lab, "ie", 50_160);
    assert!(own.len() == 1 && epoch(&own[0]) > first, "{own:?}");
    assert!(table(&lab, "sg", 50_160).is_empty(), "the other one has taken its own back");
    // One reflector's BIRD dies, and the client moves back at that moment.
    kill_bird(&desk, "r1");
    lab.lab("move penang singapore");
    until_all_know(&lab, &["ie", "sg", "r2"], "sg");
    let own = table(&lab, "sg", 50_160);
    assert!(own.len() == 1 && epoch(&own[0]) > first + 1, "{own:?}");
    // It is started again by its agent, and hears of it.
    until_all_know(&lab, &all, "sg");
}
