//! Claims that BGP carries: this node's own are written into a table of the kernel from which BIRD tells them, and what BIRD hears of
//! others' is read from a second one.
//!
//! A thread listens to the second table and tells the loop of each change. What a claim means is decided in `core`, as for those that
//! the exchange spreads; here addresses become names and names addresses. A client's first overlay address stands for the client, an
//! entry node's overlay addresses for the entry node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use wayleave_core::host::{Change, HostState};
use wayleave_core::names::Name;
use wayleave_core::network::Network;
use wayleave_core::node::Event as NodeEvent;
use wayleave_core::node::claims::routes::Told;
use wayleave_core::plan::{ClaimRoutesPlan, Member};

use crate::netlink::{Hop, TableWatch};
use crate::node::agent::Agent;
use crate::node::{Event, Weight, chain, log};

/// How soon the thread notices that its device was replaced.
const NOTICE: Duration = Duration::from_millis(500);
/// Until the kernel is asked again when it refused to say.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of claims as routes.
#[derive(Debug, Default)]
pub(in crate::node) struct ClaimRoutes {
    plan: Option<ClaimRoutesPlan>,
    /// Of which version of the file the names are.
    network: Option<Arc<Network>>,
    clients: BTreeMap<IpAddr, Name>,
    addresses: BTreeMap<Name, IpAddr>,
    servers: BTreeMap<IpAddr, Name>,
    /// The own ones that are to be told.
    own: BTreeMap<IpAddr, u32>,
    /// Clients that others claim.
    heard: BTreeSet<IpAddr>,
    watch: Option<Watching>,
    /// Of the present thread: what one before it has told last does not count.
    number: u64,
}

/// A thread that listens, until this is dropped.
#[derive(Debug)]
struct Watching(Arc<AtomicBool>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl ClaimRoutes {
    /// Adds the own claims to what is wanted on the host.
    pub(in crate::node) fn add_to(&self, state: &mut HostState) {
        let Some(plan) = &self.plan else { return };
        state.claims = self.own.iter().map(|(client, epoch)| ((plan.origins, *client), *epoch)).collect();
    }

    /// The claim that a route tells of.
    fn told(&self, hop: Option<Hop>) -> Option<Told> {
        let hop = hop?;
        Some(Told { epoch: hop.window?, server: self.servers.get(&hop.gateway)?.clone() })
    }
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
        let clients: BTreeMap<IpAddr, Name> = (0..)
            .zip(&self.reading.network.clients)
            .filter(|(_, client)| client.roams && plan.is_some())
            .filter_map(|(at, client)| {
                Some((*self.plan.overlay_addresses(Member::Client(at)).first()?, client.name.clone()))
            })
            .collect();
        let servers = plan.iter().flat_map(|plan| &plan.servers);
        let servers = servers.flat_map(|(name, all)| all.iter().map(|address| (*address, name.clone()))).collect();
        let before = std::mem::take(&mut self.claim_routes);
        self.claim_routes = ClaimRoutes {
            plan,
            network: Some(self.reading.network.clone()),
            addresses: clients.iter().map(|(address, client)| (client.clone(), *address)).collect(),
            servers,
            own: before.own.into_iter().filter(|(address, _)| clients.contains_key(address)).collect(),
            heard: before.heard,
            watch: None,
            number: before.number + 1,
            clients,
        };
        if before.plan.is_none() {
            self.recall_claims();
        }
    }

    /// What an agent before this one has claimed, and nobody has taken back.
    fn recall_claims(&mut self) {
        let Some(table) = self.claim_routes.plan.as_ref().map(|plan| plan.origins) else { return };
        for (address, epoch) in self.reconciler.host().claims(table).unwrap_or_default() {
            if let Some(client) = self.claim_routes.clients.get(&address).cloned() {
                self.claim_routes.own.insert(address, epoch);
                self.tell(NodeEvent::ClientRoute {
                    client,
                    told: Some(Told { epoch, server: self.part.name.clone() }),
                });
            }
        }
    }

    /// Listens to what BIRD hears, while there is something to listen to. The device is there.
    pub(in crate::node) fn listen_to_claims(&mut self) {
        let Some(table) = self.claim_routes.plan.as_ref().map(|plan| plan.heard) else { return };
        if self.claim_routes.watch.is_some() {
            return;
        }
        self.claim_routes.number += 1;
        let ended = Arc::new(AtomicBool::new(false));
        let told = Telling { to: self.events.clone(), by: self.claim_routes.number, ended: ended.clone() };
        let device = self.part.device.to_string();
        let started = std::thread::Builder::new().name("claims".into()).spawn(move || told.tell_all(table, &device));
        let problem = started.as_ref().err().map(|error| format!("can't hear of claims in table {table}: {error}"));
        self.set_problem("claims", problem);
        self.claim_routes.watch = started.is_ok().then_some(Watching(ended));
    }

    /// The device was made anew: whoever listens for routes out of it listens to nothing.
    pub(in crate::node) fn forget_claims(&mut self) {
        self.claim_routes.watch = None;
    }

    /// Others' claims have changed.
    pub(in crate::node) fn handle_claims(&mut self, by: u64, is_first: bool, routes: Vec<(IpNet, Option<Hop>)>) {
        if by != self.claim_routes.number || self.claim_routes.watch.is_none() {
            return;
        }
        let mut all: BTreeMap<IpAddr, Option<Hop>> = BTreeMap::new();
        if is_first {
            // What was there before and is not any more: whoever listened then has ended.
            all.extend(self.claim_routes.heard.iter().map(|address| (*address, None)));
        }
        all.extend(routes.into_iter().map(|(prefix, hop)| (prefix.addr(), hop)));
        let mut is_told = false;
        for (address, hop) in all {
            let Some(client) = self.claim_routes.clients.get(&address).cloned() else { continue };
            let told = self.claim_routes.told(hop);
            if told.is_some() {
                self.claim_routes.heard.insert(address);
                is_told = true;
            } else {
                self.claim_routes.heard.remove(&address);
            }
            self.tell(NodeEvent::ClientRoute { client, told });
        }
        if is_told && !is_first {
            self.tell(NodeEvent::RoutesTold);
        }
    }

    /// BGP is to carry a claim of this node, or no longer.
    pub(in crate::node) fn originate(&mut self, client: &Name, epoch: Option<u32>) {
        let routes = &mut self.claim_routes;
        let (Some(table), Some(address)) =
            (routes.plan.as_ref().map(|plan| plan.origins), routes.addresses.get(client))
        else {
            return;
        };
        let (client, key) = (*address, (table, *address));
        let (before, change) = match epoch {
            Some(epoch) => {
                routes.own.insert(client, epoch);
                (self.wanted.claims.insert(key, epoch), Change::SetClaim { table, client, epoch })
            }
            None => {
                routes.own.remove(&client);
                (self.wanted.claims.remove(&key), Change::RemoveClaim { table, client })
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

/// Whom to tell, until when.
struct Telling {
    to: SyncSender<Event>,
    by: u64,
    ended: Arc<AtomicBool>,
}

impl Telling {
    /// Tells of a table until nobody wants to know any more.
    fn tell_all(&self, table: u32, device: &str) {
        while !self.has_ended() {
            match TableWatch::open(table, device, NOTICE).map(|watch| self.tell(watch)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => log(Weight::Warning, &format!("no news of table {table} for a moment: {error}")),
                // The device is going away.
                Err(_) => {}
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn tell(&self, mut watch: TableWatch) -> std::io::Result<()> {
        let mut is_first = true;
        while !self.has_ended() {
            let routes = watch.wait()?;
            if !is_first && routes.is_empty() {
                continue;
            }
            let event = Event::ClaimsHeard { by: self.by, is_first: std::mem::take(&mut is_first), routes };
            if self.to.send(event).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
