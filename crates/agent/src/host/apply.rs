//! Carrying out changes, in their order.
//!
//! Changes of WireGuard devices that follow each other go to the back end together: ten thousand peers are one request, not ten
//! thousand. A change is reported when it is done.

use std::collections::{BTreeMap, HashMap};

use wayleave_core::host::{ALIAS_PREFIX, Change, PeerRef, ROUTE_PROTOCOL, Rule as WantedRule};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::DeviceName;
use wayleave_engine::{
    ConfigureDevice, ConfigurePeer, PresharedKey as DevicePresharedKey, PrivateKey as DeviceKey,
    PublicKey as DevicePublicKey,
};

use super::{Host, HostError, Refused, firewall, sysctl};
use crate::netlink::{Route, Rule};

/// The keys that devices are given.
#[derive(Debug, Default)]
pub struct Keys {
    /// Private keys.
    pub private: BTreeMap<DeviceName, PrivateKey>,
    /// Preshared keys of devices with one peer.
    pub preshared: BTreeMap<DeviceName, PrivateKey>,
}

impl Host {
    /// Carries changes out until all are done or one is refused; `done` is told of each.
    ///
    /// # Errors
    /// Names the change that was refused. Those before it are done.
    pub fn apply(
        &mut self,
        changes: &[Change],
        keys: &Keys,
        mut done: impl FnMut(&Change),
    ) -> Result<(), Box<Refused>> {
        let mut rest = changes;
        while let Some(first) = rest.first() {
            let refused = |source| Box::new(Refused { change: Box::new(first.clone()), source });
            let batch = match device_of(first) {
                Some(device) => rest.iter().take_while(|change| device_of(change) == Some(device)).count(),
                None => 1,
            };
            let (now, later) = rest.split_at(batch);
            match device_of(first) {
                Some(device) => {
                    let change = configuration(now, keys).map_err(refused)?;
                    self.devices.configure(device.as_str(), &change).map_err(refused)?;
                }
                None => self.apply_one(first).map_err(refused)?,
            }
            now.iter().for_each(&mut done);
            rest = later;
        }
        Ok(())
    }

    fn apply_one(&mut self, change: &Change) -> Result<(), HostError> {
        let netlink = &mut self.netlink;
        match change {
            Change::SetSysctl { name, value } | Change::SetDeviceSysctl { name, value } => {
                return sysctl::write(name, value);
            }
            Change::SetFirewall { device, script } => {
                return self.directory.as_deref().map_or(Ok(()), |place| firewall::set(place, device, script));
            }
            Change::RemoveFirewall { device } => {
                return self.directory.as_deref().map_or(Ok(()), |place| firewall::remove(place, device));
            }
            Change::AddDevice { device, network, .. } => {
                self.devices.make(netlink, device.as_str())?;
                netlink.set_alias(device.as_str(), &format!("{ALIAS_PREFIX}{network}"))?;
            }
            Change::RemakeDevice { device, network, .. } => {
                self.devices.remove(netlink, device.as_str())?;
                self.devices.make(netlink, device.as_str())?;
                netlink.set_alias(device.as_str(), &format!("{ALIAS_PREFIX}{network}"))?;
            }
            Change::SetMtu { device, mtu } => netlink.set_mtu(device.as_str(), u32::from(*mtu))?,
            Change::AddAddress { device, address } => netlink.add_address(device.as_str(), *address)?,
            Change::RemoveAddress { device, address } => netlink.remove_address(device.as_str(), *address)?,
            Change::SetUp { device } => netlink.set_up(device.as_str())?,
            Change::SetRoute { table, prefix, route } => {
                netlink.replace_route(&wanted_route(*table, *prefix, route))?
            }
            Change::RemoveRoute { table, prefix, route } => {
                netlink.remove_route(&wanted_route(*table, *prefix, route))?;
            }
            Change::SetClaim { table, prefix, epoch } => netlink.set_claim(*table, *prefix, *epoch)?,
            Change::RemoveClaim { table, prefix } => netlink.remove_claim(*table, *prefix)?,
            Change::AddRule { rule } => netlink.add_rule(&wanted_rule(rule))?,
            Change::RemoveRule { rule } => netlink.remove_rule(&wanted_rule(rule))?,
            Change::RemoveDevice { device } => self.devices.remove(netlink, device.as_str())?,
            // These are about what is inside a WireGuard device, and go there in batches.
            Change::SetKey { .. }
            | Change::SetPort { .. }
            | Change::SetFwmark { .. }
            | Change::AddPeer { .. }
            | Change::SetPreshared { .. }
            | Change::SetEndpoint { .. }
            | Change::SetKeepalive { .. }
            | Change::ExpectPrefix { .. }
            | Change::GivePrefix { .. }
            | Change::TakePrefix { .. }
            | Change::RemovePeer { .. } => {}
        }
        Ok(())
    }
}

fn wanted_route(table: u32, destination: ipnet::IpNet, route: &wayleave_core::host::Route) -> Route {
    let preferred_source = route.preferred_source;
    Route { preferred_source, table, protocol: ROUTE_PROTOCOL, ..Route::new(destination, route.device.as_str()) }
}

fn wanted_rule(rule: &WantedRule) -> Rule {
    Rule {
        priority: rule.priority,
        table: rule.table,
        ipv6: rule.ipv6,
        from: None,
        to: None,
        mark: Some((rule.unless_mark, u32::MAX)),
        invert: true,
        suppress_length: rule.suppresses_default.then_some(0),
        protocol: ROUTE_PROTOCOL,
    }
}

/// The device whose inside a change is about.
fn device_of(change: &Change) -> Option<&DeviceName> {
    match change {
        Change::SetKey { device, .. }
        | Change::SetPort { device, .. }
        | Change::SetFwmark { device, .. }
        | Change::AddPeer { device, .. }
        | Change::SetPreshared { device, .. }
        | Change::SetEndpoint { device, .. }
        | Change::SetKeepalive { device, .. }
        | Change::ExpectPrefix { device, .. }
        | Change::GivePrefix { device, .. }
        | Change::TakePrefix { device, .. }
        | Change::RemovePeer { device, .. } => Some(device),
        _ => None,
    }
}

/// Changes of one device's inside as one request. What a peer that is added gets at once is one part of it, since each part costs
/// the kernel a search; all other parts keep the order of the changes.
fn configuration(changes: &[Change], keys: &Keys) -> Result<ConfigureDevice, HostError> {
    let mut all = ConfigureDevice::default();
    let mut added = HashMap::new();
    for change in changes {
        match change {
            Change::SetKey { device, .. } => {
                let key = keys.private.get(device).ok_or_else(|| HostError::NoKey { device: device.clone() })?;
                all.private_key = Some(DeviceKey::new(*key.as_bytes()));
            }
            Change::SetPort { port, .. } => all.listen_port = Some(*port),
            Change::SetFwmark { fwmark, .. } => all.fwmark = Some(*fwmark),
            Change::AddPeer { peer, endpoint, keepalive_s, .. } => {
                let at = entry(&mut all, peer, &HashMap::new());
                at.endpoint = *endpoint;
                at.persistent_keepalive_s = (*keepalive_s > 0).then_some(*keepalive_s);
                added.insert(peer.key, all.peers.len() - 1);
            }
            Change::SetPreshared { device, peer, is_set } => {
                let key = keys.preshared.get(device);
                let key = match (is_set, key) {
                    (false, _) => DevicePresharedKey::default(),
                    (true, Some(key)) => DevicePresharedKey::new(*key.as_bytes()),
                    (true, None) => return Err(HostError::NoKey { device: device.clone() }),
                };
                entry(&mut all, peer, &added).preshared_key = Some(key);
            }
            Change::SetEndpoint { peer, endpoint, .. } => entry(&mut all, peer, &added).endpoint = Some(*endpoint),
            Change::SetKeepalive { peer, keepalive_s, .. } => {
                entry(&mut all, peer, &added).persistent_keepalive_s = Some(*keepalive_s);
            }
            Change::ExpectPrefix { peer, prefix, .. } => entry(&mut all, peer, &added).expected_ips.push(*prefix),
            Change::GivePrefix { peer, prefix, .. } => entry(&mut all, peer, &added).allowed_ips.push(*prefix),
            Change::TakePrefix { peer, prefix, .. } => {
                entry(&mut all, peer, &HashMap::new()).remove_allowed_ips.push(*prefix);
            }
            Change::RemovePeer { peer, .. } => entry(&mut all, peer, &HashMap::new()).remove = true,
            _ => {}
        }
    }
    Ok(all)
}

/// The part in which a peer was added, or the last one if it is about this peer, or a new one: changes come peer by peer.
fn entry<'a>(
    all: &'a mut ConfigureDevice,
    peer: &PeerRef,
    added: &HashMap<wayleave_core::keys::PublicKey, usize>,
) -> &'a mut ConfigurePeer {
    let key = DevicePublicKey(*peer.key.as_bytes());
    let at = added.get(&peer.key).copied().unwrap_or_else(|| {
        if all.peers.last().is_none_or(|last| last.public_key != key) {
            all.peers.push(ConfigurePeer::new(key));
        }
        all.peers.len() - 1
    });
    &mut all.peers[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(key: u8) -> PeerRef {
        PeerRef { key: wayleave_core::keys::PublicKey::from_bytes([key; 32]), name: None }
    }

    #[test]
    fn a_peer_that_is_added_is_one_part_and_removals_stay_behind_additions() {
        let device = DeviceName::new("wg0").unwrap();
        let (first, second): (ipnet::IpNet, ipnet::IpNet) =
            ("10.0.0.1/32".parse().unwrap(), "10.0.0.2/32".parse().unwrap());
        let add = |key| Change::AddPeer { device: device.clone(), peer: peer(key), endpoint: None, keepalive_s: 0 };
        let give = |key, prefix| Change::GivePrefix { device: device.clone(), peer: peer(key), prefix };
        let changes = [
            add(1),
            add(2),
            give(1, first),
            give(2, second),
            Change::TakePrefix { device: device.clone(), peer: peer(3), prefix: first },
            Change::RemovePeer { device: device.clone(), peer: peer(4) },
        ];
        let part = |key: u8| ConfigurePeer::new(DevicePublicKey([key; 32]));
        let expected = vec![
            ConfigurePeer { allowed_ips: vec![first], ..part(1) },
            ConfigurePeer { allowed_ips: vec![second], ..part(2) },
            ConfigurePeer { remove_allowed_ips: vec![first], ..part(3) },
            ConfigurePeer { remove: true, ..part(4) },
        ];
        let all = configuration(&changes, &Keys::default()).unwrap();
        assert_eq!(format!("{:?}", all.peers), format!("{expected:?}"));
    }
}
