//! Claims that BGP carries: this node's own are written into a table of the kernel from which BIRD tells them, and what BIRD hears of
//! others' is read from a second one.
//!
//! A [`Listener`] tells the loop of each change of the second table. What a claim means is decided in `core`, as for those that
//! the exchange spreads; here addresses become names and names addresses. A client's first overlay address stands for the client, a site's
//! first prefix for the site, a node's overlay addresses for the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use wayleave_core::host::{Change, HostState};
use wayleave_core::names::Name;
use wayleave_core::network::Network;
use wayleave_core::node::Event as NodeEvent;
use wayleave_core::node::claims::routes::Told;
use wayleave_core::plan::{ClaimRoutesPlan, Member, host};

use super::listening::{AGAIN, Listener, News};
use crate::netlink::Hop;
use crate::node::agent::Agent;
use crate::node::{Event, Weight, chain, log};

/// What is known of claims as routes.
#[derive(Debug, Default)]
pub(in crate::node) struct ClaimRoutes {
    plan: Option<ClaimRoutesPlan>,
    /// Of which version of the file the names are.
    network: Option<Arc<Network>>,
    subjects: BTreeMap<IpNet, Subject>,
    clients: BTreeMap<Name, IpNet>,
    servers: BTreeMap<IpAddr, Name>,
    /// The own ones that are to be told.
    own: BTreeMap<IpNet, u32>,
    /// What others claim.
    heard: BTreeSet<IpNet>,
    listener: Listener,
}

/// What a claim is about.
#[derive(Debug, Clone)]
enum Subject {
    Client(Name),
    Site(Name),
    /// Another prefix of a site that is told of by its first.
    Beside,
}

impl Subject {
    fn event(self, told: Option<Told>) -> Option<NodeEvent> {
        match self {
            Subject::Client(client) => Some(NodeEvent::ClientRoute { client, told }),
            Subject::Site(site) => Some(NodeEvent::SiteRoute { site, told }),
            Subject::Beside => None,
        }
    }
}

impl ClaimRoutes {
    /// Adds the own claims to what is wanted on the host.
    pub(in crate::node) fn add_to(&self, state: &mut HostState) {
        let Some(plan) = &self.plan else { return };
        state.claims = self.own.iter().map(|(prefix, epoch)| ((plan.origins, *prefix), *epoch)).collect();
    }

    /// The claim that a route tells of.
    fn told(&self, hop: Option<Hop>) -> Option<Told> {
        let hop = hop?;
        Some(Told { epoch: hop.window?, server: self.servers.get(&hop.gateway)?.clone() })
    }

    /// A site's prefixes, as far as BGP tells of it.
    fn prefixes_of(&self, site: &Name) -> Vec<IpNet> {
        let sites = self.plan.iter().flat_map(|plan| &plan.sites);
        sites.filter(|told| told.name == *site).flat_map(|told| told.prefixes.iter().copied()).collect()
    }
}

/// What claims can be about, by the prefixes of their routes.
fn subjects(plan: &ClaimRoutesPlan, clients: &BTreeMap<Name, IpNet>) -> BTreeMap<IpNet, Subject> {
    let mut subjects: BTreeMap<IpNet, Subject> =
        clients.iter().map(|(client, prefix)| (*prefix, Subject::Client(client.clone()))).collect();
    for site in &plan.sites {
        subjects.extend(site.prefixes.iter().skip(1).map(|prefix| (*prefix, Subject::Beside)));
        subjects.extend(site.prefixes.first().map(|prefix| (*prefix, Subject::Site(site.name.clone()))));
    }
    subjects
}

impl Agent {
    /// Takes up what the plan says of claims as routes, and, at the first time, what is left of a time before.
    pub(in crate::node) fn follow_claims(&mut self) {
        let plan = self.intended.bgp.as_ref().and_then(|bgp| bgp.claims.clone());
        let is_same_file =
            self.claim_routes.network.as_ref().is_some_and(|before| Arc::ptr_eq(before, &self.reading.network));
        if plan == self.claim_routes.plan && (is_same_file || plan.is_none()) {
            return;
        }
        let clients: BTreeMap<Name, IpNet> = (0..)
            .zip(&self.reading.network.clients)
            .filter(|(_, client)| client.roams && plan.is_some())
            .filter_map(|(at, client)| {
                let address = self.plan.overlay_addresses(Member::Client(at)).first()?;
                Some((client.name.clone(), host(*address)))
            })
            .collect();
        let servers = plan.iter().flat_map(|plan| &plan.servers);
        let servers = servers.flat_map(|(name, all)| all.iter().map(|address| (*address, name.clone()))).collect();
        let subjects = plan.as_ref().map(|plan| subjects(plan, &clients)).unwrap_or_default();
        let mut before = std::mem::take(&mut self.claim_routes);
        // Whoever listens from now on tells all once more: what it means may be another thing.
        before.listener.forget();
        self.claim_routes = ClaimRoutes {
            plan,
            network: Some(self.reading.network.clone()),
            own: before.own.into_iter().filter(|(prefix, _)| subjects.contains_key(prefix)).collect(),
            subjects,
            clients,
            servers,
            heard: before.heard,
            listener: before.listener,
        };
        if before.plan.is_none() {
            self.recall_claims();
        }
    }

    /// What an agent before this one has claimed, and nobody has taken back. Whether a site is reached is seen again soon.
    fn recall_claims(&mut self) {
        let Some(table) = self.claim_routes.plan.as_ref().map(|plan| plan.origins) else { return };
        for (prefix, epoch) in self.reconciler.host().claims(table).unwrap_or_default() {
            let Some(subject) = self.claim_routes.subjects.get(&prefix).cloned() else { continue };
            self.claim_routes.own.insert(prefix, epoch);
            if let Subject::Client(client) = subject {
                let told = Some(Told { epoch, server: self.part.name.clone() });
                self.tell(NodeEvent::ClientRoute { client, told });
            }
        }
    }

    /// Listens to what BIRD hears, while there is something to listen to. The device is there.
    pub(in crate::node) fn listen_to_claims(&mut self) {
        let Some(table) = self.claim_routes.plan.as_ref().map(|plan| plan.heard) else { return };
        let device = self.part.device.as_str();
        let started = self.claim_routes.listener.follow(Some(table), device, &self.events, Event::ClaimsHeard);
        let problem = started.err().map(|error| format!("can't hear of claims in table {table}: {error}"));
        self.set_problem("claims", problem);
    }

    /// The device was made anew: whoever listens for routes out of it listens to nothing.
    pub(in crate::node) fn forget_claims(&mut self) {
        self.claim_routes.listener.forget();
    }

    /// Others' claims have changed.
    pub(in crate::node) fn handle_claims(&mut self, news: News) {
        if !self.claim_routes.listener.has_told(&news) {
            return;
        }
        let News { is_first, routes, .. } = news;
        let mut all: BTreeMap<IpNet, Option<Hop>> = BTreeMap::new();
        if is_first {
            // What was there before and is not any more: whoever listened then has ended.
            all.extend(self.claim_routes.heard.iter().map(|prefix| (*prefix, None)));
        }
        all.extend(routes);
        let mut is_told = false;
        for (prefix, hop) in all {
            let Some(subject) = self.claim_routes.subjects.get(&prefix).cloned() else { continue };
            let told = self.claim_routes.told(hop);
            if told.is_some() {
                self.claim_routes.heard.insert(prefix);
                is_told = true;
            } else {
                self.claim_routes.heard.remove(&prefix);
            }
            subject.event(told).into_iter().for_each(|event| self.tell(event));
        }
        if is_told && !is_first {
            self.tell(NodeEvent::RoutesTold);
        }
    }

    /// BGP is to carry a claim of this node, or no longer.
    pub(in crate::node) fn originate(&mut self, client: &Name, epoch: Option<u32>) {
        let prefix = self.claim_routes.clients.get(client).copied();
        prefix.into_iter().for_each(|prefix| self.originate_prefix(prefix, epoch));
    }

    /// BGP is to tell that this node gets into a site, or no longer.
    pub(in crate::node) fn originate_site(&mut self, site: &Name, preference: Option<u32>) {
        let prefixes = self.claim_routes.prefixes_of(site);
        prefixes.into_iter().for_each(|prefix| self.originate_prefix(prefix, preference));
    }

    fn originate_prefix(&mut self, prefix: IpNet, epoch: Option<u32>) {
        let routes = &mut self.claim_routes;
        let Some(table) = routes.plan.as_ref().map(|plan| plan.origins) else { return };
        let key = (table, prefix);
        let (before, change) = match epoch {
            Some(epoch) => {
                routes.own.insert(prefix, epoch);
                (self.wanted.claims.insert(key, epoch), Change::SetClaim { table, prefix, epoch })
            }
            None => {
                routes.own.remove(&prefix);
                (self.wanted.claims.remove(&key), Change::RemoveClaim { table, prefix })
            }
        };
        if before == epoch {
            return;
        }
        if let Err(error) = self.reconciler.expect(&[change]) {
            log(Weight::Warning, &format!("a claim is not told yet: {}", chain(&error)));
            self.look_at = self.look_at.min(Instant::now() + AGAIN);
        }
    }
}
