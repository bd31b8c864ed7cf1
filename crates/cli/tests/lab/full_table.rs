//! A table of the internet's size from one neighbour: 950,000 routes. The agent neither breaks nor slows; over a limit they end the
//! session and nothing else.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desk::{Desk, can_run};
use crate::running::Running;

const ROUTES: u64 = 950_000;
/// How long BIRD may take until all are in the kernel, on a busy machine.
const FILL_MAX: Duration = Duration::from_secs(200);
/// Microseconds of processor time that the agent may use for each route: it hears of each once, since those towards other nodes become
/// prefixes of theirs. A debug build takes five. One that looks at all routes whenever it looks at anything uses all the time there is.
const ROUTE_US_MAX: f64 = 15.0;
/// By how much longer packets may be lost under a full table when a link is cut: what a busy machine makes of one measurement.
const FAILOVER_MORE_MAX: Duration = Duration::from_millis(700);
/// Bytes that status, show and bgp may say more: counts with more digits.
const TALK_MORE_MAX: usize = 1_000;

fn network(max_prefixes: u64) -> String {
    format!(
        r#"[network]
name = "full"
prefixes = ["10.9.0.0/24"]
[bgp]
asn = 64512
own = ["10.9.0.0/24"]
[nodes.a]
endpoint = "a.example.net"
[nodes.b]
endpoint = "b.example.net"
[nodes.c]
endpoint = "c.example.net"
hub = true
[[links]]
mesh = ["a", "b", "c"]
[neighbours.feed]
node = "a"
asn = 64513
port = 24513
public_key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0="
own_addresses = ["10.132.0.1/30"]
addresses = ["10.132.0.2"]
accept = ["0.0.0.0/0"]
max_prefixes = {max_prefixes}
"#
    )
}

/// From 20.0.0.0/24 on, in BIRD's words.
fn table(routes: u64) -> String {
    let mut text = String::from("protocol static full4 { ipv4;\n");
    for number in 0..routes {
        let (a, b, c) = (20 + number / 65_536, number / 256 % 256, number % 256);
        text.push_str(&format!("route {a}.{b}.{c}.0/24 blackhole;\n"));
    }
    text + "}\n"
}

/// Seconds of processor time that a process has used.
fn processor_s(pid: u64) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    // Of a hundredth of a second each; user and system, the twelfth and thirteenth behind the name.
    (ticks(11) + ticks(12)) / 100.0
}

fn resident_mib(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
}

struct Table<'a> {
    desk: &'a Desk,
    lab: Running<'a>,
    agent: u64,
}

impl<'a> Table<'a> {
    fn start(desk: &'a Desk, routes: u64) -> Table<'a> {
        desk.write("full.conf", table(routes));
        let lab = Running::start(desk, "full", "network.toml --announce feed=");
        let status = lab.lab(&format!("exec a {} status --json", crate::desk::WAYLEAVE));
        let snapshot: Value = serde_json::from_str(&status.out).unwrap();
        Table { desk, lab, agent: snapshot["pid"].as_u64().unwrap() }
    }

    /// Lets the neighbour tell of everything.
    fn pour(&self) {
        let place = "run/lab/full/members/feed/router.conf";
        let more = format!("include \"{}\";\n", self.desk.path("full.conf").display());
        self.desk.write(place, self.desk.read(place) + &more);
        let control = self.desk.path("run/lab/full/members/feed/router.ctl").display().to_string();
        self.lab.lab(&format!("exec feed birdc -s {control} configure")).expect(0);
    }

    /// Asks the agent for its snapshot; how long that took.
    fn ask(&self) -> Duration {
        let socket = self.desk.path("run/lab/full/members/a/networks/full/control.sock");
        let begin = Instant::now();
        wayleave_agent::control::client::ask(&socket, wayleave_agent::control::Request::Status).unwrap();
        begin.elapsed()
    }

    /// Cuts the link between a and b, around which c leads, and mends it: for how long no packets came through.
    fn failover(&self) -> Duration {
        const INTERVAL_MS: u64 = 20;
        let seen = || self.lab.lab(&format!("exec a {} status --json", crate::desk::WAYLEAVE)).out;
        let is_direct = |said: String| {
            let all: Value = serde_json::from_str(&said).unwrap();
            let members = all["members"].as_array().unwrap();
            members.iter().any(|member| member["name"] == "b" && member["via"] == "direct")
        };
        let begin = Instant::now();
        while !is_direct(seen()) {
            assert!(begin.elapsed() < Duration::from_secs(30), "{}", seen());
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut pings = std::process::Command::new(crate::desk::WAYLEAVE);
        pings
            .env("WAYLEAVE_RUNTIME_DIR", self.desk.path("run"))
            .args(["lab", "exec", "--name", "full", "a", "ping", "-i"]);
        let pings =
            pings.args(["0.02", "-c", "200", "-W", "1", "10.9.0.2"]).stdout(std::process::Stdio::piped()).spawn();
        std::thread::sleep(Duration::from_secs(1));
        self.lab.lab("fail a b").expect(0);
        let said = String::from_utf8(pings.unwrap().wait_with_output().unwrap().stdout).unwrap();
        self.lab.lab("heal a b").expect(0);
        let number = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        let answered: Vec<u64> = said.lines().filter(|line| line.contains("bytes from")).filter_map(number).collect();
        assert!(answered.last().is_some_and(|last| *last > 195), "packets don't come through again: {said}");
        let gap = answered.windows(2).map(|pair| pair[1] - pair[0] - 1).max().unwrap_or(0);
        Duration::from_millis(gap * INTERVAL_MS)
    }

    /// How much two commands say that people look at.
    fn talk(&self) -> usize {
        let said = ["show", "status", "bgp"].map(|command| {
            let ran = self.lab.lab(&format!("exec a {} {command}", crate::desk::WAYLEAVE));
            ran.out.len()
        });
        said.into_iter().sum()
    }

    /// Routes of BIRD's in the kernel of node a.
    fn learned(&self) -> u64 {
        let ran = self.lab.lab("exec a ip -4 route show table all proto bird");
        ran.out.lines().count() as u64
    }
}

#[test]
fn an_internet_sized_table_neither_breaks_nor_slows_the_agent() {
    if !can_run("an_internet_sized_table", true, &["bird", "birdc", "ip", "nft"]) {
        return;
    }
    let desk = Desk::with("network.toml", &network(1_200_000));
    let table = Table::start(&desk, ROUTES);
    let (around, talk) = (table.failover(), table.talk());
    let (before_mib, before_s, begin) = (resident_mib(table.agent), processor_s(table.agent), Instant::now());
    table.pour();
    let (mut waits, mut looked) = (Vec::new(), Instant::now());
    loop {
        waits.push(table.ask());
        std::thread::sleep(Duration::from_millis(50));
        if looked.elapsed() > Duration::from_secs(5) {
            if table.learned() >= ROUTES {
                break;
            }
            assert!(begin.elapsed() < FILL_MAX, "only {} routes are there", table.learned());
            looked = Instant::now();
        }
    }
    let (took, used_s) = (begin.elapsed().as_secs_f64(), processor_s(table.agent) - before_s);
    waits.sort_unstable();
    let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    let mib = resident_mib(table.agent);
    println!(
        "{ROUTES} routes after {took:.0} s: the agent used {used_s:.2} s, {before_mib} MiB before and {mib} now, \
         answered within {median:?} (median), {longest:?} (longest of {})",
        waits.len()
    );
    assert!(used_s * 1e6 < ROUTES as f64 * ROUTE_US_MAX, "the agent used {used_s:.1} s of {took:.0}");
    assert!(median < Duration::from_millis(300), "half of its answers took longer than {median:?}");
    assert!(mib < before_mib + 20, "{before_mib} MiB before, {mib} now");
    table.lab.lab("ping a b --count 2").expect(0);
    // BIRD hears of its own changes from the kernel, and has to read all routes again if it hears them too late.
    let said = desk.read("run/lab/full/members/a/agent.log");
    let dropped = said.matches("dropped some netlink").count();
    println!("BIRD says {dropped} times that news of the kernel were dropped");
    let full = table.failover();
    println!("without packets when a link is cut: {around:?} before, {full:?} with all routes");
    assert!(full < around + FAILOVER_MORE_MAX, "{full:?} with all routes, {around:?} before");
    assert!(table.talk() < talk + TALK_MORE_MAX, "status, show and bgp say more for each route");
}

#[test]
fn one_route_more_than_the_limit_ends_the_session_and_nothing_else() {
    if !can_run("one_route_more_than_the_limit", true, &["bird", "birdc", "ip", "nft"]) {
        return;
    }
    let desk = Desk::with("network.toml", &network(10_000));
    let table = Table::start(&desk, 10_001);
    table.pour();
    let begin = Instant::now();
    let reason = loop {
        let status: Value = serde_json::from_str(&table.lab.lab("status --json").out).unwrap();
        let session = status["status"]["sessions"][0].clone();
        if session["up"] == false && session["reason"].as_str().unwrap().contains("more than") {
            break session;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{status:#}");
        std::thread::sleep(Duration::from_millis(200));
    };
    println!("{reason}");
    assert!(table.learned() <= 10_000);
    table.lab.lab("ping a b --count 2").expect(0);
}
