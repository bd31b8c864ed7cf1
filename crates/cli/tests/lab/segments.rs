//! What TCP is told of segments behind gateways: real connections between two LANs, each with the room of an Ethernet,
//! over a tunnel with less, and what the hosts there see of each other's offers.

use crate::desk::{Desk, WAYLEAVE, can_run};
use crate::rendered::{PROGRAMS, apart};

/// Two gateways; the second adapts nothing, so that the first has to do it both ways.
const GATES: &str = r#"[network]
name = "gates"
prefixes = ["10.9.0.0/24", "fd09::/64"]

[nodes.a]
endpoint = "192.0.2.1"
prefixes = ["192.168.1.0/24", "fd01::/64"]

[nodes.b]
endpoint = "192.0.2.2"
prefixes = ["192.168.2.0/24", "fd02::/64"]
firewall = "none"
platform = "commands"
device = "wg1"
"#;

/// `listen` takes a connection of each family, `dial` makes them; each tells the segment sizes that it was offered.
const TALK: &str = r#"
import socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
wire.setblocking(False)
ends = [(socket.AF_INET, "192.168.2.10"), (socket.AF_INET6, "fd02::10")]

def offers():
    seen = set()
    while True:
        try:
            packet, where = wire.recvfrom(65535)
        except BlockingIOError:
            return sorted(seen)
        family = packet[0] >> 4
        at = (packet[0] & 15) * 4 if family == 4 else 40
        protocol = packet[9] if family == 4 else packet[6]
        if where[2] == 4 or protocol != 6 or not packet[at + 13] & 2:
            continue
        options, i = packet[at + 20:at + (packet[at + 12] >> 4) * 4], 0
        while i < len(options) and options[i]:
            if options[i] == 2:
                seen.add((family, int.from_bytes(options[i + 2:i + 4], "big")))
            i += 1 if options[i] == 1 else options[i + 1]

def dial(family, address):
    for _ in range(100):
        try:
            return socket.create_connection((address, 7000), 5)
        except OSError:
            time.sleep(0.2)
    sys.exit("nobody answers at " + address)

if sys.argv[1] == "listen":
    servers = []
    for family, address in ends:
        server = socket.socket(family)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, 7000))
        server.listen()
        servers.append(server)
    held = [server.accept() for server in servers]
else:
    held = [dial(*end) for end in ends]
print(sys.argv[1], offers())
"#;

/// What both hosts are offered, with the gateway's files as they are and after they were taken down.
fn offered(form: &str) -> String {
    let desk = Desk::with("network.toml", &GATES.replace("[nodes.b]", &format!("{form}\n[nodes.b]")));
    desk.wayleave("key make").expect(0);
    desk.wayleave("render --keys keys -o out").expect(0);
    desk.write("talk.py", TALK);
    desk.write("engine.sh", format!("#!/bin/sh\nexec {WAYLEAVE} engine \"$1\"\n"));
    desk.program("chmod 0755 engine.sh", "").expect(0);
    let script = "
mount -t tmpfs none /etc/wireguard; cp out/a/wg0.* /etc/wireguard
export WG_QUICK_USERSPACE_IMPLEMENTATION=\"$PWD/engine.sh\"
host() { ip netns add $1; ip -n $1 link set lo up; }
# A cable between two places; the addresses are put on at once, without looking for others who have them.
cable() { ip link add $2 netns $1 type veth peer name $4 netns $3; }
put() { ip -n $1 addr add $3 dev $2 nodad; }
host gate; host other; host here; host there
cable gate out other out; cable gate lan here eth; cable other lan there eth
for end in 'gate out' 'gate lan' 'other out' 'other lan' 'here eth' 'there eth'; do
    set -- $end; ip -n $1 link set $2 up
done
put gate out 192.0.2.1/24; put other out 192.0.2.2/24
put gate lan 192.168.1.1/24; put gate lan fd01::1/64; put here eth 192.168.1.10/24; put here eth fd01::10/64
put other lan 192.168.2.1/24; put other lan fd02::1/64; put there eth 192.168.2.10/24; put there eth fd02::10/64
ip -n here route add default via 192.168.1.1; ip -n here -6 route add default via fd01::1
ip -n there route add default via 192.168.2.1; ip -n there -6 route add default via fd02::1
rules() { ip netns exec gate nft list ruleset; ip netns exec gate iptables-save; ip netns exec gate ip6tables-save; }
talk() {
    ip netns exec there python3 talk.py listen >there.said &
    ip netns exec here python3 talk.py dial; wait $!; cat there.said
}
rules >before
ip netns exec other sh out/b/wg1.sh up
ip netns exec gate wg-quick up wg0
talk
ip netns exec gate wg-quick down wg0
rules >after
diff before after && echo nothing left
# The same without what adapts segments.
sed -i '/nft\\|firewall/d' /etc/wireguard/wg0.conf
ip netns exec gate wg-quick up wg0
talk";
    let ran = apart(&desk, script).expect(0);
    ran.out
}

#[test]
fn behind_a_gateway_tcp_is_offered_what_fits_through_the_tunnel() {
    let test = "behind_a_gateway_tcp_is_offered_what_fits_through_the_tunnel";
    if !can_run(test, true, &[&PROGRAMS[..], &["nft", "iptables", "python3"]].concat()) {
        return;
    }
    // 1420 bytes less the headers of TCP and of IPv4 or IPv6, where the LAN alone would have 1500.
    let expected = "dial [(4, 1380), (6, 1360)]\nlisten [(4, 1380), (6, 1360)]\nnothing left\n\
                    dial [(4, 1460), (6, 1440)]\nlisten [(4, 1460), (6, 1440)]\n";
    for form in ["", "firewall = \"nftables\"", "firewall = \"iptables\""] {
        assert_eq!(offered(form), expected, "{form}");
    }
}
