//! What the agent answers to those who ask over the control socket.
//!
//! In: a request. Out: a response, and the change that was asked for. A file with errors, or one that is older than what is in
//! force, changes nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use wayleave_core::host::{KeyPaths, wanted};
use wayleave_core::network::Host;
use wayleave_core::plan::{LinkStates, NodePlan};

use super::agent::{Agent, planned};
use super::chain;
use crate::control::{ProposedChange, Request, Response};

impl Agent {
    pub(super) fn answer(&mut self, request: Request) -> Response {
        let outcome = match request {
            Request::Status => return Response::Status(Box::new(self.snapshot())),
            Request::Propose { file, key_paths } => match self.propose(&file, &key_paths) {
                Ok(changes) => return Response::Changes(changes),
                Err(why) => Err(why),
            },
            Request::Reload { file, confirm_s } => match file.filter(|file| Some(file) != self.reading.files.first()) {
                Some(file) => Err(self.other_file(&file)),
                None => self.reload(confirm_s.map(Duration::from_secs)),
            },
            Request::Confirm => {
                self.back.take().map(|_| "confirmed".to_owned()).ok_or("nothing waits for it".to_owned())
            }
            Request::Drain { on } => self.set_draining(on),
            Request::Stop { cleanup } => {
                self.options.cleanup |= cleanup;
                self.begin_to_end();
                Ok("ending".to_owned())
            }
        };
        outcome.map_or_else(Response::Refused, Response::Done)
    }

    fn other_file(&self, file: &Path) -> String {
        let own = self.reading.files.first().map(|own| own.display().to_string()).unwrap_or_default();
        format!("it follows {own}; put what is in {} there, or start it anew with --network", file.display())
    }

    /// Reads the network file again and carries it out; a bad one changes nothing.
    pub(super) fn reload(&mut self, confirm: Option<Duration>) -> Result<String, String> {
        let before = self.reading.clone();
        let outcome = (self.options.read)(None).and_then(|reading| self.take_over(reading));
        if let Err(why) = outcome {
            let problem = format!("the network file is refused: {why}");
            self.set_problem("network file", Some(problem.clone()));
            return Err(problem);
        }
        self.set_problem("network file", None);
        if let Some(time) = confirm {
            // Of several unconfirmed changes, all are taken back.
            let before = self.back.take().map_or(before, |(_, first)| first);
            self.back = Some((Instant::now() + time, before));
        }
        match self.problems.get("host") {
            Some(problem) => Err(problem.clone()),
            None => Ok(format!("generation {} is in force", self.part.generation)),
        }
    }

    /// What would be changed if a network file were taken now. Changes nothing.
    fn propose(&mut self, file: &Path, key_paths: &KeyPaths) -> Result<Vec<ProposedChange>, String> {
        let reading = (self.options.read)(Some(file))?;
        let (plan, member) = planned(&reading, (&LinkStates::default(), &self.claims), &self.options.node)
            .map_err(|error| chain(&error))?;
        let mut part = plan.of(member);
        if part == self.intended {
            // As links are now; what neighbours are to be is not yet there while BIRD judges it, or if it refuses.
            part = NodePlan { bgp: part.bgp, ..self.part.clone() };
        }
        let mut endpoints = self.dialler.chosen();
        endpoints.extend(first_addresses(&part).filter(|(name, _)| !self.part.peers.iter().any(|p| p.name == *name)));
        let mut wanted = wanted(&part, self.reconciler.backend(), &endpoints);
        self.add_learned(&mut wanted, &part);
        let mut wanted = self.reconciler.fit(wanted);
        if let (Some(device), true) = (wanted.devices.get_mut(&part.device), part.mtu == self.part.mtu) {
            device.mtu = self.mtu().0;
        }
        let proposal = self.reconciler.propose(&wanted, Some(&self.wanted)).map_err(|error| chain(&error))?;
        let said = proposal
            .changes
            .iter()
            .map(|change| ProposedChange { change: change.to_string(), command: change.command(key_paths) });
        Ok(said.chain(self.propose_bird(&part)).collect())
    }
}

/// Each peer's first endpoint that needs no name server.
fn first_addresses(part: &NodePlan) -> impl Iterator<Item = (wayleave_core::names::Name, SocketAddr)> {
    part.peers.iter().filter_map(|peer| {
        let address = peer.endpoints.iter().find_map(|endpoint| match &endpoint.host {
            Host::Ip(address) => Some(SocketAddr::from((*address, endpoint.port))),
            Host::Dns(_) => None,
        })?;
        Some((peer.name.clone(), address))
    })
}
