//! What a running node tells BIRD of itself beyond its plan: that it is about to go, how long lines take, and what they carry. And BGP in
//! figures.
//!
//! In: `wayleave drain`, counters of bytes, and round trips, which are measured to neighbours over the devices for them, and known of
//! links with nodes.
//! Out: another text for BIRD, if that changes anything.

use std::ffi::CString;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use wayleave_core::names::Name;
use wayleave_core::network::Profile;
use wayleave_core::plan::PeerPlan;
use wayleave_core::render::BirdNow;

use super::super::agent::Agent;
use super::super::{Event, Weight, log};
use super::metrics;
use crate::ping::{PingOptions, PingTarget, ping_over};

/// Between two measurements.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(1);

impl Agent {
    /// Asks neighbours and nodes to use other ways, since this node is about to go (RFC 8326); or takes that back. Nothing, where no
    /// BGP is spoken.
    pub(in crate::node) fn set_leaving(&mut self, is_leaving: bool) -> Option<String> {
        let bgp = self.intended.bgp.as_ref()?;
        let sessions = bgp.neighbours.len() + bgp.nodes.len();
        if self.bird.now.is_leaving != is_leaving {
            self.bird.now.is_leaving = is_leaving;
            self.follow_bird();
        }
        Some(match is_leaving {
            true => format!("{sessions} BGP neighbours and nodes are asked to use other ways (community 65535:0)"),
            false => format!("{sessions} BGP neighbours and nodes may use its ways again"),
        })
    }

    /// The round trip of a line, as far as it is known.
    pub(super) fn line_rtt_ms(&self, name: &Name) -> Option<f64> {
        self.bird.lines.rtt_ms(name)
    }

    /// Measures lines, and tells BIRD of other classes. Only where they are told to anybody.
    pub(super) fn measure_lines(&mut self) {
        let Some(bgp) = self.part.bgp.as_ref().filter(|bgp| bgp.profile == Some(Profile::Dn42)) else {
            self.bird.lines_at = None;
            return;
        };
        let now = Instant::now();
        if self.bird.lines_at.is_some_and(|at| now < at) {
            return;
        }
        self.bird.lines_at = Some(now + INTERVAL);
        let neighbours = bgp.neighbours.iter().filter_map(|neighbour| {
            let address = neighbour.address(true).or(neighbour.address(false))?;
            Some((neighbour.name.clone(), neighbour.device.as_str().to_owned(), address))
        });
        let asked: Vec<(Name, String, IpAddr)> = neighbours.collect();
        let nodes: Vec<Name> = bgp.nodes.iter().map(|node| node.name.clone()).collect();
        self.bird.lines.keep(|name| nodes.contains(name) || asked.iter().any(|(known, ..)| known == name));
        let reports = self.failover.reports(self.time());
        for name in &nodes {
            if let Some(rtt_us) = reports.get(name).and_then(|report| report.rtt_us) {
                self.bird.lines.handle_rtt(name, rtt_us as f64 / 1_000.0, self.started.elapsed());
            }
        }
        self.count_lines();
        self.follow_lines();
        let events = self.events.clone();
        let work = move || drop(events.try_send(Event::LinesMeasured(round_trips(&asked))));
        if let Err(error) = std::thread::Builder::new().name("lines".into()).spawn(work) {
            log(Weight::Warning, &format!("can't measure lines to neighbours: {error}"));
        }
    }

    /// What has gone over lines so far.
    fn count_lines(&mut self) {
        let now = self.started.elapsed();
        let Some(bgp) = &self.part.bgp else { return };
        let nodes = self.part.peers.iter().filter(|peer| bgp.nodes.iter().any(|node| node.name == peer.name));
        let of_node = |peer: &PeerPlan| Some((peer.name.clone(), self.peers.counted_bytes(peer)?));
        let mut all: Vec<(Name, (u64, u64))> = nodes.filter_map(of_node).collect();
        for neighbour in &bgp.neighbours {
            let seen = self.reconciler.host().describe(neighbour.device.as_str()).ok();
            if let Some(peer) = seen.as_ref().and_then(|seen| seen.peers.first()) {
                all.push((neighbour.name.clone(), (peer.tx_bytes, peer.rx_bytes)));
            }
        }
        for (name, (sent, received)) in all {
            self.bird.lines.handle_bytes(&name, [sent, received], now);
        }
    }

    /// What came of it.
    pub(in crate::node) fn handle_lines(&mut self, measured: &[(Name, f64)]) {
        for (name, ms) in measured {
            self.bird.lines.handle_rtt(name, *ms, self.started.elapsed());
        }
        self.follow_lines();
    }

    fn follow_lines(&mut self) {
        if self.bird.lines.poll(self.started.elapsed()) {
            let lines = self.bird.lines.classes().clone();
            self.bird.now = BirdNow { lines, ..self.bird.now.clone() };
            self.follow_bird();
        }
    }

    /// Notes BGP's figures for whoever asks for them.
    pub(super) fn note_metrics(&mut self) {
        let page = self.bgp_snapshot().map(|bgp| {
            self.bird.counts.handle_sessions(&bgp.sessions);
            metrics::text(&bgp, &self.bird.counts)
        });
        self.health.note_metrics(page);
    }
}

/// Asks each neighbour over the device for it.
fn round_trips(asked: &[(Name, String, IpAddr)]) -> Vec<(Name, f64)> {
    let ask = |(name, device, address): &(Name, String, IpAddr)| {
        let device = CString::new(device.as_str()).ok()?;
        // SAFETY: the text ends with a zero and lives through the call.
        let device = std::num::NonZeroU32::new(unsafe { libc::if_nametoindex(device.as_ptr()) })?;
        let target = PingTarget { source: None, destination: *address };
        let options = PingOptions { count: 1, timeout: ANSWER_MAX, ..PingOptions::default() };
        let results = ping_over(Some(device), &[target], &options).ok()?;
        let rtt = results.first()?.min()?;
        Some((name.clone(), rtt.as_secs_f64() * 1_000.0))
    };
    asked.iter().filter_map(ask).collect()
}
