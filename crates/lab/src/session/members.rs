//! One member's host: a namespace with an underlay device, a WireGuard device, and the engine that runs it.
//!
//! Built once, then brought to each plan by the difference to what it has. Its WireGuard device and its UAPI socket are in
//! the member's own namespace and directory, so members of any number of labs may have the same names and addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use wayleave_agent::control::{MemberSnapshot, Snapshot};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::plan::{Member, NodePlan, host};
use wayleave_core::render::nftables_table;
use wayleave_engine::{
    ConfigureDevice, ConfigurePeer, Device, DeviceDescription, DeviceError, DeviceOptions, PeerDescription,
    PresharedKey, PublicKey, Tun,
};

use super::agents::AgentProcess;
use super::stock::Stock;
use super::{Lab, LabError, own_entry};
use crate::host::{Namespace, NamespaceError, Netlink, NetlinkError, Route, firewall, tun};
use crate::limits::TUN_QUEUE_PACKETS;
use crate::scenario::Underlay;
use crate::wire::PortId;

/// The device that leads to the wire.
pub const UNDERLAY_DEVICE: &str = "underlay0";
/// What the internet carries.
const UNDERLAY_MTU: u32 = 1500;

/// A member's host.
pub struct MemberHost {
    /// Its name.
    pub name: Name,
    /// Its namespace.
    pub namespace: Namespace,
    /// Where it is on the wire.
    pub port: PortId,
    device_name: String,
    runner: Runner,
    configured: bool,
    routes: BTreeSet<IpNet>,
    /// Peers that the engine has.
    peers: BTreeSet<PublicKey>,
}

/// What runs a member's WireGuard device and sets its routes.
enum Runner {
    /// The lab's own hands.
    Engine(Device),
    /// The same hands, and somebody else's WireGuard.
    Stock(Stock),
    /// The real agent.
    Agent(AgentProcess),
}

impl Runner {
    /// Tells a device that the lab configures itself.
    fn configure(&self, change: &ConfigureDevice, member: &Name) -> Result<(), LabError> {
        let engine = |source| LabError::Engine { member: member.to_string(), source };
        match self {
            Runner::Engine(device) => device.configure(change).map_err(engine),
            Runner::Stock(stock) => stock.configure(change).map_err(|source| stock_error(member, source)),
            Runner::Agent(_) => Ok(()),
        }
    }
}

fn stock_error(member: &Name, source: std::io::Error) -> LabError {
    LabError::Stock { member: member.to_string(), source }
}

/// Adds a member's name to errors.
pub(super) struct About<'a>(pub &'a Name);

impl About<'_> {
    pub(super) fn namespace(&self, source: NamespaceError) -> LabError {
        LabError::Namespace { member: self.0.to_string(), source }
    }

    pub(super) fn netlink(&self, source: NetlinkError) -> LabError {
        LabError::Netlink { member: self.0.to_string(), source }
    }
}

impl MemberHost {
    /// Builds it: namespace, underlay, WireGuard device with its addresses, engine without peers.
    pub(super) fn build(lab: &Lab, member: Member) -> Result<MemberHost, LabError> {
        let plan = lab.plan.of(member);
        let name = plan.name.clone();
        let about = About(&name);
        let (namespace, port) = lab.settle(&name, &lab.underlay.homes[&member])?;
        let directory = lab.state.member(&name)?;
        let uapi_path = directory.join(format!("{}.sock", plan.device));
        let work = || -> Result<Device, LabError> {
            let engine = |source| LabError::Engine { member: name.to_string(), source };
            let descriptor = tun::create(plan.device.as_str())
                .map_err(|source| LabError::Tun { member: name.to_string(), source })?;
            let tun = Tun::from_fd(descriptor).map_err(|error| engine(DeviceError::Setup(error)))?;
            let device = Device::start(DeviceOptions::new(tun).with_uapi(uapi_path)).map_err(engine)?;
            configure_device(&plan).map_err(|error| about.netlink(error))?;
            Ok(device)
        };
        let stock = lab.options.client_program.as_ref().filter(|_| matches!(member, Member::Client(_)));
        let runner = match (lab.agents_of(member), stock) {
            (Some(agents), _) => Runner::Agent(lab.start_agent(agents, member, &namespace, &directory)?),
            (None, Some(program)) => {
                let (own, entry) = (&lab.options.program, own_entry(&namespace, &directory));
                let stock = Stock::start(own, program, plan.device.as_str(), &directory, &entry);
                let stock = stock.map_err(|source| stock_error(&name, source))?;
                let addresses = || configure_device(&plan).map_err(|error| about.netlink(error));
                namespace.run(addresses).map_err(|error| about.namespace(error))??;
                Runner::Stock(stock)
            }
            (None, None) => Runner::Engine(namespace.run(work).map_err(|error| about.namespace(error))??),
        };
        let device_name = plan.device.to_string();
        let (routes, peers) = (BTreeSet::new(), BTreeSet::new());
        Ok(MemberHost { name, namespace, port, device_name, runner, configured: false, routes, peers })
    }

    /// Brings device and routes to a plan: additions first, and nothing of a peer that stays as it is is touched.
    pub(super) fn apply(&mut self, plan: &NodePlan, key: &PrivateKey, underlay: &Underlay) -> Result<(), LabError> {
        if let Runner::Agent(_) = self.runner {
            // It plans by itself.
            self.configured = true;
            return Ok(());
        }
        let runner = &self.runner;
        let wanted: BTreeSet<IpNet> = plan.routes.iter().copied().collect();
        let new: Vec<IpNet> = wanted.difference(&self.routes).copied().collect();
        let old: Vec<IpNet> = self.routes.difference(&wanted).copied().collect();
        let peers: BTreeSet<PublicKey> =
            plan.peers.iter().filter_map(|peer| Some(PublicKey(*peer.public_key?.as_bytes()))).collect();
        let mut set = device_changes(plan, key, underlay, (!self.configured, &self.peers));
        let gone = self.peers.difference(&peers);
        set.peers.extend(gone.map(|key| ConfigurePeer { remove: true, ..ConfigurePeer::new(*key) }));
        let source = |family: &IpNet| plan.addresses.iter().find(|a| a.is_ipv4() == family.addr().is_ipv4()).copied();
        let device_name = &self.device_name;
        let change_routes = |netlink: &mut Netlink, add: &[IpNet], remove: &[IpNet]| {
            for prefix in add {
                let route = Route { preferred_source: source(prefix), ..Route::new(*prefix, device_name) };
                netlink.replace_route(&route)?;
            }
            for prefix in remove {
                netlink.remove_route(&Route::new(*prefix, device_name))?;
            }
            Ok::<(), NetlinkError>(())
        };
        let about = About(&self.name);
        let first = !self.configured;
        let work = || -> Result<(), LabError> {
            let mut netlink = Netlink::open().map_err(|error| about.netlink(error))?;
            runner.configure(&set, &plan.name)?;
            if first {
                add_link_routes(&mut netlink, plan).map_err(|error| about.netlink(error))?;
            }
            change_routes(&mut netlink, &new, &old).map_err(|error| about.netlink(error))
        };
        self.namespace.run(work).map_err(|error| about.namespace(error))??;
        self.set_forwarding(plan.forwards)?;
        self.routes = wanted;
        self.peers = peers;
        self.configured = true;
        Ok(())
    }

    /// What its agent reports; none if it has none, or that is being started again.
    pub fn snapshot(&self) -> Option<Snapshot> {
        match &self.runner {
            Runner::Engine(_) | Runner::Stock(_) => None,
            Runner::Agent(agent) => agent.snapshot(),
        }
    }

    /// Where its agent answers, if it has one.
    pub(super) fn agent_socket(&self) -> Option<std::path::PathBuf> {
        match &self.runner {
            Runner::Engine(_) | Runner::Stock(_) => None,
            Runner::Agent(agent) => Some(agent.socket()),
        }
    }

    /// Whether it passes on what is not its own, as its rendered file would switch it.
    fn set_forwarding(&self, forwards: bool) -> Result<(), LabError> {
        let about = About(&self.name);
        let value = if forwards { "1" } else { "0" };
        for path in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            match self.namespace.set(path, value) {
                // A kernel without IPv6 has none of its settings.
                Err(NamespaceError::Sysctl { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound && path.starts_with("net/ipv6/") => {}
                other => other.map_err(|error| about.namespace(error))?,
            }
        }
        Ok(())
    }

    /// Loads the firewall that a plan gives it, in the place of an earlier one.
    pub(super) fn set_firewall(&self, plan: &NodePlan) -> Result<(), LabError> {
        // A lab needs nothing installed, `nft` neither where it would only adapt the size of segments.
        if plan.firewall.is_none() {
            return Ok(());
        }
        let text = nftables_table(plan);
        let refused = |source| LabError::Firewall { member: self.name.to_string(), source };
        firewall::load(&self.namespace, &text).map_err(refused)
    }

    /// Starts the keepalives that the plan asks for. Not part of the first [`MemberHost::apply`]: a keepalive starts a
    /// handshake, and one that reaches a member before it is configured is repeated after five seconds only.
    pub(super) fn start_keepalives(&self, plan: &NodePlan) -> Result<(), LabError> {
        let peer = |peer: &wayleave_core::plan::PeerPlan| {
            let public_key = PublicKey(*peer.public_key?.as_bytes());
            Some(ConfigurePeer { persistent_keepalive_s: Some(peer.keepalive_s?), ..ConfigurePeer::new(public_key) })
        };
        let peers = plan.peers.iter().filter_map(peer).collect();
        self.runner.configure(&ConfigureDevice { peers, ..ConfigureDevice::default() }, &plan.name)
    }

    /// Whether it has not been configured yet.
    pub(super) fn is_new(&self) -> bool {
        !self.configured
    }

    /// Routes to members of the same private network, from the address in it.
    pub(super) fn route_to_neighbours(&self, own: IpAddr, others: &[IpAddr]) -> Result<(), LabError> {
        let about = About(&self.name);
        let work = || -> Result<(), NetlinkError> {
            let mut netlink = Netlink::open()?;
            for other in others {
                let route = Route { preferred_source: Some(own), ..Route::new(host(*other), UNDERLAY_DEVICE) };
                netlink.replace_route(&route)?;
            }
            Ok(())
        };
        self.namespace.run(work).map_err(|error| about.namespace(error))?.map_err(|error| about.netlink(error))
    }

    /// What its engine reports.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub fn describe(&self) -> Result<DeviceDescription, LabError> {
        match &self.runner {
            Runner::Engine(device) => {
                device.describe().map_err(|source| LabError::Engine { member: self.name.to_string(), source })
            }
            Runner::Stock(stock) => stock.describe().map_err(|source| stock_error(&self.name, source)),
            // An agent that is being started again knows nothing yet.
            Runner::Agent(agent) => Ok(agent.snapshot().map(|snapshot| described(&snapshot)).unwrap_or_default()),
        }
    }
}

/// What an agent reports of its device, as an engine would.
fn described(snapshot: &Snapshot) -> DeviceDescription {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let peer = |member: &MemberSnapshot| {
        let key = wayleave_core::keys::PublicKey::parse(member.public_key.as_deref()?).ok()?;
        Some(PeerDescription {
            public_key: PublicKey(*key.as_bytes()),
            preshared_key: PresharedKey::default(),
            endpoint: member.endpoint,
            persistent_keepalive_s: member.keepalive_s,
            last_handshake: member.handshake_age_s.map(|age| now.saturating_sub(Duration::from_secs(age))),
            rx_bytes: member.received_bytes,
            tx_bytes: member.sent_bytes,
            allowed_ips: member.allowed.iter().filter_map(|prefix| prefix.parse().ok()).collect(),
        })
    };
    DeviceDescription {
        name: snapshot.device.name.clone(),
        listen_port: snapshot.device.port,
        peers: snapshot.members.iter().filter_map(peer).collect(),
        ..DeviceDescription::default()
    }
}

/// Addresses on the underlay and the ways out, in the calling thread's namespace.
pub(super) fn configure_underlay(addresses: &[IpAddr], sources: &[IpAddr]) -> Result<(), NetlinkError> {
    let mut netlink = Netlink::open()?;
    netlink.set_mtu(UNDERLAY_DEVICE, UNDERLAY_MTU)?;
    netlink.set_queue(UNDERLAY_DEVICE, TUN_QUEUE_PACKETS)?;
    netlink.set_up(UNDERLAY_DEVICE)?;
    for address in addresses {
        netlink.add_address(UNDERLAY_DEVICE, host(*address))?;
    }
    for source in sources {
        let everything = IpNet::new_assert(
            if source.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() },
            0,
        );
        let route = Route { preferred_source: Some(*source), ..Route::new(everything, UNDERLAY_DEVICE) };
        netlink.add_route(&route)?;
    }
    Ok(())
}

/// Addresses and MTU of the WireGuard device, in the calling thread's namespace.
fn configure_device(plan: &NodePlan) -> Result<(), NetlinkError> {
    let mut netlink = Netlink::open()?;
    let device = plan.device.as_str();
    netlink.set_mtu(device, u32::from(plan.mtu))?;
    netlink.set_queue(device, TUN_QUEUE_PACKETS)?;
    netlink.set_up(device)?;
    for address in plan.addresses.iter().chain(&plan.link_address) {
        netlink.add_address(device, host(*address))?;
    }
    Ok(())
}

/// Routes to all peers' link addresses: they never move.
fn add_link_routes(netlink: &mut Netlink, plan: &NodePlan) -> Result<(), NetlinkError> {
    for address in plan.peers.iter().filter_map(|peer| peer.link_address) {
        let route = Route { preferred_source: plan.link_address, ..Route::new(host(address), plan.device.as_str()) };
        netlink.replace_route(&route)?;
    }
    Ok(())
}

/// What the engine is told. Endpoints only of peers that it does not have yet: later ones are learned.
fn device_changes(
    plan: &NodePlan,
    key: &PrivateKey,
    underlay: &Underlay,
    (first, known): (bool, &BTreeSet<PublicKey>),
) -> ConfigureDevice {
    let peer = |peer: &wayleave_core::plan::PeerPlan| {
        let public_key = PublicKey(*peer.public_key?.as_bytes());
        let endpoint = peer.endpoints.iter().find_map(|e| Some((underlay.resolve(e)?, e.port).into()));
        let link = peer.link_address.map(host);
        Some(ConfigurePeer {
            endpoint: endpoint.filter(|_| !known.contains(&public_key)),
            replace_allowed_ips: true,
            allowed_ips: peer.allowed.iter().copied().chain(link).collect(),
            ..ConfigurePeer::new(public_key)
        })
    };
    ConfigureDevice {
        private_key: first.then(|| wayleave_engine::PrivateKey::new(*key.as_bytes())),
        listen_port: plan.port.filter(|_| first),
        fwmark: None,
        number: None,
        replace_peers: first,
        peers: plan.peers.iter().filter_map(peer).collect(),
    }
}
