//! Rendered files carried out: scripts in namespaces over the embedded engine, user-data as cloud-init would, and
//! systemd-networkd's own parser.
//!
//! Everything runs in a network, mount and process namespace of its own, with empty directories where programs keep
//! sockets and configuration, so nothing of the machine's is seen or changed.

use std::process::Command;

use crate::desk::{Desk, Ran, WAYLEAVE, can_run};

pub const PROGRAMS: [&str; 7] = ["unshare", "wg", "wg-quick", "ip", "mount", "ping", "sysctl"];

/// Runs a script apart, with `$W` as `wayleave` and the engine as the implementation that rendered scripts call.
pub fn apart(desk: &Desk, script: &str) -> Ran {
    let prepared = format!(
        "set -e; mkdir -p /run/wireguard /run/netns; mount -t tmpfs none /run/wireguard; mount -t tmpfs none /run/netns; \
         ip link set lo up; export WG_USERSPACE=\"$W engine\"\n{script}"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &prepared]);
    desk.run(command.env("W", WAYLEAVE), "")
}

/// Two nodes that dial each other inside the prefixes behind them, as in a cloud: their routes need a table of their own.
const CLOUD: &str = r#"[network]
name = "cloud"
prefixes = ["10.9.0.0/24", "fd09::/64"]
platform = "commands"

[nodes.a]
endpoints = { vpc = "10.1.0.1" }
prefixes = ["10.1.0.0/16"]
hub = true

[nodes.b]
endpoints = { vpc = "10.2.0.1" }
device = "wg1"
prefixes = ["10.2.0.0/16"]
"#;

#[test]
fn commands_join_two_hosts_and_leave_nothing_behind() {
    if !can_run("commands_join_two_hosts_and_leave_nothing_behind", true, &[&PROGRAMS[..], &["dash"]].concat()) {
        return;
    }
    let desk = Desk::with("network.toml", CLOUD);
    desk.wayleave("key make").expect(0);
    desk.wayleave("render network.toml b --keys keys -o out").expect(0);
    let path = desk.path("keys/a.key");
    desk.wayleave(&format!("render network.toml a --key-path {} -o out", path.display())).expect(0);
    assert_eq!((desk.mode("out/a/wg0.sh"), desk.mode("out/b/wg1.sh")), (0o755, 0o700));
    let script = "
ip netns add other
ip link add va type veth peer name vb netns other
ip addr add 10.1.0.1/16 dev va; ip link set va up; ip route add 10.2.0.0/16 dev va
ip -n other addr add 10.2.0.1/16 dev vb; ip -n other link set vb up; ip -n other route add 10.1.0.0/16 dev vb
state() { ip -4 rule; ip -6 rule; ip -4 route show table all; ip -o link show; ls /run/wireguard; }
state | sed 's/ state .*//' >before
dash out/a/wg0.sh up
ip netns exec other sh out/b/wg1.sh up
ping -q -c 3 -i 0.2 -W 5 10.9.0.2; ping -q -c 3 -i 0.2 -W 5 fd09::2
ping -q -c 1 -W 5 -I 10.9.0.1 10.2.0.1
dash out/a/wg0.sh show | grep -c 'latest handshake'
cat /proc/sys/net/ipv4/ip_forward
dash out/a/wg0.sh up || echo again: $?
dash out/a/wg0.sh down
# The engine ends by itself when its device is gone.
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e /run/wireguard/wg0.sock ] || break; sleep 0.1; done
state | sed 's/ state .*//' | grep -v wg1 >after
diff before after && echo nothing left
echo nonsense >keys/a.key
dash out/a/wg0.sh up || echo refused: $?
ip link show wg0 2>/dev/null || echo gone";
    let ran = apart(&desk, script).expect(0);
    assert_eq!(ran.out.matches("3 packets transmitted, 3 received").count(), 2, "{ran}");
    assert!(ran.out.contains("1 packets transmitted, 1 received"), "{ran}");
    assert!(ran.out.ends_with("1\n1\nagain: 1\nnothing left\nrefused: 1\ngone\n"), "{ran}");
    assert!(ran.err.contains("wg0.sh: there is a device wg0 already"), "{ran}");
}

#[test]
fn a_container_starts_with_its_own_key_only() {
    if !can_run("a_container_starts_with_its_own_key_only", true, &[&PROGRAMS[..], &["busybox", "dash"]].concat()) {
        return;
    }
    let desk = Desk::with("network.toml", crate::NETWORK);
    desk.wayleave("key make").expect(0);
    desk.wayleave("render --platform container -o out").expect(0);
    let refused = |setting: &str, why: &str| {
        let script = format!("{setting} dash out/right/entrypoint.sh true || echo refused; ip -o link show | wc -l");
        let ran = apart(&desk, &script).expect(0);
        // Nothing but the loopback is there.
        assert_eq!(ran.out, "refused\n1\n", "{ran}");
        assert!(ran.err.contains(why), "{ran}");
    };
    refused("", "WG_PRIVATE_KEY is not set; it is to hold the private key of right");
    refused("WG_PRIVATE_KEY='a/b&c\\d'", "is no private key");
    refused("WG_PRIVATE_KEY=$(cat keys/left.key)", "the private key is not that of right");
    refused("WG_PRIVATE_KEY_FILE=/nowhere", "/nowhere, which can't be read");
    let public = desk.wayleave("key public keys/right.key").expect(0).out;
    for (shell, setting) in
        [("dash", "WG_PRIVATE_KEY=$(cat keys/right.key)"), ("busybox sh", "WG_PRIVATE_KEY_FILE=keys/right.key")]
    {
        let inner = "wg show wg0 public-key; ip -o -4 addr show dev wg0; env | grep -c WG_PRIVATE || true";
        let ran = apart(&desk, &format!("{setting} {shell} out/right/entrypoint.sh sh -c '{inner}'")).expect(0);
        assert!(ran.out.starts_with(&public) && ran.out.contains("10.9.0.") && ran.out.ends_with("\n0\n"), "{ran}");
    }
}

#[test]
fn a_container_without_a_command_ends_when_it_is_told_to() {
    if !can_run("a_container_without_a_command_ends_when_it_is_told_to", true, &PROGRAMS) {
        return;
    }
    let desk = Desk::with("network.toml", crate::NETWORK);
    desk.wayleave("key make").expect(0);
    desk.wayleave("render --platform container -o out").expect(0);
    // The hub forwards.
    let script = "WG_PRIVATE_KEY=$(cat keys/hub.key) dash out/hub/entrypoint.sh & entry=$!
for _ in $(seq 100); do [ \"$(cat /proc/sys/net/ipv4/ip_forward)\" = 1 ] && break; sleep 0.1; done
sleep 0.3; wg show wg0 peers | wc -l; kill -TERM $entry; wait $entry; echo ended: $?; ip link show wg0 2>/dev/null || echo gone";
    let ran = apart(&desk, script).expect(0);
    assert_eq!(ran.out, "3\nended: 0\ngone\n", "{ran}");
}

/// A host whose default route over IPv6 comes from advertisements, beside an interface that is to take none.
const ADVERTISED: &str = r#"
set -e; export WG_QUICK_USERSPACE_IMPLEMENTATION="$PWD/engine.sh"
until_true() { for _ in $(seq 100); do sh -c "$1" >/dev/null 2>&1 && return; sleep 0.1; done; echo "never: $1"; exit 1; }
router() { ip -6 route show default | grep -c 'proto ra' || true; }
settings() { for i in va quiet default all; do cat /proc/sys/net/ipv6/conf/$i/accept_ra; done | tr '\n' ' '; cat /proc/sys/net/ipv6/conf/all/forwarding; }
ip netns add r; ip link add va type veth peer name vb netns r; ip -n r link set vb up
ip link add quiet type veth peer name q2; sysctl -q -w net.ipv6.conf.quiet.accept_ra=0; ip link set va up
cat >radvd.conf <<T
interface vb { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix fd77::/64 { }; };
T
ip netns exec r sysctl -q -w net.ipv6.conf.all.forwarding=1
ip netns exec r radvd -n -m stderr -C "$PWD/radvd.conf" -p "$PWD/radvd.pid" 2>radvd.log &
heard="ip -6 route show default | grep 'proto ra'"
until_true "$heard"; settings; router
UP
settings; router; ip -6 route flush default proto ra; until_true "$heard"
DOWN
router; ip -6 route flush default proto ra; until_true "$heard"; settings
"#;

#[test]
fn hosts_that_begin_to_forward_keep_the_router_that_they_heard_of() {
    let test = "hosts_that_begin_to_forward_keep_the_router_that_they_heard_of";
    if !can_run(test, true, &[&PROGRAMS[..], &["radvd", "dash", "nft", "systemd-analyze"]].concat()) {
        return;
    }
    let desk = Desk::with("network.toml", CLOUD);
    desk.wayleave("key make").expect(0);
    desk.write("engine.sh", format!("#!/bin/sh\nexec {WAYLEAVE} engine \"$1\"\n"));
    desk.program("chmod 0755 engine.sh", "").expect(0);
    for platform in ["wg-quick", "commands", "container", "networkd"] {
        desk.wayleave(&format!("render network.toml a --platform {platform} --keys keys -o {platform}")).expect(0);
    }
    // systemd's own reading of the unit, and what it would start.
    desk.program("systemd-analyze verify networkd/a/wayleave-wg0.service", "").expect(0);
    let starts = r"mount -t tmpfs none /etc/wireguard; cp networkd/a/wg0.firewall /etc/wireguard
sed -n 's/^ExecStart=//p' networkd/a/wayleave-wg0.service | sed 's/\$\$/$/g; s/%%/%/g' >starts; dash -e starts";
    let entry = "WG_PRIVATE_KEY=$(cat keys/a.key) dash container/a/entrypoint.sh true";
    for (up, down) in [
        ("wg-quick up ./wg-quick/a/wg0.conf", "wg-quick down ./wg-quick/a/wg0.conf"),
        ("dash commands/a/wg0.sh up", "dash commands/a/wg0.sh down"),
        (entry, "ip link del wg0"),
        (starts, "true"),
    ] {
        let ran = apart(&desk, &ADVERTISED.replace("UP", up).replace("DOWN", down)).expect(0);
        assert_eq!(ran.out, "1 0 1 1 0\n1\n2 0 1 1 1\n1\n1\n2 0 1 1 1\n", "{up}\n{ran}");
    }
}

#[test]
fn a_router_that_is_told_so_forwards_the_port_to_the_gateway_behind_it() {
    let test = "a_router_that_is_told_so_forwards_the_port_to_the_gateway_behind_it";
    if !can_run(test, true, &[&PROGRAMS[..], &["iptables", "python3"]].concat()) {
        return;
    }
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let desk = Desk::with("network.toml", &std::fs::read_to_string(examples.join("two-offices.toml")).unwrap());
    desk.wayleave("key make").expect(0);
    desk.wayleave("render network.toml --routes -o lan").expect(0);
    // The router here, the gateway and somebody at the other office in namespaces of their own.
    let script = "
for n in gateway abroad; do ip netns add $n; ip -n $n link set lo up; done
ip link add lan type veth peer name eth0 netns gateway; ip addr add 192.168.10.1/24 dev lan; ip link set lan up
ip -n gateway addr add 192.168.10.2/24 dev eth0; ip -n gateway link set eth0 up; ip -n gateway route add default via 192.168.10.1
ip link add wan type veth peer name eth0 netns abroad; ip addr add 198.51.100.10/24 dev wan; ip link set wan up
ip -n abroad addr add 198.51.100.20/24 dev eth0; ip -n abroad link set eth0 up
sysctl -q -w net.ipv4.ip_forward=1; iptables -P FORWARD DROP; iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
cat >answer.py <<T
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 7777)); s.settimeout(20)
word, who = s.recvfrom(99); s.sendto(b'heard ' + word, who)
T
cat >ask.py <<T
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)
s.connect(('198.51.100.10', 7777)); s.send(b'word')
try: print(s.recv(99).decode())
except OSError: print('closed')
T
ip netns exec gateway python3 answer.py & sleep 0.5
ip netns exec abroad python3 ask.py
grep ^iptables lan/routes-alpha.txt | sh -e
ip netns exec abroad python3 ask.py";
    let ran = apart(&desk, script).expect(0);
    assert_eq!(ran.out, "closed\nheard word\n", "{ran}");
}

/// What cloud-init does with `write_files` and `runcmd`.
const CLOUD_INIT: &str = r#"
import os, subprocess, sys, yaml
data = yaml.safe_load(open("out/right/user-data.yaml"))
assert data["packages"] == ["wireguard-tools"], data
assert "/var/log/wayleave.log" in data["output"]["all"], data
for file in data["write_files"]:
    with open(file["path"], "w") as out:
        out.write(file["content"])
    os.chmod(file["path"], int(file["permissions"], 8))
sys.exit(max(subprocess.run(command).returncode for command in data["runcmd"]))
"#;

#[test]
fn user_data_joins_a_machine_when_it_has_its_key() {
    if !can_run("user_data_joins_a_machine_when_it_has_its_key", true, &[&PROGRAMS[..], &["cloud-init"]].concat()) {
        return;
    }
    let desk = Desk::with("network.toml", crate::NETWORK);
    desk.wayleave("key make").expect(0);
    desk.wayleave("render network.toml right --platform cloud-init -o out").expect(0);
    desk.write("run.py", CLOUD_INIT);
    desk.write("engine.sh", format!("#!/bin/sh\nexec {WAYLEAVE} engine \"$1\"\n"));
    let systemctl = "#!/bin/sh\necho systemctl \"$@\"\n[ \"$1\" = enable ] || exec wg-quick up \"${2#wg-quick@}\"\n";
    desk.program("mkdir bin", "").expect(0);
    desk.write("bin/systemctl", systemctl);
    desk.program("chmod 0755 engine.sh bin/systemctl", "").expect(0);
    // cloud-init's own Python has the YAML.
    let script = "for d in /etc/wireguard /etc/sysctl.d /usr/local/sbin; do mount -t tmpfs none $d; done
export PATH=\"$PWD/bin:$PATH\" WG_QUICK_USERSPACE_IMPLEMENTATION=\"$PWD/engine.sh\"
/usr/bin/python3 run.py || echo refused; ip link show wg0 2>/dev/null || echo no device
stat -c '%a %n' /etc/wireguard/*
cat keys/right.key >/etc/wireguard/wg0.key
/usr/local/sbin/wayleave-join-wg0; ip -o -4 addr show dev wg0";
    let ran = apart(&desk, script).expect(0);
    let public = desk.wayleave("key public keys/right.key").expect(0).out;
    let expected = "refused\nno device\n600 /etc/wireguard/wg0.conf\n600 /etc/wireguard/wg0.key\n\
                    systemctl enable wg-quick@wg0\nsystemctl restart wg-quick@wg0\n";
    assert!(ran.out.starts_with(expected), "{ran}");
    assert!(ran.out.contains(&format!("public key: {public}")) && ran.out.contains("inet 10.9.0."), "{ran}");
    assert!(ran.err.contains("put the private key of right into /etc/wireguard/wg0.key"), "{ran}");
    // With its key at hand it starts at once.
    desk.wayleave("render network.toml right --platform cloud-init --keys keys -o out").expect(0);
    assert_eq!(desk.mode("out/right/user-data.yaml"), 0o600);
    let script = script.replace("cat keys/right.key >/etc/wireguard/wg0.key\n/usr/local/sbin/wayleave-join-wg0;", "");
    let ran = apart(&desk, &script).expect(0);
    assert!(ran.out.contains(&format!("public key: {public}")) && !ran.out.contains("refused"), "{ran}");
}

/// What systemd-networkd says about files as it reads them; it stops by itself.
fn networkd_reads(desk: &Desk, files: &str) -> String {
    let script = format!(
        "mkdir -p /run/systemd; mount -t tmpfs none /run/systemd; mkdir -p /run/systemd/network
mount -t tmpfs none /etc/systemd/network; mount -t tmpfs none /lib/systemd/network
cp {files} /run/systemd/network; echo $KEY >/etc/systemd/network/wg0.key
SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console timeout 2 /lib/systemd/systemd-networkd 2>&1 || true"
    );
    let ran = apart(desk, &format!("KEY=$(cat keys/hub.key)\n{script}")).expect(0);
    assert!(ran.out.contains("Enumeration completed"), "{ran}");
    ran.out
}

#[test]
fn networkd_understands_every_line() {
    if !can_run("networkd_understands_every_line", true, &[&PROGRAMS[..], &["networkctl"]].concat()) {
        return;
    }
    let cloud = CLOUD.replace("[nodes.a]", "[nodes.hub]");
    for text in [crate::NETWORK, &cloud] {
        let desk = Desk::with("network.toml", text);
        desk.wayleave("key make").expect(0);
        desk.wayleave("render network.toml hub --platform networkd -o out").expect(0);
        let said = networkd_reads(&desk, "out/hub/30-*");
        let complaints: Vec<&str> = said.lines().filter(|line| line.contains("/run/systemd/network/30-")).collect();
        assert!(complaints.is_empty(), "{complaints:?}\n{said}");
        // It gets as far as asking the kernel for the device, which this one may not be able to make.
        assert!(
            said.lines().any(|line| line.starts_with("wg0: ") && !line.contains("ignoring network device")),
            "{said}"
        );
        // Were a key unknown, it would say so.
        let wrong = desk.read("out/hub/30-wg0.network").replace("Destination=", "Destinatoin=");
        desk.write("out/hub/30-wg0.network", wrong);
        assert!(networkd_reads(&desk, "out/hub/30-*").contains("Unknown key 'Destinatoin'"));
    }
}

/// A server that only its owner's laptop may log in to.
const GUARDED: &str = r#"[network]
name = "guarded"
prefixes = ["10.9.0.0/24"]
policy = "deny"

[nodes.server]
endpoint = "192.0.2.1"
entry = true

[clients.laptop]

[[allow]]
from = ["laptop"]
to = ["server"]
ports = ["tcp/22"]
"#;

#[test]
fn every_platform_brings_its_firewall() {
    let test = "every_platform_brings_its_firewall";
    if !can_run(test, true, &[&PROGRAMS[..], &["nft", "cloud-init", "systemd-analyze"]].concat()) {
        return;
    }
    let desk = Desk::with("network.toml", GUARDED);
    desk.wayleave("key make").expect(0);
    for platform in ["commands", "container", "cloud-init", "networkd"] {
        desk.wayleave(&format!("render network.toml server --platform {platform} -o {platform}")).expect(0);
    }
    let wanted = desk.read("commands/server/wg0.firewall");
    let table = "nft list table inet wayleave-wg0";
    let script = format!(
        "mount -t tmpfs none /etc/wireguard; cp keys/server.key /etc/wireguard/wg0.key
sh commands/server/wg0.sh up; {table}; sh commands/server/wg0.sh down; ! {table} 2>/dev/null"
    );
    let by_commands = apart(&desk, &script).expect(0).out;
    assert!(by_commands.contains("tcp dport 22 accept"), "{by_commands}");
    let script = format!("WG_PRIVATE_KEY=$(cat keys/server.key) sh container/server/entrypoint.sh {table}");
    assert_eq!(apart(&desk, &script).expect(0).out, by_commands);
    // A machine that is made by user-data has the script where its wg-quick file runs it, and what the script calls.
    desk.program("cloud-init schema -c cloud-init/server/user-data.yaml", "").expect(0);
    let data = desk.read("cloud-init/server/user-data.yaml");
    assert!(
        data.contains("\n  - nftables\n") && data.contains("PostUp = sh /etc/wireguard/%i.firewall up\n"),
        "{data}"
    );
    let entry = data.split("  - path: /etc/wireguard/wg0.firewall\n").nth(1).unwrap();
    let lines = entry.lines().skip(3).take_while(|line| line.is_empty() || line.starts_with("      "));
    let written: String = lines.map(|line| format!("{}\n", line.strip_prefix("      ").unwrap_or_default())).collect();
    assert_eq!(written, wanted);
    let ran = desk.program("systemd-analyze verify networkd/server/wayleave-wg0.service", "").expect(0);
    assert_eq!(ran.err, "", "{ran}");
}
