//! BGP by real agents and real BIRDs: two networks that are each other's neighbours.

use super::{part, scenario_with};

/// Two networks of one node each, with AS numbers 64512 and 64513.
pub(super) const NETWORKS: &str = r#"
network() { # name node prefix own-asn other other-prefix other-asn own-address other-address port other-port endpoint
cat > $1.toml <<T
[network]
name = "$1"
prefixes = ["$3"]
[bgp]
asn = $4
own = ["$3"]
[nodes.$2]
endpoint = "${12}"
public_key = "$(cat $2.pub)"
[neighbours.$5]
node = "$2"
asn = $7
public_key = "$(cat $5.pub)"
endpoint = "${13}:${11}"
port = ${10}
own_addresses = ["$8/30"]
addresses = ["$9"]
accept = ["172.20.0.0/14"]
T
}
network ours a 172.20.1.0/24 64512 b 172.20.2.0/24 64513 10.9.0.1 10.9.0.2 24513 24512 192.0.2.1 192.0.2.2
network theirs b 172.20.2.0/24 64513 a 172.20.1.0/24 64512 10.9.0.2 10.9.0.1 24512 24513 192.0.2.2 192.0.2.1
bird_of() { cat run-$1/networks/$2/bird.pid; }
up() { until_true "on $1 $W bgp | grep ' 1 of 1 sessions are up'"; }
"#;

pub(super) fn bgp(test: &str, script: &str) -> Option<super::Ran> {
    scenario_with(test, &["bird", "sed", "cmp"], &format!("{NETWORKS}{script}"))
}

#[test]
fn two_networks_exchange_their_prefixes_and_a_bird_that_is_killed_comes_back() {
    let script = r#"
until_true "! ip -n a address | grep -E 'tentative|NO-CARRIER'"; seen a > before
agent a --network ours.toml --cleanup
until_true "on a $W bgp | grep 'no WireGuard handshake yet, on wgn-b'"
echo "== alone"; on a "$W" bgp || echo "exit $?"
agent b --network theirs.toml --cleanup
up a; up b
until_true "on a $W route 172.20.2.1"
echo "== bgp"; on a "$W" bgp; echo "exit $?"; on a "$W" bgp --json | grep -E '"(name|device|accepted_routes|health)"'
echo "== route"; on a "$W" route 172.20.2.1; on a "$W" route 9.9.9.9 || echo "exit $?"
table=$(ip -n a rule | sed -n 's/.*lookup \(50[0-9]*\).*/\1/p' | sort -u | while read t; do [ -z "$(ip -n a route show table $t proto bird)" ] || echo $t; done)
echo "== kernel"; ip -n a route show table $table proto bird; ip -n a route show proto bird | wc -l
until_true "on a ping -c 1 -W 1 -I 172.20.1.1 172.20.2.1"
echo "== killed"; first=$(bird_of a ours); kill -9 $first
until_true "on a $W status | grep -i 'bird has ended: signal 9' || grep -q 'BIRD has ended: signal 9' a.log"
up a; second=$(bird_of a ours); [ $first != $second ] && echo another
on a "$W" status | head -n 1
echo "== removed"; cp ours.toml full.toml; sed '/^\[neighbours/,$d' full.toml > ours.toml
until_true "! ip -n a link show wgn-b"; until_true "[ ! -e /proc/$second ]"
ls run-a/networks/ours | grep bird || echo "no files"; on a "$W" bgp 2>&1 || echo "exit $?"
ip -n a route show table all proto bird | wc -l
cp full.toml ours.toml; up a
echo "== end"; second=$(bird_of a ours); kill $(cat a.pid); until_true "! ip -n a link show wg0"; until_true "[ ! -e /proc/$second ]"
sleep 0.2; seen a > after; cmp before after && echo same; ls run-a/networks/ours | grep -c bird || true
kill $(cat b.pid); until_true "! ip -n b link show wg0"
"#;
    let Some(ran) = bgp("two_networks_exchange_their_prefixes", script) else { return };
    let ran = ran.expect(0);
    let alone = part(&ran, "alone");
    assert!(alone[0].starts_with("BIRD 2") || alone[0].starts_with("BIRD 3"), "{ran}");
    assert!(alone.contains(&"b: no WireGuard handshake yet, on wgn-b") && alone.contains(&"exit 4"), "{ran}");
    let bgp = part(&ran, "bgp");
    let cells: Vec<&str> = bgp[2].split_whitespace().collect();
    assert_eq!(cells[..3], ["b", "64513", "Established"], "{ran}");
    assert_eq!(cells[cells.len() - 3..], ["1", "1", "1"], "{ran}");
    assert!(bgp[1..].iter().all(|line| line.len() <= 80) && bgp.contains(&"exit 0"), "{ran}");
    for line in ["\"name\": \"b\",", "\"device\": \"wgn-b\",", "\"accepted_routes\": 1,", "\"health\": \"fine\","] {
        assert!(bgp.iter().any(|found| found.trim() == line), "{line}: {ran}");
    }
    let route = part(&ran, "route");
    assert_eq!(route[0], "172.20.2.1 is in 172.20.2.0/24, to which there is one way", "{ran}");
    assert!(route[2].starts_with("* via 10.9.0.2 on wgn-b, by n_b of table master4"), "{ran}");
    assert!(route.iter().any(|line| line.split_whitespace().eq(["AS", "path", "64513"])), "{ran}");
    assert!(route.contains(&"9.9.9.9: BIRD has no route to it") && route.contains(&"exit 1"), "{ran}");
    let kernel = part(&ran, "kernel");
    assert!(kernel[0].starts_with("172.20.2.0/24 via 10.9.0.2 dev wgn-b src 172.20.1."), "{ran}");
    assert_eq!(kernel[1], "0", "nothing of it is in the main table: {ran}");
    let killed = part(&ran, "killed");
    assert!(killed[0] == "another" && killed[1].starts_with("a of ours: fine"), "{ran}");
    let removed = part(&ran, "removed");
    assert_eq!((removed[0], removed[2..].to_vec()), ("no files", vec!["exit 64", "0"]), "{ran}");
    assert!(removed[1].starts_with("error: a speaks no BGP in ours"), "{ran}");
    assert_eq!(part(&ran, "end"), ["same", "0"], "{ran}");
}

/// A third neighbour for network ours, which nobody answers for.
pub(super) const THIRD: &str = r#"
third() { cat <<T
[neighbours.c]
node = "a"
asn = 64514
public_key = "$(cat c.pub)"
endpoint = "192.0.2.9:24599"
port = 24599
own_addresses = ["10.9.1.1/30"]
addresses = ["10.9.1.2"]
accept = ["172.20.0.0/14"]
T
}
"$W" key generate -o c.key > c.pub
# What one neighbour has on host a: a device, an address, routes, its protocol, its place in the firewall.
count() { grep -c "$1" || true; }
has() { echo $(ip -n a -o link show | count wgn-$1) $(ip -n a -o addr show | count "wgn-$1 ") $(ip -n a route show table all | count wgn-$1) \
    $(birdc -r -s run-a/networks/ours/bird.ctl show protocols | count "^n_$1 ") $(on a nft list ruleset | count wgn-$1); }
since() { on a "$W" bgp --json | python3 -c 'import json, sys
print(next(s["state"] for s in json.load(sys.stdin)["sessions"] if s["name"] == "b"))'; birdc -r -s run-a/networks/ours/bird.ctl show protocols | grep '^n_b ' | tr -s ' ' | cut -d' ' -f5,6; }
"#;

#[test]
fn a_neighbours_device_and_session_come_and_go_together_whoever_refuses() {
    let script = r#"
mkdir bin; cat > bin/bird <<'T'
#!/bin/sh
# Judges every text good while there is a file called blind.
[ "$1" = -p ] && [ -e "$(dirname $0)/blind" ] && exit 0
exec /usr/sbin/bird "$@"
T
chmod 755 bin/bird; PATH=$PWD/bin:$PATH
agent a --network ours.toml --cleanup; agent b --network theirs.toml --cleanup
up a; up b; cp ours.toml good.toml; since > since
bad() { { sed 's|^asn = 64512|&\nroa_v4 = "/nowhere/roa.conf"|' good.toml; third; } > new; mv new ours.toml; }
settled() { until_true "on a $W status | grep 'neighbours c stay as they were'"; sleep 0.3; has c; since | cmp - since && echo "b stays"; }
back() { cp good.toml ours.toml; until_true "on a $W status | head -n 1 | grep 'a of ours: fine'"; }
echo "== dry"; { cat good.toml; third; } > draft.toml; on a "$W" apply --network draft.toml --node a --dry-run | grep -E 'neighbour|wgn-c' || true
echo "== judged"; bad; settled; on a "$W" status | grep -o 'BIRD refuses its configuration; what was in force stays' | head -n 1; back
echo "== taken over"; touch bin/blind; bad; settled; on a "$W" status | grep -o 'BIRD refuses its configuration; what was in force stays' | head -n 1; back; rm bin/blind
grep -c roa run-a/networks/ours/bird.conf || true
echo "== device"; ip -n a link add wgn-c type veth peer name wgn-d; { cat good.toml; third; } > ours.toml
until_true "on a $W status | grep 'neighbours c stay as they were'"; on a "$W" status | grep -o 'device wgn-c is there already and is not ours' | head -n 1
birdc -r -s run-a/networks/ours/bird.ctl show protocols | count n_c; since | cmp - since && echo "b stays"
ip -n a link del wgn-c; on a "$W" reload > /dev/null 2>&1; until_true "ip -n a link show wgn-c"; until_true "birdc -r -s run-a/networks/ours/bird.ctl show protocols | grep n_c"; has c
echo "== removed"; back; until_true "! ip -n a link show wgn-c"; has c; since | cmp - since && echo "b stays"
echo "== again"; { cat good.toml; third; } > ours.toml; until_true "birdc -r -s run-a/networks/ours/bird.ctl show protocols | grep n_c"; has c
echo "== stopped"; kill -STOP $(bird_of a ours); cp good.toml ours.toml; sleep 1; ip -n a -o link show | count wgn-c; kill -CONT $(bird_of a ours)
until_true "! ip -n a link show wgn-c"; has c; since | cmp - since && echo "b stays"
echo "== killed"; table=$(ip -n a route show table all proto bird | sed -n 's/.* table \([0-9]*\).*//p' | head -n 1)
p=$(bird_of a ours); kill -STOP $p; sed '/^\[neighbours/,$d' good.toml > ours.toml; until_true "[ ! -e /proc/$p ]"; until_true "! ip -n a link show wgn-b"
until_true "! ls run-a/networks/ours | grep bird"; ip -n a route show table all proto bird | wc -l; has b 2> /dev/null
"#;
    let script = format!("{THIRD}{script}");
    let programs = &["bird", "birdc", "sed", "cmp", "python3", "nft"];
    let Some(ran) = scenario_with("a_neighbours_device_and_session", programs, &format!("{NETWORKS}{script}")) else {
        return;
    };
    let ran = ran.expect(0);
    let dry = part(&ran, "dry").join("\n");
    for words in ["make device wgn-c (engine)", "neighbour c added, AS 64514 on wgn-c", "ip link set wgn-c up"] {
        assert!(dry.contains(words), "{words}: {ran}");
    }
    let (none, all) = ("0 0 0 0 0", "1 1 4 1 5");
    let refused = "BIRD refuses its configuration; what was in force stays";
    assert_eq!(part(&ran, "judged"), [none, "b stays", refused], "{ran}");
    assert_eq!(part(&ran, "taken over"), [none, "b stays", refused, "0"], "{ran}");
    let device = ["device wgn-c is there already and is not ours", "0", "b stays", all];
    assert_eq!(part(&ran, "device"), device, "{ran}");
    assert_eq!(part(&ran, "removed"), [none, "b stays"], "{ran}");
    assert_eq!(part(&ran, "again"), [all], "{ran}");
    assert_eq!(part(&ran, "stopped"), ["1", none, "b stays"], "its device goes when its session has: {ran}");
    assert_eq!(part(&ran, "killed"), ["0", none], "{ran}");
}

#[test]
fn with_an_agent_that_is_killed_its_bird_ends() {
    let script = r#"
agent a --network ours.toml; agent b --network theirs.toml; up a
for i in 1 2 3; do
    p=$(bird_of a ours); kill -9 $(cat a.pid); until_true "[ ! -e /proc/$p ]"; echo "ended $i"
    ip -n a route show table all proto bird | wc -l; agent a --network ours.toml; up a
done
"#;
    let Some(ran) = bgp("with_an_agent_that_is_killed", script) else { return };
    assert_eq!(ran.expect(0).out.lines().filter(|line| line.starts_with("ended ")).count(), 3);
}

/// Two BIRDs that nobody of ours keeps, at a.ctl and b.ctl.
const PLAIN: &str = r#"
cat > a.conf <<T
router id 10.0.0.1;
log "a.bird" all;
protocol device { }
protocol bgp good { local 192.0.2.1 as 64512; neighbor 192.0.2.2 as 64513; connect delay time 1;
    ipv4 { import keep filtered; import where net != 172.20.5.0/24; export none; }; }
protocol bgp second { local 192.0.2.11 as 64512; neighbor 192.0.2.12 as 64514; connect delay time 1; ipv4 { import all; export none; }; }
protocol bgp limited { local 192.0.2.21 as 64512; neighbor 192.0.2.22 as 64515; connect delay time 1;
    ipv4 { import limit 1 action disable; import all; export none; }; }
protocol bgp nobody { local 192.0.2.1 as 64512; neighbor 192.0.2.99 as 64516; connect delay time 1; ipv4 { import all; export none; }; }
protocol bgp far { local 192.0.2.1 as 64512; neighbor 198.51.100.9 as 64517; ipv4 { import all; export none; }; }
protocol bgp shut { disabled; local 192.0.2.1 as 64512; neighbor 192.0.2.98 as 64518; ipv4 { import all; export none; }; }
T
cat > b.conf <<T
router id 10.0.0.2;
log "b.bird" all;
protocol device { }
protocol static st { ipv4; route 172.20.1.0/24 blackhole { bgp_community.add((64511,3)); }; route 172.20.5.0/24 blackhole; }
protocol bgp good { local 192.0.2.2 as 64513; neighbor 192.0.2.1 as 64512; connect delay time 1; ipv4 { import all; export all; }; }
protocol bgp second { local 192.0.2.12 as 64514; neighbor 192.0.2.11 as 64512; connect delay time 1;
    ipv4 { import all; export filter { bgp_path.prepend(65000); accept; }; }; }
protocol bgp limited { local 192.0.2.22 as 64515; neighbor 192.0.2.21 as 64512; connect delay time 1; ipv4 { import all; export all; }; }
T
for at in 11 21; do ip -n a addr add 192.0.2.$at/24 dev va; ip -n b addr add 192.0.2.$((at + 1))/24 dev vb; done
for n in b a; do on $n bird -f -c $n.conf -s $n.ctl -P $n.birdpid & until_true "[ -S $n.ctl ]"; done
"#;

#[test]
fn any_birds_sessions_and_ways_are_told_with_what_is_wrong_and_why_they_are_chosen() {
    let script = r#"
until_true "on a $W bgp --socket a.ctl | grep 'limited: it sent more'"
until_true "[ \$(on a $W bgp --socket a.ctl | grep -c Established) = 2 ]"
until_true "on a $W route 172.20.1.7 --socket a.ctl | grep second"
echo "== bgp"; on a "$W" bgp --socket a.ctl || echo "exit $?"
echo "== route"; on a "$W" route 172.20.1.7 --socket a.ctl
echo "== json"; on a "$W" route 172.20.1.7 --socket a.ctl --json | python3 -c 'import json, sys
for route in json.load(sys.stdin)["routes"]: print(route["protocol"], route["is_best"], route["not_chosen"])'
echo "== wrong"; on a "$W" bgp --socket a.conf 2>&1 || echo "exit $?"; on a "$W" route --socket a.ctl example.org 2>&1 || echo "exit $?"
on a "$W" route --socket a.ctl 10.0.0.1 --table 'x"y' 2>&1 | head -n 1
"#;
    let programs = ["bird", "python3"];
    let Some(ran) = scenario_with("any_birds_sessions_and_ways", &programs, &format!("{PLAIN}{script}")) else {
        return;
    };
    let ran = ran.expect(0);
    let bgp = part(&ran, "bgp");
    assert!(bgp[0].ends_with("is running, router id 10.0.0.1; 2 of 6 sessions are up"), "{ran}");
    assert!(bgp[1..8].iter().all(|line| line.len() <= 80), "{ran}");
    let names: Vec<&str> = bgp[2..8].iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["far", "limited", "nobody", "shut", "good", "second"], "worst first: {ran}");
    assert!(bgp[6].ends_with("         2         1         0"), "{ran}");
    assert!(bgp.contains(&"far: its address is on no device that is up"), "{ran}");
    assert!(bgp.contains(&"shut: switched off") && bgp.last() == Some(&"exit 4"), "{ran}");
    let limited = "limited: it sent more than the 1 routes that it may; it stays off until `birdc enable limited`";
    assert!(bgp.contains(&limited), "{ran}");
    let route = part(&ran, "route");
    assert_eq!(route[0], "172.20.1.7 is in 172.20.1.0/24, to which there are 2 ways", "{ran}");
    assert!(route[2].starts_with("* via 192.0.2.2 on va, by good of table master4"), "{ran}");
    assert!(route.iter().any(|line| line.split_whitespace().eq(["communities", "(64511,3)"])), "{ran}");
    assert!(route.iter().any(|line| line.trim() == "not chosen   its AS path has 2 ASNs, the best one 1"), "{ran}");
    let json = ["good True None", "second False its AS path has 2 ASNs, the best one 1"];
    assert_eq!(part(&ran, "json"), json, "{ran}");
    let wrong = part(&ran, "wrong");
    assert!(wrong[0].starts_with("error: no BIRD listens at a.conf"), "{ran}");
    assert!(wrong.contains(&"exit 1") && wrong.contains(&"exit 64"), "{ran}");
    assert!(wrong.last().is_some_and(|line| line.contains("invalid value 'x\"y'")), "{ran}");
}

#[test]
fn a_looking_glass_answers_what_front_ends_ask_and_nothing_else() {
    let script = r#"
on a "$W" looking-glass --socket a.ctl 2> glass.log & until_true "on a curl -sf 'http://127.0.0.1:8000/bird?q=show+status'"
until_true "on a curl -sf 'http://127.0.0.1:8000/bird?q=show+protocols' | grep 'good .*Established'"
get() { on a curl -s -m 30 -w 'status %{http_code}\n' "$@"; }
at=http://127.0.0.1:8000
echo "== protocols"; get "$at/bird?q=show+protocols" | grep -E '^(Name|good|shut|status)'
echo "== all"; get "$at/bird?q=show%20protocols%20all%20good" | grep -E 'Neighbor AS|Routes:|status'
echo "== route"; until_true "on a $W route 172.20.1.7 --socket a.ctl"; get "$at/bird?q=show+route+for+172.20.1.7+all" | grep -E 'unicast|as_path|bgp_path|status' | head -n 3
get "$at/bird?q=show+route+for+9.9.9.9"
echo "== trace"; get "$at/traceroute?q=192.0.2.2" | tail -n 2
echo "== refused"; for q in down configure disable+good show+memory show+route show+status%0Adown "show+route+for+1.2.3.4;down"; do get "$at/bird?q=$q" | tail -n 1; done
get -X POST -d x "$at/bird?q=show+status" | tail -n 1; get "$at/etc/passwd" | tail -n 1; get "$at/traceroute?q=-h" | tail -n 1
raw() { on a python3 -c 'import socket, sys
s = socket.create_connection(("127.0.0.1", 8000)); s.settimeout(20)
try: s.sendall(eval(sys.argv[1]))
except OSError: pass
print(s.recv(99).split(b"\r")[0].decode())' "$1"; }
raw 'b"rubbish\r\n\r\n"'; raw 'b"GET /bird?q=show+status HT"'
echo "== still"; get "$at/bird?q=show+status" | grep -E 'Daemon|status'
on a "$W" bgp --socket a.ctl | head -n 1
kill -STOP $(cat a.birdpid); get "$at/bird?q=show+status"; kill -CONT $(cat a.birdpid)
echo "== public"; on a "$W" looking-glass --socket a.ctl --listen 0.0.0.0:8001 2>&1 || echo "exit $?"
on a "$W" looking-glass --socket a.ctl --listen 203.0.113.1:8001 2>&1 | head -n 1
"#;
    let programs = ["bird", "curl", "python3", "traceroute"];
    let Some(ran) = scenario_with("a_looking_glass", &programs, &format!("{PLAIN}{script}")) else { return };
    let ran = ran.expect(0);
    let protocols = part(&ran, "protocols");
    assert!(protocols[0].starts_with("Name       Proto") && protocols.last() == Some(&"status 200"), "{ran}");
    assert!(protocols[1].starts_with("good") && protocols[1].contains("Established"), "{ran}");
    let all = part(&ran, "all");
    assert!(all[0].ends_with("64513") && all[1].contains("imported") && all[2] == "status 200", "{ran}");
    let route = part(&ran, "route");
    assert!(route[0].contains("unicast [") && route[1].contains("64513"), "{ran}");
    assert_eq!(route[route.len() - 2..], ["Network not found", "status 200"], "{ran}");
    let trace = part(&ran, "trace");
    assert!(trace[0].contains("192.0.2.2") && trace[1] == "status 200", "{ran}");
    let refused = part(&ran, "refused");
    assert_eq!(refused[..5], ["status 403"; 5], "{ran}");
    let rest = ["status 400", "status 403", "status 405", "status 404", "status 403"];
    assert_eq!(refused[5..10], rest, "{ran}");
    assert_eq!(refused[10..], ["HTTP/1.1 400 Bad Request"; 2], "{ran}");
    let still = part(&ran, "still");
    assert_eq!(still[..2], ["Daemon is up and running", "status 200"], "{ran}");
    assert!(still[2].starts_with("BIRD"), "nothing has shut it down: {ran}");
    assert_eq!(still[3..], ["BIRD does not answer", "status 502"], "{ran}");
    let public = part(&ran, "public");
    assert!(public[0].contains("0.0.0.0 can be reached from anywhere") && public[1] == "exit 64", "{ran}");
    assert!(public[2].contains("say --public"), "{ran}");
}
