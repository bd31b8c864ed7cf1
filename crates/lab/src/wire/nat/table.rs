//! Who inside has which port outside.
//!
//! A mapping joins an inside endpoint (for a symmetric NAT: and the remote it talks to) with an outside port, for as long as it is
//! used. It remembers which remotes it has talked to, which is what a filter asks. Time only passes by what callers say; expired
//! mappings go when somebody asks for them, or all together when room is needed. Bounds are in [`limits`].

use super::NatMapping;
use crate::limits;
use crate::wire::chance::Chance;
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What a mapping is found by from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub protocol: u8,
    pub inside: SocketAddrV4,
    /// Only for symmetric NAT.
    pub remote: Option<SocketAddrV4>,
}

impl Key {
    pub(super) fn new(mapping: NatMapping, protocol: u8, inside: SocketAddrV4, remote: SocketAddrV4) -> Self {
        let remote = (mapping == NatMapping::Symmetric).then_some(remote);
        Self { protocol, inside, remote }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub outside_port: u16,
    pub used_ns: u64,
    contacts: HashMap<(Ipv4Addr, u16), u64>,
}

impl Entry {
    /// Notes that the inside has sent something to `remote`.
    pub(super) fn note_contact(&mut self, remote: SocketAddrV4, now_ns: u64) {
        let key = (*remote.ip(), remote.port());
        if self.contacts.len() >= limits::NAT_CONTACTS_MAX && !self.contacts.contains_key(&key) {
            // The tuple breaks ties, so that the choice doesn't depend on the map's order.
            let oldest = self.contacts.iter().map(|(&key, &at)| (at, key)).min();
            if let Some((_, key)) = oldest {
                self.contacts.remove(&key);
            }
        }
        self.contacts.insert(key, now_ns);
    }

    /// Whether the inside has sent to this endpoint (or address, without a port) since `since_ns`.
    pub(super) fn has_contact(&self, address: Ipv4Addr, port: Option<u16>, since_ns: u64) -> bool {
        match port {
            Some(port) => self.contacts.get(&(address, port)).is_some_and(|&at| at >= since_ns),
            None => self.contacts.iter().any(|(key, &at)| key.0 == address && at >= since_ns),
        }
    }
}

/// Why there is no mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableError {
    Full,
    NoPort,
}

/// All mappings of a NAT.
#[derive(Debug, Clone)]
pub(super) struct Table {
    entries: HashMap<Key, Entry>,
    by_outside: HashMap<(u8, u16), Key>,
    /// Ports of forwards, which no mapping may take.
    reserved: HashSet<(u8, u16)>,
    chance: Chance,
}

impl Table {
    pub(super) fn new(reserved: HashSet<(u8, u16)>, chance: Chance) -> Self {
        Self { entries: HashMap::new(), by_outside: HashMap::new(), reserved, chance }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_outside.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    /// The live mapping of an inside endpoint.
    pub(super) fn of_inside(&mut self, key: &Key, now_ns: u64, timeout_ns: u64) -> Option<&mut Entry> {
        let expired = is_expired(self.entries.get(key)?, now_ns, timeout_ns);
        if expired {
            self.remove(key);
            return None;
        }
        self.entries.get_mut(key)
    }

    /// The live mapping of an outside port.
    pub(super) fn of_outside(
        &mut self,
        protocol: u8,
        port: u16,
        now_ns: u64,
        timeout_ns: u64,
    ) -> Option<(Key, &mut Entry)> {
        let key = *self.by_outside.get(&(protocol, port))?;
        self.of_inside(&key, now_ns, timeout_ns).map(|entry| (key, entry))
    }

    /// Who inside has an outside port, alive or not.
    pub(super) fn owner(&self, protocol: u8, port: u16) -> Option<SocketAddrV4> {
        self.by_outside.get(&(protocol, port)).map(|key| key.inside)
    }

    /// Makes a mapping, on the port `preferred` if it is free.
    pub(super) fn create(
        &mut self,
        key: Key,
        preferred: Option<u16>,
        now_ns: u64,
        timeout_of: impl Fn(u8) -> u64,
    ) -> Result<&mut Entry, TableError> {
        if self.entries.len() >= limits::NAT_MAPPINGS_MAX {
            self.sweep(now_ns, &timeout_of);
        }
        if self.entries.len() >= limits::NAT_MAPPINGS_MAX {
            return Err(TableError::Full);
        }
        let port =
            self.free_port(key.protocol, preferred, now_ns, timeout_of(key.protocol)).ok_or(TableError::NoPort)?;
        self.by_outside.insert((key.protocol, port), key);
        let entry = Entry { outside_port: port, used_ns: now_ns, contacts: HashMap::new() };
        Ok(self.entries.entry(key).insert_entry(entry).into_mut())
    }

    fn free_port(&mut self, protocol: u8, preferred: Option<u16>, now_ns: u64, timeout_ns: u64) -> Option<u16> {
        if let Some(port) = preferred
            && self.is_free(protocol, port, now_ns, timeout_ns)
        {
            return Some(port);
        }
        let first = limits::NAT_PORT_FIRST;
        let last_offset = u16::MAX - first;
        // Bounded by chance in 16 bits, so the conversion is exact.
        let start = self.chance.up_to(u64::from(last_offset)) as u16;
        (start..=last_offset)
            .chain(0..start)
            .map(|offset| first + offset)
            .find(|&port| self.is_free(protocol, port, now_ns, timeout_ns))
    }

    fn is_free(&mut self, protocol: u8, port: u16, now_ns: u64, timeout_ns: u64) -> bool {
        // Asking for it also removes it if it has expired.
        !self.reserved.contains(&(protocol, port)) && self.of_outside(protocol, port, now_ns, timeout_ns).is_none()
    }

    fn sweep(&mut self, now_ns: u64, timeout_of: impl Fn(u8) -> u64) {
        self.entries.retain(|key, entry| !is_expired(entry, now_ns, timeout_of(key.protocol)));
        let entries = &self.entries;
        self.by_outside.retain(|_, key| entries.contains_key(key));
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_outside.remove(&(key.protocol, entry.outside_port));
        }
    }
}

fn is_expired(entry: &Entry, now_ns: u64, timeout_ns: u64) -> bool {
    now_ns.saturating_sub(entry.used_ns) >= timeout_ns
}
