//! Routes for sites by DHCP: three real servers are given what is rendered, and a real client says what it was told.

use std::process::Command;

use crate::desk::{Desk, Ran, can_run};

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
