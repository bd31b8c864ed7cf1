//! Over HTTP: `/healthz`, whether the agent's process works, `/readyz`, whether the node does what it is there for, and `/metrics`,
//! BGP in figures.
//!
//! As orchestrators and load balancers ask for it: 200, or 503 with the reasons, one per line. The control loop notes how it is, and
//! that it turns; whoever asks never waits for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::agent::Agent;
use super::super::{Weight, log};
use crate::system::http::{HttpServer, Reply};

/// A loop that has not turned for so long does not work: it turns every five seconds, and a change of a large host takes some.
const STUCK: Duration = Duration::from_secs(60);

/// What is answered, and where.
#[derive(Debug, Default)]
pub(in crate::node) struct Health {
    server: Option<HttpServer>,
    noted: Arc<Mutex<Noted>>,
}

impl Health {
    /// Notes a page of figures.
    pub(in crate::node) fn note_metrics(&self, page: Option<String>) {
        locked(&self.noted).metrics = page.unwrap_or_default();
    }
}

/// How the agent was when its loop last turned.
#[derive(Debug, Default)]
struct Noted {
    turned: Option<Instant>,
    against: Vec<String>,
    metrics: String,
}

impl Agent {
    /// Answers at an address, as long as the agent lives. Where it can't be had the agent works all the same.
    pub(in crate::node) fn answer_health(&mut self, address: SocketAddr) {
        self.note_health(Instant::now());
        let noted = self.health.noted.clone();
        let answer = move |path: &str| locked(&noted).answer(path, Instant::now());
        match HttpServer::start(address, Box::new(answer)) {
            Ok(server) => self.health.server = Some(server),
            Err(error) => log(
                Weight::Warning,
                &format!("nobody answers /healthz and /readyz: can't listen at {address}: {error} (see --http)"),
            ),
        }
    }

    /// Notes how it is.
    pub(in crate::node) fn note_health(&self, now: Instant) {
        let against = match &self.part.entry {
            Some(_) => self.ready.reasons(),
            None => self.node_reasons(),
        };
        let mut noted = locked(&self.health.noted);
        (noted.turned, noted.against) = (Some(now), against);
    }

    /// What speaks against a node being of use that has no clients.
    fn node_reasons(&self) -> Vec<String> {
        let is_out_of_step = !self.failover.is_in_step();
        let out_of_step = is_out_of_step.then(|| "not yet in step with the other nodes".to_owned());
        let ending = self.ends.then(|| "ending".to_owned());
        self.problems.values().cloned().chain(out_of_step).chain(ending).collect()
    }
}

impl Noted {
    fn answer(&self, path: &str, now: Instant) -> Reply {
        let turned = self.turned.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let stuck = (turned >= STUCK).then(|| "the agent's control loop does not turn".to_owned());
        let against: Vec<&String> = match path {
            "/healthz" => stuck.iter().collect(),
            "/readyz" => stuck.iter().chain(&self.against).collect(),
            "/metrics" => return Reply { status: 200, text: self.metrics.clone() },
            _ => return Reply { status: 404, text: "there are /healthz, /readyz and /metrics\n".into() },
        };
        let lines = |all: &[&String]| all.iter().map(|reason| format!("{reason}\n")).collect();
        match against.as_slice() {
            [] => Reply { status: 200, text: "ok\n".into() },
            all => Reply { status: 503, text: lines(all) },
        }
    }
}

fn locked(noted: &Mutex<Noted>) -> MutexGuard<'_, Noted> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_works_while_its_loop_turns_and_is_ready_if_nothing_speaks_against_it() {
        let begin = Instant::now();
        let said = |noted: &Noted, path, after_s| {
            let reply = noted.answer(path, begin + Duration::from_secs(after_s));
            format!("{} {}", reply.status, reply.text.replace('\n', ";"))
        };
        let fine = Noted { turned: Some(begin), metrics: "bgp 1\n".into(), ..Noted::default() };
        assert_eq!([said(&fine, "/healthz", 59), said(&fine, "/readyz", 59)], ["200 ok;"; 2]);
        let stuck = "503 the agent's control loop does not turn;";
        assert_eq!([said(&fine, "/healthz", 60), said(&fine, "/readyz", 60)], [stuck; 2]);
        assert_eq!(said(&fine, "/metrics", 60), "200 bgp 1;", "also of a node that has come to a stop");
        let draining = Noted { against: vec!["draining".into(), "cut off".into()], ..fine };
        assert_eq!(
            [said(&draining, "/healthz", 1), said(&draining, "/readyz", 1)],
            ["200 ok;", "503 draining;cut off;"]
        );
        assert!(said(&draining, "/other", 1).starts_with("404"));
        assert!(said(&Noted::default(), "/healthz", 1).starts_with("503"), "it has not begun");
    }
}
