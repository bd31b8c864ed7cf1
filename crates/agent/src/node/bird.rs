//! BIRD on a node that speaks BGP: told what the plan says, once the devices for it are there, and reported on.
//!
//! A [`Service`] of [`crate::bird`] keeps it in threads of its own; the control loop hands it texts and hears reports, and never waits
//! for it but at the very end. Without BGP in the plan there is no service at all.

use std::path::PathBuf;

use wayleave_core::host::Backend;
use wayleave_core::render::{Session as BirdSession, bird, bird_sessions};

use super::agent::Agent;
use super::peers::age;
use super::{Event, Weight, log};
use crate::bird::{End, Mode, Paths, Report, Service, Tunnel, sessions};
use crate::control::BgpSnapshot;

/// BIRD's files in the network's directory.
const CONFIGURATION: &str = "bird.conf";
const CONTROL: &str = "bird.ctl";
const PROGRAM: &str = "bird";

/// BIRD as this agent has it.
#[derive(Debug, Default)]
pub(super) struct Bird {
    service: Option<Service>,
    /// What it was told last.
    told: Option<String>,
    report: Report,
}

impl Agent {
    /// Tells BIRD what the plan says, if that has changed.
    pub(super) fn follow_bird(&mut self) {
        // What links do is no business of BGP's: routes lead to addresses, and the device knows the way.
        let text = bird(&self.intended).map(|file| file.text.to_string());
        if text == self.bird.told {
            return;
        }
        if self.bird.service.is_none() {
            let to = self.events.clone();
            // A report that finds no room is followed by the next one.
            let tell = move |report| drop(to.try_send(Event::Bird(Box::new(report))));
            match Service::start(Mode::Own, self.bird_paths(), tell) {
                Ok(service) => self.bird.service = Some(service),
                Err(error) => return self.set_problem("bird", Some(format!("can't start a thread for BIRD: {error}"))),
            }
        }
        if let Some(service) = &self.bird.service {
            service.want(text.clone());
        }
        self.bird.told = text;
    }

    /// How BIRD is.
    pub(super) fn handle_bird(&mut self, report: Report) {
        if report.is_as_wanted && !self.bird.report.is_as_wanted {
            log(Weight::Notice, "BIRD runs with what is planned");
        }
        self.set_problem("bird", report.problem.clone());
        self.bird.report = report;
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
            problem: report.problem.clone(),
            sessions: report
                .seen
                .as_ref()
                .map_or_else(Vec::new, |seen| sessions(&seen.protocols, seen.status.now, find)),
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
        let place = self.reconciler.place();
        Paths {
            program: program(),
            configuration: place.join(CONFIGURATION),
            socket: place.join(CONTROL),
            ends_with_us: self.reconciler.backend() == Backend::Engine,
        }
    }
}

/// Where BIRD is: where programs are, or where Debian has it, which is out of many users' path.
fn program() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&paths).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    all.map(|directory| directory.join(PROGRAM)).find(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into())
}
