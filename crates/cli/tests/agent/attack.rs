//! Messages between agents that somebody else has made: real packets, from the wire and from inside the network.

use crate::{part, scenario_with};

/// Sends a control message that says "I don't hear you", from an address of the sender's choice: with the address on the
/// loopback interface, and a raw socket, so that the port may be that of a running agent.
const SAY_DEAF: &str = r#"
cat > deaf.py <<'P'
import socket, struct, sys
source, to, device = sys.argv[1:]
message = struct.pack(">BBBHHHIH", 1, 4, 0, 7, 0, 0, 0, 4711)
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
raw.setsockopt(socket.IPPROTO_IPV6, 7, 6)
raw.bind((source, 0))
for _ in range(3):
    raw.sendto(struct.pack(">HHHH", 51818, 51818, 8 + len(message), 0) + message, (to, 0))
P
link() { ip -n $1 -6 -o address show dev wg0 scope global | awk '{ print $4 }' | cut -d/ -f1; }
# What a says of b when it is not well, within the given number of tenths of a second; `well` if it is all the time.
opinion() {
    i=0; while [ $i -lt $1 ]; do
        i=$((i + 1)); on a "$W" status > seen || true; grep '^b ' seen | grep -q direct.*fine || { grep '^b ' seen; return; }; sleep 0.1
    done
    echo well
}
"#;

#[test]
fn only_the_peer_at_the_other_end_of_a_link_is_listened_to() {
    let script = r#"
ip netns add c; ip -n c link set lo up; mkdir -p run-c wg-c; "$W" key generate -o c.key > c.pub
ip link add br0 type bridge; ip link set br0 up; i=10
for n in a b c; do
    i=$((i + 1)); ip link add h$n type veth peer name u$n netns $n; ip link set h$n master br0 up
    ip -n $n addr add 198.51.100.$i/24 dev u$n; ip -n $n addr add 2001:db8::$i/64 dev u$n nodad; ip -n $n link set u$n up
done
printf '[nodes.c]\nendpoint = "198.51.100.13"\npublic_key = "%s"\n' "$(cat c.pub)" >> network.toml
sed -i 's/192.0.2.1"/198.51.100.11"/; s/192.0.2.2"/198.51.100.12"/' network.toml
for n in a b c; do agent $n; done
until_true "on a $W status | grep '^b ' | grep direct.*fine"; until_true "on a $W status | grep '^c ' | grep direct.*fine"; sleep 4
echo "== before"; opinion 20
a=$(link a); b=$(link b)
# c, as a stranger on the wire, with b's address: the kernel of a would take it for its own address, from any device.
ip -n c addr add $b/128 dev lo nodad; ip -n c -6 route add $a/128 via 2001:db8::11 dev uc metric 1
nsenter --net=/run/netns/c python3 deaf.py $b $a uc
echo "== wire"; opinion 20
# c, as a member of the network, with b's address, through its own tunnel.
ip -n c -6 route del $a/128 via 2001:db8::11 dev uc
nsenter --net=/run/netns/c python3 deaf.py $b $a wg0
echo "== member"; opinion 20
# The same bytes from b itself: these count.
nsenter --net=/run/netns/b python3 deaf.py $b $a wg0
echo "== peer"; opinion 40
"#;
    let programs = ["python3", "awk", "grep", "cut"];
    let script = format!("{SAY_DEAF}{script}");
    let Some(ran) = scenario_with("only_the_peer_at_the_other_end", &programs, &script) else { return };
    let ran = ran.expect(0);
    for from in ["before", "wire", "member"] {
        assert_eq!(part(&ran, from), ["well"], "{from}: {ran}");
    }
    let peer = part(&ran, "peer")[0];
    let counts = ["b does not hear this node", "it has to work for"].iter().any(|reason| peer.contains(reason));
    assert!(peer.contains("down") && counts, "{ran}");
}
