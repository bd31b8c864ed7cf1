//! Which of a site's gateways gets in, told by BGP, with packets that go there: real agents and BIRDs, two reflectors, and a client whose entry
//! node has no link with the gateways.

use std::time::{Duration, Instant};

use super::{kill_bird, table};
use crate::desk::{Desk, Ran, WAYLEAVE, can_run};
use crate::running::Running;

const NETWORK: &str = r#"[network]
name = "claims"
prefixes = ["10.50.0.0/24"]
platform = "agent"

[bgp]
asn = 4200000001
exchange = "bgp"
reflectors = ["r1", "r2"]

[entry]
endpoint = "198.51.100.1"

[regions.ireland]
[regions.singapore]

[nodes.sg]
region = "singapore"
entry = true
address = "10.50.0.1"
endpoint = "203.0.113.20"

[nodes.first]
region = "singapore"
address = "10.50.0.11"
endpoint = "203.0.113.11"

[nodes.second]
region = "singapore"
address = "10.50.0.12"
endpoint = "203.0.113.12"

[nodes.r1]
region = "ireland"
hub = true
address = "10.50.0.21"
endpoint = "203.0.113.31"

[nodes.r2]
region = "singapore"
hub = true
address = "10.50.0.22"
endpoint = "203.0.113.32"

[clients.penang]
region = "singapore"

[sites.office]
prefixes = ["192.168.7.0/24", "192.168.8.0/24"]
gateways = ["first", "second"]
masquerade = "v4"

[[links]]
from = ["*"]
to = ["role:hub"]

[rtt_ms]
ireland = { singapore = 60 }
"#;

const FIRST: &str = "10.50.0.11";
const SECOND: &str = "10.50.0.12";
const HOST: &str = "192.168.7.10";
/// The kernel's tables of a node whose device is wg0: its own claims, and those that it hears of.
const OWN: u32 = 50_160;
const HEARD: u32 = 49_340;
/// Between two pings.
const INTERVAL_MS: usize = 20;

struct Office<'a> {
    desk: &'a Desk,
    lab: Running<'a>,
}

impl<'a> Office<'a> {
    /// All are connected, and know by which gateway the office is reached.
    fn start(desk: &'a Desk) -> Office<'a> {
        let office = Office { desk, lab: Running::start(desk, "claims", "network.toml --agents") };
        office.until_all_hear(FIRST);
        office.until_reached();
        office
    }

    fn run(&self, member: &str, command: &str) -> Ran {
        self.lab.lab(&format!("exec {member} {command}"))
    }

    fn until_reached(&self) {
        let is_reached = || self.run("penang", &format!("ping -q -c 3 -i 0.2 -W 1 {HOST}")).code == Some(0);
        self.until(is_reached, "the office is reached");
    }

    fn until(&self, is_true: impl Fn() -> bool, what: &str) {
        let begin = Instant::now();
        while !is_true() {
            assert!(
                begin.elapsed() < Duration::from_secs(40),
                "never: {what}; {}",
                self.run("r2", &format!("{WAYLEAVE} bgp"))
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The way to the office that a node hears of.
    fn heard(&self, node: &str) -> String {
        table(&self.lab, node, HEARD).into_iter().find(|route| route.starts_with("192.168.7.0/24 ")).unwrap_or_default()
    }

    /// Waits until who is no gateway hears of this one as the best.
    fn until_all_hear(&self, gateway: &str) {
        for node in ["sg", "r1", "r2"] {
            let way = format!("192.168.7.0/24 via {gateway} dev wg0 proto bird");
            self.until(|| self.heard(node).starts_with(&way), &format!("{node} hears of {gateway}"));
        }
    }

    /// Pings from the client to a host in the office, for so many seconds, while something is done after one; all answers, by number.
    fn pings_while(&self, seconds: usize, act: impl FnOnce()) -> Vec<usize> {
        let count = seconds * 1_000 / INTERVAL_MS;
        let ping = format!("ping -n -i 0.{INTERVAL_MS:03} -c {count} -W 2 {HOST} >out.pings 2>&1 </dev/null &\n");
        self.desk.write("out.pings", "");
        self.desk.write("ping.sh", ping);
        self.run("penang", "sh ping.sh").expect(0);
        std::thread::sleep(Duration::from_secs(1));
        act();
        self.until(|| self.desk.read("out.pings").contains("packets transmitted"), "pings end");
        let said = self.desk.read("out.pings");
        let number = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok();
        let mut answered: Vec<usize> =
            said.lines().filter(|line| line.contains("bytes from")).filter_map(number).collect();
        // While ways change one may overtake another.
        answered.sort_unstable();
        answered.dedup();
        assert_eq!(answered.last(), Some(&count), "the last one was answered: {said}");
        answered
    }

    /// The longest time without an answer, in milliseconds, while something is done.
    fn gap_while(&self, what: &str, seconds: usize, act: impl FnOnce()) -> usize {
        let answered = self.pings_while(seconds, act);
        let gap = answered.windows(2).map(|pair| pair[1] - pair[0] - 1).max().unwrap_or(usize::MAX) * INTERVAL_MS;
        println!("{what}: {} of {} pings answered, none for {gap} ms", answered.len(), seconds * 1_000 / INTERVAL_MS);
        gap
    }
}

#[test]
fn a_site_goes_to_its_other_gateway_when_bgp_says_so_or_no_link_is_left() {
    let test = "a_site_goes_to_its_other_gateway_when_bgp_says_so_or_no_link_is_left";
    if !can_run(test, true, &["ping", "ip", "bird", "nft", "sh"]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let office = Office::start(&desk);
    // Both tell of all its prefixes, the first one with the greater preference.
    for (gateway, preference) in [("first", 1_000), ("second", 999)] {
        let own = table(&office.lab, gateway, OWN);
        let told = |prefix: &str| {
            own.iter().any(|route| {
                route.starts_with(&format!("unreachable {prefix}")) && route.contains(&format!("window {preference}"))
            })
        };
        assert!(own.len() == 2 && told("192.168.7.0/24") && told("192.168.8.0/24"), "{own:?}");
    }
    assert!(office.heard("second").contains(FIRST), "{}", office.heard("second"));
    assert!(table(&office.lab, "sg", 50_980).is_empty(), "nothing of it is where packets go by");

    // It loses its LAN, and has it again.
    let lan = office.run("first", "ip -o -4 addr show to 192.168.7.0/24").expect(0);
    let lan = lan.out.split_whitespace().nth(1).unwrap().to_owned();
    let gap =
        office.gap_while("LAN lost", 5, || drop(office.run("first", &format!("ip link set {lan} down")).expect(0)));
    assert!(gap <= 1_000, "{gap} ms");
    office.until_all_hear(SECOND);
    assert!(table(&office.lab, "first", OWN).is_empty(), "{:?}", table(&office.lab, "first", OWN));
    office.run("first", &format!("ping -q -i 0.2 -c 3 {HOST}")).expect(0);
    let gap =
        office.gap_while("LAN back", 10, || drop(office.run("first", &format!("ip link set {lan} up")).expect(0)));
    assert!(gap <= 200, "{gap} ms");
    office.until_all_hear(FIRST);

    // It is to go, and does not. One that is the last is used all the same.
    let drain = |node: &str, word: &str| drop(office.run(node, &format!("{WAYLEAVE} {word}")).expect(0));
    let gap = office.gap_while("drain", 5, || drain("first", "drain"));
    assert!(gap <= 200, "{gap} ms");
    office.until_all_hear(SECOND);
    drain("second", "drain");
    office.until_all_hear(FIRST);
    let gap = office.gap_while("undrain", 6, || drain("second", "undrain"));
    assert!(gap <= 200, "{gap} ms");
    office.until_all_hear(SECOND);
    drain("first", "undrain");
    office.until_all_hear(FIRST);

    // It is gone, and nothing says so but its links.
    let gap = office.gap_while("node lost", 8, || drop(office.lab.lab("fail node first").expect(0)));
    assert!((1..=3_000).contains(&gap), "{gap} ms");
    office.until_all_hear(SECOND);
    let gap = office.gap_while("node back", 15, || drop(office.lab.lab("heal node first").expect(0)));
    assert!(gap <= 200, "{gap} ms");
    office.until_all_hear(FIRST);
}

#[test]
fn packets_from_a_client_to_a_site_outlive_each_reflector() {
    let test = "packets_from_a_client_to_a_site_outlive_each_reflector";
    if !can_run(test, true, &["ping", "ip", "bird", "nft", "sh"]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let office = Office::start(&desk);
    // The agent of one with its BIRD and its device; packets go over the other one.
    let answered = office.pings_while(6, || {
        let status = office.run("r1", &format!("{WAYLEAVE} status --json"));
        let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
        office.run("r1", &format!("kill -KILL {}", status["pid"])).expect(0);
        office.lab.lab("fail node r1").expect(0);
    });
    assert_eq!(answered, (1..=300).collect::<Vec<_>>(), "none was lost, and none went round");
    // And the BIRD of the only one that is left: all sessions are gone for a moment.
    let answered = office.pings_while(16, || kill_bird(&desk, "r2"));
    assert_eq!(answered, (1..=800).collect::<Vec<_>>(), "none was lost, and none went round");
    office.until(|| office.heard("sg").contains(FIRST), "it is heard again");
    // Which tells of moves alone. What the dead one has told last is not believed any more.
    office.run("first", &format!("{WAYLEAVE} drain")).expect(0);
    office.until(|| office.heard("sg").contains(SECOND), "the other gateway is heard of");
    office.until_reached();
}
