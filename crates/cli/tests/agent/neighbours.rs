//! What becomes of neighbours: they send garbage, are silent, change keys; BIRD dies, stops, or is spoken for by somebody else.
//!
//! Real agents and BIRDs; where a neighbour is to be odd, a speaker of the test's own stands in the place of its BIRD.

use super::bgp::NETWORKS;
use super::{Ran, part, scenario_with};

/// What scripts have in common: since when the session with b is up; BIRD's own words.
const WORDS: &str = r#"
ctl=run-a/networks/ours/bird.ctl
since() { birdc -r -s $ctl show protocols | grep '^n_b ' | tr -s ' ' | cut -d' ' -f5,6; }
reason() { on a "$W" bgp | grep '^b: ' | head -n 1; }
"#;

fn neighbours(test: &str, script: &str) -> Option<Ran> {
    let programs = ["bird", "birdc", "sed", "cmp", "python3", "curl"];
    scenario_with(test, &programs, &format!("{NETWORKS}{WORDS}{script}"))
}

#[test]
fn a_neighbour_has_keys_of_its_own_where_the_file_says_so() {
    let script = r#"
"$W" key generate -o wgn-b.key > own.pub; "$W" key generate --preshared -o wgn-b.psk; cp wgn-b.psk right; "$W" key generate --preshared -o wrong
cp wgn-b.psk wgn-a.psk
sed -i "s|^asn = 64513|&\nown_public_key = \"$(cat own.pub)\"\npreshared = true|" ours.toml
sed -i "s|^public_key = \"$(cat a.pub)\"|public_key = \"$(cat own.pub)\"\npreshared = true|" theirs.toml
echo "== half"; "$W" render ours.toml --neighbour b -o half > /dev/null; grep -E '^(PublicKey|PresharedKey)' half/b-wg-quick.conf; grep -c "$(cat own.pub)" half/b-edgeos.txt half/b-vyos.txt
sed 's/^endpoint = "192.0.2.1"/&\nplatform = "wg-quick"/' ours.toml > quick.toml; "$W" render quick.toml -o quick > /dev/null; grep -E 'wg set' quick/a/wgn-b.conf
echo "== missing"; mv wgn-b.psk away; on a "$W" agent --network ours.toml --node a --private-key a.key 2>&1 | grep -o 'b needs the preshared key.*' || true; mv away wgn-b.psk
cp wrong wgn-b.psk; chmod 600 wgn-b.psk
agent a --network ours.toml; agent b --network theirs.toml
until_true "on a $W bgp | grep '^b: no WireGuard'"; sleep 1; echo "== wrong"; reason
echo "== right"; cp right wgn-b.psk; on a "$W" reload > /dev/null 2>&1; up a; grep 'preshared' a.log
on a "$W" apply --network ours.toml --node a --dry-run > /dev/null && echo "nothing to do"; grep -c -e "$(cat right)" -e "$(cat wrong)" a.log || true
"#;
    let Some(ran) = neighbours("a_neighbour_has_keys_of_its_own", script) else { return };
    let ran = ran.expect(0);
    let half = part(&ran, "half");
    assert!(half[0].starts_with("PublicKey = ") && half[1] == "PresharedKey = THE-PRESHARED-KEY", "{ran}");
    assert!(half[2].ends_with(":4") && half[3].ends_with(":1"), "{ran}");
    assert!(half[4].ends_with("wg set %i private-key /etc/wireguard/%i.key"), "{ran}");
    assert!(half[5].ends_with("preshared-key /etc/wireguard/%i.psk"), "{ran}");
    let missing = "b needs the preshared key that you both have; put it there, beside the node's own key";
    assert!(part(&ran, "missing").iter().any(|line| line.starts_with(missing)), "{ran}");
    assert_eq!(part(&ran, "wrong"), ["b: no WireGuard handshake yet, on wgn-b"], "{ran}");
    let right = part(&ran, "right");
    assert_eq!(right, ["give b its preshared key on wgn-b", "nothing to do", "0"], "{ran}");
}

/// In the place of b's BIRD, while there is a file `garbage`: takes connections at its address and says each time something else.
const SPEAKER: &str = r#"
mkdir -p bin; cat > bin/bird <<'T'
#!/bin/sh
[ -e garbage ] && [ "$1" = -p ] && exit 0
[ -e garbage ] && exec python3 speaker.py
exec /usr/sbin/bird "$@"
T
cat > speaker.py <<'T'
import os, socket, struct, time
def message(kind, body): return b"\xff" * 16 + struct.pack("!HB", 19 + len(body), kind) + body
def opened(asn): return message(1, struct.pack("!BHH4sB", 4, asn, 90, bytes([10, 0, 0, 9]), 14) + b"\x02\x0c\x01\x04\x00\x01\x00\x01\x41\x04" + struct.pack("!I", asn))
def update(attributes, prefixes): return message(2, struct.pack("!HH", 0, len(attributes)) + attributes + prefixes)
says = [
    lambda: os.urandom(4000),
    lambda: b"\xff" * 16 + b"\x00\x05\x01",
    lambda: b"\xff" * 16 + b"\xff\xff\x02" + b"\x00" * 60000,
    lambda: opened(64999),
    lambda: opened(64513) + message(4, b"") + os.urandom(200),
    lambda: opened(64513) + message(4, b"") + update(b"\x40\x01\x01\x00\x40\x02\x00\x40\x03\xff", b"\x18\xac\x14\x02"),
    lambda: b"HTTP/1.1 400 Bad Request\r\n\r\n",
]
open("speaker.pid", "w").write(str(os.getpid()))
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("10.9.0.2", 179)); s.listen(5)
while True:
    c, _ = s.accept(); at = int(open("mode").read())
    try: c.sendall(says[at]()); open("said", "a").write("%d\n" % at); c.settimeout(3); [c.recv(4096) for _ in range(3)]
    except OSError: pass
    c.close()
T
chmod 755 bin/bird
"#;

#[test]
fn garbage_at_either_port_ends_no_tunnel_and_is_named() {
    let script = r#"
touch garbage said; echo 0 > mode; agent a --network ours.toml; old=$PATH; PATH=$PWD/bin:$PATH; agent b --network theirs.toml; PATH=$old
# Its own end of the tunnel is fine: packets go on from here to the end of the test.
until_true "on a ping -c 1 -W 1 10.9.0.2"; on a ping -q -i 0.2 -w 85 10.9.0.2 > ping.txt & pinging=$!
p=$(bird_of a ours)
for mode in 0 1 2 3 4 5 6; do
    echo $mode > mode; birdc -s $ctl restart n_b > /dev/null; until_true "grep $mode said"; sleep 0.5; reason >> reasons
    birdc -r -s $ctl show protocols all n_b | sed -n 's/.*Last error: *//p' >> errors
done
echo "== reasons"; sort -u errors; sort -u said | wc -l
echo "== bird"; [ $(bird_of a ours) = $p ] && echo "the same"
echo "== udp"; rm garbage; kill $(cat speaker.pid); until_true "birdc -r -s run-b/networks/theirs/bird.ctl show status"; birdc -s $ctl restart n_b > /dev/null
until_true "birdc -r -s $ctl show protocols | grep '^n_b .*Established'"; up a; since > since
on b python3 -c 'import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(20000): s.sendto(bytes([i % 6, 0, 0, 0]) + os.urandom((1, 32, 92, 144, 148, 1000)[i % 6]), ("192.0.2.1", 24513))
print("sent")'
sleep 1; since | cmp - since && echo "stays"; on a "$W" status | head -n 1
wait $pinging || true; echo "== ping"; grep -o '[0-9]*% packet loss' ping.txt
"#;
    let Some(ran) = neighbours("garbage_at_either_port", &format!("{SPEAKER}{script}")) else { return };
    let ran = ran.expect(0);
    let reasons = part(&ran, "reasons").join("\n");
    for words in ["Bad peer AS", "Bad message length", "not synchronized", "\n7"] {
        assert!(reasons.contains(words), "{words}: {ran}");
    }
    assert_eq!(part(&ran, "bird"), ["the same"], "{ran}");
    let udp = part(&ran, "udp");
    assert!(udp[0] == "sent" && udp[1] == "stays" && udp[2].starts_with("a of ours: fine"), "{ran}");
    assert_eq!(part(&ran, "ping"), ["0% packet loss"], "{ran}");
}

#[test]
fn a_neighbour_with_another_key_or_at_another_address_is_back_when_the_file_says_so() {
    let script = r#"
agent a --network ours.toml; agent b --network theirs.toml; up a; since > since
echo "== address"; ip -n b addr del 192.0.2.2/24 dev vb; ip -n b addr add 192.0.2.22/24 dev vb
until_true "on b ping -c 1 -W 1 10.9.0.1"; until_true "on a ping -c 1 -W 1 10.9.0.2"; since | cmp - since && echo "the session stays"
ip -n b addr del 192.0.2.22/24 dev vb; ip -n b addr add 192.0.2.2/24 dev vb
echo "== key"; kill $(cat b.pid); until_true "! ip -n b link show wg0"; mv b.key old.key; "$W" key generate -o b.key > b.pub
network theirs b 172.20.2.0/24 64513 a 172.20.1.0/24 64512 10.9.0.2 10.9.0.1 24512 24513 192.0.2.2 192.0.2.1
agent b --network theirs.toml; sleep 1; on b ping -c 1 -W 1 10.9.0.1 > /dev/null && echo "it is taken for the old one" || echo "it is not known"
network ours a 172.20.1.0/24 64512 b 172.20.2.0/24 64513 10.9.0.1 10.9.0.2 24513 24512 192.0.2.1 192.0.2.2
until_true "grep 'add b at' a.log"; up a; echo "back"; on a "$W" status | head -n 1
"#;
    let Some(ran) = neighbours("a_neighbour_with_another_key", script) else { return };
    let ran = ran.expect(0);
    assert_eq!(part(&ran, "address"), ["the session stays"], "{ran}");
    let key = part(&ran, "key");
    assert!(key[..2] == ["it is not known", "back"] && key[2].starts_with("a of ours: fine"), "{ran}");
}

#[test]
fn a_bird_whose_socket_is_somebody_elses_is_started_anew_and_tunnels_stay() {
    let script = r#"
agent a --network ours.toml; agent b --network theirs.toml; up a; up b
on a ping -q -i 0.2 -w 85 10.9.0.2 > ping.txt & pinging=$!
p=$(bird_of a ours); rm $ctl; python3 -c 'import socket
s = socket.socket(socket.AF_UNIX); s.bind("'$ctl'"); s.listen(5)
while True:
    c, _ = s.accept()
    try: c.sendall(b"0001 BIRD 2.0.12 ready.\n1002-\x00\xff nonsense\n"); c.recv(100); c.sendall(b"xyzzy\n" * 3)
    except OSError: pass
    c.close()' & other=$!
echo "== said"; until_true "on a $W bgp | grep 'BIRD does not answer'"; on a "$W" bgp | grep -o 'BIRD does not answer.*' | cut -c -80; on a "$W" status | head -n 1
on a ip route get 172.20.2.1 | head -n 1
i=0; while [ -e /proc/$p ]; do i=$((i + 1)); [ $i -lt 900 ] || { echo never; exit 1; }; sleep 0.1; done
echo "== back"; until_true "[ \$(bird_of a ours) != $p ]"; up a; kill $other; on a "$W" status | head -n 1
wait $pinging || true; echo "== ping"; grep -o '[0-9]*% packet loss' ping.txt
"#;
    let Some(ran) = neighbours("a_bird_whose_socket_is_somebody_elses", script) else { return };
    let ran = ran.expect(0);
    let said = part(&ran, "said");
    assert!(said[0].starts_with("BIRD does not answer") && said[1].starts_with("a of ours: degraded"), "{ran}");
    assert!(said[2].contains("dev wgn-b"), "its routes stay: {ran}");
    assert!(part(&ran, "back")[0].starts_with("a of ours: fine"), "{ran}");
    assert_eq!(part(&ran, "ping"), ["0% packet loss"], "{ran}");
}

#[test]
fn a_bird_that_dies_comes_back_before_its_neighbours_forget_its_routes() {
    let script = r#"
agent a --network ours.toml; agent b --network theirs.toml; up a; up b
until_true "on b ping -c 1 -W 1 -I 172.20.2.1 172.20.1.1"
ip -n a monitor route > moves-a & one=$!; ip -n b monitor route > moves-b & two=$!
on b ping -q -i 0.05 -w 14 -I 172.20.2.1 172.20.1.1 > ping.txt & pinging=$!; sleep 0.5
p=$(bird_of a ours); kill -9 $p; until_true "[ \$(bird_of a ours) != $p ]"; sleep 1; up a; up b; sleep 3
kill $one $two; wait $pinging || true
echo "== ping"; sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' ping.txt; grep -c '^Deleted 172.20.1.0/24' moves-b || true
echo "== metrics"; on a curl -s http://127.0.0.1:51818/metrics > page; grep -E '^wayleave_(bird_up|bird_deaths_total|bgp_session_up|bgp_routes_accepted|bgp_session_flaps_total)' page; grep -c '^# TYPE' page
"#;
    let Some(ran) = neighbours("a_bird_that_dies_comes_back_before", script) else { return };
    let ran = ran.expect(0);
    let ping = part(&ran, "ping");
    let counts: Vec<u32> = ping[0].split(' ').map(|count| count.parse().unwrap()).collect();
    // The last ones may still be under way.
    assert!(counts[0] > 200 && counts[1] + 4 >= counts[0], "{ran}");
    assert_eq!(ping[1], "0", "the other side keeps what it was told: {ran}");
    let metrics = part(&ran, "metrics");
    let labels = r#"{neighbour="b",session="n_b",kind="external",asn="64513"}"#;
    for line in [
        "wayleave_bird_up 1".to_owned(),
        "wayleave_bird_deaths_total 1".to_owned(),
        format!("wayleave_bgp_session_up{labels} 1"),
        format!("wayleave_bgp_routes_accepted{labels} 1"),
    ] {
        assert!(metrics.contains(&line.as_str()), "{line}: {ran}");
    }
}

#[test]
fn a_node_that_is_drained_asks_to_be_left_alone_and_a_line_has_the_class_that_was_measured() {
    let script = r#"
for n in ours theirs; do sed -i 's/^asn = 6451. *$/&/; 0,/^own = /s//profile = "dn42"\nown = /' $n.toml; done
agent a --network ours.toml; agent b --network theirs.toml; up a; up b; until_true "on b $W route 172.20.1.1 | grep communities"
birdc -r -s $ctl show protocols | grep '^n_b ' > since
echo "== drained"; on a "$W" drain; until_true "on b $W route 172.20.1.1 | grep '(65535,0)'"; on b "$W" route 172.20.1.1 | grep -E 'local pref'
until_true "on a $W route 172.20.2.1 | grep 'local pref *0'"; on a "$W" bgp | grep -c 'it is about to go'
echo "== taken back"; on a "$W" undrain; until_true "on b $W route 172.20.1.1 | grep 'local pref *100'"; on b "$W" route 172.20.1.1 | grep -c '65535,0' || true
birdc -r -s $ctl show protocols | grep '^n_b ' | cmp - since && echo "the session stays"
echo "== measured"; i=0; until on b "$W" route 172.20.1.1 | grep -q '(64511,[1-9])'; do i=$((i + 1)); [ $i -lt 80 ] || { echo never; break; }; sleep 0.5; done
on b "$W" route 172.20.1.1 | grep -o '(64511,[1-9])'; on a "$W" bgp --json | grep -c '"rtt_ms": [0-9]'
"#;
    let Some(ran) = neighbours("a_node_that_is_drained_asks", script) else { return };
    let ran = ran.expect(0);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(part(&ran, "drained").into_iter().map(words).collect::<Vec<_>>(), ["local pref 0", "1"], "{ran}");
    assert_eq!(part(&ran, "taken back"), ["0", "the session stays"], "{ran}");
    assert_eq!(part(&ran, "measured"), ["(64511,1)", "1"], "{ran}");
}

#[test]
fn what_users_send_over_a_line_says_what_it_carries_at_least() {
    let script = r#"
for n in ours theirs; do sed -i '0,/^own = /s//profile = "dn42"\nown = /' $n.toml; done
agent a --network ours.toml; agent b --network theirs.toml; up a; up b; until_true "on b $W route 172.20.1.1 | grep communities"
echo "== idle"; sleep 22; on b "$W" route 172.20.1.1 | grep -o '(64511,2[0-9])' || echo "none"
on a ping -q -f -l 8 -s 1350 -w 45 10.9.0.2 > ping.txt || true; tail -n 2 ping.txt >&2
echo "== used"; on b "$W" route 172.20.1.1 | grep -o '(64511,2[0-9])'; on a "$W" route 172.20.2.1 | grep -o '(64511,2[0-9])'
sleep 12; echo "== kept"; on b "$W" route 172.20.1.1 | grep -o '(64511,2[0-9])'
"#;
    let Some(ran) = neighbours("what_users_send_over_a_line", script) else { return };
    let ran = ran.expect(0);
    assert_eq!(part(&ran, "idle"), ["none"], "{ran}");
    // Echoes of 1,350 bytes there and back as fast as they come: more than 10 Mbit/s each way, on a fast machine more than 100.
    let used = part(&ran, "used");
    assert!(["(64511,23)", "(64511,24)"].contains(&used[0]), "{ran}");
    assert_eq!((used[1], part(&ran, "kept")), (used[0], vec![used[0]]), "{ran}");
}

#[test]
fn with_bfd_a_silent_neighbour_is_noticed_in_two_seconds() {
    let script = r#"
for n in ours theirs; do echo 'bfd = true' >> $n.toml; done
agent a --network ours.toml; agent b --network theirs.toml; up a; up b
until_true "birdc -r -s $ctl show bfd sessions | grep 10.9.0.2 | grep Up"; sleep 1
echo "== silent"; q=$(bird_of b theirs); begin=$(date +%s%N); kill -STOP $q; until_true "! on a $W bgp | grep ' 1 of 1 sessions are up'"
until_true "[ -z \"\$(birdc -r -s $ctl show protocols | grep '^n_b .*Established')\" ]"; echo $((($(date +%s%N) - begin) / 1000000)) > took
reason; kill -CONT $q; up a; echo "back"; cat took
"#;
    let Some(ran) = neighbours("with_bfd_a_silent_neighbour", script) else { return };
    let ran = ran.expect(0);
    let silent = part(&ran, "silent");
    assert!(silent[0].contains("BFD session down") && silent[1] == "back", "{ran}");
    // The agent looks every five seconds; BIRD has acted long before.
    assert!(silent[2].parse::<u64>().unwrap() < 9_000, "{ran}");
    println!("{ran}");
}
