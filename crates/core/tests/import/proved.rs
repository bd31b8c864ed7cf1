//! Foreign hosts proved as they are: the texts' set-ups with their defects, and what wg-quick, hooks and tables make of packets.

use wayleave_core::import::{Read, prove_read, read};
use wayleave_core::plan::{Ledger, LinkStates, plan};
use wayleave_core::prove::{Hosts, Proof, Verdict, reachability};

use super::round_trip::example;
use super::support::{files, key};

const EC2: &str = include_str!("fixtures/s1/ec2/wg0.conf");
const HKG: &str = include_str!("fixtures/s1/hkg/wg0.conf");
const ENTRYPOINT: &str = include_str!("fixtures/s1/entrypoint.sh");
const USER_DATA: &str = include_str!("fixtures/s1/user-data.sh");

/// Files in which `KEYn` is a private key and `PUBn` its public one.
fn keyed(list: &[(&str, &str)]) -> Read {
    let fill = |text: &str| {
        (1..10_u8).fold(text.to_owned(), |text, n| {
            text.replace(&format!("KEY{n}"), &key(n).reveal())
                .replace(&format!("PUB{n}"), &key(n).public_key().to_string())
        })
    };
    let filled: Vec<(&str, String)> = list.iter().map(|(path, text)| (*path, fill(text))).collect();
    read(files(&filled.iter().map(|(path, text)| (*path, text.as_str())).collect::<Vec<_>>()))
}

fn verdict(proof: &Proof, from: &str, to: &str) -> Verdict {
    let end = |name: &str| {
        let at = proof.hosts.ends.iter().position(|end| end.name == name);
        at.unwrap_or_else(|| panic!("no end {name} in {:?}", proof.hosts.ends))
    };
    proof.verdict(end(from), end(to))
}

#[track_caller]
fn says(read: &Read, sentence: &str) {
    let findings = prove_read(read).2;
    let all: Vec<String> = findings.sorted().iter().map(|finding| finding.kind.to_string()).collect();
    assert!(all.iter().any(|line| line.contains(sentence)), "{sentence:?} is not in {all:#?}");
}

#[track_caller]
fn is_silent(read: &Read) {
    let findings = prove_read(read).2;
    assert!(findings.is_empty(), "{:#?}", findings.sorted());
}

#[test]
fn s1_as_printed_splits_asia_from_the_rest_and_from_itself() {
    let read = read(files(&[("ec2/wg0.conf", EC2), ("hkg/wg0.conf", HKG), ("backend/entrypoint.sh", ENTRYPOINT)]));
    let (proof, model, _) = prove_read(&read);
    assert_eq!(model.unread, Vec::<String>::new());
    for a in ["nrt", "sin", "syd"] {
        assert_eq!(verdict(&proof, a, "hkg"), Verdict::Fine);
        for b in ["nrt", "sin", "syd"].into_iter().filter(|b| *b != a) {
            assert_eq!(verdict(&proof, a, b), Verdict::Dropped, "{a} to {b}");
        }
        for b in ["gru", "iad", "ord", "lax", "lhr", "fra", "cdg"] {
            assert_eq!((verdict(&proof, b, a), verdict(&proof, a, b)), (Verdict::Dropped, Verdict::Dropped));
            assert_eq!(verdict(&proof, b, "hkg"), Verdict::Dropped);
            assert_eq!(verdict(&proof, b, "ec2"), Verdict::Fine);
        }
    }
    says(&read, "nrt can't reach sin, and another pair alike: nrt has no route to 10.50.4.2");
    says(&read, "gru can't reach nrt, and 3 pairs alike: gru has no route to 10.50.4.1");
    says(
        &read,
        "and 27 pairs alike: cdg does not allow 10.50.4.1 for peer ec2 in wg0, but for nobody, and 6 other hosts that have",
    );
    says(&read, "are taken to run this script, since their own files were not named");
}

#[test]
fn the_pop_that_the_script_of_s1_makes_dials_nobody() {
    let read = read(files(&[("ec2/wg0.conf", EC2), ("hkg/user-data.sh", USER_DATA)]));
    says(&read, "can't dial each other: neither has the other's endpoint");
    let mended = |text: &str| text.replace("bzM6rw/efq", "bzM6rwXefq");
    let (ec2, script) = (mended(EC2), mended(USER_DATA));
    let read = wayleave_core::import::read(files(&[("ec2/wg0.conf", &ec2), ("hkg/user-data.sh", &script)]));
    assert_eq!(verdict(&prove_read(&read).0, "hkg", "ec2"), Verdict::Fine);
}

#[test]
fn a_half_configured_direct_peer_of_s1_black_holes_what_the_hub_would_carry() {
    let leaf = |address: &str, private: &str, more: &str| {
        format!(
            "[Interface]\nAddress = {address}/32\nPrivateKey = {private}\n[Peer]\n# hub\nPublicKey = PUB1\n\
             Endpoint = 54.171.48.207:51820\nAllowedIPs = 10.50.0.0/16\nPersistentKeepalive = 25\n{more}"
        )
    };
    let hub = "[Interface]\nAddress = 10.50.0.1/24\nListenPort = 51820\nPrivateKey = KEY1\n\
               PostUp = sysctl -w net.ipv4.ip_forward=1\n\
               [Peer]\nPublicKey = PUB2\nAllowedIPs = 10.50.1.1/32\n[Peer]\nPublicKey = PUB3\nAllowedIPs = 10.50.4.1/32\n";
    let (gru, nrt) = (leaf("10.50.1.1", "KEY2", ""), leaf("10.50.4.1", "KEY3", ""));
    is_silent(&keyed(&[("ec2/wg0.conf", hub), ("gru/wg0.conf", &gru), ("nrt/wg0.conf", &nrt)]));
    let direct = "[Peer]\nPublicKey = PUB2\nEndpoint = 192.0.2.9:51820\nAllowedIPs = 10.50.1.1/32\n";
    let nrt = leaf("10.50.4.1", "KEY3", direct);
    let read = keyed(&[("ec2/wg0.conf", hub), ("gru/wg0.conf", &gru), ("nrt/wg0.conf", &nrt)]);
    says(&read, "on nrt, 10.50.1.1/32 of gru takes from 10.50.0.0/16 of ec2 what ec2 would deliver to gru");
    says(&read, "nrt sends 10.50.1.1 to gru, where nrt is no peer");
    let findings = prove_read(&read).2;
    let place = findings.sorted().iter().find(|one| one.kind.code() == "WL307").and_then(|one| one.place).unwrap();
    let (file, line, _) = read.sources.position(place).unwrap();
    assert_eq!((file, line), ("nrt/wg0.conf", 10));
}

#[test]
fn the_network_files_of_all_texts_prove_complete() {
    for name in
        ["edgeproxy", "multi-region", "stock-regions", "two-offices", "third-office", "private-cluster", "edge-router"]
    {
        let network = example(&format!("{name}.toml"));
        let (plan, ..) = plan(network.into(), &Ledger::default(), &LinkStates::default());
        let proof = reachability(Hosts::from_plan(&plan));
        assert!(proof.is_clean() && proof.findings().is_empty(), "{name}: {:?}", proof.findings().sorted());
    }
}

/// S0: a backbone device between servers, and one and the same client device on all of them.
fn s0(moved: bool) -> Read {
    let backbone = |own: u8, other: u8| {
        format!(
            "[Interface]\nAddress = 10.50.0.{own}/24\nListenPort = 51820\nPrivateKey = KEY{own}\n\
             PostUp = sysctl -w net.ipv4.ip_forward=1\n\
             [Peer]\nPublicKey = PUB{other}\nEndpoint = 10.{other}.0.5:51820\nAllowedIPs = 10.50.0.{other}/32, 10.{other}.0.0/16{}\n",
            if moved && own == 2 { ", 10.51.0.7/32" } else { "" }
        )
    };
    let clients = "[Interface]\nAddress = 10.51.0.1/24\nListenPort = 51821\nPrivateKey = KEY8\n\
                   [Peer]\n# singapore-caller\nPublicKey = PUB7\nAllowedIPs = 10.51.0.7/32\n";
    let caller = "[Interface]\nAddress = 10.51.0.7/32\nPrivateKey = KEY7\n\
                  [Peer]\nPublicKey = PUB8\nEndpoint = vpn.example.com:51821\nAllowedIPs = 10.0.0.0/8\nPersistentKeepalive = 25\n";
    let elsewhere = if moved { "" } else { clients };
    keyed(&[
        ("vpn-ireland/backbone.conf", &backbone(1, 2)),
        ("vpn-ireland/client.conf", clients),
        ("vpn-singapore/backbone.conf", &backbone(2, 1)),
        ("vpn-singapore/client.conf", elsewhere),
        ("caller/wg0.conf", caller),
    ])
}

#[test]
fn s0_reaches_every_vpc_once_routes_follow_the_client() {
    let read = s0(true);
    let (proof, ..) = prove_read(&read);
    let vpc = |n: u8| format!("10.{n}.0.0/16 behind vpn-{}", if n == 1 { "ireland" } else { "singapore" });
    for n in [1, 2] {
        assert_eq!(verdict(&proof, "caller", &vpc(n)), Verdict::Fine, "{:#?}", prove_read(&read).2.sorted());
        assert_eq!(verdict(&proof, &vpc(n), "caller"), Verdict::Fine);
    }
    assert_eq!(verdict(&proof, &vpc(1), &vpc(2)), Verdict::Fine);
}

#[test]
fn s0_without_its_daemon_answers_the_client_only_where_it_is() {
    let read = s0(false);
    let (proof, ..) = prove_read(&read);
    assert_eq!(verdict(&proof, "caller", "10.1.0.0/16 behind vpn-ireland"), Verdict::Fine);
    assert_eq!(verdict(&proof, "caller", "10.2.0.0/16 behind vpn-singapore"), Verdict::Dropped);
    says(&read, "does not allow 10.51.0.7 for peer vpn-ireland in backbone");
}

#[test]
fn s2_joins_two_lans_and_nothing_says_whether_they_forward() {
    let side = |own: &str, other: &str, name: &str, lan: &str, key: u8, peer: u8| {
        (
            format!("{name}/setup.sh"),
            format!(
                "#!/bin/sh\nip link add dev wg0 type wireguard\nip address add dev wg0 {own}\nwg set wg0 listen-port 7777\n\
                 wg set wg0 private-key /etc/wireguard/privatekey\n\
                 wg set wg0 peer PUB{peer} allowed-ips {other}/32,{lan} endpoint {name}.example.com:7777\n\
                 ip link set up wg0\nwg-quick save wg0\nwg-quick down wg0\nwg-quick up wg0\n# PUB{key}\n"
            ),
        )
    };
    let (a, alpha) = side("10.9.0.1/24", "10.9.0.2", "alpha", "192.168.20.0/24", 1, 2);
    let (b, beta) = side("10.9.0.2/24", "10.9.0.1", "beta", "192.168.10.0/24", 2, 1);
    let read = keyed(&[(&a, &alpha), (&b, &beta)]);
    let (proof, ..) = prove_read(&read);
    let (one, two) = ("192.168.10.0/24 behind alpha", "192.168.20.0/24 behind beta");
    for (from, to) in [("alpha", "beta"), (one, two), (two, one), ("alpha", two), (one, "beta")] {
        assert_eq!(verdict(&proof, from, to), Verdict::Fine, "{from} to {to}");
    }
    says(&read, "alpha must pass on packets for 3 pairs, and nothing that was read switches forwarding on there");
    // Without wg-quick nothing routes the LANs.
    let cut = |text: &str| text.replace("wg-quick up wg0\n", "");
    let read = keyed(&[(&a, &cut(&alpha)), (&b, &cut(&beta))]);
    says(&read, "alpha has no route to 192.168.20.");
}

#[test]
fn s3_speaks_over_its_transfer_network_and_routes_nothing_else() {
    let router = include_str!("fixtures/s3-edgerouter.txt").replace("@home@", "home");
    let server =
        include_str!("fixtures/s3-vps.sh").replace("<erxpubkey>", "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=");
    let server = server.replace("<erx.pub.ip>", "192.0.2.67");
    let read = read(files(&[("home/config.txt", &router), ("vps/setup.sh", &server)]));
    let (proof, ..) = prove_read(&read);
    assert_eq!((verdict(&proof, "home", "vps"), verdict(&proof, "vps", "home")), (Verdict::Fine, Verdict::Fine));
    is_silent(&read);
}

#[test]
fn s4_reaches_all_hosts_through_one_and_hides_who_asks() {
    let hooks = "PostUp = iptables -I FORWARD 2 -i wg -j ACCEPT; iptables -t nat -A POSTROUTING -o wg -j MASQUERADE\n";
    let host1 = format!(
        "[Interface]\nAddress = 10.10.10.1/24\nPrivateKey = KEY1\nListenPort = 51820\nPostUp = sysctl -w net.ipv4.ip_forward=1\n{hooks}\
         [Peer]\nPublicKey = PUB2\nEndpoint = 198.51.100.12:51821\nAllowedIPs = 10.10.10.2/32\n\
         [Peer]\n# desktop\nPublicKey = PUB3\nAllowedIPs = 10.10.10.129/32\n"
    );
    let host2 = "[Interface]\nAddress = 10.10.10.2/24\nPrivateKey = KEY2\nListenPort = 51821\n\
                 [Peer]\nPublicKey = PUB1\nEndpoint = 198.51.100.11:51820\nAllowedIPs = 10.10.10.1/32\n";
    let desktop = "[Interface]\nAddress = 10.10.10.129/24\nPrivateKey = KEY3\n\
                   [Peer]\nEndpoint = 198.51.100.11:51820\nPublicKey = PUB1\nAllowedIPs = 10.10.10.0/24\nPersistentKeepalive = 25\n";
    let read = keyed(&[("host1/wg.conf", &host1), ("host2/wg.conf", host2), ("desktop/wg.conf", desktop)]);
    let (proof, ..) = prove_read(&read);
    assert_eq!(verdict(&proof, "desktop", "host2"), Verdict::Fine, "answers go to host1, which sends them on");
    assert_eq!(verdict(&proof, "host2", "desktop"), Verdict::Dropped, "nobody told host2 of the desktop");
    let routed = host1.replace(hooks, "");
    let read = keyed(&[("host1/wg.conf", &routed), ("host2/wg.conf", host2), ("desktop/wg.conf", desktop)]);
    says(&read, "host2 does not allow 10.10.10.129 for peer host1 in wg, but for nobody");
}

#[test]
fn tables_rules_and_routes_of_hooks_decide() {
    let peer = "[Peer]\nPublicKey = PUB2\nEndpoint = 192.0.2.2:1\nAllowedIPs = 10.0.0.0/8\n";
    let far =
        "[Interface]\nAddress = 10.0.0.2/32\nPrivateKey = KEY2\n[Peer]\nPublicKey = PUB1\nAllowedIPs = 10.0.0.1/32\n";
    let near = |more: &str| format!("[Interface]\nAddress = 10.0.0.1/32\nPrivateKey = KEY1\n{more}{peer}");
    for (more, expected) in [
        ("", Verdict::Fine),
        ("Table = off\n", Verdict::Dropped),
        ("Table = 77\n", Verdict::Dropped),
        ("Table = backbone\n", Verdict::Dropped),
        ("Table = backbone\nPostUp = ip rule add from all lookup backbone\n", Verdict::Fine),
        ("Table = backbone\nPostUp = ip rule add from 10.0.0.1 table backbone prio 100\n", Verdict::Fine),
        ("Table = backbone\nPostUp = ip rule add from 10.0.9.0/24 table backbone\n", Verdict::Dropped),
        ("Table = 77\nPostUp = ip rule add fwmark 7 table 77\n", Verdict::Dropped),
        ("Table = 77\nPostUp = ip rule add not fwmark 7 table 77\n", Verdict::Fine),
        ("Table = off\nPostUp = ip route add 10.0.0.2/32 dev %i\n", Verdict::Fine),
        ("Table = off\nPostUp = ip -4 route add default dev %i\n", Verdict::Fine),
        ("PostUp = ip route add blackhole 10.0.0.2/32\n", Verdict::Dropped),
        ("PostUp = ip route add 10.0.0.2 dev eth0\n", Verdict::Elsewhere),
    ] {
        let read = keyed(&[("near/wg0.conf", &near(more)), ("far/wg0.conf", far)]);
        assert_eq!(verdict(&prove_read(&read).0, "near", "far"), expected, "{more}");
    }
}

#[test]
fn a_peer_whose_file_is_missing_is_no_end_and_is_named() {
    let hub = "[Interface]\nAddress = 10.0.0.1/24\nPrivateKey = KEY1\nListenPort = 1\n[Peer]\n# phone\nPublicKey = PUB2\nAllowedIPs = 10.0.0.2/32\n";
    let (proof, model, findings) = prove_read(&keyed(&[("hub/wg0.conf", hub)]));
    assert_eq!((proof.hosts.ends.len(), model.unread, findings.is_empty()), (1, vec!["phone".to_owned()], true));
}
