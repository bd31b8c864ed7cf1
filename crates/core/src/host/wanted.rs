//! What a plan wants on one host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::RULE_PRIORITIES;
use super::state::{Backend, DeviceState, HostState, PeerState, Route, Rule, Sysctl};
use crate::names::Name;
use crate::plan::{NodePlan, PeerPlan, host};

/// The table that routes are in unless they need one of their own.
const TABLE_MAIN: u32 = 254;

/// The address at which each peer is to be dialled: chosen among the plan's endpoints, names resolved.
pub type Resolved = BTreeMap<Name, SocketAddr>;

/// The state of a host that carries out a plan, link addresses included.
pub fn wanted(plan: &NodePlan, backend: Backend, endpoints: &Resolved) -> HostState {
    let mut state = HostState::default();
    state.devices.insert(plan.device.clone(), device(plan, backend, endpoints));
    let table = plan.own_table.unwrap_or(TABLE_MAIN);
    let source = |prefix: &IpNet| plan.addresses.iter().find(|a| a.is_ipv4() == prefix.addr().is_ipv4()).copied();
    let mut route = |table: u32, prefix: IpNet, preferred_source: Option<IpAddr>| {
        state.routes.insert((table, prefix), Route { device: plan.device.clone(), preferred_source });
    };
    for prefix in &plan.routes {
        route(table, *prefix, source(prefix));
    }
    for address in plan.peers.iter().filter_map(|peer| peer.link_address) {
        route(TABLE_MAIN, host(address), plan.link_address);
    }
    let any = |ipv6: bool| plan.routes.iter().any(|prefix| prefix.addr().is_ipv6() == ipv6);
    if let Some(table) = plan.own_table {
        let rule = |ipv6| Rule { priority: *RULE_PRIORITIES.start(), ipv6, table, unless_mark: table };
        state.rules.extend([false, true].into_iter().filter(|ipv6| any(*ipv6)).map(rule));
    }
    state.sysctls.extend(sysctls(plan, any(false), any(true)));
    state
}

/// The state of a host from which everything of ours has gone, its settings back at what they were.
pub fn nothing(originals: &BTreeMap<Sysctl, String>) -> HostState {
    HostState { sysctls: originals.clone(), ..HostState::default() }
}

fn device(plan: &NodePlan, backend: Backend, endpoints: &Resolved) -> DeviceState {
    let with_key = || plan.peers.iter().filter_map(|peer| Some((peer.public_key?, peer)));
    let state = |peer: &PeerPlan| PeerState {
        name: Some(peer.name.clone()),
        endpoint: endpoints.get(&peer.name).copied(),
        keepalive_s: peer.keepalive_s.unwrap_or(0),
    };
    let allowed =
        |peer: &PeerPlan| -> Vec<IpNet> { peer.allowed.iter().copied().chain(peer.link_address.map(host)).collect() };
    DeviceState {
        backend,
        network: plan.network.clone(),
        up: true,
        mtu: plan.mtu,
        public_key: plan.public_key,
        port: plan.port.unwrap_or(0),
        fwmark: plan.own_table.unwrap_or(0),
        addresses: plan.addresses.iter().chain(&plan.link_address).map(|address| host(*address)).collect(),
        peers: with_key().map(|(key, peer)| (key, state(peer))).collect(),
        allowed: with_key().flat_map(|(key, peer)| allowed(peer).into_iter().map(move |p| (p, key))).collect(),
    }
}

/// Settings without which packets would be dropped. Those of the device go away with it; the others have to be put back.
fn sysctls(plan: &NodePlan, v4: bool, v6: bool) -> BTreeMap<Sysctl, String> {
    let mut names = BTreeSet::new();
    if plan.forwards && v4 {
        names.insert(("net/ipv4/ip_forward".to_owned(), "1"));
    }
    if plan.forwards && v6 {
        names.insert(("net/ipv6/conf/all/forwarding".to_owned(), "1"));
    }
    if v4 {
        // Loose: a packet may come in from another peer than the one its answer goes to, when paths have just moved.
        names.insert((format!("net/ipv4/conf/{}/rp_filter", plan.device), "2"));
    }
    if plan.own_table.is_some() && v4 {
        names.insert(("net/ipv4/conf/all/src_valid_mark".to_owned(), "1"));
    }
    names.into_iter().map(|(name, value)| (Sysctl(name), value.to_owned())).collect()
}
