//! Saying whether this entry server is ready for clients: by a TCP port that is open while it is, and in the snapshot.
//!
//! Twice a second the facts are gathered that [`wayleave_core::node::ready`] judges, and the port is opened or closed. Asking whether
//! packets are passed on is done with the kernel itself: it is asked for its way for a packet that comes from a client.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wayleave_core::host::Sysctl;
use wayleave_core::node::ready::{Condition, NotReady, against};
use wayleave_core::node::{Event as NodeEvent, Health as LinkHealth};
use wayleave_core::plan::{EntryPlan, MemberKind};

use super::super::agent::Agent;
use super::super::{Weight, chain, log};
use crate::control::ReadySnapshot;
use crate::host::sysctl;
use crate::system::ready_port::ReadyPort;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// What is said of being ready.
#[derive(Debug)]
pub(in crate::node) struct Ready {
    port: Option<ReadyPort>,
    is_draining: bool,
    against: Vec<NotReady>,
    look_at: Instant,
}

impl Ready {
    pub(in crate::node) fn new(now: Instant) -> Ready {
        Ready { port: None, is_draining: false, against: vec![NotReady::OutOfStep], look_at: now }
    }

    /// Whether nothing speaks against taking clients.
    pub(in crate::node) fn is_ready(&self) -> bool {
        self.against.is_empty()
    }

    /// Whether it was asked to take no more clients.
    pub(in crate::node) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// What speaks against taking clients, in words.
    pub(super) fn reasons(&self) -> Vec<String> {
        self.against.iter().map(ToString::to_string).collect()
    }

    /// No connection is accepted any more.
    pub(in crate::node) fn close(&mut self) {
        self.port = None;
    }
}

impl Agent {
    /// When to look again.
    pub(in crate::node) fn ready_wake(&self) -> Option<Instant> {
        self.part.entry.as_ref().map(|_| self.ready.look_at)
    }

    /// Looks whether it is ready, when it is time to, and opens or closes the port.
    pub(in crate::node) fn tend_ready(&mut self, now: Instant) {
        let Some(entry) = &self.part.entry else { return self.ready.close() };
        if now < self.ready.look_at {
            return;
        }
        let (entry, port) = (entry.clone(), entry.ready_port);
        self.ready.look_at = now + INTERVAL;
        let before = std::mem::take(&mut self.ready.against);
        self.ready.against = against(&self.condition(&entry));
        if self.ready.port.as_ref().is_some_and(|open| open.port().is_ok_and(|open| open != port)) {
            self.ready.close();
        }
        let is_ready = self.ready.against.is_empty();
        if is_ready && self.ready.port.is_none() {
            let opened = ReadyPort::open(port);
            let problem =
                opened.as_ref().err().map(|error| format!("can't open TCP port {port} for health checks: {error}"));
            self.set_problem("ready port", problem);
            self.ready.port = opened.ok();
            if self.ready.port.is_some() {
                log(Weight::Notice, &format!("ready for clients: TCP port {port} is open"));
            }
        } else if !is_ready {
            self.ready.close();
            if self.ready.against != before {
                let why: Vec<String> = self.ready.against.iter().map(ToString::to_string).collect();
                log(Weight::Notice, &format!("not ready for clients: {}", why.join("; ")));
            }
        }
    }

    /// Takes no more clients, or takes them again. The port is closed when this returns.
    pub(in crate::node) fn set_draining(&mut self, is_draining: bool) -> Result<String, String> {
        let leaving = self.set_leaving(is_draining);
        if self.part.entry.is_none() && leaving.is_none() {
            let name = &self.part.name;
            return Err(format!("{name} is no entry node that clients roam to, and speaks no BGP: nothing to drain"));
        }
        self.tell(NodeEvent::Drain(is_draining));
        if self.part.entry.is_none() {
            return Ok(leaving.unwrap_or_default());
        }
        self.ready.is_draining = is_draining;
        self.follow_draining();
        self.ready.look_at = Instant::now();
        self.tend_ready(Instant::now());
        let leaving = leaving.map_or(String::new(), |words| format!("; {words}"));
        let words = match (is_draining, self.ready.against.as_slice()) {
            (true, _) => format!("draining: the port for health checks is closed; {}", clients(self.failover.held())),
            (false, []) => "ready for clients again".into(),
            (false, [first, ..]) => format!("takes clients again as soon as it is ready; not yet: {first}"),
        };
        Ok(words + &leaving)
    }

    /// For those who ask.
    pub(super) fn ready_snapshot(&self) -> Option<ReadySnapshot> {
        let entry = self.part.entry.as_ref()?;
        Some(ReadySnapshot {
            port: entry.ready_port,
            is_open: self.ready.port.is_some(),
            is_draining: self.ready.is_draining,
            clients: self.failover.held(),
            passing: self.led(),
            against: self.ready.against.iter().map(ToString::to_string).collect(),
        })
    }

    fn condition(&mut self, entry: &EntryPlan) -> Condition {
        let devices = [&self.part.device, &entry.device];
        let running = self.reconciler.host().running(&devices).unwrap_or_default();
        let devices = devices.map(|device| (device.clone(), running.contains(device))).to_vec();
        let network = &self.reading.network;
        let is_backbone =
            |name| network.find_node(name).is_some_and(|node| network.node(node).hub || network.node(node).entry);
        let reports = self.failover.reports(self.time());
        let backbone = reports.iter().filter(|(name, _)| is_backbone(name));
        Condition {
            devices,
            refused: self.problems.get("host").cloned(),
            is_in_step: self.failover.is_in_step(),
            backbone: backbone.map(|(name, report)| (name.clone(), report.health == LinkHealth::Up)).collect(),
            not_forwarded: self.not_forwarded(entry),
            is_draining: self.ready.is_draining,
        }
    }

    /// Why a client's packets would end here.
    fn not_forwarded(&mut self, entry: &EntryPlan) -> Option<String> {
        let client = |is_v4: bool| {
            let all = entry.peers.iter().flat_map(|peer| &peer.allowed).map(ipnet::IpNet::addr);
            all.into_iter().find(|address| address.is_ipv4() == is_v4)
        };
        let beyond = |is_v4: bool| -> Option<IpAddr> {
            let nodes = self.part.peers.iter().filter(|peer| peer.kind == MemberKind::Node);
            nodes.flat_map(|peer| &peer.allowed).map(ipnet::IpNet::addr).find(|address| address.is_ipv4() == is_v4)
        };
        let (v4, v6) = ((client(true), beyond(true)), client(false));
        for (setting, is_needed) in
            [("net/ipv4/ip_forward", v4.0.is_some()), ("net/ipv6/conf/all/forwarding", v6.is_some())]
        {
            let value = sysctl::read(&Sysctl(setting.into())).ok().flatten();
            if is_needed && value.as_deref() != Some("1") {
                return Some(format!("{setting} is {}", value.as_deref().unwrap_or("not there")));
            }
        }
        let (Some(from), Some(to)) = v4 else { return None };
        let way = self.reconciler.host().way_for(from, &entry.device, to);
        way.err().map(|error| chain(&error))
    }
}

/// How many clients are here, in words.
fn clients(count: usize) -> String {
    match count {
        0 => "no client is here".into(),
        1 => "1 client is still here".into(),
        count => format!("{count} clients are still here"),
    }
}
