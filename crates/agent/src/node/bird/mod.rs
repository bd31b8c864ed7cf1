//! BIRD on a node that speaks BGP: told what the plan says, once it would take it and the devices for it are there, and reported on.
//!
//! [`Halves`] says when that is, and what neighbours' devices the host is to have meanwhile. A [`Service`] of [`crate::bird`] keeps it in
//! threads of its own; the control loop hands it texts and hears reports, and never waits for it but at the very end. Without BGP in
//! the plan there is no service at all. What BIRD writes into tables of the kernel's is listened to ([`listening`]).

mod claims;
mod learned;
mod listening;
mod now;

use std::path::Path;
use std::time::Instant;

use wayleave_core::host::Backend;
use wayleave_core::node::Event as NodeEvent;
use wayleave_core::plan::{BgpPlan, NodePlan, bgp_changes};
use wayleave_core::render::{BirdNow, Session as BirdSession, bird_now, bird_sessions, bird_tables, include_line};

use learned::Table;

pub(super) use claims::ClaimRoutes;
pub use listening::News;

use super::agent::Agent;
use super::peers::age;
use super::{Event, Weight, log};
use crate::bird::lines::Lines;
use crate::bird::metrics::{self, Counts};
use crate::bird::{End, Halves, Next, Paths, Report, Seen, Service, Standing, Theirs, Tunnel, left, program, sessions};
use crate::control::{BgpSnapshot, ProposedChange};

/// BIRD as this agent has it.
#[derive(Debug, Default)]
pub(super) struct Bird {
    service: Option<Service>,
    /// Where that one's BIRD is.
    paths: Option<Paths>,
    /// What it was told last, and the number of that order.
    told: Option<String>,
    order: u64,
    report: Report,
    halves: Halves,
    /// What only this node knows of itself, as far as BIRD was told.
    now: BirdNow,
    lines: Lines,
    lines_at: Option<Instant>,
    counts: Counts,
    /// Why the host could not be brought to what neighbours need.
    refusal: String,
    pub(super) table: Table,
}

impl Agent {
    /// Begins with the neighbours whose devices a predecessor has left running.
    pub(super) fn adopt_neighbours(&mut self) {
        let Ok(actual) = self.reconciler.propose(&self.wanted, None).map(|proposal| proposal.actual) else { return };
        let mut left = self.intended.bgp.clone();
        if let Some(BgpPlan { neighbours, .. }) = &mut left {
            // Those of an engine have ended with it.
            neighbours.retain(|neighbour| {
                let found = actual.state.devices.get(&neighbour.device);
                found.is_some_and(|found| found.backend == Backend::Kernel)
            });
        }
        self.bird.halves = Halves::new(left);
    }

    /// Begins to bring BIRD, and the devices of neighbours, to what the plan says, if that has changed.
    pub(super) fn follow_bird(&mut self) {
        // Which way leads to a node is no business of BGP's: routes lead to addresses, and the device knows the way. Only that none does is.
        let text = self.bird_text(&self.intended);
        // A predecessor may have left one that nobody wants any more.
        let is_left = self.bird.service.is_none() && text.is_none() && !self.left().is_empty();
        let next = self.bird.halves.handle_wanted(self.intended.bgp.as_ref(), text != self.bird.told);
        let Some(next) = next.or(is_left.then_some(Next::Want)) else { return };
        let paths = self.bird_paths();
        if self.bird.paths.as_ref() != Some(&paths)
            && let Err(error) = self.start_bird(paths)
        {
            return self.set_problem("bird", Some(format!("can't start a thread for BIRD: {error}")));
        }
        self.bird.told = text;
        self.tell_bird(next);
    }

    /// Keeps a BIRD at another place than the one before, whose part ends when it is seen to that nothing of it is left.
    fn start_bird(&mut self, paths: Paths) -> std::io::Result<()> {
        if let Some(service) = self.bird.service.take() {
            service.end(End::Leave);
        }
        let mut left = self.left();
        left.retain(|left| left.configuration != paths.configuration);
        let to = self.events.clone();
        // A report that finds no room is followed by the next one.
        let tell = move |report| drop(to.try_send(Event::Bird(Box::new(report))));
        self.bird.service = Some(Service::start(paths.clone(), left, tell)?);
        self.bird.paths = Some(paths);
        Ok(())
    }

    /// What of BIRD was left by whoever kept one before.
    fn left(&self) -> Vec<Paths> {
        left(self.reconciler.place(), &program())
    }

    /// Looks whether files of route origins have changed.
    pub(super) fn look_at_origins(&mut self) {
        if origins(&self.intended, Path::new("")).is_empty() {
            return;
        }
        // Only where they have: to say the same again means that something was mended.
        if self.bird_text(&self.intended) != self.bird.told {
            self.follow_bird();
        }
    }

    fn with_origins(&self, text: String) -> String {
        let paths = self.bird_paths();
        // Where BIRD itself looks for them.
        let folder = paths.configuration.parent().unwrap_or(Path::new(""));
        match origins(&self.intended, folder) {
            seen if seen.is_empty() => text,
            seen => format!("{text}# Route origins as of{seen}.\n"),
        }
    }

    fn bird_text(&self, part: &NodePlan) -> Option<String> {
        text(part, &self.bird.now).map(|text| self.with_origins(text))
    }

    fn tell_bird(&mut self, next: Next) {
        let Some(service) = &self.bird.service else { return };
        self.bird.order = match (next, self.bird.told.clone()) {
            (Next::Consider, Some(text)) => service.consider(text),
            (_, text) => service.want(text),
        };
        self.tell_held();
    }

    /// How BIRD is.
    pub(super) fn handle_bird(&mut self, report: Report) {
        if report.is_as_wanted && !self.bird.report.is_as_wanted {
            log(Weight::Notice, "BIRD runs with what is planned");
        }
        self.set_problem("bird", report.problem.clone());
        let (order, standing) = (report.order, report.standing);
        let has_session = |seen: &Seen| {
            let mut sessions = seen.protocols.iter().filter_map(|protocol| protocol.bgp.as_ref());
            sessions.any(|bgp| bgp.is_internal() && bgp.state == "Established")
        };
        if report.is_as_wanted && report.seen.as_ref().is_some_and(has_session) {
            self.tell(NodeEvent::RoutesTold);
        }
        let (was, is) = (self.bird.report.standing, standing);
        self.bird.counts.refusals += u64::from(was != Standing::Refused && is == Standing::Refused);
        self.bird.counts.deaths += u64::from(self.bird.report.state == "running" && report.state == "down");
        self.bird.report = report;
        self.note_metrics();
        if order == self.bird.order && self.bird.halves.handle_standing(standing) {
            self.follow_halves();
        }
    }

    /// What the host was brought to, or why it was not, is news for neighbours.
    pub(super) fn handle_host(&mut self, refusal: Option<&str>) {
        if let Some(refusal) = refusal {
            self.bird.refusal = refusal.to_owned();
        } else {
            self.follow_table();
        }
        let before = self.bird.halves.host();
        if let Some(next) = self.bird.halves.handle_host(refusal.is_none(), self.started.elapsed()) {
            self.tell_bird(next);
        }
        if self.bird.halves.host() != before {
            self.follow_halves();
        }
    }

    /// Tries again what the host has refused.
    pub(super) fn tend_bird(&mut self) {
        if self.bird.halves.handle_time(self.started.elapsed()) {
            self.follow_halves();
        }
        self.measure_lines();
    }

    pub(super) fn bird_wake(&self) -> Option<Instant> {
        let again = self.bird.halves.poll_timeout().map(|at| self.started + at);
        again.into_iter().chain(self.bird.lines_at).min()
    }

    /// The neighbours that the host is to have for now, in the place of those of the plan.
    pub(super) fn with_halves(&self, part: NodePlan) -> NodePlan {
        let mut bgp = self.bird.halves.host();
        if let (Some(bgp), Some(present)) = (&mut bgp, &part.bgp) {
            // Which of them can be reached is known of links.
            bgp.speakers.clone_from(&present.speakers);
        }
        NodePlan { bgp, ..part }
    }

    fn follow_halves(&mut self) {
        self.part = self.with_halves(self.part.clone());
        self.follow_speakers();
        self.set_endpoints();
        self.look_at = self.look_at.min(Instant::now());
        self.tell_held();
    }

    fn tell_held(&mut self) {
        let held: Vec<&str> = self.bird.halves.held().into_iter().map(|name| name.as_str()).collect();
        let of_bird = self.bird.report.problem.clone();
        let why = if self.bird.halves.poll_timeout().is_some() { Some(self.bird.refusal.clone()) } else { of_bird };
        let why = why.unwrap_or_else(|| "BIRD refuses them".into());
        let words = format!("neighbours {} stay as they were, device and session: {why}", held.join(", "));
        self.set_problem("neighbours", (!held.is_empty()).then_some(words));
    }

    /// What would become of BIRD's half, neighbour by neighbour.
    pub(super) fn propose_bird(&self, part: &NodePlan) -> Vec<ProposedChange> {
        let command = format!("birdc -s {} configure", self.bird_paths().socket.display());
        let mut changes = Vec::new();
        let mut say = |change: String| changes.push(ProposedChange { change, command: command.clone() });
        bgp_changes(self.part.bgp.as_ref(), part.bgp.as_ref(), &mut say);
        if changes.is_empty() && self.bird_text(part) != self.bird.told {
            changes.push(ProposedChange { change: "tell BIRD of other filters".into(), command });
        }
        changes
    }

    /// What there is to say of BGP.
    pub(super) fn bgp_snapshot(&mut self) -> Option<BgpSnapshot> {
        self.bird.told.as_ref()?;
        let tunnels: Vec<(String, Tunnel)> = bird_sessions(&self.intended)
            .into_iter()
            .map(|session| (session.protocol.clone(), self.tunnel(session)))
            .collect();
        let find = |protocol: &str| tunnels.iter().find(|(of, _)| of == protocol).map(|(_, tunnel)| tunnel.clone());
        let report = &self.bird.report;
        let status = report.seen.as_ref().map(|seen| &seen.status);
        Some(BgpSnapshot {
            schema: "wayleave.bgp".into(),
            version: 1,
            bird: if report.state.is_empty() { "starting" } else { report.state }.into(),
            bird_version: status.map(|status| status.version.clone()),
            router_id: status.map(|status| status.router_id.clone()),
            socket: self.bird_paths().socket,
            tables: self.intended.bgp.as_ref().and_then(bird_tables),
            problem: report.problem.clone(),
            is_leaving: self.bird.now.is_leaving,
            sessions: report
                .seen
                .as_ref()
                .map_or_else(Vec::new, |seen| sessions(&seen.protocols, seen.status.now, find)),
            between_nodes: Some(self.learned_snapshot()),
        })
    }

    /// What is below a session: a neighbour has a device of its own.
    fn tunnel(&mut self, session: BirdSession) -> Tunnel {
        let device = session.device.as_str().to_owned();
        let described = session.is_neighbour.then(|| self.reconciler.host().describe(&device).ok());
        let peer = described.as_ref().and_then(|device| device.as_ref()?.peers.first());
        Tunnel {
            name: session.with.to_string(),
            handshake_age_s: peer.and_then(|peer| peer.last_handshake).map(|at| age(at).as_secs()),
            is_there: described.map(|device| device.is_some()),
            rtt_ms: self.line_rtt_ms(&session.with),
            device,
        }
    }

    /// Ends BIRD, unless what was set up is to stay and can.
    pub(super) fn end_bird(&mut self) {
        let Some(service) = self.bird.service.take() else { return };
        service.end(match (self.options.cleanup, self.reconciler.backend()) {
            (true, _) => End::Remove,
            (false, Backend::Kernel) => End::Leave,
            // The engine's devices end with this process, and so do the sessions over them.
            (false, Backend::Engine) => End::Stop,
        });
    }

    fn bird_paths(&self) -> Paths {
        let (place, program) = (self.reconciler.place(), program());
        let ends_with_us = self.reconciler.backend() == Backend::Engine;
        let Some(bgp) = &self.intended.bgp else {
            // Nothing is wanted of whichever there is.
            let left = || left(place, &program).into_iter().next();
            return self.bird.paths.clone().or_else(left).unwrap_or_else(|| Paths::own(place, &program, ends_with_us));
        };
        let Some(bird) = &bgp.bird else { return Paths::own(place, &program, ends_with_us) };
        let theirs = Theirs {
            configuration: bird.configuration.clone().into(),
            prefix: bird.prefix.clone(),
            line: include_line(bird),
            place: place.to_owned(),
        };
        let (configuration, socket) = (bird.part.clone().into(), bird.socket.clone().into());
        Paths { program, configuration, socket, ends_with_us, theirs: Some(theirs) }
    }
}

/// Which files of route origins there are, by what changes with their contents: BIRD reads them when it is told its configuration, and
/// this makes it another one. A file that is replaced is another file.
fn origins(part: &NodePlan, folder: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let files = part.bgp.iter().flat_map(|bgp| &bgp.roa.files).flatten();
    let seen = |file: &String| match std::fs::metadata(folder.join(file)) {
        Ok(seen) => format!(" {}-{}-{}.{}", seen.ino(), seen.len(), seen.mtime(), seen.mtime_nsec()),
        Err(_) => " none".to_owned(),
    };
    files.map(seen).collect()
}

/// What BIRD is told; without the plan's generation, which alone is no reason to tell it anything.
fn text(part: &NodePlan, now: &BirdNow) -> Option<String> {
    let undated =
        |text: &str| text.lines().filter(|line| !line.starts_with("# Generated by")).flat_map(|l| [l, "\n"]).collect();
    bird_now(part, now).map(|file| undated(&file.text))
}
