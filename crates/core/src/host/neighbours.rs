//! What BGP wants on a host: a device for each neighbour, and the table of what is learned.
//!
//! In: a node's part of the plan that has BGP. Out, added to the host's state: devices with one peer that may send from anywhere
//! and into which nothing is routed but the way to the neighbour itself; the node's service addresses; rules by which the table
//! of what is learned is asked after everything in the main table but its default route. The routes in that table are the
//! routing daemon's.

use ipnet::IpNet;

use super::RULE_PRIORITIES;
use super::state::{Backend, DeviceState, HostState, PeerState, Route, Rule, Sysctl};
use super::wanted::{Resolved, TABLE_MAIN};
use crate::keys::KeyMark;
use crate::plan::{BgpPlan, NeighbourPlan, NodePlan, host};

/// Priorities of the rules for what is learned: after those of devices, with others between if need be.
const PRIORITY_MAIN: u32 = *RULE_PRIORITIES.start() + 50;
const PRIORITY_LEARNED: u32 = PRIORITY_MAIN + 1;

/// Adds it.
pub(super) fn add(plan: &NodePlan, bgp: &BgpPlan, backend: Backend, endpoints: &Resolved, state: &mut HostState) {
    if let Some(own) = state.devices.get_mut(&plan.device) {
        own.addresses.extend(bgp.service_addresses.iter().map(|address| host(*address)));
    }
    for neighbour in &bgp.neighbours {
        state.devices.insert(neighbour.device.clone(), device(plan, bgp, neighbour, backend, endpoints));
        for address in neighbour.beyond() {
            let preferred_source = neighbour.own_address(address.is_ipv4());
            let route = Route { device: neighbour.device.clone(), preferred_source };
            state.routes.insert((TABLE_MAIN, host(address)), route);
        }
        // Answers may come by another neighbour than the one that packets go to.
        state.sysctls.insert(Sysctl(format!("net/ipv4/conf/{}/rp_filter", neighbour.device)), "2".to_owned());
        if neighbour.own_address(false).is_some() {
            // 1: the kernel makes no link-local address of its own; ours is given.
            state.sysctls.insert(Sysctl::link_local_by(&neighbour.device), "1".to_owned());
        }
    }
    state.meeting_tables.extend(bgp.claims.iter().flat_map(|claims| [claims.origins, claims.heard]));
    for ipv6 in [false, true].into_iter().filter(|ipv6| plan.carries(!ipv6)) {
        let rule = |priority, table, suppresses_default| Rule {
            priority,
            ipv6,
            table,
            unless_mark: bgp.mark,
            suppresses_default,
        };
        state.rules.insert(rule(PRIORITY_MAIN, TABLE_MAIN, true));
        state.rules.insert(rule(PRIORITY_LEARNED, bgp.table, false));
    }
}

fn device(
    plan: &NodePlan,
    bgp: &BgpPlan,
    neighbour: &NeighbourPlan,
    backend: Backend,
    endpoints: &Resolved,
) -> DeviceState {
    let key = neighbour.public_key;
    let peer = PeerState {
        name: Some(neighbour.name.clone()),
        endpoint: endpoints.get(&neighbour.name).copied(),
        keepalive_s: neighbour.keepalive_s.unwrap_or(0),
        preshared: neighbour.preshared.then(KeyMark::default),
    };
    // Whatever is announced may go there and come from there; the firewall judges sources.
    let everything = ["0.0.0.0/0", "::/0"].map(|text| text.parse::<IpNet>().expect("both are prefixes"));
    DeviceState {
        backend,
        network: plan.network.clone(),
        up: true,
        mtu: neighbour.mtu,
        public_key: neighbour.own_public_key.or(plan.public_key),
        port: neighbour.port,
        fwmark: bgp.mark,
        addresses: neighbour.own_addresses.iter().copied().collect(),
        peers: [(key, peer)].into(),
        allowed: everything.map(|prefix| (prefix, key)).into(),
    }
}
