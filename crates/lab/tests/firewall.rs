//! Rendered firewalls with the real kernel, among rules of others: what they let through, and that they go without a trace.
//!
//! A gateway whose overlay device is a bridge named as WireGuard's would be, two clients on it, and a host on the LAN
//! behind. Before anything of ours, the gateway has rules of its own: none, a REJECT at the end, chains as Docker makes
//! them, a table of nftables that drops.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bed::turn;
use wayleave_core::file::load_with;
use wayleave_core::names::Name;
use wayleave_core::network::resolve::resolve;
use wayleave_core::plan::{Ledger, LinkStates, NodePlan, plan};
use wayleave_core::render::firewall_script;
use wayleave_lab::host::{Namespace, Netlink, Route};

/// How long an answer may take; what is dropped takes as long.
const ANSWER_MAX: Duration = Duration::from_millis(400);

const NETWORK: &str = r#"
[network]
name = "fw"
prefixes = ["10.9.0.0/24"]
policy = "deny"
[nodes.gw]
entry = true
endpoint = "192.0.2.1"
address = "10.9.0.1"
prefixes = ["192.168.7.0/24"]
masquerade = "v4"
firewall = "FORM"
[clients.alice]
address = "10.9.0.129"
[clients.bob]
address = "10.9.0.130"
[[allow]]
from = ["alice"]
to = ["site:gw"]
ports = ["tcp/80"]
[[allow]]
from = ["alice"]
to = ["gw"]
ports = ["tcp/2022"]
"#;

fn gateway(form: &str) -> NodePlan {
    let text = NETWORK.replace("FORM", form);
    let loaded = load_with("fw.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let network = resolution.network.unwrap_or_else(|| panic!("{:?}", resolution.findings.sorted()));
    let (plan, ..) = plan(Arc::new(network), &Ledger::default(), &LinkStates::default());
    plan.of(plan.find(&Name::new("gw").unwrap()).unwrap())
}

struct Place {
    gw: Namespace,
    alice: Namespace,
    bob: Namespace,
    host: Namespace,
}

impl Place {
    fn build() -> Place {
        let made = || Namespace::create().unwrap();
        let place = Place { gw: made(), alice: made(), bob: made(), host: made() };
        let join = |device: &str, other: &Namespace| {
            place.gw.run(|| Netlink::open().unwrap().add_veth(device, "eth0", Some(other.as_fd())).unwrap()).unwrap();
        };
        join("to-alice", &place.alice);
        join("to-bob", &place.bob);
        join("lan0", &place.host);
        place
            .gw
            .run(|| {
                let mut netlink = Netlink::open().unwrap();
                netlink.add_bridge("wg0").unwrap();
                for device in ["to-alice", "to-bob"] {
                    netlink.enslave(device, "wg0").unwrap();
                    netlink.set_up(device).unwrap();
                }
                for (device, address) in [("wg0", "10.9.0.1/24"), ("lan0", "192.168.7.1/24")] {
                    netlink.set_up(device).unwrap();
                    netlink.add_address(device, address.parse().unwrap()).unwrap();
                }
            })
            .unwrap();
        for (namespace, address, gateway) in [
            (&place.alice, "10.9.0.129/24", "10.9.0.1"),
            (&place.bob, "10.9.0.130/24", "10.9.0.1"),
            (&place.host, "192.168.7.10/24", "192.168.7.1"),
        ] {
            namespace
                .run(|| {
                    let mut netlink = Netlink::open().unwrap();
                    netlink.set_up("eth0").unwrap();
                    netlink.add_address("eth0", address.parse().unwrap()).unwrap();
                    let everything = "0.0.0.0/0".parse().unwrap();
                    let gateway = Some(gateway.parse().unwrap());
                    netlink.replace_route(&Route { gateway, ..Route::new(everything, "eth0") }).unwrap();
                })
                .unwrap();
        }
        place
    }

    /// Runs a script of `sh` on the gateway and returns what it says.
    fn sh(&self, script: &str, argument: &str) -> String {
        let inside = self.gw.clone();
        let mut command = Command::new("sh");
        command.args(["-c", script, "wg0.firewall", argument]).stdin(Stdio::null());
        command.env("WAYLEAVE_RUN_DIRECTORY", env!("CARGO_TARGET_TMPDIR"));
        // SAFETY: between fork and exec only setns(2) is called.
        unsafe { command.pre_exec(move || inside.enter_for_good()) };
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// All rules that the gateway has, counters aside.
    fn rules(&self) -> String {
        let script = "nft list ruleset 2>/dev/null | sed 's/packets [0-9]* bytes [0-9]*/counted/'
            for command in iptables-nft-save ip6tables-nft-save; do $command 2>/dev/null; done | grep -v '^#'
            [ -s /proc/net/ip_tables_names ] && iptables-legacy-save | grep -v '^#' | sed 's/ \\[[0-9:]*\\]//'
            exit 0";
        let said = self.sh(script, "");
        said.lines().map(|line| line.split(" [").next().unwrap_or(line).to_owned() + "\n").collect()
    }
}

/// Whether a connection comes about.
fn connects(from: &Namespace, to: &str) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    from.run(|| TcpStream::connect_timeout(&to, ANSWER_MAX).is_ok()).unwrap()
}

fn listen(at: &Namespace, port: u16) -> TcpListener {
    at.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap()).unwrap()
}

/// Rules of others, with whether they keep a road warrior out.
const OTHERS: [(&str, &str, bool); 6] = [
    ("nothing", "true", false),
    (
        "a REJECT at the end",
        "iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
        iptables-nft -A FORWARD -j REJECT
        iptables-nft -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
        iptables-nft -A INPUT -j REJECT",
        true,
    ),
    (
        "a REJECT of the old iptables",
        "iptables-legacy -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
        iptables-legacy -A FORWARD -j REJECT
        iptables-legacy -A INPUT -j REJECT",
        true,
    ),
    (
        "Docker's chains",
        "iptables-nft -N DOCKER-USER; iptables-nft -N DOCKER; iptables-nft -N DOCKER-ISOLATION-STAGE-1
        iptables-nft -P FORWARD DROP
        iptables-nft -A FORWARD -j DOCKER-USER
        iptables-nft -A FORWARD -j DOCKER-ISOLATION-STAGE-1
        iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        iptables-nft -A FORWARD -o docker0 -j DOCKER
        iptables-nft -A FORWARD -i docker0 -j ACCEPT
        iptables-nft -A DOCKER-USER -j RETURN
        iptables-nft -A DOCKER-ISOLATION-STAGE-1 -j RETURN
        iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        true,
    ),
    (
        "a table that drops",
        "nft -f - <<'END'
table inet filter {
    chain input { type filter hook input priority 0; policy drop; ct state established,related accept; }
    chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; }
    chain output { type filter hook output priority 0; policy accept; }
}
END",
        true,
    ),
    (
        "a table that rejects later",
        "nft -f - <<'END'
table ip late {
    chain last { type filter hook forward priority 50; policy accept; ct state established accept; ip saddr 10.0.0.0/8 reject; }
}
END",
        true,
    ),
];

/// Brings a firewall of a form up among rules of others, asks who gets where, takes it down and compares.
fn check(form: &str, (name, others, keeps_out): (&str, &str, bool)) {
    let script = firewall_script(&gateway(form)).unwrap();
    let place = Place::build();
    let _listeners =
        [listen(&place.host, 80), listen(&place.host, 81), listen(&place.gw, 2022), listen(&place.gw, 2023)];
    place.sh(&format!("set -e\n{others}"), "");
    let before = place.rules();
    let about = format!("{form} among {name}");
    assert_eq!(connects(&place.alice, "192.168.7.10:80"), !keeps_out, "{about}, before");
    place.sh(&script.text, "up");
    place.sh(&script.text, "up");
    assert_ne!(place.rules(), before, "{about}");
    for (from, namespace, to, expected) in [
        ("alice", &place.alice, "192.168.7.10:80", true),
        ("alice", &place.alice, "192.168.7.10:81", false),
        ("alice", &place.alice, "10.9.0.1:2022", true),
        ("alice", &place.alice, "10.9.0.1:2023", false),
        // The gateway's address in its LAN is one of the site's.
        ("alice", &place.alice, "192.168.7.1:2022", false),
        ("bob", &place.bob, "192.168.7.10:80", false),
        ("bob", &place.bob, "10.9.0.1:2022", false),
        ("the host", &place.host, "10.9.0.129:22", false),
    ] {
        assert_eq!(connects(namespace, to), expected, "{about}: {from} to {to}\n{}", place.rules());
    }
    place.sh(&script.text, "down");
    assert_eq!(place.rules(), before, "{about}: something is left");
    place.sh(&script.text, "down");
    assert_eq!(place.rules(), before, "{about}: a second time");
    assert_eq!(connects(&place.alice, "192.168.7.10:80"), !keeps_out, "{about}, after");
}

fn can_run(test: &str, programs: &[&str]) -> bool {
    for program in programs {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
        if found.is_ok_and(|status| status.success()) {
            continue;
        }
        let Some(list) = std::env::var_os("WAYLEAVE_NOT_RUN_FILE") else { panic!("{test} needs {program}") };
        let mut list = std::fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
        std::io::Write::write_all(&mut list, format!("lab {test}: needs {program}\n").as_bytes()).unwrap();
        return false;
    }
    true
}

#[test]
fn a_table_of_our_own_works_among_rules_of_others_and_leaves_no_trace() {
    let test = "firewall::a_table_of_our_own_works_among_rules_of_others_and_leaves_no_trace";
    let Some(_turn) = turn(test) else { return };
    if can_run(test, &["nft", "iptables-nft", "iptables-legacy"]) {
        OTHERS.into_iter().for_each(|others| check("nftables", others));
    }
}

#[test]
fn chains_of_our_own_work_among_rules_of_others_and_leave_no_trace() {
    let test = "firewall::chains_of_our_own_work_among_rules_of_others_and_leave_no_trace";
    let Some(_turn) = turn(test) else { return };
    if can_run(test, &["nft", "iptables-nft", "iptables"]) {
        // Chains of iptables stand beside its own rules only; what other tables drop they can't let in.
        [1, 3].into_iter().for_each(|at| check("iptables", OTHERS[at]));
    }
}

/// The texts between `<<'END'` and `END` of a script.
fn here_documents(script: &str) -> Vec<&str> {
    script.split("<<'END'\n").skip(1).filter_map(|rest| Some(rest.split_once("END\n")?.0)).collect()
}

#[test]
fn the_real_tools_accept_what_is_rendered() {
    let test = "firewall::the_real_tools_accept_what_is_rendered";
    let Some(_turn) = turn(test) else { return };
    if !can_run(test, &["nft", "iptables-nft", "iptables-legacy", "ufw"]) {
        return;
    }
    let place = Place::build();
    let checked = |command: &str, text: &str| place.sh(&format!("{command} <<'WHOLE'\n{text}WHOLE"), "");
    for form in ["nftables", "ufw"] {
        let script = firewall_script(&gateway(form)).unwrap();
        let texts = here_documents(&script.text);
        assert_eq!(texts.len(), 1, "{form}");
        checked("nft -c -f -", texts[0]);
    }
    let script = firewall_script(&gateway("iptables")).unwrap();
    let texts = here_documents(&script.text);
    assert_eq!(texts.len(), 2);
    for kind in ["nft", "legacy"] {
        checked(&format!("iptables-{kind}-restore --noflush --test"), texts[0]);
        checked(&format!("ip6tables-{kind}-restore --noflush --test"), texts[1]);
    }
    let script = firewall_script(&gateway("ufw")).unwrap();
    let commands: Vec<&str> = script.text.lines().filter_map(|line| line.strip_prefix("    ufw ")).collect();
    assert_eq!(commands.len(), 8);
    for command in commands {
        place.sh(&format!("ufw --dry-run {command}"), "");
    }
}
