//! BGP sessions as the nodes' agents report them: what `lab status` shows of foreign routers and of nodes that speak BGP.
//!
//! In come the agents' snapshots; out comes one report for each session, and how many of what is to be there before anything is measured are.
//! BIRD itself is never asked.

use serde::{Deserialize, Serialize};
use wayleave_agent::control::SessionSnapshot;
use wayleave_core::names::Name;
use wayleave_core::plan::Member;

use super::{Lab, MemberHost};

/// What a session is when all is well, in BGP's words.
const ESTABLISHED: &str = "Established";

/// One session, seen from a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionReport {
    /// The node.
    pub node: String,
    /// The foreign router or the other node.
    pub with: String,
    /// BIRD's name of it.
    pub protocol: String,
    /// The other side's AS number.
    pub asn: u32,
    /// The state, in BGP's words.
    pub state: String,
    /// For how many seconds.
    pub since_s: Option<u64>,
    /// Routes that came, if BIRD keeps those that it refuses.
    pub received_routes: Option<u64>,
    /// Routes that came and were accepted.
    pub accepted_routes: Option<u64>,
    /// Routes that were sent.
    pub exported_routes: Option<u64>,
    /// Whether it is up.
    pub up: bool,
    /// Whether the underlay between the two is cut at present.
    pub cut: bool,
    /// Why it is not up, in a few words.
    pub reason: String,
}

impl Lab {
    /// All sessions, by the nodes' names. What an agent does not tell is not there.
    pub fn sessions(&self) -> Vec<SessionReport> {
        let mut reports = Vec::new();
        for (member, host) in &self.members {
            let Some(bgp) = host.snapshot().and_then(|snapshot| snapshot.bgp) else { continue };
            reports.extend(bgp.sessions.into_iter().map(|session| self.session(*member, host, session)));
        }
        reports
    }

    /// How many sessions with foreign routers are up and have routes that the other side tells of, of how many.
    pub fn sessions_ready(&self) -> (usize, usize) {
        let all = self.sessions();
        let told = |name: &str| self.neighbours.iter().any(|host| host.name.as_str() == name && host.far.is_some());
        let is_ready = |session: &&SessionReport| {
            let has_routes = session.received_routes.or(session.accepted_routes) > Some(0);
            session.up && (has_routes || !told(&session.with))
        };
        let foreign: Vec<_> = all
            .iter()
            .filter(|session| self.neighbours.iter().any(|host| host.name.as_str() == session.with))
            .collect();
        let names: std::collections::BTreeSet<&str> = foreign.iter().map(|session| session.with.as_str()).collect();
        let silent = self.neighbours.len() - names.len();
        (foreign.iter().copied().filter(is_ready).count(), foreign.len() + silent)
    }

    /// How many nodes that have sessions with others have all of them up, and have heard of what is behind others' foreign routers unless they
    /// have one of their own, of how many.
    pub fn speakers_ready(&self) -> (usize, usize) {
        let all = self.sessions();
        let is_node = |name: &str| self.members.values().any(|host| host.name.as_str() == name);
        let of = |name: &Name| -> Vec<&SessionReport> {
            all.iter().filter(|session| session.node == name.as_str() && is_node(&session.with)).collect()
        };
        let mut counts = (0, 0);
        for (member, host) in &self.members {
            let Member::Node(node) = member else { continue };
            if self.plan.bgp(*node).is_none_or(|bgp| bgp.nodes.is_empty()) {
                continue;
            }
            let sessions = of(&host.name);
            // A reflector tells of the best way only, which may be the node's own.
            let is_to_hear = self.network.neighbours_of(*node).next().is_none()
                && (0..self.neighbours.len()).any(|at| self.far_way(*member, at).is_some());
            let has_heard = sessions.iter().any(|session| session.accepted_routes > Some(0));
            let is_ready = !sessions.is_empty() && sessions.iter().all(|session| session.up);
            counts.0 += usize::from(is_ready && (has_heard || !is_to_hear));
            counts.1 += 1;
        }
        counts
    }

    fn session(&self, member: Member, host: &MemberHost, session: SessionSnapshot) -> SessionReport {
        let foreign = self.neighbours.iter().find(|other| other.name.as_str() == session.name);
        let node = self.members.iter().find(|(_, other)| other.name.as_str() == session.name);
        let cut = match (foreign, node) {
            (Some(other), _) => self.is_way_cut(host.port, other.port),
            (None, Some((other, _))) => self.is_cut(member, *other),
            (None, None) => false,
        };
        let up = session.state == ESTABLISHED;
        SessionReport {
            node: host.name.to_string(),
            with: session.name,
            protocol: session.protocol,
            asn: session.asn,
            since_s: session.since_s,
            received_routes: session.received_routes,
            accepted_routes: session.accepted_routes,
            exported_routes: session.exported_routes,
            up,
            cut,
            reason: if up { String::new() } else { session.reason },
            state: session.state,
        }
    }
}
