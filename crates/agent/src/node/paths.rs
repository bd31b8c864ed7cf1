//! The ways to peers' endpoints: which of several answer, and how large packets may be, measured now and then.
//!
//! Measured in a thread of its own, a bounded number of addresses at a time: when an address is new, when the kernel has another
//! limit for it than it had, and once a day. What was measured stays until something else is. The device's MTU follows the
//! narrowest way; it never grows beyond the planned one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use wayleave_core::host::HostState;
use wayleave_core::names::Name;
use wayleave_core::plan::PeerPlan;

use super::agent::Agent;
use super::peers::age;
use super::report::SESSION;
use super::{Event, Weight, log};
use crate::limits::PATHS_MAX;
use crate::ping::{PathMtu, answering, first_hop, path_mtus};

/// Until a way is measured again where nothing seems to have changed.
const AGAIN: Duration = Duration::from_secs(86_400);

/// The ways of one agent.
#[derive(Debug, Default)]
pub(super) struct Paths {
    known: BTreeMap<IpAddr, Known>,
    is_under_way: bool,
    /// Whether addresses are being asked for an echo.
    is_race_on: bool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// The first hop's limit when it was measured.
    first_hop: Option<u16>,
    at: Instant,
    found: Option<PathMtu>,
}

impl Paths {
    /// Starts to measure what is due of these addresses, and forgets all others.
    fn measure(&mut self, now: Instant, addresses: &BTreeSet<IpAddr>, mark: u32, events: &SyncSender<Event>) {
        self.known.retain(|address, _| addresses.contains(address));
        if self.is_under_way {
            return;
        }
        let is_due = |address: &&IpAddr| {
            let known = self.known.get(*address);
            known.is_none_or(|known| now >= known.at + AGAIN || first_hop(**address, mark) != known.first_hop)
        };
        let due: Vec<IpAddr> = addresses.iter().filter(is_due).take(PATHS_MAX).copied().collect();
        if due.is_empty() {
            return;
        }
        let events = events.clone();
        let work = move || {
            let found = path_mtus(&due, mark).unwrap_or_else(|_| vec![None; due.len()]);
            let found = due.into_iter().zip(found);
            let _ = events.send(Event::PathsMeasured(
                found.map(|(address, found)| (address, first_hop(address, mark), found)).collect(),
            ));
        };
        self.is_under_way = std::thread::Builder::new().name("paths".into()).spawn(work).is_ok();
    }

    fn handle(&mut self, measured: Vec<(IpAddr, Option<u16>, Option<PathMtu>)>, now: Instant) {
        self.is_under_way = false;
        for (address, first_hop, found) in measured {
            self.known.insert(address, Known { first_hop, at: now, found });
        }
    }
}

impl Agent {
    /// The peers that answer: with a session that is not too old, over a link that is not known to be down.
    pub(super) fn live_peers(&self) -> BTreeSet<Name> {
        let down = self.failover.down();
        let is_live = |peer: &&PeerPlan| {
            !down.contains(&peer.name) && self.peers.handshake_age(peer).is_some_and(|age| age < SESSION)
        };
        self.part.peers.iter().filter(is_live).map(|peer| peer.name.clone()).collect()
    }

    /// The neighbours that answer.
    pub(super) fn live_neighbours(&mut self) -> Vec<Name> {
        let mut live = Vec::new();
        for neighbour in self.part.neighbours() {
            let Ok(device) = self.reconciler.host().describe(neighbour.device.as_str()) else { continue };
            let latest = device.peers.iter().filter_map(|peer| peer.last_handshake).map(age).min();
            live.extend(latest.filter(|age| *age < SESSION).map(|_| neighbour.name.clone()));
        }
        live
    }

    /// Asks all addresses of peers that don't answer and have several for an echo at once.
    pub(super) fn race(&mut self) {
        let live = self.live_peers();
        let addresses: Vec<IpAddr> =
            self.dialler.contested(|name| live.contains(name)).into_iter().take(PATHS_MAX).collect();
        if addresses.is_empty() || self.paths.is_race_on {
            return;
        }
        let (events, mark) = (self.events.clone(), self.part.mark().unwrap_or(0));
        let work = move || {
            let _ = events.send(Event::Answering(answering(&addresses, mark).unwrap_or_default()));
        };
        self.paths.is_race_on = std::thread::Builder::new().name("race".into()).spawn(work).is_ok();
    }

    pub(super) fn handle_answering(&mut self, answering: &BTreeSet<IpAddr>) {
        self.paths.is_race_on = false;
        let live = self.live_peers();
        let moved = self.dialler.hear(self.started.elapsed(), answering, |name| live.contains(name));
        for (name, endpoint) in &moved {
            log(Weight::Info, &format!("{name} is dialled at {endpoint}, which answers"));
        }
        if !moved.is_empty() {
            self.look_at = Instant::now();
        }
    }

    /// Measures what is due, once there is a device whose MTU depends on it.
    pub(super) fn measure_paths(&mut self) {
        let addresses = self.dialler.chosen().values().map(|endpoint| endpoint.ip()).collect();
        let mark = self.part.mark().unwrap_or(0);
        self.paths.measure(Instant::now(), &addresses, mark, &self.events);
    }

    pub(super) fn handle_paths(&mut self, measured: Vec<(IpAddr, Option<u16>, Option<PathMtu>)>) {
        let before = self.mtu();
        self.paths.handle(measured, Instant::now());
        if self.mtu() != before {
            self.look_at = Instant::now();
        }
        // There may be more than could be measured at a time.
        self.measure_paths();
    }

    /// The MTU of the device, and the address that makes it less than planned.
    pub(super) fn mtu(&self) -> (u16, Option<IpAddr>) {
        let ways = self.paths.known.iter().filter_map(|(address, known)| Some((*address, known.found?.bytes)));
        wayleave_core::host::mtu(self.part.mtu, ways)
    }

    /// Lowers the MTU in what is wanted to what the ways take, and says so when that is new.
    pub(super) fn narrow(&mut self, wanted: &mut HostState, before: &HostState) {
        let (mtu, narrowest) = self.mtu();
        let Some(device) = wanted.devices.get_mut(&self.part.device) else { return };
        device.mtu = mtu;
        if before.devices.get(&self.part.device).is_some_and(|device| device.mtu != mtu) {
            let words = match narrowest {
                Some(address) => format!(
                    "packets of more than {} bytes don't reach {address}: the MTU of {} is {mtu} instead of {}",
                    mtu + wayleave_core::host::overhead(address),
                    self.part.device,
                    self.part.mtu
                ),
                None => format!("all ways take packets of the planned size: the MTU of {} is {mtu}", self.part.device),
            };
            log(Weight::Notice, &words);
        }
    }
}
