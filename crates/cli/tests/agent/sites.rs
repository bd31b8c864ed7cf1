//! Claims that BGP carries, on hosts: an overlay of IPv6 alone, and what is left of BIRD and of claims when agents go.

use super::{part, scenario_with};

/// Two gateways of one LAN, which speak BGP with each other and have nothing else to say.
const PAIR: &str = r#"
cat > network.toml <<T
[network]
name = "two"
prefixes = ["fd50::/64"]
platform = "agent"
[bgp]
asn = 64512
exchange = "bgp"
[nodes.a]
endpoint = "192.0.2.1"
public_key = "$(cat a.pub)"
address = "fd50::a"
[nodes.b]
endpoint = "192.0.2.2"
public_key = "$(cat b.pub)"
address = "fd50::b"
[sites.office]
prefixes = ["fd77::/64", "192.168.7.0/24"]
gateways = ["a", "b"]
T
for n in a b; do ip -n $n link add lan type bridge; ip -n $n link set lan up; ip -n $n link add l0 type veth peer name l1; ip -n $n link set l0 master lan; ip -n $n link set l0 up; ip -n $n link set l1 up; ip -n $n addr add fd77::$n/64 dev lan nodad; done
own() { ip -n $1 -6 route show table 50160 2>/dev/null || true; }
heard() { ip -n $1 -6 route show table 49340 2>/dev/null || true; }
birds() { for p in $(ip netns pids $1); do grep -x bird /proc/$p/comm 2>/dev/null || true; done; }
both() { agent a "$@"; agent b "$@"; until_true "heard a | grep fd50::b"; until_true "heard b | grep fd50::a"; }
"#;

#[test]
fn gateways_tell_of_their_site_over_ipv6_alone_and_nothing_is_left_when_agents_end() {
    let script = format!(
        r#"{PAIR}
both
echo "== own"; own a; own b
echo "== heard"; heard a; heard b; ip -n a -4 route show table 49340 2>/dev/null || true
ip -n a link set l1 down; until_true "[ -z \"\$(own a)\" ]"; until_true "[ -z \"\$(heard b)\" ]"
echo "== way"; on a "$W" show | grep allowed; ip -n a link set l1 up
until_true "own a | grep fd77"; until_true "heard b | grep fd50::a"
echo "== drained"; on a "$W" drain; until_true "own a | grep 'window 500'"; until_true "heard b | grep 'window 500'"
on a "$W" undrain; until_true "heard b | grep 'window 1000'"; birds a
echo "== ended"; kill $(cat a.pid); until_true "! ip -n a link show wg0"; birds a; own a; heard a
until_true "[ -z \"\$(heard b)\" ]"
agent a; until_true "heard b | grep fd50::a"; until_true "heard a | grep fd50::b"
echo "== killed"; kill -9 $(cat a.pid); until_true "! ip -n a link show wg0"; until_true "[ -z \"\$(birds a)\" ]"; heard a; own a | wc -l
agent a; until_true "heard b | grep fd50::a"; until_true "heard a | grep fd50::b"
sed '/^exchange/d' network.toml > new; mv new network.toml; until_true "[ -z \"\$(own a)\$(own b)\$(heard a)\$(heard b)\" ]"
echo "== not wanted"; until_true "[ -z \"\$(birds a)\$(birds b)\" ]"; ls run-a/networks/two | grep bird || echo none
"#
    );
    let test = "gateways_tell_of_their_site_over_ipv6_alone";
    let Some(ran) = scenario_with(test, &["bird", "sed"], &script) else { return };
    let ran = ran.expect(0);
    let own = part(&ran, "own");
    assert!(own.len() == 2 && own.iter().all(|route| route.starts_with("unreachable fd77::/64 ")), "{ran}");
    assert!(own[0].contains("window 1000") && own[1].contains("window 999"), "{ran}");
    let heard = part(&ran, "heard");
    assert!(heard.len() == 2, "an IPv4 prefix has no session to be told over: {ran}");
    assert!(heard[0].contains("via fd50::b") && heard[0].contains("window 999"), "{ran}");
    assert!(heard[1].contains("via fd50::a") && heard[1].contains("window 1000"), "{ran}");
    assert!(part(&ran, "way")[0].contains("fd77::/64"), "it sends to the other gateway: {ran}");
    assert_eq!(part(&ran, "drained").last(), Some(&"bird"), "{ran}");
    assert_eq!(part(&ran, "ended"), [""; 0], "{ran}");
    // What it told of itself is still written down; nobody tells it any more.
    assert_eq!(part(&ran, "killed"), ["1"], "{ran}");
    assert_eq!(part(&ran, "not wanted"), ["none"], "{ran}");
}
