//! When an entry node says that it is ready for clients: by a TCP port for health checks, and in words.
//!
//! Two entry nodes on one wire, and one that is never there. `open NODE` says whether its port accepts a connection, asked from the other's namespace.

use crate::{part, scenario_with};

const ENTRIES: &str = r#"
"$W" key generate -o c.key > c.pub
"$W" key generate -o entry.key > entry.pub; "$W" key generate -o laptop.key > laptop.pub
cat > network.toml <<T
[network]
name = "two"
prefixes = ["10.50.0.0/24"]
[entry]
endpoint = "198.51.100.1:51821"
public_key = "$(cat entry.pub)"
[nodes.a]
endpoint = "192.0.2.1"
public_key = "$(cat a.pub)"
entry = true
platform = "agent"
[nodes.b]
endpoint = "192.0.2.2"
public_key = "$(cat b.pub)"
entry = true
platform = "agent"
[nodes.c]
endpoint = "192.0.2.3"
public_key = "$(cat c.pub)"
entry = true
platform = "agent"
[clients.laptop]
public_key = "$(cat laptop.pub)"
T
open() { case $1 in a) on b timeout 1 nc -z -w 1 192.0.2.1 51819;; b) on a timeout 1 nc -z -w 1 192.0.2.2 51819;; esac; }
why() { on $1 "$W" status | grep 'ready for clients'; }
http() { printf 'GET %s HTTP/1.0\r\n\r\n' $2 | on $1 nc -w 2 127.0.0.1 51818 | tr -d '\r' | sed -n '1p; /^$/,$p' | grep . | tr '\n' '|'; echo; }
entry() { agent $1 --entry-key entry.key; }
"#;

#[test]
fn whoever_asks_over_http_is_told_in_each_case_why_an_entry_node_is_not_ready() {
    let script = format!(
        r#"{ENTRIES}
says() {{ until_true "http a /readyz | grep -q '$1'"; http a /readyz; ! open a || echo "and the port is open"; }}
entry a; until_true "http a /healthz | grep -q '200 OK'"; echo "== alone"; says 'cut off from the backbone'
entry b; until_true "http a /readyz | grep -q '200 OK'"; echo "== ready"; http a /readyz; http a /healthz; open a && echo open
echo "== step"; ip -n b link set vb down; kill -KILL $(cat a.pid); wait $(cat a.pid) || true; entry a; says 'not yet in step'
ip -n b link set vb up; until_true "http a /readyz | grep -q '200 OK'"
echo "== drain"; on a "$W" drain 2>/dev/null; says draining; http a /healthz; on a "$W" undrain 2>/dev/null
until_true "open a"; echo "== device"
printf 'link del wg-clients\nlink add wg-clients type veth peer name other\n' | ip -n a -batch -; says 'wg-clients is not up'
ip -n a link del wg-clients; until_true "open a"; echo mended
# A link that nobody uses is looked after every few minutes only.
on a ping -i 0.2 10.50.0.2 > /dev/null 2>&1 & pinging=$!
echo "== isolated"; ip -n b link set vb down; says 'cut off from the backbone'; ip -n b link set vb up; until_true "open a"
kill $pinging
echo "== end"
"#
    );
    let needed = ["nc", "grep", "sed", "tr"];
    let Some(ran) = scenario_with("whoever_asks_over_http", &needed, &script) else { return };
    let ran = ran.expect(0);
    let says = |name: &str, words: &[&str]| {
        let lines = part(&ran, name);
        assert_eq!(lines.len(), words.len(), "{name}: {ran}");
        for (line, word) in lines.iter().zip(words) {
            assert!(line.contains(word), "{name}: {line:?} has no {word:?}: {ran}");
        }
    };
    let not_ready = "503 Service Unavailable|";
    says("alone", &[not_ready]);
    says("ready", &["HTTP/1.1 200 OK|ok|", "HTTP/1.1 200 OK|ok|", "open"]);
    says("step", &["503 Service Unavailable|not yet in step"]);
    says("drain", &["503 Service Unavailable|draining: it was asked to take no more clients|", "200 OK|ok|"]);
    says("device", &["503 Service Unavailable|wg-clients is not up|", "mended"]);
    says("isolated", &["503 Service Unavailable|cut off from the backbone: no link with b, c works|"]);
}

#[test]
fn the_health_port_is_open_exactly_while_an_entry_node_is_ready() {
    let script = format!(
        r#"{ENTRIES}
entry a; echo "== alone"; ! open a && why a
entry b; until_true "open a && open b"; echo "== ready"; why a; why b
echo "== drain"; on a "$W" drain 2>&1; ! open a && why a; open b && echo "b is open"
on a "$W" undrain 2>&1; until_true "open a"; echo "a is open again"
echo "== forwarding"; on a sh -c 'ip route add unreachable 10.50.0.0/24 table 7; ip rule add priority 1 table 7'
until_true "! open a"; why a; on a ip rule del priority 1; until_true "open a"
echo "== device"; on a ip link del wg-clients; sleep 1; until_true "open a && ip -n a link show wg-clients"; echo "repaired"
echo "== isolated"; kill -STOP $(cat b.pid); ip -n b link set vb down; until_true "why a | grep 'cut off'"; why a
ip -n b link set vb up; kill -CONT $(cat b.pid); until_true "open a && open b"
echo "== ended"; kill $(cat a.pid); until_true "! open a"; echo closed
"#
    );
    let Some(ran) = scenario_with("the_health_port_is_open", &["nc", "grep"], &script) else { return };
    let ran = ran.expect(0);
    let says = |name: &str, words: &[&str]| {
        let lines = part(&ran, name);
        assert_eq!(lines.len(), words.len(), "{name}: {ran}");
        for (line, word) in lines.iter().zip(words) {
            assert!(line.contains(word), "{name}: {line:?} has no {word:?}: {ran}");
        }
    };
    says("alone", &["not ready for clients"]);
    says("ready", &["ready for clients: TCP port 51819 is open; 0 here", "ready for clients: TCP port 51819 is open"]);
    says(
        "drain",
        &[
            "draining: the port for health checks is closed; no client is here",
            "empty after 0.",
            "not ready for clients (0 here): draining: it was asked to take no more clients",
            "b is open",
            "ready for clients again",
            "a is open again",
        ],
    );
    says("forwarding", &["packets of clients are not passed on: can't find the way to"]);
    says("device", &["repaired"]);
    says("isolated", &["cut off from the backbone: no link with b, c works"]);
    says("ended", &["closed"]);
}
