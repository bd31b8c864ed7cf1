//! Findings of a proof: each place that drops packets once, with a pair as an example and how many it concerns.
//!
//! Beside lost pairs: prefixes hijacked by a longer match (another peer would have delivered), and sources that a peer
//! could make up (prefixes allowed for a host that passes nothing on and does not have them).

mod beyond;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::reach::{Example, Proof, Sent, Tally, Verdict};
use super::tables::{NOBODY, Way};
use super::walk::{Drop, Outcome, Reason, Trace};
use crate::check::{Finding, Findings, Proven, Span};

/// Sources that a host believes of a peer without them being behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoofable {
    /// The host that believes it.
    pub host: u32,
    /// Its device.
    pub device: u32,
    /// The peer, by its position in the device.
    pub peer: u32,
    /// The sources, merged.
    pub prefixes: Vec<IpNet>,
}

impl Proof {
    /// Everything that is not as it should be.
    pub fn findings(&self) -> Findings {
        let mut findings = Findings::default();
        for (drop, tally, alike) in self.merged_drops() {
            findings.push(self.dropped(&drop, &tally, alike));
        }
        for (host, tally) in &self.elsewhere {
            let (from, to) = self.names(tally.first);
            let taker = self.hosts.hosts[*host as usize].name.clone();
            let kind = Proven::Elsewhere { from, to, pairs: tally.pairs, taker };
            let place = self.hosts.hosts[*host as usize].place;
            findings.push(Finding::new(kind, place).with_fix("Give each address to one host."));
        }
        self.others.iter().for_each(|(verdict, tally)| findings.push(self.other(*verdict, tally)));
        for example in &self.stray_loops {
            let (from, _) = self.names(*example);
            let kind = Proven::Circles { from, to: "addresses of nobody".into(), pairs: 1, path: self.trace(*example) };
            findings.push(Finding::new(kind, self.place_of(example.from)));
        }
        self.hijacks(&mut findings);
        for found in self.spoofable() {
            let (host, peer) = self.peer_names(found.host, found.device, found.peer);
            let place = self.peer_place(found.host, found.device, found.peer);
            let kind = Proven::Spoofable { host, peer, prefixes: found.prefixes };
            findings.push(Finding::new(kind, place).with_fix("Allow it only what it has."));
        }
        findings
    }

    /// Drops with how many other hosts drop for the same line: what one script makes of several hosts is told once.
    fn merged_drops(&self) -> Vec<(Drop, Tally, usize)> {
        let mut merged: Vec<(Drop, Tally, usize)> = Vec::new();
        let mut lines: BTreeMap<(Span, Reason, bool), (usize, BTreeSet<u32>)> = BTreeMap::new();
        for (drop, tally) in &self.drops {
            // Only what a peer's own line is to blame for; a host as a whole may lack several things.
            let Some(place) = self.blamed(drop).filter(|_| drop.peer.is_some()) else {
                merged.push((*drop, *tally, 0));
                continue;
            };
            let (at, hosts) = lines
                .entry((place, drop.reason, self.is_at_source(drop, tally)))
                .or_insert((merged.len(), BTreeSet::new()));
            hosts.insert(drop.host);
            match merged.get_mut(*at) {
                Some((_, all, alike)) => (all.pairs, *alike) = (all.pairs + tally.pairs, hosts.len() - 1),
                None => merged.push((*drop, *tally, 0)),
            }
        }
        merged
    }

    fn is_at_source(&self, drop: &Drop, tally: &Tally) -> bool {
        self.hosts.ends[tally.first.from as usize].at.contains(&drop.host)
    }

    fn dropped(&self, drop: &Drop, tally: &Tally, alike: usize) -> Finding {
        let (from, to) = self.names(tally.first);
        let mut why = self.why(drop, tally.first);
        match alike {
            0 => {}
            1 => why += ", and another host that has this line does the same",
            _ => why += &format!(", and {alike} other hosts that have this line do the same"),
        }
        let pairs = tally.pairs;
        let kind = if self.is_at_source(drop, tally) {
            Proven::NoWay { from, to, pairs, why }
        } else {
            Proven::BlackHole { from, to, pairs, why }
        };
        Finding::new(kind, self.blamed(drop)).with_fix(match drop.reason {
            Reason::NoRoute | Reason::NoOwner => "Allow the destination for the peer that can carry it, and route it.",
            Reason::Nowhere => "Remove the route, or lead it into a device.",
            Reason::UnknownPeer => "Correct the public key, or add the host that has it.",
            Reason::NotKnown => "Add the missing peer at the other end.",
            Reason::NoEndpoint => "Give one of the two an endpoint of the other.",
            Reason::Source => "Allow the source for the peer it comes from.",
            Reason::ReversePath => "Turn strict rp_filter off, or route the source back the same way.",
            Reason::NotForwarding => "Turn forwarding on, or send it another way.",
            Reason::Refused => "Let the firewall accept it.",
        })
    }

    fn other(&self, verdict: Verdict, tally: &Tally) -> Finding {
        let (from, to) = self.names(tally.first);
        let pairs = tally.pairs;
        let place = self.place_of(tally.first.from);
        match verdict {
            Verdict::Asymmetric => {
                let back = self.trace(tally.first.reversed());
                Finding::new(Proven::Asymmetric { from, to, pairs, there: self.trace(tally.first), back }, place)
            }
            Verdict::NotApart => {
                let finding = Finding::new(Proven::NotApart { from, to, pairs }, place);
                finding.with_fix("Keep them apart with a firewall on the hub.")
            }
            Verdict::NotDenied | Verdict::Curtailed => self.policy(verdict, tally),
            Verdict::Circles => Finding::new(Proven::Circles { from, to, pairs, path: self.trace(tally.first) }, place),
            _ => {
                let drop = self.lost_answer(tally.first);
                let why =
                    drop.map_or_else(|| "sent elsewhere".to_owned(), |drop| self.why(&drop, tally.first.reversed()));
                let place = drop.and_then(|drop| self.blamed(&drop)).or(place);
                Finding::new(Proven::OneWay { from, to, pairs, why }, place)
                    .with_fix("Allow and route the source where the answer is dropped.")
            }
        }
    }

    /// Where what drops a packet is written: the peer, or else the host.
    pub(in crate::prove) fn blamed(&self, drop: &Drop) -> Option<Span> {
        match (drop.device, drop.peer) {
            (Some(device), Some(peer)) => self.peer_place(drop.host, device, peer),
            _ => self.hosts.hosts[drop.host as usize].place,
        }
    }

    /// Ports that get through and should not, or the other way round.
    fn policy(&self, verdict: Verdict, tally: &Tally) -> Finding {
        let (from, to) = self.names(tally.first);
        let pairs = tally.pairs;
        let (a, b) = (tally.first.from as usize, tally.first.to as usize);
        let (passes, wanted) = (self.passes(a, b), self.wanted(a, b));
        let place = self.place_of(tally.first.to);
        if verdict == Verdict::NotDenied {
            let ports = passes.without(&wanted).to_string();
            let fix = "Give the destination, or every node at which the source comes in, a firewall.";
            return Finding::new(Proven::NotDenied { from, to, pairs, ports }, place).with_fix(fix);
        }
        let ports = wanted.without(&passes).to_string();
        Finding::new(Proven::Curtailed { from, to, pairs, ports }, place)
    }

    fn names(&self, example: Example) -> (String, String) {
        let name = |end: u32| self.hosts.ends[end as usize].name.clone();
        (name(example.from), name(example.to))
    }

    fn place_of(&self, end: u32) -> Option<Span> {
        let host = self.hosts.ends[end as usize].at.first()?;
        self.hosts.hosts[*host as usize].place
    }

    fn peer_place(&self, host: u32, device: u32, peer: u32) -> Option<Span> {
        let host = &self.hosts.hosts[host as usize];
        let written = host.devices[device as usize].peers[peer as usize].written.as_ref();
        written.and_then(|written| written.place).or(host.place)
    }

    fn peer_names(&self, host: u32, device: u32, peer: u32) -> (String, String) {
        let host = &self.hosts.hosts[host as usize];
        (host.name.clone(), self.hosts.peer_name(&host.devices[device as usize].peers[peer as usize]))
    }

    /// For each dropped or misdirected example, a peer with a shorter prefix that would have delivered it.
    fn hijacks(&self, findings: &mut Findings) {
        let examples = self.drops.values().chain(self.elsewhere.values()).map(|tally| tally.first);
        let mut seen = std::collections::BTreeSet::new();
        for example in examples {
            let (sent, trace) = self.walk_example(example);
            // A packet that a host could not even send has left no trace of the peer it was for.
            let unsent = match sent {
                Sent::Lost(Outcome::Dropped(drop)) if trace.hosts.last() == Some(&drop.host) => {
                    self.tables.peer_of(&drop)
                }
                _ => None,
            };
            for peer in trace.peers.iter().chain(&unsent) {
                let Some(other) = self.better(*peer, example) else { continue };
                if seen.insert((*peer, other)) {
                    findings.extend(self.hijack(*peer, other, example));
                }
            }
        }
    }

    /// Another peer of the same device whose prefix holds the destination, and over which it would arrive.
    fn better(&self, taker: u32, example: Example) -> Option<u32> {
        let row = self.tables.peers[taker as usize].row;
        let mut trace = Trace::default();
        let arrives = |other: &u32| {
            let entry = self.tables.peers[*other as usize];
            if *other == taker || entry.mirror == NOBODY || !entry.alive || self.holding(*other, example).is_none() {
                return false;
            }
            let host = self.tables.devices[entry.to as usize].host;
            let family = usize::from(example.family);
            self.tables.owner(entry.to, example.source) == entry.mirror
                && self.tables.walk(host, example.source, example.destination, family, &mut trace) == Outcome::Delivered
                && trace.hosts.last().is_some_and(|last| self.hosts.ends[example.to as usize].at.contains(last))
        };
        self.tables.peers_of(row).find(arrives)
    }

    /// The longest prefix of a peer that holds an example's destination.
    fn holding(&self, peer: u32, example: Example) -> Option<IpNet> {
        let (_, destination) = self.addresses(example);
        let (host, device, at) = self.place_in_hosts(peer);
        let allowed = &self.hosts.hosts[host as usize].devices[device as usize].peers[at as usize].allowed;
        let holding = allowed.iter().filter(|prefix| prefix.contains(&destination));
        holding.max_by_key(|prefix| prefix.prefix_len()).copied()
    }

    fn place_in_hosts(&self, peer: u32) -> (u32, u32, u32) {
        let row = self.tables.peers[peer as usize].row;
        let host = self.tables.devices[row as usize].host;
        (host, self.tables.device_no(row) as u32, self.tables.position(peer) as u32)
    }

    fn hijack(&self, taker: u32, other: u32, example: Example) -> Findings {
        let mut findings = Findings::default();
        let (Some(prefix), Some(wider)) = (self.holding(taker, example), self.holding(other, example)) else {
            return findings;
        };
        let ((host, device, at), (.., other_at)) = (self.place_in_hosts(taker), self.place_in_hosts(other));
        let ((name, taker), (_, other)) = (self.peer_names(host, device, at), self.peer_names(host, device, other_at));
        let (_, to) = self.names(example);
        let kind = Proven::Hijacked { host: name, prefix, taker, wider, other, to };
        let fix = "Take the longer prefix away from the peer that does not deliver.";
        let finding = Finding::new(kind, self.peer_place(host, device, at)).with_fix(fix);
        findings.push(match self.peer_place(host, device, other_at) {
            Some(place) => finding.with_related(place, "this one would deliver"),
            None => finding,
        });
        findings
    }

    /// Sources that hosts believe of peers which pass nothing on and don't have them.
    pub fn spoofable(&self) -> Vec<Spoofable> {
        let mut found = Vec::new();
        for (row, device) in self.tables.devices.iter().enumerate() {
            let mut by_peer: std::collections::BTreeMap<u32, Vec<u32>> = std::collections::BTreeMap::new();
            for class in 0..self.tables.classes as u32 {
                let peer = self.tables.owner(row as u32, class);
                if peer == NOBODY || self.tables.peers[peer as usize].to == NOBODY {
                    continue;
                }
                let to = self.tables.devices[self.tables.peers[peer as usize].to as usize].host;
                let passes_on = self.tables.forwards(to, 0) || self.tables.forwards(to, 1);
                let behind = || matches!(self.tables.way(to, class, class), Way::Own | Way::Lan);
                let own = || self.tables.way(device.host, class, class) == Way::Own;
                if !passes_on && !behind() && !own() {
                    by_peer.entry(peer).or_default().push(class);
                }
            }
            for (peer, classes) in by_peer {
                let inside = |atom: &usize| classes.binary_search(&self.tables.class_of[*atom]).is_ok();
                let prefixes = self.tables.atoms.prefixes((0..self.tables.atoms.len()).filter(inside));
                let (host, device, peer) = self.place_in_hosts(peer);
                found.push(Spoofable { host, device, peer, prefixes });
            }
        }
        found
    }
}
