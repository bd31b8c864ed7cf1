//! BGP with foreign routers that are not ours: FRR's bgpd and BIRD in namespaces, over tunnels of the embedded engine.
//!
//! Our node is set up by rendered files, by hand; what the agent does with BIRD is tested with the agent. Routes are looked for in
//! the kernel, and packets go where they lead.

use crate::desk::{Desk, Ran, WAYLEAVE, can_run};
use crate::rendered::apart;

const PROGRAMS: [&str; 9] = ["unshare", "ip", "wg", "wg-quick", "ping", "bird", "birdc", "nft", "nc"];
/// FRR's programs are not in anybody's path.
const FRR: &str = "/usr/lib/frr/bgpd";

/// What scripts have in common: namespaces with a wire between two of them, an engine for wg-quick, waiting.
const BEGIN: &str = r#"
export WG_QUICK_USERSPACE_IMPLEMENTATION="$PWD/engine.sh"
until_true() { i=0; until eval "$1" >/dev/null 2>&1; do i=$((i + 1)); [ $i -lt 300 ] || { echo "never: $1"; tail -n 40 *.log; exit 1; }; sleep 0.1; done; }
on() { n=$1; shift; ip netns exec $n "$@"; }
host() { for n; do ip netns add $n; ip -n $n link set lo up; on $n sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; done; }
# wire A ADDRESS B ADDRESS
wire() { ip link add u$3 netns $1 type veth peer name u$1 netns $3; ip -n $1 addr add $2 dev u$3; ip -n $1 link set u$3 up; ip -n $3 addr add $4 dev u$1; ip -n $3 link set u$1 up; }
# bird NAME: with NAME.bird
start_bird() { on $1 bird -f -c ${2:-$1.bird} -s $1.ctl -P $1.pid >>$1.log 2>&1 & until_true "birdc -r -s $1.ctl show status"; }
ask() { birdc -r -s $1.ctl "$2"; }
# frr NAME: with NAME.frr
start_frr() {
    mkdir -p frr-$1; chmod 777 frr-$1
    on $1 /usr/lib/frr/zebra -u frr -g frr -f $1.frr -i $PWD/frr-$1/zebra.pid -z $PWD/frr-$1/zserv --vty_socket $PWD/frr-$1 >>$1.log 2>&1 &
    until_true "[ -e frr-$1/zserv ]"
    on $1 /usr/lib/frr/bgpd -u frr -g frr -f $1.frr -i $PWD/frr-$1/bgpd.pid -z $PWD/frr-$1/zserv --vty_socket $PWD/frr-$1 >>$1.log 2>&1 &
}
"#;

fn scenario(test: &str, files: &[(&str, &str)], script: &str) -> Option<Ran> {
    if !can_run(test, true, &[&PROGRAMS[..], &[FRR]].concat()) {
        return None;
    }
    let desk = Desk::new();
    desk.write("engine.sh", format!("#!/bin/sh\nexec {WAYLEAVE} engine \"$1\"\n"));
    desk.program("chmod 0755 engine.sh", "").expect(0);
    files.iter().for_each(|(name, text)| desk.write(name, text));
    Some(apart(&desk, &format!("{BEGIN}{script}")))
}

fn part<'a>(ran: &'a Ran, name: &str) -> Vec<&'a str> {
    let lines = ran.out.lines().skip_while(|line| *line != format!("== {name}")).skip(1);
    lines.take_while(|line| !line.starts_with("== ")).collect()
}

/// The text's own set-up: its addresses and AS number, and 463 routes that the home router has from others.
const DN42: &str = r#"
host vps home highdef third fourth far
wire vps 198.51.100.1/24 home 198.51.100.2/24
ip -n vps route add default via 198.51.100.2
wire home 172.20.229.117/30 highdef 172.20.229.118/30; ip -n highdef addr add 172.20.229.116/32 dev lo
wire highdef 192.0.2.1/30 third 192.0.2.2/30; ip -n third addr add 172.20.129.187/32 dev lo
wire third 192.0.2.5/30 fourth 192.0.2.6/30; ip -n fourth addr add 172.20.129.169/32 dev lo
wire fourth 172.23.0.81/28 far 172.23.0.80/28
for n in highdef third fourth; do ip -n $n route replace default via $(case $n in highdef) echo 192.0.2.2;; third) echo 192.0.2.6;; *) echo 172.23.0.80;; esac); done
ip -n far route add default via 172.23.0.81
ip -n fourth route add 172.22.132.160/27 via 192.0.2.5; ip -n third route add 172.22.132.160/27 via 192.0.2.1; ip -n highdef route add 172.22.132.160/27 via 172.20.229.117
for n in vps home; do "$W" key generate -o $n.key > $n.pub; done
sed "s|@VPS@|$(cat vps.pub)|; s|@HOME@|$(cat home.pub)|" template.toml > network.toml
"$W" check --strict network.toml; "$W" render network.toml -o out --key-path $PWD/vps.key >/dev/null; "$W" render network.toml --neighbour home -o half >/dev/null
# The other side's half, with its key and its device's name.
sed "s|YOUR-PRIVATE-KEY|$(cat home.key)|" half/home-wg-quick.conf > wg67.conf; chmod 600 wg67.conf
{ echo 'hostname home'; sed 's/wgDEVICE/wg67/' half/home-frr.conf; cat <<T
 neighbor 172.20.229.118 remote-as 4242420119
 no bgp ebgp-requires-policy
 bgp router-id 172.22.132.161
 address-family ipv4 unicast
  neighbor 172.20.229.118 activate
  neighbor 10.132.0.1 default-originate
 exit-address-family
T
} > home.frr
{ echo 'router id 172.20.229.116; protocol device {} protocol direct { ipv4; } protocol static { ipv4; route 172.23.0.80/28 unreachable;'
  i=0; while [ $i -lt 462 ]; do echo "route 172.$((20 + i / 256 % 2)).$((i % 256)).32/27 unreachable;"; i=$((i + 1)); done
  echo '} protocol bgp { local 172.20.229.118 as 4242420119; neighbor 172.20.229.117 as 4242421869; ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }'; } > highdef.bird
on home wg-quick up ./wg67.conf; start_frr home; start_bird highdef
state() { ip -n vps rule; ip -n vps -6 rule; ip -n vps route show table all; ip -n vps -o link | sed 's/ qlen.*//'; ip -n vps -o addr; on vps nft list ruleset; }
until_true "! ip -n vps address | grep tentative"; state > before; ip -n vps route show table main > main
on vps sh -c 'cd out/vps && sed -i "s|/etc/wireguard/%i.firewall|wg0.firewall|" wg0.conf && wg-quick up ./wg0.conf && wg-quick up ./wgn-home.conf'
start_bird vps out/vps/bird.conf
until_true "ask vps 'show protocols n_home' | grep Established"
until_true "[ \$(ip -n vps route show table 50980 | wc -l) -ge 463 ]"
"#;

/// The network of the text, with addresses that can be dialled here.
const TEMPLATE: &str = r#"[network]
name = "dn42"
prefixes = ["172.22.132.168/29"]

[bgp]
asn = 4242421869
own = ["172.22.132.160/27"]
profile = "dn42"

[nodes.vps]
endpoint = "198.51.100.1"
address = "172.22.132.169"
public_key = "@VPS@"

[neighbours.home]
node = "vps"
asn = 4242421869
public_key = "@HOME@"
endpoint = "198.51.100.2:51823"
port = 51823
own_addresses = ["10.132.0.1/30"]
addresses = ["10.132.0.2"]
"#;

#[test]
fn a_server_learns_463_routes_from_a_foreign_router_and_reaches_a_far_host_by_them() {
    let script = format!(
        "{DN42}{}",
        r#"
echo "== session"; ask vps 'show protocols all n_home' | grep -E 'Neighbor AS|Session:|Hold timer|Routes:'
echo "== table"; ip -n vps route show table 50980 | grep -c 'via 10.132.0.2 dev wgn-home proto bird src 172.22.132.169'
ip -n vps route show table 50980 | grep -c default || true
echo "== main"; ip -n vps route show table main | grep -v wg > main-now; cmp main main-now && echo same; ip -n vps route get 192.0.2.77 | head -n 1
echo "== far"; on vps ping -q -c 3 -i 0.2 -W 2 172.23.0.80; on vps ping -c 1 -W 2 172.23.0.80 | grep -o 'ttl=[0-9]*'
echo "== hops"; for t in 1 2 3 4 5; do on vps ping -c 1 -W 2 -t $t 172.23.0.80 | grep -oE '(From|bytes from) [0-9.]+' | sed 's/.*from //i'; done
echo "== back"; ip -n vps route get 172.23.0.80 | head -n 1
echo "== told"; on home ip route get 172.22.132.169 | head -n 1
echo "== withdrawn"; begin=$(date +%s); kill $(cat highdef.pid)
until_true "[ \$(ip -n vps route show table 50980 | wc -l) -lt 5 ]"; ip -n vps route show table 50980 | grep -c 172.23.0.80 || true
echo "== silent"; start_bird highdef; sed -i 's/hold time 180/hold time 9/; s/keepalive time 60/keepalive time 3/' out/vps/bird.conf; birdc -s vps.ctl configure > configured
until_true "ask vps 'show protocols all n_home' | grep 'Hold timer.*/9'"; until_true "[ \$(ip -n vps route show table 50980 | wc -l) -ge 463 ]"; begin=$(date +%s)
on home nft 'table inet cut { chain in { type filter hook input priority 0; iifname "uvps" drop; }; chain out { type filter hook output priority 0; oifname "uvps" drop; }; }'
until_true "! ip -n vps route show table 50980 | grep -q ."; echo $(($(date +%s) - begin)); ask vps 'show protocols all n_home' | sed -n 's/.*Last error: *//p'
echo "== gone"; kill $(cat vps.pid); until_true "! ip -n vps route show table 50980 | grep -q ."
on vps sh -c 'cd out/vps && wg-quick down ./wgn-home.conf && wg-quick down ./wg0.conf'; state > after; diff before after && echo same
"#
    );
    let name = "a_server_learns_463_routes_from_a_foreign_router_and_reaches_a_far_host_by_them";
    let Some(ran) = scenario(name, &[("template.toml", TEMPLATE)], &script) else { return };
    let ran = ran.expect(0);
    let session = part(&ran, "session").join("\n");
    for words in ["4242421869", "internal", "AS4", "180", "463 imported, 1 filtered"] {
        assert!(session.contains(words), "{words}: {ran}");
    }
    assert_eq!(part(&ran, "table"), ["463", "0"], "{ran}");
    let main = part(&ran, "main");
    assert_eq!(main[0], "same", "{ran}");
    assert!(main[1].contains("via 198.51.100.2"), "the default route is what it was: {ran}");
    assert!(ran.out.contains("3 received, 0% packet loss"), "{ran}");
    // 64 less the four routers on the way.
    assert!(part(&ran, "far").contains(&"ttl=60"), "{ran}");
    let hops = part(&ran, "hops");
    let routers = [0, 2, 3, 4].map(|at| hops.get(at).copied().unwrap_or_default());
    assert_eq!(routers, ["10.132.0.2", "192.0.2.2", "192.0.2.6", "172.23.0.80"], "{ran}");
    assert!(hops.len() == 5 && hops[1].starts_with("172.20.229.11"), "five hops, the second of highdef: {ran}");
    assert!(part(&ran, "told")[0].contains("dev wg67"), "home learned the own prefix by the session: {ran}");
    assert!(part(&ran, "back")[0].contains("src 172.22.132.169"), "{ran}");
    assert_eq!(part(&ran, "withdrawn"), ["0"], "{ran}");
    let silent = part(&ran, "silent");
    let hold: u64 = silent[0].parse().unwrap();
    assert!((5..=15).contains(&hold) && silent[1].contains("Hold timer expired"), "{ran}");
    assert_eq!(part(&ran, "gone").last(), Some(&"same"), "{ran}");
}

/// A neighbour of another AS that calls, over addresses made of AS numbers: one session over IPv6 for both families. It tells 1,400
/// IPv4 and 1,300 IPv6 routes that are authorised, and others that nobody may tell.
const LARGE: &str = r#"
host vps peer
wire vps 198.51.100.1/24 peer 198.51.100.2/24
for n in vps peer; do "$W" key generate -o $n.key > $n.pub; done
sed "s|@VPS@|$(cat vps.pub)|; s|@PEER@|$(cat peer.pub)|" template.toml > network.toml
"$W" check --strict network.toml; "$W" render network.toml -o out --key-path $PWD/vps.key >/dev/null; "$W" render network.toml --neighbour peer -o half >/dev/null
sed "s|YOUR-PRIVATE-KEY|$(cat peer.key)|" half/peer-wg-quick.conf > wgp.conf; chmod 600 wgp.conf; sed 's/wgDEVICE/wgp/' half/peer-bird.conf > half.conf
awk 'BEGIN { for (i = 0; i < 1400; i++) printf "172.%d.%d.%d/27\n", 20 + int(i / 512), int(i / 2) % 256, i % 2 * 128 }' > valid4
awk 'BEGIN { for (i = 1; i <= 1300; i++) printf "fd10:%x::/48\n", i }' > valid6
awk 'BEGIN { for (i = 0; i < 50; i++) printf "172.23.%d.0/27\n", i }' > invalid4; awk 'BEGIN { for (i = 0; i < 50; i++) printf "172.23.%d.64/27\n", i }' > unknown4
awk 'BEGIN { for (i = 0; i < 50; i++) printf "fd11:%x::/48\n", i }' > invalid6; awk 'BEGIN { for (i = 0; i < 50; i++) printf "fd12:%x::/48\n", i }' > unknown6
printf '172.22.132.160/27\n172.22.132.176/28\n0.0.0.0/0\n192.168.7.0/24\n8.8.8.0/24\n172.20.0.0/14\n' > never4; printf 'fd42:4242::/48\nfd42:4242:0:7::/64\n::/0\n2001:db8:1::/48\nfd00::/8\n' > never6
# All that is refused for another reason is authorised, so that this reason is the only one; but for what would authorise all inside it.
for f in 4 6; do
    max=$([ $f = 4 ] && echo 32 || echo 64)
    { cat valid$f never$f | grep -v -e 172.20.0.0/14 -e fd00::/8 -e '^0' -e '^::' | sed "s/.*/route & max $max as 4242420119;/"; sed "s/.*/route & max $max as 4242420120;/" invalid$f; } > out/vps/roa$f.conf
    { echo "protocol static s$f { ipv$f;"; sed 's/.*/route & unreachable;/' valid$f invalid$f unknown$f never$f; echo '}'; } > told$f.conf
done
cat > peer.bird <<T
router id 172.20.0.1;
protocol device {}
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
include "told4.conf";
include "told6.conf";
include "half.conf";
T
ip -n peer addr add 172.20.0.1/32 dev lo
# It says that our prefix is its own, and believes it.
ip -n vps route add default via 198.51.100.2; ip -n vps route show table main > main; ip -n vps -6 route show table main | grep -v fe80 > main6 || true
on vps sh -c 'cd out/vps && sed -i "s|/etc/wireguard/%i.firewall|wg0.firewall|" wg0.conf && wg-quick up ./wg0.conf && wg-quick up ./wgn-peer.conf'
on peer wg-quick up ./wgp.conf; ip -n peer route replace 172.22.132.169/32 dev wgp src 172.20.0.1
sed -i 's/hold time 180/hold time 9/; s/keepalive time 60/keepalive time 3/' out/vps/bird.conf
start_bird vps out/vps/bird.conf; start_bird peer
learned() { ip -n vps -$1 route show table 50980 | grep -c 'dev wgn-peer proto bird' || true; }
until_true "[ \$(learned 4) -ge 1400 ] && [ \$(learned 6) -ge 1300 ]"
"#;

/// DN42's rules, with files of route origins.
const STRICT: &str = r#"[network]
name = "dn42"
prefixes = ["172.22.132.168/29", "fd42:4242::/64"]

[bgp]
asn = 4242421869
own = ["172.22.132.160/27", "fd42:4242::/48"]
profile = "dn42"
roa_v4 = "roa4.conf"
roa_v6 = "roa6.conf"

[nodes.vps]
endpoint = "198.51.100.1"
addresses = ["172.22.132.169", "fd42:4242::1"]
public_key = "@VPS@"

[neighbours.peer]
node = "vps"
asn = 4242420119
public_key = "@PEER@"
latency_ms = 12
bandwidth_mbit = 250
"#;

#[test]
fn of_a_table_as_large_as_dn42s_only_what_is_authorised_and_nobodys_own_is_taken() {
    let script = format!(
        "{LARGE}{}",
        r#"
sleep 1; echo "== learned"; learned 4; learned 6
for f in 4 6; do ip -n vps -$f route show table 50980 | awk '{ print $1 }' | sort > got; sort valid$f | diff - got > diff$f && echo "exactly the valid" || head -n 5 diff$f; done
echo "== main"; ip -n vps route show table main | grep -v wg | cmp - main && echo same; { ip -n vps -6 route show table main | grep -v -e fe80 -e wg || true; } | cmp - main6 && echo same
ip -n vps route get 8.8.8.8 | head -n 1
echo "== next hop"; ip -n vps route get 172.20.0.1 | head -n 1; on vps ping -q -c 3 -i 0.2 -W 2 172.20.0.1
echo "== told"; birdc -r -s peer.ctl 'show route protocol as4242421869' | grep -c unicast; birdc -r -s peer.ctl 'show route all 172.22.132.160/27 protocol as4242421869' | grep -o 'community.*'
echo "== guarded"; on vps nc -l 172.22.132.169 22 & sleep 0.2; on vps nc -z -w 2 172.22.132.169 22 && echo open; on vps nc -l 172.22.132.169 22 & sleep 0.2
on peer nc -z -w 2 172.22.132.169 22 && echo open || echo closed
echo "== limit"; sed -i 's/import limit 10000/import limit 500/' out/vps/bird.conf; birdc -s vps.ctl configure > configured; birdc -s vps.ctl 'restart n_peer' >> configured
until_true "ask vps 'show protocols all n_peer' | grep -i limit.*exceeded"; until_true "[ \$(learned 4) -le 500 ]"
echo "== hold"; sed -i 's/import limit 500/import limit 10000/' out/vps/bird.conf; birdc -s vps.ctl configure >> configured; birdc -s vps.ctl 'restart n_peer' >> configured
until_true "[ \$(learned 4) -ge 1400 ]"; begin=$(date +%s); ip -n vps link set upeer down
until_true "[ \$(learned 4) -eq 0 ]"; echo $(($(date +%s) - begin)); ask vps 'show protocols all n_peer' | grep 'Last error'
"#
    );
    let name = "of_a_table_as_large_as_dn42s_only_what_is_authorised_and_nobodys_own_is_taken";
    let Some(ran) = scenario(name, &[("template.toml", STRICT)], &script) else { return };
    let ran = ran.expect(0);
    assert_eq!(part(&ran, "learned"), ["1400", "1300", "exactly the valid", "exactly the valid"], "{ran}");
    let main = part(&ran, "main");
    assert!(main[..2] == ["same", "same"] && main[2].contains("via 198.51.100.2"), "{ran}");
    assert!(part(&ran, "next hop")[0].contains("via inet6 fe80::119 dev wgn-peer"), "{ran}");
    assert!(ran.out.contains("3 received, 0% packet loss"), "{ran}");
    let told = part(&ran, "told");
    assert_eq!(told[0], "2", "the own prefixes and nothing else: {ran}");
    assert!(told[1].contains("(64511,3) (64511,24) (64511,34)"), "{ran}");
    assert_eq!(part(&ran, "guarded"), ["open", "closed"], "for itself and for the neighbour: {ran}");
    let hold: u64 = part(&ran, "hold")[0].parse().unwrap();
    assert!((5..=15).contains(&hold), "{ran}");
}

#[test]
fn the_agent_makes_a_neighbours_device_and_leaves_the_host_as_it_was() {
    let script = r#"
host vps peer; wire vps 198.51.100.1/24 peer 198.51.100.2/24
for n in vps peer; do "$W" key generate -o $n.key > $n.pub; done
sed "s|@VPS@|$(cat vps.pub)|; s|@PEER@|$(cat peer.pub)|; s|^roa.*||; s|^endpoint.*|&\nplatform = \"agent\"\nservice_addresses = [\"172.22.132.180\"]|" template.toml > network.toml
mkdir run-vps; export WAYLEAVE_RUNTIME_DIR=$PWD/run-vps
state() { ip -n vps -o link | sed 's/ qlen.*//'; ip -n vps -o address | sed 's/ valid_lft.*//'; ip -n vps rule; ip -n vps -6 rule; ip -n vps route show table all; on vps nft list ruleset; }
until_true "! ip -n vps address | grep tentative"; state > before
ip netns exec vps "$W" agent --network network.toml --node vps --private-key vps.key --device engine --cleanup > agent.log 2>&1 & agent=$!
until_true "on vps $W show"; until_true "on vps $W apply --network network.toml --node vps --dry-run 2>&1 | grep '^0 changes'"
echo "== up"; ip -n vps -o address show dev wgn-peer | awk '{ print $4 }'; ip -n vps -4 rule | grep -c 'fwmark 0xc724 lookup'
ip -n vps -o address show dev wg0 | grep -c 172.22.132.180; on vps nft list ruleset | grep -c 'iifname != "wgn-peer" accept'
echo "== gone"; kill $agent; wait $agent; state > after; diff before after && echo same
"#;
    let name = "the_agent_makes_a_neighbours_device_and_leaves_the_host_as_it_was";
    let Some(ran) = scenario(name, &[("template.toml", STRICT)], script) else { return };
    let ran = ran.expect(0);
    assert_eq!(part(&ran, "up"), ["fe80::1869/64", "2", "1", "2"], "{ran}");
    assert_eq!(part(&ran, "gone"), ["same"], "{ran}");
}

/// Who may originate what, as validators write it.
const AUTHORISED: &str = r#"{"metadata": {"buildtime": "2026-01-01T00:00:00Z"}, "roas": [
{"prefix": "172.20.1.0/24", "maxLength": 24, "asn": "AS4242420119"},
{"prefix": "172.20.2.0/24", "maxLength": 24, "asn": "AS4242420120"},
{"prefix": "172.20.8.0/23", "maxLength": 23, "asn": "AS4242420119"}]}"#;

#[test]
fn route_origins_of_an_rtr_server_are_followed_while_the_session_stays_up() {
    let script = r#"
host vps peer
wire vps 198.51.100.1/24 peer 198.51.100.2/24
for n in vps peer; do "$W" key generate -o $n.key > $n.pub; done
sed "s|@VPS@|$(cat vps.pub)|; s|@PEER@|$(cat peer.pub)|; s|^roa_v4.*|rtr = [\"127.0.0.1:8282\"]|; s|^roa_v6.*||" template.toml > network.toml
"$W" check --strict network.toml; "$W" render network.toml -o out --key-path $PWD/vps.key >/dev/null; "$W" render network.toml --neighbour peer -o half >/dev/null
sed "s|YOUR-PRIVATE-KEY|$(cat peer.key)|" half/peer-wg-quick.conf > wgp.conf; chmod 600 wgp.conf; sed 's/wgDEVICE/wgp/' half/peer-bird.conf > half.conf
cat > peer.bird <<T
router id 172.20.0.1;
protocol device {}
protocol static { ipv4; route 172.20.1.0/24 unreachable; route 172.20.2.0/24 unreachable; route 172.20.3.0/24 unreachable; route 172.20.8.0/24 unreachable; }
include "half.conf";
T
on vps sh -c 'cd out/vps && sed -i "s|/etc/wireguard/%i.firewall|wg0.firewall|" wg0.conf && wg-quick up ./wg0.conf && wg-quick up ./wgn-peer.conf'
on peer wg-quick up ./wgp.conf
ip netns exec vps stayrtr -bind 127.0.0.1:8282 -cache $PWD/roas.json -checktime=false -refresh 1 -metrics.addr 127.0.0.1:9847 > stayrtr.log 2>&1 & server=$!
until_true "on vps nc -z 127.0.0.1 8282"
start_bird vps out/vps/bird.conf; start_bird peer
learned() { ip -n vps route show table 50980 | awk '{ print $1 }' | tr '\n' ' '; }
until_true "ask vps 'show protocols origins_server1' | grep Established"; until_true "ask vps 'show protocols n_peer' | grep Established"
until_true "[ -n \"\$(learned)\" ]"; sleep 1; echo "== first"; learned; echo; ask vps 'show route table origins4 count' | grep 'of'
since=$(ask vps 'show protocols n_peer' | awk '/n_peer/ { print $5 }')
sed 's/AS4242420120/AS4242420119/' roas.json > new; mv new roas.json
until_true "learned | grep 172.20.2.0"; echo "== added"; learned; echo
sed '/172.20.1.0/d' roas.json > new; mv new roas.json
until_true "! learned | grep 172.20.1.0"; echo "== withdrawn"; learned; echo
# The server goes: what it has said stays.
kill $server; until_true "! ask vps 'show protocols origins_server1' | grep Established"; sleep 1; echo "== away"; learned; echo
[ "$since" = "$(ask vps 'show protocols n_peer' | awk '/n_peer/ { print $5 }')" ] && echo "same session"
"#;
    let name = "route_origins_of_an_rtr_server_are_followed_while_the_session_stays_up";
    if !can_run(name, true, &["stayrtr"]) {
        return;
    }
    let Some(ran) = scenario(name, &[("template.toml", STRICT), ("roas.json", AUTHORISED)], script) else { return };
    let ran = ran.expect(0);
    let line = |name: &str| part(&ran, name)[0].trim().to_owned();
    assert_eq!(line("first"), "172.20.1.0/24", "another AS's, nobody's and a longer one are refused: {ran}");
    assert_eq!(line("added"), "172.20.1.0/24 172.20.2.0/24", "{ran}");
    assert_eq!(line("withdrawn"), "172.20.2.0/24", "{ran}");
    assert_eq!(part(&ran, "away"), ["172.20.2.0/24 ", "same session"], "{ran}");
}
