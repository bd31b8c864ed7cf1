//! S0 as a whole: call servers with stock WireGuard, one anycast address, VPN servers with the real agent in three regions.
//!
//! The network is the example of that name; its clients run `wireguard-go`. They travel (`lab move`), and everything is read where a
//! person would read it: `lab status`, `lab ping`, what the lab says while it stays up.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desk::{Desk, can_run};
use crate::running::Running;

#[path = "regions/forged.rs"]
mod forged;
#[path = "regions/many.rs"]
mod many;

/// How long a client that sends may take to come to another server and all nodes to know: a round trip would do on an idle machine.
const MOVE_MAX: Duration = Duration::from_secs(20);

/// A connection over which a line is sent every 20 ms and comes back: `steady.py serve PORT`, or `steady.py ADDRESS PORT END`, which
/// goes on until the file END is there and then says how many lines came back, in order, and the longest time without one.
const STEADY: &str = r#"
import json, os, socket, sys, threading, time
if sys.argv[1] == "serve":
    listener = socket.create_server(("", int(sys.argv[2])))
    connection, _ = listener.accept()
    while data := connection.recv(65536):
        connection.sendall(data)
    sys.exit()
address, port, end = sys.argv[1:]
connection = socket.create_connection((address, int(port)), timeout=20)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
came, gap = [], 0.0
def listen():
    global gap
    last, rest = time.monotonic(), b""
    while data := connection.recv(65536):
        *lines, rest = (rest + data).split(b"\n")
        came.extend(int(line) for line in lines)
        gap, last = max(gap, time.monotonic() - last), time.monotonic()
listener = threading.Thread(target=listen, daemon=True)
listener.start()
sent = 0
while not os.path.exists(end):
    connection.sendall(b"%d\n" % sent)
    sent += 1
    time.sleep(0.02)
deadline = time.monotonic() + 20
while len(came) < sent and time.monotonic() < deadline:
    time.sleep(0.02)
in_order = came == list(range(sent))
print(json.dumps({"sent": sent, "came": len(came), "in_order": in_order, "gap_ms": gap * 1000}))
"#;

/// A lab with the example's network and stock clients.
fn start<'a>(desk: &'a Desk, name: &str) -> Running<'a> {
    Running::start(desk, name, "multi-region.toml --clients wireguard-go")
}

/// All that `lab status --json` says.
fn status(lab: &Running<'_>) -> Value {
    let ran = lab.lab("status --json");
    serde_json::from_str::<Value>(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran}"))["status"].take()
}

/// A client's line in `lab status --json`.
fn client(lab: &Running<'_>, name: &str) -> Value {
    let status = status(lab);
    let clients = status["clients"].as_array().unwrap_or_else(|| panic!("no clients: {status}"));
    clients.iter().find(|client| client["client"] == name).unwrap_or_else(|| panic!("no {name}: {status}")).clone()
}

/// Waits until a client is with a server and all nodes know.
fn wait_until_with(lab: &Running<'_>, name: &str, server: &str) -> Value {
    let begin = Instant::now();
    loop {
        let seen = client(lab, name);
        let moved = &seen["moved"];
        // Nobody is asked in the first moment.
        if seen["server"] == server && moved["took_ms"].is_number() && moved["nodes"] != 0 {
            return seen;
        }
        assert!(begin.elapsed() < MOVE_MAX, "{name} does not come to {server}: {seen}; {}", lab.said());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The round-trip time between two places, and the path that it is said to take.
fn rtt(lab: &Running<'_>, from: &str, to: &str) -> (f64, String) {
    let ran = lab.lab(&format!("ping {from} {to} -c 5 --json")).expect(0);
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    let pair = &document["pairs"][0];
    let path: Vec<&str> = pair["path"].as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect();
    (pair["rtt_ms"].as_f64().unwrap_or_else(|| panic!("lost: {ran}")), path.join(" > "))
}

/// A round trip within 4 ms of what it is by the file.
#[track_caller]
fn assert_rtt(lab: &Running<'_>, from: &str, to: &str, expected_ms: f64) {
    let (ms, path) = rtt(lab, from, to);
    assert!((expected_ms..expected_ms + 4.0).contains(&ms), "{from} to {to}: {ms} ms instead of {expected_ms}, {path}");
}

/// The address of the host on a site's LAN.
fn lan_address(lab: &Running<'_>, host: &str) -> String {
    let ran = lab.lab(&format!("exec {host} ip -4 -o address show scope global")).expect(0);
    let address = ran.out.split_whitespace().find(|word| word.contains('/'));
    address.unwrap_or_else(|| panic!("no address: {ran}")).split('/').next().unwrap().to_owned()
}

/// Starts a script in a place, to go on beside everything else; what it prints is in a file.
fn spawn(desk: &Desk, lab: &Running<'_>, place: &str, script: &str, output: &str) {
    let file = format!("{output}.sh");
    let (output, errors) = (desk.path(output), desk.path(&format!("{output}.err")));
    desk.write(&file, format!("{script} >{} 2>{} </dev/null &\n", output.display(), errors.display()));
    lab.lab(&format!("exec {place} sh {}", desk.path(&file).display())).expect(0);
}

/// Waits until a file has something in it.
fn wait_for(desk: &Desk, name: &str) -> String {
    let begin = Instant::now();
    loop {
        let text = desk.read(name);
        if !text.is_empty() {
            return text;
        }
        assert!(begin.elapsed() < Duration::from_secs(40), "{name} stays empty: {}", desk.read(&format!("{name}.err")));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Wrong words for `lab move`, each with what is said of it.
fn assert_refusals(lab: &Running<'_>) {
    for (words, said) in [
        ("callserver-sinapore ireland", "did you mean callserver-singapore?"),
        ("callserver-singapore irland", "irland is no region of this network; did you mean ireland?"),
        ("vpn-ireland singapore", "vpn-ireland is a node, and nodes stay where they are: name a client"),
        ("callserver-cork ireland", "callserver-cork is in ireland already"),
    ] {
        let ran = lab.lab(&format!("move {words}")).expect(1);
        assert!(ran.err.contains(said), "nothing about {said:?} in {ran}");
    }
}

#[test]
fn a_call_server_that_travels_is_with_the_nearest_vpn_server_and_its_connections_survive_every_move() {
    let test = "a_call_server_that_travels_is_with_the_nearest_vpn_server_and_its_connections_survive_every_move";
    if !can_run(test, true, &["wireguard-go", "python3", "ip", "sh"]) {
        return;
    }
    let desk = Desk::with_examples();
    let mut lab = start(&desk, "regions");
    assert!(lab.said().contains("clients roam: the nodes run the agent, the clients wireguard-go"), "{}", lab.said());
    let table = lab.lab("status").expect(0);
    for (client, server) in [("cork", "ireland"), ("singapore", "singapore"), ("toronto", "virginia")] {
        wait_until_with(&lab, &format!("callserver-{client}"), &format!("vpn-{server}"));
    }
    let clients = table.out.split("\n\n").nth(1).unwrap_or_else(|| panic!("no clients: {table}"));
    assert!(clients.starts_with("client ") && clients.lines().all(|line| line.chars().count() <= 80), "{clients}");
    // S0's own numbers: through Ireland alone it was 400 ms.
    assert_rtt(&lab, "callserver-singapore", "vpc-singapore-lan", 3.0);
    assert_rtt(&lab, "callserver-singapore", "vpc-ireland-lan", 183.0);
    assert_rtt(&lab, "callserver-cork", "vpc-ireland-lan", 6.0);
    assert_refusals(&lab);

    desk.write("steady.py", STEADY);
    let (steady, end) = (desk.path("steady.py"), desk.path("end"));
    spawn(&desk, &lab, "vpc-ireland-lan", &format!("python3 {} serve 7000", steady.display()), "served");
    let ireland = lan_address(&lab, "vpc-ireland-lan");
    std::thread::sleep(Duration::from_millis(500));
    let talk = format!("python3 {} {ireland} 7000 {}", steady.display(), end.display());
    spawn(&desk, &lab, "callserver-singapore", &talk, "talked");
    std::thread::sleep(Duration::from_secs(1));
    let mut before = "singapore";
    for (region, to_ireland_ms, to_singapore_ms) in
        [("ireland", 1.0, 181.0), ("virginia", 71.0, 221.0), ("singapore", 183.0, 3.0)]
    {
        lab.lab(&format!("move callserver-singapore {region}")).expect(0);
        let moved = wait_until_with(&lab, "callserver-singapore", &format!("vpn-{region}"))["moved"].clone();
        assert_eq!((&moved["from"], &moved["nodes"]), (&Value::from(format!("vpn-{before}")), &Value::from(3)));
        eprintln!("to {region}: all nodes followed in {} ms", moved["took_ms"]);
        assert!(moved["took_ms"].as_f64().unwrap() < 1_000.0, "{moved}");
        assert_rtt(&lab, "callserver-singapore", "vpc-ireland-lan", to_ireland_ms);
        assert_rtt(&lab, "callserver-singapore", "vpc-singapore-lan", to_singapore_ms);
        before = region;
    }
    desk.write("end", "");
    let talked: Value = serde_json::from_str(&wait_for(&desk, "talked")).unwrap();
    eprintln!("a connection through three moves: {talked}");
    assert!(talked["in_order"] == true && talked["sent"].as_u64() > Some(100), "{talked}");
    assert!(talked["gap_ms"].as_f64().unwrap() < 3_000.0, "{talked}");

    // Its packets take another way through the internet, under the same address: to the load balancer it is the same flow.
    lab.lab("move callserver-toronto singapore --keep-address").expect(0);
    let (ms, path) = rtt(&lab, "callserver-toronto", "vpn-virginia");
    assert!((220.0..230.0).contains(&ms) && path == "callserver-toronto > vpn-virginia", "{ms} ms, {path}");
    assert_eq!(client(&lab, "callserver-toronto")["server"], "vpn-virginia");
    assert_rtt(&lab, "callserver-cork", "vpc-ireland-lan", 6.0);
    assert!(lab.said().contains("callserver-singapore: vpn-singapore > vpn-ireland in "), "{}", lab.said());
    lab.lab("down").expect(0);
    assert_eq!(lab.wait().code(), Some(0), "{}", lab.said());
}
