//! What every host does with every class of addresses, as dense tables that a walk reads one number from per step.
//!
//! Longest-prefix matches are painted over the atoms of the address space, short prefixes first. Atoms that all hosts
//! treat alike in every respect are one class, v4 and v6 alike where no host tells families apart. A network's cost so
//! follows hosts times classes, about the square of its members, and not its addresses.

mod firewall;
mod paint;
mod space;

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::hosts::{Host, Hosts, Peer, RpFilter, Rule, TABLE_MAIN};
use super::walk::Drop;
use crate::network::{PortClasses, Ports};
use firewall::{Bits, FirewallRow};
use paint::{LookupRow, Painter, Partition, RowOf};
pub use space::Atoms;

/// No peer.
pub(super) const NOBODY: u32 = u32::MAX;
/// Route codes above all device numbers.
pub(super) const OWN: u16 = u16::MAX;
pub(super) const LAN: u16 = u16::MAX - 1;
pub(super) const NOWHERE: u16 = u16::MAX - 2;
pub(super) const NO_ROUTE: u16 = u16::MAX - 3;

/// Where a host sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is the host's own address.
    Own,
    /// To a LAN.
    Lan,
    /// Into a device, by its row.
    Device(u32),
    /// To a route that leads out of the model.
    Nowhere,
    /// There is no route.
    None,
}

/// One device of one host.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeviceRow {
    pub host: u32,
    /// Its first peer's number; the others follow.
    first_peer: u32,
    /// The class of the address that it gives to packets of others, v4 and v6.
    pub masquerade: [Option<u32>; 2],
}

/// One peer of one device.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerRow {
    pub row: u32,
    /// The row of the device at the other end, or [`NOBODY`].
    pub to: u32,
    /// This device's own entry there, or [`NOBODY`].
    pub mirror: u32,
    /// Whether one of the two can dial the other.
    pub alive: bool,
}

struct HostRow {
    first_row: u32,
    lookup: Lookup,
    forwards: [bool; 2],
    rp_filter: RpFilter,
    /// Bits of source and destination, and what then happens.
    filter: Vec<(u32, u32, bool)>,
    firewall: Option<FirewallRow>,
}

enum Lookup {
    /// The same for all sources: the row of routes.
    One(u32),
    /// In this order, those whose bit the source has.
    BySource(Vec<(Option<u32>, u32)>),
}

/// The tables of a network.
pub(super) struct Tables {
    pub atoms: Atoms,
    /// The class of each atom.
    pub class_of: Vec<u32>,
    pub classes: usize,
    /// Per class: 1 for v4, 2 for v6, 3 for both.
    pub families: Vec<u8>,
    /// Whether a class is some host's own address or on a LAN.
    pub owned: Vec<bool>,
    pub devices: Vec<DeviceRow>,
    pub peers: Vec<PeerRow>,
    hosts: Vec<HostRow>,
    /// Row by row, a device each: the peer that owns a class.
    owners: Vec<u32>,
    /// Row by row, a lookup each: the route code of a class.
    routes: Vec<u16>,
    /// Row by row, a prefix of a rule or a filter each: whether a class is inside.
    bits: Vec<bool>,
    /// Classes of ports that no firewall tells apart, and the mask of all of them.
    pub port_classes: PortClasses,
    pub all_ports: u128,
}

impl Tables {
    /// The peer of a device that owns a class, or [`NOBODY`].
    pub fn owner(&self, row: u32, class: u32) -> u32 {
        self.owners[row as usize * self.classes + class as usize]
    }

    /// Where a host sends packets from a class to a class.
    pub fn way(&self, host: u32, source: u32, destination: u32) -> Way {
        let host = &self.hosts[host as usize];
        let code = match &host.lookup {
            Lookup::One(row) => self.routes[*row as usize * self.classes + destination as usize],
            Lookup::BySource(rules) => self.by_source(rules, source, destination),
        };
        match code {
            OWN => Way::Own,
            LAN => Way::Lan,
            NOWHERE => Way::Nowhere,
            NO_ROUTE => Way::None,
            device => Way::Device(host.first_row + u32::from(device)),
        }
    }

    fn by_source(&self, rules: &[(Option<u32>, u32)], source: u32, destination: u32) -> u16 {
        let asked = rules.iter().filter(|(bit, _)| bit.is_none_or(|bit| self.bit(bit, source)));
        let mut codes = asked.map(|(_, row)| self.routes[*row as usize * self.classes + destination as usize]);
        codes.find(|code| *code != NO_ROUTE).unwrap_or(NO_ROUTE)
    }

    fn bit(&self, bit: u32, class: u32) -> bool {
        self.bits[bit as usize * self.classes + class as usize]
    }

    /// Whether a host passes on packets of a family (0: v4, 1: v6).
    pub fn forwards(&self, host: u32, family: usize) -> bool {
        self.hosts[host as usize].forwards[family]
    }

    /// Whether a host's firewall lets a packet in.
    pub fn accepts(&self, host: u32, source: u32, destination: u32) -> bool {
        let filter = &self.hosts[host as usize].filter;
        let hit = filter.iter().find(|(from, to, _)| self.bit(*from, source) && self.bit(*to, destination));
        hit.is_none_or(|(.., accept)| *accept)
    }

    /// What a host demands of the way back.
    pub fn rp_filter(&self, host: u32) -> RpFilter {
        self.hosts[host as usize].rp_filter
    }

    /// A peer's position in its device.
    pub fn position(&self, peer: u32) -> usize {
        (peer - self.devices[self.peers[peer as usize].row as usize].first_peer) as usize
    }

    /// A device's position in its host.
    pub fn device_no(&self, row: u32) -> usize {
        (row - self.hosts[self.devices[row as usize].host as usize].first_row) as usize
    }

    /// The number of the peer to blame for a drop.
    pub fn peer_of(&self, drop: &Drop) -> Option<u32> {
        let row = self.hosts[drop.host as usize].first_row + drop.device?;
        Some(self.devices[row as usize].first_peer + drop.peer?)
    }

    /// The numbers of all peers of a device.
    pub fn peers_of(&self, row: u32) -> std::ops::Range<u32> {
        let end = self.devices.get(row as usize + 1).map_or(self.peers.len() as u32, |next| next.first_peer);
        self.devices[row as usize].first_peer..end
    }

    /// The classes that some prefixes are made of, sorted.
    pub fn classes_of(&self, prefixes: &[IpNet]) -> Vec<u32> {
        let atoms = prefixes.iter().flat_map(|prefix| self.atoms.of(prefix));
        let mut classes: Vec<u32> = atoms.map(|atom| self.class_of[atom]).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// Paints everything.
    pub fn new(hosts: &Hosts) -> Tables {
        let atoms = Atoms::new(prefixes(hosts));
        let (devices, peers) = index(hosts);
        let mut bits = Bits::default();
        let classes_of_ports = hosts.port_classes();
        let mut routes = Vec::new();
        let mut rows = Vec::new();
        let mut first_row = 0;
        for host in &hosts.hosts {
            let lookup = lookup(host, &mut routes, &mut bits);
            let rule = |rule: &super::hosts::FilterRule, bits: &mut Bits| {
                (bits.of(&[rule.from]), bits.of(&[rule.to]), rule.accept)
            };
            rows.push(HostRow {
                first_row,
                lookup,
                forwards: [host.forwards_v4, host.forwards_v6],
                rp_filter: host.rp_filter,
                filter: host.filter.iter().map(|found| rule(found, &mut bits)).collect(),
                firewall: host
                    .firewall
                    .as_ref()
                    .map(|firewall| FirewallRow::new(firewall, &classes_of_ports, &mut bits)),
            });
            first_row += host.devices.len() as u32;
        }
        let uniform = hosts
            .hosts
            .iter()
            .all(|host| host.forwards_v4 == host.forwards_v6 && !host.devices.iter().any(|device| device.masquerade));
        let first_peers = devices.iter().map(|device| device.first_peer).collect();
        let painter = Painter { hosts, atoms: &atoms, first_peers, lookups: &routes, bits: &bits.sets };
        let mut partition = painter.partition(uniform);
        if !painter.is_exact(&partition) {
            partition = Partition { class_of: (0..atoms.len() as u32).collect(), first: (0..atoms.len()).collect() };
        }
        let classes = partition.first.len();
        let mut tables = Tables {
            classes,
            families: families(&atoms, &partition),
            owned: vec![false; classes],
            devices,
            peers,
            hosts: rows,
            owners: Vec::with_capacity(first_row as usize * classes),
            routes: Vec::with_capacity(routes.len() * classes),
            bits: Vec::new(),
            all_ports: classes_of_ports.mask(&Ports::all()),
            port_classes: classes_of_ports,
            class_of: Vec::new(),
            atoms: Atoms::new(std::iter::empty()),
        };
        tables.fill(&painter, &partition);
        tables.class_of = partition.class_of;
        tables.atoms = atoms;
        tables.masquerade(hosts);
        tables
    }

    /// Writes the rows down, a column per class.
    fn fill(&mut self, painter: &Painter<'_>, partition: &Partition) {
        painter.rows(|what, row| {
            let columns = partition.first.iter().map(|atom| row[*atom]);
            match what {
                RowOf::Owners => self.owners.extend(columns),
                RowOf::Routes => {
                    for (class, code) in columns.enumerate() {
                        let code = u16::try_from(code).unwrap_or(NOWHERE);
                        self.owned[class] |= matches!(code, OWN | LAN);
                        self.routes.push(code);
                    }
                }
                RowOf::Bits => self.bits.extend(columns.map(|bit| bit == 1)),
            }
        });
    }

    fn masquerade(&mut self, hosts: &Hosts) {
        let mut row = 0;
        for host in &hosts.hosts {
            for device in &host.devices {
                for (family, slot) in [true, false].into_iter().zip(0..2).filter(|_| device.masquerade) {
                    let own = host.addresses.iter().find(|address| address.is_ipv4() == family);
                    self.devices[row].masquerade[slot] = own.map(|own| self.class_of[self.atoms.at(*own)]);
                }
                row += 1;
            }
        }
    }
}

/// Every prefix that any decision depends on.
fn prefixes(hosts: &Hosts) -> impl Iterator<Item = IpNet> {
    let of_host = |host: &'_ Host| {
        let routes = host.routes.iter().map(|route| route.prefix);
        let rules = host.rules.iter().filter_map(|rule| rule.from);
        let filter = host.filter.iter().flat_map(|rule| [rule.from, rule.to]);
        let own = host.addresses.iter().copied().map(IpNet::from);
        routes.chain(rules).chain(filter).chain(own).collect::<Vec<_>>()
    };
    let peers = hosts.hosts.iter().flat_map(|host| &host.devices).flat_map(|device| &device.peers);
    // Most peers of a large network share their lists with others; each list cuts once.
    let mut lists: BTreeMap<*const IpNet, &Peer> = BTreeMap::new();
    for peer in peers {
        lists.insert(peer.allowed.as_ptr(), peer);
    }
    let mut all: Vec<IpNet> = hosts.hosts.iter().flat_map(of_host).collect();
    all.extend(firewall::prefixes(hosts));
    all.extend(lists.values().flat_map(|peer| peer.allowed.iter().copied()));
    all.extend(hosts.ends.iter().flat_map(|end| end.prefixes.iter().copied()));
    all.into_iter()
}

/// Numbers devices and peers, and finds for each peer the entry at the other end.
fn index(hosts: &Hosts) -> (Vec<DeviceRow>, Vec<PeerRow>) {
    let mut first_row = Vec::with_capacity(hosts.hosts.len());
    let (mut devices, mut next_peer) = (Vec::new(), 0);
    for (at, host) in hosts.hosts.iter().enumerate() {
        first_row.push(devices.len() as u32);
        for device in &host.devices {
            devices.push(DeviceRow { host: at as u32, first_peer: next_peer, masquerade: [None; 2] });
            next_peer += device.peers.len() as u32;
        }
    }
    let row_of = |(host, device): (u32, u32)| {
        let known = hosts.hosts.get(host as usize).filter(|host| (device as usize) < host.devices.len());
        known.map_or(NOBODY, |_| first_row[host as usize] + device)
    };
    let all = hosts.hosts.iter().flat_map(|host| &host.devices);
    let written: Vec<&Peer> = all.clone().flat_map(|device| &device.peers).collect();
    let mut peers = Vec::with_capacity(written.len());
    // Per device its peers by the row at the other end.
    let mut by_row: Vec<(u32, u32)> = Vec::with_capacity(written.len());
    for (row, device) in all.enumerate() {
        let begin = by_row.len();
        for peer in &device.peers {
            let to = peer.to.map_or(NOBODY, row_of);
            by_row.push((to, peers.len() as u32));
            peers.push(PeerRow { row: row as u32, to, mirror: NOBODY, alive: false });
        }
        by_row[begin..].sort_unstable();
    }
    for at in 0..peers.len() {
        let PeerRow { row, to, .. } = peers[at];
        if to == NOBODY {
            continue;
        }
        let begin = devices[to as usize].first_peer as usize;
        let end = devices.get(to as usize + 1).map_or(peers.len(), |next| next.first_peer as usize);
        let there = &by_row[begin..end];
        if let Ok(found) = there.binary_search_by_key(&row, |(to, _)| *to) {
            let mirror = there[found].1;
            peers[at].mirror = mirror;
            peers[at].alive = written[at].dials || written[mirror as usize].dials;
        }
    }
    (devices, peers)
}

fn lookup<'a>(host: &'a Host, rows: &mut Vec<LookupRow<'a>>, bits: &mut Bits) -> Lookup {
    let main = Rule { from: None, table: TABLE_MAIN, suppress: None };
    let rules = host.rules.iter().chain(std::iter::once(&main));
    let mut put = |tables| {
        rows.push(LookupRow { host, tables });
        rows.len() as u32 - 1
    };
    if host.rules.iter().all(|rule| rule.from.is_none()) {
        return Lookup::One(put(rules.map(|rule| (rule.table, rule.suppress)).collect()));
    }
    let each = |rule: &Rule| (rule.from.map(|from| bits.of(&[from])), put(vec![(rule.table, rule.suppress)]));
    Lookup::BySource(rules.map(each).collect())
}

fn families(atoms: &Atoms, partition: &Partition) -> Vec<u8> {
    let mut families = vec![0; partition.first.len()];
    for (atom, class) in partition.class_of.iter().enumerate() {
        families[*class as usize] |= if atoms.is_v4(atom) { 1 } else { 2 };
    }
    families
}
