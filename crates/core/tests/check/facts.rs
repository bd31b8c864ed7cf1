//! Rules over what is known of a host besides its WireGuard files: a text beside them, and the codes found.

use super::support::check_hosts;

/// A hub of two peers; the second has a LAN behind it.
const HUB: &str = "[Interface]\nPrivateKey = @1\nAddress = 10.0.0.1/24\nListenPort = 51820\n\
    [Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.2/32\n[Peer]\nPublicKey = #3\nAllowedIPs = 10.0.0.3/32\n";

/// A host that reaches the others through the hub.
const LEAF: &str = "[Interface]\nPrivateKey = @2\nAddress = 10.0.0.2/24\n\
    [Peer]\nPublicKey = #1\nAllowedIPs = 10.0.0.0/24\nEndpoint = 192.0.2.1:51820\nPersistentKeepalive = 25\n";

/// What is found on the hub with a file beside its own; places are in that file.
#[track_caller]
fn check_hub(name: &str, text: &str, expected: &[&str]) {
    check_hub_with(HUB, name, text, expected);
}

#[track_caller]
fn check_hub_with(hub: &str, name: &str, text: &str, expected: &[&str]) {
    let path = format!("hub/{name}");
    check_hosts(&[(&path, text), ("hub/wg0.conf", hub), ("leaf/wg0.conf", LEAF)], expected);
}

#[test]
fn a_hub_that_does_not_forward_is_found() {
    check_hub("sysctl.txt", "kernel.ostype = Linux\nnet.ipv4.ip_forward = 0\n", &["WL513 :2"]);
    check_hub("sysctl.txt", "net.ipv4.ip_forward = 1\n", &[]);
    check_hub("sysctl.conf", "net.ipv4.ip_forward=0\nnet.ipv4.ip_forward=1\n", &[]);
    check_hub("sysctl.d/99-vpn.conf", "# off\nnet/ipv4/ip_forward = 0 # for now\n", &["WL513 :2"]);
    let hook = HUB.replace("ListenPort", "PostUp = sysctl -w net.ipv4.ip_forward=1\nListenPort");
    check_hub_with(&hook, "sysctl.txt", "net.ipv4.ip_forward = 0\n", &[]);
}

#[test]
fn a_firewall_that_refuses_forwarding_is_found() {
    let saved = |forward: &str| format!("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n{forward}COMMIT\n");
    check_hub("iptables.txt", &saved(""), &["WL514 :3"]);
    check_hub("iptables.txt", &saved("-A FORWARD -i wg0 -j ACCEPT\n"), &[]);
    check_hub("iptables.txt", &saved("-A FORWARD -i wg+ -j ACCEPT\n"), &[]);
    check_hub("iptables.txt", &saved("-A FORWARD -i eth0 -j ACCEPT\n"), &["WL514 :3"]);
    // Accepting answers lets no new connection through.
    check_hub(
        "iptables.txt",
        &saved("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"),
        &["WL514 :3"],
    );
    check_hub("iptables.txt", &saved("-A FORWARD -j VPN\n-A VPN -i wg0 -j ACCEPT\n"), &[]);
    let reject = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\nCOMMIT\n";
    check_hub("iptables.txt", reject, &["WL514 :3"]);
    check_hub("iptables.txt", &reject.replace("-A FORWARD", "-A FORWARD -i wg0 -j ACCEPT\n-A FORWARD"), &[]);
    check_hub("rules.txt", "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n", &["WL514 :2"]);
}

#[test]
fn an_appended_rule_lands_behind_a_reject() {
    let reject = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT\nCOMMIT\n";
    let hook =
        |how: &str| HUB.replace("ListenPort", &format!("PostUp = iptables {how} FORWARD -i %i -j ACCEPT\nListenPort"));
    check_hub_with(&hook("-A"), "iptables.txt", reject, &["WL514 :3"]);
    check_hub_with(&hook("-I"), "iptables.txt", reject, &[]);
    // S4: the second position, where the chain holds nothing but the REJECT.
    let second = HUB.replace("ListenPort", "PostUp = iptables -I FORWARD 2 -i wg0 -j ACCEPT\nListenPort");
    check_hub_with(&second, "iptables.txt", reject, &["WL514 :3"]);
    let longer = reject.replace("-A FORWARD", "-A FORWARD -i eth0 -j ACCEPT\n-A FORWARD");
    check_hub_with(&second, "iptables.txt", &longer, &[]);
    // An appended rule comes before the policy.
    check_hub_with(&hook("-A"), "iptables.txt", "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", &[]);
}

#[test]
fn nftables_are_read_too() {
    let ruleset = |rules: &str| {
        format!(
            "table inet filter {{\n\tchain input {{\n\t\ttype filter hook input priority filter; policy drop;\n\t}}\n\tchain forward {{\n\t\ttype filter hook forward priority filter; policy drop;\n{rules}\t}}\n}}\n"
        )
    };
    check_hub("nft.txt", &ruleset(""), &["WL514 :6"]);
    check_hub("nft.txt", &ruleset("\t\tct state established,related accept\n"), &["WL514 :6"]);
    check_hub("nft.txt", &ruleset("\t\tiifname \"wg0\" accept\n"), &[]);
    check_hub("nft.txt", &ruleset("\t\tiifname \"wg0\" counter packets 3 bytes 40 accept comment \"vpn\"\n"), &[]);
    check_hub("nft.txt", &ruleset("").replace("policy drop", "policy accept"), &[]);
}

#[test]
fn strict_reverse_paths_are_found_where_ways_differ() {
    let strict = "net.ipv4.conf.all.rp_filter = 1\nnet.ipv4.conf.wg0.rp_filter = 0\n";
    let bgp = HUB.replace("ListenPort", "Table = off\nListenPort");
    check_hub_with(&bgp, "sysctl.txt", strict, &["WL512 :1"]);
    check_hub_with(
        &bgp,
        "sysctl.txt",
        "net.ipv4.conf.all.rp_filter = 0\nnet.ipv4.conf.wg0.rp_filter = 1\n",
        &["WL512 :2"],
    );
    // The larger of the two counts, and 2 is loose.
    check_hub_with(&bgp, "sysctl.txt", "net.ipv4.conf.all.rp_filter = 2\nnet.ipv4.conf.wg0.rp_filter = 1\n", &[]);
    check_hub("sysctl.txt", strict, &[]);
}

#[test]
fn networks_of_the_host_itself_are_held_against_the_tunnel() {
    let addresses = "2: eth0: <BROADCAST,UP> mtu 1500 qdisc fq state UP\n    inet 192.0.2.1/24 scope global eth0\n\
        3: docker0: <UP> mtu 1500 qdisc noqueue\n    inet 10.0.0.200/29 scope global docker0\n";
    check_hub("ip-addr.txt", addresses, &["WL507 hub/wg0.conf:3"]);
    check_hub("ip-addr.txt", &addresses.replace("10.0.0.200", "10.1.0.200"), &[]);
    check_hub("daemon.json", "{ \"bip\": \"10.0.0.9/24\" }\n", &["WL507 hub/wg0.conf:3"]);
    check_hub(
        "ip-route.txt",
        "default via 192.0.2.254 dev eth0\n10.0.0.0/25 dev eth1 proto kernel scope link src 10.0.0.7\n",
        &["WL507 hub/wg0.conf:3"],
    );
    check_hub(
        "ip-route.txt",
        "default via 192.0.2.254 dev eth0\n10.0.0.0/24 dev wg0 proto kernel scope link src 10.0.0.1\n",
        &[],
    );
}

#[test]
fn a_private_endpoint_is_judged_by_the_networks_of_who_dials() {
    let leaf = LEAF.replace("192.0.2.1", "192.168.7.1");
    let check = |addresses: &str, expected: &[&str]| {
        check_hosts(&[("leaf/wg0.conf", &leaf), ("leaf/ip.txt", addresses), ("hub/wg0.conf", HUB)], expected);
    };
    check("2: eth0    inet 192.168.9.9/24 scope global\n", &["WL509 :7"]);
    check("2: eth0    inet 192.168.7.9/24 scope global\n", &[]);
}

#[test]
fn sizes_are_held_against_the_line() {
    let leaf = |mtu: u16| LEAF.replace("[Peer]", &format!("MTU = {mtu}\n[Peer]"));
    let check = |mtu: u16, addresses: &str, expected: &[&str]| {
        check_hosts(&[("leaf/wg0.conf", &leaf(mtu)), ("leaf/ip.txt", addresses), ("hub/wg0.conf", HUB)], expected);
    };
    let line = "2: eth0: <UP> mtu 1500\n3: ppp0: <UP> mtu 1492\n    inet 198.51.100.7/32\n4: wg0: <UP> mtu 1432\n";
    check(1440, "nameserver 9.9.9.9\n", &[]);
    check(1441, "nameserver 9.9.9.9\n", &["WL517 :4"]);
    check(1432, line, &[]);
    check(1433, line, &["WL517 :4"]);
}

#[test]
fn a_tunnel_in_a_tunnel_needs_room() {
    let outer = "[Interface]\nAddress = 10.0.0.2/24\n[Peer]\nPublicKey = #3\nAllowedIPs = 10.0.0.0/24\nEndpoint = 192.0.2.1:51820\n";
    let inner = |mtu: u16| {
        format!(
            "[Interface]\nMTU = {mtu}\nAddress = 10.9.0.2/24\n[Peer]\nPublicKey = #4\nAllowedIPs = 10.9.0.0/24\nEndpoint = 10.0.0.9:51820\n"
        )
    };
    let check = |mtu: u16, expected: &[&str]| {
        check_hosts(&[("etc/wireguard/wg0.conf", outer), ("etc/wireguard/wg1.conf", &inner(mtu))], expected);
    };
    check(1360, &[]);
    check(1420, &["WL518 etc/wireguard/wg1.conf:2"]);
}

#[test]
fn what_is_behind_a_host_needs_a_way_back() {
    let gateway = "[Interface]\nPrivateKey = @1\nAddress = 10.0.0.1/24\nListenPort = 51820\n[Peer]\nPublicKey = #2\nAllowedIPs = 10.0.0.2/32\n";
    let leaf = LEAF.replace("10.0.0.0/24", "10.0.0.1/32, 192.168.77.0/24");
    let check = |gateway: &str, leaf: &str, expected: &[&str]| {
        check_hosts(&[("gw/wg0.conf", gateway), ("leaf/wg0.conf", leaf)], expected);
    };
    check(gateway, &leaf, &["WL515 :1", "WL519 :1"]);
    let hooks = "PostUp = iptables -t mangle -A FORWARD -o %i -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n\
        PostUp = iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE\n";
    check(&gateway.replace("ListenPort", &format!("{hooks}ListenPort")), &leaf, &[]);
    let cloud = leaf.replace("192.0.2.1", "ec2-192-0-2-1.eu-west-1.compute.amazonaws.com");
    check(gateway, &cloud, &["WL515 :1", "WL516 leaf/wg0.conf:7", "WL519 :1"]);
}

#[test]
fn two_sites_with_one_network_are_found() {
    let gateway = |number: u8, other: u8| {
        format!(
            "[Interface]\nPrivateKey = @{number}\nAddress = 10.0.0.{number}/24\nListenPort = 51820\n[Peer]\nPublicKey = #{other}\nAllowedIPs = 10.0.0.{other}/32\nEndpoint = 192.0.2.{other}:51820\n"
        )
    };
    let lan = |address: &str| format!("2: eth0: <UP> mtu 1500\n    inet {address} scope global eth0\n");
    let check = |b: &str, expected: &[&str]| {
        let (one, two) = (gateway(1, 2), gateway(2, 1));
        let files =
            [("a/wg0.conf", &*one), ("a/ip.txt", &lan("192.168.1.5/24")), ("b/wg0.conf", &two), ("b/ip.txt", &lan(b))];
        check_hosts(&files, expected);
    };
    check("192.168.0.7/16", &["WL508 a/ip.txt:2"]);
    check("192.168.2.7/24", &[]);
}

#[test]
fn clocks_and_routers_say_what_is_wrong_with_them() {
    check_hub("timedatectl.txt", "Local time: Sat\nRTC time: n/a\nSystem clock synchronized: no\n", &["WL526 :3"]);
    check_hub("timedatectl.txt", "RTC time: n/a\nSystem clock synchronized: yes\n", &["WL526 :1"]);
    check_hub("timedatectl.txt", "RTC time: Sat\nSystem clock synchronized: yes\n", &[]);
    let router = "set interfaces wireguard wg0 address 10.0.0.9/24\nset interfaces wireguard wg0 peer #2 allowed-ips 10.0.0.2/32\n\
        set system host-name erx\nset system offload hwnat enable\nset interfaces wireguard wg0 peer #2 disable\n";
    check_hosts(&[("r/commands", router)], &["WL524 :5", "WL526 :3", "WL533 :4"]);
    let tree = "system {\n    host-name erx\n    ntp {\n        server pool.example.org {\n        }\n    }\n    offload {\n        hwnat enable\n    }\n}\n\
        interfaces {\n    wireguard wg0 {\n        address 10.0.0.9/24\n    }\n}\n";
    check_hosts(&[("r/config.boot", tree)], &["WL533 :8"]);
}

#[test]
fn bgp_sessions_have_next_hops_that_can_be_used() {
    let bird = "router id 10.0.0.1;\nprotocol bgp outside {\n  local as 4242420001;\n  neighbor fe80::2%wg0 as 4242420002;\n  ipv4 {\n    import all;\n  };\n}\n\
        protocol bgp inside {\n  local as 4242420001;\n  neighbor 10.0.0.2 as 4242420001;\n  ipv4 { import all; export all; };\n}\n";
    check_hub("bird.conf", bird, &["WL536 :5", "WL537 :9"]);
    let wide = HUB.replace("10.0.0.2/32", "0.0.0.0/0");
    let ibgp =
        "protocol bgp inside {\n  local as 65001;\n  neighbor 10.0.0.2 as 65001;\n  ipv4 { next hop self; };\n}\n";
    let found = |text: &str| super::support::found(&[("h/wg0.conf", text), ("h/bird.conf", ibgp)]);
    assert!(found(&wide).iter().any(|line| line.starts_with("WL543 h/wg0.conf:")), "{:?}", found(&wide));
    let off = wide.replace("ListenPort", "Table = off\nListenPort");
    assert!(!found(&off).iter().any(|line| line.starts_with("WL543")), "{:?}", found(&off));
    let sound = bird
        .replace("import all;\n", "extended next hop on;\n")
        .replace("{ import all;", "{ next hop self; import all;");
    check_hub("bird.conf", &sound, &[]);
    let frr = "router bgp 65001\n neighbor 10.0.0.2 remote-as 65001\n neighbor 10.0.0.3 remote-as 65002\n";
    check_hub("frr.conf", frr, &["WL537 :2"]);
    check_hub("frr.conf", &format!("{frr} neighbor 10.0.0.2 next-hop-self\n"), &[]);
    let edgeos = "set interfaces wireguard wg0 address 10.0.0.9/24\nset protocols bgp 65001 neighbor 10.0.0.2 remote-as 65001\nset protocols bgp 65001 neighbor 10.0.0.3 remote-as 65002\n";
    check_hosts(&[("r/commands", edgeos)], &["WL537 :2"]);
    let sound = format!("{edgeos}set protocols bgp 65001 neighbor 10.0.0.2 nexthop-self\n");
    check_hosts(&[("r/commands", &sound)], &[]);
}

#[test]
fn garbage_beside_the_files_is_no_trouble() {
    for text in [
        "table inet x {\n",
        "*filter\n-A FORWARD\n-A FORWARD -j\n:FORWARD\n",
        "protocol bgp {\n",
        "router bgp \nneighbor\n",
        "1: x: <\n inet\n inet x\n",
        "net.ipv4.ip_forward =\n",
    ] {
        check_hub("x.txt", text, &[]);
    }
}
