//! What a node does about clients: claims them as an entry server, and takes up what others claim.
//!
//! Signs of clients come in through [`super::Event`]; [`super::claims::server`] decides what is to be stated, the exchange
//! spreads it, and [`super::claims`] keeps who has whom. A node that is no entry server only takes up what others claim.

use super::claims::server::{Holder, Sign, Step};
use super::exchange::record::Key;
use super::{Node, Time};
use crate::names::Name;
use crate::plan::Claims;

impl Node {
    /// With which server each client is. To be asked after [`super::Output::Claims`].
    pub fn claims(&self) -> &Claims {
        self.whereabouts.claims()
    }

    /// How many clients are with this server. A server that drains is empty when there are none.
    pub fn held(&self) -> usize {
        self.server.held()
    }

    /// Whether clients are to go elsewhere.
    pub fn is_draining(&self) -> bool {
        self.server.is_draining()
    }

    /// Clients whose server can't be reached from here, as far as is known of all links, each with it: nobody has claimed them
    /// since, so nobody can reach them.
    pub fn lost_clients(&self) -> impl Iterator<Item = (&Name, &Name)> {
        let reached = self.around.reached();
        self.claims().iter().filter(move |(_, server)| !reached.contains(server))
    }

    /// A sign of a client on the clients device.
    pub(super) fn handle_client(&mut self, client: Name, sign: Sign, now: Time) {
        if self.is_leaving || !self.around.is_entry(self.around.own()) || !self.around.is_claimable(&client) {
            return;
        }
        if !self.handout.has_begun() {
            self.server.wait(client, sign);
            return;
        }
        let is_new = self.whereabouts.has_just_moved(&client, now);
        self.act_on(&client, sign, is_new, now);
    }

    /// The node has looked around: what it has seen of clients until now is acted on. Packets over an old session may have come
    /// before the client went to another server.
    pub(super) fn begin_clients(&mut self, now: Time) {
        for (client, sign) in self.server.take_waiting() {
            self.act_on(&client, sign, true, now);
        }
    }

    /// Acts on a sign of a client; `is_new` is whether another server may have it for so short a time that the sign is older.
    fn act_on(&mut self, client: &Name, sign: Sign, is_new: bool, now: Time) {
        let holder = match self.claims().of(client) {
            Some(server) if server == self.around.own() => Holder::Own,
            Some(_) => Holder::Other { is_new },
            None => Holder::Nobody,
        };
        match self.server.handle(client, sign, holder, now) {
            Some(Step::Claim) => self.claim(client, true, now),
            Some(Step::Release) => self.claim(client, false, now),
            None => {}
        }
    }

    /// A claim that is new here has come from others.
    pub(super) fn handle_client_news(&mut self, client: &Name, now: Time) {
        if let Some(claim) = self.exchange.records().claim(client) {
            self.counters.remembered += u64::from(claim.server == *self.around.own());
            self.counters.unentitled += u64::from(!self.around.is_entry(&claim.server));
        }
        self.update_client(client, true, now);
    }

    /// Lets clients go that have been silent for too long.
    pub(super) fn release_silent(&mut self, now: Time) {
        for client in self.server.silent(now) {
            self.claim(&client, false, now);
        }
    }

    /// The program ends. Who drains lets everybody go, since there is nobody who could do it later.
    pub(super) fn release_for_good(&mut self, now: Time) {
        if self.server.is_draining() {
            self.release_all(now);
        }
    }

    /// Another network file is in force, and records have been adapted to it.
    pub(super) fn adopt_clients(&mut self, now: Time) {
        if !self.around.is_entry(self.around.own()) {
            self.release_all(now);
        }
        let before: Vec<Name> = self.claims().iter().map(|(client, _)| client.clone()).collect();
        let keys = self.exchange.records().keys();
        let known = keys.filter_map(|key| if let Key::Client(client) = key { Some(client.clone()) } else { None });
        let known: Vec<Name> = known.collect();
        for client in before.iter().chain(&known) {
            self.update_client(client, true, now);
        }
    }

    fn release_all(&mut self, now: Time) {
        let all: Vec<Name> = self.server.all().filter(|client| self.around.is_claimable(client)).cloned().collect();
        for client in all {
            self.claim(&client, false, now);
        }
    }

    /// States that a client is with this server, or no longer.
    fn claim(&mut self, client: &Name, held: bool, now: Time) {
        if self.exchange.claim(client, held, &self.around, now) {
            self.counters.claims += 1;
            self.update_client(client, false, now);
            self.refresh_all();
        }
    }

    /// Takes up what is known of a client. A claim of a node that is no entry server is one of nobody.
    fn update_client(&mut self, client: &Name, is_remembered: bool, now: Time) {
        let claim = self.exchange.records().claim(client).filter(|_| self.around.is_claimable(client));
        let server = claim.filter(|claim| claim.held && self.around.is_entry(&claim.server)).map(|claim| &claim.server);
        self.whereabouts.set(client, server, now);
        if server == Some(self.around.own()) {
            self.server.hold(client, is_remembered, now);
        } else {
            self.server.lose(client);
        }
    }
}
