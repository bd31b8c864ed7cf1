//! Changes while everything runs: nobody but those who are concerned may notice. Three nodes and more on one wire, packets a hundred
//! times a second.

use crate::{part, scenario_with};

/// Hosts a, b, c and d on a bridge; `put` replaces network file and ledger, each by a new file, and waits for nobody.
const HOSTS: &str = r#"
ip link add br0 type bridge; ip link set br0 up
for n in c d; do "$W" key generate -o $n.key > $n.pub; ip netns add $n; ip -n $n link set lo up; mkdir -p run-$n wg-$n; done
"$W" key generate -o laptop.key > laptop.pub
i=0; for n in a b c d; do
    i=$((i + 1)); ip link add h$n type veth peer name u$n netns $n; ip link set h$n master br0 up
    ip -n $n addr add 198.51.100.$i/24 dev u$n; ip -n $n link set u$n up
done
cat a.pub b.pub c.pub > first.pub
node() { printf '[nodes.%s]\nendpoint = "198.51.100.%s"\npublic_key = "%s"\n' $1 $2 "$(cat $1.pub)"; }
first() { printf '[network]\nname = "two"\nprefixes = ["10.50.0.0/24"]\n'; node a 1; echo 'entry = true'; node b 2; node c 3; }
laptop() { printf '[clients.laptop]\npublic_key = "%s"\n' "$(cat laptop.pub)"; }
put() {
    cat > next.toml; [ ! -e network.lock ] || cp network.lock next.lock
    "$W" plan next.toml > /dev/null 2>> plan.log; mv next.lock network.lock; mv next.toml network.toml
}
address() { "$W" plan network.toml 2> /dev/null | awk -v n=$1 '$1 == n { print $4 }'; }
uapi() { unshare -m sh -c 'mkdir -p /run/wireguard; mount --bind wg-'$1' /run/wireguard; wg show wg0 latest-handshakes'; }
handshakes() { for n in a b c; do echo $n; uapi $n | grep -F -f first.pub | sort; done; }
# Milliseconds until something is true.
soon() { t=$(date +%s%3N); until eval "$2" > /dev/null 2>&1; do [ $(($(date +%s%3N) - t)) -lt 10000 ] || { echo "never: $2"; cat *.log; exit 1; }; sleep 0.01; done; echo "$1 $(($(date +%s%3N) - t))"; }
"#;

fn live(test: &str, script: &str) -> Option<crate::desk::Ran> {
    scenario_with(test, &["wg", "awk", "grep"], &format!("{HOSTS}{script}"))
}

/// The milliseconds that `soon NAME` printed.
fn took_ms(ran: &crate::desk::Ran, name: &str) -> u64 {
    let line = ran.out.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no time for {name}: {ran}"))
}

#[test]
fn who_comes_and_goes_costs_others_no_packet_and_no_handshake() {
    let script = r#"
first | put
for n in a b c; do agent $n; done
for pair in "a b" "a c" "b c" "c a"; do set -- $pair; until_true "on $1 ping -c 1 -W 1 $(address $2)"; done
sleep 6; handshakes > before
for pair in "a b" "b c" "c a"; do set -- $pair; to=$(address $2); on $1 ping -q -i 0.01 -c 2000 $to > ping-$1$2 & pings="$pings $!"; done
sleep 0.5
(first; node d 4) | put; soon node "ip -n a route get $(address d) | grep 'dev wg0'"; soon node-c "ip -n c route get $(address d) | grep 'dev wg0'"
agent d; soon newcomer "on a ping -c 1 -W 0.1 $(address d)"
(first; node d 4; laptop) | put; soon client "ip -n a route get $(address laptop) | grep 'dev wg0'"
laptop=$(address laptop)
(first; echo 'prefixes = ["192.168.30.0/24"]'; node d 4; laptop) | put; soon prefix "ip -n a route show 192.168.30.0/24 | grep wg0"
(first; node d 4; laptop) | put; soon no-prefix "! ip -n a route show 192.168.30.0/24 | grep wg0"
(first; node d 4) | put; soon no-client "! ip -n a route get $laptop | grep 'dev wg0'"
kill $(cat d.pid); d=$(address d); first | put; soon no-node "! ip -n c route get $d | grep 'dev wg0'"
sleep 0.5; for ping in $pings; do kill -0 $ping || echo "the pings ended too early"; done
echo "== handshakes"; handshakes > after; cmp before after && wc -l < before
wait $pings; echo "== pings"; cat ping-??
"#;
    let Some(ran) = live("who_comes_and_goes_costs_others_no_packet", script) else { return };
    let ran = ran.expect(0);
    assert!(!ran.out.contains("too early"), "{ran}");
    assert_eq!(part(&ran, "handshakes"), ["9"], "three nodes, two handshakes each, as they were: {ran}");
    let pings = part(&ran, "pings");
    assert_eq!(pings.iter().filter(|line| line.contains("2000 received, 0% packet loss")).count(), 3, "{ran}");
    for name in ["node ", "node-c ", "client ", "prefix ", "no-prefix ", "no-client ", "no-node "] {
        assert!(took_ms(&ran, name) < 2_000, "{name}: {ran}");
    }
}

#[test]
fn half_files_old_ledgers_and_changed_links_to_files_do_no_harm() {
    let script = r#"
first | put; cp network.lock first.lock; cp network.toml first.toml
agent a; agent b; until_true "on a ping -c 1 -W 1 $(address b)"
b=$(address b); on a ping -q -i 0.01 -c 2000 $b > ping & ping=$!
second() { first; echo 'prefixes = ["192.168.30.0/24"]'; }
second > whole; size=$(wc -c < whole)
for part in 1 $((size / 3)) $((size - 3)); do
    head -c $part whole > network.toml; until_true "on a $W status | grep refused"
    ip -n a route get $b | grep -q wg0
    cp first.toml network.toml; until_true "! on a $W status | grep refused"
done
echo "== old"
(second; node d 4) | put; soon new "ip -n a route show 192.168.30.0/24 | grep wg0"
cp network.lock new.lock; head -c 40 new.lock > network.lock; until_true "on a $W status | grep refused"
ip -n a route show 192.168.30.0/24
cp new.lock network.lock; until_true "! on a $W status | grep refused"
cp network.toml new.toml; cp first.lock network.lock; cp first.toml network.toml; until_true "on a $W status | grep 'older than'"
ip -n a route show 192.168.30.0/24; cp new.lock network.lock; cp new.toml network.toml; until_true "! on a $W status | grep refused"
echo "== links"
mkdir v1 v2; cp network.toml network.lock v1; cp network.lock v2; (first; echo 'prefixes = ["192.168.31.0/24"]'; node d 4) > v2/network.toml
ln -s v1 ..data; for f in network.toml network.lock; do ln -s ..data/$f $f.new; mv -T $f.new $f; done
sleep 1; ln -s v2 ..data.new; mv -T ..data.new ..data
soon linked "ip -n a route show 192.168.31.0/24 | grep wg0"
sed -i 's/192.168.31/192.168.32/' v2/network.toml; soon behind "ip -n a route show 192.168.32.0/24 | grep wg0"
kill -0 $ping; wait $ping; echo "== ping"; cat ping
"#;
    let Some(ran) = live("half_files_old_ledgers", script) else { return };
    let ran = ran.expect(0);
    let old = part(&ran, "old");
    assert!(old.len() == 3 && old[0].starts_with("new "), "{ran}");
    for (line, what) in [(1, "half a ledger"), (2, "an older file with its ledger")] {
        assert!(old[line].starts_with("192.168.30.0/24 dev wg0"), "{what} changes nothing: {ran}");
    }
    assert!(took_ms(&ran, "linked ") < 3_000 && took_ms(&ran, "behind ") < 3_000, "{ran}");
    assert!(ran.out.contains("2000 received, 0% packet loss"), "{ran}");
}

#[test]
fn a_new_version_in_the_place_of_the_old_costs_one_handshake() {
    let script = r#"
first | put; cp "$W" wayleave-new
agent a; agent b; until_true "on a ping -c 1 -W 1 $(address b)"; sleep 3; a=$(address a)
for signal in TERM KILL; do
    on b ping -D -O -i 0.01 -c 800 $a > ping-$signal & ping=$!; sleep 2
    kill -$signal $(cat a.pid); while kill -0 $(cat a.pid) 2> /dev/null; do sleep 0.01; done
    W=$PWD/wayleave-new agent a; wait $ping || true
    echo "== $signal"; grep -c 'bytes from' ping-$signal; sed -n 's/.*icmp_seq=\([0-9]*\) ttl.*/\1/p' ping-$signal
done
"#;
    let Some(ran) = live("a_new_version_in_the_place_of_the_old", script) else { return };
    let ran = ran.expect(0);
    for signal in ["TERM", "KILL"] {
        let answered: Vec<usize> = part(&ran, signal)[1..].iter().map(|line| line.parse().unwrap()).collect();
        let gap = answered.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        println!("{signal}: {gap} pings of 10 ms without an answer");
        assert!(answered.last().is_some_and(|last| *last > 750) && gap > 1, "{gap}: {ran}");
        assert!(gap < 250, "{signal}: {gap} pings of 10 ms: {ran}");
    }
}

#[test]
fn a_name_that_has_moved_is_dialled_where_it_is_within_one_lookup() {
    let script = r#"
cp /etc/hosts hosts; echo "198.51.100.2 b.wayleave.test" >> hosts; mount --bind hosts /etc/hosts
(first | sed 's/"198.51.100.2"/"b.wayleave.test"/; /198.51.100.1"/d') | put
agent a; agent b; until_true "on a ping -c 1 -W 1 $(address b)"
# b comes back elsewhere, and does not know where a is: a has to find it.
kill -9 $(cat b.pid); until_true "! on b $W status"; ip -n b addr del 198.51.100.2/24 dev ub; ip -n b addr add 198.51.100.22/24 dev ub; agent b
# In place: it is the file itself that is mounted.
sed 's/198.51.100.2 b/198.51.100.22 b/' hosts > moved; cat moved > hosts; t=$(date +%s)
until_true "on a ping -c 1 -W 1 $(address b)"; echo "== back"; echo $(($(date +%s) - t)); on a "$W" status || true
"#;
    let Some(ran) = live("a_name_that_has_moved", script) else { return };
    let ran = ran.expect(0);
    let back = part(&ran, "back");
    assert!(
        back[0].parse::<u64>().unwrap() <= 30,
        "a lookup every 10 s while the link is down, and 5 s on trial: {ran}"
    );
    assert!(back.iter().any(|line| line.starts_with("b ") && line.contains("198.51.100.22:51820")), "{ran}");
}

#[test]
fn two_networks_on_one_host_have_tables_of_their_own_and_leave_each_other_alone() {
    let script = r#"
# As in a cloud: b is dialled at an address inside the prefixes that it stands for.
for n in a b; do i=1; [ $n = a ] || i=2; ip -n $n addr add 10.20.0.$i/24 dev v$n; ip -n $n addr add 10.30.0.$i/24 dev v$n; done
file() { cat > $1.toml <<T
[network]
name = "$1"
prefixes = ["$3.0/24"]
port = $4
device = "$5"
[nodes.a]
endpoints = { vpc = "$2.1" }
public_key = "$(cat a.pub)"
[nodes.b]
endpoints = { vpc = "$2.2" }
public_key = "$(cat b.pub)"
prefixes = ["$2.0/24"]
T
}
file one 10.20.0 10.51.0 51820 wg0; file two 10.30.0 10.52.0 51821 wg1
launch() {
    n=$1; shift
    (export WAYLEAVE_RUNTIME_DIR=$PWD/run-$n; exec nsenter --net=/run/netns/$n unshare -m sh -c \
        'mkdir -p /run/wireguard; mount --bind "wg-'$n'" /run/wireguard; exec "$W" agent "$@"' sh \
        --node $n --private-key $n.key --device engine --network $1.toml) >> $n-$1.log 2>&1 &
    echo $! > $n-$1.pid
}
begin() { launch $1 $2; until_true "on $1 $W show $2"; }
begin a one; begin b one; begin a two; begin b two
until_true "on a ping -c 1 -W 1 -I 10.51.0.1 10.20.0.2"; until_true "on a ping -c 1 -W 1 -I 10.52.0.1 10.30.0.2"
echo "== rules"; ip -n a -4 rule | grep 8700
echo "== routes"; for t in 51800 51801; do ip -n a -4 route show table $t | grep -o '10\.[23]0.* dev wg.'; done
kill $(cat a-one.pid); until_true "! on a $W status one"; on a "$W" down one > /dev/null
echo "== left"; ip -n a -4 rule | grep 8700; ip -n a -4 route show table 51801 | grep -o '10\.[23]0.* dev wg.'
on a ping -q -c 3 -W 1 -I 10.52.0.1 10.30.0.2 | grep -o '3 received'
# A device whose number differs by the number of tables there are has the same one, and is refused as long as the other is there.
sed -i 's/wg0/x1/' one.toml; sed -i 's/wg1/x801/' two.toml
kill $(cat a-two.pid); until_true "! on a $W status two"; on a "$W" down two > /dev/null
begin a one; launch a two
echo "== refused"; until_true "grep -q 'in use for' a-two.log"; grep -o 'routing table [0-9]* is in use for x1, .*' a-two.log | tail -n 1
"#;
    let Some(ran) = crate::scenario("two_networks_on_one_host", script) else { return };
    let ran = ran.expect(0);
    let rule = |table: u32| format!("8700:\tnot from all fwmark 0x{table:x} lookup {table} proto 87");
    assert_eq!(part(&ran, "rules"), [rule(51_800), rule(51_801)], "{ran}");
    assert_eq!(part(&ran, "routes"), ["10.20.0.0/24 dev wg0", "10.30.0.0/24 dev wg1"], "{ran}");
    assert_eq!(part(&ran, "left"), [rule(51_801), "10.30.0.0/24 dev wg1".into(), "3 received".into()], "{ran}");
    assert!(
        part(&ran, "refused")[0].contains("a device of another network: give one of them another `device` name"),
        "{ran}"
    );
}
