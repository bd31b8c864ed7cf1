//! Twelve servers whose addresses and names are parts of each other's, with clocks that are wrong by years and jump, of which some die.
//!
//! All devices are asked where a client's packets go, so that one server that is wrong would show. Clocks are set by `libfaketime`, which every
//! agent is started with: its processes read the wall clock through it, from a file that the test writes while they run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use wayleave_agent::control::{Health, Request, Response, client::ask};
use wayleave_engine::uapi::Client as Uapi;

use super::*;
use crate::desk::{WAYLEAVE, note_not_run};

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";
/// The regions of servers 1 to 12: the first of each region by name is where its clients go, 10.50.0.1, .10 and .11.
const REGIONS: [&str; 12] = [
    "ireland",
    "ireland",
    "ireland",
    "ireland",
    "singapore",
    "singapore",
    "singapore",
    "virginia",
    "virginia",
    "singapore",
    "virginia",
    "virginia",
];
/// How soon a dead server's clients are to be withdrawn by all, once its links are declared down.
const WITHDRAWN_MAX: Duration = Duration::from_secs(1);

/// How soon a server that has started again with a clock ten years back is to find all others: to them its handshakes are replays, and
/// they call it, nearly always at once. Whoever does not takes WireGuard's fifteen seconds of silence, and once more if two call each other.
const RESTARTED_MAX: Duration = Duration::from_secs(40);

fn network() -> String {
    let mut text = "[network]\nname = \"many\"\nprefixes = [\"10.50.0.0/16\"]\nplatform = \"agent\"\n\
                    [entry]\nendpoint = \"198.51.100.1\"\n[regions.ireland]\n[regions.singapore]\n[regions.virginia]\n\
                    [rtt_ms]\nireland = { singapore = 180, virginia = 70 }\nsingapore = { virginia = 220 }\n"
        .to_owned();
    for (n, region) in (1..).zip(REGIONS) {
        text.push_str(&format!(
            "[nodes.vpn{n}]\nentry = true\nregion = \"{region}\"\naddress = \"10.50.0.{n}\"\nendpoint = \"203.0.113.{n}\"\n"
        ));
    }
    for (name, address, region) in [("c1", 1, "ireland"), ("c10", 10, "virginia")] {
        text.push_str(&format!(
            "[clients.{name}]\nregion = \"{region}\"\naddress = \"10.50.128.{address}\"\nplatform = \"wg-quick\"\n"
        ));
    }
    text
}

/// The servers' devices, as the lab has them.
struct Servers<'a> {
    desk: &'a Desk,
    lab: Running<'a>,
}

impl Servers<'_> {
    fn folder(&self, server: &str) -> PathBuf {
        self.desk.path("run/lab/many/members").join(server)
    }

    /// What each peer of a server's device is allowed; none while its agent is started again.
    fn allowed(&self, server: &str) -> Option<Vec<Vec<String>>> {
        let described = Uapi::connect(&self.folder(server).join("wg0.sock")).ok()?.describe().ok()?;
        let prefixes =
            |peer: &wayleave_engine::PeerDescription| peer.allowed_ips.iter().map(ToString::to_string).collect();
        Some(described.peers.iter().map(prefixes).collect())
    }

    /// To which server another one sends packets for an address: the one whose own address has the same peer.
    fn next(&self, server: &str, address: &str) -> Option<String> {
        let peers = self.allowed(server)?;
        let has = |peer: &&Vec<String>, prefix: &str| peer.iter().any(|own| own == prefix);
        let peer = peers.iter().find(|peer| has(peer, &format!("{address}/32")))?;
        (1..=12).find(|n| has(&peer, &format!("10.50.0.{n}/32"))).map(|n| format!("vpn{n}"))
    }

    /// To which server each of the others sends packets for an address.
    fn all_next(&self, but: &str, address: &str) -> BTreeMap<String, Option<String>> {
        let others = (1..=12).map(|n| format!("vpn{n}")).filter(|name| name != but);
        others.map(|name| (name.clone(), self.next(&name, address))).collect()
    }

    /// Takes the first client to a region, where it is to be with a server, and the other one is to stay.
    fn travel(&self, region: &str, server: &str) {
        self.lab.lab(&format!("move c1 {region}")).expect(0);
        // It says something.
        self.lab.lab("ping c1 c10 -c 3");
        let moved = wait_until_with(&self.lab, "c1", server)["moved"].clone();
        eprintln!("to {server}: all {} servers followed in {} ms", moved["nodes"], moved["took_ms"]);
        assert!(moved["took_ms"].as_f64().unwrap() < 2_000.0, "{moved}");
        for (other, next) in self.all_next(server, "10.50.128.1") {
            assert_eq!(next.as_deref(), Some(server), "where {other} sends what is for c1");
        }
        for (other, next) in self.all_next("vpn11", "10.50.128.10") {
            assert_eq!(
                next.as_deref(),
                Some("vpn11"),
                "where {other} sends what is for c10, whose address begins like c1's"
            );
        }
        let (ms, path) = rtt(&self.lab, "c1", "c10");
        assert_eq!(
            path,
            if server == "vpn11" { "c1 > vpn11 > c10".into() } else { format!("c1 > {server} > vpn11 > c10") }
        );
        assert!(ms < 500.0, "{ms}");
    }

    /// Sets servers' clocks, by so much from the true time.
    fn set_clocks(&self, clocks: &[(&str, &str)]) {
        for (server, offset) in clocks {
            std::fs::write(self.folder(server).join("clock"), format!("{offset}\n")).unwrap();
        }
    }

    /// How many years a server's clock is ahead, by the time that it gives to the latest handshake with a client.
    fn years_ahead(&self, server: &str) -> f64 {
        let clients = Uapi::connect(&self.folder(server).join("wg-clients.sock")).unwrap().describe().unwrap();
        let latest = clients.peers.iter().filter_map(|peer| peer.last_handshake).max().unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (latest.as_secs_f64() - now.as_secs_f64()) / (365.25 * 86_400.0)
    }

    /// Whether a server's agent holds another node for down.
    fn is_down(&self, server: &str, node: &str) -> bool {
        let socket = self.folder(server).join("networks/many/control.sock");
        let Ok(Response::Status(snapshot)) = ask(&socket, Request::Status) else { return false };
        snapshot.members.iter().any(|member| member.name == node && member.health == Health::Down)
    }

    /// Ends a server's agent, which the lab starts again, and waits until it finds the others.
    fn restart(&self, server: &str) {
        let socket = self.folder(server).join("networks/many/control.sock");
        let Ok(Response::Status(snapshot)) = ask(&socket, Request::Status) else { panic!("{server} does not answer") };
        // SAFETY: takes no pointers; the process is an agent of this test's own lab.
        assert_eq!(unsafe { libc::kill(snapshot.pid as i32, libc::SIGKILL) }, 0);
        let begin = Instant::now();
        let is_well = || {
            let Ok(Response::Status(now)) = ask(&socket, Request::Status) else { return false };
            let nodes = || now.members.iter().filter(|member| member.kind == "node");
            now.pid != snapshot.pid && nodes().all(|node| node.health == Health::Fine)
        };
        while !is_well() {
            assert!(begin.elapsed() < RESTARTED_MAX, "{server} does not find the others again");
            std::thread::sleep(Duration::from_millis(200));
        }
        eprintln!("{server} found all others {:.1} s after it was killed", begin.elapsed().as_secs_f64());
    }

    /// Cuts a server off, and measures when the others hold it for down, and when none of them sends a client's packets there any more.
    fn die(&self, server: &str, address: &str) {
        let mut sending: Vec<String> = self.all_next(server, address).into_keys().collect();
        let mut undeclared = sending.clone();
        self.lab.lab(&format!("fail node {server}")).expect(0);
        let begin = Instant::now();
        let (mut first, mut last) = (None, begin);
        while !sending.is_empty() || !undeclared.is_empty() {
            undeclared.retain(|other| {
                let declared = self.is_down(other, server);
                if declared {
                    last = Instant::now();
                    first.get_or_insert(last);
                }
                !declared
            });
            sending.retain(|other| self.next(other, address).is_some());
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "{sending:?} send to {server}, {undeclared:?} hold it for well"
            );
            assert!(!undeclared.is_empty() || last.elapsed() < WITHDRAWN_MAX, "{sending:?} still send to {server}");
        }
        let (first, ms) = (first.unwrap_or(begin), |time: Duration| time.as_secs_f64() * 1e3);
        let words = "its client withdrawn by all after";
        eprintln!(
            "{server} died: declared down after {:.0} to {:.0} ms, {words} {:.0}",
            ms(first - begin),
            ms(last - begin),
            ms(begin.elapsed())
        );
        // A second is promised; a busy machine that runs twelve of them, and is asked all the time, gets another.
        assert!(first.elapsed() < 2 * WITHDRAWN_MAX, "{:?} after the first of them declared it down", first.elapsed());
    }

    /// Runs the watch over its server beside a client that is not ours.
    fn watch(&self, client: &str) {
        // It would outlive the lab.
        let line = format!("exec timeout 60 {WAYLEAVE} client-watch wg0 --ping 10.50.0.11");
        spawn(self.desk, &self.lab, client, &line, "watched");
    }
}

impl Drop for Servers<'_> {
    /// What the library that sets clocks leaves behind.
    fn drop(&mut self) {
        for name in ["faketime_shm_", "sem.faketime_sem_"] {
            let _ = std::fs::remove_file(format!("/dev/shm/{name}{}", self.lab.pid()));
        }
    }
}

/// Where the library that sets clocks is.
fn library() -> Option<String> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let mut all = folders.iter().map(|folder| format!("{folder}/{LIBRARY}"));
    all.find(|path| std::path::Path::new(path).is_file())
}

#[test]
fn twelve_servers_with_look_alike_addresses_and_wrong_clocks_agree_and_withdraw_who_is_with_a_dead_one() {
    let test = "twelve_servers_with_look_alike_addresses_and_wrong_clocks_agree_and_withdraw_who_is_with_a_dead_one";
    if !can_run(test, true, &["wireguard-go"]) {
        return;
    }
    let Some(library) = library() else { return note_not_run(test, "needs libfaketime") };
    let desk = Desk::with("network.toml", &network());
    let mut command = Command::new(WAYLEAVE);
    command.args(["lab", "up", "--name", "many", "--count", "1", "network.toml", "--clients", "wireguard-go"]);
    command.env("WAYLEAVE_RUNTIME_DIR", desk.path("run")).env("LD_PRELOAD", library);
    // Each agent's own file, in the place where it runs; clocks that only go forward stay as they are.
    command.env("FAKETIME_TIMESTAMP_FILE", "clock").env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DISABLE_SHM", "1");
    let lab = Running::started(&desk, "many", &mut command);
    let mut servers = Servers { desk: &desk, lab };
    wait_until_with(&servers.lab, "c1", "vpn1");
    wait_until_with(&servers.lab, "c10", "vpn11");
    servers.travel("singapore", "vpn10");

    // From ten years behind to ten years ahead, while everything runs.
    servers.set_clocks(&[("vpn1", "+10y"), ("vpn10", "-10y"), ("vpn11", "+10m"), ("vpn2", "-10m"), ("vpn3", "-1y")]);
    servers.travel("ireland", "vpn1");
    assert!(servers.years_ahead("vpn1") > 9.0, "{}", servers.years_ahead("vpn1"));
    servers.travel("singapore", "vpn10");
    assert!(servers.years_ahead("vpn10") < -9.0, "{}", servers.years_ahead("vpn10"));
    servers.set_clocks(&[("vpn1", "-10y"), ("vpn10", "+10y"), ("vpn11", "-10y")]);
    servers.travel("ireland", "vpn1");
    // Started with a clock that is behind all that others have heard from it.
    (0..4).for_each(|_| servers.restart("vpn1"));
    servers.travel("singapore", "vpn10");
    servers.travel("ireland", "vpn1");
    assert!(servers.years_ahead("vpn1") < -9.0, "{}", servers.years_ahead("vpn1"));

    // The load balancer keeps a client's flow with a dead server; the watch beside it takes another one.
    servers.watch("c1");
    std::thread::sleep(Duration::from_secs(3));
    servers.die("vpn1", "10.50.128.1");
    let begin = Instant::now();
    while servers
        .all_next("vpn2", "10.50.128.1")
        .iter()
        .any(|(name, next)| name != "vpn1" && next.as_deref() != Some("vpn2"))
    {
        assert!(begin.elapsed() < MOVE_MAX, "nobody has the client: {:?}", servers.all_next("vpn2", "10.50.128.1"));
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!("all send to vpn2 {:.1} s after that", begin.elapsed().as_secs_f64());
    servers.lab.lab("ping c1 c10 vpn10 vpn11 vpn2").expect(0);
    servers.lab.lab("down").expect(0);
    assert_eq!(servers.lab.wait().code(), Some(0), "{}", servers.lab.said());
}
