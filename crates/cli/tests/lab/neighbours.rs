//! Foreign routers in the lab, played by BIRD and by FRR with the half that their operators get: what is behind them is reached, what
//! they may not tell of is not, one that is cut is noticed, and nothing of them is left.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desk::{Desk, Ran, WAYLEAVE, can_run};
use crate::running::Running;

/// A node with two neighbours: one of its own AS over IPv4, and one of another that calls, over link-local addresses with one session
/// for both families. Route origins are asked for; the files of the real ones are nowhere.
const NETWORK: &str = r#"[network]
name = "foreign"
prefixes = ["172.22.132.168/29", "fd42:4242::/64"]

[bgp]
asn = 4242421869
own = ["172.22.132.160/27", "fd42:4242::/48"]
profile = "dn42"
roa_v4 = "/nowhere/roa4.conf"
rtr = ["rpki.example.net:8082"]

[nodes.vps]
platform = "agent"
endpoint = "vps.example.net"
addresses = ["172.22.132.169", "fd42:4242::1"]

[neighbours.home]
node = "vps"
asn = 4242421869
public_key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0="
endpoint = "home.example.net:51823"
port = 51823
own_addresses = ["10.132.0.1/30"]
addresses = ["10.132.0.2"]
export = "all"

[neighbours.peer]
node = "vps"
asn = 4242420119
public_key = "LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM="
latency_ms = 12
export = "all"

[neighbours.liar]
node = "vps"
asn = 4242420120
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
"#;

/// Until a session comes back after its hold time: it is tried again after ten seconds, and a busy machine takes its time.
const BACK_MAX: Duration = Duration::from_secs(90);

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

fn session(lab: &Running<'_>, with: &str) -> Value {
    let status = json(&lab.lab("status --json"));
    let sessions = status["status"]["sessions"].as_array().unwrap().clone();
    sessions.into_iter().find(|session| session["with"] == with).unwrap_or_else(|| panic!("no {with}: {status}"))
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < BACK_MAX, "never: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Command lines of processes that name something.
fn processes_with(words: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    texts.filter(|line| line.contains(words)).collect()
}

fn play(test: &str, router: &str, programs: &[&str]) {
    if !can_run(test, true, programs) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let options = format!("network.toml --json --router {router} --hold-time-s 9 --announce liar=172.22.132.176/28");
    let mut lab = Running::start(&desk, "foreign", &options);
    assert!(lab.said().contains("3 of 3 BGP sessions with neighbours up"), "{}", lab.said());
    let all: Value = serde_json::from_str(&desk.read("foreign.out")).unwrap();
    let pair = |from: &str, to: &str| {
        let pairs = all["pairs"].as_array().unwrap();
        let found = pairs.iter().find(|pair| pair["from"] == from && pair["to"] == to);
        let found = found.unwrap_or_else(|| panic!("no {from} {to}: {all:#}"));
        (found["path"].as_array().unwrap().len(), found["received"].as_u64().unwrap() > 0)
    };
    assert_eq!(pair("vps", "home-far"), (3, true), "{all:#}");
    assert_eq!(pair("vps", "peer-far"), (3, true), "{all:#}");
    assert_eq!(pair("home-far", "peer-far"), (5, true), "each is told of the other: {all:#}");
    assert_eq!(pair("vps", "liar-far"), (0, false), "it tells of what is ours: {all:#}");
    assert_eq!((&all["lost"], &all["not_kept_apart"]), (&Value::from(0), &Value::from(0)), "{all:#}");
    let peer = session(&lab, "peer");
    assert_eq!((&peer["state"], &peer["accepted_routes"]), (&Value::from("Established"), &Value::from(2)), "{peer}");
    assert_eq!(session(&lab, "liar")["accepted_routes"], 0);
    // What is authorised changes while all runs.
    let origins = "run/lab/foreign/origins4.conf";
    let authorised = desk.read(origins);
    assert!(authorised.contains("as 4242420119;"), "{authorised}");
    desk.write(origins, authorised.replace("as 4242420119;", "as 4242420999;"));
    until("peer's IPv4 route is refused", || session(&lab, "peer")["accepted_routes"] == 1);
    assert_eq!(session(&lab, "peer")["up"], true, "the session stays up");
    desk.write(origins, &authorised);
    until("and taken again", || session(&lab, "peer")["accepted_routes"] == 2);
    // Behind it is another host, and the router between them is a real one.
    let traced = lab.lab("exec vps ping -c 1 -W 2 -6 -t 1 fd00::1");
    assert!(traced.out.contains("Time exceeded"), "{traced}");

    let accepted = session(&lab, "home")["accepted_routes"].clone();
    // What makes no sense changes nothing, for as long as peer's session takes to end.
    desk.write(origins, "nonsense");
    lab.lab("fail neighbour peer").expect(0);
    until("peer's session ends", || session(&lab, "peer")["up"] == false);
    let refused = lab.lab(&format!("exec vps {WAYLEAVE} bgp"));
    assert!(refused.out.contains("BIRD refuses its configuration"), "{refused}");
    let home = session(&lab, "home");
    assert_eq!((&home["up"], &home["accepted_routes"]), (&true.into(), &accepted), "{home}");
    desk.write(origins, &authorised);
    let status = lab.lab("status").expect(4);
    assert!(status.out.contains("neighbour peer: cut"), "{status}");
    lab.lab("ping vps peer-far --count 2").expect(4);
    lab.lab("ping vps home-far --count 2").expect(0);
    let doctor = lab.lab(&format!("exec vps {WAYLEAVE} doctor --network network.toml --node vps --json"));
    let remarks = json(&doctor)["remarks"].to_string();
    assert!(remarks.contains("no BGP session with peer (") && !remarks.contains("session with home"), "{doctor}");
    lab.lab("fail node peer").expect(1);
    lab.lab("heal neighbour peer").expect(0);
    until("peer's session comes back", || session(&lab, "peer")["up"] == true);
    until("what is behind peer is reached again", || lab.lab("ping vps peer-far --count 2").code == Some(0));
    // The way alone, by its two ends.
    lab.lab("fail vps home").expect(0);
    assert_eq!(session(&lab, "home")["cut"], true);
    lab.lab("heal home vps").expect(0);

    let place = desk.path("run").display().to_string();
    assert!(!processes_with(&place).is_empty());
    lab.lab("down").expect(0);
    lab.wait();
    until("no process of the lab is left", || processes_with(&place).is_empty());
}

#[test]
fn foreign_routers_are_played_by_bird_with_the_half_that_their_operators_get() {
    play("foreign_routers_are_played_by_bird", "bird", &["bird", "ping", "nft"]);
}

#[test]
fn foreign_routers_are_played_by_frr_with_the_half_that_their_operators_get() {
    play("foreign_routers_are_played_by_frr", "frr", &["bird", "ping", "nft", "/usr/lib/frr/bgpd"]);
}

/// A home router inside the own AS at one node, a foreign one at another, and a reflector between these.
const REFLECTED: &str = r#"[network]
name = "reflected"
prefixes = ["172.22.132.168/29"]
platform = "agent"

[bgp]
asn = 4242421869
own = ["172.22.132.160/27"]
profile = "dn42"
reflectors = ["rr"]

[nodes.vps]
endpoint = "vps.example.net"

[nodes.rr]
endpoint = "rr.example.net"

[nodes.far]
endpoint = "far.example.net"

[neighbours.home]
node = "vps"
asn = 4242421869
public_key = "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0="
endpoint = "home.example.net:51823"
port = 51823
own_addresses = ["10.132.0.1/30"]
addresses = ["10.132.0.2"]
export = "all"

[neighbours.peer]
node = "far"
asn = 4242420119
public_key = "LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM="
own_addresses = ["10.133.0.1/30"]
addresses = ["10.133.0.2"]
export = "all"
"#;

#[test]
fn a_foreign_router_of_the_own_as_is_told_what_reflectors_tell_and_they_of_it() {
    if !can_run("a_foreign_router_of_the_own_as", true, &["bird", "ping", "nft"]) {
        return;
    }
    let desk = Desk::with("network.toml", REFLECTED);
    let mut lab = Running::start(&desk, "reflected", "network.toml --json --router bird --hold-time-s 30");
    assert!(lab.said().contains("2 of 2 BGP sessions with neighbours up"), "{}", lab.said());
    // Each way over both nodes; the reflector is not on it.
    for (from, to) in [("home-far", "peer-far"), ("peer-far", "home-far")] {
        until(&format!("{from} reaches {to}"), || lab.lab(&format!("ping {from} {to} --count 2")).code == Some(0));
    }
    lab.lab("down").expect(0);
    lab.wait();
}

#[test]
fn without_anybody_to_play_them_neighbours_are_left_out_and_that_is_said() {
    if !can_run("without_anybody_to_play_them", true, &[]) {
        return;
    }
    let desk = Desk::with_examples();
    let ran = desk.wayleave("lab up dn42.toml --once --router none").expect(0);
    assert!(ran.err.contains("1 neighbour left out"), "{ran}");
    let ran = desk.wayleave("lab up dn42.toml --once --announce hme=172.20.0.0/24").expect(64);
    assert!(ran.err.contains("there is no neighbour hme in dn42; did you mean home?"), "{ran}");
    desk.wayleave("lab up dn42.toml --once --announce home=172.20.0.7/24").expect(64);
}
