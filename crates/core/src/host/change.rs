//! One step at the kernel, as a value.
//!
//! Each has a place in the order of application, a sentence for people, and the command that a person would have typed: what is
//! shown before anything is done, and logged when it is.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::state::{Backend, Route, Rule, Sysctl};
use super::{ALIAS_PREFIX, CLAIM_METRIC, CLAIM_PROTOCOL, ROUTE_PROTOCOL};
use crate::keys::PublicKey;
use crate::names::{DeviceName, Name};

/// A peer, with the name that people know it by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerRef {
    /// Which.
    pub key: PublicKey,
    /// Its name, where it is known.
    pub name: Option<Name>,
}

/// One step at the kernel. The variants stand in the order in which they are applied: additions first, outermost first, then
/// removals the other way round (make before break).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields' names and types say it; each variant is described")]
pub enum Change {
    /// Sets a kernel setting that concerns no device of ours.
    SetSysctl { name: Sysctl, value: String },
    /// Makes a device and marks it as ours.
    AddDevice { device: DeviceName, backend: Backend, network: Name },
    /// Removes a device of ours that another back end runs, and makes it anew.
    RemakeDevice { device: DeviceName, backend: Backend, network: Name },
    /// Gives a device its private key, which whoever applies this has to have.
    SetKey { device: DeviceName, public_key: PublicKey },
    /// Sets the UDP port.
    SetPort { device: DeviceName, port: u16 },
    /// Sets the mark of encrypted packets.
    SetFwmark { device: DeviceName, fwmark: u32 },
    /// Sets the MTU.
    SetMtu { device: DeviceName, mtu: u16 },
    /// Sets the firewall of a device, in the place of an earlier one: before any packet can come.
    SetFirewall { device: DeviceName, script: String },
    /// Sets a kernel setting of a device of ours, which goes away with it.
    SetDeviceSysctl { name: Sysctl, value: String },
    /// Adds an address.
    AddAddress { device: DeviceName, address: IpNet },
    /// Brings a device up.
    SetUp { device: DeviceName },
    /// Adds a peer, so far without prefixes.
    AddPeer { device: DeviceName, peer: PeerRef, endpoint: Option<SocketAddr>, keepalive_s: u16 },
    /// Gives a peer its preshared key, which whoever applies this has to have; or takes it away.
    SetPreshared { device: DeviceName, peer: PeerRef, is_set: bool },
    /// Says where to dial a peer.
    SetEndpoint { device: DeviceName, peer: PeerRef, endpoint: SocketAddr },
    /// Sets the interval of keepalives.
    SetKeepalive { device: DeviceName, peer: PeerRef, keepalive_s: u16 },
    /// Lets a peer of an engine's device send from a prefix that it will be given soon. Never part of a difference.
    ExpectPrefix { device: DeviceName, peer: PeerRef, prefix: IpNet },
    /// Gives a prefix to a peer; it moves from its present owner, if it has one, in one step.
    GivePrefix { device: DeviceName, peer: PeerRef, prefix: IpNet },
    /// Adds a route, or changes where the present one leads.
    SetRoute { table: u32, prefix: IpNet, route: Route },
    /// Has BIRD tell of a claim, in place of an earlier one of the same client or site.
    SetClaim { table: u32, prefix: IpNet, epoch: u32 },
    /// Adds a policy rule.
    AddRule { rule: Rule },
    /// Has BIRD no longer tell of a claim.
    RemoveClaim { table: u32, prefix: IpNet },
    /// Removes a policy rule.
    RemoveRule { rule: Rule },
    /// Removes a route.
    RemoveRoute { table: u32, prefix: IpNet, route: Route },
    /// Takes a prefix from a peer and gives it to nobody.
    TakePrefix { device: DeviceName, peer: PeerRef, prefix: IpNet },
    /// Removes a peer with what it has.
    RemovePeer { device: DeviceName, peer: PeerRef },
    /// Removes an address.
    RemoveAddress { device: DeviceName, address: IpNet },
    /// Removes the firewall of a device.
    RemoveFirewall { device: DeviceName },
    /// Removes a device of ours.
    RemoveDevice { device: DeviceName },
}

/// Where the private key of each device is, for commands.
pub type KeyPaths = BTreeMap<DeviceName, String>;

impl Change {
    /// Where in the order of application it stands.
    pub fn rank(&self) -> u8 {
        match self {
            Change::SetSysctl { .. } => 0,
            Change::AddDevice { .. } => 1,
            Change::RemakeDevice { .. } => 2,
            Change::SetKey { .. } => 3,
            Change::SetPort { .. } => 4,
            Change::SetFwmark { .. } => 5,
            Change::SetMtu { .. } => 6,
            Change::SetFirewall { .. } => 7,
            Change::SetDeviceSysctl { .. } => 8,
            Change::AddAddress { .. } => 9,
            Change::SetUp { .. } => 10,
            Change::AddPeer { .. } => 11,
            Change::SetPreshared { .. } => 12,
            Change::SetEndpoint { .. } => 13,
            Change::SetKeepalive { .. } => 14,
            Change::ExpectPrefix { .. } => 15,
            Change::GivePrefix { .. } => 16,
            Change::SetRoute { .. } => 17,
            Change::SetClaim { .. } => 18,
            Change::AddRule { .. } => 19,
            Change::RemoveClaim { .. } => 20,
            Change::RemoveRule { .. } => 21,
            Change::RemoveRoute { .. } => 22,
            Change::TakePrefix { .. } => 23,
            Change::RemovePeer { .. } => 24,
            Change::RemoveAddress { .. } => 25,
            Change::RemoveFirewall { .. } => 26,
            Change::RemoveDevice { .. } => 27,
        }
    }

    /// What a person would have typed, in one line. Private keys are named by the file that they are in.
    pub fn command(&self, keys: &KeyPaths) -> String {
        match self {
            Change::SetSysctl { name, value } | Change::SetDeviceSysctl { name, value } => {
                format!("sysctl -w {name}={value}")
            }
            Change::AddDevice { device, backend, network } => make(device, *backend, network),
            Change::RemakeDevice { device, backend, network } => {
                format!("ip link del {device}; {}", make(device, *backend, network))
            }
            Change::SetKey { device, .. } => {
                let path = keys.get(device).map_or("FILE", String::as_str);
                format!("wg set {device} private-key {path}")
            }
            Change::SetPort { device, port } => format!("wg set {device} listen-port {port}"),
            Change::SetFwmark { device, fwmark } => format!("wg set {device} fwmark {fwmark}"),
            Change::SetMtu { device, mtu } => format!("ip link set {device} mtu {mtu}"),
            Change::AddAddress { device, address } => format!("ip address add {address} dev {device}"),
            Change::SetUp { device } => format!("ip link set {device} up"),
            Change::AddPeer { device, peer, endpoint, keepalive_s } => {
                let endpoint = endpoint.map(|endpoint| format!(" endpoint {endpoint}")).unwrap_or_default();
                let keepalive =
                    if *keepalive_s > 0 { format!(" persistent-keepalive {keepalive_s}") } else { String::new() };
                format!("wg set {device} peer {}{endpoint}{keepalive}", peer.key)
            }
            Change::SetPreshared { device, peer, is_set } => {
                let file = if *is_set { format!("/etc/wireguard/{device}.psk") } else { "/dev/null".to_owned() };
                format!("wg set {device} peer {} preshared-key {file}", peer.key)
            }
            Change::SetEndpoint { device, peer, endpoint } => {
                format!("wg set {device} peer {} endpoint {endpoint}", peer.key)
            }
            Change::SetKeepalive { device, peer, keepalive_s } => {
                format!("wg set {device} peer {} persistent-keepalive {keepalive_s}", peer.key)
            }
            Change::ExpectPrefix { peer, prefix, .. } => format!("# let {prefix} in from {} as well", peer.key),
            Change::GivePrefix { device, peer, prefix } => {
                format!("wg set {device} peer {} allowed-ips +{prefix}", peer.key)
            }
            Change::TakePrefix { device, peer, prefix } => {
                format!("wg set {device} peer {} allowed-ips -{prefix}", peer.key)
            }
            Change::SetRoute { table, prefix, route } => {
                let source = route.preferred_source.map(|source| format!(" src {source}")).unwrap_or_default();
                format!("ip route replace {}{source} proto {ROUTE_PROTOCOL}", place(*table, *prefix, route))
            }
            Change::RemoveRoute { table, prefix, route } => {
                format!("ip route del {} proto {ROUTE_PROTOCOL}", place(*table, *prefix, route))
            }
            Change::SetClaim { table, prefix, epoch } => format!(
                "ip route replace unreachable {prefix} metric {CLAIM_METRIC} window {epoch} table {table} proto {CLAIM_PROTOCOL}"
            ),
            Change::RemoveClaim { table, prefix } => {
                format!("ip route del unreachable {prefix} table {table} proto {CLAIM_PROTOCOL}")
            }
            Change::AddRule { rule } => format!("ip {} rule add {}", family(rule), selector(rule)),
            Change::RemoveRule { rule } => format!("ip {} rule del {}", family(rule), selector(rule)),
            Change::RemovePeer { device, peer } => format!("wg set {device} peer {} remove", peer.key),
            Change::RemoveAddress { device, address } => format!("ip address del {address} dev {device}"),
            Change::SetFirewall { device, .. } => format!("sh {device}.firewall up"),
            Change::RemoveFirewall { device } => format!("sh {device}.firewall down"),
            Change::RemoveDevice { device } => format!("ip link del {device}"),
        }
    }
}

fn make(device: &DeviceName, backend: Backend, network: &Name) -> String {
    let make = match backend {
        Backend::Kernel => format!("ip link add {device} type wireguard"),
        Backend::Engine => format!("wayleave engine {device}"),
    };
    format!("{make}; ip link set {device} alias {ALIAS_PREFIX}{network}")
}

fn place(table: u32, prefix: IpNet, route: &Route) -> String {
    let table = if table == 254 { String::new() } else { format!(" table {table}") };
    format!("{prefix} dev {}{table}", route.device)
}

fn family(rule: &Rule) -> &'static str {
    if rule.ipv6 { "-6" } else { "-4" }
}

fn selector(rule: &Rule) -> String {
    let suppressed = if rule.suppresses_default { " suppress_prefixlength 0" } else { "" };
    format!("not fwmark {} table {}{suppressed} priority {}", rule.unless_mark, rule.table, rule.priority)
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => name.fmt(f),
            None => write!(f, "peer {}", self.key),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Backend::Kernel => "kernel",
            Backend::Engine => "engine",
        })
    }
}

/// The sentence.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::SetSysctl { name, value } | Change::SetDeviceSysctl { name, value } => {
                write!(f, "set {name} to {value}")
            }
            Change::AddDevice { device, backend, .. } => write!(f, "make device {device} ({backend})"),
            Change::RemakeDevice { device, backend, .. } => write!(f, "make device {device} anew ({backend})"),
            Change::SetKey { device, public_key } => write!(f, "give {device} the private key of {public_key}"),
            Change::SetPort { device, port } => write!(f, "let {device} listen on UDP port {port}"),
            Change::SetFwmark { device, fwmark: 0 } => write!(f, "no longer mark what {device} sends"),
            Change::SetFwmark { device, fwmark } => write!(f, "mark what {device} sends with {fwmark}"),
            Change::SetMtu { device, mtu } => write!(f, "set the MTU of {device} to {mtu}"),
            Change::AddAddress { device, address } => write!(f, "add address {address} to {device}"),
            Change::SetUp { device } => write!(f, "bring {device} up"),
            Change::AddPeer { device, peer, endpoint: Some(endpoint), .. } => {
                write!(f, "add {peer} at {endpoint} to {device}")
            }
            Change::AddPeer { device, peer, .. } => write!(f, "add {peer} to {device}, which it will dial"),
            Change::SetPreshared { device, peer, is_set: true } => {
                write!(f, "give {peer} its preshared key on {device}")
            }
            Change::SetPreshared { device, peer, .. } => write!(f, "take the preshared key of {peer} from {device}"),
            Change::SetEndpoint { peer, endpoint, .. } => write!(f, "dial {peer} at {endpoint}"),
            Change::SetKeepalive { peer, keepalive_s: 0, .. } => write!(f, "send no more keepalives to {peer}"),
            Change::SetKeepalive { peer, keepalive_s, .. } => {
                write!(f, "send {peer} a keepalive every {keepalive_s} s")
            }
            Change::ExpectPrefix { device, peer, prefix } => {
                write!(f, "let {prefix} in from {peer} over {device} as well")
            }
            Change::GivePrefix { device, peer, prefix } => write!(f, "send {prefix} to {peer} over {device}"),
            Change::SetRoute { prefix, route, .. } => write!(f, "route {prefix} into {}", route.device),
            Change::SetClaim { prefix, epoch, .. } => {
                write!(f, "tell by BGP that {prefix} is here, with preference {epoch}")
            }
            Change::RemoveClaim { prefix, .. } => write!(f, "no longer tell by BGP that {prefix} is here"),
            Change::AddRule { rule } => {
                let but = if rule.suppresses_default { ", but for its default route," } else { "" };
                write!(f, "look up table {}{but} for what is not marked {}", rule.table, rule.unless_mark)
            }
            Change::RemoveRule { rule } => write!(f, "no longer look up table {}", rule.table),
            Change::RemoveRoute { prefix, route, .. } => write!(f, "no longer route {prefix} into {}", route.device),
            Change::TakePrefix { device, peer, prefix } => write!(f, "no longer send {prefix} to {peer} over {device}"),
            Change::RemovePeer { device, peer } => write!(f, "remove {peer} from {device}"),
            Change::RemoveAddress { device, address } => write!(f, "remove address {address} from {device}"),
            Change::SetFirewall { device, .. } => write!(f, "set the firewall of {device}"),
            Change::RemoveFirewall { device } => write!(f, "remove the firewall of {device}"),
            Change::RemoveDevice { device } => write!(f, "remove device {device}"),
        }
    }
}
