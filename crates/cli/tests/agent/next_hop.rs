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
