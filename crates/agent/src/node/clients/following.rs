//! Clients that are with other entry nodes than before: their prefixes move at once, and nothing else is touched.
//!
//! What changes in the node's part and on the host is worked out in `core` ([`Moves`], [`follow`]), prefix by prefix, whatever the
//! number of clients; where that can't be done, or many move at a time, everything is planned anew and compared. Either way there
//! is no look at the host, which a reconciliation makes up for later: it finds nothing to do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use wayleave_core::host::{Actual, Backend, Change, PeerRef, diff, expected_of, follow};
use wayleave_core::names::Name;
use wayleave_core::plan::Moves;

use crate::node::agent::Agent;
use crate::node::{Weight, log};
use crate::system::clock::monotonic_us;

/// Moves are made up for by a reconciliation after this time.
const MAKE_UP: Duration = Duration::from_secs(1);
/// A look at the whole host may take this share of the time at most: where there is a move every second, each has one to follow.
const MAKE_UP_SHARE: u32 = 50;
/// Clients that move at a time, beyond which planning anew is the cheaper way: at the start, or when a server dies.
const FOLLOWED_MAX: usize = 256;

/// Prefixes of a network up to which packets that take the detour over a client's earlier server are let in.
const DETOUR_PREFIXES_MAX: usize = 1_024;

/// Whether moves can be followed prefix by prefix.
#[derive(Debug, Default)]
pub(super) enum Following {
    /// Not known yet: the part has just been planned.
    #[default]
    Unknown,
    /// The part has not been planned with the present claims.
    Behind,
    /// Prefixes lie so that each move is planned anew, until the file or a link changes.
    Never,
    /// By this.
    By(Box<Moves>),
}

impl Agent {
    /// Clients are with other entry nodes than before: their prefixes move at once.
    pub(in crate::node) fn move_clients(&mut self, changed: Vec<(Name, Option<Name>)>) {
        let carries = self.failover.is_device_there && !self.wanted.devices.is_empty();
        if carries && matches!(self.clients.following, Following::Unknown) && changed.len() <= FOLLOWED_MAX {
            self.clients.following = self.following();
        }
        let left: Vec<Option<Name>> = changed.iter().map(|(client, _)| self.claims.of(client).cloned()).collect();
        for (client, server) in &changed {
            let words = match server {
                Some(server) if *server == self.part.name => format!("{client} is here"),
                Some(server) => format!("{client} is with {server}"),
                None => format!("{client} is with nobody"),
            };
            log(Weight::Notice, &words);
            if self.claims.of(client) == Some(&self.part.name) && server.is_some() {
                self.note_gone(client);
                let left = self.client_key(client).map(|key| (key, Instant::now()));
                self.clients.left.extend(left);
            }
            self.claims.set(client, server.as_ref());
        }
        if !carries {
            self.clients.following = Following::Behind;
            return;
        }
        let came = changed.iter().zip(&left).filter(|((_, server), _)| server.as_ref() == Some(&self.part.name));
        let detours = self.detours(&came.filter_map(|(_, left)| left.as_ref()).collect());
        let changes = self.follow_moves(&changed).or_else(|| self.plan_moves());
        let changes = changes.map(|changes| detours.into_iter().chain(changes).collect::<Vec<_>>());
        let done = changes.is_some_and(|changes| self.reconciler.expect(&changes).is_ok());
        for ((client, server), left) in changed.iter().zip(&left).filter(|_| done) {
            let came = server.as_ref() == Some(&self.part.name);
            self.clients.moves.handle_followed(client, (left.as_ref(), server.as_ref()), came, monotonic_us());
        }
        let make_up = if done { MAKE_UP.max(self.look_took * MAKE_UP_SHARE) } else { Duration::ZERO };
        self.look_at = self.look_at.min(Instant::now() + make_up);
    }

    /// What is to be known for that. The part is planned with the present states and claims.
    fn following(&self) -> Following {
        let known = (&self.states, &self.claims);
        let moves = Moves::new(&self.plan, known, &self.part, &self.intended.routes);
        moves.map_or(Following::Never, |moves| Following::By(Box::new(moves)))
    }

    /// What lets in packets for clients that have just come: who has not heard of it yet sends to the server where they were,
    /// which passes it on to this one. So for a moment those servers may send from everything, as relays may.
    fn detours(&self, before: &BTreeSet<&Name>) -> Vec<Change> {
        if self.reconciler.backend() != Backend::Engine || self.part.routes.len() > DETOUR_PREFIXES_MAX {
            return Vec::new();
        }
        let peers = self.part.peers.iter().filter(|peer| before.contains(&peer.name));
        let with_key = peers.filter_map(|peer| Some(PeerRef { key: peer.public_key?, name: Some(peer.name.clone()) }));
        let device = &self.part.device;
        let expect =
            |peer: PeerRef, prefix: &IpNet| Change::ExpectPrefix { device: device.clone(), peer, prefix: *prefix };
        with_key.flat_map(|peer| self.part.routes.iter().map(move |prefix| expect(peer.clone(), prefix))).collect()
    }

    /// The changes of single prefixes; none if they can't be told.
    fn follow_moves(&mut self, changed: &[(Name, Option<Name>)]) -> Option<Vec<Change>> {
        let Following::By(moves) = &mut self.clients.following else { return None };
        if changed.len() > FOLLOWED_MAX {
            return None;
        }
        let moved = moves.follow(&mut self.part, changed)?;
        let network = &self.reading.network;
        let is_relay = |name: &Name| network.find_node(name).is_some_and(|node| network.node(node).hub);
        let mut changes = expected_of(&self.wanted, &self.part, &moved, is_relay);
        changes.extend(follow(&mut self.wanted, &self.part, &moved)?);
        self.is_plan_old = true;
        Some(changes)
    }

    /// The changes that planning everything anew leads to.
    fn plan_moves(&mut self) -> Option<Vec<Change>> {
        let is_never = matches!(self.clients.following, Following::Never);
        self.plan_anew();
        if is_never {
            self.clients.following = Following::Never;
        }
        self.let_in(&self.part.clone());
        let mut next = self.reconciler.fit(self.wanted_of(&self.part));
        let before = std::mem::take(&mut self.wanted);
        self.narrow(&mut next, &before);
        // Nobody else changes what is ours: a look at the whole host would take longer than the move.
        let present = Actual { state: before.clone(), ..Actual::default() };
        let changes = diff(&present, &next, Some(&before)).ok();
        self.wanted = next;
        changes
    }
}
