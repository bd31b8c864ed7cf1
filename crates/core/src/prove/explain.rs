//! One pair told in sentences: every hop with the prefix that decided it, and the first thing that stops a packet.
//!
//! Addresses of an end that are treated differently make stories of their own. The walks are those of the proof; nothing
//! is decided here, only told.

use std::net::IpAddr;

use ipnet::IpNet;

use super::hosts::{Host, Peer};
use super::reach::{Example, Proof, Sent, send};
use super::walk::{Drop, Outcome, Reason, Trace};
use crate::check::Span;

/// One packet's way, told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// The hosts it visits.
    pub hosts: Vec<String>,
    /// One sentence per step, what became of it last.
    pub steps: Vec<String>,
    /// Whether it arrives where it should.
    pub arrives: bool,
    /// What is to blame if it does not, where that is written.
    pub place: Option<Span>,
}

impl Proof {
    /// The hosts that packets from one end to another visit, by the first of their addresses.
    pub fn path(&self, from: usize, to: usize) -> Vec<u32> {
        let example = self.examples(from, to).into_iter().next();
        example.map_or_else(Vec::new, |example| self.walk_example(example).1.hosts)
    }

    /// The ways of packets from one end to another: one for each part of their addresses that is treated differently,
    /// those that don't arrive first.
    pub fn explain(&self, from: usize, to: usize) -> Vec<Story> {
        let mut stories: Vec<Story> = self.examples(from, to).into_iter().map(|example| self.story(example)).collect();
        stories.sort_by_key(|story| story.arrives);
        stories
    }

    /// All pairs of classes of a pair of ends.
    pub(super) fn examples(&self, from: usize, to: usize) -> Vec<Example> {
        let classes = |end: usize| self.tables.classes_of(&self.hosts.ends[end].prefixes);
        let (sources, destinations) = (classes(from), classes(to));
        let all = sources.iter().flat_map(|source| destinations.iter().map(move |destination| (*source, *destination)));
        let example = |(source, destination): (u32, u32)| {
            let both = self.tables.families[source as usize] & self.tables.families[destination as usize];
            let family = both.trailing_zeros() as u8;
            (both != 0).then_some(Example { from: from as u32, to: to as u32, source, destination, family })
        };
        all.filter_map(example).collect()
    }

    /// What becomes of one packet that a host sends or that comes to it from a LAN, and the hosts that it visits.
    pub fn fate(&self, host: u32, source: IpAddr, destination: IpAddr) -> (Outcome, Vec<u32>) {
        let class = |address| self.tables.class_of[self.tables.atoms.at(address)];
        let (mut trace, family) = (Trace::default(), usize::from(destination.is_ipv6()));
        let outcome = self.tables.walk(host, class(source), class(destination), family, &mut trace);
        (outcome, trace.hosts)
    }

    /// The hosts of each stray circle, and whether it is of IPv6.
    pub fn stray_ways(&self) -> Vec<(Vec<u32>, bool)> {
        let way = |example: &Example| (self.walk_example(*example).1.hosts, example.family == 1);
        self.stray_loops.iter().map(way).collect()
    }

    pub(super) fn walk_example(&self, example: Example) -> (Sent, Trace) {
        let mut trace = Trace::default();
        let (from, to) = (&self.hosts.ends[example.from as usize], &self.hosts.ends[example.to as usize]);
        let sent = send(&self.tables, (&from.at, &to.at), example, &mut trace);
        (sent, trace)
    }

    /// The hosts on an example's way, in words; a stray example is sent to its class and not to an end.
    pub(super) fn trace(&self, example: Example) -> String {
        let (_, trace) = self.walk_example(example);
        self.host_names(&trace).join(" > ")
    }

    fn host_names(&self, trace: &Trace) -> Vec<String> {
        trace.hosts.iter().map(|host| self.hosts.hosts[*host as usize].name.clone()).collect()
    }

    /// A source and a destination of an example, inside its ends where that is possible.
    pub(super) fn addresses(&self, example: Example) -> (IpAddr, IpAddr) {
        let address = |end: u32, class: u32| {
            let inside = self.hosts.ends[end as usize].prefixes.iter().flat_map(|prefix| self.tables.atoms.of(prefix));
            let fits = |atom: &usize| {
                self.tables.class_of[*atom] == class && self.tables.atoms.is_v4(*atom) == (example.family == 0)
            };
            let found = inside.into_iter().find(fits).or_else(|| (0..self.tables.atoms.len()).find(fits));
            let atom = found.unwrap_or_default();
            // The first address of a network is nobody's; the one after it looks better in a sentence.
            match (self.tables.atoms.first(atom), self.tables.atoms.last(atom)) {
                (first, last) if first == last => first,
                (IpAddr::V4(first), _) => IpAddr::V4(u32::from(first).saturating_add(1).into()),
                (IpAddr::V6(first), _) => IpAddr::V6(u128::from(first).saturating_add(1).into()),
            }
        };
        (address(example.from, example.source), address(example.to, example.destination))
    }

    fn story(&self, example: Example) -> Story {
        let (sent, trace) = self.walk_example(example);
        let (source, destination) = self.addresses(example);
        let mut steps = Vec::new();
        for (hop, peer) in trace.peers.iter().enumerate() {
            let entry = self.tables.peers[*peer as usize];
            let (host, next) = (&self.hosts.hosts[trace.hosts[hop] as usize], trace.hosts[hop + 1]);
            let next = &self.hosts.hosts[next as usize];
            let device = &host.devices[self.tables.device_no(entry.row)];
            let by = holding(&device.peers[self.tables.position(*peer)], destination);
            let by = by.map_or_else(String::new, |prefix| format!(", which has {prefix}"));
            steps.push(format!("{}: {destination} goes into {} to peer {}{by}", host.name, device.name, next.name));
            if entry.mirror != super::tables::NOBODY && self.tables.owner(entry.to, example.source) == entry.mirror {
                let device = &next.devices[self.tables.device_no(entry.to)];
                let by = holding(&device.peers[self.tables.position(entry.mirror)], source);
                let by = by.map_or_else(String::new, |prefix| format!(" by {prefix}"));
                steps.push(format!("{}: {source} is allowed for peer {}{by}", next.name, host.name));
            }
        }
        let last = trace.hosts.last().map_or("", |host| self.hosts.hosts[*host as usize].name.as_str());
        let to = &self.hosts.ends[example.to as usize].name;
        let place = match sent {
            Sent::Lost(Outcome::Dropped(drop)) => self.blamed(&drop),
            _ => None,
        };
        steps.push(match sent {
            Sent::Arrived => format!("{last}: delivered"),
            Sent::Elsewhere(_) => format!("{last}: takes it for its own, but it is for {to}"),
            Sent::Lost(Outcome::Dropped(drop)) => format!("{last}: dropped; {}", self.why(&drop, example)),
            Sent::Lost(_) => format!("{last}: sent in a circle"),
        });
        Story { source, destination, hosts: self.host_names(&trace), steps, arrives: sent == Sent::Arrived, place }
    }

    /// Where and why a packet was dropped, as a clause.
    pub(super) fn why(&self, drop: &Drop, example: Example) -> String {
        let (source, destination) = self.addresses(example);
        let host = &self.hosts.hosts[drop.host as usize];
        let name = &host.name;
        let device = drop.device.map(|device| &host.devices[device as usize]);
        let in_device = device.map_or("its device", |device| device.name.as_str());
        let entry = device.zip(drop.peer).map(|(device, peer)| &device.peers[peer as usize]);
        let peer = entry.map_or_else(|| "somebody".to_owned(), |entry| self.hosts.peer_name(entry));
        match drop.reason {
            Reason::NoRoute => format!("{name} has no route to {destination}"),
            Reason::Nowhere => format!("{name} routes {destination} out of what is known"),
            Reason::NoOwner => format!("{name} routes {destination} into {in_device}, where no peer is allowed it"),
            Reason::UnknownPeer => format!("{name} sends {destination} to {peer}, whose key no known host has"),
            Reason::NotKnown => format!("{name} sends {destination} to {peer}, where {name} is no peer"),
            Reason::NoEndpoint => format!("{name} and {peer} can't dial each other: neither has the other's endpoint"),
            Reason::Source => {
                let owner = self.owner_name(host, drop, source);
                format!("{name} does not allow {source} for peer {peer} in {in_device}, but {owner}")
            }
            Reason::ReversePath => format!("{name} routes {source} elsewhere than to {in_device}, and rp_filter is on"),
            Reason::NotForwarding => format!("{name} does not forward"),
            Reason::Refused => format!("the firewall of {name} refuses {source} to {destination}"),
        }
    }

    fn owner_name(&self, host: &Host, drop: &Drop, source: IpAddr) -> String {
        let peers = drop.device.map(|device| &host.devices[device as usize].peers);
        let owners = peers.into_iter().flatten().filter_map(|peer| Some((holding(peer, source)?.prefix_len(), peer)));
        let owner = owners.max_by_key(|(length, _)| *length);
        owner.map_or_else(|| "for nobody".to_owned(), |(_, peer)| format!("for {}", self.hosts.peer_name(peer)))
    }
}

/// The longest prefix of a peer that holds an address.
fn holding(peer: &Peer, address: IpAddr) -> Option<IpNet> {
    peer.allowed.iter().filter(|prefix| prefix.contains(&address)).max_by_key(|prefix| prefix.prefix_len()).copied()
}
