//! One node's behaviour while it runs: what it hears of its links and clients, what it tells others, what it believes of all.
//!
//! [`Node::new`] takes the network and the node's name. Then, for ever: [`Node::handle`] what has happened, [`Node::poll`]
//! until nothing more comes out, sleep until [`Node::next_wake`] or the next event. Out come messages and echo requests to
//! send, and [`Output::States`] when paths are to change; the caller then plans with these states
//! ([`crate::plan::Plan::part`]) and applies its part, additions first. Before better paths are taken, [`Output::Expect`] says what
//! is to be let in already. The first states come, whatever they are, when
//! neighbours have told theirs: after 0.7 s, or 3 s at the latest. A host that carries packets by an earlier plan leaves it
//! alone until then, one that has none yet begins with no states. [`Output::Claims`] says with which servers clients are, as soon
//! as that is known.
//! Links are judged in `links`, news spread in [`exchange`], both ends' views joined in `surroundings`; `handout` decides when
//! they are acted on. Entry servers claim clients in [`claims`]. Every node
//! plans over the same states and claims, so all parts agree when they have spread.
//! No clock is read and nothing sent from here: time is an argument, on any node-local clock. `docs/failover.md` and
//! `docs/roaming.md` have the times that users see.

pub mod claims;
mod clients;
mod event;
pub mod exchange;
mod handout;
pub mod handover;
mod links;
pub mod ready;
pub mod recording;
mod surroundings;
mod time;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use event::{Counters, EchoAddress, Event, LinkReport, Output};
pub use links::Health;
pub use links::site::is_reached as is_site_reached;
pub use time::Time;

use claims::Whereabouts;
use claims::routes::Routes;
use claims::server::{Server, Sign};
use claims::sites::Sites;
use exchange::Exchange;
use exchange::record::{Key, View};
use exchange::wire::{Header, Message, Part, WireError, decode, encode};
use handout::Handout;
use links::site::Way;
use links::traffic::sealed_bytes;
use links::{Due, Heard, Link};
use surroundings::Surroundings;

use crate::limits::{FIRST_STATES_MS_MAX, FIRST_STATES_MS_MIN};
use crate::names::Name;
use crate::network::Network;
use crate::plan::{LinkState, LinkStates};

/// UDP port of control messages, on link addresses only: not one that WireGuard listens on, since it does so on all addresses.
pub const CONTROL_PORT: u16 = 51_818;
/// Bytes of payload in an echo request, as many as the classic ping sends: what is sent is subtracted from the device's counters.
pub const ECHO_BYTES: usize = 56;

/// The network has no node of the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the network has no node {0}")]
pub struct NoSuchNode(pub Name);

/// One node.
#[derive(Debug)]
pub struct Node {
    around: Surroundings,
    links: Vec<Link>,
    /// Ways into sites that have other gateways too, as far as told of.
    ways: BTreeMap<Name, Way>,
    /// Those of others, where BGP tells of them.
    sites: Sites,
    exchange: Exchange,
    boot: u16,
    /// When each link has something to do.
    wakes: BTreeSet<(Time, usize)>,
    wake_of: Vec<Time>,
    outputs: VecDeque<Output>,
    handout: Handout,
    whereabouts: Whereabouts,
    /// The clients that this node has, if it is an entry server.
    server: Server,
    /// Claims, where BGP carries them.
    routes: Option<Routes>,
    /// Clients that others have offered in the second that began then.
    offered: (Time, usize),
    /// Since when it runs.
    started: Time,
    is_leaving: bool,
    counters: Counters,
}

impl Node {
    /// A node that knows nothing but the network file. `boot` is to be another number each time the program starts; a
    /// random one will do.
    ///
    /// # Errors
    /// The network has no such node.
    pub fn new(network: Arc<Network>, name: &Name, boot: u16, now: Time) -> Result<Node, NoSuchNode> {
        let around = Surroundings::new(network, name).ok_or_else(|| NoSuchNode(name.clone()))?;
        let link = |(at, peer): (usize, &Name)| Link::new(name < peer, around.place(at), now);
        let links: Vec<Link> = around.peers().enumerate().map(link).collect();
        let mut node = Node {
            exchange: Exchange::new(name.clone(), links.len()),
            wake_of: vec![Time::NEVER; links.len()],
            around,
            links,
            ways: BTreeMap::new(),
            sites: Sites::default(),
            boot,
            wakes: BTreeSet::new(),
            outputs: VecDeque::new(),
            handout: Handout::default(),
            whereabouts: Whereabouts::default(),
            server: Server::default(),
            routes: None,
            offered: (now, 0),
            started: now,
            is_leaving: false,
            counters: Counters::default(),
        };
        node.routes = node.around.has_claims_by_bgp().then(Routes::default);
        node.refresh_all();
        Ok(node)
    }

    /// Takes note of something.
    pub fn handle(&mut self, event: Event, now: Time) {
        match event {
            Event::Received { from, bytes } => self.handle_received(&from, &bytes, now),
            Event::EchoReply { from } => {
                let around = &self.around;
                let (at_link, at_overlay) = (around.is_ipv6(), around.is_overlay_ipv6());
                self.with_link(&from, now, |link| {
                    let is_ipv6 = if link.echo_address() == EchoAddress::Link { at_link } else { at_overlay };
                    link.received.handle_own(sealed_bytes(ECHO_BYTES, is_ipv6));
                    link.handle_echo(now);
                });
            }
            Event::Traffic { with, sent_bytes, received_bytes } => {
                self.with_link(&with, now, |link| link.handle_counters(sent_bytes, received_bytes, now));
            }
            Event::Handshake { with, age } => self.with_link(&with, now, |link| link.handle_handshake(age, now)),
            Event::Site { site, works } => self.handle_site(site, works, now),
            Event::ClientHere { client } => self.handle_client(client, Sign::Here, now),
            Event::ClientHeard { client } => self.handle_client(client, Sign::Heard, now),
            Event::ClientGone { client } => self.handle_client(client, Sign::Gone, now),
            Event::ClientRoute { client, told } => self.handle_route(&client, told, now),
            Event::SiteRoute { site, told } => self.handle_site_route(&site, told, now),
            Event::RoutesTold => self.begin_routes(now),
            Event::Drain(drains) => {
                self.server.drain(drains, now);
                self.follow_sites(now);
            }
            Event::Offer { to, offer } => self.offer(&to, offer, now),
            Event::Leaving => self.handle_leaving(now),
            Event::Ending => self.handle_ending(now),
        }
    }

    /// The next thing to be done; none if there is nothing more to do at this time.
    pub fn poll(&mut self, now: Time) -> Option<Output> {
        loop {
            if self.whereabouts.has_changed() {
                return Some(Output::Claims { changed: self.whereabouts.take_changed() });
            }
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if self.server.wake() <= now {
                self.release_silent(now);
                continue;
            }
            if self.routes_wake() <= now {
                self.step_routes(now);
                continue;
            }
            if self.ways_wake() <= now {
                self.step_ways(now);
                continue;
            }
            if self.server.drain_wake() <= now {
                self.step_drain(now);
                continue;
            }
            if let Some(&(at, link)) = self.wakes.first()
                && at <= now
            {
                self.step(link, now);
                continue;
            }
            return self.poll_states(now);
        }
    }

    /// When [`Node::poll`] has something again, unless an event comes first.
    pub fn next_wake(&self) -> Time {
        if !self.outputs.is_empty() || self.whereabouts.has_changed() {
            return Time::default();
        }
        let clients = self.server.wake().min(self.server.drain_wake()).min(self.routes_wake());
        let links = self.wakes.first().map_or(Time::NEVER, |(at, _)| *at).min(clients).min(self.ways_wake());
        let states = if self.handout.has_begun() { self.handout.wake() } else { self.begin_at() };
        links.min(states)
    }

    /// Goes over to another version of the network file. Links that stay keep their state. A new link between nodes that were
    /// there before counts as down until it has worked: the other end may not have the new file yet.
    ///
    /// # Errors
    /// The new version has no such node; everything stays as it is.
    pub fn adopt(&mut self, network: Arc<Network>, now: Time) -> Result<(), NoSuchNode> {
        let name = self.around.own().clone();
        let around = Surroundings::new(network, &name).ok_or_else(|| NoSuchNode(name.clone()))?;
        let from: Vec<Option<usize>> = around.peers().map(|peer| self.around.find(peer)).collect();
        let mut old: Vec<Option<Link>> = std::mem::take(&mut self.links).into_iter().map(Some).collect();
        for (at, (peer, from)) in around.peers().zip(&from).enumerate() {
            let place = around.place(at);
            let mut link = from.and_then(|from| old.get_mut(from)?.take());
            match &mut link {
                Some(link) => link.adapt(place),
                None => link = Some(Link::new(name < *peer, place, now)),
            }
            self.links.extend(link);
        }
        let (before, around) = (std::mem::replace(&mut self.around, around), &self.around);
        let added = around.peers().enumerate().filter(|(at, peer)| from[*at].is_none() && before.knows(peer));
        let added: Vec<usize> = added.map(|(at, _)| at).collect();
        self.exchange.adapt(&from, &self.around);
        let keys: Vec<Key> = self.exchange.records().keys().cloned().collect();
        for key in keys {
            if let Key::Link { origin, other } = &key {
                self.around.update(origin, other, self.exchange.records());
            }
        }
        self.adopt_clients(now);
        self.wakes.clear();
        self.wake_of = vec![Time::NEVER; self.links.len()];
        self.adopt_sites(now);
        for at in added {
            self.links[at].distrust(now);
            self.publish(at, now);
        }
        self.handout.handle_all(self.around.states(), "the network file has changed".to_owned());
        self.refresh_all();
        Ok(())
    }

    /// Whether what neighbours know is known here, or they have been waited for long enough.
    pub fn is_in_step(&self) -> bool {
        self.handout.has_begun() && self.routes.as_ref().is_none_or(|routes| routes.is_told)
    }

    /// The nodes that packets from here can get to, by what is known of all links.
    pub fn reached(&self) -> BTreeSet<&Name> {
        self.around.reached()
    }

    /// What is known of all links.
    pub fn states(&self) -> &LinkStates {
        self.around.states()
    }

    /// All own links, sorted by peer.
    pub fn links(&self, now: Time) -> impl Iterator<Item = LinkReport> {
        let report = move |(peer, link): (&Name, &Link)| LinkReport {
            peer: peer.clone(),
            health: link.health(),
            for_how_long: now.since(link.since()),
            rtt_us: link.hearing.rtt_us(),
            loss_permille: link.hearing.loss_both_ways_permille(),
            has_agent: !link.is_alone(),
            trouble: (link.health() == Health::Down).then(|| link.trouble(peer.as_str(), now)),
        };
        self.around.peers().zip(&self.links).map(report)
    }

    /// The other ends of own links that are down.
    pub fn down(&self) -> impl Iterator<Item = &Name> {
        self.around.peers().zip(&self.links).filter(|(_, link)| link.health() == Health::Down).map(|(peer, _)| peer)
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        Counters { refused: self.exchange.refused, changes: self.handout.count, ..self.counters }
    }

    fn with_link(&mut self, peer: &Name, now: Time, act: impl FnOnce(&mut Link)) {
        let Some(at) = self.around.find(peer) else { return };
        act(&mut self.links[at]);
        self.settle(at, now);
    }

    fn handle_received(&mut self, from: &Name, bytes: &[u8], now: Time) {
        let Some(at) = self.around.find(from) else {
            self.counters.strange += 1;
            return;
        };
        self.links[at].received.handle_own(sealed_bytes(bytes.len(), self.around.is_ipv6()));
        match decode(bytes) {
            Ok(message) => self.handle_message(at, message, now),
            Err(WireError::Version(_)) => self.counters.unknown_version += 1,
            Err(WireError::Length | WireError::Value) => self.counters.malformed += 1,
        }
        self.settle(at, now);
    }

    fn handle_message(&mut self, at: usize, message: Message, now: Time) {
        self.counters.received += 1;
        self.counters.skipped += message.skipped as u64;
        let heard = self.links[at].handle_header(&message.header, now);
        if heard == Heard::Restarted {
            self.exchange.forget(at);
        }
        let mut new = Vec::new();
        for part in message.parts {
            match part {
                Part::Offer(offer) => self.handle_offer(at, offer, now),
                part => new.extend(self.exchange.handle_part(at, message.header.number, part, &self.around, now)),
            }
        }
        let is_newest = matches!(heard, Heard::New | Heard::Restarted);
        let is_done = is_newest && self.exchange.handle_digest(at, message.header.digest, now);
        for key in &new {
            match key {
                Key::Link { origin, other } => self.handle_link_news(origin, other, now),
                Key::Client(client) => self.handle_client_news(client, now),
            }
        }
        if is_done || !new.is_empty() {
            self.refresh_all();
        }
    }

    /// A record of a link that is new here has come from others.
    fn handle_link_news(&mut self, origin: &Name, other: &Name, now: Time) {
        if origin == self.around.own() {
            // What this node said before it started anew. It stands until the link has been tried.
            self.counters.remembered += 1;
            if let Some(at) = self.around.find(other) {
                self.publish(at, now);
            } else if self.ways.contains_key(other) {
                self.publish_way(other, now);
            }
        }
        let view = self.exchange.records().view(origin, other);
        if view == View::Down
            && let Some(at) = self.around.find(other)
        {
            self.links[at].handle_rumour(now);
        }
        let said = match view {
            View::AsStated => "works".to_owned(),
            View::Takes { us } => format!("takes {} ms", us / 1_000),
            View::Down => "is down".to_owned(),
        };
        let what = if self.around.is_way(origin, other) { "way into the site" } else { "link with" };
        self.update_state(origin, other, &format!("{origin} says that its {what} {other} {said}"), now);
    }

    /// Takes up what is known of a link.
    fn update_state(&mut self, origin: &Name, other: &Name, reason: &str, now: Time) {
        if !self.around.update(origin, other, self.exchange.records()) {
            return;
        }
        let state = self.around.states().of(origin, other);
        let is_own = [origin, other].contains(&self.around.own());
        self.handout.note(reason.to_owned());
        self.handout.handle_change((origin, other), is_own, state, now);
        if state == Some(LinkState::Down) {
            // Who relied on one end of it to pass news on to the other may have missed some.
            let ends = [origin, other].into_iter().filter_map(|end| self.around.find(end));
            ends.for_each(|at| self.exchange.compare_if_crowded(at));
        }
    }

    /// Tells what is to be told of an own link, if it is another thing than before.
    fn publish(&mut self, at: usize, now: Time) {
        let link = &self.links[at];
        let Some(peer) = self.around.peer(at).filter(|_| link.health() != Health::Starting).cloned() else { return };
        if !self.exchange.publish(&peer, link.view(), &self.around, now) {
            return;
        }
        let reason = match link.view() {
            View::Down => format!("the link with {peer} is down: {}", link.trouble(peer.as_str(), now)),
            View::AsStated => format!("the link with {peer} works as the network file says"),
            View::Takes { us } => {
                let (ms, stated_ms) = (us / 1_000, self.around.place(at).stated_us / 1_000);
                let loss = link.hearing.loss_both_ways_permille() / 10;
                format!("the link with {peer} takes {ms} ms instead of {stated_ms} ms, {loss} % of round trips fail")
            }
        };
        let own = self.around.own().clone();
        self.update_state(&own, &peer, &reason, now);
        self.refresh_all();
    }

    /// After anything has happened to a link.
    fn settle(&mut self, at: usize, now: Time) {
        self.publish(at, now);
        self.refresh(at);
    }

    /// Lets a link do what is due.
    fn step(&mut self, at: usize, now: Time) {
        let due = self.links[at].step(now);
        self.publish(at, now);
        let link = &mut self.links[at];
        let is_due = link.is_heard() && self.exchange.wake(at) <= now;
        let number = link.hearing.next_number();
        let parts = if is_due { self.exchange.poll(at, number, link.patience(), now) } else { Vec::new() };
        self.send(at, due, &parts, now);
        self.refresh(at);
    }

    fn send(&mut self, at: usize, due: Due, parts: &[Part], now: Time) {
        let Some(to) = self.around.peer(at).cloned() else { return };
        let link = &mut self.links[at];
        let is_ipv6 = self.around.is_ipv6();
        let asks = parts.iter().any(Part::asks);
        if due.poll || due.answer || !parts.is_empty() {
            let (digest, boot) = (self.exchange.records().digest(), self.boot);
            let header = Header { poll: due.poll || asks, digest, boot, leaving: self.is_leaving, ..link.header(now) };
            let bytes = encode(&header, parts);
            link.handle_own(sealed_bytes(bytes.len(), is_ipv6), true, now);
            if asks {
                link.expect_answer(now);
            }
            self.counters.sent += 1;
            self.outputs.push_back(Output::Send { to: to.clone(), bytes });
        }
        if due.echo {
            let address = self.links[at].echo_address();
            let is_ipv6 = if address == EchoAddress::Link { is_ipv6 } else { self.around.is_overlay_ipv6() };
            self.links[at].handle_own(sealed_bytes(ECHO_BYTES, is_ipv6), false, now);
            self.outputs.push_back(Output::SendEcho { to, at: address });
        }
    }

    fn handle_leaving(&mut self, now: Time) {
        self.release_for_good(now);
        self.is_leaving = true;
        for at in 0..self.links.len() {
            if self.links[at].is_heard() {
                self.send(at, Due { answer: true, ..Due::default() }, &[], now);
                self.send_rest(at, now);
            }
        }
        self.wakes.clear();
    }

    fn handle_ending(&mut self, now: Time) {
        self.release_all(now);
        self.abandon_sites();
        for at in 0..self.links.len() {
            if self.links[at].is_heard() {
                self.send_rest(at, now);
            }
        }
    }

    /// Sends all that waits for a link: nobody will be there to hear what has arrived.
    fn send_rest(&mut self, at: usize, now: Time) {
        // What waits for a link is bounded, so this ends.
        while let Some(part) = self.exchange.poll_last(at) {
            self.send(at, Due::default(), &[part], now);
        }
    }

    /// When the first states are handed out: as soon as the neighbours' records are here, with what they remember of this
    /// node's own.
    fn begin_at(&self) -> Time {
        let agree = |(at, link): (usize, &Link)| !link.is_heard() || self.exchange.agrees(at);
        let have_told = self.links.iter().any(Link::is_heard) && self.links.iter().enumerate().all(agree);
        self.started.plus(Duration::from_millis(if have_told { FIRST_STATES_MS_MIN } else { FIRST_STATES_MS_MAX }))
    }

    fn poll_states(&mut self, now: Time) -> Option<Output> {
        if !self.handout.has_begun() && self.begin_at() <= now {
            self.handout.begin(self.around.states());
            if self.is_in_step() {
                self.begin_clients(now);
            }
        }
        self.handout.poll(self.around.states(), now)
    }

    fn refresh_all(&mut self) {
        (0..self.links.len()).for_each(|at| self.refresh(at));
    }

    /// Notes when a link has something to do.
    fn refresh(&mut self, at: usize) {
        if self.is_leaving {
            return;
        }
        let link = &self.links[at];
        self.exchange.set_open(at, link.is_heard());
        let wake = if link.is_heard() { link.wake().min(self.exchange.wake(at)) } else { link.wake() };
        if self.wake_of[at] != wake {
            self.wakes.remove(&(self.wake_of[at], at));
            self.wakes.insert((wake, at));
            self.wake_of[at] = wake;
        }
    }
}
