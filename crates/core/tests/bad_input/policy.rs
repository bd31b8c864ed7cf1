//! What is wrong with policies, services and firewalls.

use super::shown::{check, check_sources};

#[test]
fn rules_name_what_exists() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\nprefixes = [\"192.168.1.0/24\"]
        [groups]\nops = [\"a\", \"nobody\"]\na = [\"a\"]
        [[allow]]\nfrom = [\"opps\"]\nto = [\"site:b\"]\nports = [\"tcp/99999\", \"sctp\"]
        [services.web]\non = [\"site:a\"]\nports = [\"tcp/80-70\"]",
        r#"
        error WL019 n:11:10 "tcp/99999" is no kind of traffic => Write tcp/443, udp/53, tcp/8000-8100, tcp, udp or icmp.
        error WL019 n:11:23 "sctp" is no kind of traffic => Write tcp/443, udp/53, tcp/8000-8100, tcp, udp or icmp.
        error WL019 n:14:10 "tcp/80-70" is no kind of traffic => Write tcp/443, udp/53, tcp/8000-8100, tcp, udp or icmp.
        error WL102 n:6:13 there is no node, client, region or group "nobody" => Add it, or name an existing node, client, region or group.
        error WL101 n:7:1 node a and group a have the same name (n:2:8 also used here) => Give one of them another name.
        error WL102 n:9:9 there is no node, client, region or group "opps" => Did you mean "ops"?
        error WL102 n:10:7 there is no site "b" => Did you mean "a"?
        error WL146 n:13:6 service web can't be on site a: services are on nodes => Name nodes in on.
        "#,
    );
}

#[test]
fn firewalls_are_for_hosts_that_can_have_them() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\nfirewall = \"none\"\noutside = \"closed\"
        [nodes.b]\nplatform = \"edgeos\"\nfirewall = \"iptables\"
        [nodes.c]\nwireguard_from = []\nendpoint = \"192.0.2.3\"
        [clients.d]\nvia = [\"c\"]
        [[allow]]\nfrom = [\"*\"]\nto = [\"a\"]",
        r#"
        error WL142 n:2:8 node a is closed from outside, which takes a firewall, and has none => Set firewall = "nftables", or remove the key.
        error WL141 n:8:12 node b can't have a firewall of ours: its platform takes none => Remove it, or set another platform.
        warning WL143 n:9:16 c lets only its peers' endpoints to its WireGuard port, but b, d dial in from addresses that nobody knows => Name the addresses they come from in wireguard_from, or leave it out to let everybody in.
        warning WL140 n:14:9 this rule allows nothing new: the network's policy is open => Set policy = "deny" in [network], or remove the rule.
        "#,
    );
}

#[test]
fn a_policy_that_nobody_enforces_is_said_to_be_none() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\nfirewall = \"none\"
        [nodes.b]\nplatform = \"edgeos\"
        [[isolate]]\nbetween = [[\"c\"], [\"b\"]]
        [clients.c]\nvia = [\"a\"]",
        r#"
        warning WL144 n:5:16 the policy can't be enforced at b, c: c is one of those who could get in, and no host on the way has a firewall => Give b a firewall.
        "#,
    );
}

#[test]
fn a_closed_node_that_nobody_can_log_in_to_is_warned_of() {
    check_sources(
        &[(
            "n",
            "[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/16\"]\npolicy = \"deny\"
        [nodes.a]\nendpoint = \"192.0.2.1\"\noutside = \"closed\"
        [nodes.b]\nendpoint = \"192.0.2.2\"
        [[allow]]\nfrom = [\"b\"]\nto = [\"a\"]\nports = [\"tcp/443\"]",
        )],
        r#"
        warning WL145 n:5:16 nobody could log in to a by SSH: it is closed from outside, and nobody inside may use tcp/22 => Add a service with tcp/22 and the addresses that may use it in outside, or allow it inside.
        "#,
    );
}

#[test]
fn more_kinds_of_traffic_than_a_proof_can_tell_apart_are_refused() {
    let ports: Vec<String> =
        (1..200).map(|port| format!("[[allow]]\nfrom = [\"*\"]\nto = [\"a\"]\nports = [\"tcp/{port}\"]")).collect();
    let text = format!(
        "[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/16\"]\npolicy = \"deny\"\n[nodes.a]\n{}",
        ports.join("\n")
    );
    check_sources(
        &[("n", &text)],
        r#"
        error WL120 n:6:1 129 kinds of traffic that rules tell apart are more than 128 => Use the same lists of ports in more rules.
        "#,
    );
}
