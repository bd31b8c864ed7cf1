//! An entry node that is to stop gives its clients away: stock ones, which a load balancer keeps with it for as long as they send.
//!
//! Real agents in the lab, a client that runs wireguard-go, behind the lab's anycast address, which pins it to the nearest node.

use std::time::{Duration, Instant};

use crate::desk::{Desk, Ran, WAYLEAVE, can_run};
use crate::running::Running;

/// Three entry nodes, and a client near to one.
const NETWORK: &str = r#"[network]
name = "drained"
prefixes = ["10.50.0.0/16"]

[entry]
endpoint = "198.51.100.1"

[regions.ireland]
[regions.london]
[regions.paris]

[nodes.ie]
region = "ireland"
entry = true
platform = "agent"
address = "10.50.0.1"
endpoint = "203.0.113.10"

[nodes.ld]
region = "london"
entry = true
platform = "agent"
address = "10.50.0.2"
endpoint = "203.0.113.20"

[nodes.pa]
region = "paris"
entry = true
platform = "agent"
address = "10.50.0.3"
endpoint = "203.0.113.30"

[clients.stock]
region = "ireland"
address = "10.50.9.9"

[rtt_ms]
ireland = { london = 20, paris = 40 }
london = { paris = 30 }
stock = { ie = 4, ld = 18, pa = 45 }
"#;

const LD: (&str, &str) = ("ld", "10.50.0.2");
const CLIENT: &str = "10.50.9.9";
const IE: (&str, &str) = ("ie", "10.50.0.1");

/// A lab with a client that runs wireguard-go.
struct Stocked<'a> {
    desk: &'a Desk,
    lab: Running<'a>,
}

impl<'a> Stocked<'a> {
    fn start(desk: &'a Desk, nat: &str) -> Stocked<'a> {
        Stocked::with(desk, &format!("dr-{nat}"), &format!("--clients wireguard-go --nat {nat}"))
    }

    fn with(desk: &'a Desk, name: &str, options: &str) -> Stocked<'a> {
        let stocked = Stocked { desk, lab: Running::start(desk, name, &format!("network.toml {options}")) };
        stocked.run("stock", "ping -q -c 1 -W 10 10.50.0.2");
        stocked
    }

    fn run(&self, member: &str, command: &str) -> Ran {
        self.lab.lab(&format!("exec {member} {command}")).expect(0)
    }

    fn status(&self, member: &str) -> serde_json::Value {
        // It exits with 4 where somebody is missing.
        let ran = self.lab.lab(&format!("exec {member} {WAYLEAVE} status --json"));
        serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran}"))
    }

    /// Where the client's WireGuard sends to.
    fn endpoint(&self) -> String {
        let ran = self.run("stock", "wg show wg0 endpoints");
        ran.out.split_whitespace().nth(1).unwrap_or_else(|| panic!("{ran}")).to_owned()
    }

    /// With whom the client is, as a node knows.
    fn server(&self, node: &str) -> String {
        let status = self.status(node);
        let members = status["members"].as_array().unwrap();
        let stock = members.iter().find(|member| member["name"] == "stock").unwrap();
        stock["reason"].as_str().unwrap().to_owned()
    }

    /// Pings both ways between the client and a node for so many seconds, 20 times a second, while something is done. The longest
    /// gap of each.
    fn pings_while(&self, (node, address): (&str, &str), seconds: u32, act: impl FnOnce()) -> [Duration; 2] {
        let count = seconds * 20;
        self.desk.write("pings.sh", format!("ping -n -i 0.05 -c {count} -W 2 $1 >$2 2>&1 </dev/null &\nsleep 0.5\n"));
        self.run("stock", &format!("sh pings.sh {address} out.pings"));
        self.run(node, &format!("sh pings.sh {CLIENT} in.pings"));
        let begin = Instant::now();
        act();
        std::thread::sleep(Duration::from_secs(u64::from(seconds) + 2).saturating_sub(begin.elapsed()));
        ["out.pings", "in.pings"].map(|file| longest_gap(&self.desk.read(file), count))
    }
}

/// The longest time between two answers to pings that are sent 20 times a second, from the first to the last.
fn longest_gap(said: &str, count: u32) -> Duration {
    let answered = said.lines().filter(|line| line.contains("bytes from"));
    let answered = answered.filter_map(|line| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok());
    let mut answered: Vec<u32> = answered.collect();
    answered.extend([0, count + 1]);
    answered.sort_unstable();
    let gap = answered.windows(2).map(|pair| pair[1] - pair[0] - 1).max().unwrap_or(count);
    Duration::from_millis(50) * gap
}

/// Drains the near node while pings go both ways; returns how long that took.
fn drain(stocked: &Stocked<'_>) -> f64 {
    let mut took = 0.0;
    let gaps = stocked.pings_while(LD, 12, || {
        let ran = stocked.run("ie", &format!("{WAYLEAVE} drain"));
        let empty = ran.err.lines().find_map(|line| line.strip_prefix("empty after ")?.split(' ').next()?.parse().ok());
        took = empty.unwrap_or_else(|| panic!("{ran}"));
    });
    eprintln!(
        "empty after {took} s; the client's pings were unanswered for {:?}, those to it for {:?}",
        gaps[0], gaps[1]
    );
    assert!(took < 5.0, "{took}");
    assert!(gaps.iter().all(|gap| *gap < Duration::from_secs(1)), "{gaps:?}");
    assert_eq!(
        (stocked.server("ie").as_str(), stocked.status("ie")["ready"]["clients"].as_u64()),
        ("with ld", Some(0))
    );
    took
}

#[test]
fn a_stock_client_that_is_pinned_to_a_drained_server_speaks_with_another_one_and_outlives_the_first() {
    let test = "a_stock_client_that_is_pinned_to_a_drained_server_speaks_with_another_one_and_outlives_the_first";
    if !can_run(test, true, &["wireguard-go", "wg", "ip", "ping"]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let stocked = Stocked::start(&desk, "none");
    assert_eq!((stocked.endpoint().as_str(), stocked.server("ld").as_str()), ("198.51.100.1:51821", "with ie"));
    drain(&stocked);
    assert_eq!(stocked.endpoint(), "203.0.113.20:51821", "its server's own address");
    assert_eq!(stocked.status("ie")["ready"]["passing"], 0);
    // An agent that is told to end does the same, and then its host may go.
    stocked.run("ie", &format!("{WAYLEAVE} undrain"));
    let agent = stocked.status("ld")["pid"].to_string();
    let gaps = stocked.pings_while(IE, 8, || drop(stocked.run("ld", &format!("kill -TERM {agent}"))));
    eprintln!("ended: unanswered for {gaps:?}");
    assert!(gaps.iter().all(|gap| *gap < Duration::from_secs(1)), "{gaps:?}");
    assert_eq!(stocked.server("ld"), "with ie");
    // The load balancer remembers its flow, so that what this node sends it comes from the shared address again.
    assert!(["203.0.113.10:51821", "198.51.100.1:51821"].contains(&stocked.endpoint().as_str()));
    assert_ne!(stocked.status("ld")["pid"].to_string(), agent);
    let gaps = stocked.pings_while(IE, 4, || drop(stocked.lab.lab("fail node ld").expect(0)));
    assert!(gaps.iter().all(|gap| *gap < Duration::from_millis(300)), "{gaps:?}");
}

#[test]
fn a_stock_client_whose_nat_lets_in_nobody_else_goes_on_through_the_drained_server() {
    let test = "a_stock_client_whose_nat_lets_in_nobody_else_goes_on_through_the_drained_server";
    if !can_run(test, true, &["wireguard-go", "wg", "ip", "ping"]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let stocked = Stocked::start(&desk, "symmetric");
    drain(&stocked);
    assert_eq!(stocked.endpoint(), "198.51.100.1:51821", "it knows nothing of all this");
    assert_eq!(stocked.status("ie")["ready"]["passing"], 1);
    // Packets as large as they may be, and after a silence.
    std::thread::sleep(Duration::from_secs(8));
    let large = stocked.run("ld", &format!("ping -n -c 5 -i 0.2 -s 1392 -M do -W 2 {CLIENT}"));
    assert!(large.out.contains("5 packets transmitted, 5 received"), "{large}");
    // Taken back, the first one gets whom it carries.
    let gaps = stocked.pings_while(LD, 6, || {
        stocked.run("ie", &format!("{WAYLEAVE} undrain"));
    });
    assert!(gaps.iter().all(|gap| *gap < Duration::from_secs(1)), "{gaps:?}");
    assert_eq!(stocked.server("ld"), "with ie");
}

#[test]
fn an_agent_on_a_client_leaves_a_dead_server_that_a_load_balancer_keeps_it_with() {
    let test = "an_agent_on_a_client_leaves_a_dead_server_that_a_load_balancer_keeps_it_with";
    if !can_run(test, true, &["wg", "ip", "ping"]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let lab = Stocked::with(&desk, "dr-agents", "--agents");
    let port = || lab.run("stock", "wg show wg0 listen-port").out;
    let before = port();
    assert_eq!(lab.server("ld"), "with ie");
    // It learns that the server answers echoes.
    std::thread::sleep(Duration::from_secs(6));
    let gaps = lab.pings_while(LD, 14, || drop(lab.lab.lab("fail node ie").expect(0)));
    eprintln!("without a server for {gaps:?}");
    let log = desk.read("run/lab/dr-agents/members/stock/agent.log");
    let silent =
        log.lines().find_map(|line| line.strip_prefix("no answer for ")?.split(' ').next()?.parse::<f64>().ok());
    assert!(silent.is_some_and(|silent| silent < 5.0), "{log}");
    // The load balancer takes up to six seconds to find out, and the agent tries again after three.
    assert!(gaps.iter().all(|gap| *gap < Duration::from_secs(10)), "{gaps:?}");
    assert_ne!(port(), before);
    let here = lab.status("ld");
    assert_eq!(here["ready"]["clients"], 1, "{here}");
}

#[test]
fn an_agent_on_a_client_with_three_endpoints_is_with_the_living_one_as_soon_as_its_server_counts_as_dead() {
    let test = "an_agent_on_a_client_with_three_endpoints_is_with_the_living_one_as_soon_as_its_server_counts_as_dead";
    if !can_run(test, true, &["wg", "ip", "ping"]) {
        return;
    }
    let endpoints = r#"endpoint = ["203.0.113.10", "203.0.113.20", "203.0.113.30"]"#;
    let desk = Desk::with("network.toml", &NETWORK.replace(r#"endpoint = "198.51.100.1""#, endpoints));
    let lab = Stocked::with(&desk, "dr-three", "--agents");
    assert_eq!(lab.server("pa"), "with ie");
    // It learns that the server answers echoes.
    std::thread::sleep(Duration::from_secs(6));
    // A black hole in the place of its server, and another in that of the next endpoint.
    let gaps = lab.pings_while(("pa", "10.50.0.3"), 12, || {
        drop(lab.lab.lab("fail node ie").expect(0));
        drop(lab.lab.lab("fail node ld").expect(0));
    });
    eprintln!("without a server for {gaps:?}");
    assert!(gaps.iter().all(|gap| *gap < Duration::from_secs(6)), "{gaps:?}");
    let log = desk.read("run/lab/dr-three/members/stock/agent.log");
    assert!(log.contains("(attempt 1)") && !log.contains("(attempt 2)"), "{log}");
    assert_eq!((lab.endpoint().as_str(), &lab.status("pa")["ready"]["clients"]), ("203.0.113.30:51821", &1.into()));
    // It stays there when the others are back.
    lab.lab.lab("heal node ie").expect(0);
    lab.lab.lab("heal node ld").expect(0);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(lab.endpoint(), "203.0.113.30:51821");
}
