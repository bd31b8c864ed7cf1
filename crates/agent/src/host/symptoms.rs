//! What can be seen on this host of what keeps a plan from being carried out.
//!
//! In: a node's plan. Out: [`Symptoms`], for `core` to judge. Only looks, and sends a few echo requests to endpoints; what can't be
//! read is left out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use wayleave_core::host::doctor::{Hook, Interface, Symptoms, Way, settings};
use wayleave_core::host::{ALIAS_PREFIX, Backend, Sysctl};
use wayleave_core::network::{Endpoint, Host};
use wayleave_core::plan::NodePlan;

use crate::bird;
use crate::host::{HostError, sysctl};
use crate::netlink::{LinkSeen, Netlink, RouteSeen, WireGuard};
use crate::ping::path_mtus;

/// CAP_NET_ADMIN (linux/capability.h).
const NET_ADMIN: u32 = 12;
/// The table of ordinary routes.
const TABLE_MAIN: u32 = 254;

/// Looks at the host of the calling thread's network namespace. Takes up to a minute where endpoints answer nothing.
///
/// # Errors
/// If the kernel does not say which interfaces and routes there are.
pub fn symptoms(plan: &NodePlan) -> Result<Symptoms, HostError> {
    let mut netlink = Netlink::open()?;
    let links = netlink.links()?;
    let device = links.values().find(|link| link.name == plan.device.as_str());
    let own_alias = format!("{ALIAS_PREFIX}{}", plan.network);
    let is_ours = |link: &LinkSeen| link.alias.as_deref() == Some(own_alias.as_str());
    let has_device = device.is_some_and(is_ours);
    let others = links.iter().filter(|(_, link)| !is_ours(link) && link.name != "lo");
    let names: BTreeMap<u32, String> = others.clone().map(|(number, link)| (*number, link.name.clone())).collect();
    let (ways, unresolved) = ways(plan);
    let read = |name: String| Some((name.clone(), sysctl::read(&Sysctl(name)).ok()??));
    Ok(Symptoms {
        backend: backend(),
        may_change: may_change(),
        has_nft: runs("nft"),
        has_bird: bird::program().is_file(),
        // What a running agent knows is for others to ask it.
        bird_problem: None,
        sessions: Vec::new(),
        clock_s: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
        settings: settings(plan).into_iter().filter_map(read).collect(),
        interfaces: others.map(|(_, link)| (link.name.clone(), interface(link))).collect(),
        is_name_taken: device.is_some() && !has_device,
        has_device,
        carries: device.filter(|device| is_ours(device)).map(carries),
        is_port_taken: !has_device && plan.port.is_some_and(is_taken),
        routes: routes(&netlink.routes_in(TABLE_MAIN)?, &names),
        dropping: dropping(),
        ways,
        unresolved,
    })
}

fn backend() -> Option<Backend> {
    match WireGuard::open() {
        Ok(Some(_)) => Some(Backend::Kernel),
        _ => File::options().read(true).write(true).open("/dev/net/tun").is_ok().then_some(Backend::Engine),
    }
}

fn carries(device: &LinkSeen) -> Backend {
    if device.is_wireguard { Backend::Kernel } else { Backend::Engine }
}

fn may_change() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    effective.is_none_or(|mask| mask >> NET_ADMIN & 1 == 1)
}

fn runs(program: &str) -> bool {
    let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn interface(link: &LinkSeen) -> Interface {
    Interface { addresses: link.addresses.clone(), lost_routers: sysctl::lost_routers(&link.name) }
}

fn is_taken(port: u16) -> bool {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let taken =
        |bound: std::io::Result<UdpSocket>| bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
    taken(UdpSocket::bind(any)) || taken(UdpSocket::bind(("0.0.0.0", port)))
}

fn routes(all: &[RouteSeen], names: &BTreeMap<u32, String>) -> Vec<(ipnet::IpNet, String)> {
    let plain = all.iter().filter(|route| route.destination.prefix_len() > 0);
    let local = |route: &&RouteSeen| match route.destination.addr() {
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80 || v6.is_multicast(),
        IpAddr::V4(v4) => v4.is_multicast(),
    };
    plain
        .filter(|route| !local(route))
        .filter_map(|route| Some((route.destination, names.get(&route.link?)?.clone())))
        .collect()
}

/// Base chains that drop by policy, in whatever `nft` knows of; the rules that `iptables` makes with it included.
fn dropping() -> Vec<(String, Hook)> {
    let listed = Command::new("nft").args(["list", "chains"]).stderr(Stdio::null()).output();
    let Ok(listed) = listed else { return Vec::new() };
    let is_ours = |chain: &str| chain.starts_with("table inet wayleave-");
    chains(&String::from_utf8_lossy(&listed.stdout)).into_iter().filter(|(chain, _)| !is_ours(chain)).collect()
}

/// From `nft list chains`: `table ip filter {`, `chain FORWARD {`, `type filter hook forward priority filter; policy drop;`.
fn chains(text: &str) -> Vec<(String, Hook)> {
    let (mut table, mut chain, mut found) = (String::new(), String::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix(" {") {
            match name.strip_prefix("chain ") {
                Some(name) => chain = name.into(),
                None => table = name.into(),
            }
        }
        let hook = match line {
            _ if !line.contains("policy drop") => continue,
            _ if line.contains("hook forward") => Hook::Forward,
            _ if line.contains("hook input") => Hook::Input,
            _ => continue,
        };
        found.push((format!("{table} chain {chain}"), hook));
    }
    found
}

/// The address of an endpoint; the name servers are asked if need be.
///
/// # Errors
/// The name, and why it has no address.
pub fn resolve(endpoint: &Endpoint) -> Result<SocketAddr, (String, String)> {
    match &endpoint.host {
        Host::Ip(address) => Ok((*address, endpoint.port).into()),
        Host::Dns(name) => {
            let found = (name.as_str(), endpoint.port).to_socket_addrs();
            let mut found = found.map_err(|error| (name.clone(), error.to_string()))?;
            found.next().ok_or_else(|| (name.clone(), "there is none".to_owned()))
        }
    }
}

fn ways(plan: &NodePlan) -> (Vec<Way>, Vec<(String, String)>) {
    let (mut ways, mut unresolved) = (Vec::new(), Vec::new());
    for (peer, endpoint) in plan.peers.iter().flat_map(|peer| peer.endpoints.iter().map(move |one| (peer, one))) {
        match resolve(endpoint) {
            Ok(endpoint) => ways.push(Way { peer: peer.name.to_string(), endpoint, bytes: None, is_measured: false }),
            Err(why) => unresolved.push(why),
        }
    }
    let addresses: Vec<IpAddr> = ways.iter().map(|way| way.endpoint.ip()).collect();
    let mark = plan.own_table.unwrap_or(0);
    for (way, found) in ways.iter_mut().zip(path_mtus(&addresses, mark).unwrap_or_default()) {
        way.bytes = found.map(|found| found.bytes);
        way.is_measured = found.is_some_and(|found| found.is_measured);
    }
    (ways, unresolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_that_drop_are_found_in_what_nft_lists() {
        let text = "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n\
                    \tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n\tchain DOCKER {\n\t}\n}\n\
                    table inet mine {\n\tchain in {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n}\n";
        let expected = [("table ip filter chain FORWARD", Hook::Forward), ("table inet mine chain in", Hook::Input)];
        assert_eq!(chains(text), expected.map(|(name, hook)| (name.to_owned(), hook)));
    }
}
