//! Whatever is read, nothing panics, takes long, or makes a network file that is refused.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use wayleave_core::import::{File, infer, read};
use wayleave_core::limits::IMPORT_MISTAKES_MAX;
use wayleave_core::names::Name;

use super::support::network;

const STARTS: &[(&str, &str)] = &[
    ("a/wg0.conf", "[Interface]\n"),
    (
        "a/dump",
        "wg0\tAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\tBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB=\t51820\toff\n",
    ),
    ("a/wg0.netdev", "[NetDev]\nName=wg0\nKind=wireguard\n[WireGuard]\n"),
    ("a/wg0.network", "[Match]\nName=wg0\n[Network]\n"),
    ("a/config.boot", "interfaces {\n wireguard wg0 {\n"),
    ("a/commands", "set interfaces wireguard wg0 mtu 1420\n"),
    ("a/run.sh", "#!/bin/sh\nwg set wg0 listen-port 1\ncat > /etc/x.conf <<EOF\n[Interface]\n"),
];

fn check(path: &str, bytes: Vec<u8>) {
    let read = read(vec![File { path: path.into(), bytes, mode: None }]);
    let inferred = infer(&read, &Name::new("noise").unwrap());
    network(&inferred.text);
}

/// Noise made of some bytes: 10 MB for every fourth of the readers, less for the others.
fn noise(turn: usize, alphabet: &[u8]) {
    let mut state = turn as u64 + 1;
    for (at, (path, start)) in STARTS.iter().enumerate() {
        let size = if at % 4 == turn { 10 << 20 } else { 1 << 18 };
        let mut bytes = start.as_bytes().to_vec();
        while bytes.len() < size {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.extend((state >> 32).to_le_bytes()[..4].iter().map(|byte| alphabet[*byte as usize % alphabet.len()]));
        }
        let began = Instant::now();
        check(path, bytes);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "{path}: {took:?}");
    }
}

#[test]
fn ten_megabytes_of_any_bytes_are_quick() {
    noise(0, &(0..=255).collect::<Vec<u8>>());
}

#[test]
fn ten_megabytes_of_sections_are_quick() {
    noise(1, b"[]=# \n");
}

#[test]
fn ten_megabytes_of_short_lines_are_quick() {
    noise(2, b"a\t\n=");
}

#[test]
fn ten_megabytes_of_braces_are_quick() {
    noise(3, b"{} \n$<");
}

#[test]
fn a_file_of_mistakes_is_given_up() {
    let text = format!("[Interface]\n{}", "nonsense\n".repeat(IMPORT_MISTAKES_MAX + 5));
    let read = read(vec![File { path: "a/wg0.conf".into(), bytes: text.into_bytes(), mode: None }]);
    assert!(read.findings.sorted().iter().any(|finding| finding.kind.code() == "WL421"));
    assert_eq!((read.findings.errors(), read.findings.warnings()), (1, IMPORT_MISTAKES_MAX));
}

fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "[Interface]",
        "[Peer]",
        "[NetDev]",
        "[WireGuardPeer]",
        "PrivateKey",
        "PublicKey",
        "AllowedIPs",
        "Endpoint",
        "Address",
        "=",
        " ",
        "\n",
        "\r\n",
        "\t",
        ",",
        "#",
        "# name:",
        "10.0.0.1/24",
        "10.0.0.2/32",
        "0.0.0.0/0",
        "::/0",
        "fd00::1/64",
        "1.2.3.4:5",
        "[::1]:5",
        "bzM6rw/efq+75VGhBgkCRChDnKfFlXQY560ejhvKCQY=",
        "9ZK9FzSzihxrRX9gktc99Oj0WFSJMa0mf33pP2LJ/lU=",
        "set interfaces wireguard wg0 peer",
        "allowed-ips",
        "endpoint",
        "{",
        "}",
        "wireguard wg0",
        "interfaces",
        "wg set wg0",
        "peer",
        "<<EOF",
        "EOF",
        "cat > x",
        "for x in $A; do",
        "done",
        "A=(",
        ")",
        "${A:-",
        "$",
        "sed -i \"/PublicKey = ${A}/a Endpoint\"",
        "\"",
        "'",
        "|",
        "é",
        "\u{feff}",
        "PostUp",
        "iptables -I FORWARD 2 -j ACCEPT",
        "25",
        "off",
        "(none)",
        "10.0.0.0/8",
        "192.168.1.0/24",
    ]);
    prop::collection::vec(word, 0..120).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_in_any_order_do_no_harm(start in 0..STARTS.len(), text in words(), other in words()) {
        let (path, head) = STARTS[start];
        let one = File { path: path.into(), bytes: format!("{head}{text}").into_bytes(), mode: Some(0o644) };
        let two = File { path: "b/wg0.conf".into(), bytes: format!("[Interface]\n{other}").into_bytes(), mode: None };
        let read = read(vec![one, two]);
        network(&infer(&read, &Name::new("noise").unwrap()).text);
    }

    #[test]
    fn bytes_do_no_harm(start in 0..STARTS.len(), tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let (path, head) = STARTS[start];
        check(path, [head.as_bytes(), &tail].concat());
    }
}
