//! The other formats give the same hosts as wg-quick files do.

use wayleave_core::import::hosts::{Effect, Format};
use wayleave_core::import::{Read, read};

use super::support::{back, codes, files, key};

const OTHER: &str = "9ZK9FzSzihxrRX9gktc99Oj0WFSJMa0mf33pP2LJ/lU=";

/// What RouterOS 7 prints, with what it prints beside.
const EXPORT: &str = "# 2026-11-21 10:00:00 by RouterOS 7.14.3
# software id = AAAA-BBBB
/interface bridge
add name=bridge1
/interface wireguard
add listen-port=51821 mtu=1420 name=wg0 private-key=\\
    \"PRIVATE\"
/interface wireguard peers
add allowed-address=10.0.0.2/32,192.168.7.0/24 comment=office endpoint-address=\\
    192.0.2.7 endpoint-port=51820 interface=wg0 name=peer1 persistent-keepalive=\\
    25s public-key=\"OTHER\"
add allowed-address=10.0.0.3/32 disabled=yes interface=wg0 public-key=\\
    \"LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM=\"
/ip address
add address=192.168.88.1/24 interface=bridge1 network=192.168.88.0
add address=10.0.0.1/24 interface=wg0 network=10.0.0.0
/ipv6 address
add address=fd00::1/64 advertise=no interface=wg0
/ip firewall mangle
add action=change-mss chain=forward new-mss=clamp-to-pmtu out-interface=wg0 \\
    protocol=tcp tcp-flags=syn
/ip route
add dst-address=192.168.7.0/24 gateway=wg0
/system identity
set name=router
";

fn check(path: &str, text: &str, format: Format) -> Read {
    let text = text.replace("PRIVATE", &key(9).reveal()).replace("PUBLIC", &key(9).public_key().to_string());
    let read = read(files(&[(path, &text.replace("OTHER", OTHER))]));
    assert_eq!(codes(&read), Vec::<&str>::new(), "{path}");
    let device = &read.hosts[0].devices[0];
    assert_eq!((device.format, device.name.as_str()), (format, "wg0"), "{path}");
    assert_eq!(device.key(), Some(key(9).public_key()), "{path}");
    let peer = &device.peers[0];
    assert_eq!(peer.key().unwrap().to_string(), OTHER);
    assert_eq!(peer.endpoint.as_ref().unwrap().value.to_string(), "192.0.2.7:51820", "{path}");
    let allowed: Vec<String> = peer.allowed.iter().map(|prefix| prefix.value.to_string()).collect();
    assert_eq!(allowed, ["10.0.0.2/32", "192.168.7.0/24"], "{path}");
    assert_eq!(peer.keepalive_s.as_ref().unwrap().value, 25, "{path}");
    assert_eq!(device.port.as_ref().unwrap().value, 51821, "{path}");
    assert!(!read.sources.0[0].text.contains(key(9).reveal().as_str()), "{path}: the private key can be shown");
    read
}

#[test]
fn every_format_says_the_same() {
    let tail = "OTHER\t(none)\t192.0.2.7:51820\t10.0.0.2/32,192.168.7.0/24\t0\t0\t0\t25\n";
    check("a/dump.txt", &format!("wg0\tPRIVATE\tPUBLIC\t51821\toff\nwg0\t{tail}"), Format::Dump);
    check("a/wg0.dump", &format!("PRIVATE\tPUBLIC\t51821\toff\n{tail}"), Format::Dump);
    check(
        "a/wg0.conf",
        "[Interface]\nListenPort = 51821\nPrivateKey = PRIVATE\n\n[Peer]\nPublicKey = OTHER\nAllowedIPs = 10.0.0.2/32, 192.168.7.0/24\nEndpoint = 192.0.2.7:51820\nPersistentKeepalive = 25\n",
        Format::WgQuick,
    );
    check(
        "a/50-wg0.netdev",
        "[NetDev]\nName=wg0\nKind=wireguard\nMTUBytes=1400\n\n[WireGuard]\nListenPort=51821\nPrivateKey=PRIVATE\n\n[WireGuardPeer]\nPublicKey=OTHER\nAllowedIPs=10.0.0.2/32\nAllowedIPs=192.168.7.0/24\nEndpoint=192.0.2.7:51820\nPersistentKeepalive=25\n",
        Format::Networkd,
    );
    check(
        "a/commands",
        "set interfaces wireguard wg0 address 10.0.0.1/24\nset interfaces wireguard wg0 listen-port 51821\nset interfaces wireguard wg0 private-key PRIVATE\n\
         set interfaces wireguard wg0 peer OTHER allowed-ips 10.0.0.2/32\nset interfaces wireguard wg0 peer OTHER allowed-ips 192.168.7.0/24\n\
         set interfaces wireguard wg0 peer OTHER endpoint '192.0.2.7:51820'\nset interfaces wireguard wg0 peer OTHER persistent-keepalive 25\n",
        Format::Edgeos,
    );
    check(
        "a/config.boot",
        "interfaces {\n    ethernet eth0 {\n        address dhcp\n    }\n    wireguard wg0 {\n        address 10.0.0.1/24\n        listen-port 51821\n        private-key PRIVATE\n        peer OTHER {\n            allowed-ips 10.0.0.2/32\n            allowed-ips 192.168.7.0/24\n            endpoint 192.0.2.7:51820\n            persistent-keepalive 25\n        }\n    }\n}\n",
        Format::Edgeos,
    );
    let vyos = check(
        "a/vyos.txt",
        "set interfaces wireguard wg0 address '10.0.0.1/24'\nset interfaces wireguard wg0 port '51821'\nset interfaces wireguard wg0 private-key 'PRIVATE'\n\
         set interfaces wireguard wg0 peer office address '192.0.2.7'\nset interfaces wireguard wg0 peer office allowed-ips '10.0.0.2/32'\n\
         set interfaces wireguard wg0 peer office allowed-ips '192.168.7.0/24'\nset interfaces wireguard wg0 peer office port '51820'\n\
         set interfaces wireguard wg0 peer office persistent-keepalive '25'\nset interfaces wireguard wg0 peer office public-key 'OTHER'\n",
        Format::Edgeos,
    );
    assert_eq!(vyos.hosts[0].devices[0].peers[0].name.as_ref().unwrap().value, "office");
    let routeros = check("a/router.rsc", EXPORT, Format::Routeros);
    assert_eq!(routeros.hosts[0].devices.len(), 1);
    assert_eq!(routeros.hosts[0].devices[0].peers.len(), 1, "what is disabled is not there");
    assert_eq!(routeros.hosts[0].devices[0].addresses.len(), 2);
    assert!(routeros.hosts[0].facts.clamps_mss);
    let line = "/interface/wireguard add name=wg0 listen-port=51821 private-key=\"PRIVATE\"\n/interface wireguard peers add interface=wg0 \
                public-key=\"OTHER\" endpoint-address=192.0.2.7 endpoint-port=51820 allowed-address=10.0.0.2/32,192.168.7.0/24 persistent-keepalive=00:00:25\n";
    check("a/commands.txt", line, Format::Routeros);
}

#[test]
fn networkd_files_are_joined_by_the_device() {
    let netdev = format!(
        "[NetDev]\nName=wg0\nKind=wireguard\n[WireGuard]\nPrivateKeyFile=/etc/k\n[WireGuardPeer]\nPublicKey={OTHER}\n"
    );
    let network =
        "[Match]\nName=wg0\n[Network]\nAddress=10.0.0.1/24\nIPv4Forwarding=yes\n[Address]\nAddress=fd00::1/64\n";
    let other = "[Match]\nName=eth0\n[Network]\nDHCP=yes\n";
    let read = read(files(&[("a/1.netdev", &netdev), ("a/2.network", network), ("a/3.network", other)]));
    let device = &read.hosts[0].devices[0];
    assert_eq!(device.addresses.len(), 2);
    assert_eq!((read.hosts[0].forwarding(false), read.hosts[0].forwarding(true)), (Some(true), None));
    assert_eq!(device.key_path.as_ref().unwrap().value, "/etc/k");
}

#[test]
fn well_known_hooks_are_understood() {
    let text = "[Interface]\nPostUp = sysctl -w net.ipv4.ip_forward=1; iptables -I FORWARD 2 -i wg -j ACCEPT; ip6tables -t nat -A POSTROUTING -o eth0 -j MASQUERADE\n\
                PostUp = ip route add 10.9.0.0/16 dev %i && ip -4 rule add from 10.9.0.0/16 table 7\nPostDown = iptables -D FORWARD -i wg -j ACCEPT\n\
                PostUp = wg set %i private-key /etc/wireguard/%i.key\nPostUp = logger up\n";
    let read = read(files(&[("a/wg0.conf", text)]));
    let device = &read.hosts[0].devices[0];
    let effects: Vec<&Effect> = device.hooks.iter().flat_map(|hook| &hook.effects).collect();
    assert_eq!(effects[0], &Effect::Forwarding { v6: false });
    assert!(matches!(effects[1], Effect::ForwardAccept { v6: false, position: Some(2), removed: false, .. }));
    assert!(matches!(effects[2], Effect::Masquerade { v6: true, removed: false, .. }));
    assert!(matches!(effects[3], Effect::Route { removed: false, .. }));
    assert!(matches!(effects[4], Effect::Rule { removed: false, .. }));
    assert!(matches!(effects[5], Effect::ForwardAccept { removed: true, .. }));
    assert_eq!(effects[6], &Effect::PrivateKeyFile("/etc/wireguard/%i.key".into()));
    assert_eq!(effects[7], &Effect::Other("logger up".into()));
    assert_eq!(codes(&read), ["WL414"]);
}

#[test]
fn one_folder_is_one_host_unless_its_files_talk_to_each_other() {
    let alone = "[Interface]\nAddress = 10.0.0.1/24\n";
    let other = "[Interface]\nAddress = 10.1.0.1/24\n";
    let one = read(files(&[("etc/wireguard/wg0.conf", alone), ("etc/wireguard/wg1.conf", other)]));
    assert_eq!((one.hosts.len(), one.hosts[0].devices.len()), (1, 2));
    let (a, b) = (key(1), key(2));
    let text = |own: &str, address: &str, peer: String| {
        format!(
            "[Interface]\nPrivateKey = {own}\nAddress = {address}/24\n[Peer]\nPublicKey = {peer}\nEndpoint = {address}0.example:1\n"
        )
    };
    let first = text(&a.reveal(), "10.0.0.1", b.public_key().to_string()).replace("10.0.0.10.example", "b.example");
    let second = text(&b.reveal(), "10.0.0.2", a.public_key().to_string()).replace("10.0.0.20.example", "a.example");
    let two = read(files(&[("all/a.conf", &first), ("all/b.conf", &second)]));
    assert_eq!(two.hosts.len(), 2);
}

#[test]
fn an_open_file_with_a_key_and_a_key_on_two_hosts_are_found() {
    let text = format!("[Interface]\nPrivateKey = {}\nAddress = 10.0.0.1/24\n", *key(3).reveal());
    let mut all = files(&[("a/wg0.conf", &text), ("b/wg0.conf", &text)]);
    all[0].mode = Some(0o100_644);
    all[1].mode = Some(0o100_600);
    assert_eq!(codes(&read(all)), ["WL406", "WL409"]);
}

#[test]
fn a_prefix_at_two_peers_and_an_endpoint_in_the_tunnel_are_found() {
    let text = format!(
        "[Interface]\nAddress = 10.0.0.1/24\n[Peer]\nPublicKey = {OTHER}\nAllowedIPs = 10.0.0.2/32, 192.0.2.0/24\nEndpoint = 192.0.2.7:51820\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.0.0.2/32\n",
        key(4).public_key()
    );
    assert_eq!(codes(&read(files(&[("a/wg0.conf", &text)]))), ["WL408", "WL413"]);
}

#[test]
fn a_difference_is_named_with_both_sides() {
    let text = format!(
        "[Interface]\nPrivateKey = {}\nAddress = 10.0.0.1/24\nListenPort = 51820\n[Peer]\nPublicKey = {OTHER}\n# far\n\
         AllowedIPs = 10.0.0.2/32, 0.0.0.0/0\nEndpoint = 192.0.2.7:51820\n",
        *key(5).reveal()
    );
    let (_, _, differences) = back(&read(files(&[("near/wg0.conf", &text)])));
    let all: Vec<(String, &str, &str)> =
        differences.iter().map(|one| (one.aspect.to_string(), one.read.as_str(), one.rendered.as_str())).collect();
    assert_eq!(all[0], ("allowed ips".to_owned(), "0.0.0.0/0, 10.0.0.2/32", "10.0.0.2/32"));
}
