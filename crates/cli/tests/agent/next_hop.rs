//! Routes between nodes of one network: what BIRD or FRR puts into the network's own table goes to the node that it names, over the one
//! device that they all share.

use super::{part, scenario_with};

/// Two nodes that speak BGP with each other, each with an address that only BGP tells of.
const PAIR: &str = r#"
cat > network.toml <<T
[network]
name = "two"
prefixes = ["10.50.0.0/24", "fd50::/64"]
[bgp]
asn = 64512
own = ["172.22.1.0/27", "fd51::/48"]
[nodes.a]
endpoint = "192.0.2.1"
public_key = "$(cat a.pub)"
bgp = true
service_addresses = ["172.22.1.1", "fd51::1"]
[nodes.b]
endpoint = "192.0.2.2"
public_key = "$(cat b.pub)"
bgp = true
service_addresses = ["172.22.1.2", "fd51::2"]
T
table=50980
allowed() { on $1 "$W" show | sed -n 's/^  allowed ips: //p'; }
"#;

fn pair(test: &str, programs: &[&str], script: &str) -> Option<super::Ran> {
    scenario_with(test, &[&["bird", "birdc", "sed", "cmp"], programs].concat(), &format!("{PAIR}{script}"))
}

fn sorted(list: &str) -> Vec<&str> {
    let mut prefixes: Vec<&str> = list.split(", ").collect();
    prefixes.sort_unstable();
    prefixes
}

#[test]
fn addresses_that_only_bgp_tells_of_reach_each_other_over_the_shared_device() {
    let script = r#"
until_true "! ip -n a address | grep -E 'tentative|NO-CARRIER'"; seen a > before
agent a --cleanup; agent b
until_true "on a ping -c 1 -W 1 172.22.1.2"; until_true "on a ping -c 1 -W 1 fd51::2"
echo "== kernel"; ip -n a route show table $table; ip -n a -6 route show table $table
echo "== ping"; on a ping -q -c 3 -i 0.2 -W 2 172.22.1.2; on a ping -q -c 3 -i 0.2 -W 2 -I fd51::1 fd51::2
echo "== from"; on b ping -c 1 -W 2 172.22.1.1 | sed -n 1p
echo "== allowed"; allowed a; sleep 3; allowed a
on a "$W" status | head -n 1
echo "== bgp"; on a "$W" bgp; echo "exit $?"
echo "== route"; on a "$W" route 172.22.1.2
echo "== withdrawn"; sed 's/, "fd51::2"//; s/172.22.1.2"/172.22.1.3"/' network.toml > new; mv new network.toml
until_true "allowed a | grep 172.22.1.3"; until_true "! allowed a | grep -E '172.22.1.2|fd51'"; allowed a
until_true "on a ping -c 1 -W 1 172.22.1.3"
echo "== odd"; r() { ip -n a route "$@" table $table dev wg0; }
r add 10.50.0.64/26 via 10.50.0.2; r add default via 10.50.0.2; r add 172.22.1.9/32 via 10.50.0.7 onlink; r add 172.30.0.0/16 via 10.50.0.2
until_true "allowed a | grep 172.30.0.0/16"; allowed a; on a "$W" bgp | tail -n 3
r change 172.30.0.0/16 via 10.50.0.7 onlink; until_true "! allowed a | grep 172.30"
r change 172.30.0.0/16 via 10.50.0.2; until_true "allowed a | grep 172.30"
ip -n a link set wg0 down; until_true "ip -n a link show wg0 | grep -q 'state U'"; until_true "allowed a | grep 172.22.1.3"
until_true "on a ping -c 1 -W 1 172.22.1.3"
echo "== end"; ip -n a route flush table $table; until_true "! allowed a | grep 172.30"
sed '/service_addresses\|^bgp = true/d; /^\[bgp\]/,/^own/d' network.toml > new; mv new network.toml
until_true "! ip -n a rule | grep $table"; allowed a; ip -n a route show table all proto bird | wc -l
kill $(cat a.pid); until_true "! ip -n a link show wg0"; sleep 0.2; seen a > after; cmp before after && echo same
kill $(cat b.pid); until_true "! ip -n b link show wg0"
"#;
    let Some(ran) = pair("addresses_that_only_bgp_tells_of", &[], script) else { return };
    let ran = ran.expect(0);
    let kernel = part(&ran, "kernel");
    assert!(kernel[0].starts_with("172.22.1.2 via 10.50.0.2 dev wg0 proto bird src 172.22.1.1"), "{ran}");
    assert!(kernel[1].starts_with("fd51::2 via fd50::2 dev wg0 proto bird src fd51::1"), "{ran}");
    let ping = part(&ran, "ping");
    assert_eq!(ping.iter().filter(|line| line.contains("3 received, 0% packet loss")).count(), 2, "{ran}");
    let whole = "10.50.0.2/32, fd1e:a37b:a7a4:ffff::2/128, fd50::2/128, fd51::2/128, 172.22.1.2/32";
    let allowed = part(&ran, "allowed");
    assert!(sorted(allowed[0]) == sorted(whole) && sorted(allowed[1]) == sorted(whole), "it stays: {ran}");
    assert!(allowed[2].starts_with("a of two: fine"), "{ran}");
    let bgp = part(&ran, "bgp");
    assert!(bgp[0].ends_with("2 of 2 sessions are up") && bgp.last() == Some(&"exit 0"), "{ran}");
    assert!(bgp.contains(&"prefixes that go to other nodes: 2 to b"), "{ran}");
    let left = "10.50.0.2/32, fd1e:a37b:a7a4:ffff::2/128, fd50::2/128, 172.22.1.3/32";
    assert_eq!(sorted(part(&ran, "withdrawn")[0]), sorted(left), "{ran}");
    let odd = part(&ran, "odd");
    assert_eq!(sorted(odd[0]), sorted(&format!("{left}, 172.30.0.0/16")), "{ran}");
    let dropped = [
        "0.0.0.0/0 goes to no node: it is a default route",
        "10.50.0.64/26 goes to no node: it belongs to the plan, which says where it is",
        "172.22.1.9/32 goes to no node: it has the next hop 10.50.0.7, which is no node that speaks BGP",
    ];
    assert_eq!(odd[1..], dropped, "{ran}");
    let planned = "10.50.0.2/32, fd1e:a37b:a7a4:ffff::2/128, fd50::2/128";
    let end = part(&ran, "end");
    assert_eq!((sorted(end[0]), &end[1..]), (sorted(planned), &["0", "same"][..]), "nothing is left: {ran}");
}

/// FRR at node a speaks with a BIRD at b that is none of ours, over the overlay, and writes what it learns into the same table.
const FRR: &str = r#"
cat > far.conf <<T
router id 10.50.0.2;
log "far.log" all;
protocol device {}
protocol static far { ipv4; route 172.20.9.0/24 unreachable; route 172.20.8.0/24 unreachable; }
protocol bgp { local 10.50.0.2 port 1179 as 64700; neighbor 10.50.0.1 port 1179 as 64700; multihop; connect delay time 1;
    ipv4 { import all; export all; next hop self; }; }
T
cat > frr.conf <<T
hostname a
router bgp 64700
 bgp router-id 10.50.0.1
 neighbor 10.50.0.2 remote-as 64700
 neighbor 10.50.0.2 port 1179
 address-family ipv4 unicast
  neighbor 10.50.0.2 route-map own in
 exit-address-family
route-map own permit 10
 set table $table
T
mkdir -p frr; chmod 777 frr; chmod 755 .
frr() { program=$1; shift; on a /usr/lib/frr/$program -u frr -g frr "$@" -f $PWD/frr.conf -i $PWD/frr/$program.pid -z $PWD/frr/zserv --vty_socket $PWD/frr > $program.log 2>&1 & }
ip -n b addr add 172.20.9.1/32 dev lo
"#;

#[test]
fn what_frr_writes_into_the_table_goes_to_the_node_that_it_names() {
    let script = r#"
agent a --cleanup; agent b --cleanup
on b bird -f -c far.conf -s far.ctl & until_true "[ -S far.ctl ]"
frr zebra; until_true "[ -e frr/zserv ]"; frr bgpd -p 1179 -l 10.50.0.1
until_true "allowed a | grep 172.20.8.0/24 | grep 172.20.9.0/24"
until_true "on a ping -c 1 -W 1 172.20.9.1"
echo "== table"; ip -n a route show table $table | grep 'proto bgp'
echo "== ping"; on a ping -q -c 3 -i 0.2 -W 2 172.20.9.1
birdc -s far.ctl disable far > out; until_true "! allowed a | grep 172.20"
birdc -s far.ctl enable far > out; until_true "allowed a | grep 172.20.8.0/24 | grep 172.20.9.0/24"
echo "== end"; kill $(cat frr/bgpd.pid); until_true "! ip -n a route show table $table | grep 'proto bgp'"; until_true "! allowed a | grep 172.20"
on a "$W" bgp | tail -n 1
for n in a b; do kill $(cat $n.pid); until_true "! ip -n $n link show wg0"; done
"#;
    let programs = ["/usr/lib/frr/bgpd", "/usr/lib/frr/zebra"];
    let Some(ran) = pair("what_frr_writes_into_the_table", &programs, &format!("{FRR}{script}")) else { return };
    let ran = ran.expect(0);
    let table = part(&ran, "table");
    assert!(table.len() == 2 && table.iter().all(|line| line.contains("via 10.50.0.2 dev wg0 proto bgp")), "{ran}");
    assert!(part(&ran, "ping").iter().any(|line| line.contains("3 received, 0% packet loss")), "{ran}");
    assert_eq!(part(&ran, "end"), ["prefixes that go to other nodes: 2 to b"], "its service addresses: {ran}");
}

/// Twenty nodes on one wire, all with a session with each other, and a foreign router at each of the first two. Both say that they lead
/// to 172.20.0.0/24, in which each has a host that says its name; the first has 1,400 other prefixes, when it is told to.
const TWENTY: &str = r#"
nodes=$(seq -f %02g 1 20); last=n$(echo "$nodes" | tail -n 1)
ip netns add wire; ip -n wire link add name wire0 type bridge; ip -n wire link set wire0 up
plug() { ip netns add $1; ip link add u netns $1 type veth peer name p$1 netns wire; ip -n wire link set p$1 master wire0 up; ip -n $1 addr add $2/24 dev u; ip -n $1 link set u up; ip -n $1 link set lo up; mkdir -p run-$1 wg-$1; "$W" key generate -o $1.key > $1.pub; }
for i in $nodes; do plug n$i 192.0.2.1$i; done
for i in 1 2; do plug f$i 192.0.2.20$i; ip -n f$i addr add 172.20.0.1/32 dev lo; done
{ cat <<T
[network]
name = "many"
prefixes = ["172.22.0.0/25"]
[bgp]
asn = 64512
own = ["172.22.0.0/24"]
T
for i in $nodes; do printf '[nodes.n%s]\nendpoint = "192.0.2.1%s"\nbgp = true\npublic_key = "%s"\naddress = "172.22.0.%d"\n' $i $i $(cat n$i.pub) $((1$i - 100)); done
for i in 1 2; do cat <<T
[neighbours.f$i]
node = "n0$i"
asn = 6460$i
public_key = "$(cat f$i.pub)"
endpoint = "192.0.2.20$i:51820"
port = 24512
own_addresses = ["10.9.$i.1/30"]
addresses = ["10.9.$i.2"]
accept = ["172.20.0.0/14"]
T
done; } > network.toml
foreign() {
    cat > f$1.conf <<T
router id 10.9.$1.2;
log "f$1.log" all;
protocol device {}
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol static shared { ipv4; route 172.20.0.0/24 unreachable; }
protocol static many { disabled; ipv4;
include "f$1.many";
}
protocol bgp n { local 10.9.$1.2 as 6460$1; neighbor 10.9.$1.1 as 64512; connect delay time 1; ipv4 { import all; export where source = RTS_STATIC; }; }
T
    (exec nsenter --net=/run/netns/f$1 unshare -m sh -ec 'mkdir -p /run/wireguard; mount --bind wg-f'$1' /run/wireguard; "$W" engine wgf
        wg set wgf listen-port 51820 private-key f'$1'.key peer '$(cat n0$1.pub)' endpoint 192.0.2.10'$1':24512 allowed-ips 0.0.0.0/0 persistent-keepalive 5
        ip addr add 10.9.'$1'.2/30 dev wgf; ip link set wgf up
        exec bird -f -c f'$1'.conf -s f'$1'.ctl') > f$1.out 2>&1 &
}
awk 'BEGIN { for (i = 0; i < 1400; i++) printf "route 172.21.%d.%d/29 unreachable;\n", i / 32, i % 32 * 8 }' > f1.many; : > f2.many
allowed() { on $1 "$W" show --all | sed -n 's/^  allowed ips: //p' | tr ',' '\n'; }
cat > echo.py <<'T'
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("172.20.0.1", 7000))
while True:
    data, who = s.recvfrom(100); s.sendto(sys.argv[1].encode() + b" " + data, who)
T
# Asks every 2 ms who answers; after a second runs a command, and tells how soon another answers and how long nobody did.
cat > moves.py <<'T'
import select, socket, subprocess, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("172.20.0.1", 7000))
begin = time.monotonic(); first = told = moved = None; last = begin; gap = 0; sent = 0; names = set()
while time.monotonic() < begin + 6:
    now = time.monotonic()
    if told is None and now > begin + 1:
        told = now; first = name; gap = 0
        process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    try: s.send(b"%d" % sent)
    except OSError: pass
    sent += 1
    until = now + 0.002
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([s], [], [], left)[0]: break
        try: name = s.recv(100).split()[0].decode()
        except OSError: continue
        at = time.monotonic(); gap = max(gap, at - last); last = at
        if told and moved is None and name != first: moved = at
        if moved and at > moved + 1: break
    if moved and time.monotonic() > moved + 1: break
print(first, name, "moved", moved is not None, "%.0f" % ((moved - told) * 1000 if moved else -1), "%.0f" % (gap * 1000))
T
"#;

#[test]
fn among_twenty_nodes_traffic_moves_in_under_a_second_when_one_of_two_origins_withdraws() {
    let script = r#"
for i in $nodes; do agent n$i --cleanup; done; foreign 1; foreign 2
for i in 1 2; do nsenter --net=/run/netns/f$i python3 echo.py f$i & done
until_true "on $last $W route 172.20.0.1 | grep '2 ways'"; until_true "on $last ping -c 1 -W 1 172.20.0.1"
move() { nsenter --net=/run/netns/$last python3 moves.py birdc -s f1.ctl $1 shared; }
echo "== moves"; move disable; move enable; move disable; move enable
echo "== many"; begin=$(date +%s%N); birdc -s f1.ctl enable many > out
until_true "[ \$(allowed $last | grep -c 172.21) -ge 1400 ]"; echo "$((($(date +%s%N) - begin) / 1000000)) ms"; on $last "$W" bgp | tail -n 1
move disable; move enable; on $last "$W" status | head -n 1; on $last "$W" show | grep -o 'and [0-9]* more (--all lists them)'
echo "== other"; nsenter --net=/run/netns/$last timeout 20 python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 7001)); print(s.recvfrom(9))' & other=$!
sleep 1; allowed n20 | grep 172.20.0; allowed n02 | grep 172.20.0 || echo "its own"
nsenter --net=/run/netns/f2 python3 -c 'import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("172.20.0.1", 7001)); [s.sendto(b"hello", ("172.22.0.20", 7001)) for _ in range(3)]'
wait $other
echo "== neighbour"; awk '/^\[neighbours.f1\]/ { off = 1; next } /^\[/ { off = 0 } !off' network.toml > new; mv new network.toml
until_true "! ip -n n01 link show wgn-f1"; until_true "! allowed $last | grep 172.21"; until_true "[ \$(allowed $last | grep -c 172.2) = 20 ]"
allowed $last | grep -c 172.2; on $last "$W" bgp | tail -n 1; until_true "on $last ping -c 1 -W 1 172.20.0.1"; echo "1 received"; ls run-n01/networks/many; ip -n n01 route show table all | grep -c wgn-f1 || true
echo "== node"; awk '/^\[(neighbours.f2|nodes.n02)\]/ { off = 1; next } /^\[/ { off = 0 } !off' network.toml > new; mv new network.toml
until_true "! allowed $last | grep 172.20"; until_true "[ \$(allowed $last | grep -c 172.22) = 18 ]"; allowed $last | grep -c 172.22; ip -n $last route show table 50980 2> out | wc -l; on $last "$W" bgp | grep -c go || true
"#;
    let programs = ["bird", "birdc", "awk", "python3", "wg"];
    let name = "among_twenty_nodes_traffic_moves";
    let Some(ran) = scenario_with(name, &programs, &format!("{TWENTY}{script}")) else { return };
    let ran = ran.expect(0);
    let moves = part(&ran, "moves");
    let many = part(&ran, "many");
    let mut to = ["f2", "f1"].into_iter().cycle();
    for line in moves.iter().chain(&many[2..4]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1..4], [to.next().unwrap(), "moved", "True"], "{ran}");
        let [moved, silent] = [4, 5].map(|at| words[at].parse::<u64>().unwrap());
        assert!(moved < 1_000 && silent < 1_000, "moved after {moved} ms, silent for {silent} ms: {ran}");
        println!("the other origin answers after {moved} ms; nobody answered for {silent} ms");
    }
    assert_eq!((moves.len(), many[1]), (4, "prefixes that go to other nodes: 1401 to n01"), "{ran}");
    println!("1,400 prefixes are with the device of the last of twenty nodes after {}", many[0]);
    assert!(many[4].starts_with("n20 of many: fine"), "{ran}");
    // Its own two addresses, what both lead to, 1,400 others; eight are named.
    assert_eq!(many[5], "and 1395 more (--all lists them)", "{ran}");
    let other = part(&ran, "other");
    assert_eq!(other[1], "its own", "n02 has a way of its own there: {ran}");
    assert_eq!(other[2], "(b'hello', ('172.20.0.1', 7001))", "it comes by n02, though packets to it go to n01: {ran}");
    let neighbour = part(&ran, "neighbour");
    assert_eq!(neighbour[..3], ["20", "prefixes that go to other nodes: 1 to n02", "1 received"], "{ran}");
    assert_eq!(neighbour.last(), Some(&"0"), "{ran}");
    assert_eq!(part(&ran, "node"), ["18", "0", "0"], "nothing is left: {ran}");
}
