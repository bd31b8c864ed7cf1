//! A host of the long haul: a namespace on the wire, an engine in it, and what was lost there.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use ipnet::IpNet;
use wayleave_engine::{ConfigureDevice, ConfigurePeer, Device, DeviceOptions, PrivateKey, Tun};
use wayleave_lab::host::{Namespace, Netlink, Route, tun};
use wayleave_lab::wire::{PortId, UnderlayId, Wire};

use super::{Failure, Lost, processor};

const UNDERLAY: &str = "underlay0";
const OVERLAY: &str = "wg0";
const PORT: u16 = 51820;
/// Twice what is under way in 80 ms at 1 Gbit/s, and as much again for what the kernel counts beside the bytes.
const SOCKET_BYTES_MAX: &str = "4096 1048576 67108864";

/// A host.
pub struct Host {
    namespace: Namespace,
    /// Where it is on the wire.
    pub port: PortId,
    /// Its address there.
    pub underlay: Ipv4Addr,
    /// Its address in the tunnel.
    pub overlay: Ipv4Addr,
    /// The engine's threads.
    pub threads: BTreeSet<u32>,
    _device: Device,
}

fn underlay(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

fn overlay(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

impl Host {
    /// Starts host `number`, whose peer is host `other`.
    pub fn start(wire: &Wire, number: u8, other: u8) -> Result<Host, Failure> {
        let namespace = Namespace::create()?;
        let descriptor = namespace.run(|| -> Result<_, Failure> {
            let descriptor = tun::create(UNDERLAY)?;
            let mut netlink = Netlink::open()?;
            netlink.set_mtu(UNDERLAY, 1500)?;
            netlink.add_address(UNDERLAY, IpAddr::from(underlay(number)).into())?;
            netlink.set_up(UNDERLAY)?;
            netlink.add_route(&Route::new("0.0.0.0/0".parse()?, UNDERLAY))?;
            Ok(descriptor)
        })??;
        for buffer in ["net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem"] {
            namespace.set(buffer, SOCKET_BYTES_MAX)?;
        }
        // Each run of iperf3 begins from nothing, not from what the last one met.
        namespace.set("net/ipv4/tcp_no_metrics_save", "1")?;
        let port = wire.add_port(descriptor)?;
        wire.add_address(port, IpAddr::from(underlay(number)), UnderlayId::PUBLIC)?;
        let before = processor::threads()?;
        let device = namespace.run(|| start_engine(number, other))??;
        let threads = processor::threads()?.difference(&before).copied().collect();
        let (underlay, overlay) = (underlay(number), overlay(number));
        Ok(Host { namespace, port, underlay, overlay, threads, _device: device })
    }

    /// A server, until it is dropped.
    pub fn iperf3_server(&self) -> Result<Server, Failure> {
        let child = self.iperf3(&["--server".into(), "--one-off".into()])?;
        // It says nothing about when it listens that could be waited for with its output closed.
        std::thread::sleep(std::time::Duration::from_millis(500));
        Ok(Server(child))
    }

    /// A client, which ends by itself and prints JSON.
    pub fn iperf3_client(
        &self,
        server: Ipv4Addr,
        warm_up_s: u64,
        seconds: u64,
        streams: u32,
    ) -> Result<Child, Failure> {
        let arguments = format!("--json --client {server} --omit {warm_up_s} --time {seconds} --parallel {streams}");
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        self.iperf3(&arguments)
    }

    fn iperf3(&self, arguments: &[String]) -> Result<Child, Failure> {
        let namespace = self.namespace.clone();
        let mut command = Command::new("iperf3");
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // SAFETY: between fork and exec only a system call is made, nothing is allocated.
        unsafe { command.pre_exec(move || namespace.enter_for_good()) };
        Ok(command.spawn().map_err(|error| format!("can't run iperf3 (apt install iperf3): {error}"))?)
    }
}

/// A running server.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended by itself unless the client failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the calling thread's namespace.
fn start_engine(number: u8, other: u8) -> Result<Device, Failure> {
    let key = |number: u8| PrivateKey::new([number; 32]);
    let device = Device::start(DeviceOptions::new(Tun::create(OVERLAY)?))?;
    let peer = ConfigurePeer {
        endpoint: Some((underlay(other), PORT).into()),
        allowed_ips: vec![IpNet::from(IpAddr::from(overlay(other)))],
        ..ConfigurePeer::new(key(other).public_key())
    };
    device.configure(&ConfigureDevice {
        private_key: Some(key(number)),
        listen_port: Some(PORT),
        peers: vec![peer],
        ..ConfigureDevice::default()
    })?;
    let mut netlink = Netlink::open()?;
    netlink.set_mtu(OVERLAY, 1420)?;
    netlink.add_address(OVERLAY, IpAddr::from(overlay(number)).into())?;
    netlink.set_up(OVERLAY)?;
    netlink.add_route(&Route::new(IpNet::from(IpAddr::from(overlay(other))), OVERLAY))?;
    Ok(device)
}

/// What was dropped so far, by place.
pub struct Counts([u64; 5]);

impl Counts {
    /// Reads all counters.
    pub fn of(wire: &Wire, hosts: [&Host; 2]) -> Result<Counts, Failure> {
        let stats = wire.stats()?;
        let sum = |what: fn(&wayleave_lab::wire::LinkStats) -> u64| stats.links.iter().map(what).sum::<u64>();
        let mut counts = [sum(|link| link.queue_full), sum(|link| link.wire_full), sum(|link| link.refused), 0, 0];
        for host in hosts {
            let (devices, sockets) = host.namespace.run(|| -> Result<_, Failure> {
                Ok((text("/proc/thread-self/net/dev")?, text("/proc/thread-self/net/udp")?))
            })??;
            counts[2] += device_drops(&devices, UNDERLAY);
            counts[3] += socket_drops(&sockets);
            counts[4] += device_drops(&devices, OVERLAY);
        }
        Ok(Counts(counts))
    }

    /// What was lost since `before`.
    pub fn since(&self, before: &Counts) -> Lost {
        let [queue, wire, device, socket, tunnel] = std::array::from_fn(|at| self.0[at] - before.0[at]);
        Lost { queue, wire, device, socket, tunnel }
    }
}

fn text(path: &str) -> Result<String, Failure> {
    let mut text = String::new();
    std::fs::File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Drops on the way in and out, from `/proc/net/dev`.
fn device_drops(table: &str, device: &str) -> u64 {
    let line = table.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
    let fields: Vec<u64> = line.unwrap_or("").split_whitespace().filter_map(|field| field.parse().ok()).collect();
    [3, 11].iter().filter_map(|&at| fields.get(at)).sum()
}

/// Drops at all sockets, the last column of `/proc/net/udp`.
fn socket_drops(table: &str) -> u64 {
    table.lines().skip(1).filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}
