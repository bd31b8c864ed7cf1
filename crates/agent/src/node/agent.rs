//! The control loop and what it does about each event.
//!
//! In come events and the time; out go changes of the host, lines in the log and answers. What is wrong is kept as a list of
//! problems, each said once when it comes and once when it goes; a refused change is tried again, ever less often.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use wayleave_core::host::{Backend, Change, Dialler, HostState};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::network::{Endpoint, Host};
use wayleave_core::plan::{Claims, KeyKind, KeyNeed, LinkStates, Member, NodePlan, Plan, merge, plan_now};

use super::bird::{Bird, ClaimRoutes};
use super::clients::{Clients, Farewell, OwnServer};
use super::failover::Failover;
use super::paths::Paths;
use super::peers::{Names, Peers};
use super::report::{HealthAnswers, Ready};
use super::{AgentError, Event, Options, Reading, Weight, chain, log, sources};
use crate::control::server::Asked;
use crate::limits::{CHANGES_LOGGED_MAX, EVENTS_MAX};
use crate::reconcile::{Reconciler, SOCKET};
use crate::system::signals::Signal;
use crate::system::systemd;

/// Between looks at a host where nothing seems to happen: WireGuard's own changes are told to nobody.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// From news to the look: editors and tools change several things in a row.
const SETTLE: Duration = Duration::from_millis(100);
/// Between looks at peers' handshakes, for endpoints that are tried.
const DIAL_INTERVAL: Duration = Duration::from_secs(5);
/// When link states are known at the latest, after the start: `core` hands them out after this even if nobody is heard.
const STATES_MAX: Duration = Duration::from_secs(3);
/// Until a refused change is tried again: doubled each time, up to a minute.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// A running agent.
pub struct Agent {
    pub(super) options: Options,
    pub(super) reconciler: Reconciler,
    pub(super) reading: Reading,
    pub(super) plan: Plan,
    /// Whether link states have changed since the whole plan was made.
    pub(super) is_plan_old: bool,
    pub(super) part: NodePlan,
    pub(super) peers: Peers,
    /// The same if all links worked.
    pub(super) intended: NodePlan,
    pub(super) states: LinkStates,
    /// With which entry node each client is.
    pub(super) claims: Claims,
    pub(super) clients: Clients,
    pub(super) wanted: HostState,
    pub(super) names: Names,
    pub(super) bird: Bird,
    pub(super) claim_routes: ClaimRoutes,
    pub(super) paths: Paths,
    pub(super) started: Instant,
    /// What is wrong now, by what it is about.
    pub(super) problems: std::collections::BTreeMap<&'static str, String>,
    pub(super) failover: Failover,
    pub(super) ready: Ready,
    pub(super) health: HealthAnswers,
    /// What this host's packets go to, if it is a client that roams.
    pub(super) own_server: Option<OwnServer>,
    pub(super) events: SyncSender<Event>,
    pub(super) dialler: Dialler,
    /// When to reconcile next, how long it took last, and by how much longer to wait after each failure.
    pub(super) look_at: Instant,
    pub(super) look_took: Duration,
    retry: Duration,
    dial_at: Instant,
    read_at: Option<Instant>,
    /// What to go back to, and when, unless somebody confirms.
    pub(super) back: Option<(Instant, Reading)>,
    pub(super) ends: bool,
    /// It gives its clients away, and ends then.
    pub(super) farewell: Option<Farewell>,
}

impl Agent {
    /// Reads, and takes the host.
    pub fn start(mut options: Options, events: SyncSender<Event>) -> Result<Agent, AgentError> {
        let reading = (options.read)(None).map_err(AgentError::File)?;
        let states = LinkStates::default();
        let (plan, member) = planned(&reading, (&states, &Claims::default()), &options.node)?;
        let part = plan.of(member);
        let intended = part.clone();
        let keys = keys(&mut options, &part, None).map_err(AgentError::Key)?;
        let mut reconciler = Reconciler::open(&part.network, options.choice.clone())?;
        keys.into_iter().for_each(|(kind, device, key)| reconciler.set_key(kind, device, key));
        let now = Instant::now();
        let failover = Failover::new(&reading, &options.node, options.recording.take());
        let (mut peers, mut clients) = (Peers::default(), Clients::default());
        peers.follow(&part);
        clients.follow(&part);
        let mut agent = Agent {
            options,
            reconciler,
            reading,
            plan,
            is_plan_old: false,
            part,
            peers,
            intended,
            states,
            claims: Claims::default(),
            clients,
            wanted: HostState::default(),
            names: Names::default(),
            bird: Bird::default(),
            claim_routes: ClaimRoutes::default(),
            paths: Paths::default(),
            started: now,
            problems: Default::default(),
            failover,
            ready: Ready::new(now),
            health: HealthAnswers::default(),
            own_server: None,
            events,
            dialler: Dialler::default(),
            look_at: now,
            look_took: Duration::ZERO,
            retry: RETRY_MIN,
            dial_at: now,
            read_at: None,
            back: None,
            ends: false,
            farewell: None,
        };
        agent.adopt_neighbours();
        agent.follow_bird();
        agent.part = agent.with_halves(agent.part.clone());
        agent.set_endpoints();
        agent.follow_servers();
        agent.follow_speakers();
        agent.follow_claims();
        agent.leave_running_device();
        Ok(agent)
    }

    /// A device that a predecessor left running carries packets over the paths of its time: they stay until it is known which
    /// links work.
    fn leave_running_device(&mut self) {
        let runs = self.reconciler.propose(&self.wanted, None).is_ok_and(|proposal| {
            self.reconciler.backend() == Backend::Kernel
                && proposal.actual.state.devices.get(&self.part.device).is_some_and(|device| device.up)
        });
        if runs && self.failover.has_links() {
            self.look_at = self.started + STATES_MAX;
            self.failover.is_device_there = true;
        }
    }

    /// Where the control socket belongs.
    pub fn socket_path(&self) -> PathBuf {
        self.reconciler.place().join(SOCKET)
    }

    /// The files that the network is from.
    pub fn files(&self) -> &[PathBuf] {
        &self.reading.files
    }

    /// Handles events until one of them is the end.
    pub fn live(&mut self, events: &Receiver<Event>) {
        let (name, network) = (&self.part.name, &self.part.network);
        let backend = self.reconciler.backend();
        log(Weight::Notice, &format!("{name} of {network}, generation {}, {backend} WireGuard", self.part.generation));
        self.handle_time(Instant::now());
        systemd::notify("READY=1");
        let watchdog = systemd::watchdog_interval();
        while !self.ends {
            let now = Instant::now();
            let mut wake = self.look_at.min(self.dial_at);
            wake = [
                self.read_at,
                self.links_wake(),
                self.clients_wake(),
                self.ready_wake(),
                self.farewell_wake(),
                self.server_wake(),
                self.bird_wake(),
                self.back.as_ref().map(|back| back.0),
                watchdog.map(|interval| now + interval),
            ]
            .into_iter()
            .flatten()
            .fold(wake, Instant::min);
            match events.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(event) => self.handle(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What has come is heard before anything is judged, also by a loop that got no processor for a while.
            events.try_iter().take(EVENTS_MAX).for_each(|event| self.handle(event));
            self.handle_time(Instant::now());
            if watchdog.is_some() {
                systemd::notify("WATCHDOG=1");
            }
        }
        self.end();
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Signal(Signal::End) => self.begin_to_end(),
            Event::Signal(Signal::Hangup) => drop(self.reload(None)),
            Event::FileChanged => self.read_at = Some(Instant::now() + SETTLE),
            Event::KernelChanged => {
                self.failover.look_at_sites_soon();
                // While changes are refused, what they leave behind is news as well: it must not start them again at once.
                if !self.problems.contains_key("host") {
                    self.look_at = self.look_at.min(Instant::now() + SETTLE);
                }
            }
            Event::Resolved { name, addresses } => {
                if self.names.handle(&name, addresses) {
                    if let Some(problem) = self.names.problem(&name) {
                        log(Weight::Warning, &format!("can't find the address of {name}: {problem}"));
                    }
                    self.set_endpoints();
                    self.look_at = Instant::now();
                }
            }
            Event::LinkMessage { from, bytes } => self.handle_message(from, bytes),
            Event::TrafficBegan => self.failover.look_at_traffic_soon(),
            Event::ClientCame(came) => self.handle_came(came),
            Event::SessionHinted => self.handle_hint(),
            Event::ClientConnected { key } => self.handle_connected(key),
            Event::Echoed { tag } => self.handle_echo(tag),
            Event::ServerAnswered => self.handle_server_echo(),
            Event::EndpointAnswered(endpoint) => self.handle_endpoint(endpoint),
            Event::Answering(answering) => self.handle_answering(&answering),
            Event::PathsMeasured(measured) => self.handle_paths(measured),
            Event::Learned(news) => self.handle_learned(&news),
            Event::ClaimsHeard(news) => self.handle_claims(news),
            Event::LinesMeasured(measured) => self.handle_lines(&measured),
            Event::Bird(report) => self.handle_bird(*report),
            Event::Asked(Asked { request, answer }) => {
                let response = self.answer(request);
                // Whoever asked may be gone.
                let _ = answer.try_send(response);
            }
        }
    }

    fn handle_time(&mut self, now: Instant) {
        if self.read_at.is_some_and(|at| now >= at) {
            self.read_at = None;
            let _ = self.reload(None);
        }
        if self.back.as_ref().is_some_and(|(at, _)| now >= *at)
            && let Some((_, reading)) = self.back.take()
        {
            log(Weight::Warning, "not confirmed: going back to what was before");
            let _ = self.take_over(reading);
        }
        if now >= self.dial_at {
            self.dial(now);
        }
        self.tend_bird();
        if now >= self.look_at {
            self.reconcile();
        }
        self.tend_clients(now);
        self.tend_links();
        self.tend_ready(now);
        self.tend_farewell(now);
        self.tend_server(now);
        self.note_health(now);
    }

    /// Takes a reading in the place of the present one, and brings the host to it as far as the host lets it.
    pub(super) fn take_over(&mut self, reading: Reading) -> Result<(), String> {
        if reading.ledger.generation < self.reading.ledger.generation && self.back.is_some() {
            log(Weight::Notice, "the network's ledger goes back by hand");
        } else if reading.ledger.generation < self.reading.ledger.generation {
            return Err(format!(
                "its ledger is of generation {}, older than {}, which is in force",
                reading.ledger.generation, self.reading.ledger.generation
            ));
        }
        let (plan, member) = planned(&reading, (&LinkStates::default(), &Claims::default()), &self.options.node)
            .map_err(|error| chain(&error))?;
        let part = plan.of(member);
        if part.network != self.part.network {
            return Err(format!("it is of another network, {}: start another agent for it", part.network));
        }
        for (kind, device, key) in keys(&mut self.options, &part, Some(&self.part))? {
            self.reconciler.set_key(kind, device, key);
        }
        if reading.files != self.reading.files
            && let Err(error) = sources::watch(reading.files.clone(), &self.events)
        {
            log(Weight::Warning, &chain(&error));
        }
        if part != self.intended {
            log(Weight::Notice, &format!("network file read: generation {}", part.generation));
        }
        (self.reading, self.plan, self.intended) = (reading, plan, part.clone());
        self.follow_bird();
        self.set_part(part);
        self.is_plan_old = false;
        self.adopt_links();
        self.follow_claims();
        let clients = &self.reading.network.clients;
        self.clients.moves.keep(|name| clients.binary_search_by(|client| client.name.cmp(name)).is_ok());
        self.plan_anew();
        self.set_endpoints();
        self.reconcile();
        Ok(())
    }

    /// Plans its own part with what is known of the links.
    pub(super) fn plan_anew(&mut self) {
        let Some(part) = self.part_with(&self.states) else { return };
        self.set_part(part);
        self.is_plan_old = true;
    }

    /// Its own part if links were as these states say.
    pub(super) fn part_with(&self, states: &LinkStates) -> Option<NodePlan> {
        let member = self.plan.find(&self.options.node)?;
        let mut part = self.plan.part(states, &self.claims, member);
        // Prefixes without a path stay routed into the device, which drops their packets: no other way would be a private one.
        part.routes = merge(part.routes.iter().chain(&self.intended.routes).copied().collect());
        part.generation = self.intended.generation;
        Some(part)
    }

    fn set_part(&mut self, part: NodePlan) {
        let part = self.with_halves(part);
        self.peers.follow(&part);
        self.clients.follow(&part);
        self.part = part;
        self.follow_servers();
        self.follow_speakers();
    }

    /// The whole plan with what is known of the links: for people who ask, not for carrying out.
    pub(super) fn refresh_plan(&mut self) {
        if std::mem::take(&mut self.is_plan_old)
            && let Ok((plan, _)) = planned(&self.reading, (&self.states, &self.claims), &self.options.node)
        {
            self.plan = plan;
        }
    }

    /// Brings the host to the plan.
    pub(super) fn reconcile(&mut self) {
        let begin = Instant::now();
        let before = std::mem::take(&mut self.wanted);
        let mut wanted = self.reconciler.fit(self.wanted_of(&self.part));
        self.narrow(&mut wanted, &before);
        let (mut done, mut is_remade) = (0, false);
        let outcome = self.reconciler.propose(&wanted, Some(&before)).and_then(|proposal| {
            let outcome = self.reconciler.carry_out(&wanted, &proposal, |change| {
                done += 1;
                is_remade |= matches!(change, Change::AddDevice { .. } | Change::RemakeDevice { .. });
                if done <= CHANGES_LOGGED_MAX {
                    log(Weight::Info, &change.to_string());
                }
            });
            if done > CHANGES_LOGGED_MAX {
                log(Weight::Info, &format!("and {} more changes", done - CHANGES_LOGGED_MAX));
            }
            outcome
        });
        if is_remade {
            self.failover.forget_sockets();
            self.forget_table();
            self.clients.forget_device();
            self.forget_claims();
        }
        let now = Instant::now();
        self.wanted = wanted;
        self.look_took = now - begin;
        match outcome {
            Ok(()) => {
                self.failover.is_device_there = true;
                // What was changed is looked at again: done is what can be seen, not what was asked for.
                let again = if done > 0 { SETTLE } else { LOOK_INTERVAL };
                (self.look_at, self.retry) = (now + again, RETRY_MIN);
                self.set_problem("host", None);
                self.measure_paths();
                self.handle_host(None);
                self.listen_to_claims();
            }
            Err(error) => {
                self.look_at = now + self.retry;
                self.retry = (self.retry * 2).min(LOOK_INTERVAL);
                let problem = chain(&error);
                self.set_problem("host", Some(problem.clone()));
                self.handle_host(Some(&problem));
            }
        }
    }

    /// Looks names up, and goes on to other endpoints of peers that don't answer.
    fn dial(&mut self, now: Instant) {
        self.dial_at = now + DIAL_INTERVAL;
        self.look_at_origins();
        self.count();
        self.tell_old_handshakes();
        self.race();
        let (live, neighbours) = (self.live_peers(), self.live_neighbours());
        let live: HashSet<&Name> = live.iter().chain(&neighbours).collect();
        if self.dialler.advance(now - self.started, |name| live.contains(name)) {
            self.look_at = now;
        }
        let answers = self.part.dialled().filter(|(name, _)| live.contains(name));
        let answering: HashSet<&str> = answers.flat_map(|(_, endpoints)| dns_names(endpoints)).collect();
        self.names.look_up(now, |name| !answering.contains(name), &self.events);
    }

    /// Tells the dialler every peer's addresses, as far as they are known.
    pub(super) fn set_endpoints(&mut self) {
        let all = self.part.dialled().flat_map(|(_, endpoints)| dns_names(endpoints));
        self.names.keep(all.map(str::to_owned));
        let (names, now) = (&self.names, self.started.elapsed());
        let addresses = |endpoints: &[Endpoint]| -> Vec<SocketAddr> {
            let of = |endpoint: &Endpoint| -> Vec<SocketAddr> {
                let port = endpoint.port;
                match &endpoint.host {
                    Host::Ip(address) => vec![(*address, port).into()],
                    Host::Dns(name) => names.addresses(name).iter().map(|address| (*address, port).into()).collect(),
                }
            };
            endpoints.iter().flat_map(of).collect()
        };
        self.dialler.set(now, self.part.dialled().map(|(name, endpoints)| (name.clone(), addresses(endpoints))));
        self.dial_at = Instant::now();
    }

    /// Notes what is wrong, or that it no longer is; says so when that is new.
    pub(super) fn set_problem(&mut self, about: &'static str, problem: Option<String>) {
        match problem {
            Some(problem) => {
                if self.problems.get(about) != Some(&problem) {
                    log(Weight::Error, &problem);
                    self.problems.insert(about, problem);
                }
            }
            None => {
                if self.problems.remove(about).is_some() {
                    log(Weight::Notice, &format!("{about}: all is well again"));
                }
            }
        }
    }

    /// Whether devices go when the agent ends: the kernel's stay if they may.
    pub(super) fn device_goes(&self) -> bool {
        self.options.cleanup || self.reconciler.backend() != Backend::Kernel
    }

    fn end(&mut self) {
        systemd::notify("STOPPING=1");
        self.ready.close();
        if self.device_goes() {
            self.release_clients();
        } else {
            self.leave_links();
        }
        self.end_bird();
        let _ = std::fs::remove_file(self.socket_path());
        if !self.options.cleanup {
            return log(Weight::Notice, "ended; what was set up stays");
        }
        match self.reconciler.remove(|_| {}) {
            Ok(()) => log(Weight::Notice, "ended; nothing is left on this host"),
            Err(error) => log(Weight::Error, &format!("ended, but not everything could be removed: {}", chain(&error))),
        }
    }
}

/// The keys that a part needs and an earlier one did not. A preshared key has no public half that would tell that it is another.
fn keys(
    options: &mut Options,
    part: &NodePlan,
    earlier: Option<&NodePlan>,
) -> Result<Vec<(KeyKind, DeviceName, PrivateKey)>, String> {
    let is_known = |need: &KeyNeed<'_>| earlier.is_some_and(|earlier| earlier.keys().any(|known| known == *need));
    let is_new = |need: &KeyNeed<'_>| need.kind == KeyKind::Preshared || !is_known(need);
    part.keys().filter(is_new).map(|need| Ok((need.kind, need.device.clone(), (options.key)(need)?))).collect()
}

/// The names among endpoints.
fn dns_names(endpoints: &[Endpoint]) -> impl Iterator<Item = &str> {
    endpoints.iter().filter_map(|endpoint| match &endpoint.host {
        Host::Dns(name) => Some(name.as_str()),
        Host::Ip(_) => None,
    })
}

/// The plan of a reading, and which member this node is in it.
pub(super) fn planned(
    reading: &Reading,
    (states, claims): (&LinkStates, &Claims),
    node: &Name,
) -> Result<(Plan, Member), AgentError> {
    let (plan, ..) = plan_now(reading.network.clone(), &reading.ledger, states, claims);
    let member = plan.find(node).ok_or_else(|| AgentError::NoNode(node.clone()))?;
    Ok((plan, member))
}
