//! Routes that lead over what is dead: four nodes in a circle, with real agents and BIRDs, and a foreign router at two of them. Where
//! there is another way round it is taken; where there is none another origin is; and where nobody else leads there, nothing does.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desk::{Desk, WAYLEAVE, can_run};
use crate::running::Running;

/// n1 - n2 - n3 - n4 - n1. Both foreign routers lead to 172.20.0.0/24, in which each has a host with the same address, and each to a
/// prefix that only it has.
fn network() -> String {
    let mut text = String::from(
        "[network]\nname = \"ring\"\nprefixes = [\"172.22.0.0/25\"]\n\n[bgp]\nasn = 64512\nown = [\"172.22.0.0/24\"]\n",
    );
    for at in 1..=4 {
        text += &format!(
            "[nodes.n{at}]\nendpoint = \"n{at}.example.net\"\naddress = \"172.22.0.{at}\"\nbgp = true\nhub = true\n"
        );
        text += &format!("[[links]]\nfrom = [\"n{at}\"]\nto = [\"n{}\"]\n", at % 4 + 1);
    }
    let keys = ["P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=", "LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM="];
    for (at, node, key) in [(1, "n1", keys[0]), (2, "n3", keys[1])] {
        text += &format!(
            "[neighbours.f{at}]\nnode = \"{node}\"\nasn = 6460{at}\nport = 2451{at}\npublic_key = \"{key}\"\nbfd = true\n\
             own_addresses = [\"10.9.{at}.1/30\"]\naddresses = [\"10.9.{at}.2\"]\naccept = [\"172.20.0.0/14\"]\n"
        );
    }
    text
}

/// No route may lead to what is dead for longer. Links are judged within a second; the rest is for BIRD, and for a busy machine.
const DEAD_MAX: Duration = Duration::from_secs(3);
/// Until what was cut is trusted again.
const BACK_MAX: Duration = Duration::from_secs(60);
/// Where both lead, where f1 alone does, where f2 alone does.
const BOTH: &str = "172.20.0.1";
const FIRST: &str = "172.20.1.1";
const SECOND: &str = "172.20.2.1";

struct Ring<'a> {
    lab: Running<'a>,
}

impl Ring<'_> {
    /// Where the second node's kernel sends packets to an address, in the words of `ip`; nothing: nowhere.
    fn hop(&self, address: &str) -> String {
        let said = self.lab.lab(&format!("exec n2 ip -4 route get {address}"));
        let mut words = said.out.split_whitespace().skip_while(|word| *word != "via");
        words.nth(1).unwrap_or_default().to_owned()
    }

    fn answers(&self, address: &str) -> bool {
        self.lab.lab(&format!("exec n2 ping -c 1 -W 1 {address}")).code == Some(0)
    }

    /// How long something takes to be so.
    fn until(&self, what: &str, most: Duration, is_so: impl Fn() -> bool) -> Duration {
        let begin = Instant::now();
        while !is_so() {
            assert!(
                begin.elapsed() < most,
                "not within {most:?}: {what}; {}",
                self.lab.lab("exec n2 ip route show table all")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        begin.elapsed()
    }

    /// When each of a neighbour's sessions came up is the same as before: it has not ended meanwhile.
    fn handshakes(&self) -> u64 {
        let said = self.lab.lab(&format!("exec n2 {WAYLEAVE} bgp --json")).out;
        let bgp: Value = serde_json::from_str(&said).unwrap();
        let sessions = bgp["sessions"].as_array().unwrap();
        let with_n3 = sessions.iter().find(|session| session["name"] == "n3").unwrap();
        assert_eq!(with_n3["state"], "Established", "{bgp:#}");
        with_n3["since_s"].as_u64().unwrap()
    }
}

#[test]
fn no_route_leads_to_a_dead_link_for_longer_than_three_seconds() {
    if !can_run("no_route_leads_to_a_dead_link", true, &["bird", "birdc", "ping", "ip", "nft", "sh"]) {
        return;
    }
    let desk = Desk::with("network.toml", &network());
    let told = "--announce f1=172.20.0.0/24,172.20.1.0/24 --announce f2=172.20.0.0/24,172.20.2.0/24";
    let mut ring = Ring { lab: Running::start(&desk, "ring", &format!("network.toml --agents {told}")) };
    for address in [BOTH, FIRST, SECOND] {
        ring.until(address, BACK_MAX, || ring.answers(address));
    }
    assert_eq!(["172.22.0.1"; 2], [BOTH, FIRST].map(|address| ring.hop(address)), "the lower router id");
    let (begin, since) = (Instant::now(), ring.handshakes());
    // Packets over a link that nobody touches, all the time.
    let beside = desk.path("beside").display().to_string();
    let mut pings = std::process::Command::new(WAYLEAVE);
    pings.env("WAYLEAVE_RUNTIME_DIR", desk.path("run")).args(["lab", "exec", "--name", "ring", "n2", "sh", "-c"]);
    let mut pings = pings.arg(format!("exec ping -i 0.1 172.22.0.3 > {beside}")).spawn().unwrap();

    ring.lab.lab("fail n1 n2").expect(0);
    let round = ring.until("the other way round is taken", DEAD_MAX, || ring.answers(FIRST));
    assert_eq!(ring.hop(BOTH), "172.22.0.1", "the node is there, and the ring leads to it the other way");

    ring.lab.lab("fail n1 n4").expect(0);
    let other = ring.until("the other origin is taken", DEAD_MAX, || ring.hop(BOTH) == "172.22.0.3");
    let none = ring.until("what nobody else has leads nowhere", DEAD_MAX, || ring.hop(FIRST).is_empty());
    ring.until("and packets come back", DEAD_MAX, || ring.answers(BOTH));
    let said = ring.lab.lab("exec n2 ip -4 route get 172.20.1.1");
    // The words for a route of the type `unreachable`, and not for none at all.
    assert!(said.err.contains("No route to host"), "it leaves by no other way, either: {said}");
    println!("the other way round after {round:?}, the other origin {other:?}, no way {none:?}");
    // Neither node tells a neighbour of what it can't reach itself; sessions with the one that is cut off are not over yet.
    ring.lab.lab("heal n1 n2").expect(0);
    ring.until("it is back", BACK_MAX, || ring.hop(FIRST) == "172.22.0.1" && ring.answers(FIRST));
    ring.until("both are", BACK_MAX, || ring.hop(BOTH) == "172.22.0.1");

    // Links flap, and so do routes: tunnels and sessions beside them don't.
    for _ in 0..4 {
        ring.lab.lab("fail n1 n4").expect(0);
        ring.lab.lab("fail neighbour f1").expect(0);
        ring.until("the neighbour that is cut off is not used", DEAD_MAX, || ring.hop(BOTH) == "172.22.0.3");
        ring.lab.lab("heal n1 n4").expect(0);
        ring.lab.lab("heal neighbour f1").expect(0);
        std::thread::sleep(Duration::from_millis(500));
        if Instant::now() > begin + BACK_MAX {
            break;
        }
    }
    assert!(
        ring.handshakes() + 2 >= since + begin.elapsed().as_secs(),
        "the session between n2 and n3 has ended meanwhile"
    );
    // SAFETY: takes no pointers; the process is our child and not yet waited for, so the number is its.
    unsafe { libc::kill(pings.id() as i32, libc::SIGINT) };
    pings.wait().unwrap();
    let counts = desk.read("beside");
    let answered = counts.lines().filter(|line| line.contains("bytes from")).count();
    let last =
        counts.lines().filter_map(|line| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok()).next_back();
    // The last one may still be under way.
    assert!(last.is_some_and(|last: usize| last > 50 && answered + 1 >= last), "packets were lost beside it: {counts}");
    ring.lab.lab("down").expect(0);
    ring.lab.wait();
}
