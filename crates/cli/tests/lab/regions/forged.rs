//! Forged messages: from a client, from a host in a VPC and from the internet, to every port of the servers. They change nothing; the
//! same bytes from a server over its own link do, so that the test would notice if they were nonsense.

use wayleave_core::keys::PublicKey;
use wayleave_core::names::Name;
use wayleave_core::node::exchange::record::{Claim, Record, View};
use wayleave_core::node::exchange::wire::{Header, Part, encode};
use wayleave_core::node::handover::Voucher;

use super::*;

/// `forge.py FILE SOURCE,TO,PORT ...` sends each line of a file, as bytes, to each target by UDP and, where somebody listens, by TCP.
/// The source port is the agents' own, since they listen to no other.
const FORGE: &str = r#"
import socket, sys
payloads = [bytes.fromhex(line) for line in open(sys.argv[1]).read().split()]
sent = connected = 0
for target in sys.argv[2:]:
    source, to, port = target.split(",")
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.bind((source, 51818))
        for payload in payloads * 3:
            udp.sendto(payload, (to, int(port)))
            sent += 1
    with socket.socket(family, socket.SOCK_STREAM) as tcp:
        tcp.settimeout(1)
        try:
            tcp.connect((to, int(port)))
            tcp.sendall(b"".join(payloads))
            connected += 1
        except OSError:
            pass
print(sent, connected)
"#;

/// `recorded.py`: waits for a client's handshake initiation at a server, as somebody on its way could, and prints it.
const RECORDED: &str = r#"
import socket
packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
packets.bind(("underlay0", 0x0800))
packets.settimeout(30)
while True:
    packet = packets.recv(65536)
    start = 4 * (packet[0] & 15)
    payload = packet[start + 8:]
    if packet[9] == 17 and packet[start + 2:start + 4] == (51821).to_bytes(2, "big") and len(payload) == 148 and payload[0] == 1:
        print(payload.hex())
        break
"#;

/// `replay.py HEX SERVER ...`: sends an initiation to servers, and says how many answered it with a response.
const REPLAY: &str = r#"
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(3)
answered = set()
for server in sys.argv[2:]:
    udp.sendto(bytes.fromhex(sys.argv[1]), (server, 51821))
    data, source = udp.recvfrom(65536)
    assert len(data) == 92 and data[0] == 2, data
    answered.add(source)
print(len(answered))
"#;

/// `speak.py FILE SOURCE TO DEVICE`: the first line of a file, from a port that a running agent has.
const SPEAK: &str = r#"
import socket, struct, sys
file, source, to, device = sys.argv[1:]
message = bytes.fromhex(open(file).read().split()[0])
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP)
raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
raw.setsockopt(socket.IPPROTO_IPV6, 7, 6)
raw.bind((source, 0))
raw.sendto(struct.pack(">HHHH", 51818, 51818, 8 + len(message), 0) + message, (to, 0))
"#;

const SERVERS: [&str; 3] = ["vpn-ireland", "vpn-singapore", "vpn-virginia"];

/// What a stranger would like servers to believe, one message a line: a client is elsewhere, a link is down, a server ends, a client has
/// come with somebody's session; and noise.
fn messages() -> String {
    let name = |text: &str| Name::new(text).unwrap();
    let claim = Claim { held: true, server: name("vpn-virginia") };
    let moved = Record::Client { client: name("callserver-cork"), epoch: 1_000, claim };
    let (origin, other) = (name("vpn-ireland"), name("vpn-singapore"));
    let down = Record::Link { origin, other, generation: 1_000_000, view: View::Down };
    let header = Header { number: 30_000, boot: 4_711, ..Header::default() };
    let voucher = Voucher { client: PublicKey::from_bytes([7; 32]), seen: Some([9; 12]) };
    let all = [
        encode(&header, &[Part::Records(vec![moved])]),
        encode(&header, &[Part::Records(vec![down])]),
        encode(&Header { leaving: true, deaf: true, ..header }, &[]),
        voucher.encode(),
        vec![0xff; 100],
    ];
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    all.iter().map(hex).collect::<Vec<_>>().join("\n")
}

/// What servers believe of clients and of each other.
fn beliefs(lab: &Running<'_>) -> (Value, Vec<Value>) {
    let mut clients = status(lab)["clients"].take();
    // Only time goes on.
    clients.as_array_mut().unwrap().iter_mut().for_each(|client| drop(client["since_s"].take()));
    let members = SERVERS.iter().flat_map(|server| {
        let ran = lab.lab(&format!("exec {server} {} status --json", crate::desk::WAYLEAVE));
        let snapshot: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran}"));
        let members = snapshot["members"].as_array().unwrap().clone();
        let words = |member: &Value| serde_json::json!([server, member["name"], member["health"], member["via"]]);
        let mut words: Vec<Value> = members.iter().map(words).collect();
        words.sort_by_key(ToString::to_string);
        words
    });
    (clients, members.collect())
}

/// An address of a member's device, by the words that `ip address show` is asked with.
fn address(lab: &Running<'_>, place: &str, words: &str) -> String {
    let ran = lab.lab(&format!("exec {place} ip -o address show {words}")).expect(0);
    let found = ran.out.split_whitespace().find(|word| word.contains('/'));
    found.unwrap_or_else(|| panic!("no address: {ran}")).split('/').next().unwrap().to_owned()
}

/// Sends all messages from a place to targets, and returns how many datagrams and connections there were.
fn forge(desk: &Desk, lab: &Running<'_>, place: &str, targets: &[(&str, &str)]) -> (usize, usize) {
    let ports = ["51818", "51819", "51820", "51821"];
    let all = targets.iter().flat_map(|(from, to)| ports.map(|port| format!("{from},{to},{port}")));
    let all: Vec<String> = all.collect();
    let (script, file) = (desk.path("forge.py"), desk.path("messages"));
    let line = format!("exec {place} python3 {} {} {}", script.display(), file.display(), all.join(" "));
    let ran = lab.lab(&line).expect(0);
    let numbers: Vec<usize> = ran.out.split_whitespace().map(|word| word.parse().unwrap()).collect();
    (numbers[0], numbers[1])
}

/// From inside a tunnel with a server's link address, from a VPC to the server in front of it, and from anywhere else in the world.
fn forge_everywhere(desk: &Desk, lab: &Running<'_>, links: &[String; 3]) {
    let key = lab.lab("exec callserver-toronto wg show wg0 peers").expect(0).out.trim().to_owned();
    desk.write(
        "widen.sh",
        format!(
            "set -e\nwg set wg0 peer {key} allowed-ips 10.0.0.0/8,::/0\nip -6 address add {}/128 dev wg0 nodad\n\
             ip -6 route add {}/128 dev wg0 metric 1\n",
            links[1], links[0]
        ),
    );
    lab.lab(&format!("exec callserver-toronto sh {}", desk.path("widen.sh").display())).expect(0);
    let own = address(lab, "callserver-toronto", "dev wg0 scope global to 10.0.0.0/8");
    // Two sources, four ports, five messages, each three times.
    let inside = [(own.as_str(), "10.50.0.1"), (links[1].as_str(), links[0].as_str())];
    assert_eq!(forge(desk, lab, "callserver-toronto", &inside).0, 120);

    let lan = address(lab, "vpc-ireland-lan", "scope global to 10.1.0.0/16");
    let bridge = lab.lab("exec vpc-ireland-lan ip -o route get 10.50.0.1").expect(0).out;
    let bridge = bridge.split(" dev ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let gateway = lab.lab("exec vpn-ireland ip -6 -o address show scope link").expect(0).out;
    let gateway = gateway.lines().find(|line| line.contains("lan-")).unwrap_or_else(|| panic!("no LAN: {gateway}"));
    let gateway = gateway.split_whitespace().find(|word| word.contains('/')).unwrap().split('/').next().unwrap();
    desk.write(
        "reach.sh",
        format!(
            "set -e\nip -6 address add {}/128 dev {bridge} nodad\nip -6 route add {} via {gateway} dev {bridge}\n",
            links[1], links[0]
        ),
    );
    lab.lab(&format!("exec vpc-ireland-lan sh {}", desk.path("reach.sh").display())).expect(0);
    let vpc = [(lan.as_str(), "10.50.0.1"), (links[1].as_str(), links[0].as_str())];
    let (sent, connected) = forge(desk, lab, "vpc-ireland-lan", &vpc);
    assert!(sent == 120 && connected > 0, "the ready port is open for VPC hosts too: {sent}, {connected}");

    let internet = [("0.0.0.0", "203.0.113.10"), ("0.0.0.0", "203.0.113.20"), ("0.0.0.0", "203.0.113.30")];
    let (sent, connected) = forge(desk, lab, "callserver-cork", &internet);
    assert!(sent == 180 && connected == 3, "all ready ports are open: {sent}, {connected}");
}

/// Records an initiation of a client at the server that it is for, and sends it to the others. They take it for a handshake, as they must.
fn replay(desk: &Desk, lab: &Running<'_>) {
    spawn(desk, lab, "vpn-singapore", &format!("python3 {}", desk.path("recorded.py").display()), "recorded");
    std::thread::sleep(Duration::from_millis(500));
    let again = "peer=$(wg show wg0 peers); wg set wg0 peer $peer remove\n\
                 wg set wg0 peer $peer endpoint 198.51.100.1:51821 persistent-keepalive 25 allowed-ips 10.0.0.0/8\n";
    desk.write("again.sh", again);
    lab.lab(&format!("exec callserver-singapore sh {}", desk.path("again.sh").display())).expect(0);
    let initiation = wait_for(desk, "recorded");
    let before = beliefs(lab);
    let script = desk.path("replay.py");
    let line =
        format!("exec callserver-cork python3 {} {} 203.0.113.10 203.0.113.30", script.display(), initiation.trim());
    assert_eq!(lab.lab(&line).expect(0).out.trim(), "2", "both answered it");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(beliefs(lab), before);
}

#[test]
fn forged_messages_from_clients_vpc_hosts_and_the_internet_change_nothing() {
    let test = "forged_messages_from_clients_vpc_hosts_and_the_internet_change_nothing";
    if !can_run(test, true, &["wireguard-go", "python3", "ip", "sh", "wg"]) {
        return;
    }
    let desk = Desk::with_examples();
    let mut lab = start(&desk, "forged");
    for (client, server) in [("cork", "ireland"), ("singapore", "singapore"), ("toronto", "virginia")] {
        wait_until_with(&lab, &format!("callserver-{client}"), &format!("vpn-{server}"));
    }
    for (file, text) in [("forge.py", FORGE), ("recorded.py", RECORDED), ("replay.py", REPLAY), ("speak.py", SPEAK)] {
        desk.write(file, text);
    }
    desk.write("messages", messages());
    let links = SERVERS.map(|server| address(&lab, server, "dev wg0 scope global to fd00::/8"));
    let before = beliefs(&lab);
    forge_everywhere(&desk, &lab, &links);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(beliefs(&lab), before);
    replay(&desk, &lab);

    // The first of the messages, said by a server over its link: all believe it, until the client's next packet.
    let (script, file) = (desk.path("speak.py"), desk.path("messages"));
    let words = format!("{} {} {} {} wg0", script.display(), file.display(), links[1], links[0]);
    lab.lab(&format!("exec vpn-singapore python3 {words}")).expect(0);
    let begin = Instant::now();
    while client(&lab, "callserver-cork")["server"] != "vpn-virginia" {
        assert!(
            begin.elapsed() < MOVE_MAX,
            "a member of the network is not believed: {}",
            client(&lab, "callserver-cork")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    lab.lab("ping callserver-cork vpn-ireland -c 20");
    wait_until_with(&lab, "callserver-cork", "vpn-ireland");
    lab.lab("down").expect(0);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.said());
}
