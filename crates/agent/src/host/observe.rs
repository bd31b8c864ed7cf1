//! Looking at a host.
//!
//! Ours is a device with our alias and the network's name in it, a route into such a device or a rule with our protocol
//! number. Everything else is left out, but for devices that have a name that is wanted. Interrupted looks are begun anew, a bounded number of times.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use wayleave_core::host::{
    ALIAS_PREFIX, Actual, Backend, DeviceState, HostState, PeerState, ROUTE_PROTOCOL, RULE_PRIORITIES, Route, Rule,
};
use wayleave_core::keys::{PrivateKey, PublicKey};
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::plan::{bgp_table, claim_tables, own_table};
use wayleave_engine::{DeviceDescription, PeerTraffic};

use super::{Host, HostError, firewall, sysctl};
use crate::limits::LOOKS_MAX;
use crate::netlink::LinkSeen;

impl Host {
    /// What is there of a network of ours, and what of others' is in the way of `wanted`.
    ///
    /// # Errors
    /// If the kernel or the engine refuses to say.
    pub fn look(&mut self, network: &Name, wanted: &HostState) -> Result<Actual, HostError> {
        for _ in 0..LOOKS_MAX {
            match self.look_once(network, wanted) {
                Err(HostError::Netlink(error)) if error.is_interrupted() => {}
                result => return result,
            }
        }
        Err(HostError::Restless)
    }

    /// Everything there is to know about one device of ours.
    ///
    /// # Errors
    /// If there is no such device.
    pub fn describe(&mut self, device: &str) -> Result<DeviceDescription, HostError> {
        self.devices.describe(device)
    }

    /// Counters and handshakes of one device's peers: of those for which they have changed since this was last asked, at least.
    ///
    /// # Errors
    /// If there is no such device.
    pub fn traffic_news(&mut self, device: &str) -> Result<Vec<PeerTraffic>, HostError> {
        self.devices.traffic_news(device)
    }

    /// The devices that are up, of those named.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn running<'a>(&mut self, names: &[&'a DeviceName]) -> Result<BTreeSet<&'a DeviceName>, HostError> {
        let links = self.netlink.links()?;
        let is_up = |name: &&DeviceName| links.values().any(|link| link.up && link.name == name.as_str());
        Ok(names.iter().copied().filter(|name| is_up(name) && self.devices.runs(name.as_str())).collect())
    }

    /// The networks of all interfaces, each with whether the interface is up and connected.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn interfaces(&mut self) -> Result<Vec<(IpNet, bool)>, HostError> {
        let links = self.netlink.links()?;
        let networks = links
            .values()
            .flat_map(|link| link.addresses.iter().map(|address| (address.trunc(), link.up && link.connected)));
        Ok(networks.collect())
    }

    /// Whether the kernel would pass a packet on that comes in by a device; see [`crate::netlink::Netlink::way_for`].
    ///
    /// # Errors
    /// Why it would not.
    pub fn way_for(&mut self, from: IpAddr, device: &DeviceName, to: IpAddr) -> Result<(), HostError> {
        Ok(self.netlink.way_for(from, device.as_str(), to)?)
    }

    fn look_once(&mut self, network: &Name, wanted: &HostState) -> Result<Actual, HostError> {
        let mut actual = Actual::default();
        let links = self.netlink.links()?;
        // Another network's rules are its own also while its routes are not there.
        let mut tables_of_others = BTreeSet::new();
        for link in links.values() {
            let Ok(name) = DeviceName::new(&link.name) else { continue };
            match network_of(link) {
                Some(other) if other == *network => self.look_at_device(name, link, other, wanted, &mut actual)?,
                Some(_) if !wanted.devices.contains_key(&name) => {
                    tables_of_others.extend([own_table(&name), bgp_table(&name)]);
                    // Who does not have claims now may have some in a moment.
                    actual.foreign_tables.extend(claim_tables(&name).map(|table| (table, name.clone())));
                }
                _ if wanted.devices.contains_key(&name) => {
                    actual.foreign_devices.insert(name);
                }
                _ => {}
            }
        }
        for seen in self.netlink.routes_of(ROUTE_PROTOCOL)? {
            let name = seen.link.and_then(|number| DeviceName::new(&links.get(&number)?.name).ok());
            if let Some(device) = name {
                if !actual.state.devices.contains_key(&device) {
                    actual.foreign_tables.insert(seen.table, device);
                    continue;
                }
                let route = Route { device, preferred_source: seen.preferred_source };
                actual.state.routes.insert((seen.table, seen.destination), route);
            }
        }
        let devices = actual.state.devices.keys().chain(wanted.devices.keys());
        let tables: BTreeSet<u32> = devices.map(|device| claim_tables(device)[0]).collect();
        for table in tables {
            let claims = self.netlink.claims(table)?;
            actual.state.claims.extend(claims.into_iter().map(|(prefix, epoch)| ((table, prefix), epoch)));
        }
        for seen in self.netlink.rules_of(ROUTE_PROTOCOL)? {
            if let (true, true, Some(mark)) = (RULE_PRIORITIES.contains(&seen.priority), seen.invert, seen.mark) {
                let (priority, ipv6, table) = (seen.priority, seen.ipv6, seen.table);
                let suppresses_default = seen.suppress_length == Some(0);
                let rule = Rule { priority, ipv6, table, unless_mark: mark, suppresses_default };
                // Rules say nothing of networks; one for a table or mark that another network uses is that one's.
                let is_used =
                    |number: &u32| tables_of_others.contains(number) || actual.foreign_tables.contains_key(number);
                let is_others = is_used(&table) || is_used(&mark);
                if wanted.rules.contains(&rule) || !is_others {
                    actual.state.rules.insert(rule);
                }
            }
        }
        match &self.directory {
            Some(place) => actual.state.firewalls = firewall::look(place),
            None => actual.state.firewalls.clone_from(&wanted.firewalls),
        }
        for name in wanted.sysctls.keys() {
            if let Some(value) = sysctl::read(name)? {
                actual.state.sysctls.insert(name.clone(), value);
            }
        }
        Ok(actual)
    }

    fn look_at_device(
        &mut self,
        name: DeviceName,
        link: &LinkSeen,
        network: Name,
        wanted: &HostState,
        actual: &mut Actual,
    ) -> Result<(), HostError> {
        let backend = if link.is_wireguard { Backend::Kernel } else { Backend::Engine };
        let description = match backend == self.devices.backend() && self.devices.runs(name.as_str()) {
            true => self.devices.describe(name.as_str())?,
            // Another process's, or the other back end's: enough to know that it is to be made anew.
            false => DeviceDescription::default(),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for peer in &description.peers {
            if let Some(at) = peer.last_handshake {
                let age = now.checked_sub(at).unwrap_or(Duration::ZERO);
                actual.handshake_ages.insert((name.clone(), PublicKey::from_bytes(peer.public_key.0)), age);
            }
        }
        let mut state = device_state(backend, network, link, &description);
        if wanted.makes_link_locals(&name) {
            state.addresses.extend(&link.link_local);
        }
        actual.state.devices.insert(name, state);
        Ok(())
    }
}

fn network_of(link: &LinkSeen) -> Option<Name> {
    Name::new(link.alias.as_deref()?.strip_prefix(ALIAS_PREFIX)?).ok()
}

fn device_state(backend: Backend, network: Name, link: &LinkSeen, description: &DeviceDescription) -> DeviceState {
    let mut peers = BTreeMap::new();
    let mut allowed = BTreeMap::new();
    for peer in &description.peers {
        let key = PublicKey::from_bytes(peer.public_key.0);
        let secret = peer.preshared_key.expose();
        let has_one = *secret != [0; 32];
        let state = PeerState {
            name: None,
            endpoint: peer.endpoint,
            keepalive_s: peer.persistent_keepalive_s,
            preshared: has_one.then(|| PrivateKey::preshared_from_random(*secret).mark()),
        };
        peers.insert(key, state);
        allowed.extend(peer.allowed_ips.iter().map(|prefix| (*prefix, key)));
    }
    DeviceState {
        backend,
        network,
        up: link.up,
        mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
        public_key: description.public_key.map(|key| PublicKey::from_bytes(key.0)),
        port: description.listen_port,
        fwmark: description.fwmark,
        addresses: link.addresses.iter().copied().collect(),
        peers,
        allowed,
    }
}
