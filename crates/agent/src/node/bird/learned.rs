//! What routing daemons put into the network's own table: routes to other nodes become prefixes of their peers, one by one.
//!
//! A thread listens to the kernel and tells the loop of each change; [`Learned`] in `core` says what follows from it for the device,
//! and that is done at once, without a look at the host. Who has written a route is not asked: BIRD, FRR or a person.
//! The engine is told besides which peers speak BGP, since what these send may come by another way than it would go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use wayleave_core::host::{HostState, Learned, LearnedRoute, wanted};
use wayleave_core::names::Name;
use wayleave_core::plan::NodePlan;
use wayleave_engine::{CommonSources, PublicKey as DevicePublicKey};

use crate::control::LearnedSnapshot;
use crate::limits::DROPPED_NAMED_MAX;
use crate::netlink::{Hop, TableWatch};
use crate::node::agent::Agent;
use crate::node::{Event, Weight, chain, log};

/// How soon a thread notices that its device was replaced.
const NOTICE: Duration = Duration::from_millis(500);
/// Until the kernel is asked again when it refused to say.
const AGAIN: Duration = Duration::from_secs(1);

/// Routes that are learned, and who tells of them.
#[derive(Debug, Default)]
pub(in crate::node) struct Table {
    pub(super) routes: Learned,
    watch: Option<Watching>,
    /// Of the present thread: what one before it has told last does not count.
    number: u64,
}

/// A thread that listens to one table and device.
#[derive(Debug)]
struct Watching {
    table: u32,
    ended: Arc<AtomicBool>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
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
        let device = self.part.device.as_str().to_owned();
        if let Err(error) = self.reconciler.host().set_common(&device, common(&self.part)) {
            log(Weight::Warning, &format!("what comes another way than it would go is dropped: {}", chain(&error)));
        }
    }

    /// The device was made anew: whoever listens for routes out of it listens to nothing.
    pub(in crate::node) fn forget_table(&mut self) {
        self.bird.table.watch = None;
    }

    /// Listens to the table while there is one to listen to. The device is there.
    pub(super) fn follow_table(&mut self) {
        let table = self.part.bgp.as_ref().map(|bgp| bgp.table);
        if table == self.bird.table.watch.as_ref().map(|watch| watch.table) {
            return;
        }
        self.bird.table.watch = None;
        self.bird.table.number += 1;
        if let Some(table) = table {
            self.bird.table.watch = self.watch(table);
        }
    }

    fn watch(&mut self, table: u32) -> Option<Watching> {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Told { to: self.events.clone(), by: self.bird.table.number, ended: ended.clone() };
        let device = self.part.device.to_string();
        let started = std::thread::Builder::new().name("table".into()).spawn(move || tell(table, &device, &told));
        let problem = started.as_ref().err().map(|error| format!("can't listen to table {table}: {error}"));
        self.set_problem("learned routes", problem);
        started.is_ok().then_some(Watching { table, ended })
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
    pub(in crate::node) fn handle_learned(&mut self, by: u64, is_first: bool, routes: &[(IpNet, Option<Hop>)]) {
        if by != self.bird.table.number || self.bird.table.watch.is_none() {
            return;
        }
        let mut routes: Vec<LearnedRoute> = routes
            .iter()
            .map(|(prefix, next_hop)| LearnedRoute { prefix: *prefix, next_hop: next_hop.map(|hop| hop.gateway) })
            .collect();
        if is_first {
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

/// Whom to tell, until when.
struct Told {
    to: SyncSender<Event>,
    by: u64,
    ended: Arc<AtomicBool>,
}

impl Told {
    fn tell(&self, is_first: bool, routes: Vec<(IpNet, Option<Hop>)>) -> bool {
        self.to.send(Event::Learned { by: self.by, is_first, routes }).is_ok()
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Tells of a table until nobody wants to know any more.
fn tell(table: u32, device: &str, told: &Told) {
    while !told.has_ended() {
        let mut is_first = true;
        let outcome = TableWatch::open(table, device, NOTICE).map(|mut watch| {
            while !told.has_ended() {
                let news = watch.wait()?;
                if (is_first || !news.is_empty()) && !told.tell(std::mem::take(&mut is_first), news) {
                    return Ok(());
                }
            }
            Ok::<(), std::io::Error>(())
        });
        match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => log(Weight::Warning, &format!("no news of table {table} for a moment: {error}")),
            // The device is going away.
            Err(_) => {}
        }
        std::thread::sleep(AGAIN);
    }
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
