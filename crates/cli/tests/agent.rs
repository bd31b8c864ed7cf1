//! The real agent on real hosts: network namespaces of the test's own, two nodes on one wire, the embedded engine.
//!
//! Each test is a script in a network, mount and process namespace of its own, so that everything ends with it. In a script
//! `agent a` starts the agent of node a in the background and waits for it, `on a ...` runs something there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "agent/attack.rs"]
mod attack;
#[path = "agent/bgp.rs"]
mod bgp;
#[path = "agent/bird_3.rs"]
mod bird_3;
mod desk;
#[path = "agent/drain.rs"]
mod drain;
#[path = "agent/flapping.rs"]
mod flapping;
#[path = "agent/kernel.rs"]
mod kernel;
#[path = "agent/live.rs"]
mod live;
#[path = "agent/neighbours.rs"]
mod neighbours;
#[path = "agent/next_hop.rs"]
mod next_hop;
#[path = "agent/ready.rs"]
mod ready;
#[path = "agent/sites.rs"]
mod sites;
#[path = "agent/their_bird.rs"]
mod their_bird;

use std::process::Command;

use desk::{Desk, Ran, WAYLEAVE, can_run};

const PROGRAMS: [&str; 6] = ["timeout", "unshare", "ip", "mount", "ping", "nsenter"];

/// What every script begins with: hosts a and b at 192.0.2.1 and 192.0.2.2, with keys and a network file.
const BEGIN: &str = r#"
set -e
trap 'set +e; for log in *.log; do [ ! -e $log ] || { echo "== $log"; tail -n 60 $log; }; done' EXIT
mount -t tmpfs none /run; mkdir /run/netns; ip link set lo up
for n in a b; do
    "$W" key generate -o $n.key > $n.pub; ip netns add $n; ip -n $n link set lo up; mkdir -p run-$n wg-$n
done
ip link add va netns a type veth peer name vb netns b
ip -n a addr add 192.0.2.1/24 dev va; ip -n a link set va up
ip -n b addr add 192.0.2.2/24 dev vb; ip -n b link set vb up
cat > network.toml <<T
[network]
name = "two"
prefixes = ["10.50.0.0/24"]
[nodes.a]
endpoint = "192.0.2.1"
public_key = "$(cat a.pub)"
[nodes.b]
endpoint = "192.0.2.2"
public_key = "$(cat b.pub)"
prefixes = ["192.168.9.0/24"]
T
on() { n=$1; shift; WAYLEAVE_RUNTIME_DIR=$PWD/run-$n nsenter --net=/run/netns/$n "$@"; }
until_true() { i=0; while ! eval "$1" > /dev/null 2>&1; do i=$((i + 1)); [ $i -lt 300 ] || { echo "never: $1"; cat *.log; exit 1; }; sleep 0.1; done; }
agent() {
    n=$1; shift
    (export WAYLEAVE_RUNTIME_DIR=$PWD/run-$n; exec nsenter --net=/run/netns/$n unshare -m sh -c \
        'mkdir -p /run/wireguard; mount --bind "wg-'$n'" /run/wireguard; exec "$W" agent "$@"' sh \
        --node $n --private-key $n.key --device engine "$@") >> $n.log 2>&1 &
    echo $! > $n.pid
    until_true "on $n $W show"
}
seen() { ip -n $1 -o link | sed 's/ qlen .*//'; ip -n $1 -o address; ip -n $1 -4 route show table all; ip -n $1 -6 route show table all; ip -n $1 rule; on $1 cat /proc/sys/net/ipv4/ip_forward; }
"#;

fn scenario(test: &str, script: &str) -> Option<Ran> {
    scenario_with(test, &[], script)
}

fn scenario_with(test: &str, programs: &[&str], script: &str) -> Option<Ran> {
    if !can_run(test, true, &[&PROGRAMS, programs].concat()) {
        return None;
    }
    let desk = Desk::new();
    let mut command = Command::new("timeout");
    let script = format!("{BEGIN}{script}");
    command.args([
        "120",
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        &script,
    ]);
    Some(desk.run(command.env("W", WAYLEAVE), ""))
}

/// The lines that a script printed after `== NAME`, up to the next.
fn part<'a>(ran: &'a Ran, name: &str) -> Vec<&'a str> {
    let lines = ran.out.lines().skip_while(|line| *line != format!("== {name}")).skip(1);
    lines.take_while(|line| !line.starts_with("== ")).collect()
}

#[test]
fn agents_join_their_nodes_repair_what_is_taken_away_and_leave_the_host_as_it_was() {
    let script = r#"
until_true "! ip -n b address | grep -E 'tentative|NO-CARRIER'"; seen b > before
agent a; agent b --cleanup
until_true "on a ping -c 1 -W 1 10.50.0.2"
echo "== status"; on a "$W" status; echo "exit $?"
echo "== show"; on a "$W" show
echo "== ping"; on a "$W" ping b -c 2 -i 0.1; on a "$W" ping c 2>&1 || echo "exit $?"
echo "== dry"; on a "$W" apply --node a --dry-run; echo "exit $?"
ip -n a route del 192.168.9.0/24; ip -n a link set wg0 mtu 1300
until_true "ip -n a route show 192.168.9.0/24 | grep proto"
until_true "ip -n a link show wg0 | grep 'mtu 1420'"
echo "== kept"; cat before | wc -l; seen b | wc -l
kill $(cat b.pid); until_true "! on b ip link show wg0"
sleep 0.2; seen b > after; cmp before after && echo same
"#;
    let Some(ran) = scenario("agents_join_their_nodes", script) else { return };
    let ran = ran.expect(0);
    let status = part(&ran, "status");
    assert!(status[0].starts_with("a of two: fine; generation 1, wg0 (engine WireGuard"), "{ran}");
    assert!(status[2].starts_with("b ") && status[2].contains("direct") && status[2].contains("fine"), "{ran}");
    let show = part(&ran, "show");
    assert!(show[0] == "interface: wg0 (a of two)" && show.contains(&"  private key: (hidden)"), "{ran}");
    assert!(show.iter().any(|line| line.starts_with("  latest handshake: ")), "{ran}");
    let ping = part(&ran, "ping");
    assert_eq!(ping[0], "b (10.50.0.2), direct", "{ran}");
    assert!(ping[3].starts_with("2 sent, 2 answered, 0 % lost; shortest"), "{ran}");
    assert!(ping[4].contains("there is no node or client c in two"), "{ran}");
    assert_eq!(part(&ran, "dry"), ["exit 0"], "an agent that has done all has nothing to do: {ran}");
    assert_eq!(part(&ran, "kept").last(), Some(&"same"), "{ran}");
}

#[test]
fn a_changed_file_is_carried_out_at_once_and_a_bad_one_changes_nothing() {
    let script = r#"
agent a; agent b
until_true "on a ping -c 1 -W 1 10.50.0.2"
on a ping -q -i 0.02 -c 400 10.50.0.2 > ping.txt &
ping=$!; sleep 0.2; sed 's/192.168.9.0/192.168.8.0/' network.toml > new; mv new network.toml
until_true "ip -n a route show 192.168.8.0/24 | grep wg0"; echo "== old"; ip -n a route show 192.168.9.0/24
cp network.toml good; echo 'x = [' >> network.toml
until_true "on a $W status | grep refused"
echo "== bad"; on a "$W" status | sed -n 1,2p; ip -n a route show 192.168.8.0/24; on a "$W" reload 2>&1 || echo "exit $?"
cp good network.toml; until_true "on a $W status | grep 'a of two: fine'"
sed 's/192.168.8.0/192.168.6.0/' good > draft.toml; echo "== asked"
on a "$W" apply --network draft.toml --node a 2>&1 || echo "exit $?"
on a "$W" apply --network draft.toml --node a --dry-run || echo "exit $?"
sed 's/192.168.8.0/192.168.7.0/' good > network.toml; echo "== confirm"
on a "$W" apply --node a --confirm 2s; ip -n a route show 192.168.7.0/24 | wc -l
until_true "ip -n a route show 192.168.8.0/24 | grep wg0"; grep -c "not confirmed" a.log
on a "$W" apply --node a --confirm 2s; on a "$W" confirm; sleep 2.5; ip -n a route show 192.168.7.0/24 | wc -l
wait $ping; echo "== ping"; cat ping.txt
# Only now: b takes that file over, in which there is no a.
sed 's/nodes.a/nodes.c/' good > network.toml; on a "$W" reload 2>&1 || true
"#;
    let Some(ran) = scenario("a_changed_file_is_carried_out_at_once", script) else { return };
    let ran = ran.expect(0);
    assert!(part(&ran, "old").is_empty(), "{ran}");
    let bad = part(&ran, "bad");
    assert!(bad[0].starts_with("a of two: degraded"), "{ran}");
    assert!(bad[1].contains("network.toml:11:1: node has no key \"x\""), "{ran}");
    assert!(bad[2].starts_with("192.168.8.0/24 dev wg0"), "the old state stays: {ran}");
    assert!(ran.out.contains("there is no node or client a in the network file"), "{ran}");
    assert_eq!(part(&ran, "confirm"), ["1", "1", "1"], "{ran}");
    let asked = part(&ran, "asked");
    assert!(asked.contains(&"    ip route replace 192.168.6.0/24 dev wg0 src 10.50.0.1 proto 87"), "{ran}");
    assert!(asked[0].contains("put what is in") && asked[1] == "exit 1", "the file is not the agent's: {ran}");
    assert_eq!(asked.last(), Some(&"exit 2"), "{ran}");
    assert!(ran.out.contains(" 0% packet loss"), "no packet of an unchanged pair is lost: {ran}");
}

#[test]
fn an_agent_that_is_killed_and_started_again_goes_on_where_it_was() {
    let script = r#"
agent a; agent b
until_true "on a ping -c 1 -W 1 10.50.0.2"
for round in 1 2 3; do
    kill -9 $(cat a.pid); until_true "! on a $W status"
    agent a; until_true "on a ping -c 1 -W 1 10.50.0.2"
done
on a "$W" agent --node a --private-key a.key 2>&1 || echo "exit $?"
echo "== sysctl"; on b cat /proc/sys/net/ipv4/ip_forward; kill -9 $(cat b.pid); until_true "! on b $W status"
on b "$W" down 2>&1; on b cat /proc/sys/net/ipv4/ip_forward; ls -R run-b | grep -c json || true
"#;
    let Some(ran) = scenario("an_agent_that_is_killed", script) else { return };
    let ran = ran.expect(0);
    assert!(ran.out.contains("wayleave runs on network two of this host already"), "{ran}");
    assert_eq!(part(&ran, "sysctl").first(), Some(&"1"), "{ran}");
    let after = part(&ran, "sysctl");
    assert_eq!(after[after.len() - 2..], ["0", "0"], "what a killed agent had set is put back: {ran}");
}

#[test]
fn a_dry_run_says_everything_and_changes_nothing() {
    let script = r#"
until_true "! ip -n a address | grep -E 'tentative|NO-CARRIER'"; seen a > before
echo "== dry"; on a "$W" apply --node a --device engine --dry-run || echo "exit $?"
seen a > after; cmp before after && echo same; ls -A run-a/networks | wc -l
echo "== refused"; on a "$W" apply --node a --device engine 2>&1 || echo "exit $?"
chmod 0644 b.key; on b "$W" agent --node b --private-key b.key --device engine 2>&1 || echo "exit $?"
chmod 0600 b.key; on a "$W" agent --node a --private-key b.key --device engine 2>&1 || echo "exit $?"
ip -n b tuntap add dev wg0 mode tun; agent b; on b "$W" status || echo "exit $?"; ip -n b -d link show wg0
"#;
    let Some(ran) = scenario("a_dry_run_says_everything", script) else { return };
    let ran = ran.expect(0);
    let dry = part(&ran, "dry");
    let at = dry.iter().position(|line| *line == "add address 10.50.0.1/32 to wg0").unwrap_or_else(|| panic!("{ran}"));
    assert_eq!(dry[at + 1], "    ip address add 10.50.0.1/32 dev wg0");
    assert_eq!(dry[dry.len() - 3..], ["exit 2", "same", "0"], "{ran}");
    for words in ["run `wayleave agent`", "b.key can be read by others (mode 0644)", "holds the private key of"] {
        assert!(ran.out.contains(words), "{words}: {ran}");
    }
    assert!(ran.out.contains("device wg0 is there already and is not ours"), "{ran}");
    assert!(ran.out.lines().any(|line| line == "exit 4"), "{ran}");
}

#[test]
fn an_agent_sets_the_planned_firewall_again_when_it_is_flushed_and_takes_it_along() {
    let script = r#"
sed -i 's/^prefixes = ."10.50.0.0.24.*/&\npolicy = "deny"/' network.toml
printf '[[allow]]\nfrom = ["b"]\nto = ["a"]\nports = ["tcp/8080"]\n' >> network.toml
on a nft list ruleset > before
agent a --cleanup; agent b
until_true "on a nft list table inet wayleave-wg0"
until_true "on b $W status"
echo "== refused"; on b ping -c 2 -i 0.2 -W 1 10.50.0.1 || echo "exit $?"
on a nft flush ruleset
until_true "on b ping -c 1 -W 1 10.50.0.1"
on a "$W" reload; on a nft list table inet wayleave-wg0 > /dev/null
on b ping -c 2 -i 0.2 -W 1 10.50.0.1 || echo "exit $?"
kill $(cat a.pid); until_true "! on a ip link show wg0"; sleep 0.2
on a nft list ruleset > after; cmp before after && echo same
"#;
    let Some(ran) = scenario("an_agent_sets_the_planned_firewall", script) else { return };
    let ran = ran.expect(0);
    let refused = part(&ran, "refused");
    assert_eq!(refused.iter().filter(|line| **line == "exit 1").count(), 2, "{ran}");
    assert_eq!(refused.last(), Some(&"same"), "{ran}");
}

#[test]
fn a_host_that_begins_to_forward_keeps_the_router_that_it_heard_of() {
    let script = r#"
sed -i 's/"10.50.0.0.24"/&, "fd50::\/64"/; s/"192.168.9.0.24"/&, "fd59::\/64"/' network.toml
cat > radvd.conf <<T
interface va { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix fd77::/64 { }; };
T
on a sysctl -q -w net.ipv6.conf.all.forwarding=1
on a radvd -n -m stderr -C "$PWD/radvd.conf" -p "$PWD/radvd.pid" 2> radvd.log &
until_true "ip -n b -6 route show default | grep 'proto ra'"
settings() { on b cat /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/vb/accept_ra; }
echo "== before"; settings; agent b; until_true "settings | grep 2"
echo "== during"; settings; ip -n b -6 route show default | grep -c 'proto ra'
ip -n b -6 route flush default proto ra; until_true "ip -n b -6 route show default | grep 'proto ra'"
on b "$W" down 2> down.log
echo "== after"; settings
ip -n b -6 route show default | grep -c 'proto ra'; kill $(cat radvd.pid)
"#;
    let Some(ran) = scenario_with("a_host_that_begins_to_forward", &["radvd"], script) else { return };
    let ran = ran.expect(0);
    assert_eq!(part(&ran, "before"), ["0", "1"], "{ran}");
    assert_eq!(part(&ran, "during"), ["1", "2", "1"], "{ran}");
    assert_eq!(part(&ran, "after"), ["0", "1", "1"], "{ran}");
}

#[test]
fn the_mtu_follows_the_narrowest_way_even_where_routers_say_nothing() {
    let script = r#"
ip netns add r; ip -n r link set lo up; ip -n a link set va netns r; ip -n r addr add 192.0.2.9/24 dev va
ip -n r link set va mtu 1400 up; ip -n b link set vb mtu 1400
ip -n a link add ra type veth peer name rb netns r; ip -n a addr add 198.51.100.1/24 dev ra; ip -n a link set ra up
ip -n r addr add 198.51.100.9/24 dev rb; ip -n r link set rb up; on r sysctl -q -w net.ipv4.ip_forward=1
ip -n a route add 192.0.2.0/24 via 198.51.100.9; ip -n b route add 198.51.100.0/24 via 192.0.2.9
sed -i 's/endpoint = "192.0.2.1"/endpoint = "198.51.100.1"/' network.toml
# A black hole: what is too large is dropped without a word.
on r nft 'table ip hole { chain out { type filter hook output priority 0; icmp type destination-unreachable drop; }; }'
agent a; until_true "ip -n a link show wg0 | grep 'mtu 1340'"
echo "== hole"; grep -c "packets of more than 1400 bytes don't reach 192.0.2.2" a.log; on a "$W" show > /dev/null
on a "$W" down 2> down.log; on r nft delete table ip hole; rm a.log
agent a; agent b; until_true "ip -n a link show wg0 | grep 'mtu 1340'"
echo "== told"; until_true "on b $W status"; on a ping -M do -s 1312 -c 2 -i 0.2 -W 2 -q 10.50.0.2 | grep -o '2 received'
ip -n r link set va mtu 1500; ip -n b link set vb mtu 1500; on a ip route flush cache
ip -n a link set ra mtu 1450; until_true "ip -n a link show wg0 | grep 'mtu 1390'"
"#;
    let Some(ran) = scenario_with("the_mtu_follows_the_narrowest_way", &["nft", "sysctl"], script) else { return };
    let ran = ran.expect(0);
    assert_eq!(part(&ran, "hole"), ["1"], "{ran}");
    assert_eq!(part(&ran, "told"), ["2 received"], "{ran}");
}

#[test]
fn of_several_endpoints_one_that_answers_is_dialled_whether_it_has_its_turn_or_not() {
    let script = r#"
sed -i '/^.nodes.b/,$s/^endpoint = .*/endpoints = { lan = "192.0.2.77", public = "192.0.2.2" }/' network.toml
sed -i '/^.nodes.a/,/^.nodes.b/s/^endpoint = .*/endpoints = { lan = "192.0.2.1" }/' network.toml
agent a; until_true "grep 'b is dialled at 192.0.2.2:51820, which answers' a.log"
agent b; until_true "on a ping -c 1 -W 1 10.50.0.2"; echo "== said"; on a "$W" status | grep -o "192.0.2.2:51820"
ip -n b addr add 192.0.2.78/24 dev vb; ip -n b addr del 192.0.2.2/24 dev vb; ip -n b addr add 192.0.2.77/24 dev vb
until_true "on a ping -c 1 -W 1 10.50.0.2"; echo "== moved"; on a "$W" status | grep -o "192.0.2.7[78]:51820"
"#;
    let Some(ran) = scenario("of_several_endpoints_one_that_answers", script) else { return };
    let ran = ran.expect(0);
    assert_eq!(part(&ran, "said"), ["192.0.2.2:51820"], "{ran}");
    assert_eq!(part(&ran, "moved").len(), 1, "{ran}");
}

#[test]
fn the_doctor_says_what_is_in_the_way_and_nothing_once_it_is_gone() {
    let script = r#"
ip -n b addr add 192.168.9.1/24 dev vb
echo "== well"; on b "$W" doctor --node b --private-key b.key 2>&1; echo "exit $?"
ip -n b tuntap add dev wg0 mode tun; ip -n b route add 10.50.0.1/32 dev vb; ip -n b route del 192.0.2.0/24
on b nft 'table ip filter { chain INPUT { type filter hook input priority 0; policy drop; }; }'
echo "== ill"; on b "$W" doctor --node b --private-key a.key 2>&1 || echo "exit $?"
echo "== json"; on b "$W" doctor --node b --private-key b.key --json 2> /dev/null || echo "exit $?"
"#;
    let Some(ran) = scenario_with("the_doctor_says_what_is_in_the_way", &["nft"], script) else { return };
    let ran = ran.expect(0);
    assert_eq!(part(&ran, "well"), ["nothing found that would keep b from working", "exit 0"], "{ran}");
    let ill = part(&ran, "ill").join("\n");
    for words in [
        "broken: a.key holds the private key of ",
        "broken: there is a device wg0 already, and it is not ours",
        "broken: there is no route to 192.0.2.1:51820, where a is dialled",
        "doubtful: table ip filter chain INPUT drops packets for this host",
        "doubtful: 10.50.0.1/32 leads into vb on this host, and the plan sends 10.50.0.1/32 to a",
        "exit 4",
    ] {
        assert!(ill.contains(words), "{words}: {ran}");
    }
    let json = part(&ran, "json").join("\n").replace("exit 4", "");
    let report: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {ran}"));
    assert!(report["schema"] == "wayleave.doctor" && report["remarks"][0]["gravity"] == "broken", "{ran}");
}

#[test]
fn systemd_takes_the_unit_file_and_the_agent_needs_no_more_rights_than_it_gives() {
    let unit = include_str!("../../../packaging/wayleave.service");
    assert!(include_str!("../../../docs/agent.md").contains(unit), "docs/agent.md shows the unit file");
    let script = r#"
echo "== verify"; systemd-analyze verify --man=no "$PWD/wayleave.service" 2>&1
agent() {
    n=$1; shift
    (export WAYLEAVE_RUNTIME_DIR=$PWD/run-$n; exec nsenter --net=/run/netns/$n unshare -m sh -c \
        'mkdir -p /run/wireguard; mount --bind "wg-'$n'" /run/wireguard; exec setpriv --no-new-privs \
        --bounding-set=-all,+net_admin,+net_raw,+net_bind_service "$W" agent "$@"' sh \
        --node $n --private-key $n.key --device engine "$@") >> $n.log 2>&1 &
    echo $! > $n.pid
    until_true "on $n $W show"
}
agent a; agent b; until_true "on a ping -c 1 -W 1 10.50.0.2"
echo "== rights"; grep CapEff /proc/$(cat b.pid)/status; on b "$W" status | sed -n 1p; on b "$W" down > /dev/null 2>&1; ip -n b link show wg0 2>&1
"#;
    let programs = ["systemd-analyze", "setpriv"];
    let own = unit.replace("/usr/local/bin/wayleave", WAYLEAVE);
    let script = format!("cat > wayleave.service <<'U'\n{own}U\n{script}");
    let Some(ran) = scenario_with("systemd_takes_the_unit_file", &programs, &script) else { return };
    assert!(part(&ran, "verify").is_empty(), "{ran}");
    let rights = part(&ran, "rights");
    // CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13.
    assert_eq!(rights[0], "CapEff:\t0000000000003400", "{ran}");
    assert!(rights[1].starts_with("b of two: fine"), "{ran}");
    assert!(rights[2].contains("does not exist"), "{ran}");
}

#[test]
fn a_client_that_was_removed_is_refused_whatever_it_still_has() {
    let script = r#"
sed -i '/nodes.b/,$d; s/^\[nodes.a\]/&\nentry = true/' network.toml
agent a
"$W" client add b --public-key $(cat b.pub) > b.conf
agent b
until_true "on b ping -c 1 -W 1 10.50.0.1"
mkdir old; cp network.* old; "$W" client remove b
until_true "! on a $W show | grep -q $(cat b.pub)"
echo "== at once"; on b ping -q -c 2 -W 1 10.50.0.1 > /dev/null || echo refused
kill $(cat b.pid); until_true "! on b $W status"; on b "$W" down > /dev/null || true
# With its key and the network as it was, it shakes hands anew.
agent b --network old/network.toml
echo "== again"; on b ping -q -c 3 -W 1 10.50.0.1 > /dev/null || echo refused
on b "$W" show | grep -c 'latest handshake' || true; on a "$W" show | grep -c '^peer' || true
"#;
    let Some(ran) = scenario("a_client_that_was_removed", script) else { return };
    let ran = ran.expect(0);
    assert_eq!(part(&ran, "at once"), ["refused"], "{ran}");
    assert_eq!(part(&ran, "again"), ["refused", "0", "0"], "{ran}");
}
