//! A policy with real packets through real tunnels: who gets where, among rules of others, and past a web server.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::desk::{Desk, Ran, WAYLEAVE, can_run};
use crate::running::Running;

/// How long a server may take until it answers, on a busy machine.
const START_MAX: Duration = Duration::from_secs(20);

/// A program that runs on a member until it is dropped.
struct Server(Child);

impl Server {
    fn start(desk: &Desk, lab: &str, member: &str, words: &[&str]) -> Server {
        let mut command = Command::new(WAYLEAVE);
        command.args(["lab", "exec", "--name", lab, member, "--"]).args(words);
        command.current_dir(&desk.directory).env("WAYLEAVE_RUNTIME_DIR", desk.path("run"));
        Server(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until the answer is as expected: a server may still be starting.
fn until(what: &str, expected: &str, mut ask: impl FnMut() -> String) {
    let begin = Instant::now();
    loop {
        let said = ask();
        if said == expected {
            return;
        }
        assert!(begin.elapsed() < START_MAX, "{what}: {said}, not {expected}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn connects(lab: &Running<'_>, from: &str, to: &str) -> bool {
    lab.lab(&format!("exec {from} -- nc -z -w 2 {to}")).code == Some(0)
}

fn pings(lab: &Running<'_>, from: &str, to: &str) -> bool {
    lab.lab(&format!("exec {from} -- ping -q -c 1 -W 2 {to}")).code == Some(0)
}

#[test]
fn a_policy_holds_for_real_packets() {
    if !can_run("a_policy_holds_for_real_packets", true, &["nft", "nc", "ping"]) {
        return;
    }
    let desk = Desk::with_examples();
    let lab = Running::start(&desk, "policy", "policy.toml");
    let _servers: Vec<Server> = [("db", "5432"), ("db", "22"), ("gate", "22")]
        .into_iter()
        .map(|(member, port)| Server::start(&desk, "policy", member, &["nc", "-lk", port]))
        .collect();
    let up = |from: &str, to: &str| until(&format!("{from} to {to}"), "true", || connects(&lab, from, to).to_string());
    up("alice", "10.77.0.3 5432");
    up("git", "10.77.0.3 5432");
    up("alice", "10.77.0.3 22");
    up("alice", "10.77.0.1 22");
    // Of the same servers, what the rules don't allow: other ports, other people, the other direction.
    for (from, to) in [("git", "10.77.0.3 22"), ("gate", "10.77.0.3 5432"), ("bob", "10.77.0.3 5432")] {
        assert!(!connects(&lab, from, to), "{from} to {to}");
    }
    assert!(!connects(&lab, "bob", "10.77.0.1 22"), "bob has no SSH");
    // From outside, past the tunnel: closed but for one address, which is nobody's here.
    assert!(!connects(&lab, "office", "198.51.100.21 22"), "gate is closed from outside");
    assert!(pings(&lab, "office", "198.51.100.21"), "ICMP is not");
    assert!(pings(&lab, "bob", "192.168.77.10"), "the staff reaches the office");
    assert!(!pings(&lab, "git", "192.168.77.10"), "servers don't");
    assert!(pings(&lab, "git", "10.77.0.3") && !pings(&lab, "db", "10.77.0.2"), "one way only");
}

#[test]
fn a_road_warrior_gets_past_a_reject_and_the_rules_are_left_as_they_were() {
    let test = "a_road_warrior_gets_past_a_reject_and_the_rules_are_left_as_they_were";
    if !can_run(test, true, &["nft", "iptables-nft", "ping", "sh"]) {
        return;
    }
    let desk = Desk::with_examples();
    desk.wayleave("render policy.toml -o out").expect(0);
    desk.write("reject.sh", "iptables-nft -A FORWARD -j REJECT\niptables-nft -A INPUT -j REJECT\n");
    desk.write("rules.sh", "nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*/counted/'\niptables-nft-save\n");
    let lab = Running::start(&desk, "reject", "policy.toml");
    let rules = || {
        let said = lab.lab("exec office -- sh rules.sh").expect(0).out;
        said.lines().filter(|line| !line.starts_with(['#', ':'])).collect::<Vec<_>>().join("\n")
    };
    lab.lab("exec office -- sh out/office/wg0.firewall down").expect(0);
    lab.lab("exec office -- sh reject.sh").expect(0);
    let before = rules();
    assert!(!pings(&lab, "alice", "192.168.77.10"), "a REJECT is in the way");
    lab.lab("exec office -- sh out/office/wg0.firewall up").expect(0);
    assert!(pings(&lab, "alice", "192.168.77.10"), "the firewall of ours lets the overlay in\n{}", rules());
    assert!(!pings(&lab, "git", "192.168.77.10"), "and no more of it than the policy allows");
    lab.lab("exec office -- sh out/office/wg0.firewall down").expect(0);
    assert_eq!(rules(), before);
    assert!(!pings(&lab, "alice", "192.168.77.10"));
}

/// The status that a web server answers a path with, asked for exactly as it is written.
fn status(lab: &Running<'_>, from: &str, url: &str) -> String {
    let ran: Ran = lab.lab(&format!("exec {from} -- curl -s --path-as-is -o /dev/null -m 3 -w %{{http_code}} {url}"));
    ran.out
}

/// Without a master, so that nothing outlives the process that is ended; on both families at once, so that it sees
/// IPv4 addresses inside IPv6 ones.
const NGINX: &str = r#"
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    include out/git/gitlab.nginx-http.conf;
    server {
        listen [::]:80 ipv6only=off;
        include out/git/gitlab.nginx-server.conf;
        location / { return 200 "fine"; }
    }
}
"#;

const CADDY: &str = r#"{
	admin off
	auto_https off
}
import out/git/gitlab.caddy
:80 {
	route {
		import wayleave_gitlab
		respond "fine" 200
	}
}
"#;

#[test]
fn a_service_is_hidden_but_for_its_public_path() {
    if !can_run("a_service_is_hidden_but_for_its_public_path", true, &["nft", "nginx", "caddy", "curl"]) {
        return;
    }
    let desk = Desk::with_examples();
    desk.wayleave("render policy.toml -o out").expect(0);
    desk.write("nginx.conf", NGINX);
    desk.write("Caddyfile", CADDY);
    let home = desk.directory.to_str().unwrap().to_owned();
    let conf = desk.path("nginx.conf").to_str().unwrap().to_owned();
    let caddyfile = desk.path("Caddyfile").to_str().unwrap().to_owned();
    desk.program(&format!("nginx -t -p {home} -c {conf}"), "").expect(0);
    desk.program(&format!("caddy validate --adapter caddyfile --config {caddyfile}"), "").expect(0);
    let lab = Running::start(&desk, "hidden", "policy.toml");
    let servers = [
        vec!["nginx", "-p", &home, "-c", &conf],
        vec!["caddy", "run", "--adapter", "caddyfile", "--config", &caddyfile],
    ];
    let (inside, outside) = ("http://10.77.0.2/", "http://198.51.100.22/");
    for server in servers {
        let _server = Server::start(&desk, "hidden", "git", &server);
        until(server[0], "200", || status(&lab, "alice", inside));
        for (from, url, expected) in [
            ("bob", inside.to_owned(), "200"),
            ("git", inside.to_owned(), "403"),
            ("db", inside.to_owned(), "403"),
            ("db", outside.to_owned(), "403"),
            ("db", format!("{outside}.well-known/acme-challenge/token"), "200"),
            ("db", format!("{outside}.well-known/acme-challenge/../../secret"), "403"),
            ("db", format!("{outside}.well-known/acme-challenge/%2e%2e/%2e%2e/secret"), "403"),
            ("db", format!("{outside}.well-known/acme-challenge/..%2f..%2fsecret"), "403"),
            ("db", format!("{outside}secret/.well-known/acme-challenge/"), "403"),
            ("db", format!("{outside}secret?/.well-known/acme-challenge/"), "403"),
            ("db", format!("{outside}.well-known/acme-challenged"), "403"),
            ("db", format!("{outside}.well-known//acme-challenge/token"), "200"),
            ("db", format!("{outside}.well-known/"), "403"),
            ("alice", format!("{inside}secret"), "200"),
        ] {
            assert_eq!(status(&lab, from, &url), expected, "{}: {from} asks for {url}", server[0]);
        }
    }
}
