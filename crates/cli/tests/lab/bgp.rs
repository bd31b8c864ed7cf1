//! BGP with foreign routers that are not ours: FRR's bgpd and BIRD in namespaces, over tunnels of the embedded engine.
//!
//! Our node is set up by rendered files, by hand; what the agent does with BIRD is tested with the agent. Routes are looked for in
//! the kernel, and packets go where they lead.

use crate::desk::{Desk, Ran, WAYLEAVE, can_run};
use crate::rendered::apart;

const PROGRAMS: [&str; 9] = ["unshare", "ip", "wg", "wg-quick", "ping", "bird", "birdc", "nft", "setpriv"];
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
echo "== back"; ip -n vps route get 172.23.0.80 | head -n 1
echo "== told"; on home ip route get 172.22.132.169 | head -n 1
echo "== withdrawn"; begin=$(date +%s); kill $(cat highdef.pid)
until_true "[ \$(ip -n vps route show table 50980 | wc -l) -lt 5 ]"; ip -n vps route show table 50980 | grep -c 172.23.0.80 || true
echo "== gone"; kill $(cat vps.pid); until_true "! ip -n vps route show table 50980 | grep -q ."
on vps sh -c 'cd out/vps && wg-quick down ./wgn-home.conf && wg-quick down ./wg0.conf'; state > after; diff before after && echo same
"#
    );
    let name = "a_server_learns_463_routes_from_a_foreign_router_and_reaches_a_far_host_by_them";
    let Some(ran) = scenario(name, &[("template.toml", TEMPLATE)], &script) else { return };
    let ran = ran.expect(0);
    let session = part(&ran, "session").join("\n");
    for words in ["4242421869", "internal", "AS4", "180", "463 imported"] {
        assert!(session.contains(words), "{words}: {ran}");
    }
    assert_eq!(part(&ran, "table"), ["463", "0"], "{ran}");
    let main = part(&ran, "main");
    assert_eq!(main[0], "same", "{ran}");
    assert!(main[1].contains("via 198.51.100.2"), "the default route is what it was: {ran}");
    assert!(ran.out.contains("3 received, 0% packet loss"), "{ran}");
    // 64 less the four routers on the way.
    assert!(part(&ran, "far").contains(&"ttl=60"), "{ran}");
    assert!(part(&ran, "back")[0].contains("src 172.22.132.169"), "{ran}");
    assert_eq!(part(&ran, "withdrawn"), ["0"], "{ran}");
    assert_eq!(part(&ran, "gone").last(), Some(&"same"), "{ran}");
}
