//! The agent's snapshot: what it knows, put together when somebody asks.
//!
//! In: the plan, the device's own figures. Out: a [`Snapshot`], which is all that people are shown. Changes nothing.

mod health;
mod ready;

use std::collections::HashMap;
use std::time::Duration;

use wayleave_core::keys::PublicKey;
use wayleave_core::node::{Health as LinkHealth, LinkReport};
use wayleave_core::plan::{Member, MemberKind, PeerPlan};
use wayleave_engine::PeerDescription;

pub(super) use health::Health as HealthAnswers;
pub(super) use ready::Ready;

use super::agent::Agent;
use super::peers::age;
use crate::control::{BgpSnapshot, DeviceSnapshot, Health, MemberSnapshot, Snapshot};

/// The word for a path that is one link.
const DIRECT: &str = "direct";
/// A session ends so long after its handshake (`REJECT_AFTER_TIME` of the WireGuard paper).
pub(in crate::node) const SESSION: Duration = Duration::from_secs(180);

impl Agent {
    /// How everything is.
    pub(in crate::node) fn snapshot(&mut self) -> Snapshot {
        self.refresh_plan();
        let device = self.part.device.as_str().to_owned();
        let described = self.reconciler.host().describe(&device).ok();
        let clients = self.part.entry.as_ref().map(|entry| entry.device.as_str().to_owned());
        let clients = clients.and_then(|device| self.reconciler.host().describe(&device).ok());
        let found = described.iter().chain(&clients).flat_map(|device| &device.peers);
        let peers: HashMap<PublicKey, &PeerDescription> =
            found.map(|peer| (PublicKey::from_bytes(peer.public_key.0), peer)).collect();
        let own = self.plan.find(&self.part.name);
        let others = self.plan.members().filter(|member| Some(*member) != own);
        let reports = self.failover.reports(self.time());
        let view =
            |member: Member| self.member(own.unwrap_or(member), member, &peers, reports.get(self.plan.name(member)));
        let mut members: Vec<MemberSnapshot> = others.map(view).collect();
        members.sort_by(|a, b| (a.health, &a.name).cmp(&(b.health, &b.name)));
        let problems: Vec<String> = self.problems.values().cloned().collect();
        let worst = members.iter().map(|member| member.health).filter(|health| *health != Health::Idle).min();
        let own_health = if problems.is_empty() { Health::Fine } else { Health::Degraded };
        let bgp = self.bgp_snapshot();
        let bgp_health = bgp.as_ref().map_or(Health::Fine, BgpSnapshot::health);
        Snapshot {
            schema: "wayleave.snapshot".into(),
            version: 1,
            network: self.part.network.to_string(),
            node: self.part.name.to_string(),
            generation: self.part.generation,
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            health: worst.unwrap_or(Health::Fine).min(own_health).min(bgp_health),
            problems,
            ready: self.ready_snapshot(),
            bgp,
            device: DeviceSnapshot {
                name: device,
                backend: self.reconciler.backend().to_string(),
                public_key: self.part.public_key.map(|key| key.to_string()),
                port: described.as_ref().map_or(0, |device| device.listen_port),
                mtu: self.mtu().0,
                fwmark: described.as_ref().map_or(0, |device| device.fwmark),
            },
            members,
            moves: self.clients.moves.all(),
        }
    }

    fn member(
        &self,
        own: Member,
        member: Member,
        peers: &HashMap<PublicKey, &PeerDescription>,
        report: Option<&LinkReport>,
    ) -> MemberSnapshot {
        let name = self.plan.name(member);
        let here = self.part.entry.as_ref().filter(|entry| entry.here.contains(name));
        let client =
            here.and_then(|entry| Some(&entry.peers[entry.peers.binary_search_by(|p| p.name.cmp(name)).ok()?]));
        let link = self.peers.named(name).map(|at| &self.part.peers[at]).or(client);
        let peer = link.and_then(|link| peers.get(&link.public_key?));
        let path = self.plan.path(own, member);
        let via = path.as_deref().map(|path| match path {
            [_, _] | [_] => DIRECT.to_owned(),
            [_, next, ..] => self.plan.name(*next).to_string(),
            [] => String::new(),
        });
        let age = peer.and_then(|peer| peer.last_handshake.map(age));
        let could_link = link.is_none() && self.could_link(own, member);
        let (health, reason) = match self.whereabouts(member) {
            Some(words) => words,
            None => match (judge(link, via.as_deref(), age, report), could_link) {
                ((Health::Fine, reason), true) if !reason.is_empty() => {
                    (Health::Fine, format!("{reason}; they could have a link of their own"))
                }
                (judged, _) => judged,
            },
        };
        let region = match member {
            Member::Node(ix) => self.plan.network.node(ix).region,
            Member::Client(_) => None,
        };
        MemberSnapshot {
            name: name.to_string(),
            kind: if matches!(member, Member::Node(_)) { "node" } else { "client" }.into(),
            region: region.map(|ix| self.plan.network.regions[ix.at()].name.to_string()),
            address: self.plan.overlay_addresses(member).first().copied(),
            via,
            public_key: self.plan.public_key(member).map(|key| key.to_string()),
            endpoint: peer.and_then(|peer| peer.endpoint),
            handshake_age_s: age.map(|age| age.as_secs()),
            rtt_ms: report.and_then(|report| Some(report.rtt_us? as f64 / 1_000.0)),
            loss: report
                .filter(|report| report.rtt_us.is_some())
                .map(|report| f64::from(report.loss_permille) / 1_000.0),
            received_bytes: peer.map_or(0, |peer| peer.rx_bytes),
            sent_bytes: peer.map_or(0, |peer| peer.tx_bytes),
            keepalive_s: peer.map_or(0, |peer| peer.persistent_keepalive_s),
            allowed: peer.iter().flat_map(|peer| &peer.allowed_ips).map(ToString::to_string).collect(),
            health,
            reason,
        }
    }
}

impl Agent {
    /// Whether two nodes could dial one another.
    fn could_link(&self, a: Member, b: Member) -> bool {
        let (Member::Node(a), Member::Node(b)) = (a, b) else { return false };
        let network = &self.plan.network;
        let dials = |from, to| network.dialable(from, to).next().is_some();
        !network.is_isolated(a, b) && (dials(a, b) || dials(b, a))
    }

    /// What there is to say of a client that roams and is not here.
    fn whereabouts(&self, member: Member) -> Option<(Health, String)> {
        let Member::Client(at) = member else { return None };
        let network = &self.plan.network;
        let client = &network.clients[at as usize];
        match self.claims.of(&client.name).filter(|_| client.roams) {
            Some(server) if *server == self.part.name => None,
            Some(server) => Some((Health::Fine, format!("with {server}"))),
            None if client.roams => Some((Health::Idle, "with nobody".into())),
            None => None,
        }
    }
}

/// How a member is, and why: by what is known of the link with it, or by the age of its session.
fn judge(
    link: Option<&PeerPlan>,
    via: Option<&str>,
    age: Option<Duration>,
    report: Option<&LinkReport>,
) -> (Health, String) {
    let trouble = |report: &LinkReport| report.trouble.clone().unwrap_or_else(|| "the link is down".into());
    match (via, report.map(|report| (report, report.health))) {
        (None, Some((report, LinkHealth::Down))) => return (Health::Down, format!("no path: {}", trouble(report))),
        (None, _) => return (Health::Down, "no path".into()),
        (Some(via), Some((report, LinkHealth::Down))) if via != DIRECT => {
            return (Health::Degraded, format!("over {via}: {}", trouble(report)));
        }
        (Some(_), Some((report, LinkHealth::Down))) => return (Health::Down, trouble(report)),
        (Some(via), Some((_, LinkHealth::Up))) if via == DIRECT => return (Health::Fine, String::new()),
        (Some(via), Some((_, LinkHealth::Up))) => return (Health::Fine, format!("over {via}, which is faster")),
        (Some(via), None) if link.is_none() => return (Health::Fine, format!("over {via}, as planned")),
        _ => {}
    }
    let is_client = link.is_some_and(|link| link.kind == MemberKind::Client);
    match age {
        Some(age) if age < SESSION => (Health::Fine, String::new()),
        Some(_) if is_client => (Health::Idle, "not connected".into()),
        None if is_client => (Health::Idle, "never connected".into()),
        Some(age) => (Health::Down, format!("no handshake for {} s", age.as_secs())),
        None => (Health::Idle, "no handshake yet".into()),
    }
}
