//! What routing daemons put into the network's own table: routes to other nodes become prefixes of their peers, one by one.
//!
//! A [`Listener`] tells the loop of each change; [`Learned`] in `core` says what follows from it for the device,
//! and that is done at once, without a look at the host. Who has written a route is not asked: BIRD, FRR or a person.
//! The engine is told besides which peers speak BGP, since what these send may come by another way than it would go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use ipnet::IpNet;
use wayleave_core::host::{Backend, HostState, Learned, LearnedRoute, wanted};
use wayleave_core::names::Name;
use wayleave_core::plan::NodePlan;
use wayleave_engine::{CommonSources, PublicKey as DevicePublicKey};

use super::listening::{AGAIN, Listener, News};
use crate::control::LearnedSnapshot;
use crate::limits::DROPPED_NAMED_MAX;
use crate::netlink::Hop;
use crate::node::agent::Agent;
use crate::node::{Event, Weight, chain, log};

/// Routes that are learned, and who tells of them.
#[derive(Debug, Default)]
pub(in crate::node) struct Table {
    pub(super) routes: Learned,
    listener: Listener,
    /// What was said of packets that the device drops.
    warned: Option<IpNet>,
}

impl Agent {
    /// What a part wants on this host, with what is learned.
    pub(in crate::node) fn wanted_of(&self, part: &NodePlan) -> HostState {
        let mut state = wanted(part, self.reconciler.backend(), &self.dialler.chosen());
        self.add_learned(&mut state, part);
        state
    }

    pub(in crate::node) fn add_learned(&self, state: &mut HostState, part: &NodePlan) {
        self.claim_routes.add_to(state);
        self.bird.table.routes.add_to(state, part);
    }

    /// Another part of the plan is in force: by it routes may lead to other peers. They change with the rest of the host.
    pub(in crate::node) fn follow_speakers(&mut self) {
        self.bird.table.routes.plan(&self.part);
        self.warn_of_two_origins();
        let device = self.part.device.as_str().to_owned();
        if let Err(error) = self.reconciler.host().set_common(&device, common(&self.part)) {
            log(Weight::Warning, &format!("what comes another way than it would go is dropped: {}", chain(&error)));
        }
        self.follow_lost();
    }

    /// Nodes that can't be reached any more, or again, make routes over them useless, or useful.
    fn follow_lost(&mut self) {
        let lost = lost(&self.part);
        if lost != self.bird.now.lost {
            self.bird.now.lost = lost;
            self.follow_bird();
        }
    }

    /// The kernel's WireGuard lets in a source only from the peer that packets to it go to.
    fn warn_of_two_origins(&mut self) {
        let by_kernel = self.reconciler.backend() == Backend::Kernel;
        let prefix = self.part.bgp.as_ref().and_then(|bgp| bgp.two_origins).filter(|_| by_kernel);
        if let Some(prefix) = prefix.filter(|_| prefix != self.bird.table.warned) {
            let words = "may come by two nodes, and the kernel's WireGuard drops what comes by the one that answers don't go to";
            log(Weight::Warning, &format!("packets from {prefix} {words}: start the agent with --device engine"));
        }
        self.bird.table.warned = prefix;
    }

    /// The device was made anew: whoever listens for routes out of it listens to nothing.
    pub(in crate::node) fn forget_table(&mut self) {
        self.bird.table.listener.forget();
    }

    /// Listens to the table while there is one to listen to. The device is there.
    pub(super) fn follow_table(&mut self) {
        let Some(table) = self.part.bgp.as_ref().map(|bgp| bgp.table) else {
            return self.bird.table.listener.forget();
        };
        let device = self.part.device.as_str();
        let started = self.bird.table.listener.follow(Some(table), device, &self.events, Event::Learned);
        let problem = started.err().map(|error| format!("can't listen to table {table}: {error}"));
        self.set_problem("learned routes", problem);
    }

    /// What there is to say of routes between nodes.
    pub(super) fn learned_snapshot(&self) -> LearnedSnapshot {
        let routes = &self.bird.table.routes;
        let speakers = || self.part.bgp.iter().flat_map(|bgp| &bgp.speakers);
        let mut prefixes = BTreeMap::new();
        for (hop, count) in routes.carried() {
            if let Some(speaker) = speakers().find(|speaker| speaker.addresses.contains(&hop)) {
                *prefixes.entry(speaker.name.to_string()).or_default() += count;
            }
        }
        let some = routes.refused().iter().take(DROPPED_NAMED_MAX);
        LearnedSnapshot {
            prefixes,
            dropped: routes.refused().len(),
            dropped_some: some.map(|(prefix, why)| (prefix.to_string(), why.to_string())).collect(),
        }
    }

    /// Routes have changed.
    pub(in crate::node) fn handle_learned(&mut self, news: &News) {
        if !self.bird.table.listener.has_told(news) {
            return;
        }
        let learned = |(prefix, hop): &(IpNet, Option<Hop>)| LearnedRoute {
            prefix: *prefix,
            next_hop: hop.map(|hop| hop.gateway),
        };
        let mut routes: Vec<LearnedRoute> = news.routes.iter().map(learned).collect();
        if news.is_first {
            // What was there before and is not any more: whoever listened then has ended.
            routes.splice(0..0, self.bird.table.routes.known().map(|prefix| LearnedRoute { prefix, next_hop: None }));
        }
        let changes = self.bird.table.routes.follow(&routes, &mut self.wanted, &self.part);
        if let Err(error) = self.reconciler.expect(&changes) {
            log(Weight::Warning, &format!("learned routes are not followed yet: {}", chain(&error)));
            self.look_at = self.look_at.min(Instant::now() + AGAIN);
        }
    }
}

/// Nodes that speak BGP and to which no way leads.
fn lost(part: &NodePlan) -> BTreeSet<Name> {
    let speakers = part.bgp.iter().flat_map(|bgp| &bgp.speakers);
    speakers.filter(|speaker| speaker.is_lost).map(|speaker| speaker.name.clone()).collect()
}

/// Nodes that speak BGP may send from what any of them may announce, but from what the plan carries only as the plan says.
fn common(part: &NodePlan) -> CommonSources {
    let Some(bgp) = &part.bgp else { return CommonSources::default() };
    let speaks = |name: &Name| bgp.speakers.iter().any(|speaker| speaker.name == *name);
    let peers = part.peers.iter().filter(|peer| speaks(&peer.name));
    CommonSources {
        peers: peers.filter_map(|peer| Some(DevicePublicKey(*peer.public_key?.as_bytes()))).collect(),
        within: bgp.announced.clone(),
        without: bgp.planned.clone(),
    }
}
