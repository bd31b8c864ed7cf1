//! Neighbours that come and go, lines that swallow packets, and BIRDs that nobody looks after: what that costs, and what is left of it.
//!
//! Real agents and BIRDs. `ticks` is the processor time of a's agent so far, in hundredths of a second.

use super::bgp::NETWORKS;
use super::{Ran, part, scenario_with};

const WORDS: &str = r#"
ctl=run-a/networks/ours/bird.ctl; their=run-b/networks/theirs/bird.ctl
reason() { on a "$W" bgp | grep '^b: ' | head -n 1; }
ticks() { cut -d' ' -f14,15 /proc/$(cat a.pid)/stat | tr ' ' '+' | { read sum; echo $(($sum)); }; }
patient() { i=0; while ! eval "$1" > /dev/null 2>&1; do i=$((i + 1)); [ $i -lt 600 ] || { echo "never: $1"; on a "$W" status; cat *.log; exit 1; }; sleep 0.1; done; }
learned() { ip -n a route show table all proto bird | grep -c '^172.20.2.0/24' || true; }
"#;

fn flapping(test: &str, script: &str) -> Option<Ran> {
    let programs = ["bird", "birdc", "sed", "nft", "curl", "python3"];
    scenario_with(test, &programs, &format!("{NETWORKS}{WORDS}{script}"))
}

fn number(line: &str) -> u64 {
    line.trim().parse().unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

#[test]
fn a_line_that_swallows_packets_ends_the_session_with_its_hold_time_and_leaves_the_tunnel() {
    let script = r#"
agent a --network ours.toml; agent b --network theirs.toml; up a; up b
sed -i 's/hold time 180/hold time 6/; s/keepalive time 60/keepalive time 2/' run-b/networks/theirs/bird.conf; birdc -s $their configure > /dev/null
patient "birdc -r -s $ctl show protocols all n_b | grep 'Hold timer.*/6'"; patient "[ \$(learned) = 1 ]"; up a
echo "== cut"; on b nft 'table ip hole { chain in { type filter hook input priority -300; udp dport { 24512, 24513 } drop; }; chain out { type filter hook output priority -300; udp dport { 24512, 24513 } drop; }; }'
begin=$(date +%s%N); patient "[ \$(learned) = 0 ]"; echo $((($(date +%s%N) - begin) / 1000000))
# The agent looks at its BIRD every few seconds only.
ip -n a -o link show wgn-b | wc -l; patient "reason | grep 'whole hold time'"; reason; patient "on a $W status | grep '^a of ours: down'"; on a "$W" status | head -n 1
echo "== healed"; on b nft delete table ip hole; patient "[ \$(learned) = 1 ]"; up a; on a "$W" status | head -n 1
"#;
    let Some(ran) = flapping("a_line_that_swallows_packets", script) else { return };
    let ran = ran.expect(0);
    let cut = part(&ran, "cut");
    // The last packet was heard at most two seconds before; BIRD and the agent's look take their time on a busy machine.
    assert!((3_000..20_000).contains(&number(cut[0])), "{ran}");
    assert_eq!(cut[1], "1", "the device stays: {ran}");
    assert!(cut[2].contains("silent for the whole hold time"), "{ran}");
    assert!(cut[3].starts_with("a of ours: down"), "{ran}");
    assert!(part(&ran, "healed")[0].starts_with("a of ours: fine"), "{ran}");
}

#[test]
fn a_storm_of_routes_and_of_sessions_is_counted_and_otherwise_costs_little() {
    let script = r#"
agent a --network ours.toml; agent b --network theirs.toml; up a; up b; patient "[ \$(learned) = 1 ]"
on a ping -q -i 0.2 -w 60 10.9.0.2 > ping.txt & pinging=$!
p=$(bird_of a ours); wc -l < a.log > lines; ticks > before
echo "== routes"; i=0; while [ $i -lt 150 ]; do i=$((i + 1)); birdc -s $their disable own4 > /dev/null; birdc -s $their enable own4 > /dev/null; done
patient "[ \$(learned) = 1 ]"; echo $(($(ticks) - $(cat before)))
echo "== sessions"; for round in 1 2 3 4; do birdc -s $ctl restart n_b > /dev/null; patient "birdc -r -s $ctl show protocols | grep '^n_b .*Established'"; sleep 6; done; up a
on a curl -s http://127.0.0.1:51818/metrics | sed -n 's/^wayleave_bgp_session_flaps_total{.*} //p'
echo $(($(wc -l < a.log) - $(cat lines))); [ $(bird_of a ours) = $p ] && echo "the same BIRD"; on a "$W" status | head -n 1
wait $pinging || true; echo "== ping"; grep -o '[0-9]*% packet loss' ping.txt
"#;
    let Some(ran) = flapping("a_storm_of_routes_and_of_sessions", script) else { return };
    let ran = ran.expect(0);
    println!("{ran}");
    // 300 changes; an agent of a debug build that did something about each would need far more.
    assert!(number(part(&ran, "routes")[0]) < 300, "{ran}");
    let sessions = part(&ran, "sessions");
    assert!((3..=8).contains(&number(sessions[0])), "counted: {ran}");
    assert!(number(sessions[1]) <= 4, "the log stays quiet: {ran}");
    assert!(sessions[2] == "the same BIRD" && sessions[3].starts_with("a of ours: fine"), "{ran}");
    assert_eq!(part(&ran, "ping"), ["0% packet loss"], "{ran}");
}

#[test]
fn a_text_that_bird_refuses_is_judged_once_and_costs_nothing_after_that() {
    let script = r#"
mkdir bin; cat > bin/bird <<T
#!/bin/sh
[ "\$1" = -p ] && echo judged >> $PWD/judged
exec /usr/sbin/bird "\$@"
T
chmod 755 bin/bird; PATH=$PWD/bin:$PATH
agent a --network ours.toml; agent b --network theirs.toml; up a; up b; cp ours.toml good.toml; rm judged
sed -i 's|^asn = 64512|&\nroa_v4 = "/nowhere/roa.conf"|' ours.toml; until_true "on a $W status | grep 'BIRD refuses its configuration'"
ticks > before; wc -l < a.log > lines; sleep 12; echo "== idle"; wc -l < judged; echo $(($(ticks) - $(cat before))); echo $(($(wc -l < a.log) - $(cat lines)))
echo "== said again"; for i in 1 2 3; do on a "$W" reload > /dev/null 2>&1 || true; done; sleep 1; wc -l < judged
echo "== mended"; cp good.toml ours.toml; until_true "on a $W status | head -n 1 | grep 'a of ours: fine'"; up a; echo fine
"#;
    let Some(ran) = flapping("a_text_that_bird_refuses_is_judged_once", script) else { return };
    let ran = ran.expect(0);
    println!("{ran}");
    let idle = part(&ran, "idle");
    assert_eq!(idle[0], "1", "{ran}");
    assert!(number(idle[1]) < 120, "a loop that spins would take all of twelve seconds: {ran}");
    assert!(number(idle[2]) <= 2, "{ran}");
    assert_eq!((part(&ran, "said again"), part(&ran, "mended")), (vec!["1"], vec!["fine"]), "{ran}");
}

#[test]
fn a_port_of_a_neighbours_device_that_somebody_else_has_is_named_and_taken_when_it_is_free() {
    let script = r#"
on a python3 -c 'import os, socket, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(("::", 24513)); print(os.getpid(), file=open("held", "w"), flush=True); time.sleep(300)' &
until_true "[ -s held ]"; agent a --network ours.toml; agent b --network theirs.toml; until_true "on a $W status | grep 24513"
echo "== held"; on a "$W" status | grep -o '.*24513.*' | head -n 1; on a "$W" status > /dev/null || echo "exit $?"; ip -n a -o link show wg0 | wc -l
kill $(cat held); on a "$W" reload > /dev/null 2>&1 || true; patient "on a $W bgp | grep ' 1 of 1 sessions are up'"; echo "== free"; on a "$W" status | head -n 1
"#;
    let Some(ran) = flapping("a_port_of_a_neighbours_device", script) else { return };
    let ran = ran.expect(0);
    let held = part(&ran, "held");
    assert!(held[0].contains("24513") && held[0].contains("in use"), "{ran}");
    assert_eq!(held[1..], ["exit 4", "1"], "the node's own device is there: {ran}");
    assert!(part(&ran, "free")[0].starts_with("a of ours: fine"), "{ran}");
}

#[test]
fn without_an_agent_down_ends_the_bird_that_one_has_left_with_its_routes() {
    let script = r#"
agent a --network ours.toml; agent b --network theirs.toml; up a; up b; place=$PWD/run-a/networks/ours; cp $place/bird.conf left.conf
table=$(sed -n 's/.*kernel table \([0-9]*\);.*/\1/p' left.conf | head -n 1); p=$(bird_of a ours)
kill -9 $(cat a.pid); until_true "! on a $W status"; until_true "[ ! -e /proc/$p ]"
# As with the kernel's WireGuard, where it goes on when the agent has ended.
cp left.conf $place/bird.conf; rm -f $place/bird.ctl; on a bird -c $place/bird.conf -s $place/bird.ctl -P $place/bird.pid; until_true "birdc -r -s $place/bird.ctl show status"
p=$(cat $place/bird.pid); kill -STOP $p; ip -n a route add 172.20.2.0/24 dev va table $table proto bird; ip -n a route add 172.30.0.0/24 dev va table $table
echo "== down"; on a "$W" down > down.log; head -n 1 down.log; [ -e /proc/$p ] || echo "ended"; ip -n a route show table $table; ls run-a/networks | wc -l
"#;
    let Some(ran) = flapping("without_an_agent_down_ends_the_bird", script) else { return };
    let ran = ran.expect(0);
    let down = ["end BIRD, which an agent has left", "ended", "172.30.0.0/24 dev va scope link ", "0"];
    assert_eq!(part(&ran, "down"), down, "{ran}");
}
