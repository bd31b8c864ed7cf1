//! The difference of two states of a host, as changes in the order of their application.
//!
//! The same call makes the first set-up, every later change, the repair after somebody else's doing, and the removal. It only
//! proposes; what comes of it is looked at anew, never assumed.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use super::change::{Change, PeerRef};
use super::state::{Actual, DeviceState, HostState};
use crate::keys::PublicKey;
use crate::names::{DeviceName, Name};

/// Sessions end 180 s after their handshake (`REJECT_AFTER_TIME`): a peer with an older one is not live, and the endpoint that
/// was learnt from it is worth nothing any more.
const LIVE: Duration = Duration::from_secs(180);

/// Something of somebody else's that is in the way. Nothing is done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A device with a wanted name is not ours.
    #[error("device {device} is there already and is not ours")]
    ForeignDevice {
        /// Which.
        device: DeviceName,
    },
    /// A routing table that is wanted is another network's. Their numbers come from the devices' names.
    #[error(
        "routing table {table} is in use for {device}, a device of another network: give one of them another `device` name"
    )]
    ForeignTable {
        /// Which.
        table: u32,
        /// Whose.
        device: DeviceName,
    },
}

/// The changes that make `actual` like `wanted`, in the order in which to apply them; none if it is so already.
///
/// Where a live peer dials from is learnt and left alone, unless `earlier`, the state that was wanted before, had another
/// endpoint for it: then somebody has changed the network file.
///
/// # Errors
/// Names what is in the way.
pub fn diff(actual: &Actual, wanted: &HostState, earlier: Option<&HostState>) -> Result<Vec<Change>, Vec<Obstacle>> {
    let foreign = wanted.devices.keys().filter(|name| actual.foreign_devices.contains(*name));
    let mut obstacles: Vec<_> = foreign.map(|device| Obstacle::ForeignDevice { device: device.clone() }).collect();
    let is_wanted =
        |table: &u32| wanted.rules.iter().any(|rule| rule.table == *table) || wanted.meeting_tables.contains(table);
    let tables = actual.foreign_tables.iter().filter(|(table, _)| is_wanted(table));
    obstacles.extend(tables.map(|(table, device)| Obstacle::ForeignTable { table: *table, device: device.clone() }));
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let mut changes = Vec::new();
    // Routers are kept before forwarding begins: the kernel forgets those that it has heard of at that very moment.
    let (routers, others): (Vec<_>, Vec<_>) =
        wanted.sysctls.iter().partition(|(name, _)| name.is_router_advertisements());
    for (name, value) in routers.into_iter().chain(others) {
        if actual.state.sysctls.get(name) != Some(value) {
            let (name, value) = (name.clone(), value.clone());
            let ours = wanted.devices.keys().any(|device| name.is_of(device));
            changes.push(match ours {
                true => Change::SetDeviceSysctl { name, value },
                false => Change::SetSysctl { name, value },
            });
        }
    }
    for (name, to) in &wanted.devices {
        let before = earlier.and_then(|state| state.devices.get(name));
        device(name, actual, to, before, &mut changes);
    }
    for (device, script) in &wanted.firewalls {
        if actual.state.firewalls.get(device) != Some(script) {
            changes.push(Change::SetFirewall { device: device.clone(), script: script.clone() });
        }
    }
    let gone = actual.state.firewalls.keys().filter(|device| !wanted.firewalls.contains_key(*device));
    changes.extend(gone.map(|device| Change::RemoveFirewall { device: device.clone() }));
    routes(&actual.state, wanted, &mut changes);
    claims(&actual.state, wanted, &mut changes);
    for device in actual.state.devices.keys().filter(|name| !wanted.devices.contains_key(*name)) {
        changes.push(Change::RemoveDevice { device: device.clone() });
    }
    // Stable: within a rank, the order of names and prefixes stays.
    changes.sort_by_key(Change::rank);
    Ok(changes)
}

fn claims(actual: &HostState, wanted: &HostState, changes: &mut Vec<Change>) {
    let new = wanted.claims.iter().filter(|(key, epoch)| actual.claims.get(key) != Some(epoch));
    changes.extend(new.map(|((table, prefix), epoch)| Change::SetClaim {
        table: *table,
        prefix: *prefix,
        epoch: *epoch,
    }));
    let gone = actual.claims.keys().filter(|key| !wanted.claims.contains_key(key));
    changes.extend(gone.map(|(table, prefix)| Change::RemoveClaim { table: *table, prefix: *prefix }));
}

fn device(
    name: &DeviceName,
    actual: &Actual,
    to: &DeviceState,
    before: Option<&DeviceState>,
    changes: &mut Vec<Change>,
) {
    let device = || name.clone();
    let (backend, network) = (to.backend, to.network.clone());
    let found = actual.state.devices.get(name);
    let from = found.filter(|from| from.backend == to.backend);
    match (found, from) {
        (None, _) => changes.push(Change::AddDevice { device: device(), backend, network }),
        (Some(_), None) => changes.push(Change::RemakeDevice { device: device(), backend, network }),
        _ => {}
    }
    if let Some(public_key) = to.public_key
        && from.is_none_or(|from| from.public_key != Some(public_key))
    {
        changes.push(Change::SetKey { device: device(), public_key });
    }
    if to.port != 0 && from.is_none_or(|from| from.port != to.port) {
        changes.push(Change::SetPort { device: device(), port: to.port });
    }
    if from.map_or(0, |from| from.fwmark) != to.fwmark {
        changes.push(Change::SetFwmark { device: device(), fwmark: to.fwmark });
    }
    if from.is_none_or(|from| from.mtu != to.mtu) {
        changes.push(Change::SetMtu { device: device(), mtu: to.mtu });
    }
    for address in to.addresses.iter().filter(|address| from.is_none_or(|from| !from.addresses.contains(*address))) {
        changes.push(Change::AddAddress { device: device(), address: *address });
    }
    if to.up && from.is_none_or(|from| !from.up) {
        changes.push(Change::SetUp { device: device() });
    }
    for address in from.into_iter().flat_map(|from| from.addresses.difference(&to.addresses)) {
        changes.push(Change::RemoveAddress { device: device(), address: *address });
    }
    peers(name, from, to, before, actual, changes);
    prefixes(name, from, to, changes);
}

fn peers(
    name: &DeviceName,
    from: Option<&DeviceState>,
    to: &DeviceState,
    before: Option<&DeviceState>,
    actual: &Actual,
    changes: &mut Vec<Change>,
) {
    let none = BTreeMap::new();
    let present = from.map_or(&none, |from| &from.peers);
    for (key, wanted) in &to.peers {
        let (device, peer) = (name.clone(), PeerRef { key: *key, name: wanted.name.clone() });
        let Some(found) = present.get(key) else {
            let (endpoint, keepalive_s) = (wanted.endpoint, wanted.keepalive_s);
            changes.push(Change::AddPeer { device: device.clone(), peer: peer.clone(), endpoint, keepalive_s });
            if wanted.preshared.is_some() {
                changes.push(Change::SetPreshared { device, peer, is_set: true });
            }
            continue;
        };
        if found.preshared != wanted.preshared {
            let is_set = wanted.preshared.is_some();
            changes.push(Change::SetPreshared { device: device.clone(), peer: peer.clone(), is_set });
        }
        let is_live = actual.handshake_ages.get(&(name.clone(), *key)).is_some_and(|age| *age < LIVE);
        let was = before.and_then(|before| before.peers.get(key)).map(|peer| peer.endpoint);
        let is_new = was.is_some_and(|was| was != wanted.endpoint);
        if let Some(endpoint) = wanted.endpoint
            && found.endpoint != Some(endpoint)
            && (!is_live || is_new || found.endpoint.is_none())
        {
            changes.push(Change::SetEndpoint { device: device.clone(), peer: peer.clone(), endpoint });
        }
        if found.keepalive_s != wanted.keepalive_s {
            changes.push(Change::SetKeepalive { device, peer, keepalive_s: wanted.keepalive_s });
        }
    }
    for (key, found) in present.iter().filter(|(key, _)| !to.peers.contains_key(*key)) {
        let peer = PeerRef { key: *key, name: found.name.clone() };
        changes.push(Change::RemovePeer { device: name.clone(), peer });
    }
}

fn prefixes(name: &DeviceName, from: Option<&DeviceState>, to: &DeviceState, changes: &mut Vec<Change>) {
    let named = |state: &DeviceState, key: &PublicKey| -> Option<Name> { state.peers.get(key)?.name.clone() };
    let none = BTreeMap::new();
    let present = from.map_or(&none, |from| &from.allowed);
    let mut give: Vec<(&PublicKey, &IpNet)> =
        to.allowed.iter().filter(|(prefix, key)| present.get(*prefix) != Some(*key)).map(|(p, k)| (k, p)).collect();
    // Peer by peer, so that whoever applies them can hand over one message for each.
    give.sort();
    for (key, prefix) in give {
        let peer = PeerRef { key: *key, name: named(to, key) };
        changes.push(Change::GivePrefix { device: name.clone(), peer, prefix: *prefix });
    }
    // A peer that goes takes its prefixes along.
    let gone = present.iter().filter(|(prefix, key)| !to.allowed.contains_key(*prefix) && to.peers.contains_key(*key));
    for (prefix, key) in gone {
        let peer = PeerRef { key: *key, name: named(to, key) };
        changes.push(Change::TakePrefix { device: name.clone(), peer, prefix: *prefix });
    }
}

fn routes(actual: &HostState, wanted: &HostState, changes: &mut Vec<Change>) {
    for ((table, prefix), route) in &wanted.routes {
        if actual.routes.get(&(*table, *prefix)) != Some(route) {
            changes.push(Change::SetRoute { table: *table, prefix: *prefix, route: route.clone() });
        }
    }
    changes.extend(wanted.rules.difference(&actual.rules).map(|rule| Change::AddRule { rule: *rule }));
    changes.extend(actual.rules.difference(&wanted.rules).map(|rule| Change::RemoveRule { rule: *rule }));
    for ((table, prefix), route) in &actual.routes {
        if !wanted.routes.contains_key(&(*table, *prefix)) {
            changes.push(Change::RemoveRoute { table: *table, prefix: *prefix, route: route.clone() });
        }
    }
}
