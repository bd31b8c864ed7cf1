//! A host's state when clients move: single prefixes, without comparing whole states.
//!
//! In come the state that is wanted so far and what a move has changed in the node's part. The state is brought to what
//! [`wanted()`](super::super::wanted()) would make of the part, and out come the changes that [`diff()`](super::super::diff()) would find between the two.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::super::change::{Change, PeerRef};
use super::super::state::{Backend, HostState, Route};
use super::super::wanted::{main_or_own_table, route_of};
use crate::keys::PublicKey;
use crate::names::Name;
use crate::plan::{Edits, Moved, NodePlan};

/// Brings a state to a part in which clients have moved. None if the state is not that of the part before; it stays as it is then.
pub fn follow(state: &mut HostState, part: &NodePlan, moved: &Moved) -> Option<Vec<Change>> {
    let mut changes = prefixes(state, part, moved)?;
    changes.extend(routes(state, part, moved));
    // Stable: within a rank, the order of keys and prefixes stays.
    changes.sort_by_key(Change::rank);
    Some(changes)
}

/// What is to be let in before: as [`expected()`](super::expected()), but of what moves alone.
pub fn expected_of(state: &HostState, part: &NodePlan, moved: &Moved, is_relay: impl Fn(&Name) -> bool) -> Vec<Change> {
    if state.devices.get(&part.device).is_none_or(|device| device.backend != Backend::Engine) {
        return Vec::new();
    }
    let mut changes = Vec::new();
    for (at, peer) in part.peers.iter().enumerate() {
        let Some(key) = peer.public_key else { continue };
        let own = moved.peers.get(&at).map(|edits| &edits.come);
        let all: Vec<&IpNet> =
            if is_relay(&peer.name) { moved.prefixes.iter().collect() } else { own.into_iter().flatten().collect() };
        let name = Some(peer.name.clone());
        changes.extend(all.into_iter().map(|prefix| Change::ExpectPrefix {
            device: part.device.clone(),
            peer: PeerRef { key, name: name.clone() },
            prefix: *prefix,
        }));
    }
    changes
}

/// Prefixes that go from one peer of the node's own device to another.
fn prefixes(state: &mut HostState, part: &NodePlan, moved: &Moved) -> Option<Vec<Change>> {
    let device = state.devices.get_mut(&part.device)?;
    let with_key = || moved.peers.iter().filter_map(|(at, edits)| Some((part.peers[*at].public_key?, edits)));
    let edits = |of: fn(&Edits) -> &BTreeSet<IpNet>| -> Vec<(PublicKey, IpNet)> {
        with_key().flat_map(|(key, edits)| of(edits).iter().map(move |prefix| (key, *prefix))).collect()
    };
    let (gone, mut given) = (edits(|edits| &edits.gone), edits(|edits| &edits.come));
    let mut taken: BTreeMap<IpNet, PublicKey> = gone.iter().map(|(key, prefix)| (*prefix, *key)).collect();
    let is_free = |prefix: &IpNet| taken.contains_key(prefix) || !device.allowed.contains_key(prefix);
    if gone.iter().any(|(key, prefix)| device.allowed.get(prefix) != Some(key))
        || given.iter().any(|(_, prefix)| !is_free(prefix))
    {
        return None;
    }
    for (_, prefix) in &gone {
        device.allowed.remove(prefix);
    }
    for (key, prefix) in &given {
        device.allowed.insert(*prefix, *key);
        taken.remove(prefix);
    }
    given.sort_unstable();
    let peer = |key: PublicKey| PeerRef { key, name: device.peers.get(&key).and_then(|peer| peer.name.clone()) };
    let name = || part.device.clone();
    let give = |(key, prefix)| Change::GivePrefix { device: name(), peer: peer(key), prefix };
    let take = |(prefix, key)| Change::TakePrefix { device: name(), peer: peer(key), prefix };
    Some(given.into_iter().map(give).chain(taken.into_iter().map(take)).collect())
}

/// Routes into the node's own device and into that of its clients.
fn routes(state: &mut HostState, part: &NodePlan, moved: &Moved) -> Vec<Change> {
    let table = main_or_own_table(part);
    let own = |prefix: &IpNet| part.routes.binary_search(prefix).is_ok().then(|| route_of(part, &part.device, *prefix));
    let mut next: BTreeMap<IpNet, Option<Route>> = BTreeMap::new();
    for prefix in moved.routes.gone.iter().chain(&moved.routes.come) {
        let clients = part.entry.as_ref().map(|entry| &entry.device);
        let is_clients = state.routes.get(&(table, *prefix)).is_some_and(|route| Some(&route.device) == clients);
        if !is_clients {
            next.insert(*prefix, own(prefix));
        }
    }
    for (entry, client) in part.entry.iter().flat_map(|entry| moved.clients.iter().map(move |client| (entry, client))) {
        let Ok(at) = entry.peers.binary_search_by(|peer| peer.name.cmp(client)) else { continue };
        let is_here = entry.here.contains(client);
        for prefix in &entry.peers[at].allowed {
            let route = if is_here { Some(route_of(part, &entry.device, *prefix)) } else { own(prefix) };
            next.insert(*prefix, route);
        }
    }
    let mut changes = Vec::new();
    for (prefix, route) in next {
        let before = match &route {
            Some(route) => state.routes.insert((table, prefix), route.clone()),
            None => state.routes.remove(&(table, prefix)),
        };
        match (before, route) {
            (before, Some(route)) if before.as_ref() != Some(&route) => {
                changes.push(Change::SetRoute { table, prefix, route });
            }
            (Some(route), None) => changes.push(Change::RemoveRoute { table, prefix, route }),
            _ => {}
        }
    }
    changes
}
