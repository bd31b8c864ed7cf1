//! A plan as a file, and the difference between two of them, member by member.
//!
//! The file is JSON with one member a line, versioned, written piece by piece. A difference lists what a host would
//! notice: members that come and go, addresses, ports, keys, peers, prefixes that change owner, and neighbours.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BgpPlan, NeighbourPlan, NodePlan, PeerPlan, Plan};
use crate::names::Name;

/// What the file calls itself.
const SCHEMA: &str = "wayleave.plan";
/// The format that this code writes and reads.
const VERSION: u32 = 1;

/// A whole plan, unfolded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Always `wayleave.plan`.
    pub schema: String,
    /// Format version.
    pub version: u32,
    /// The network's name.
    pub network: Name,
    /// The plan's generation.
    pub generation: u64,
    /// Every member's part: nodes by name, then clients by name.
    pub members: Vec<NodePlan>,
}

/// Why a text is not a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// Not the JSON of a plan.
    #[error("not a plan")]
    Syntax(#[source] serde_json::Error),
    /// JSON of something else, or of another version.
    #[error("this is `{schema}` version {version}, not `{SCHEMA}` version {VERSION}")]
    Version {
        /// What it calls itself.
        schema: String,
        /// Its version.
        version: u32,
    },
}

impl PlanFile {
    /// Unfolds a plan.
    pub fn new(plan: &Plan) -> PlanFile {
        PlanFile {
            schema: SCHEMA.into(),
            version: VERSION,
            network: plan.network.name.clone(),
            generation: plan.generation,
            members: plan.members().map(|member| plan.of(member)).collect(),
        }
    }

    /// Reads a plan's text.
    ///
    /// # Errors
    /// If it is not one, or of another version.
    pub fn parse(text: &str) -> Result<PlanFile, PlanFileError> {
        #[derive(Deserialize)]
        struct Header {
            schema: String,
            version: u32,
        }
        let Header { schema, version } = serde_json::from_str(text).map_err(PlanFileError::Syntax)?;
        if schema != SCHEMA || version != VERSION {
            return Err(PlanFileError::Version { schema, version });
        }
        serde_json::from_str(text).map_err(PlanFileError::Syntax)
    }

    /// Writes a plan as text, member by member, without unfolding it as a whole.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(plan: &Plan, out: &mut dyn fmt::Write) -> fmt::Result {
        let (network, generation) = (json(&plan.network.name), plan.generation);
        write!(out, "{{\"schema\":\"{SCHEMA}\",\"version\":{VERSION},\"network\":{network},")?;
        write!(out, "\"generation\":{generation},\"members\":[")?;
        for (at, member) in plan.members().enumerate() {
            write!(out, "{}{}", if at == 0 { "\n" } else { ",\n" }, json(&plan.of(member)))?;
        }
        out.write_str("\n]}\n")
    }
}

/// JSON of types that hold nothing that JSON can't.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plans hold only strings, numbers, lists and structs of them")
}

/// One difference at one member, in the words of the newer plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanChange {
    /// The member whose host notices.
    pub member: Name,
    /// What is different.
    pub what: String,
}

/// A plan to be compared: one in memory, whose members are unfolded one at a time, or one from a file.
#[derive(Debug, Clone, Copy)]
pub enum Side<'a> {
    /// In memory.
    Plan(&'a Plan),
    /// From a file.
    File(&'a PlanFile),
}

impl<'a> Side<'a> {
    fn members(self) -> BTreeMap<&'a Name, usize> {
        match self {
            Side::Plan(plan) => plan.members().enumerate().map(|(at, member)| (plan.name(member), at)).collect(),
            Side::File(file) => file.members.iter().enumerate().map(|(at, member)| (&member.name, at)).collect(),
        }
    }

    fn member(self, at: usize) -> Option<Cow<'a, NodePlan>> {
        match self {
            Side::Plan(plan) => plan.member_at(at).map(|member| Cow::Owned(plan.of(member))),
            Side::File(file) => file.members.get(at).map(Cow::Borrowed),
        }
    }
}

/// What changes from one plan to another; empty if they say the same. Generations are not compared.
pub fn diff(old: Side<'_>, new: Side<'_>) -> Vec<PlanChange> {
    let mut changes = Vec::new();
    let (old_members, new_members) = (old.members(), new.members());
    for (name, at) in &old_members {
        let Some(was) = old.member(*at) else { continue };
        match new_members.get(name).and_then(|at| new.member(*at)) {
            Some(is) => member_changes(&was, &is, &mut changes),
            None => changes.push(PlanChange { member: (*name).clone(), what: "removed".into() }),
        }
    }
    for (name, at) in new_members.iter().filter(|(name, _)| !old_members.contains_key(*name)) {
        let addresses = new.member(*at).map_or_else(Vec::new, |is| is.addresses.clone());
        changes.push(PlanChange { member: (*name).clone(), what: format!("added with {}", list(&addresses)) });
    }
    changes.sort_by(|a, b| a.member.cmp(&b.member));
    changes
}

fn member_changes(old: &NodePlan, new: &NodePlan, changes: &mut Vec<PlanChange>) {
    let mut say = |what: String| changes.push(PlanChange { member: new.name.clone(), what });
    let mut field = |name: &str, old: String, new: String| {
        if old != new {
            say(format!("{name} {old} -> {new}"));
        }
    };
    let maybe = |value: Option<String>| value.unwrap_or_else(|| "none".into());
    field("addresses", list(&old.addresses), list(&new.addresses));
    let link = |plan: &NodePlan| maybe(plan.link_address.map(|address| address.to_string()));
    field("link address", link(old), link(new));
    field("device", old.device.to_string(), new.device.to_string());
    let port = |plan: &NodePlan| maybe(plan.port.map(|port| port.to_string()));
    field("port", port(old), port(new));
    field("mtu", old.mtu.to_string(), new.mtu.to_string());
    let key = |plan: &NodePlan| maybe(plan.public_key.map(|key| key.to_string()));
    field("public key", key(old), key(new));
    field("forwards", old.forwards.to_string(), new.forwards.to_string());
    field("prefixes behind it", list(&old.local_prefixes), list(&new.local_prefixes));
    field("platform", format!("{:?}", old.platform), format!("{:?}", new.platform));
    let peers = |plan: &NodePlan| -> BTreeMap<Name, usize> {
        plan.peers.iter().enumerate().map(|(at, peer)| (peer.name.clone(), at)).collect()
    };
    let (old_peers, new_peers) = (peers(old), peers(new));
    for (name, at) in &old_peers {
        match new_peers.get(name) {
            Some(new_at) => peer_changes(&old.peers[*at], &new.peers[*new_at], &mut say),
            None => say(format!("peer {name} removed")),
        }
    }
    for (name, at) in new_peers.iter().filter(|(name, _)| !old_peers.contains_key(name)) {
        say(format!("peer {name} added, allowed {}", list(&new.peers[*at].allowed)));
    }
    bgp_changes(old.bgp.as_ref(), new.bgp.as_ref(), &mut say);
}

/// What becomes of a node's BGP, in a sentence for each thing.
pub fn bgp_changes(old: Option<&BgpPlan>, new: Option<&BgpPlan>, say: &mut impl FnMut(String)) {
    match (old, new) {
        (None, Some(new)) => say(format!("speaks BGP now, as AS {} with router id {}", new.asn, new.router_id)),
        (Some(_), None) => say("speaks no BGP any more".into()),
        (Some(old), Some(new)) => {
            let mut field = |name: &str, old: String, new: String| {
                if old != new {
                    say(format!("BGP's {name} {old} -> {new}"));
                }
            };
            field("AS", old.asn.to_string(), new.asn.to_string());
            field("router id", old.router_id.to_string(), new.router_id.to_string());
            field("table", old.table.to_string(), new.table.to_string());
            field("own prefixes", list(&old.own), list(&new.own));
            field("service addresses", list(&old.service_addresses), list(&new.service_addresses));
            let bird = |plan: &BgpPlan| plan.bird.as_ref().map_or("ours".to_owned(), |bird| bird.configuration.clone());
            field("BIRD", bird(old), bird(new));
            let nodes = |plan: &BgpPlan| list(&plan.nodes.iter().map(|node| node.name.to_string()).collect::<Vec<_>>());
            field("sessions with nodes", nodes(old), nodes(new));
            if (&old.roa, old.profile, old.is_reflector) != (&new.roa, new.profile, new.is_reflector) {
                say("BGP's rules change".into());
            }
        }
        (None, None) => return,
    }
    let all = |plan: Option<&BgpPlan>| -> BTreeMap<Name, NeighbourPlan> {
        let neighbours = plan.iter().flat_map(|plan| &plan.neighbours);
        neighbours.map(|neighbour| (neighbour.name.clone(), neighbour.clone())).collect()
    };
    let (old, new) = (all(old), all(new));
    for (name, was) in &old {
        match new.get(name) {
            Some(is) => neighbour_changes(was, is, say),
            None => say(format!("neighbour {name} removed, AS {} on {}", was.asn, was.device)),
        }
    }
    for (name, is) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        say(format!("neighbour {name} added, AS {} on {}", is.asn, is.device));
    }
}

fn neighbour_changes(old: &NeighbourPlan, new: &NeighbourPlan, say: &mut impl FnMut(String)) {
    let name = &new.name;
    let mut field = |what: &str, old: String, new: String| {
        if old != new {
            say(format!("neighbour {name} {what} {old} -> {new}"));
        }
    };
    let endpoint = |plan: &NeighbourPlan| plan.endpoint.as_ref().map_or("none".into(), ToString::to_string);
    field("AS", old.asn.to_string(), new.asn.to_string());
    field("device", old.device.to_string(), new.device.to_string());
    field("port", old.port.to_string(), new.port.to_string());
    field("mtu", old.mtu.to_string(), new.mtu.to_string());
    field("endpoint", endpoint(old), endpoint(new));
    field("own addresses", list(&old.own_addresses), list(&new.own_addresses));
    field("addresses", list(&old.addresses), list(&new.addresses));
    field("limit of routes", old.max_prefixes.to_string(), new.max_prefixes.to_string());
    if old.public_key != new.public_key {
        say(format!("neighbour {name} has another public key"));
    }
    if (old.own_public_key, old.preshared) != (new.own_public_key, new.preshared) {
        say(format!("neighbour {name} sees another key of ours"));
    }
    // What is left to differ are words of the file that need no figures here.
    let rest =
        |plan: &NeighbourPlan| (plan.sessions, plan.accept.clone(), plan.export, plan.line, plan.keepalive_s, plan.bfd);
    if rest(old) != rest(new) {
        say(format!("neighbour {name} has other sessions, filters or communities"));
    }
}

fn peer_changes(old: &PeerPlan, new: &PeerPlan, say: &mut impl FnMut(String)) {
    let name = &new.name;
    if old.allowed != new.allowed {
        let (was, is): (BTreeSet<_>, BTreeSet<_>) = (old.allowed.iter().collect(), new.allowed.iter().collect());
        is.difference(&was).for_each(|prefix| say(format!("peer {name} + {prefix}")));
        was.difference(&is).for_each(|prefix| say(format!("peer {name} - {prefix}")));
    }
    if old.public_key != new.public_key {
        let what = if old.public_key.is_none() { "has a public key now" } else { "has another public key" };
        say(format!("peer {name} {what}"));
    }
    if old.endpoints != new.endpoints {
        say(format!("peer {name} endpoint {} -> {}", list(&old.endpoints), list(&new.endpoints)));
    }
    if old.keepalive_s != new.keepalive_s {
        let seconds = |value: Option<u16>| value.map_or("off".into(), |value| format!("{value} s"));
        say(format!("peer {name} keepalive {} -> {}", seconds(old.keepalive_s), seconds(new.keepalive_s)));
    }
    if old.link_address != new.link_address {
        say(format!("peer {name} has another link address"));
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".into();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
