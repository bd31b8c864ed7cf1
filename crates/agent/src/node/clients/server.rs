//! This host as a client that roams: whether its server answers, and another port for its packets when it does not.
//!
//! [`wayleave_core::host::ServerWatch`] decides, as for `client-watch`: it is told what the device has counted and which echoes were
//! answered, and says when to ask and when to dial anew, and at which endpoint. All entry nodes have the address that is asked. The peer is
//! taken out and put in again, since WireGuard would go on with the old session for fifteen seconds. One thread waits for answers.
//!
//! Several endpoints are raced twice: a connection to the port that entry nodes open while they are ready says which to dial, in a thread
//! for each race; and the engine sends its initiation to all of them, so that the first to answer it is the server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wayleave_core::host::{Change, PeerRef, ServerWatch, Step};
use wayleave_core::plan::{Member, PeerPlan};

use super::super::agent::Agent;
use super::super::{Event, Weight, chain, log};
use crate::limits::RACE_MAX;
use crate::ping::{Echoes, accepting};

/// Between two looks at the device: a fraction of what `core` waits for.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How soon the thread notices that it is not needed any more.
const NOTICE_MS: i32 = 1_000;

/// The server of a client that roams, as it is watched.
pub(in crate::node) struct OwnServer {
    watch: ServerWatch,
    echoes: Arc<Echoes>,
    target: IpAddr,
    endpoints: Vec<SocketAddr>,
    look_at: Instant,
    lost_at: Option<Instant>,
    ended: Arc<AtomicBool>,
    race_ended: Arc<AtomicBool>,
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

impl Agent {
    /// When the server is to be looked at.
    pub(in crate::node) fn server_wake(&self) -> Option<Instant> {
        self.own_server.as_ref().map(|server| server.look_at)
    }

    /// The server has answered an echo.
    pub(in crate::node) fn handle_server_echo(&mut self) {
        let elapsed = self.started.elapsed();
        let heard = self.own_server.as_mut().and_then(|server| server.watch.handle_echo(elapsed));
        self.say_server_heard(heard);
    }

    /// One of the server's endpoints has accepted a connection.
    pub(in crate::node) fn handle_endpoint(&mut self, endpoint: usize) {
        if let Some(server) = &mut self.own_server {
            server.watch.handle_answer(endpoint);
            server.look_at = Instant::now();
        }
    }

    /// Looks after the server, if this host is a client that roams, and does what is due.
    pub(in crate::node) fn tend_server(&mut self, now: Instant) {
        if !self.failover.is_device_there || !self.watches_server() || self.server_wake().is_some_and(|at| at > now) {
            return;
        }
        self.count();
        let counted = self.part.peers.first().and_then(|peer| self.peers.counted_bytes(peer));
        let elapsed = self.started.elapsed();
        let Some(server) = &mut self.own_server else { return };
        server.look_at = now + LOOK_INTERVAL;
        let heard = counted.and_then(|(sent, received)| server.watch.handle_counters(sent, received, elapsed));
        self.say_server_heard(heard);
        while let Some(step) = self.own_server.as_mut().and_then(|server| server.watch.poll(elapsed)) {
            self.step_server(step);
        }
    }

    /// Whether there is a server to be watched; begins to, or ends it, where the plan has changed.
    fn watches_server(&mut self) -> bool {
        let Some((target, endpoints)) = self.server_place() else {
            self.own_server = None;
            return false;
        };
        let is_it = |server: &OwnServer| server.target == target && server.endpoints == endpoints;
        if !self.own_server.as_ref().is_some_and(is_it) {
            self.own_server = self.watch_server(target, endpoints);
        }
        self.own_server.is_some()
    }

    /// What is asked for echoes, and where the server is dialled; none if this is no client that roams, or nothing is known.
    fn server_place(&self) -> Option<(IpAddr, Vec<SocketAddr>)> {
        let Member::Client(at) = self.plan.find(&self.options.node)? else { return None };
        let roams = self.plan.network.clients.get(at as usize)?.roams;
        let target = self.plan.addresses.entry.first().filter(|_| roams)?;
        let endpoints = self.dialler.planned(&self.part.peers.first()?.name);
        (!endpoints.is_empty()).then(|| (*target, endpoints.to_vec()))
    }

    fn watch_server(&mut self, target: IpAddr, endpoints: Vec<SocketAddr>) -> Option<OwnServer> {
        let (ended, events) = (Arc::new(AtomicBool::new(false)), self.events.clone());
        let echoes = match Echoes::open() {
            Ok(echoes) => Arc::new(echoes),
            Err(error) => {
                self.set_problem(
                    "server",
                    Some(format!("whether the server answers is not watched: {}", chain(&error))),
                );
                return None;
            }
        };
        let (heard, end) = (echoes.clone(), ended.clone());
        let listen = move || {
            while !end.load(Ordering::Acquire) {
                let answers = heard.wait(NOTICE_MS).unwrap_or_default();
                if !answers.is_empty() && events.send(Event::ServerAnswered).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("server echoes".into()).spawn(listen).ok()?;
        let race_ended = Arc::new(AtomicBool::new(true));
        let watch = ServerWatch::new(endpoints.len(), self.started.elapsed());
        Some(OwnServer { watch, echoes, target, endpoints, look_at: Instant::now(), lost_at: None, ended, race_ended })
    }

    fn step_server(&mut self, step: Step) {
        let elapsed = self.started.elapsed();
        let Some(server) = &mut self.own_server else { return };
        match step {
            // What can't be sent is not answered either.
            Step::Check => drop(server.echoes.send(server.target, 0)),
            Step::Race => self.race_endpoints(),
            Step::Rebind { attempt, endpoint } => {
                let silent = server.watch.silent_for(elapsed);
                server.lost_at.get_or_insert(Instant::now() - silent.min(elapsed));
                let (endpoint, silent) = (server.endpoints[endpoint], silent.as_secs_f64());
                log(
                    Weight::Notice,
                    &format!("no answer for {silent:.1} s: dialling {endpoint} from another port (attempt {attempt})"),
                );
                self.redial(endpoint);
            }
        }
    }

    /// Asks all endpoints at once which of them takes clients. One race at a time, so that their answers don't mix.
    fn race_endpoints(&self) {
        let (Some(server), Some(entry)) = (&self.own_server, &self.plan.network.entry) else { return };
        if !server.race_ended.swap(false, Ordering::AcqRel) {
            return;
        }
        let at_ready_port = |endpoint: &SocketAddr| SocketAddr::new(endpoint.ip(), entry.ready_port);
        let targets: Vec<SocketAddr> = server.endpoints.iter().map(at_ready_port).collect();
        let (events, ended, mark) = (self.events.clone(), server.race_ended.clone(), self.part.mark().unwrap_or(0));
        let work = move || {
            accepting(&targets, mark, RACE_MAX, |at| drop(events.send(Event::EndpointAnswered(at))));
            ended.store(true, Ordering::Release);
        };
        if std::thread::Builder::new().name("endpoints".into()).spawn(work).is_err() {
            server.race_ended.store(true, Ordering::Release);
        }
    }

    /// Speaks with the server from another port, with a new session.
    fn redial(&mut self, endpoint: SocketAddr) {
        let Some(PeerPlan { name, public_key: Some(key), keepalive_s, allowed, .. }) = self.part.peers.first().cloned()
        else {
            return;
        };
        self.dialler.choose(&name, endpoint, self.started.elapsed());
        let (device, keepalive_s) = (self.part.device.clone(), keepalive_s.unwrap_or(0));
        let peer = PeerRef { key, name: Some(name) };
        let away = [
            Change::RemovePeer { device: device.clone(), peer: peer.clone() },
            Change::SetPort { device: device.clone(), port: 0 },
        ];
        let add = Change::AddPeer { device: device.clone(), peer: peer.clone(), endpoint: Some(endpoint), keepalive_s };
        let give =
            allowed.into_iter().map(|prefix| Change::GivePrefix { device: device.clone(), peer: peer.clone(), prefix });
        let back: Vec<Change> = std::iter::once(add).chain(give).collect();
        // Whatever is left out here, the next look at the host makes up for.
        for changes in [&away[..], &back] {
            changes.iter().for_each(|change| log(Weight::Info, &change.to_string()));
            if let Err(error) = self.reconciler.expect(changes) {
                log(Weight::Warning, &chain(&error));
                self.look_at = Instant::now();
            }
        }
        let places = self.own_server.as_ref().map(|server| server.endpoints.clone()).unwrap_or_default();
        let key = wayleave_engine::PublicKey(*key.as_bytes());
        if places.len() > 1
            && let Err(error) = self.reconciler.host().race(device.as_str(), key, places)
        {
            log(Weight::Warning, &chain(&error));
        }
    }

    /// The one of several endpoints that has answered is where the server is dialled from now on.
    fn keep_endpoint(&mut self) {
        let Some(PeerPlan { name, public_key: Some(key), .. }) = self.part.peers.first() else { return };
        let (name, key) = (name.clone(), wayleave_engine::PublicKey(*key.as_bytes()));
        let Ok(device) = self.reconciler.host().describe(self.part.device.as_str()) else { return };
        let found = device.peers.iter().find(|peer| peer.public_key == key).and_then(|peer| peer.endpoint);
        if let Some(endpoint) = found {
            self.dialler.choose(&name, endpoint, self.started.elapsed());
        }
    }

    fn say_server_heard(&mut self, heard: Option<u32>) {
        let Some(attempts) = heard else { return };
        self.keep_endpoint();
        let lost_at = self.own_server.as_mut().and_then(|server| server.lost_at.take());
        let lost = lost_at.map_or(Duration::ZERO, |at| at.elapsed()).as_secs_f64();
        log(Weight::Notice, &format!("the server answers again, after {lost:.1} s and {attempts} change(s) of port"));
    }
}
