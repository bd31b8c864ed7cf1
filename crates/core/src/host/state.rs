//! What a host can be like, as far as it concerns us.
//!
//! One type serves for what is wanted and for what there is. Maps keep from being written down what a kernel can't have, such as
//! two owners of a prefix in one device.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::keys::{KeyMark, PublicKey};
use crate::names::{DeviceName, Name};

/// The setting that lets the host forward over IPv6.
pub(super) const FORWARDING_V6: &str = "net/ipv6/conf/all/forwarding";

/// Devices, routes, rules and kernel settings: either as wanted or as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostState {
    /// WireGuard devices by name.
    pub devices: BTreeMap<DeviceName, DeviceState>,
    /// Routes.
    pub routes: BTreeMap<(u32, IpNet), Route>,
    /// Policy rules.
    pub rules: BTreeSet<Rule>,
    /// Kernel settings by name.
    pub sysctls: BTreeMap<Sysctl, String>,
    /// The script that sets and removes the firewall of each device that has one.
    pub firewalls: BTreeMap<DeviceName, String>,
    /// The node's own claims where BGP carries them, by the table in which BIRD finds them and the client's address or the site's prefix: a
    /// client's epoch, how much a gateway of a site is preferred.
    pub claims: BTreeMap<(u32, IpNet), u32>,
    /// The tables in which the agent and BIRD meet for that, which nobody else may use. They are never part of a difference.
    pub meeting_tables: BTreeSet<u32>,
}

impl HostState {
    /// Whether a device's link-local addresses are as wanted, rather than as the kernel makes them.
    pub fn makes_link_locals(&self, device: &DeviceName) -> bool {
        self.sysctls.contains_key(&Sysctl::link_local_by(device))
    }

    /// Fills in which preshared keys are wanted, by device.
    pub fn set_preshared(&mut self, mark: impl Fn(&DeviceName) -> Option<KeyMark>) {
        for (name, device) in &mut self.devices {
            for wanted in device.peers.values_mut().filter_map(|peer| peer.preshared.as_mut()) {
                *wanted = mark(name).unwrap_or_default();
            }
        }
    }

    /// Where packets are to be forwarded over IPv6, these interfaces go on to take their routers from router advertisements,
    /// which the kernel otherwise ends together with the default route that came with them.
    pub fn keep_routers<'a>(&mut self, interfaces: impl IntoIterator<Item = &'a str>) {
        if self.sysctls.contains_key(&Sysctl(FORWARDING_V6.into())) {
            let kept = interfaces.into_iter().map(|name| (Sysctl::router_advertisements(name), "2".to_owned()));
            self.sysctls.extend(kept);
        }
    }
}

/// What carries a WireGuard device's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The kernel's module.
    Kernel,
    /// The embedded engine, over a TUN interface.
    Engine,
}

/// A WireGuard device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceState {
    /// What runs it.
    pub backend: Backend,
    /// The network whose device it is.
    pub network: Name,
    /// Whether it is up.
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u16,
    /// The public half of its key; none: it has no key.
    pub public_key: Option<PublicKey>,
    /// UDP port; 0, and only as wanted: any.
    pub port: u16,
    /// Mark of its encrypted packets; 0: none.
    pub fwmark: u32,
    /// Its addresses.
    pub addresses: BTreeSet<IpNet>,
    /// Its peers.
    pub peers: BTreeMap<PublicKey, PeerState>,
    /// Which peer each prefix belongs to. A map, so that two owners can't be written down.
    pub allowed: BTreeMap<IpNet, PublicKey>,
}

/// A peer of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerState {
    /// Its name, where it is known.
    pub name: Option<Name>,
    /// Where it is dialled; none: it dials.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives; 0: none.
    pub keepalive_s: u16,
    /// Its preshared key; none: it has none. As wanted it is known only to who has the key, see [`HostState::set_preshared`].
    pub preshared: Option<KeyMark>,
}

/// A route of ours to a prefix, whose key in [`HostState::routes`] is its table and the prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Out of which device.
    pub device: DeviceName,
    /// Source address of packets that have none yet.
    pub preferred_source: Option<IpAddr>,
}

/// A policy rule: packets without the mark `unless_mark` are looked up in `table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Rules are asked in this order.
    pub priority: u32,
    /// For IPv6 rather than IPv4.
    pub ipv6: bool,
    /// The table to ask.
    pub table: u32,
    /// The mark of packets that the rule is not for.
    pub unless_mark: u32,
    /// Whether a default route that is found there does not count.
    pub suppresses_default: bool,
}

/// A kernel setting by its path below `/proc/sys`: device names may hold dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sysctl(pub String);

impl Sysctl {
    /// How a device gets its link-local address; 1: not by itself.
    pub fn link_local_by(device: &DeviceName) -> Sysctl {
        Sysctl(format!("net/ipv6/conf/{device}/addr_gen_mode"))
    }

    /// Whether it belongs to a device, and goes away with it.
    pub fn is_of(&self, device: &DeviceName) -> bool {
        self.0.split('/').any(|part| part == device.as_str())
    }

    /// Whether an interface takes its IPv6 routers from router advertisements: 1, as a host only; 2, as a router as well.
    pub fn router_advertisements(interface: &str) -> Sysctl {
        Sysctl(format!("net/ipv6/conf/{interface}/accept_ra"))
    }

    /// Whether it is one of [`Sysctl::router_advertisements`].
    pub fn is_router_advertisements(&self) -> bool {
        self.0.ends_with("/accept_ra")
    }
}

/// As `sysctl` takes it: with dots, or with slashes where a part has a dot itself.
impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains('.') { f.pad(&self.0) } else { f.pad(&self.0.replace('/', ".")) }
    }
}

/// What is on a host: of ours everything, of others' only what is in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actual {
    /// What carries our mark, and the present values of the settings that are wanted.
    pub state: HostState,
    /// Devices with a wanted name that are not ours.
    pub foreign_devices: BTreeSet<DeviceName>,
    /// Routing tables in which another network of ours has its routes, or may have claims, and a device of it.
    pub foreign_tables: BTreeMap<u32, DeviceName>,
    /// For each peer with a session, how long ago its latest handshake was.
    pub handshake_ages: BTreeMap<(DeviceName, PublicKey), Duration>,
}
