//! A hundred odd spellings of wg-quick files as people and programs write them, one row each.

use wayleave_core::import::hosts::{Device, Table};
use wayleave_core::import::read;

use super::support::{codes, files};

const PUB: &str = "bzM6rw/efq+75VGhBgkCRChDnKfFlXQY560ejhvKCQY=";
const PSK: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

/// A device in one line: address, port, mtu, mark, table, dns, hooks.
fn interface(device: &Device) -> String {
    let addresses: Vec<String> = device.addresses.iter().map(|address| address.value.to_string()).collect();
    let mut parts = vec![addresses.join(" ")];
    parts.extend(device.port.as_ref().map(|port| format!("port={}", port.value)));
    parts.extend(device.mtu.as_ref().map(|mtu| format!("mtu={}", mtu.value)));
    parts.extend(device.fwmark.as_ref().map(|mark| format!("mark={}", mark.value)));
    parts.extend(device.table.as_ref().map(|table| match table.value {
        Table::Auto => "table=auto".to_owned(),
        Table::Off => "table=off".to_owned(),
        Table::Number(number) => format!("table={number}"),
    }));
    parts.extend((!device.dns.is_empty()).then(|| format!("dns={}", device.dns.len())));
    parts.extend((!device.hooks.is_empty()).then(|| format!("hooks={}", device.hooks.len())));
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

/// The peers in one line: name, endpoint, allowed prefixes, keepalive, preshared key.
fn peers(device: &Device) -> String {
    let peer = |peer: &wayleave_core::import::hosts::Peer| {
        let mut parts: Vec<String> = peer.name.iter().map(|name| format!("({})", name.value)).collect();
        parts.push(if peer.public_key.is_some() { "key".into() } else { "-".into() });
        parts.extend(peer.endpoint.as_ref().map(|endpoint| endpoint.value.to_string()));
        let allowed: Vec<String> = peer.allowed.iter().map(|prefix| prefix.value.to_string()).collect();
        parts.extend((!allowed.is_empty()).then(|| allowed.join(",")));
        parts.extend(peer.keepalive_s.as_ref().map(|seconds| format!("ka={}", seconds.value)));
        parts.extend(peer.preshared_key.as_ref().map(|_| "psk".to_owned()));
        parts.join(" ")
    };
    device.peers.iter().map(peer).collect::<Vec<_>>().join("; ")
}

fn check(text: &str, shown: fn(&Device) -> String, expected: &str, found: &[&str]) {
    let text = text.replace("PUB", PUB).replace("PSK", PSK);
    let read = read(files(&[("host/wg0.conf", &text)]));
    let shown = read.hosts.first().map(|host| shown(&host.devices[0])).unwrap_or_default();
    assert_eq!((shown.as_str(), codes(&read).as_slice()), (expected, found), "{text:?}");
}

#[test]
fn interfaces() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("Address = 10.0.0.1/24", "10.0.0.1/24", &[]),
        ("Address=10.0.0.1/24", "10.0.0.1/24", &[]),
        ("Address = 10.0.0.1/24\n[Interface]\nAddress = 10.1.0.1/24", "10.0.0.1/24 10.1.0.1/24", &["WL424"]),
        ("address = 10.0.0.1/24", "10.0.0.1/24", &[]),
        ("ADDRESS = 10.0.0.1/24", "10.0.0.1/24", &[]),
        ("  Address\t=\t10.0.0.1/24  ", "10.0.0.1/24", &[]),
        ("Address = 10.0.0.1", "10.0.0.1/32", &[]),
        ("Address = 10.0.0.1/24,fd00::1/64", "10.0.0.1/24 fd00::1/64", &[]),
        ("Address = 10.0.0.1/24, fd00::1/64", "10.0.0.1/24 fd00::1/64", &[]),
        ("Address = 10.0.0.1/24 , fd00::1/64 ,", "10.0.0.1/24 fd00::1/64", &[]),
        ("Address = 10.0.0.1/24\nAddress = fd00::1/64", "10.0.0.1/24 fd00::1/64", &[]),
        ("Address = 10.0.0.1/24 fd00::1/64", "10.0.0.1/24 fd00::1/64", &[]),
        ("Address = 10.0.0.1/24 # the office", "10.0.0.1/24", &[]),
        ("Address = 10.0.0.1/24#tight", "10.0.0.1/24", &[]),
        ("Address = 10.0.0.1/24 ; semicolon", "10.0.0.1/24", &[]),
        ("Address = \"10.0.0.1/24\"", "10.0.0.1/24", &[]),
        ("Address =", "", &[]),
        ("Address = 10.0.0.1/33", "", &["WL404"]),
        ("Address = 10.0.0", "", &["WL404"]),
        ("Address = FD00::1/64", "fd00::1/64", &[]),
        ("Address = fe80::1/64", "fe80::1/64", &[]),
        ("ListenPort = 51820", "port=51820", &[]),
        ("listenport=51820", "port=51820", &[]),
        ("ListenPort = 0", "port=0", &[]),
        ("ListenPort = 65536", "", &["WL404"]),
        ("ListenPort = x", "", &["WL404"]),
        ("MTU = 1420", "mtu=1420", &[]),
        ("Mtu=1380", "mtu=1380", &[]),
        ("mtu = 1280 # mobile", "mtu=1280", &[]),
        ("FwMark = 0xca6c", "mark=51820", &[]),
        ("FwMark = 0XCA6C", "mark=51820", &[]),
        ("FwMark = 51820", "mark=51820", &[]),
        ("FwMark = off", "", &[]),
        ("FwMark = 0", "", &[]),
        ("Table = off", "table=off", &[]),
        ("Table = OFF", "table=off", &[]),
        ("Table = auto", "table=auto", &[]),
        ("Table = 1234", "table=1234", &[]),
        ("Table = main", "table=254", &[]),
        ("Table = vpn", "table=2555436751", &[]),
        ("Table = a table", "", &["WL404"]),
        ("DNS = 1.1.1.1", "dns=1", &[]),
        ("DNS = 1.1.1.1, 1.0.0.1, corp.example", "dns=3", &[]),
        ("DNS = 1.1.1.1\nDNS = 9.9.9.9", "dns=2", &[]),
        ("SaveConfig = true", "", &[]),
        (
            "PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
            "hooks=1",
            &[],
        ),
        ("PostUp = a; b\nPostUp = c\nPreDown = d\nPostDown = e\nPreUp = f", "hooks=5", &[]),
        ("PostUp = ip route add 10.0.0.0/8 via 10.0.0.1 # back", "hooks=1", &[]),
        ("PostUp = echo a=b", "hooks=1", &[]),
        ("ExcludedApplications = com.example.a, com.example.b", "", &["WL418"]),
        ("IncludedApplications = com.example.a", "", &["WL418"]),
        ("Jc = 4\nJmin = 40\nH1 = 1", "", &["WL401", "WL401", "WL401"]),
        ("Port = 51820", "", &["WL401"]),
        ("nonsense", "", &["WL403"]),
        ("ListenPort = 1\nListenPort = 2", "port=2", &["WL423"]),
        ("MTU = 1420\nmtu = 1380\nMTU = 1300", "mtu=1300", &["WL423", "WL423"]),
        ("ListenPort = 1\n[Interface]\nListenPort = 2", "port=2", &["WL424"]),
        ("PrivateKey = short", "", &["WL405"]),
        ("PrivateKey = <your key>", "", &["WL405"]),
        ("PrivateKey =", "", &["WL405"]),
    ];
    for (lines, expected, found) in rows {
        check(&format!("[Interface]\n{lines}\n"), interface, expected, found);
        // The end of the line says nothing.
        check(&format!("[interface]\r\n{}\r\n", lines.replace('\n', "\r\n")), interface, expected, found);
    }
}

#[test]
fn peers_in_files() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("PublicKey = PUB", "key", &[]),
        ("publickey=PUB", "key", &[]),
        ("PublicKey = PUB # phone", "(phone) key", &[]),
        ("PublicKey = PUB\nPresharedKey = PSK", "key psk", &[]),
        ("PublicKey = PUB\nPreSharedKey = PSK", "key psk", &[]),
        ("PublicKey = PUB\nPresharedKey =", "key", &[]),
        ("PublicKey = nokey", "-", &["WL404"]),
        ("PublicKey = PUB\nEndpoint = 192.0.2.1:51820", "key 192.0.2.1:51820", &[]),
        ("PublicKey = PUB\nEndpoint=192.0.2.1:51820", "key 192.0.2.1:51820", &[]),
        ("PublicKey = PUB\nEndpoint = [2001:db8::1]:51820", "key [2001:db8::1]:51820", &[]),
        ("PublicKey = PUB\nEndpoint = 2001:db8::1:51820", "key [2001:db8::1]:51820", &[]),
        ("PublicKey = PUB\nEndpoint = [fe80::1%eth0]:51820", "key [fe80::1%eth0]:51820", &[]),
        ("PublicKey = PUB\nEndpoint = VPN.Example.com:51820", "key vpn.example.com:51820", &[]),
        (
            "PublicKey = PUB\nEndpoint = se-got-wg-001.relays.mullvad.net:51820",
            "key se-got-wg-001.relays.mullvad.net:51820",
            &[],
        ),
        ("PublicKey = PUB\nEndpoint = example.com", "key", &["WL404"]),
        ("PublicKey = PUB\nEndpoint = example.com:0", "key", &["WL404"]),
        ("PublicKey = PUB\nEndpoint = example.com:70000", "key", &["WL404"]),
        ("PublicKey = PUB\nEndpoint =", "key", &[]),
        ("PublicKey = PUB\nEndpoint = (none)", "key", &[]),
        ("PublicKey = PUB\nAllowedIPs = 10.0.0.2/32", "key 10.0.0.2/32", &[]),
        ("PublicKey = PUB\nAllowedIPs = 10.0.0.2", "key 10.0.0.2/32", &[]),
        ("PublicKey = PUB\nallowedips = 10.0.0.2/32,192.168.1.0/24", "key 10.0.0.2/32,192.168.1.0/24", &[]),
        ("PublicKey = PUB\nAllowedIPs = 10.0.0.2/32, 192.168.1.0/24", "key 10.0.0.2/32,192.168.1.0/24", &[]),
        (
            "PublicKey = PUB\nAllowedIPs = 10.0.0.2/32\nAllowedIPs = 192.168.1.0/24",
            "key 10.0.0.2/32,192.168.1.0/24",
            &[],
        ),
        ("PublicKey = PUB\nAllowedIPs =", "key", &[]),
        ("PublicKey = PUB\nAllowedIPs=", "key", &[]),
        ("PublicKey = PUB\nAllowedIPs = (none)", "key", &[]),
        ("PublicKey = PUB\nAllowedIPs = 0.0.0.0/0, ::/0", "key 0.0.0.0/0,::/0", &[]),
        ("PublicKey = PUB\nAllowedIPs = 0.0.0.0/1, 128.0.0.0/1", "key 0.0.0.0/1,128.0.0.0/1", &[]),
        ("PublicKey = PUB\nAllowedIPs = 192.168.1.1/24", "key 192.168.1.1/24", &["WL407"]),
        ("PublicKey = PUB\nAllowedIPs = 10.0.0.300/32", "key", &["WL404"]),
        ("PublicKey = PUB\nAllowedIPs = is the address of my desktop PC", "key", &["WL404"]),
        ("PublicKey = PUB\nAllowedIPs = 10.0.0.2/32, see below, 10.0.0.3", "key 10.0.0.2/32,10.0.0.3/32", &["WL404"]),
        ("PublicKey = PUB\nAllowedIPs = +10.0.0.2/32", "key 10.0.0.2/32", &[]),
        ("PublicKey = PUB\nAllowedIPs = 10.0.0.2/32, -10.0.0.2/32", "key", &[]),
        ("PublicKey = PUB\nPersistentKeepalive = 25", "key ka=25", &["WL411"]),
        ("PublicKey = PUB\nEndpoint = a.example:1\nPersistentKeepalive=25", "key a.example:1 ka=25", &[]),
        ("PublicKey = PUB\nPersistentKeepalive = off", "key", &[]),
        ("PublicKey = PUB\nPersistentKeepalive = 0", "key", &[]),
        ("PublicKey = PUB\nPersistentKeepalive = often", "key", &["WL404"]),
        ("PublicKey = PUB\nPersistentKeepAlive = 25", "key ka=25", &["WL411"]),
        ("# friendly_name = nas\nPublicKey = PUB", "(nas) key", &[]),
        ("# friendly_name=nas\nPublicKey = PUB", "(nas) key", &[]),
        ("# Name = nas\nPublicKey = PUB", "(nas) key", &[]),
        ("#Name: nas\nPublicKey = PUB", "(nas) key", &[]),
        ("# nas\nPublicKey = PUB", "(nas) key", &[]),
        ("# NRT - Tokyo (DIRECT MESH)\nPublicKey = PUB", "(NRT) key", &[]),
        ("# this is only a remark about what follows here.\nPublicKey = PUB", "key", &[]),
        ("# AllowedIPs = 10.9.9.9/32\nPublicKey = PUB", "key", &[]),
        ("PublicKey = PUB\nHostname = x", "key", &["WL401"]),
        ("PublicKey = PUB\nEndpoint = a.example:1\nEndpoint = b.example:2", "key b.example:2", &["WL423"]),
        (
            "PublicKey = PUB\nAllowedIPs = 10.0.0.2/32\n[Peer]\nPublicKey = PUB\nAllowedIPs = 10.0.0.3/32",
            "key; key 10.0.0.3/32",
            &["WL422"],
        ),
    ];
    for (lines, expected, found) in rows {
        check(&format!("[Interface]\n\n[Peer]\n{lines}\n"), peers, expected, found);
        check(&format!("\u{feff}[Interface]\r\n[peer]\r\n{}", lines.replace('\n', "\r\n")), peers, expected, found);
    }
}

#[test]
fn whole_files_of_other_programs() {
    let rows: &[(&str, &str, &str, &[&str])] = &[
        (
            "wg-easy",
            "\n# Note: Do not edit this file directly.\n\n# Server\n[Interface]\nAddress = 10.8.0.1/24\nListenPort = 51820\n\n# Client: phone (0b2f)\n[Peer]\nPublicKey = PUB\nPresharedKey = PSK\nAllowedIPs = 10.8.0.2/32\n",
            "(phone) key 10.8.0.2/32 psk",
            &[],
        ),
        (
            "pivpn",
            "[Interface]\nAddress = 10.6.0.1/24\nMTU = 1420\nListenPort = 51820\n### begin laptop ###\n[Peer]\nPublicKey = PUB\nAllowedIPs = 10.6.0.2/32\n### end laptop ###\n",
            "(laptop) key 10.6.0.2/32",
            &[],
        ),
        (
            "angristan",
            "[Interface]\nAddress = 10.66.66.1/24,fd42:42:42::1/64\n\n### Client tablet\n[Peer]\nPublicKey = PUB\nAllowedIPs = 10.66.66.2/32,fd42:42:42::2/128\n",
            "(tablet) key 10.66.66.2/32,fd42:42:42::2/128",
            &[],
        ),
        (
            "nyr",
            "# Do not alter the commented lines\n# They are used by wireguard-install\n# ENDPOINT 192.0.2.1\n\n[Interface]\nAddress = 10.7.0.1/24\n# BEGIN_PEER desk\n[Peer]\nPublicKey = PUB\nAllowedIPs = 10.7.0.2/32\n# END_PEER desk\n",
            "(desk) key 10.7.0.2/32",
            &[],
        ),
        (
            "OPNsense",
            "####################################################\n# Interface settings, not used by `wg`             #\n####################################################\n[Interface]\nListenPort = 51820\n[Peer]\n# friendly_name = office\nPublicKey = PUB\nAllowedIPs = 10.1.0.2/32,192.168.5.0/24\nPersistentKeepalive = off\n",
            "(office) key 10.1.0.2/32,192.168.5.0/24",
            &[],
        ),
        (
            "Mullvad",
            "[Interface]\n# Device: Proud Fox\nAddress = 10.64.1.2/32,fc00:bbbb::2/128\nDNS = 10.64.0.1\n\n[Peer]\nPublicKey = PUB\nAllowedIPs = 0.0.0.0/0,::0/0\nEndpoint = 193.138.218.220:51820\n",
            "key 193.138.218.220:51820 0.0.0.0/0,::/0",
            &[],
        ),
        ("peers first", "[Peer]\nPublicKey = PUB\n[Interface]\nListenPort = 1\n", "key", &[]),
        (
            "a section of another program",
            "[Interface]\n[WebSocket]\nUrl = x\n[Peer]\nPublicKey = PUB\n",
            "key",
            &["WL402"],
        ),
        ("a section with spaces", "[ Interface ]\n[ Peer ]\nPublicKey = PUB\n", "key", &[]),
        ("old Macs' line ends", "[Interface]\r[Peer]\rPublicKey = PUB\r", "key", &[]),
    ];
    for (who, text, expected, found) in rows {
        check(text, peers, expected, found);
        assert!(!who.is_empty());
    }
}
