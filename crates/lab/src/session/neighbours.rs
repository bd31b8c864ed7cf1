//! Foreign routers, each played by a real one: a namespace with a WireGuard device and BIRD or FRR in it, and a host behind it.
//!
//! They are set up by what their operators get, the text of `render --neighbour`, and know nothing of the lab. The device is set as the
//! wg-quick file says that is among it, the router reads the half for it. Behind it, on a wire of their own, is one host with an
//! address in each prefix that it tells of. The nodes' side is the agents' doing.

use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ipnet::IpNet;
use wayleave_core::import::{self, hosts};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::network::{Exports, Host, Neighbour};
use wayleave_core::plan::{Member, host};
use wayleave_core::render::{Router, StandIn, origins};
use wayleave_engine::{
    ConfigureDevice, ConfigurePeer, Device, DeviceError, DeviceOptions, PresharedKey, PublicKey, Tun,
};

use super::agents::end_with_parent;
use super::members::{About, configure_underlay};
use super::stock::entry_path;
use super::{Lab, LabError, own_entry};
use crate::host::{Namespace, Netlink, NetlinkError, Route, tun};
use crate::limits::TUN_QUEUE_PACKETS;
use crate::scenario::{Home, is_accepted};
use crate::wire::{PortId, UnderlayId};

/// What its device of the tunnel is called.
const DEVICE: &str = "wg0";
/// Its device to the host behind it, and that host's own.
const BEHIND: &str = "far0";
/// Bits of a prefix that leave room for a host and its gateway.
const LAN_BITS_MIN: u8 = 2;

/// The programs that play foreign routers.
#[derive(Debug, Clone)]
pub struct Routers {
    /// Which.
    pub router: Router,
    /// BIRD; or zebra and bgpd.
    programs: Vec<PathBuf>,
    /// Seconds of silence after which they end a session.
    pub hold_s: u16,
}

impl Routers {
    /// Finds the programs on this machine.
    ///
    /// # Errors
    /// Says which is missing, and what package has it.
    pub fn find(router: Router, hold_s: u16) -> Result<Routers, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Out of many users' path; FRR's are in nobody's.
        let places = ["/usr/sbin", "/usr/local/sbin", "/usr/lib/frr", "/usr/libexec/frr"].map(PathBuf::from);
        let all: Vec<PathBuf> = std::env::split_paths(&path).chain(places).collect();
        let find = |program: &str| all.iter().map(|place| place.join(program)).find(|path| path.is_file());
        let (needed, package): (&[&str], _) = match router {
            Router::Bird => (&["bird"], "bird2"),
            Router::Frr => (&["zebra", "bgpd"], "frr"),
        };
        let programs = needed.iter().map(|program| find(program).ok_or(program)).collect::<Result<_, _>>();
        let programs = programs.map_err(|program| format!("{program} is not installed: apt install {package}"))?;
        Ok(Routers { router, programs, hold_s })
    }
}

/// Where the groups are that are shown to a router's programs, if others than the machine's.
pub fn group_path(directory: &Path) -> PathBuf {
    directory.join("group")
}

/// A foreign router's host.
pub struct NeighbourHost {
    /// Its name.
    pub name: Name,
    /// Its namespace.
    pub namespace: Namespace,
    /// Where it is on the wire.
    pub port: PortId,
    /// The host behind it, if it tells of anything.
    pub far: Option<Far>,
    // Ended before the device that they speak over.
    _routers: Vec<RouterProcess>,
    _device: Device,
}

/// A host behind a foreign router.
pub struct Far {
    /// The router's name with `-far` behind it.
    pub name: String,
    /// Its addresses with the prefixes that they are in.
    pub addresses: Vec<(IpNet, IpAddr)>,
    /// Its namespace.
    pub namespace: Namespace,
}

/// Builds all that are played, with these keys.
pub(super) fn build(lab: &Lab, keys: &[PrivateKey]) -> Result<Vec<NeighbourHost>, LabError> {
    let Some(routers) = &lab.options.routers else { return Ok(Vec::new()) };
    let all = lab.network.neighbours.iter().zip(keys).zip(&lab.underlay.neighbours).zip(&lab.told.0);
    all.map(|(((neighbour, key), home), told)| build_one(lab, routers, neighbour, (key, home, told))).collect()
}

fn build_one(
    lab: &Lab,
    routers: &Routers,
    neighbour: &Neighbour,
    (key, home, told): (&PrivateKey, &Home, &[IpNet]),
) -> Result<NeighbourHost, LabError> {
    let name = neighbour.name.clone();
    let (namespace, port) = lab.settle(&name, home)?;
    let stand_in = StandIn { neighbour, device: DEVICE, behind: BEHIND, announced: told, hold_s: routers.hold_s };
    let text = stand_in.wg_quick(&lab.plan, key);
    let tunnel = Tunnel::read(&text).ok_or_else(|| router_error(&name, io::Error::other("its half makes no sense")))?;
    let device = tunnel.start(lab, &name, &namespace)?;
    let far = if told.is_empty() { None } else { Some(Far::build(&name, &namespace, told)?) };
    let directory = lab.state.member(&name)?;
    let begin = || -> io::Result<Vec<RouterProcess>> {
        std::fs::write(entry_path(&directory), serde_json::to_vec(&own_entry(&namespace, &directory))?)?;
        std::fs::write(directory.join("router.conf"), stand_in.router(&lab.plan, routers.router))?;
        start_routers(&lab.options.program, routers, &directory)
    };
    let routers = begin().map_err(|source| router_error(&name, source))?;
    Ok(NeighbourHost { name, namespace, port, far, _routers: routers, _device: device })
}

fn router_error(name: &Name, source: io::Error) -> LabError {
    LabError::Router { neighbour: name.to_string(), source }
}

/// A tunnel as its wg-quick file says.
struct Tunnel {
    device: hosts::Device,
    key: PrivateKey,
}

impl Tunnel {
    fn read(text: &str) -> Option<Tunnel> {
        let file = import::File { path: format!("{DEVICE}.conf"), bytes: text.as_bytes().to_vec(), mode: None };
        let mut read = import::read(vec![file]);
        let mut device = read.hosts.pop()?.devices.pop()?;
        let key = device.private_key.take()?.value;
        Some(Tunnel { device, key })
    }

    fn start(&self, lab: &Lab, name: &Name, namespace: &Namespace) -> Result<Device, LabError> {
        let about = About(name);
        let engine = |source| LabError::Engine { member: name.to_string(), source };
        let uapi = lab.state.member(name)?.join(format!("{DEVICE}.sock"));
        let work = || -> Result<Device, LabError> {
            let descriptor =
                tun::create(DEVICE).map_err(|source| LabError::Tun { member: name.to_string(), source })?;
            let tun = Tun::from_fd(descriptor).map_err(|error| engine(DeviceError::Setup(error)))?;
            let device = Device::start(DeviceOptions::new(tun).with_uapi(uapi)).map_err(engine)?;
            device.configure(&self.settings(lab)).map_err(engine)?;
            self.set_addresses().map_err(|error| about.netlink(error))?;
            Ok(device)
        };
        namespace.run(work).map_err(|error| about.namespace(error))?
    }

    /// What the engine is told.
    fn settings(&self, lab: &Lab) -> ConfigureDevice {
        let peer = |peer: &hosts::Peer| {
            let public_key = PublicKey(*peer.public_key.as_ref()?.value.as_bytes());
            let dialled =
                peer.endpoint.as_ref().and_then(|at| Some((address(lab, at.value.host.as_ref()?)?, at.value.port)));
            let preshared = peer.preshared_key.as_ref().map(|key| PresharedKey::new(*key.value.as_bytes()));
            Some(ConfigurePeer {
                endpoint: dialled.map(Into::into),
                preshared_key: preshared,
                persistent_keepalive_s: peer.keepalive_s.as_ref().map(|s| s.value),
                replace_allowed_ips: true,
                allowed_ips: peer.allowed.iter().map(|prefix| prefix.value).collect(),
                ..ConfigurePeer::new(public_key)
            })
        };
        ConfigureDevice {
            private_key: Some(wayleave_engine::PrivateKey::new(*self.key.as_bytes())),
            listen_port: self.device.port.as_ref().map(|port| port.value),
            replace_peers: true,
            peers: self.device.peers.iter().filter_map(peer).collect(),
            ..ConfigureDevice::default()
        }
    }

    /// In the calling thread's namespace.
    fn set_addresses(&self) -> Result<(), NetlinkError> {
        let mut netlink = Netlink::open()?;
        if let Some(mtu) = &self.device.mtu {
            netlink.set_mtu(DEVICE, u32::from(mtu.value))?;
        }
        netlink.set_queue(DEVICE, TUN_QUEUE_PACKETS)?;
        netlink.set_up(DEVICE)?;
        self.device.addresses.iter().try_for_each(|address| netlink.add_address(DEVICE, address.value))
    }
}

/// What a name means in the lab.
fn address(lab: &Lab, host: &Host) -> Option<IpAddr> {
    match host {
        Host::Ip(ip) => Some(*ip),
        Host::Dns(name) => lab.underlay.names.get(name).copied(),
    }
}

impl Far {
    /// A host on a LAN behind the router. What has no room for two is put on the router itself, as routers have it.
    fn build(router: &Name, behind: &Namespace, told: &[IpNet]) -> Result<Far, LabError> {
        let about = About(router);
        let name = format!("{router}-far");
        let has_room = |prefix: &&IpNet| prefix.max_prefix_len() - prefix.prefix_len() >= LAN_BITS_MIN;
        // An IPv6 network's first address means any of its routers (RFC 4291, section 2.6.1).
        let nth = |prefix: &IpNet, at: usize| prefix.hosts().nth(at + usize::from(prefix.addr().is_ipv6()));
        let addresses = told.iter().map(|prefix| (*prefix, nth(prefix, 0).unwrap_or(prefix.addr()))).collect();
        let (wide, single): (Vec<&IpNet>, Vec<&IpNet>) = told.iter().partition(has_room);
        let lan = |at: usize| {
            let numbered = |prefix: &&IpNet| IpNet::new(nth(prefix, at)?, prefix.prefix_len()).ok();
            wide.iter().filter_map(numbered).collect::<Vec<IpNet>>()
        };
        let (own, gateways) = (lan(0), lan(1));
        let namespace = match wide.is_empty() {
            true => behind.clone(),
            false => Namespace::create().map_err(|error| about.namespace(error))?,
        };
        let at_router = || -> Result<(), NetlinkError> {
            let mut netlink = Netlink::open()?;
            single.iter().try_for_each(|prefix| netlink.add_address("lo", host(prefix.addr())))?;
            match wide.is_empty() {
                true => netlink.add_bridge(BEHIND)?,
                false => netlink.add_veth(BEHIND, BEHIND, Some(namespace.as_fd()))?,
            }
            netlink.set_up(BEHIND)?;
            gateways.iter().try_for_each(|address| netlink.add_address(BEHIND, *address))
        };
        let at_far = || -> Result<(), NetlinkError> {
            let mut netlink = Netlink::open()?;
            netlink.set_up(BEHIND)?;
            for (address, gateway) in own.iter().zip(&gateways) {
                netlink.add_address(BEHIND, *address)?;
                let everything = if address.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                let everything: IpNet = everything.parse().expect("both are prefixes");
                let gateway = Some(gateway.addr());
                netlink.replace_route(&Route { gateway, ..Route::new(everything, BEHIND) })?;
            }
            Ok(())
        };
        behind.run(at_router).map_err(|error| about.namespace(error))?.map_err(|error| about.netlink(error))?;
        if !wide.is_empty() {
            namespace.run(at_far).map_err(|error| about.namespace(error))?.map_err(|error| about.netlink(error))?;
        }
        Ok(Far { name, addresses, namespace })
    }
}

/// A router's program; ended with it.
struct RouterProcess(Child);

impl Drop for RouterProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts what plays a router, inside its namespace, with all its files in its directory.
fn start_routers(own_program: &Path, routers: &Routers, directory: &Path) -> io::Result<Vec<RouterProcess>> {
    let at = |name: &str| directory.join(name).into_os_string();
    let (router, socket) = (at("router.conf"), at("zserv"));
    let start = |program: &Path, arguments: &[&OsStr]| -> io::Result<RouterProcess> {
        let log = std::fs::File::options().append(true).create(true).open(directory.join("router.log"))?;
        let mut command = Command::new(own_program);
        command.args(["lab", "become"]).arg(directory).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        end_with_parent(&mut command);
        Ok(RouterProcess(command.spawn()?))
    };
    let word = OsStr::new;
    match routers.router {
        Router::Bird => {
            let (control, pid) = (at("router.ctl"), at("router.pid"));
            let arguments = [word("-f"), word("-c"), &router, word("-s"), &control, word("-P"), &pid];
            routers.programs.iter().map(|bird| start(bird, &arguments)).collect()
        }
        Router::Frr => {
            std::fs::write(group_path(directory), with_root_in(&std::fs::read_to_string("/etc/group")?))?;
            let frr = |program: &PathBuf| {
                let name = program.file_name().unwrap_or_default().to_string_lossy();
                let pid = at(&format!("{name}.pid"));
                let own = [word("-u"), word("root"), word("-g"), word("root"), word("-f"), &router];
                let places = [word("-i"), &pid, word("-z"), &socket, word("--vty_socket"), directory.as_os_str()];
                let process = start(program, &[&own[..], &places[..]].concat())?;
                // bgpd looks for zebra's socket again after seconds only.
                wait_for(Path::new(&socket));
                Ok(process)
            };
            routers.programs.iter().map(frr).collect()
        }
    }
}

/// FRR runs only as a member of this group. As its own user it could not reach its files here, so it runs as root.
fn with_root_in(groups: &str) -> String {
    const GROUP: &str = "frrvty:";
    let root = |line: &str| if line.starts_with(GROUP) { format!("{line},root\n") } else { format!("{line}\n") };
    groups.lines().map(root).collect()
}

fn wait_for(path: &Path) {
    for _ in 0..500 {
        if path.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

impl Lab {
    /// The foreign routers that are played.
    pub fn neighbours(&self) -> &[NeighbourHost] {
        &self.neighbours
    }

    /// The directory with what a foreign router's programs read and say.
    pub fn neighbour_directory(&self, at: usize) -> Option<PathBuf> {
        self.neighbours.get(at).map(|host| self.state.member_path(&host.name))
    }

    /// A namespace on the wire, at home in these addresses.
    pub(super) fn settle(&self, name: &Name, home: &Home) -> Result<(Namespace, PortId), LabError> {
        let about = About(name);
        let namespace = Namespace::create().map_err(|error| about.namespace(error))?;
        let descriptor = namespace
            .run(|| tun::create(super::members::UNDERLAY_DEVICE))
            .map_err(|error| about.namespace(error))?
            .map_err(|source| LabError::Tun { member: name.to_string(), source })?;
        let port = self.wire.add_port(descriptor)?;
        for (address, number) in &home.addresses {
            self.wire.add_address(port, *address, UnderlayId(*number))?;
        }
        if let Some(nat) = home.nat {
            self.wire.set_nat(port, Some(self.nats[nat]))?;
        }
        let addresses: Vec<IpAddr> = home.addresses.iter().map(|(address, _)| *address).collect();
        let sources = self.underlay.sources(home);
        let underlay = || configure_underlay(&addresses, &sources).map_err(|error| about.netlink(error));
        namespace.run(underlay).map_err(|error| about.namespace(error))??;
        Ok((namespace, port))
    }

    /// The address under which a node and the host behind a neighbour reach each other: the node's, and that host's. None if
    /// nothing that the neighbour tells of is taken, or it is told of nothing; and for nodes that don't hear of it from the one that it is
    /// joined to.
    pub(super) fn far_way(&self, node: Member, at: usize) -> Option<(IpAddr, IpAddr)> {
        let (neighbour, far) = (self.network.neighbours.get(at)?, self.neighbours.get(at)?.far.as_ref()?);
        let Member::Node(ix) = node else { return None };
        let own = self.plan.bgp(ix)?;
        let joined = &self.network.node(neighbour.node).name;
        let hears = neighbour.node == ix || own.speakers.iter().any(|other| other.name == *joined && !other.is_lost);
        if !hears || neighbour.export == Exports::Nothing {
            return None;
        }
        // Of addresses that are not the network's own nobody outside is told.
        let bgp = self.network.bgp.as_ref()?;
        let sources: Vec<IpAddr> = own.sources.into_iter().filter(|source| bgp.tells(neighbour, *source)).collect();
        let mut accepted = far.addresses.iter().filter(|(prefix, _)| is_accepted(&self.network, neighbour, *prefix));
        accepted.find_map(|(_, there)| {
            let own = sources.iter().find(|source| source.is_ipv4() == there.is_ipv4())?;
            Some((*own, *there))
        })
    }

    /// Where route origins stand that the lab has made: all that its routers tell of.
    pub(super) fn write_origins(&self) -> Result<(), LabError> {
        let Some(bgp) = &self.network.bgp else { return Ok(()) };
        let all = self.told.authorised(&self.network);
        for (is_v4, path) in [true, false].into_iter().zip(&bgp.roa.files) {
            let Some(path) = path else { continue };
            let of_family: Vec<_> =
                all.iter().copied().filter(|(prefix, _)| prefix.addr().is_ipv4() == is_v4).collect();
            std::fs::write(path, origins(&of_family)).map_err(LabError::Origins)?;
        }
        Ok(())
    }
}
