//! A kernel made of maps: it does what a change says, and refuses what a real one refuses.

use std::collections::{BTreeMap, BTreeSet};

use wayleave_core::host::{Actual, Backend, Change, DeviceState, HostState, PeerState};
use wayleave_core::keys::KeyMark;
use wayleave_core::names::Name;

/// The model of a host's kernel.
#[derive(Debug, Clone, Default)]
pub struct Kernel(pub HostState);

impl Kernel {
    /// What somebody who looks sees.
    pub fn look(&self) -> Actual {
        let mut state = self.0.clone();
        // A kernel knows no names.
        for peer in state.devices.values_mut().flat_map(|device| device.peers.values_mut()) {
            peer.name = None;
        }
        Actual { state, ..Actual::default() }
    }

    /// Does one change.
    pub fn apply(&mut self, change: &Change) -> Result<(), String> {
        let state = &mut self.0;
        match change {
            Change::SetSysctl { name, value } | Change::SetDeviceSysctl { name, value } => {
                state.sysctls.insert(name.clone(), value.clone());
            }
            Change::SetFirewall { device, script } => drop(state.firewalls.insert(device.clone(), script.clone())),
            Change::RemoveFirewall { device } => exists(change, state.firewalls.remove(device).is_none())?,
            Change::AddDevice { device, backend, network } | Change::RemakeDevice { device, backend, network } => {
                exists(change, matches!(change, Change::AddDevice { .. }) && state.devices.contains_key(device))?;
                state.routes.retain(|_, route| route.device != *device);
                state.devices.insert(device.clone(), new_device(*backend, network));
            }
            Change::SetRoute { table, prefix, route } => {
                let is_up = state.devices.get(&route.device).is_some_and(|device| device.up);
                exists(change, !is_up)?;
                state.routes.insert((*table, *prefix), route.clone());
            }
            Change::SetClaim { table, prefix, epoch } => drop(state.claims.insert((*table, *prefix), *epoch)),
            Change::RemoveClaim { table, prefix } => {
                exists(change, state.claims.remove(&(*table, *prefix)).is_none())?;
            }
            Change::AddRule { rule } => exists(change, !state.rules.insert(*rule))?,
            Change::RemoveRule { rule } => exists(change, !state.rules.remove(rule))?,
            Change::RemoveRoute { table, prefix, .. } => {
                exists(change, state.routes.remove(&(*table, *prefix)).is_none())?;
            }
            Change::RemoveDevice { device } => {
                exists(change, state.devices.remove(device).is_none())?;
                state.routes.retain(|_, route| route.device != *device);
            }
            Change::SetKey { device, .. }
            | Change::SetPort { device, .. }
            | Change::SetFwmark { device, .. }
            | Change::SetMtu { device, .. }
            | Change::AddAddress { device, .. }
            | Change::SetUp { device }
            | Change::AddPeer { device, .. }
            | Change::SetPreshared { device, .. }
            | Change::SetEndpoint { device, .. }
            | Change::SetKeepalive { device, .. }
            | Change::ExpectPrefix { device, .. }
            | Change::GivePrefix { device, .. }
            | Change::TakePrefix { device, .. }
            | Change::RemovePeer { device, .. }
            | Change::RemoveAddress { device, .. } => {
                let device = state.devices.get_mut(device).ok_or(format!("no such device: {change}"))?;
                apply_to_device(device, change)?;
            }
        }
        Ok(())
    }
}

/// A refusal, where something is there or not there against expectation.
fn exists(change: &Change, refused: bool) -> Result<(), String> {
    if refused { Err(format!("refused: {change}")) } else { Ok(()) }
}

fn new_device(backend: Backend, network: &Name) -> DeviceState {
    DeviceState {
        backend,
        network: network.clone(),
        up: false,
        mtu: 1420,
        public_key: None,
        port: 40_000,
        fwmark: 0,
        addresses: BTreeSet::new(),
        peers: BTreeMap::new(),
        allowed: BTreeMap::new(),
    }
}

fn apply_to_device(device: &mut DeviceState, change: &Change) -> Result<(), String> {
    match change {
        Change::SetKey { public_key, .. } => device.public_key = Some(*public_key),
        Change::SetPort { port, .. } => device.port = *port,
        Change::SetFwmark { fwmark, .. } => device.fwmark = *fwmark,
        Change::SetMtu { mtu, .. } => device.mtu = *mtu,
        Change::AddAddress { address, .. } => exists(change, !device.addresses.insert(*address))?,
        Change::SetUp { .. } => device.up = true,
        Change::AddPeer { peer, endpoint, keepalive_s, .. } => {
            let (endpoint, keepalive_s) = (*endpoint, *keepalive_s);
            let new = PeerState { name: peer.name.clone(), endpoint, keepalive_s, ..PeerState::default() };
            exists(change, device.peers.insert(peer.key, new).is_some())?;
        }
        Change::SetPreshared { peer, is_set, .. } => {
            device.peers.get_mut(&peer.key).ok_or("no such peer")?.preshared = is_set.then(KeyMark::default);
        }
        Change::SetEndpoint { peer, endpoint, .. } => {
            device.peers.get_mut(&peer.key).ok_or("no such peer")?.endpoint = Some(*endpoint);
        }
        Change::SetKeepalive { peer, keepalive_s, .. } => {
            device.peers.get_mut(&peer.key).ok_or("no such peer")?.keepalive_s = *keepalive_s;
        }
        Change::GivePrefix { peer, prefix, .. } => {
            exists(change, !device.peers.contains_key(&peer.key))?;
            device.allowed.insert(*prefix, peer.key);
        }
        Change::TakePrefix { peer, prefix, .. } => {
            if device.allowed.get(prefix) == Some(&peer.key) {
                device.allowed.remove(prefix);
            }
        }
        Change::RemovePeer { peer, .. } => {
            exists(change, device.peers.remove(&peer.key).is_none())?;
            device.allowed.retain(|_, owner| *owner != peer.key);
        }
        Change::RemoveAddress { address, .. } => exists(change, !device.addresses.remove(address))?,
        other => return Err(format!("not about a device: {other}")),
    }
    Ok(())
}
