//! Clients that move between entry servers: what they do, what servers see of it, and who believes to have whom.
//!
//! A client sends to one server at a time, wherever the internet takes its packets. It makes a handshake where it has no session,
//! every two minutes, and sends packets in between. Servers see that through a device that is read every 200 ms, and only while
//! their agents run; the device goes on without. Each belief of a server to have a client is noted, and how long two of them
//! had the same one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::names::Name;
use wayleave_core::network::Network;
use wayleave_core::node::Event;
use wayleave_core::node::claims::drain::Way;
use wayleave_core::node::handover::{Offer, Place};

use crate::random::{Dice, read};
use crate::wire::{MS, S};
use crate::world::{What, World};

/// A full mesh of entry servers in regions far apart, with names and addresses of which each is a part of others, and clients of
/// such names.
pub fn servers(count: usize, clients: usize, seed: u64) -> Arc<Network> {
    servers_with(count, clients, seed, "")
}

/// The same with more in the file.
pub fn servers_with(count: usize, clients: usize, seed: u64, more: &str) -> Arc<Network> {
    let mut dice = Dice(seed);
    let mut text = String::from("[network]\nname = \"roaming\"\nprefixes = [\"10.48.0.0/12\"]\nplatform = \"agent\"\n");
    text.push_str("[entry]\nendpoint = \"203.0.113.1\"\n");
    (0..4).for_each(|region| writeln!(text, "[regions.r{region}]").expect("strings take everything"));
    for server in 1..=count {
        let (region, hub) = (dice.roll(4), server <= 3);
        let _ = writeln!(
            text,
            "[nodes.s{server}]\nregion = \"r{region}\"\nendpoint = \"198.51.{}.{}:51820\"\nhub = {hub}\nentry = true\naddress = \"10.50.{}.{}\"",
            server / 250,
            server % 250,
            server / 250,
            server % 250
        );
    }
    for client in 1..=clients {
        let _ = writeln!(text, "[clients.c{client}]");
    }
    text.push_str("[[links]]\nmesh = [\"*\"]\n[rtt_ms]\n");
    for region in 0..4 {
        let _ = write!(text, "r{region} = {{ r{region} = {}", 2 + dice.roll(30));
        (region + 1..4).for_each(|other| {
            let _ = write!(text, ", r{other} = {}", 40 + dice.roll(220));
        });
        text.push_str(" }\n");
    }
    text.push_str(more);
    Arc::new(read(&text))
}

/// A client.
pub struct Roamer {
    pub name: Name,
    /// The server that its packets come to.
    pub at: Option<usize>,
    /// Whether it is behind a NAT that lets in nothing but answers.
    pub is_behind_nat: bool,
    /// Between two packets of it.
    pub every_us: u64,
    /// Servers that it has a session with, since when.
    sessions: BTreeMap<usize, u64>,
    /// Counts moves, so that what was planned before one is void.
    moves: u64,
}

/// All clients, and who believes to have them.
#[derive(Default)]
pub struct Roamers {
    pub all: Vec<Roamer>,
    numbers: BTreeMap<Name, usize>,
    /// The servers that believe to have each client.
    owners: Vec<BTreeSet<usize>>,
    /// Clients that two believe to have, since when.
    disputed: BTreeMap<usize, u64>,
    /// When anything else happened last than clients that move: until then servers may not have been able to talk.
    pub disturbed_at: u64,
    /// For how long clients were disputed by servers that could talk, each with the time of the end and the client.
    pub disputes: Vec<(u64, u64, usize)>,
    /// When anybody last changed its mind about each client.
    pub settled_at: Vec<u64>,
    /// When a server last began to believe that it has each client.
    claimed_at: Vec<u64>,
}

impl Roamers {
    /// How long it took until everybody knew of a client's last move, from when its new server did.
    pub fn spread_us(&self, client: usize) -> u64 {
        self.settled_at[client].saturating_sub(self.claimed_at[client])
    }
}

impl World {
    /// Adds a client that is nowhere yet; it sends so often.
    pub fn roamer(&mut self, name: &str, every_us: u64) -> usize {
        let (name, number) = (Name::new(name).unwrap(), self.roamers.all.len());
        self.roamers.numbers.insert(name.clone(), number);
        self.roamers.owners.push(BTreeSet::new());
        self.roamers.settled_at.push(0);
        self.roamers.claimed_at.push(0);
        let roamer = Roamer { name, at: None, is_behind_nat: false, every_us, sessions: BTreeMap::new(), moves: 0 };
        self.roamers.all.push(roamer);
        number
    }

    /// From now on a client's packets come to another server, or to none. The next one is sent so much later.
    pub fn rove(&mut self, client: usize, to: Option<usize>, after_us: u64) {
        let roamer = &mut self.roamers.all[client];
        roamer.at = to;
        roamer.moves += 1;
        let moves = roamer.moves;
        self.put(self.now + after_us, What::Roamer(client, moves));
    }

    /// A client sends a packet.
    pub fn roamer_sends(&mut self, client: usize, moves: u64) {
        let now = self.now;
        let roamer = &mut self.roamers.all[client];
        let Some(at) = roamer.at.filter(|_| roamer.moves == moves) else { return };
        let every_us = roamer.every_us;
        if self.hosts[at].runs {
            let is_new = roamer.sessions.get(&at).is_none_or(|since| now - since >= 120 * S);
            if is_new {
                roamer.sessions.insert(at, now);
            }
            // A round trip for the handshake, and the device is read every 200 ms.
            let seen = 5 * MS + self.dice.roll(if is_new { 60 * MS } else { 1 }) + self.dice.roll(200 * MS);
            self.put(now + seen, What::Sign { at, client, is_new });
        }
        let wait = every_us / 2 + self.dice.roll(every_us);
        self.put(now + wait, What::Roamer(client, moves));
    }

    /// A server sees that a client has sent something.
    pub fn roamer_is_seen(&mut self, at: usize, client: usize, is_new: bool) {
        if !self.hosts[at].runs {
            return;
        }
        let client = self.roamers.all[client].name.clone();
        self.tell(at, if is_new { Event::ClientHere { client } } else { Event::ClientHeard { client } });
    }

    /// A server is to have another one call a client: its device knows where that is.
    pub fn hand_over(&mut self, at: usize, client: Name, to: Name, way: Way) {
        let place = match way {
            Way::Direct => Place::At(([203, 0, 113, 77], 1234).into()),
            Way::Relayed => Place::Port(7),
        };
        self.hear(at, Event::Offer { to, offer: Offer { client, place, seen: None } });
    }

    /// A server calls a client that another one offers. Whoever it reaches answers, and sends its packets there from now on.
    pub fn call_roamer(&mut self, at: usize, offer: &Offer) {
        let client = self.roamers.numbers[&offer.client];
        let (now, roamer) = (self.now, &mut self.roamers.all[client]);
        let is_reached = matches!(offer.place, Place::Port(_)) || !roamer.is_behind_nat;
        if roamer.at.is_some() && is_reached {
            roamer.at = Some(at);
            roamer.sessions.insert(at, now);
            let seen = 5 * MS + self.dice.roll(60 * MS);
            self.put(now + seen, What::Sign { at, client, is_new: true });
        }
    }

    /// A host with its device, or its agent, is gone.
    pub fn forget_roamers(&mut self, host: usize, device_too: bool) {
        if device_too {
            for roamer in &mut self.roamers.all {
                roamer.sessions.remove(&host);
            }
        }
        for client in 0..self.roamers.all.len() {
            self.believe(host, client, false);
        }
    }

    /// An agent says who is where.
    pub fn take_claims(&mut self, host: usize, changed: &[(Name, Option<Name>)]) {
        for (client, server) in changed {
            let Some(client) = self.roamers.numbers.get(client).copied() else { continue };
            self.roamers.settled_at[client] = self.now;
            let is_own = server.as_ref() == Some(&self.hosts[host].name);
            self.believe(host, client, is_own);
        }
    }

    fn believe(&mut self, host: usize, client: usize, is_own: bool) {
        let (now, roamers) = (self.now, &mut self.roamers);
        let owners = &mut roamers.owners[client];
        let before = owners.clone();
        let changed = if is_own { owners.insert(host) } else { owners.remove(&host) };
        if !changed {
            return;
        }
        if is_own {
            roamers.claimed_at[client] = now;
        }
        if owners.len() > 1 {
            roamers.disputed.entry(client).or_insert(now);
        } else if let Some(since) = roamers.disputed.remove(&client) {
            let lasted = now.saturating_sub(since.max(roamers.disturbed_at));
            if self.can_talk(&before) {
                self.roamers.disputes.push((lasted, now, client));
            }
        }
    }

    /// Whether messages can get from one of these hosts to all others, over whatever agents.
    fn can_talk(&self, hosts: &BTreeSet<usize>) -> bool {
        let Some(first) = hosts.first() else { return true };
        let lives = |at: usize| self.hosts[at].runs && self.hosts[at].agent.is_some();
        let (mut reached, mut next) = (BTreeSet::from([*first]), vec![*first]);
        while let Some(at) = next.pop() {
            let wires = self.wires.iter().filter(|wire| wire.works() && wire.gone == [false; 2]);
            let others =
                wires.filter_map(|wire| wire.ends.iter().position(|end| *end == at).map(|end| wire.ends[1 - end]));
            next.extend(others.filter(|other| lives(*other) && reached.insert(*other)));
        }
        hosts.is_subset(&reached)
    }

    /// Clients that two servers believe to have at this moment.
    pub fn disputed(&self) -> Vec<&str> {
        self.roamers.disputed.keys().map(|client| self.roamers.all[*client].name.as_str()).collect()
    }

    /// What a host believes of a client.
    pub fn server_of(&self, host: usize, client: usize) -> Option<usize> {
        let agent = self.hosts[host].agent.as_ref()?;
        let server = agent.claims().of(&self.roamers.all[client].name)?;
        Some(self.find(server.as_str()))
    }
}
