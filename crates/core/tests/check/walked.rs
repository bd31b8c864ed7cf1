//! What `check` finds by walking packets between hosts, beyond the rules over a host and its peers.

use wayleave_core::check::rules;
use wayleave_core::import::{File, read};
use wayleave_core::limits::CHECK_WALKED_HOSTS_MAX;

use super::support::{check_hosts, found};

/// A hub of two leaves, each of which sends the whole range to it. Lines of what others are told are counted from 1.
const HUB: &str = "[Interface]\nPrivateKey = @1\nAddress = 10.0.0.1/24\nListenPort = 51820\n\
    [Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.2/32\n[Peer]\nPublicKey = #3\nAllowedIPs = 10.0.0.3/32\n";

fn leaf(number: u8, allowed: &str) -> String {
    format!(
        "[Interface]\nPrivateKey = @{number}\nAddress = 10.0.0.{number}/32\n\
         [Peer]\nPublicKey = #1\nAllowedIPs = {allowed}\nEndpoint = 192.0.2.1:51820\n"
    )
}

fn hosts(hub: &str, two: &str, three: &str) -> Vec<String> {
    found(&[("hub/wg0.conf", hub), ("two/wg0.conf", &leaf(2, two)), ("three/wg0.conf", &leaf(3, three))])
}

/// Of the codes only those of walks.
fn walked(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).filter(|line| line.starts_with("WL3")).collect()
}

#[test]
fn sound_hosts_walk_well() {
    assert_eq!(walked(&hosts(HUB, "10.0.0.0/24", "10.0.0.0/24")), [""; 0]);
}

#[test]
fn a_source_that_is_refused_behind_a_relay_is_blamed_on_the_line_that_refuses() {
    // What comes from two over the hub is not allowed at three; and its answers would be sent nowhere.
    let lines = hosts(HUB, "10.0.0.0/24", "10.0.0.1/32");
    assert_eq!(walked(&lines), ["WL302 three/wg0.conf:4"]);
}

#[test]
fn a_packet_that_a_relay_has_no_peer_for_is_blamed_on_the_relay() {
    let gone = HUB.replace("AllowedIPs = 10.0.0.3/32", "AllowedIPs = 10.0.0.3/32, 10.0.7.0/24");
    let four = leaf(4, "10.0.0.0/24").replace("#1", "#3").replace("192.0.2.1", "192.0.2.3");
    let three = "[Interface]\nPrivateKey = @3\nAddress = 10.0.0.3/24\nListenPort = 51820\n\
        [Peer]\nPublicKey = #1\nAllowedIPs = 10.0.0.1/32, 10.0.0.2/32\nEndpoint = 192.0.2.1:51820\n\
        [Peer]\nPublicKey = #4\nAllowedIPs = 10.0.0.4/32\n";
    let lines = found(&[
        ("four/wg0.conf", &four),
        ("hub/wg0.conf", &gone),
        ("three/wg0.conf", three),
        ("two/wg0.conf", &leaf(2, "10.0.0.0/24")),
    ]);
    // Two sends what is for four to the hub, and four what is for two to three; neither of these passes it on.
    let blamed = walked(&lines);
    assert!(blamed.iter().any(|line| line.starts_with("WL302 hub/wg0.conf")), "{lines:?}");
}

#[test]
fn answers_that_are_lost_are_blamed_on_the_host_that_loses_them() {
    // Three allows what two sends it over the hub, and routes nothing back.
    let three = leaf(3, "10.0.0.0/24").replace("Address", "Table = off\nAddress");
    let lines = found(&[("hub/wg0.conf", HUB), ("three/wg0.conf", &three), ("two/wg0.conf", &leaf(2, "10.0.0.0/24"))]);
    assert_eq!(walked(&lines), ["WL303 three/wg0.conf:1"]);
}

#[test]
fn circles_are_found() {
    let two = |number: u8, other: u8| {
        format!(
            "[Interface]\nPrivateKey = @{number}\nAddress = 10.0.0.{number}/32\nListenPort = 51820\nPostUp = sysctl -w net.ipv4.ip_forward=1\n\
             [Peer]\nPublicKey = #{other}\nAllowedIPs = 10.0.0.0/24\nEndpoint = 192.0.2.{other}:51820\n"
        )
    };
    // Each sends to the other whatever it does not have.
    let lines = found(&[("one/wg0.conf", &two(1, 2)), ("two/wg0.conf", &two(2, 1))]);
    assert!(walked(&lines).iter().any(|line| line.starts_with("WL305")), "{lines:?}");
}

#[test]
fn what_a_peer_does_whose_file_is_missing_is_no_finding() {
    let lines = found(&[("two/wg0.conf", &leaf(2, "10.0.0.0/24")), ("three/wg0.conf", &leaf(3, "10.0.0.0/24"))]);
    assert_eq!(walked(&lines), [""; 0]);
    // A script's peers may be read in part.
    check_hosts(&[("hub/wg0.conf", HUB)], &[]);
}

#[test]
fn a_great_many_hosts_are_not_walked_in_passing() {
    let file = |at: usize| {
        let text = format!("[Interface]\nAddress = 10.{}.{}.1/32\nListenPort = 51820\n", at / 250, at % 250);
        File { path: format!("n{at}/wg0.conf"), bytes: text.into_bytes(), mode: None }
    };
    let codes = |count: usize| {
        let findings = rules::walked(&read((0..count).map(file).collect()));
        findings.sorted().iter().map(|finding| finding.kind.code()).collect::<Vec<_>>()
    };
    assert_eq!(codes(CHECK_WALKED_HOSTS_MAX + 1), ["WL541"]);
    assert_eq!(codes(3), [""; 0]);
}
