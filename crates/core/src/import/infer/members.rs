//! Who is who: devices that were read and keys that are only known as peers become members, each once.
//!
//! A key says it for certain. A device without a key (its private key is elsewhere) is known by what others call the peer
//! with its name, by its address in their allowed prefixes, or by its network there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Taken;
use crate::check::{Finding, Findings, Imported};
use crate::import::hosts::{Device, Host, Peer};
use crate::import::rules::{device_label, peer_label};
use crate::keys::PublicKey;
use crate::names::Name;

/// A member of the network that is to be inferred.
#[derive(Debug, Clone)]
pub(in crate::import) struct Member {
    pub name: Name,
    pub key: Option<PublicKey>,
    /// Host and device, if its configuration was read.
    pub station: Option<(usize, usize)>,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
}

/// All hosts, and who everybody is.
pub(in crate::import) struct World<'r> {
    pub hosts: &'r [Host],
    pub members: Vec<Member>,
    pub by_key: BTreeMap<PublicKey, usize>,
    /// What scripts make of hosts that only exist when they run: they tell how others are dialled.
    pub templates: Vec<&'r Device>,
}

/// What others say of a key.
#[derive(Default)]
struct Said {
    certain: Vec<String>,
    remarks: Vec<String>,
    allowed: BTreeSet<IpNet>,
    dialled: Option<String>,
}

impl<'r> World<'r> {
    /// Finds out who is who.
    pub fn new(hosts: &'r [Host], findings: &mut Findings) -> World<'r> {
        let said = said(hosts);
        let mut world = World { hosts, members: Vec::new(), by_key: BTreeMap::new(), templates: Vec::new() };
        let mut names = Names::default();
        let all = || hosts.iter().enumerate().flat_map(|(h, host)| (0..host.devices.len()).map(move |d| (h, d)));
        let mut used: BTreeSet<PublicKey> = all().filter_map(|(h, d)| hosts[h].devices[d].key()).collect();
        for (h, d) in all() {
            let (host, device) = (&hosts[h], &hosts[h].devices[d]);
            if device.peers.is_empty() && device.addresses.is_empty() {
                continue;
            }
            if device.is_template() {
                let what = format!("the host that {} makes", device_label(host, device));
                let why = "neither its key nor its address is known before it runs".to_owned();
                findings.push(Finding::new(Imported::Unexpressed { what, why }, device.place));
                world.templates.push(device);
                continue;
            }
            let key = match device.key() {
                Some(key) if world.by_key.contains_key(&key) => None,
                Some(key) => Some(key),
                None => keyless(host, device, &said, &used).or_else(|| across(hosts, device, &used)),
            };
            if let Some(key) = key {
                used.insert(key);
            }
            let wanted = station_name(host, d, key.and_then(|key| said.get(&key)));
            let name = names.unique(&wanted);
            let label = device_label(host, device);
            let addresses = one_per_family(&label, device, findings);
            if let Some(key) = key {
                world.by_key.insert(key, world.members.len());
            }
            world.members.push(Member { name, key, station: Some((h, d)), addresses });
        }
        for (key, said) in &said {
            if world.by_key.contains_key(key) {
                continue;
            }
            let name = names.unique(&said.name(key));
            world.by_key.insert(*key, world.members.len());
            world.members.push(Member { name, key: Some(*key), station: None, addresses: Vec::new() });
        }
        world.addresses_by_hearsay();
        world
    }

    /// The device of a member.
    pub fn device(&self, member: usize) -> Option<&'r Device> {
        let (h, d) = self.members[member].station?;
        Some(&self.hosts[h].devices[d])
    }

    /// Whether a member passes packets on, or may: nothing is known of one that was not read.
    pub fn forwards(&self, member: usize) -> bool {
        let host = self.members[member].station.map(|(host, _)| &self.hosts[host]);
        host.is_none_or(|host| [false, true].into_iter().any(|v6| host.forwarding(v6) == Some(true)))
    }

    /// Members with their devices, as far as these were read.
    pub fn stations(&self) -> impl Iterator<Item = (usize, &'r Device)> + '_ {
        (0..self.members.len()).filter_map(|at| Some((at, self.device(at)?)))
    }

    /// A device's peers with the members they are.
    pub fn peers(&self, device: &'r Device) -> impl Iterator<Item = (usize, &'r Peer)> + '_ {
        device.peers.iter().filter_map(|peer| Some((*self.by_key.get(&peer.key()?)?, peer)))
    }

    /// Which device became which member.
    pub fn taken(&self) -> Vec<Taken> {
        let of =
            |member: &Member| member.station.map(|(host, device)| Taken { host, device, name: member.name.clone() });
        self.members.iter().filter_map(of).collect()
    }

    /// Addresses of members whose own configuration does not say: single addresses that others allow them and nobody has.
    fn addresses_by_hearsay(&mut self) {
        let mut owned: BTreeSet<IpAddr> =
            self.members.iter().flat_map(|member| member.addresses.iter().copied()).collect();
        // A peer with few prefixes is more likely to be what they say than one that relays.
        let mut claims: Vec<(usize, bool, IpAddr, usize)> = Vec::new();
        for (_, device) in self.stations() {
            let near = |address: &IpAddr| device.addresses.iter().any(|net| net.value.trunc().contains(address));
            for (member, peer) in self.peers(device) {
                let singles =
                    peer.allowed.iter().filter(|prefix| prefix.value.prefix_len() == prefix.value.max_prefix_len());
                claims.extend(singles.map(|prefix| {
                    let address = prefix.value.addr();
                    (peer.allowed.len(), !near(&address), address, member)
                }));
            }
        }
        claims.sort();
        for (_, _, address, member) in claims {
            let own = &mut self.members[member].addresses;
            let has_family = own.iter().any(|other| other.is_ipv4() == address.is_ipv4());
            if !has_family && is_usable(address) && owned.insert(address) {
                own.push(address);
                own.sort();
            }
        }
    }
}

/// Link-local addresses are no overlay's.
pub(in crate::import) fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

fn said(hosts: &[Host]) -> BTreeMap<PublicKey, Said> {
    let mut all: BTreeMap<PublicKey, Said> = BTreeMap::new();
    for peer in hosts.iter().flat_map(|host| &host.devices).flat_map(|device| &device.peers) {
        let Some(key) = peer.key() else { continue };
        let said = all.entry(key).or_default();
        if let Some(name) = &peer.name {
            let list = if peer.name_is_certain { &mut said.certain } else { &mut said.remarks };
            list.push(name.value.clone());
        }
        said.allowed.extend(peer.allowed.iter().map(|prefix| prefix.value.trunc()));
        if let Some(endpoint) = &peer.endpoint
            && endpoint.value.text.contains(char::is_alphabetic)
            && !endpoint.value.text.contains(':')
        {
            said.dialled = endpoint.value.text.split('.').next().map(str::to_owned);
        }
    }
    all
}

impl Said {
    fn best(&self) -> Option<Name> {
        let names = self.certain.iter().chain(&self.remarks).chain(&self.dialled);
        names.filter_map(|name| Name::suggest(name)).next()
    }

    fn name(&self, key: &PublicKey) -> Name {
        self.best().unwrap_or_else(|| {
            let letters: String = key.to_string().chars().filter(char::is_ascii_alphanumeric).take(6).collect();
            Name::suggest(&format!("peer-{letters}")).expect("letters of base64 make a name")
        })
    }

    fn calls(&self, wanted: &Name) -> bool {
        self.certain.iter().chain(&self.remarks).any(|name| Name::suggest(name).as_ref() == Some(wanted))
    }
}

/// The key of a device that does not say it: the one that others know under its name, its address or its network.
fn keyless(
    host: &Host,
    device: &Device,
    said: &BTreeMap<PublicKey, Said>,
    used: &BTreeSet<PublicKey>,
) -> Option<PublicKey> {
    let own: BTreeSet<PublicKey> = device.peers.iter().filter_map(Peer::key).collect();
    let candidates = || said.iter().filter(|(key, _)| !used.contains(key) && !own.contains(key));
    let only = |fits: &dyn Fn(&Said) -> bool| {
        let mut fitting = candidates().filter(|(_, said)| fits(said));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(*first.0)
    };
    let wanted = Name::suggest(&host.name).filter(|_| host.named);
    let addresses: Vec<IpNet> = device.addresses.iter().map(|address| IpNet::from(address.value.addr())).collect();
    let networks: Vec<IpNet> = device.addresses.iter().map(|address| address.value.trunc()).collect();
    only(&|said| wanted.as_ref().is_some_and(|wanted| said.calls(wanted)))
        .or_else(|| only(&|said| addresses.iter().any(|address| said.allowed.contains(address))))
        .or_else(|| only(&|said| networks.iter().any(|network| said.allowed.contains(network))))
}

/// The key of a device whose one peer is a device with one peer: the two can only mean each other.
fn across(hosts: &[Host], device: &Device, used: &BTreeSet<PublicKey>) -> Option<PublicKey> {
    let [peer] = device.peers.as_slice() else { return None };
    let allows = |peer: &Peer, device: &Device| {
        let mut addresses = device.addresses.iter().map(|address| address.value.addr());
        addresses.any(|address| peer.allowed.iter().any(|prefix| prefix.value.contains(&address)))
    };
    let others = hosts.iter().flat_map(|host| &host.devices).filter(|other| !std::ptr::eq(*other, device));
    let mut keys = others.filter_map(|other| {
        let [back] = other.peers.as_slice() else { return None };
        let fits = other.key().is_none_or(|key| Some(key) == peer.key()) && allows(peer, other) && allows(back, device);
        back.key().filter(|key| fits && Some(*key) != peer.key() && !used.contains(key))
    });
    let first = keys.next()?;
    keys.next().is_none().then_some(first)
}

fn station_name(host: &Host, device: usize, said: Option<&Said>) -> Name {
    let own = Name::suggest(&host.name);
    let name = if host.named { own.clone().or_else(|| said?.best()) } else { said.and_then(Said::best).or(own) };
    let name = name.unwrap_or_else(|| Name::new("host").expect("a name"));
    if host.devices.len() > 1 {
        return Name::suggest(&format!("{name}-{}", host.devices[device].name)).unwrap_or(name);
    }
    name
}

/// Names that are taken, and per name the number that is tried next.
#[derive(Default)]
struct Names {
    taken: BTreeSet<Name>,
    next: BTreeMap<Name, usize>,
}

impl Names {
    /// The name that is wanted, with a number if it is taken.
    fn unique(&mut self, wanted: &Name) -> Name {
        if self.taken.insert(wanted.clone()) {
            return wanted.clone();
        }
        let start: String = wanted.as_str().chars().take(50).collect();
        let next = self.next.entry(wanted.clone()).or_insert(2);
        loop {
            let numbered = Name::suggest(&format!("{start}-{next}"));
            *next += 1;
            if let Some(name) = numbered.filter(|name| self.taken.insert(name.clone())) {
                return name;
            }
        }
    }
}

fn one_per_family(label: &str, device: &Device, findings: &mut Findings) -> Vec<IpAddr> {
    let mut kept: Vec<IpAddr> = Vec::new();
    for address in &device.addresses {
        let value = address.value.addr();
        if is_usable(value) && !kept.iter().any(|other| other.is_ipv4() == value.is_ipv4()) {
            kept.push(value);
        } else if !kept.contains(&value) {
            let what = format!("address {value} of {label}");
            let why = if is_usable(value) { "a member has one address of each family" } else { "it is link-local" };
            findings.push(Finding::new(Imported::Unexpressed { what, why: why.into() }, address.span));
        }
    }
    kept.sort();
    for peer in device.peers.iter().filter(|peer| peer.public_key.is_none()) {
        let what = format!("{} of {label}", peer_label(peer));
        findings.push(Finding::new(
            Imported::Unexpressed { what, why: "it has no key that can be read".into() },
            peer.place,
        ));
    }
    kept
}
