//! `wayleave client-watch` beside a client that is not ours: wireguard-go behind a load balancer that pins flows.
//!
//! Two servers with one key, as entry servers have it, behind an anycast address of the lab's wire; two clients with a keepalive,
//! which therefore never leave a dead server by themselves. Only the first has the watch beside it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wayleave_engine::{ConfigureDevice, ConfigurePeer, Device, DeviceOptions, PrivateKey, Tun};
use wayleave_lab::host::{Netlink, Route, tun};
use wayleave_lab::session::{Accelerator, HealthChecks};
use wayleave_lab::wire::{AnycastConfig, AnycastMember, LinkModel};

use crate::bed::{Bed, Node, bed};
use crate::desk::{Desk, WAYLEAVE, can_run};

const ANYCAST: &str = "198.51.100.1:51821";
/// The servers' address inside the tunnel.
const INSIDE: &str = "10.50.0.99";

/// A server: a host with an engine.
struct Server {
    node: Node,
    _device: Device,
    _ready: TcpListener,
}

/// A client: a host with a wireguard-go, which ends with it.
struct Client {
    node: Node,
    interface: String,
    process: Child,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.interface));
    }
}

impl Client {
    fn command(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let output = self.node.namespace.run(move || command.output()).unwrap().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn endpoint(&self) -> SocketAddr {
        let address: IpAddr = if self.interface.ends_with('1') { [203, 0, 113, 1] } else { [203, 0, 113, 2] }.into();
        let port = self.command(&format!("wg show {} listen-port", self.interface));
        SocketAddr::new(address, port.trim().parse().unwrap())
    }
}

fn key(byte: u8) -> PrivateKey {
    PrivateKey::new([byte; 32])
}

fn server(bed: &Bed, address: &str, port_of_health: u16) -> Server {
    let node = bed.public(&[address]);
    let peer = |n: u8| ConfigurePeer {
        allowed_ips: vec![format!("10.50.128.{n}/32").parse().unwrap()],
        ..ConfigurePeer::new(key(n).public_key())
    };
    let change = ConfigureDevice {
        private_key: Some(key(99)),
        listen_port: Some(51821),
        peers: (1..=4).map(peer).collect(),
        ..ConfigureDevice::default()
    };
    let device = node.namespace.run(|| {
        let device = Device::start(DeviceOptions::new(Tun::from_fd(tun::create("wg0").unwrap()).unwrap())).unwrap();
        let mut netlink = Netlink::open().unwrap();
        netlink.add_address("wg0", format!("{INSIDE}/32").parse().unwrap()).unwrap();
        netlink.set_up("wg0").unwrap();
        netlink.add_route(&Route::new("10.50.128.0/17".parse().unwrap(), "wg0")).unwrap();
        device.configure(&change).unwrap();
        device
    });
    let ready = node.namespace.run(|| TcpListener::bind((address, port_of_health)).unwrap()).unwrap();
    Server { node, _device: device.unwrap(), _ready: ready }
}

fn client(bed: &Bed, desk: &Desk, n: u8, endpoint: &str) -> Client {
    let node = bed.public(&[&format!("203.0.113.{n}")]);
    let interface = format!("an{}c{n}", std::process::id());
    let mut command = Command::new("wireguard-go");
    command.arg(&interface).env("WG_PROCESS_FOREGROUND", "1").stdout(Stdio::null()).stderr(Stdio::null());
    let process = node.namespace.run(move || command.spawn()).unwrap().unwrap();
    let client = Client { node, interface, process };
    let interface = &client.interface;
    let socket = format!("/var/run/wireguard/{interface}.sock");
    until(Duration::from_secs(10), "wireguard-go listens", || std::path::Path::new(&socket).exists());
    let core_key = wayleave_core::keys::PrivateKey::from_random([n; 32]);
    desk.write(&format!("{n}.key"), core_key.reveal().as_bytes());
    client.command(&format!("wg set {interface} private-key {}", desk.path(&format!("{n}.key")).display()));
    let public_key = key(99).public_key();
    client.command(&format!(
        "wg set {interface} peer {public_key} endpoint {endpoint} persistent-keepalive 25 allowed-ips 10.50.0.0/16"
    ));
    client.command(&format!("ip addr add 10.50.128.{n}/32 dev {interface}"));
    client.command(&format!("ip link set {interface} mtu 1420 up"));
    client.command(&format!("ip route add 10.50.0.0/16 dev {interface}"));
    client
}

fn until(most: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < most, "never within {most:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    begin.elapsed()
}

/// Starts the watch in a client's namespace and returns when it watches.
fn watch(client: &Client, endpoints: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut command = Command::new(WAYLEAVE);
    command.args(["client-watch", &client.interface, "--ping", INSIDE]).stderr(Stdio::piped());
    command.args(endpoints.iter().flat_map(|endpoint| ["--endpoint", *endpoint]));
    let mut child = client.node.namespace.run(move || command.spawn()).unwrap().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let first = endpoints.first().unwrap_or(&ANYCAST);
    assert!(line.contains(&format!("watching {first}")) && line.contains(INSIDE), "{line}");
    (child, lines)
}

/// Ends a watch, and returns what it has said.
fn end(watch: &mut Child, lines: &mut BufReader<std::process::ChildStderr>) -> String {
    // SAFETY: the process is a test's own child, and has not been waited for.
    assert_eq!(unsafe { libc::kill(watch.id() as i32, libc::SIGTERM) }, 0);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    lines.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn of_several_endpoints_the_one_that_lives_is_dialled_at_once_whoever_is_dead_or_a_black_hole() {
    let test = "of_several_endpoints_the_one_that_lives_is_dialled_at_once_whoever_is_dead_or_a_black_hole";
    if !can_run(test, true, &["wireguard-go", "wg", "ip"]) {
        return;
    }
    let Some(bed) = bed(test) else { return };
    let desk = Desk::new();
    let (first, last) = (server(&bed, "192.0.2.1", 51819), server(&bed, "192.0.2.2", 51819));
    // A host without any server refuses, and nobody has the fourth address.
    let _dead = bed.public(&["192.0.2.3"]);
    let all = ["192.0.2.1:51821", "192.0.2.3:51821", "192.0.2.4:51821", "192.0.2.2:51821"];
    let of = |at: &[usize]| at.iter().map(|at| all[*at]).collect::<Vec<&str>>();
    // Two, three, and all of them, of which the last lives when the first has died.
    for (n, endpoints) in (1..).zip([of(&[0, 3]), of(&[0, 1, 3]), of(&[0, 1, 2, 3])]) {
        let client = client(&bed, &desk, n, endpoints[0]);
        until(Duration::from_secs(15), "the first server answers", || client.node.answers(INSIDE));
        let (mut watch, mut lines) = watch(&client, &endpoints);
        std::thread::sleep(Duration::from_secs(2));
        bed.wire.set_port_up(first.node.port, false).unwrap();
        let took = until(Duration::from_secs(12), "the last server answers", || client.node.answers(INSIDE));
        let said = end(&mut watch, &mut lines);
        bed.wire.set_port_up(first.node.port, true).unwrap();
        eprintln!("{} endpoints: without a server for {:.1} s", endpoints.len(), took.as_secs_f64());
        assert!(said.contains("dialling 192.0.2.2:51821 from another port (attempt 1)"), "{said}");
        assert!(!said.contains("attempt 2"), "{said}");
        let now = client.command(&format!("wg show {} endpoints", client.interface));
        assert!(now.contains("192.0.2.2:51821"), "{now}");
    }
    // Nobody accepts connections any more, though both servers live: they take turns.
    let Server { node, _device, _ready } = last;
    drop(_ready);
    let endpoints = of(&[0, 2, 3]);
    let client = client(&bed, &desk, 4, endpoints[0]);
    until(Duration::from_secs(15), "the first server answers", || client.node.answers(INSIDE));
    let (mut watch, mut lines) = watch(&client, &endpoints);
    std::thread::sleep(Duration::from_secs(2));
    bed.wire.set_port_up(first.node.port, false).unwrap();
    until(Duration::from_secs(25), "the last server answers", || client.node.answers(INSIDE));
    let said = end(&mut watch, &mut lines);
    let at = |words: &str| said.find(words).unwrap_or_else(|| panic!("no {words:?} in {said}"));
    assert!(at("dialling 192.0.2.1:51821") < at("dialling 192.0.2.4:51821"), "{said}");
    assert!(at("dialling 192.0.2.4:51821") < at("dialling 192.0.2.2:51821"), "{said}");
    drop((node, _device));
}

#[test]
fn a_stock_client_leaves_a_dead_server_that_its_load_balancer_keeps_it_with() {
    let test = "a_stock_client_leaves_a_dead_server_that_its_load_balancer_keeps_it_with";
    if !can_run(test, true, &["wireguard-go", "wg", "ip"]) {
        return;
    }
    let Some(bed) = bed(test) else { return };
    let desk = Desk::new();
    let (near, far) = (server(&bed, "192.0.2.1", 51819), server(&bed, "192.0.2.2", 51819));
    let clients = [1, 2].map(|n| client(&bed, &desk, n, ANYCAST));
    for client in &clients {
        for (server, ms) in [(&near, 2), (&far, 40)] {
            let model = LinkModel::with_delay(Duration::from_millis(ms));
            bed.wire.set_links_between(client.node.port, server.node.port, &model).unwrap();
        }
    }
    let member =
        |server: &Server, address: &str| AnycastMember { port: server.node.port, address: address.parse().unwrap() };
    let config = AnycastConfig {
        address: "198.51.100.1".parse().unwrap(),
        port: 51821,
        idle: Duration::from_secs(30),
        members: vec![member(&near, "192.0.2.1"), member(&far, "192.0.2.2")],
    };
    let checks = HealthChecks {
        port: 51819,
        interval: Duration::from_millis(500),
        timeout: Duration::from_millis(500),
        threshold: 2,
    };
    let accelerator = Accelerator::start(&bed.wire, config, "198.51.100.2".parse().unwrap(), checks).unwrap();
    let server_of = |client: &Client| {
        let (flows, endpoint) = (accelerator.flows().unwrap(), client.endpoint());
        flows.iter().find(|flow| flow.client == endpoint).map(|flow| flow.member)
    };
    for client in &clients {
        until(Duration::from_secs(15), "the near server answers", || client.node.answers(INSIDE));
        assert_eq!(server_of(client), Some(near.node.port));
    }
    let before = clients[0].command(&format!("wg show {} dump", clients[0].interface));
    let (mut watch, mut lines) = watch(&clients[0], &[]);
    // It learns that the server answers echoes.
    std::thread::sleep(Duration::from_secs(2));

    bed.wire.set_port_up(near.node.port, false).unwrap();
    let took = until(Duration::from_secs(12), "the far server answers", || clients[0].node.answers(INSIDE));
    eprintln!("the watched client was without a server for {:.1} s", took.as_secs_f64());
    assert_eq!(server_of(&clients[0]), Some(far.node.port));
    assert!(!clients[1].node.answers(INSIDE), "without the watch a client stays where it is");
    assert_eq!(server_of(&clients[1]), Some(near.node.port));

    let said = end(&mut watch, &mut lines);
    assert!(said.contains("dialling 198.51.100.1:51821 from another port (attempt 1)"), "{said}");
    assert!(said.contains("the server answers again, after "), "{said}");
    let after = clients[0].command(&format!("wg show {} dump", clients[0].interface));
    let settings = |dump: &str| -> Vec<String> {
        let peer: Vec<&str> = dump.lines().nth(1).unwrap().split('\t').collect();
        [0, 1, 2, 3, 7].map(|at| peer[at].to_owned()).to_vec()
    };
    assert_eq!(settings(&before), settings(&after), "key, shared key, endpoint, allowed-ips and keepalive stay");
}
