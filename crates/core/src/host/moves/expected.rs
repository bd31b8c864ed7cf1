//! What peers may send before they own it, while paths change.
//!
//! In come what is wanted now and what will be wanted soon. Out comes a [`Change::ExpectPrefix`] for each prefix whose owner will
//! be another peer, whether it is given to that peer by itself or as a part of a wider one. Relays may send from everything for
//! that time: nodes on the way don't change at one instant, so that a packet can come over a relay that is on none of its
//! two paths. They gain nothing that they could not have by stating short links. Addresses of links are never among it:
//! they prove who speaks. Only the engine can take a prefix from two peers; for the kernel's devices nothing comes out.
//! The changes leave nothing behind that could be observed.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::super::change::{Change, PeerRef};
use super::super::state::{Backend, DeviceState, HostState};
use crate::keys::PublicKey;
use crate::names::Name;

/// What is to be let in at devices that are there already, so that `to` can come in the place of `from` without loss. `routed` is
/// all that may come over relays, `is_relay` says which peers these are.
pub fn expected(from: &HostState, to: &HostState, routed: &[IpNet], is_relay: impl Fn(&Name) -> bool) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, next) in &to.devices {
        let Some(present) = from.devices.get(name).filter(|device| device.backend == Backend::Engine) else { continue };
        let gains = gains(present, next);
        for (key, peer) in &present.peers {
            let relays = peer.name.as_ref().is_some_and(&is_relay);
            let own = gains.get(key).map_or(&[][..], Vec::as_slice);
            for prefix in if relays { routed } else { own } {
                let peer = PeerRef { key: *key, name: peer.name.clone() };
                changes.push(Change::ExpectPrefix { device: name.clone(), peer, prefix: *prefix });
            }
        }
    }
    changes
}

/// Prefixes whose owner changes, by their new owners.
fn gains(present: &DeviceState, next: &DeviceState) -> BTreeMap<PublicKey, Vec<IpNet>> {
    let prefixes: BTreeSet<&IpNet> = present.allowed.keys().chain(next.allowed.keys()).collect();
    let (mut before, mut after) = (Cover::default(), Cover::default());
    let mut gains: BTreeMap<PublicKey, Vec<IpNet>> = BTreeMap::new();
    for prefix in prefixes {
        let (was, will) = (before.owner(present, prefix), after.owner(next, prefix));
        if let Some(key) = will.filter(|_| was != will) {
            gains.entry(key).or_default().push(*prefix);
        }
    }
    gains
}

/// The prefixes around the present one, the widest first, on a way through all prefixes in order: a prefix comes after those
/// that contain it.
#[derive(Default)]
struct Cover(Vec<(IpNet, PublicKey)>);

impl Cover {
    /// Who owns a prefix, by itself or in a wider one.
    fn owner(&mut self, device: &DeviceState, prefix: &IpNet) -> Option<PublicKey> {
        while self.0.last().is_some_and(|(outer, _)| !outer.contains(prefix)) {
            self.0.pop();
        }
        self.0.extend(device.allowed.get(prefix).map(|key| (*prefix, *key)));
        self.0.last().map(|(_, key)| *key)
    }
}
