//! Rendered firewalls with the real kernel, among rules of others: what they let through, and that they go without a trace.
//!
//! Before anything of ours, the gateway has rules of its own: none, a REJECT at the end, chains as Docker makes them with
//! published ports, tables of nftables. Every way is asked for in both families; what is not the firewall's to decide is to
//! be as it was.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;
#[path = "firewall/place.rs"]
mod place;

use std::process::{Command, Stdio};
use std::sync::Arc;

use bed::turn;
use place::{Ask, Place};
use wayleave_core::file::load_with;
use wayleave_core::names::Name;
use wayleave_core::network::resolve::resolve;
use wayleave_core::plan::{Ledger, LinkStates, NodePlan, plan};
use wayleave_core::render::firewall_script;

const NETWORK: &str = r#"
[network]
name = "fw"
prefixes = ["10.9.0.0/24", "fd09::/64"]
policy = "deny"
[nodes.gw]
entry = true
outside = "OUTSIDE"
endpoint = "192.0.2.1"
addresses = ["10.9.0.1", "fd09::1"]
prefixes = ["192.168.7.0/24", "fd07::/64"]
masquerade = ["v4", "v6"]
wireguard_from = ["192.0.2.7/32", "2001:db8::7/128"]
firewall = "FORM"
[clients.alice]
addresses = ["10.9.0.129", "fd09::129"]
[clients.bob]
addresses = ["10.9.0.130", "fd09::130"]
[[allow]]
from = ["alice"]
to = ["site:gw"]
ports = ["tcp/80"]
[[allow]]
from = ["alice"]
to = ["gw"]
ports = ["tcp/2022", "tcp/8080"]
[[allow]]
from = ["site:gw"]
to = ["alice"]
ports = ["tcp/5000"]
[services.web]
on = ["gw"]
ports = ["tcp/8090"]
from = ["alice"]
outside = ["192.0.2.7/32", "2001:db8::7/128"]
"#;

/// What listens, each on all addresses.
const LISTENING: [(&str, u16); 9] = [
    ("host", 80),
    ("host", 81),
    ("gw", 2022),
    ("gw", 2023),
    ("gw", 8090),
    ("alice", 22),
    ("alice", 5000),
    ("container", 80),
    ("stranger", 4000),
];

fn gateway(form: &str, outside: &str) -> NodePlan {
    let text = NETWORK.replace("FORM", form).replace("OUTSIDE", outside);
    let loaded = load_with("fw.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let findings = format!("{:?} {:?}", loaded.findings.sorted(), resolution.findings.sorted());
    let network = resolution.network.unwrap_or_else(|| panic!("{findings}"));
    let (plan, ..) = plan(Arc::new(network), &Ledger::default(), &LinkStates::default());
    plan.of(plan.find(&Name::new("gw").unwrap()).unwrap())
}

/// Rules of others.
struct Others {
    name: &'static str,
    /// The script that makes them.
    script: &'static str,
    /// Whether they keep a road warrior out.
    keeps_out: bool,
    /// Whether they publish ports of a container.
    publishes: bool,
}

const NOTHING: Others = Others { name: "nothing", script: "true", keeps_out: false, publishes: false };

const REJECT: Others = Others {
    name: "a REJECT at the end",
    script: "for command in iptables-nft ip6tables-nft; do
            for chain in INPUT FORWARD OUTPUT; do
                $command -A $chain -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
            done
            $command -A INPUT -i lo -j ACCEPT
            $command -A OUTPUT -o lo -j ACCEPT
            $command -A FORWARD -j REJECT
            $command -A INPUT -j REJECT
            $command -A OUTPUT -o wg0 -j REJECT
        done",
    keeps_out: true,
    publishes: false,
};

const OLD_REJECT: Others = Others {
    name: "a REJECT of the old iptables",
    script: "for command in iptables-legacy ip6tables-legacy; do
            $command -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
            $command -A FORWARD -j REJECT
            $command -A INPUT -i lo -j ACCEPT
            $command -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
            $command -A INPUT -p ipv6-icmp -j ACCEPT
            $command -A INPUT -j REJECT
        done",
    keeps_out: true,
    publishes: false,
};

/// A host that has no other iptables than the old one; its table of translations was used before.
const OLD_IPTABLES: Others = Others {
    name: "a REJECT where iptables is the old one",
    script: "mkdir -p \"$WAYLEAVE_RUN_DIRECTORY/bin\"
        for command in iptables ip6tables; do
            for program in $command $command-save $command-restore; do
                ln -s \"$(command -v xtables-legacy-multi)\" \"$WAYLEAVE_RUN_DIRECTORY/bin/$program\"
            done
            $command-legacy -t nat -A POSTROUTING -o nowhere0 -j MASQUERADE
            $command-legacy -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
            $command-legacy -A FORWARD -j REJECT
            $command-legacy -A INPUT -i lo -j ACCEPT
            $command-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
            $command-legacy -A INPUT -p ipv6-icmp -j ACCEPT
            $command-legacy -A INPUT -j REJECT
        done",
    keeps_out: true,
    publishes: false,
};

const DOCKER: Others = Others {
    name: "Docker's chains",
    script: "docker() {
            command=$1 address=$2 net=$3 to=$4
            $command -N DOCKER-USER; $command -N DOCKER; $command -N DOCKER-ISOLATION-STAGE-1
            $command -P FORWARD DROP
            $command -A FORWARD -j DOCKER-USER
            $command -A FORWARD -j DOCKER-ISOLATION-STAGE-1
            $command -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
            $command -A FORWARD -o docker0 -j DOCKER
            $command -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
            $command -A FORWARD -i docker0 -o docker0 -j ACCEPT
            $command -A DOCKER -d $address ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
            $command -A DOCKER-USER -j RETURN
            $command -A DOCKER-ISOLATION-STAGE-1 -j RETURN
            $command -t nat -N DOCKER
            $command -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
            $command -t nat -A POSTROUTING -s $net ! -o docker0 -j MASQUERADE
            for port in 8080 8091; do
                $command -t nat -A DOCKER ! -i docker0 -p tcp --dport $port -j DNAT --to-destination $to:80
            done
        }
        docker iptables-nft 172.17.0.2/32 172.17.0.0/16 172.17.0.2
        docker ip6tables-nft fd17::2/128 fd17::/64 '[fd17::2]'",
    keeps_out: true,
    publishes: true,
};

const DROPPING_TABLE: Others = Others {
    name: "a table that drops",
    script: "nft -f - <<'END'
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; meta l4proto icmpv6 accept;
    }
    chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; }
    chain output { type filter hook output priority 0; policy accept; }
}
END",
    keeps_out: true,
    publishes: false,
};

/// Named as the chains of iptables and not such that iptables could read them.
const FOREIGN_FILTER: Others = Others {
    name: "a table of nftables named as that of iptables",
    script: "for family in ip ip6; do nft -f - <<END
table $family filter {
    chain INPUT { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; meta l4proto icmpv6 accept; tcp dport { 22, 25 } accept; }
    chain FORWARD { type filter hook forward priority 0; policy drop; tcp dport { 22, 25 } accept; ct state established,related accept; }
}
END
done",
    keeps_out: true,
    publishes: false,
};

const LATE_TABLE: Others = Others {
    name: "a table that rejects later",
    script: "nft -f - <<'END'
table inet late {
    chain last {
        type filter hook forward priority 50; policy accept; ct state established accept
        ip saddr 10.0.0.0/8 reject
        ip6 saddr fd09::/64 reject
    }
}
END",
    keeps_out: true,
    publishes: false,
};

/// An administrator's: among them rules that are also ours, which are to stay.
const STRICT_UFW: Others = Others {
    name: "a REJECT of ufw",
    script: "ufw default reject incoming; ufw default reject routed
        ufw allow 22/tcp comment mine
        ufw allow 51820/udp
        ufw allow proto tcp from 192.0.2.7 to any port 8090
        ufw reject from 10.9.0.0/16
        ufw route reject from 10.9.0.0/16",
    keeps_out: true,
    publishes: false,
};

const CLOSED_UFW: Others = Others { name: "ufw alone", keeps_out: true, ..NOTHING };

/// What the policy says, whatever others say.
const DECIDED: [(Ask, bool); 16] = [
    (Ask("alice", "host", 80), true),
    (Ask("alice", "host", 81), false),
    (Ask("alice", "gw", 2022), true),
    (Ask("alice", "gw", 2023), false),
    (Ask("alice", "gw", 8090), true),
    // The gateway's address in its LAN is one of the site's.
    (Ask("alice", "gw-lan", 2022), false),
    (Ask("alice", "gw-wan", 2022), false),
    (Ask("bob", "host", 80), false),
    (Ask("bob", "gw", 2022), false),
    (Ask("bob", "gw", 8090), false),
    (Ask("host", "alice", 5000), true),
    (Ask("host", "alice", 22), false),
    (Ask("gw", "alice", 5000), false),
    (Ask("gw", "gw", 2023), true),
    (Ask("peer", "gw-wan", 8090), true),
    (Ask("stranger", "gw-wan", 8090), false),
];

/// What it says of ports that a container has published.
const PUBLISHED: [(Ask, bool); 4] = [
    (Ask("alice", "gw", 8080), true),
    (Ask("alice", "gw", 8091), false),
    (Ask("bob", "gw", 8080), false),
    (Ask("bob", "gw-wan", 8080), false),
];

/// What is others' to decide.
const UNDECIDED: [Ask; 6] = [
    Ask("stranger", "gw-wan", 2023),
    Ask("peer", "gw-wan", 2023),
    Ask("stranger", "gw-wan", 8080),
    Ask("host", "gw-lan", 2022),
    Ask("gw", "host", 81),
    Ask("gw", "stranger", 4000),
];

/// Brings a firewall of a form up among rules of others, asks who gets where, takes it down and compares.
fn check(form: &str, others: &Others) {
    let about = format!("{form} among {}", others.name);
    let script = firewall_script(&gateway(form, "open")).unwrap();
    let place = placed(form, others);
    let before = place.rules();
    let undecided = place.answers(&UNDECIDED);
    let road_warrior = |when: &str| {
        for (asked, answer) in place.answers(&[Ask("alice", "host", 80)]) {
            assert_eq!(answer, !others.keeps_out, "{about}, {when}: {asked}");
        }
    };
    road_warrior("before");
    place.sh(&script.text, "up");
    let once = place.rules();
    assert_ne!(once, before, "{about}");
    place.sh(&script.text, "up");
    unchanged(&once, &place.rules(), &format!("{about}: the second time"));
    let published: &[_] = if others.publishes { &PUBLISHED } else { &[] };
    obeyed(&place, &about, &[&DECIDED, published].concat());
    assert_eq!(place.answers(&UNDECIDED), undecided, "{about}: what is not the firewall's to decide\n{once}");
    assert_eq!(place.reaches_wireguard("peer"), [true; 2], "{about}\n{once}");
    assert_eq!(place.reaches_wireguard("stranger"), [false; 2], "{about}\n{once}");
    place.sh(&script.text, "down");
    unchanged(&before, &place.rules(), &format!("{about}: something is left"));
    place.sh(&script.text, "down");
    unchanged(&before, &place.rules(), &format!("{about}: down a second time"));
    road_warrior("after");
}

/// Two lists of rules are the same; if not, only what differs is shown.
fn unchanged(before: &str, after: &str, about: &str) {
    let only = |one: &str, other: &str, sign: &str| -> String {
        let others: Vec<&str> = other.lines().collect();
        one.lines().filter(|line| !others.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    assert!(before == after, "{about}\n{}{}", only(before, after, "-"), only(after, before, "+"));
}

/// The gateway with others' rules.
fn placed(form: &str, others: &Others) -> Place {
    let place = Place::build(&LISTENING);
    if form == "ufw" {
        place.enable_ufw();
    }
    place.sh(&format!("set -e\n{}", others.script), "");
    place
}

/// Everybody gets what the policy says, and hosts of the site are asked by their gateway only.
fn obeyed(place: &Place, about: &str, decided: &[(Ask, bool)]) {
    let _ = place.askers("host", 80);
    let asks: Vec<Ask> = decided.iter().map(|(ask, _)| *ask).collect();
    let expected = decided.iter().flat_map(|(_, expected)| [expected, expected]);
    let wrong: Vec<_> = place.answers(&asks).into_iter().zip(expected).filter(|((_, is), said)| is != *said).collect();
    assert!(wrong.is_empty(), "{about}:\n{}\n{wrong:#?}", place.rules());
    assert_eq!(place.askers("host", 80), ["192.168.7.1", "fd07::1"], "{about}: who asks the host");
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
    if can_run(test, &["ip", "nft", "iptables-nft", "iptables-legacy"]) {
        let all = [&NOTHING, &REJECT, &OLD_REJECT, &DOCKER, &DROPPING_TABLE, &FOREIGN_FILTER, &LATE_TABLE];
        all.into_iter().for_each(|others| check("nftables", others));
    }
}

#[test]
fn chains_of_our_own_work_among_rules_of_others_and_leave_no_trace() {
    let test = "firewall::chains_of_our_own_work_among_rules_of_others_and_leave_no_trace";
    let Some(_turn) = turn(test) else { return };
    if can_run(test, &["ip", "nft", "iptables-nft", "iptables", "xtables-legacy-multi"]) {
        // Chains of iptables stand beside its own rules only; what other tables drop they can't let in.
        [&NOTHING, &REJECT, &OLD_IPTABLES, &DOCKER].into_iter().for_each(|others| check("iptables", others));
    }
}

/// Among rules of others on a host with ufw, whose commands take their time.
fn check_ufw(test: &str, others: &Others) {
    let Some(_turn) = turn(test) else { return };
    if can_run(test, &["ip", "nft", "iptables-nft", "iptables", "ufw", "unshare", "mount"]) {
        check("ufw", others);
    }
}

#[test]
fn ufw_is_told_what_to_let_in() {
    check_ufw("firewall::ufw_is_told_what_to_let_in", &CLOSED_UFW);
}

#[test]
fn ufw_keeps_its_administrators_rules() {
    check_ufw("firewall::ufw_keeps_its_administrators_rules", &STRICT_UFW);
}

#[test]
fn ufw_is_told_beside_dockers_chains_too() {
    check_ufw("firewall::ufw_is_told_beside_dockers_chains_too", &DOCKER);
}

#[test]
fn a_closed_host_can_be_found_and_pinged_and_not_more() {
    let test = "firewall::a_closed_host_can_be_found_and_pinged_and_not_more";
    let Some(_turn) = turn(test) else { return };
    if !can_run(test, &["ip", "nft", "iptables-nft", "iptables"]) {
        return;
    }
    for (form, others) in [("nftables", &NOTHING), ("nftables", &DOCKER), ("iptables", &NOTHING), ("iptables", &DOCKER)]
    {
        let about = format!("{form} among {}", others.name);
        let script = firewall_script(&gateway(form, "closed")).unwrap();
        let place = placed(form, others);
        place.sh(&script.text, "up");
        let more = [
            (Ask("stranger", "gw-wan", 2023), false),
            (Ask("peer", "gw-wan", 2023), false),
            (Ask("stranger", "gw-wan", 8080), false),
            (Ask("host", "gw-lan", 2022), true),
            (Ask("gw", "host", 81), true),
            (Ask("gw", "stranger", 4000), true),
        ];
        obeyed(&place, &about, &[&DECIDED[..], &more].concat());
        assert_eq!(place.reaches_wireguard("peer"), [true; 2], "{about}");
        assert_eq!(place.reaches_wireguard("stranger"), [false; 2], "{about}");
        assert_eq!(place.pings_afresh("stranger"), [true; 2], "{about}");
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
    if !can_run(test, &["ip", "nft", "iptables-nft", "iptables-legacy"]) {
        return;
    }
    let place = Place::build(&[]);
    let checked = |command: &str, text: &str| place.sh(&format!("{command} <<'WHOLE'\n{text}WHOLE"), "");
    for (form, outside) in [("nftables", "open"), ("nftables", "closed"), ("ufw", "closed")] {
        let script = firewall_script(&gateway(form, outside)).unwrap();
        let texts = here_documents(&script.text);
        assert_eq!(texts.len(), 1, "{form}");
        checked("nft -c -f -", texts[0]);
    }
    for outside in ["open", "closed"] {
        let script = firewall_script(&gateway("iptables", outside)).unwrap();
        let texts = here_documents(&script.text);
        assert_eq!(texts.len(), 2);
        for kind in ["nft", "legacy"] {
            checked(&format!("iptables-{kind}-restore --noflush --test"), texts[0]);
            checked(&format!("ip6tables-{kind}-restore --noflush --test"), texts[1]);
        }
    }
}
