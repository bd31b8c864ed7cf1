//! Cutting and mending the underlay while the lab runs.
//!
//! A fault is remembered until it is healed, so `lab status` can tell what is cut. Faults work on the wire: members keep
//! their devices and learn of it as they would in life, by silence.

use std::fmt;

use serde::{Deserialize, Serialize};
use wayleave_core::file::nearest;
use wayleave_core::names::Name;
use wayleave_core::network::{Neighbour, RegionIx};
use wayleave_core::plan::Member;

use super::{Lab, LabError, NeighbourHost};
use crate::scenario::tunnel_rtt_us;
use crate::wire::{LinkModel, PortId};

/// What is cut or mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A member's connection to everybody.
    Node(String),
    /// The connections of all members of a region to everybody.
    Region(String),
    /// A foreign router's connection to everybody.
    Neighbour(String),
    /// The way between two, each a member, a region or a foreign router.
    Between(String, String),
}

/// Something that does not work at present.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What.
    pub target: Target,
    /// From the first to the second only.
    pub one_way: bool,
    /// Share of packets lost, 0 to 1; none: all of them.
    pub loss: Option<f64>,
}

/// Why a fault can't be made or healed.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// No such member or region, and the name that is nearest.
    #[error("{name} is no node, client, region or neighbour of this network{hint}", name = .0, hint = hint(.1.as_deref()))]
    Unknown(String, Option<String>),
    /// Something of another kind than was named, and what kind it is.
    #[error("{0} is a {1} and no {2}: say `{3} {0}`")]
    Kind(String, &'static str, &'static str, &'static str),
    /// No overlay link runs there, so that nothing would change.
    #[error("no link of this network runs there: {0}")]
    NoLink(Target),
    /// Nothing like that is cut.
    #[error("{0} is not cut")]
    NotCut(Target),
    /// One-way and partial faults are of ways, not of members.
    #[error("--one-way and --loss need two ends, such as `hkg nrt`")]
    NeedsTwoEnds,
    /// A share outside 0 to 100 %.
    #[error("a share of lost packets is between 0 and 100 %")]
    Loss,
    /// The lab itself.
    #[error(transparent)]
    Lab(#[from] LabError),
}

fn hint(meant: Option<&str>) -> String {
    meant.map_or_else(String::new, |word| format!("; did you mean {word}?"))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(name) => write!(f, "node {name}"),
            Target::Region(name) => write!(f, "region {name}"),
            Target::Neighbour(name) => write!(f, "neighbour {name}"),
            Target::Between(a, b) => write!(f, "{a} - {b}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match (self.loss, self.one_way) {
            (None, false) => "cut".to_owned(),
            (None, true) => "cut one way".to_owned(),
            (Some(loss), false) => format!("loses {:.0} %", loss * 100.0),
            (Some(loss), true) => format!("loses {:.0} % one way", loss * 100.0),
        };
        write!(f, "{}: {how}", self.target)
    }
}

impl Lab {
    /// What is cut at present.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Cuts something.
    ///
    /// # Errors
    /// If it does not exist, or the fault makes no sense.
    pub fn fail(&mut self, fault: Fault) -> Result<(), FaultError> {
        if fault.loss.is_some_and(|loss| !(0.0..=1.0).contains(&loss)) {
            return Err(FaultError::Loss);
        }
        if (fault.one_way || fault.loss.is_some()) && !matches!(fault.target, Target::Between(..)) {
            return Err(FaultError::NeedsTwoEnds);
        }
        if let (first, Some(second)) = self.ports(&fault.target)?
            && !self.is_linked(&first, &second)
        {
            return Err(FaultError::NoLink(fault.target));
        }
        self.faults.retain(|other| other.target != fault.target);
        self.faults.push(fault);
        self.enforce()
    }

    /// Mends what was cut under the same name.
    ///
    /// # Errors
    /// If nothing of that name is cut.
    pub fn heal(&mut self, target: &Target) -> Result<(), FaultError> {
        self.ports(target)?;
        let same = |other: &Target| match (other, target) {
            (Target::Between(a, b), Target::Between(c, d)) => (a, b) == (c, d) || (a, b) == (d, c),
            (a, b) => a == b,
        };
        let before = self.faults.len();
        self.faults.retain(|fault| !same(&fault.target));
        if self.faults.len() == before {
            return Err(FaultError::NotCut(target.clone()));
        }
        self.enforce()
    }

    /// Brings the wire to the faults in force: first everything works, then what is cut does not.
    fn enforce(&self) -> Result<(), FaultError> {
        let mut down: Vec<PortId> = Vec::new();
        for fault in &self.faults {
            if let (first, None) = self.ports(&fault.target)? {
                down.extend(first);
            }
        }
        let ports = self.members.values().map(|host| host.port).chain(self.neighbours.iter().map(|host| host.port));
        for port in ports {
            self.wire.set_port_up(port, !down.contains(&port)).map_err(LabError::Wire)?;
        }
        for (member, host) in &self.members {
            for peer in self.plan.peers(*member) {
                let Some(other) = self.members.get(&peer.who) else { continue };
                let model = self.link_model(host.port, other.port, self.rtt_us(*member, peer.who))?;
                self.wire.set_link(host.port, other.port, model).map_err(LabError::Wire)?;
            }
        }
        for (node, neighbour, rtt_us) in self.tunnels() {
            self.set_both(node, neighbour, rtt_us)?;
        }
        Ok(())
    }

    /// Brings all ways of a member to its present times, what is cut stays cut.
    pub(super) fn reshape(&self, member: Member) -> Result<(), FaultError> {
        let host = &self.members[&member];
        for peer in self.plan.peers(member) {
            let Some(other) = self.members.get(&peer.who) else { continue };
            self.set_both(host.port, other.port, self.rtt_us(member, peer.who))?;
        }
        Ok(())
    }

    fn set_both(&self, a: PortId, b: PortId, rtt_us: u64) -> Result<(), FaultError> {
        let (out, back) = (self.link_model(a, b, rtt_us)?, self.link_model(b, a, rtt_us)?);
        self.wire.set_link(a, b, out).map_err(LabError::Wire)?;
        Ok(self.wire.set_link(b, a, back).map_err(LabError::Wire)?)
    }

    /// The ways between nodes and their neighbours, with the round-trip times.
    pub(super) fn tunnels(&self) -> Vec<(PortId, PortId, u64)> {
        let way = |(neighbour, host): (&Neighbour, &NeighbourHost)| {
            Some((self.members.get(&Member::Node(neighbour.node))?.port, host.port, tunnel_rtt_us(neighbour)))
        };
        self.network.neighbours.iter().zip(&self.neighbours).filter_map(way).collect()
    }

    /// The model of a way in one direction, with the faults in force.
    fn link_model(&self, from: PortId, to: PortId, rtt_us: u64) -> Result<LinkModel, FaultError> {
        let mut model = self.shape(rtt_us);
        for fault in &self.faults {
            let (first, Some(second)) = self.ports(&fault.target)? else { continue };
            let there = first.contains(&from) && second.contains(&to);
            let back = second.contains(&from) && first.contains(&to) && !fault.one_way;
            if there || back {
                match fault.loss {
                    Some(loss) => model.loss = model.loss.max(loss),
                    None => model.up = false,
                }
            }
        }
        Ok(model)
    }

    /// Whether any link has one end here and the other there.
    fn is_linked(&self, here: &[PortId], there: &[PortId]) -> bool {
        let among_members = self.members.iter().filter(|(_, host)| here.contains(&host.port)).any(|(member, _)| {
            let mut others = self.plan.peers(*member).iter().filter_map(|peer| self.members.get(&peer.who));
            others.any(|other| there.contains(&other.port))
        });
        let is_way = |(a, b, _): &(PortId, PortId, u64)| {
            (here.contains(a) && there.contains(b)) || (here.contains(b) && there.contains(a))
        };
        among_members || self.tunnels().iter().any(is_way)
    }

    /// Whether the underlay between two members is cut in at least one direction.
    pub(super) fn is_cut(&self, a: Member, b: Member) -> bool {
        let port = |member: Member| self.members.get(&member).map(|host| host.port);
        port(a).zip(port(b)).is_some_and(|(a, b)| self.is_way_cut(a, b))
    }

    /// The same between two ports.
    pub(super) fn is_way_cut(&self, a: PortId, b: PortId) -> bool {
        let is_down = |port: PortId| {
            self.faults
                .iter()
                .any(|fault| matches!(self.ports(&fault.target), Ok((first, None)) if first.contains(&port)))
        };
        let cut = |from, to| self.link_model(from, to, 0).is_ok_and(|model| !model.up);
        is_down(a) || is_down(b) || cut(a, b) || cut(b, a)
    }

    /// The ports that a target means: of one side, and of the other if it has two.
    fn ports(&self, target: &Target) -> Result<(Vec<PortId>, Option<Vec<PortId>>), FaultError> {
        let (name, found, meant) = match target {
            Target::Between(a, b) => return Ok((self.side(a)?, Some(self.side(b)?))),
            Target::Node(name) => (name, self.port_of(name).map(|port| vec![port]), "node or client"),
            Target::Region(name) => (name, self.region(name), "region"),
            Target::Neighbour(name) => (name, self.neighbour_port(name).map(|port| vec![port]), "neighbour"),
        };
        found.map(|ports| (ports, None)).ok_or_else(|| self.of_another_kind(name, meant))
    }

    fn of_another_kind(&self, name: &str, meant: &'static str) -> FaultError {
        let kind = |what, word| FaultError::Kind(name.to_owned(), what, meant, word);
        if self.port_of(name).is_some() {
            return kind("node or client", "node");
        }
        if self.region(name).is_some() {
            return kind("region", "region");
        }
        if self.neighbour_port(name).is_some() {
            return kind("neighbour", "neighbour");
        }
        self.unknown(name)
    }

    fn side(&self, name: &str) -> Result<Vec<PortId>, FaultError> {
        let one = self.port_of(name).or_else(|| self.neighbour_port(name));
        let found = one.map(|port| vec![port]).or_else(|| self.region(name));
        found.ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> FaultError {
        let members = self.members.values().map(|host| host.name.as_str());
        let regions = self.plan.network.regions.iter().map(|region| region.name.as_str());
        let foreign = self.neighbours.iter().map(|host| host.name.as_str());
        FaultError::Unknown(name.to_owned(), nearest(name, members.chain(regions).chain(foreign)).map(str::to_owned))
    }

    fn neighbour_port(&self, name: &str) -> Option<PortId> {
        self.neighbours.iter().find(|host| host.name.as_str() == name).map(|host| host.port)
    }

    fn port_of(&self, name: &str) -> Option<PortId> {
        let member = self.plan.find(&Name::new(name).ok()?)?;
        Some(self.members.get(&member)?.port)
    }

    fn region(&self, name: &str) -> Option<Vec<PortId>> {
        let network = &self.plan.network;
        let at = network.regions.iter().position(|region| region.name.as_str() == name)?;
        let is_in = |member: &Member| {
            let region = match member {
                Member::Node(ix) => network.node(*ix).region,
                Member::Client(at) => network.clients[*at as usize].region,
            };
            region == Some(RegionIx(at as u32))
        };
        Some(self.members.iter().filter(|(member, _)| is_in(member)).map(|(_, host)| host.port).collect())
    }
}
