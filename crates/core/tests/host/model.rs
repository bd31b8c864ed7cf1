//! A kernel made of maps: it does what a change says, and refuses what a real one refuses.

use wayleave_core::host::{Actual, Change, DeviceState, HostState, PeerState};

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
        let exists = |there: bool| if there { Err(format!("exists: {change}")) } else { Ok(()) };
        macro_rules! device {
            ($name:expr) => {
                state.devices.get_mut($name).ok_or(format!("no such device: {change}"))?
            };
        }
        match change {
            Change::SetSysctl { name, value } | Change::SetDeviceSysctl { name, value } => {
                state.sysctls.insert(name.clone(), value.clone());
            }
            Change::AddDevice { device, backend, network } | Change::RemakeDevice { device, backend, network } => {
                exists(matches!(change, Change::AddDevice { .. }) && state.devices.contains_key(device))?;
                state.routes.retain(|_, route| route.device != *device);
                let new = DeviceState {
                    backend: *backend,
                    network: network.clone(),
                    up: false,
                    mtu: 1420,
                    public_key: None,
                    port: 40_000,
                    fwmark: 0,
                    addresses: Default::default(),
                    peers: Default::default(),
                    allowed: Default::default(),
                };
                state.devices.insert(device.clone(), new);
            }
            Change::SetKey { device, public_key } => device!(device).public_key = Some(*public_key),
            Change::SetPort { device, port } => device!(device).port = *port,
            Change::SetFwmark { device, fwmark } => device!(device).fwmark = *fwmark,
            Change::SetMtu { device, mtu } => device!(device).mtu = *mtu,
            Change::AddAddress { device, address } => exists(!device!(device).addresses.insert(*address))?,
            Change::SetUp { device } => device!(device).up = true,
            Change::AddPeer { device, peer, endpoint, keepalive_s } => {
                let new = PeerState { name: peer.name.clone(), endpoint: *endpoint, keepalive_s: *keepalive_s };
                exists(device!(device).peers.insert(peer.key, new).is_some())?;
            }
            Change::SetEndpoint { device, peer, endpoint } => {
                device!(device).peers.get_mut(&peer.key).ok_or("no peer")?.endpoint = Some(*endpoint);
            }
            Change::SetKeepalive { device, peer, keepalive_s } => {
                device!(device).peers.get_mut(&peer.key).ok_or("no peer")?.keepalive_s = *keepalive_s;
            }
            Change::GivePrefix { device, peer, prefix } => {
                let device = device!(device);
                if !device.peers.contains_key(&peer.key) {
                    return Err(format!("no such peer: {change}"));
                }
                device.allowed.insert(*prefix, peer.key);
            }
            Change::SetRoute { table, prefix, route } => {
                if !device!(&route.device).up {
                    return Err(format!("the device is down: {change}"));
                }
                state.routes.insert((*table, *prefix), route.clone());
            }
            Change::AddRule { rule } => exists(!state.rules.insert(*rule))?,
            Change::RemoveRule { rule } => exists(!state.rules.remove(rule))?,
            Change::RemoveRoute { table, prefix, .. } => {
                exists(state.routes.remove(&(*table, *prefix)).is_none())?;
            }
            Change::TakePrefix { device, peer, prefix } => {
                let device = device!(device);
                if device.allowed.get(prefix) == Some(&peer.key) {
                    device.allowed.remove(prefix);
                }
            }
            Change::RemovePeer { device, peer } => {
                let device = device!(device);
                exists(device.peers.remove(&peer.key).is_none())?;
                device.allowed.retain(|_, owner| *owner != peer.key);
            }
            Change::RemoveAddress { device, address } => exists(!device!(device).addresses.remove(address))?,
            Change::RemoveDevice { device } => {
                exists(state.devices.remove(device).is_none())?;
                state.routes.retain(|_, route| route.device != *device);
            }
        }
        Ok(())
    }
}
