//! What a node does about clients: claims them as an entry server, and takes up what others claim.
//!
//! Signs of clients come in through [`super::Event`]; [`super::claims::server`] decides what is to be stated, the exchange
//! spreads it, and [`super::claims`] keeps who has whom. A node that is no entry server only takes up what others claim.

use std::time::Duration;

use super::claims::drain;
use super::claims::routes::{Routes, Told};
use super::claims::server::{Holder, Sign, Step};
use super::exchange::record::Key;
use super::exchange::wire::Part;
use super::handover::Offer;
use super::links::{Due, Health};
use super::{Node, Output, Time};
use crate::limits::{CLAIMS_TOLD_MS_MAX, EXCHANGE_GENERATION_MAX, OFFERS_PER_S};
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
        if !self.is_in_step() {
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
            // Who was let go a moment ago still counts as being here.
            Some(server)
                if server == self.around.own() && self.routes.as_ref().is_some_and(|all| !all.holds(client)) =>
            {
                Holder::Nobody
            }
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

    /// What BGP holds for the best of others' claims of a client has changed, or one of this node's own past is there.
    pub(super) fn handle_route(&mut self, client: &Name, told: Option<Told>, now: Time) {
        let Some(routes) = self.routes.as_mut().filter(|_| self.around.is_claimable(client)) else { return };
        if told.as_ref().is_some_and(|told| told.epoch > EXCHANGE_GENERATION_MAX) {
            self.exchange.refused += 1;
            return;
        }
        let own = self.around.own();
        let (lost, is_own) = match told {
            Some(told) if told.server == *own => (!routes.recall(client, told.epoch, own, now), true),
            told => (routes.hear(client, told, own, now), false),
        };
        self.counters.remembered += u64::from(is_own && !lost);
        if lost {
            self.outputs.push_back(Output::Originate { client: client.clone(), epoch: None });
        }
        self.update_client(client, is_own, now);
    }

    /// Others' claims are here, or have been waited for long enough.
    pub(super) fn begin_routes(&mut self, now: Time) {
        let is_new = self.routes.as_mut().is_some_and(|routes| !std::mem::replace(&mut routes.is_told, true));
        if is_new {
            self.follow_sites(now);
        }
        if is_new && self.is_in_step() {
            self.begin_clients(now);
        }
    }

    /// When something is to be done about claims that BGP carries.
    pub(super) fn routes_wake(&self) -> Time {
        let Some(routes) = &self.routes else { return Time::NEVER };
        let told_at = self.started.plus(Duration::from_millis(CLAIMS_TOLD_MS_MAX));
        if routes.is_told { routes.wake() } else { routes.wake().min(told_at) }
    }

    /// Does it.
    pub(super) fn step_routes(&mut self, now: Time) {
        let faded = self.routes.as_mut().map_or_else(Vec::new, |routes| routes.faded(now));
        faded.iter().for_each(|client| self.update_client(client, false, now));
        if self.routes.as_ref().is_some_and(|routes| !routes.is_told)
            && self.started.plus(Duration::from_millis(CLAIMS_TOLD_MS_MAX)) <= now
        {
            self.begin_routes(now);
        }
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

    /// Does what is due for clients that are to go elsewhere.
    pub(super) fn step_drain(&mut self, now: Time) {
        let servers = if self.is_leaving { Vec::new() } else { self.servers_by_distance() };
        for step in self.server.poll_drain(&servers, now) {
            match step {
                drain::Step::HandOver { client, to, way } => {
                    self.outputs.push_back(Output::HandOver { client, to, way });
                }
                drain::Step::Release(client) => self.claim(&client, false, now),
            }
        }
    }

    /// The other entry servers that are reached over a link of their own, the nearest first.
    fn servers_by_distance(&self) -> Vec<Name> {
        let linked = self.around.peers().zip(&self.links);
        let linked = linked.filter(|(peer, link)| self.around.is_entry(peer) && link.health() == Health::Up);
        let mut servers: Vec<(u64, &Name)> = linked
            .filter(|(_, link)| link.is_heard())
            .map(|(peer, link)| (link.hearing.rtt_us().unwrap_or(u64::MAX), peer))
            .collect();
        servers.sort_unstable();
        servers.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// Tells another server where a client is that it is to call.
    pub(super) fn offer(&mut self, to: &Name, offer: Offer, now: Time) {
        let at = self.around.find(to).filter(|at| self.links[*at].is_heard() && !self.is_leaving);
        let Some(at) = at else { return };
        self.server.note_offered(&offer.client);
        self.send(at, Due::default(), &[Part::Offer(offer)], now);
        self.refresh(at);
    }

    /// Another server offers a client. It can give away only whom it has, as far as is known here, or send on whom this one has and
    /// who has come back to it.
    pub(super) fn handle_offer(&mut self, at: usize, offer: Offer, now: Time) {
        let Some(from) = self.around.peer(at).cloned() else { return };
        if now.since(self.offered.0) >= Duration::from_secs(1) {
            self.offered = (now, 0);
        }
        self.offered.1 += 1;
        let may_take = self.around.is_entry(self.around.own()) && self.handout.has_begun();
        let holder = self.claims().of(&offer.client);
        let is_theirs =
            (holder == Some(&from) || holder == Some(self.around.own())) && self.around.is_claimable(&offer.client);
        if !may_take || !is_theirs || self.is_leaving || self.is_draining() || self.offered.1 > OFFERS_PER_S {
            self.counters.declined += 1;
            return;
        }
        self.outputs.push_back(Output::Call { from, offer });
    }

    /// Another network file is in force, and records have been adapted to it.
    pub(super) fn adopt_clients(&mut self, now: Time) {
        if !self.around.is_entry(self.around.own()) {
            self.release_all(now);
        }
        self.adopt_carrier(now);
        let before: Vec<Name> = self.claims().iter().map(|(client, _)| client.clone()).collect();
        let keys = self.exchange.records().keys();
        let known = keys.filter_map(|key| if let Key::Client(client) = key { Some(client.clone()) } else { None });
        let known: Vec<Name> = known.collect();
        for client in before.iter().chain(&known) {
            self.update_client(client, true, now);
        }
    }

    /// Claims may be carried by something else from now on, to which what is held is told anew.
    fn adopt_carrier(&mut self, now: Time) {
        if self.around.has_claims_by_bgp() == self.routes.is_some() {
            return;
        }
        self.routes = self.around.has_claims_by_bgp().then(Routes::default);
        let held: Vec<Name> = self.server.all().filter(|client| self.around.is_claimable(client)).cloned().collect();
        held.iter().for_each(|client| self.claim(client, true, now));
    }

    pub(super) fn release_all(&mut self, now: Time) {
        let all: Vec<Name> = self.server.all().filter(|client| self.around.is_claimable(client)).cloned().collect();
        for client in all {
            self.claim(&client, false, now);
        }
    }

    /// States that a client is with this server, or no longer.
    fn claim(&mut self, client: &Name, held: bool, now: Time) {
        let own = self.around.own();
        let is_new = match &mut self.routes {
            Some(routes) => {
                let epoch = held.then(|| routes.claim(client, own, now));
                let is_new = held || routes.release(client, own, now);
                if is_new {
                    self.outputs.push_back(Output::Originate { client: client.clone(), epoch });
                }
                is_new
            }
            None => self.exchange.claim(client, held, &self.around, now),
        };
        if is_new {
            self.counters.claims += 1;
            self.update_client(client, false, now);
            self.refresh_all();
        }
    }

    /// Takes up what is known of a client. A claim of a node that is no entry server is one of nobody.
    fn update_client(&mut self, client: &Name, is_remembered: bool, now: Time) {
        let claimed = match &self.routes {
            Some(routes) => routes.holder(client).map(|server| (server, routes.holds(client))),
            None => {
                let claim = self.exchange.records().claim(client).filter(|claim| claim.held);
                claim.map(|claim| (&claim.server, claim.server == *self.around.own()))
            }
        };
        let is_valid = |(server, _): &(&Name, bool)| self.around.is_claimable(client) && self.around.is_entry(server);
        let claimed = claimed.filter(is_valid);
        self.whereabouts.set(client, claimed.map(|(server, _)| server), now);
        if claimed.is_some_and(|(_, holds)| holds) {
            self.server.hold(client, is_remembered, now);
        } else {
            self.server.lose(client);
        }
    }
}
