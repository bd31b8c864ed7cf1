//! A gateway and those around it, and rules of others that its firewall is to live with.
//!
//! The overlay device is a bridge named as WireGuard's would be, with two clients on it. Behind the gateway is a LAN with a
//! host, beside it a container, outside a peer and a stranger. Everybody has both address families.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use wayleave_agent::ping::{PingOptions, PingTarget, ping_many};
use wayleave_lab::host::{Namespace, Netlink};

/// How long an answer may take; what is dropped takes as long.
const ANSWER_MAX: Duration = Duration::from_millis(600);
/// How long one ping waits, answered or not.
const PING_MAX: Duration = Duration::from_millis(50);
/// How long links may take to come up.
const LINKS_MAX: Duration = Duration::from_secs(10);

/// Devices and addresses of the gateway, for `ip -batch`.
const GATEWAY: &str = "
link add wg0 address 02:00:00:00:09:01 type bridge
link add wan0 type bridge
link set to-alice master wg0 up
link set to-bob master wg0 up
link set to-peer master wan0 up
link set to-stranger master wan0 up
link set wg0 up
link set wan0 up
link set lan0 up
link set docker0 up
address add 10.9.0.1/24 dev wg0
address add fd09::1/64 dev wg0
address add 192.168.7.1/24 dev lan0
address add fd07::1/64 dev lan0
address add 192.0.2.1/24 dev wan0
address add 2001:db8::1/64 dev wan0
address add 172.17.0.1/16 dev docker0
address add fd17::1/64 dev docker0
neighbour add fd09::129 lladdr 02:00:00:00:09:29 dev wg0
neighbour add fd09::130 lladdr 02:00:00:00:09:30 dev wg0
";

/// Somebody around the gateway.
struct Other {
    name: &'static str,
    /// The gateway's device to them.
    device: &'static str,
    hardware: &'static str,
    /// Addresses of both families, and the gateway's where they are.
    addresses: [&'static str; 2],
    via: [&'static str; 2],
}

const fn other(
    name: &'static str,
    device: &'static str,
    hardware: &'static str,
    addresses: [&'static str; 2],
    via: [&'static str; 2],
) -> Other {
    Other { name, device, hardware, addresses, via }
}

const OTHERS: [Other; 6] = [
    other("alice", "to-alice", "02:00:00:00:09:29", ["10.9.0.129/24", "fd09::129/64"], ["10.9.0.1", "fd09::1"]),
    other("bob", "to-bob", "02:00:00:00:09:30", ["10.9.0.130/24", "fd09::130/64"], ["10.9.0.1", "fd09::1"]),
    other("host", "lan0", "02:00:00:00:07:10", ["192.168.7.10/24", "fd07::10/64"], ["192.168.7.1", "fd07::1"]),
    other("container", "docker0", "02:00:00:00:17:02", ["172.17.0.2/16", "fd17::2/64"], ["172.17.0.1", "fd17::1"]),
    other("peer", "to-peer", "02:00:00:00:02:07", ["192.0.2.7/24", "2001:db8::7/64"], ["192.0.2.1", "2001:db8::1"]),
    other(
        "stranger",
        "to-stranger",
        "02:00:00:00:02:66",
        ["192.0.2.66/24", "2001:db8::66/64"],
        ["192.0.2.1", "2001:db8::1"],
    ),
];

/// Addresses that are asked for, by name; everybody's own are by their own.
const TARGETS: [(&str, [&str; 2]); 6] = [
    ("gw", ["10.9.0.1", "fd09::1"]),
    ("gw-lan", ["192.168.7.1", "fd07::1"]),
    ("gw-wan", ["192.0.2.1", "2001:db8::1"]),
    ("alice", ["10.9.0.129", "fd09::129"]),
    ("host", ["192.168.7.10", "fd07::10"]),
    ("stranger", ["192.0.2.66", "2001:db8::66"]),
];

static PLACES: AtomicU32 = AtomicU32::new(0);

/// Who asks for whose port.
#[derive(Debug, Clone, Copy)]
pub struct Ask(pub &'static str, pub &'static str, pub u16);

pub struct Place {
    gw: Namespace,
    others: Vec<(&'static str, Namespace)>,
    listeners: Vec<(&'static str, TcpListener)>,
    directory: PathBuf,
}

impl Place {
    /// Everybody, and who listens on which port.
    pub fn build(listening: &[(&'static str, u16)]) -> Place {
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("firewall-{}-{number}", std::process::id());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).unwrap();
        let gw = Namespace::create().unwrap();
        let join = |Other { name, device, hardware, addresses, via }: &Other| {
            let other = Namespace::create().unwrap();
            gw.run(|| Netlink::open().unwrap().add_veth(device, "eth0", Some(other.as_fd())).unwrap()).unwrap();
            let mut batch = format!("link set eth0 address {hardware}\nlink set eth0 up\n");
            for (address, via) in addresses.iter().zip(via) {
                batch += &format!("address add {address} dev eth0\nroute add default via {via}\n");
            }
            if ["to-alice", "to-bob"].contains(device) {
                batch += "neighbour add fd09::1 lladdr 02:00:00:00:09:01 dev eth0\n";
            }
            run(&other, "ip -batch -", &batch, None);
            (*name, other)
        };
        let others: Vec<(&str, Namespace)> = OTHERS.iter().map(join).collect();
        run(&gw, "ip -batch -", GATEWAY, None);
        let mut place = Place { gw, others, listeners: Vec::new(), directory };
        for (who, port) in listening {
            let listener = place.at(who).run(|| TcpListener::bind(("::", *port)).unwrap()).unwrap();
            listener.set_nonblocking(true).unwrap();
            place.listeners.push((who, listener));
        }
        place.await_links();
        place
    }

    /// Waits until everybody finds the gateway: the kernel tells of links with a delay.
    fn await_links(&self) {
        let begin = Instant::now();
        for Other { name, via, .. } in &OTHERS {
            while via.iter().any(|address| !self.pings(name, address)) {
                assert!(begin.elapsed() < LINKS_MAX, "{name} does not find its gateway");
            }
        }
    }

    fn pings(&self, from: &str, address: &str) -> bool {
        let target = PingTarget { source: None, destination: address.parse().unwrap() };
        let options = PingOptions { count: 1, interval: PING_MAX, timeout: PING_MAX };
        self.at(from).run(|| ping_many(&[target], &options).is_ok_and(|results| results[0].received > 0)).unwrap()
    }

    pub fn at(&self, who: &str) -> &Namespace {
        self.others.iter().find(|(name, _)| *name == who).map_or(&self.gw, |(_, namespace)| namespace)
    }

    /// Runs a script of `sh` on the gateway and returns what it says. Where ufw has its files, it sees a copy.
    pub fn sh(&self, script: &str, argument: &str) -> String {
        run(&self.gw, script, argument, Some(&self.directory))
    }

    /// Gives the gateway files of ufw's own, and switches ufw on. With the first rule that is put before others, ufw loads
    /// one of its own that it had left out; that is to be done before rules are compared.
    pub fn enable_ufw(&self) {
        let copy = self.directory.join("ufw");
        let status = Command::new("cp").arg("-a").arg("/etc/ufw").arg(&copy).status().unwrap();
        assert!(status.success(), "copying /etc/ufw");
        self.sh("ufw --force enable && ufw prepend allow 2222/tcp && ufw delete allow 2222/tcp", "");
    }

    /// All rules that the gateway has, counters aside, and what ufw keeps in its files.
    pub fn rules(&self) -> String {
        let script = "nft list ruleset 2>/dev/null | sed 's/packets [0-9]* bytes [0-9]*/counted/'
            for command in iptables-nft-save ip6tables-nft-save; do $command 2>/dev/null; done | grep -v '^#'
            for family in ip ip6; do
                grep -q . /proc/net/${family}_tables_names && ${family}tables-legacy-save | grep -v '^#'
            done
            [ -d \"$UFW_FILES\" ] && cat \"$UFW_FILES\"/*.rules
            exit 0";
        let said = self.sh(script, "");
        said.lines().map(|line| line.split(" [").next().unwrap_or(line).to_owned() + "\n").collect()
    }

    /// Who gets what, in both families, all asked at once.
    pub fn answers(&self, asks: &[Ask]) -> Vec<(String, bool)> {
        let each = asks.iter().flat_map(|ask| [(ask, 0), (ask, 1)]);
        std::thread::scope(|scope| {
            let asked = each.map(|(Ask(from, to, port), family)| {
                let namespace = self.at(from);
                let address = TARGETS.iter().find(|(name, _)| name == to).map(|(_, addresses)| addresses[family]);
                let address: IpAddr = address.unwrap_or_else(|| panic!("who is {to}?")).parse().unwrap();
                let target = SocketAddr::new(address, *port);
                let connects = move || TcpStream::connect_timeout(&target, ANSWER_MAX).is_ok();
                let about = format!("{from} to {to}, {target}");
                (about, scope.spawn(move || namespace.run(connects).unwrap()))
            });
            let asked: Vec<_> = asked.collect();
            asked.into_iter().map(|(about, answer)| (about, answer.join().unwrap())).collect()
        })
    }

    /// From which addresses somebody was asked since the last time.
    pub fn askers(&self, who: &str, port: u16) -> Vec<String> {
        let is_it =
            |(name, listener): &&(&str, TcpListener)| *name == who && listener.local_addr().unwrap().port() == port;
        let (_, listener) = self.listeners.iter().find(is_it).unwrap();
        let accepted = std::iter::from_fn(|| listener.accept().ok());
        let mut from: Vec<String> = accepted.map(|(_, from)| from.ip().to_canonical().to_string()).collect();
        from.sort();
        from.dedup();
        from
    }

    /// Whether a datagram from outside reaches WireGuard's port, by family.
    pub fn reaches_wireguard(&self, from: &str) -> [bool; 2] {
        let receiver = self.gw.run(|| UdpSocket::bind(("::", 51820)).unwrap()).unwrap();
        receiver.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        ["192.0.2.1", "2001:db8::1"].map(|address| {
            let address: IpAddr = address.parse().unwrap();
            let own: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
            let sent = || UdpSocket::bind((own, 0)).unwrap().send_to(from.as_bytes(), (address, 51820));
            self.at(from).run(sent).unwrap().unwrap();
            let mut buffer = [0; 64];
            receiver.recv(&mut buffer).is_ok_and(|length| &buffer[..length] == from.as_bytes())
        })
    }

    /// Whether somebody outside gets an answer to a ping, by family, after everybody has forgotten who is where.
    pub fn pings_afresh(&self, from: &str) -> [bool; 2] {
        self.sh("ip neighbour flush dev wan0", "");
        run(self.at(from), "ip neighbour flush dev eth0", "", None);
        ["192.0.2.1", "2001:db8::1"].map(|address| (0..10).any(|_| self.pings(from, address)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Runs a script of `sh` in a namespace; the text is its standard input, and its first argument. With a directory, what is in
/// its folder `ufw` takes the place of ufw's files, and what it has in `bin` that of programs.
fn run(namespace: &Namespace, script: &str, text: &str, directory: Option<&Path>) -> String {
    let inside = namespace.clone();
    let mut command = Command::new("sh");
    let ufw = directory.map(|directory| directory.join("ufw")).filter(|files| files.exists());
    if let Some(files) = &ufw {
        let within = "mount --bind \"$UFW_FILES\" /etc/ufw && exec sh -c \"$0\" wg0.firewall \"$@\"";
        command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", within, script, text]).env("UFW_FILES", files);
    } else {
        command.args(["-c", script, "wg0.firewall", text]);
    }
    if let Some(directory) = directory {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", directory.join("bin").display()));
        command.env("WAYLEAVE_RUN_DIRECTORY", directory);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec only setns(2) is called.
    unsafe { command.pre_exec(move || inside.enter_for_good()) };
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}
