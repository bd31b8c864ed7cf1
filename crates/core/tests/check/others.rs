//! Cases of codes that no other table expects: what reading and inferring say of odd files, and what proofs show.

use wayleave_core::file::load_with;
use wayleave_core::import::{File, infer, prove_read, read};
use wayleave_core::limits::IMPORT_FILE_BYTES_MAX;
use wayleave_core::names::Name;
use wayleave_core::prove::{Device, Host, Hosts, Peer, TABLE_MAIN, reachability};

use super::support::filled;

/// Codes found when files are read and a network is inferred from them.
#[track_caller]
fn check_import(files: &[(&str, &str)], code: &str) {
    let file =
        |(path, text): &(&str, &str)| File { path: (*path).into(), bytes: filled(text).into_bytes(), mode: None };
    let read = read(files.iter().map(file).collect());
    let inferred = infer(&read, &Name::new("n").unwrap());
    let all = read.findings.sorted().into_iter().chain(inferred.findings.sorted());
    let codes: Vec<&str> = all.map(|finding| finding.kind.code()).collect();
    assert!(codes.contains(&code), "{code} is not among {codes:?}");
}

#[test]
fn odd_files_are_told_of() {
    check_import(&[("a/README", "Our network, in words.\n")], "WL415");
    check_import(
        &[(
            "a/wg0.conf",
            "[Interface]\nPrivateKey = @1\nAddress = 10.0.0.1/24, 10.0.0.2/24\n[Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.3/32\n",
        )],
        "WL416",
    );
    check_import(
        &[(
            "a/run.sh",
            "#!/bin/sh\nip link add dev wg0 type wireguard\nwg set wg0 peer $(cat peer.pub) allowed-ips 10.0.0.2/32\n",
        )],
        "WL420",
    );
    let dials = |number: u8, at: u8| {
        format!(
            "[Interface]\nPrivateKey = @{number}\nAddress = 10.0.0.{number}/24\n[Peer]\nPublicKey = #3\nAllowedIPs = 10.0.0.0/24\nEndpoint = 192.0.2.{at}:51820\n"
        )
    };
    check_import(&[("a/wg0.conf", &dials(1, 7)), ("b/wg0.conf", &dials(2, 8))], "WL417");
}

#[test]
fn hosts_that_are_apart_stay_apart() {
    let hub = "[Interface]\nPrivateKey = @1\nAddress = 10.0.0.1/24\nListenPort = 51820\n[Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.2/32\n[Peer]\nPublicKey = #3\nAllowedIPs = 10.0.0.3/32\n[Peer]\nPublicKey = #4\nAllowedIPs = 10.0.0.4/32\n";
    let leaf = |number: u8, allowed: &str| {
        format!(
            "[Interface]\nPrivateKey = @{number}\nAddress = 10.0.0.{number}/24\nListenPort = 51820\n[Peer]\nPublicKey = #1\nAllowedIPs = {allowed}\nEndpoint = 192.0.2.1:51820\n"
        )
    };
    let (two, three, four) =
        (leaf(2, "10.0.0.1/32, 10.0.0.3/32"), leaf(3, "10.0.0.0/24"), leaf(4, "10.0.0.1/32, 10.0.0.3/32"));
    check_import(&[("a/wg0.conf", hub), ("b/wg0.conf", &two), ("c/wg0.conf", &three), ("d/wg0.conf", &four)], "WL419");
}

#[test]
fn forwarding_that_nothing_switches_on_is_told_of() {
    let hub = "[Interface]\nPrivateKey = @1\nAddress = 10.0.0.1/24\nListenPort = 51820\n[Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.2/32\n[Peer]\nPublicKey = #3\nAllowedIPs = 10.0.0.3/32\n";
    let leaf = |number: u8| {
        format!(
            "[Interface]\nPrivateKey = @{number}\nAddress = 10.0.0.{number}/24\n[Peer]\nPublicKey = #1\nAllowedIPs = 10.0.0.0/24\nEndpoint = 192.0.2.1:51820\n"
        )
    };
    let files = [("a/wg0.conf", hub.to_owned()), ("b/wg0.conf", leaf(2)), ("c/wg0.conf", leaf(3))];
    let file =
        |(path, text): &(&str, String)| File { path: (*path).into(), bytes: filled(text).into_bytes(), mode: None };
    let (_, _, findings) = prove_read(&read(files.iter().map(file).collect()));
    assert!(findings.sorted().iter().any(|finding| finding.kind.code() == "WL431"), "{:?}", findings.sorted());
}

#[test]
fn what_is_too_large_is_not_read() {
    let bytes = vec![b'#'; IMPORT_FILE_BYTES_MAX + 1];
    let read = read(vec![File { path: "a/wg0.conf".into(), bytes, mode: None }]);
    assert_eq!(read.findings.sorted()[0].kind.code(), "WL421");
}

#[test]
fn facts_without_a_host_are_left_out() {
    let pair = |number: u8, other: u8| {
        format!(
            "[Interface]\nPrivateKey = @{number}\nAddress = 10.0.0.{number}/24\n[Peer]\nPublicKey = #{other}\nAllowedIPs = 10.0.0.{other}/32\nEndpoint = {other}.example:1\n"
        )
    };
    let (a, b) = (pair(1, 2), pair(2, 1));
    check_import(&[("all/a.conf", &a), ("all/b.conf", &b), ("all/sysctl.txt", "net.ipv4.ip_forward = 0\n")], "WL538");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let loaded = load_with("n.toml", |_| Ok(b"# \xff".to_vec()));
    assert_eq!(loaded.findings.sorted()[0].kind.code(), "WL003");
}

/// A host's address and its peers.
type Told<'t> = (&'t str, &'t [(u32, &'t str)]);

/// Hosts by address and peers: which host, and what is allowed. All dial each other, and pass packets on or don't.
#[track_caller]
fn check_proof(hosts: &[Told<'_>], forwards: bool, expected: &[&str]) {
    let host = |(at, (address, peers)): (usize, &Told<'_>)| Host {
        name: format!("h{at}"),
        addresses: vec![address.parse().unwrap()],
        devices: vec![Device {
            name: "wg0".into(),
            routed_in: Some(TABLE_MAIN),
            peers: peers
                .iter()
                .map(|(to, allowed)| Peer {
                    to: Some((*to, 0)),
                    dials: true,
                    allowed: allowed.split(' ').map(|prefix| prefix.parse().unwrap()).collect::<Vec<_>>().into(),
                    written: None,
                })
                .collect(),
            ..Device::default()
        }],
        forwards_v4: forwards,
        ..Host::default()
    };
    let mut hosts = Hosts { hosts: hosts.iter().enumerate().map(host).collect(), ..Hosts::default() };
    hosts.name_ends();
    let findings = reachability(hosts).findings();
    let codes: Vec<&str> = findings.sorted().iter().map(|finding| finding.kind.code()).collect();
    for code in expected {
        assert!(codes.contains(code), "{code} is not among {codes:?}");
    }
}

#[test]
fn proofs_show_what_packets_do() {
    check_proof(
        &[
            ("10.0.0.1", &[(1, "10.0.0.0/24")]),
            ("10.0.0.2", &[(0, "10.0.0.1/32"), (2, "10.0.0.3/32")]),
            ("10.0.0.3", &[(1, "10.0.0.2/32")]),
        ],
        true,
        &["WL302"],
    );
    let circle: [Told<'_>; 3] =
        [("10.0.0.1", &[(1, "10.0.0.0/24")]), ("10.0.0.2", &[(0, "10.0.0.0/24")]), ("10.0.0.3", &[])];
    check_proof(&circle, true, &["WL305"]);
    check_proof(
        &[
            ("10.0.0.1", &[(1, "10.0.0.0/24")]),
            ("10.0.0.2", &[(0, "10.0.0.1/32")]),
            ("10.0.0.2", &[(0, "10.0.0.1/32")]),
        ],
        true,
        &["WL306"],
    );
    check_proof(&[("10.0.0.1", &[(1, "10.0.0.0/24")]), ("10.0.0.2", &[(0, "10.0.0.1/32")])], false, &["WL308"]);
}
