//! Rules over imported hosts: a text, and the codes found in it with their lines.

use super::support::{check, check_hosts};

const PAIR_B: &str = "[Interface]\nPrivateKey = @2\nAddress = 10.0.0.2/24\nListenPort = 51820\n[Peer]\nPublicKey = #1\nAllowedIPs = 10.0.0.1/32\nPersistentKeepalive = 25\n";

/// Two hosts without a fault; the first dials the second.
const PAIR_A: &str = "[Interface]\nPrivateKey = @1\nAddress = 10.0.0.1/24\nListenPort = 51820\n[Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.2/32\nEndpoint = 192.0.2.2:51820\n";

#[track_caller]
fn check_pair(a: &str, b: &str, expected: &[&str]) {
    check_hosts(&[("a/wg0.conf", a), ("b/wg0.conf", b)], expected);
}

#[test]
fn two_sound_hosts_are_found_sound() {
    check_pair(PAIR_A, PAIR_B, &[]);
}

#[test]
fn both_sides_must_know_each_other() {
    check_pair(
        PAIR_A,
        "[Interface]\nPrivateKey = @2\nAddress = 10.0.0.2/24\nListenPort = 51820\n",
        &["WL503 a/wg0.conf:5"],
    );
    let elsewhere = PAIR_B.replace("10.0.0.1/32", "10.0.0.9/32");
    check_pair(PAIR_A, &elsewhere, &["WL504 b/wg0.conf:7", "WL505 b/wg0.conf:1"]);
    check_pair(&PAIR_A.replace("Endpoint", "#Endpoint"), PAIR_B, &["WL506 a/wg0.conf:5"]);
}

#[test]
fn ports_that_are_dialled_are_listened_on() {
    check_pair(PAIR_A, &PAIR_B.replace("ListenPort = 51820\n", ""), &["WL510 b/wg0.conf:1"]);
    check_pair(PAIR_A, &PAIR_B.replace("51820", "51821"), &["WL511 a/wg0.conf:8"]);
}

#[test]
fn a_host_without_its_key_is_known_by_its_address() {
    let a = PAIR_A.replace("@1", "<private key>");
    check_pair(&a, PAIR_B, &[]);
    check_pair(
        &a,
        "[Interface]\nPrivateKey = @2\nAddress = 10.0.0.2/24\nListenPort = 51820\n",
        &["WL503 a/wg0.conf:5"],
    );
}

#[test]
fn exceptions_are_noted_and_dead_ones_warned_of() {
    let hub = "[Peer]\nPublicKey = #5\nAllowedIPs = 10.0.0.0/16\nEndpoint = 192.0.2.5:51820\n";
    check_pair(&format!("{PAIR_A}{hub}"), PAIR_B, &["WL501 a/wg0.conf:7"]);
    let alone = "[Interface]\nPrivateKey = @2\nAddress = 10.0.0.2/24\nListenPort = 51820\n";
    check_pair(&format!("{PAIR_A}{hub}"), alone, &["WL502 a/wg0.conf:7", "WL503 a/wg0.conf:5"]);
}

#[test]
fn pairs_that_were_forgotten_are_named() {
    let hub = "[Interface]\nPrivateKey = @1\nAddress = 10.0.0.1/24\nListenPort = 51820\n[Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.2/32\n[Peer]\nPublicKey = #3\nAllowedIPs = 10.0.0.3/32\n";
    let leaf = |number: u8, allowed: &str| {
        format!(
            "[Interface]\nPrivateKey = @{number}\nAddress = 10.0.0.{number}/24\n[Peer]\nPublicKey = #1\nAllowedIPs = {allowed}\nEndpoint = 192.0.2.1:51820\n"
        )
    };
    let check = |allowed: &str, expected: &[&str]| {
        let (two, three) = (leaf(2, allowed), leaf(3, allowed));
        check_hosts(&[("a/wg0.conf", hub), ("b/wg0.conf", &two), ("c/wg0.conf", &three)], expected);
    };
    check("10.0.0.1/32", &[]);
    check("10.0.0.0/24", &["WL535 a/wg0.conf:1"]);
    check("10.0.0.1/32, 10.0.9.0/24", &["WL505 b/wg0.conf:1", "WL515 a/wg0.conf:1", "WL519 a/wg0.conf:1"]);
}

#[test]
fn ranges_with_a_reputation_are_told_of() {
    let client = |address: &str, allowed: &str| {
        format!(
            "[Interface]\nAddress = {address}\n[Peer]\nPublicKey = #2\nAllowedIPs = {allowed}\nEndpoint = 192.0.2.2:51820\n"
        )
    };
    check(&client("10.0.0.1/24", "192.168.1.0/24"), &["WL119 :5"]);
    check(&client("10.0.0.1/24", "192.168.0.0/16"), &["WL119 :5"]);
    check(&client("172.17.0.5/24", "172.17.0.0/24"), &["WL119 :2"]);
    check(&client("100.64.0.5/24", "100.64.0.0/24"), &["WL119 :2"]);
    check(&client("11.0.0.5/24", "11.0.0.0/24"), &["WL522 :2", "WL522 :5"]);
    check(&client("10.0.0.5/24", "0.0.0.0/1, 128.0.0.0/1, ::/0"), &["WL521 :5"]);
}

#[test]
fn families_that_leak_are_told_of() {
    let client = |address: &str, allowed: &str| {
        format!(
            "[Interface]\nAddress = {address}\n[Peer]\nPublicKey = #2\nAllowedIPs = {allowed}\nEndpoint = 192.0.2.2:51820\n"
        )
    };
    check(&client("10.0.0.5/32", "0.0.0.0/0"), &["WL520 :5"]);
    check(&client("10.0.0.5/32", "0.0.0.0/1, 128.0.0.0/1"), &["WL520 :5"]);
    check(&client("10.0.0.5/32, fd00::5/128", "0.0.0.0/0, ::/0"), &[]);
    check(&client("10.0.0.5/32", "0.0.0.0/0, ::/0"), &["WL521 :5"]);
    // As with BGP: everything is allowed and nothing is routed.
    check(&client("10.0.0.5/32\nTable = off", "0.0.0.0/0"), &[]);
}

#[test]
fn endpoints_are_dialled_by_those_who_can() {
    let peers = "[Interface]\nAddress = 10.0.0.5/32\n[Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.2/32\nEndpoint = 100.64.3.3:51820\n\
                 [Peer]\nPublicKey = #3\nAllowedIPs = 10.0.0.3/32\nEndpoint = 100.64.3.3:51820\n";
    check(peers, &["WL127 :10", "WL509 :10", "WL509 :6"]);
    let named = "[Interface]\nAddress = 10.0.0.5/32\nDNS = 10.0.0.1\n[Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.0/24\nEndpoint = vpn.example.org:51820\n";
    check(named, &["WL525 :7"]);
    check(&named.replace("vpn.example.org", "192.0.2.7"), &[]);
    check(&named.replace("DNS = 10.0.0.1", "DNS = 9.9.9.9"), &[]);
}

#[test]
fn one_host_has_each_port_once() {
    let device = |address: &str, number: u8| {
        format!("[Interface]\nPrivateKey = @{number}\nAddress = {address}\nListenPort = 51820\n")
    };
    let files =
        [("etc/wireguard/wg0.conf", &*device("10.0.0.1/24", 1)), ("etc/wireguard/wg1.conf", &device("10.1.0.1/24", 2))];
    check_hosts(&files, &["WL530 etc/wireguard/wg1.conf:4"]);
}

#[test]
fn names_that_break_something_are_told_of() {
    let text = "[Interface]\nAddress = 10.0.0.5/32\n[Peer]\n# friendly_name = Bob\"s \"laptop\nPublicKey = #2\nAllowedIPs = 10.0.0.2/32\n";
    check(text, &["WL531 :4"]);
    let sound = "[Interface]\nAddress = 10.0.0.5/32\n";
    check_hosts(&[("etc/wireguard/headquarters-vpn.conf", sound)], &["WL532 :1"]);
    check_hosts(&[("hosts/headquarters-vpn.conf", sound)], &[]);
}
