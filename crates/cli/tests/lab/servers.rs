//! Routes for sites by DHCP and names by DNS: real servers are given what is rendered, and real clients say what they were told.

use std::process::Command;

use crate::desk::{Desk, Ran, can_run};
use crate::rendered::apart;

/// What follows a title in a rendered text, up to the next empty line.
fn section(text: &str, title: &str) -> String {
    let lines = text.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// A server in a namespace, once it has found its file good, and a client in another, which prints options 121 and 249 as it
/// got them. All that a server writes is in directories of its own.
fn asked(desk: &Desk, check: &str, serve: &str) -> Ran {
    let script = format!(
        "set -e; mkdir -p /run/netns; mount -t tmpfs none /run/netns
ip netns add client; ip link add srv0 type veth peer name cli0 netns client
ip address add 192.168.10.1/24 dev srv0; ip link set lo up; ip link set srv0 up
ip netns exec client ip link set cli0 up
{check} >server.log 2>&1 || {{ cat server.log; exit 1; }}
({serve}) >server.log 2>&1 &
ip netns exec client busybox udhcpc -f -i cli0 -n -q -t 40 -T 1 -s $PWD/client.sh -O 121 -O 249 || {{ cat server.log; exit 1; }}"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]);
    desk.run(&mut command, "")
}

#[test]
fn a_dhcp_client_is_told_the_ways_by_every_server() {
    let test = "a_dhcp_client_is_told_the_ways_by_every_server";
    if !can_run(test, true, &["unshare", "ip", "mount", "busybox", "dnsmasq", "kea-dhcp4", "dhcpd"]) {
        return;
    }
    let desk = Desk::with_examples();
    desk.wayleave("render two-offices.toml --routes -o routes").expect(0);
    let text = desk.read("routes/routes-alpha.txt");
    desk.write("client.sh", "#!/bin/sh\n[ \"$1\" != bound ] || echo \"121: $staticroutes\n249: $msstaticroutes\"\n");
    desk.program("chmod 755 client.sh", "").expect(0);
    let range = "port=0\ninterface=srv0\nbind-interfaces\nleasefile-ro\nuser=root\npid-file\ndhcp-range=192.168.10.50,192.168.10.99,1h\n";
    desk.write("dnsmasq.conf", format!("{range}{}", section(&text, "# dnsmasq")));
    let options = section(&text, "# Kea, in option-data").trim_end().replace('\n', ",\n");
    let kea = format!(
        r#"{{ "Dhcp4": {{ "interfaces-config": {{ "interfaces": ["srv0"] }}, "lease-database": {{ "type": "memfile", "persist": false }},
"subnet4": [ {{ "subnet": "192.168.10.0/24", "pools": [ {{ "pool": "192.168.10.50 - 192.168.10.99" }} ],
"option-data": [ {options} ] }} ] }} }}"#
    );
    desk.write("kea.json", kea);
    let isc = section(&text, "# ISC dhcpd");
    desk.write(
        "dhcpd.conf",
        format!("{isc}subnet 192.168.10.0 netmask 255.255.255.0 {{ range 192.168.10.50 192.168.10.99; }}\n"),
    );
    desk.write("leases", "");
    let env = "KEA_PIDFILE_DIR=$PWD KEA_LOCKFILE_DIR=none";
    for (check, serve) in [
        ("dnsmasq --test -C dnsmasq.conf", "dnsmasq -k -C dnsmasq.conf".to_owned()),
        ("kea-dhcp4 -t kea.json", format!("{env} kea-dhcp4 -c kea.json")),
        ("dhcpd -4 -t -cf dhcpd.conf -lf leases", "dhcpd -4 -f -d -cf dhcpd.conf -lf leases -pf pid srv0".to_owned()),
    ] {
        let ran = asked(&desk, check, &serve).expect(0);
        let routes = "121: 0.0.0.0/0 192.168.10.1 10.99.0.0/24 192.168.10.2 192.168.20.0/24 192.168.10.2\n";
        assert!(ran.out.contains(routes), "{serve}: {ran}");
        assert!(ran.out.contains(&routes.replace("121", "249")), "{serve}: {ran}");
    }
}

/// Prefixes that end between labels, and members that are named like what else has a meaning in zones.
const NAMED: &str = r#"[network]
name = "named"
domain = "overlay.example"
prefixes = ["10.9.0.0/20", "fd09::/61"]

[nodes.mail]
endpoint = "192.0.2.1"
entry = true
hub = true
addresses = ["10.9.7.1", "fd09:0:0:5::1"]

[nodes.in]
[nodes.ns]
[nodes."127"]

[clients.localhost]
"#;

#[test]
fn resolvers_know_everybody_by_name_and_by_address() {
    let test = "resolvers_know_everybody_by_name_and_by_address";
    if !can_run(test, true, &["unshare", "ip", "mount", "dnsmasq", "named", "getent"]) {
        return;
    }
    let desk = Desk::with("network.toml", NAMED);
    desk.wayleave("key make").expect(0);
    desk.wayleave("render --names -o names").expect(0);
    let hosts = desk.read("names/hosts");
    let entries: Vec<(&str, &str)> = hosts
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(address, names)| (address, names.split(' ').next().unwrap()))
        .collect();
    assert_eq!(entries.len(), 10, "{hosts}");
    let zones = std::fs::read_dir(desk.path("names")).unwrap().map(|entry| entry.unwrap().file_name());
    let zones = zones.filter_map(|name| name.into_string().unwrap().strip_suffix(".zone").map(str::to_owned));
    let zones: String =
        zones.map(|zone| format!("zone \"{zone}\" {{ type primary; file \"names/{zone}.zone\"; }};\n")).collect();
    let folder = desk.path("").display().to_string();
    desk.write(
        "named.conf",
        format!(
            "options {{ directory \"{folder}\"; listen-on {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no;\n\
             pid-file none; session-keyfile none; managed-keys-directory \"{folder}\"; }};\ncontrols {{ }};\n{zones}"
        ),
    );
    desk.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:5\n");
    let by_name = |server: &str, kind: &str| {
        let mut script = format!(
            "echo 'hosts: {kind}' >nsswitch.conf; mount --bind nsswitch.conf /etc/nsswitch.conf
mount --bind resolv.conf /etc/resolv.conf
# Resolvers ask for families only that the host has addresses of.
ip link add va type veth peer name vb; ip link set va up; ip address add 192.0.2.9/24 dev va; ip address add fd77::9/64 dev va nodad
{server}
for _ in $(seq 50); do getent hosts 10.9.7.1 >/dev/null && break; sleep 0.1; done\n"
        );
        for (address, name) in &entries {
            let family = if address.contains(':') { "ahostsv6" } else { "ahostsv4" };
            script += &format!(
                "getent {family} {name} | awk 'NR==1 {{ print $1 }}'; getent hosts {address} | awk '{{ print $2 }}'\n"
            );
        }
        apart(&desk, &script).expect(0)
    };
    let expected: String = entries.iter().map(|(address, name)| format!("{address}\n{name}\n")).collect();
    for (server, kind) in [
        ("named -g -c named.conf >named.log 2>&1 &", "dns"),
        ("dnsmasq -k -C /dev/null --no-resolv --no-hosts --addn-hosts=$PWD/names/hosts -u root --pid-file= &", "dns"),
        ("mount --bind names/hosts /etc/hosts", "files"),
    ] {
        let ran = by_name(server, kind);
        assert_eq!(ran.out, expected, "{server}\n{ran}");
    }
}
