//! What keeps a host from carrying out its plan, and what is likely to.
//!
//! In come a node's plan and what somebody has read from the host ([`Symptoms`]). Out comes a list of [`Remark`]s, worst first, each
//! with what to do about it. One function per complaint; nothing is changed, and nothing here reads the host.

mod complaints;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::state::Backend;
use crate::plan::NodePlan;

/// What can be seen on a host, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Symptoms {
    /// What runs WireGuard; none: nothing can.
    pub backend: Option<Backend>,
    /// Whether links, addresses and routes may be changed.
    pub may_change: bool,
    /// Whether there is an `nft`.
    pub has_nft: bool,
    /// Whether there is a `bird`.
    pub has_bird: bool,
    /// What a running agent says is wrong with BIRD.
    pub bird_problem: Option<String>,
    /// BGP sessions that are not well, as a running agent sees them.
    pub sessions: Vec<SessionSeen>,
    /// Seconds since 1970, by the host's clock.
    pub clock_s: u64,
    /// Kernel settings by path below `/proc/sys`.
    pub settings: BTreeMap<String, String>,
    /// Interfaces by name, those of ours left out.
    pub interfaces: BTreeMap<String, Interface>,
    /// Whether there is a device of the planned name that is not ours.
    pub is_name_taken: bool,
    /// Whether the device is there and ours.
    pub has_device: bool,
    /// What carries our device's packets, if it is there.
    pub carries: Option<Backend>,
    /// Whether another program has the planned UDP port.
    pub is_port_taken: bool,
    /// Routes of the main table that are not ours, without the default ones, with the interface of each.
    pub routes: Vec<(IpNet, String)>,
    /// Chains of others' that drop what they don't accept: `table chain`, and the hook they are at.
    pub dropping: Vec<(String, Hook)>,
    /// Ways to endpoints.
    pub ways: Vec<Way>,
    /// Endpoints' names that have no address, with the reason.
    pub unresolved: Vec<(String, String)>,
}

/// A BGP session that is not well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionSeen {
    /// The neighbour or node.
    pub name: String,
    /// In BGP's words.
    pub state: String,
    /// Whether nothing is learned by it.
    pub is_down: bool,
    /// Why, in a few words.
    pub reason: String,
}

/// An interface of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its addresses with the lengths of their prefixes.
    pub addresses: Vec<IpNet>,
    /// Whether it took a default route from router advertisements and does not any more.
    pub lost_routers: bool,
}

/// Where a chain of a firewall is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Packets for the host itself.
    Input,
    /// Packets that are passed on.
    Forward,
}

/// The way to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Whose endpoint.
    pub peer: String,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// Bytes of the largest packet that gets there in one piece; none: there is no route.
    pub bytes: Option<u16>,
    /// Whether an answer has shown that; else it is what the first hop takes, and the rest of the way may take less.
    pub is_measured: bool,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gravity {
    /// It can't work.
    Broken,
    /// It may not work, or not for all.
    Doubtful,
}

/// Something that is, or may be, wrong with a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remark {
    /// How bad it is.
    pub gravity: Gravity,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Remark {
    fn broken(what: impl Into<String>, remedy: impl Into<String>) -> Remark {
        Remark { gravity: Gravity::Broken, what: what.into(), remedy: remedy.into() }
    }

    fn doubtful(what: impl Into<String>, remedy: impl Into<String>) -> Remark {
        Remark { gravity: Gravity::Doubtful, what: what.into(), remedy: remedy.into() }
    }
}

/// Everything that is wrong, worst first.
pub fn examine(plan: &NodePlan, symptoms: &Symptoms) -> Vec<Remark> {
    let mut remarks: Vec<Remark> = complaints::ALL.iter().flat_map(|complaint| complaint(plan, symptoms)).collect();
    remarks.sort_by_key(|remark| remark.gravity);
    remarks
}

/// The settings that are looked at: below `/proc/sys`.
pub fn settings(plan: &NodePlan) -> Vec<String> {
    let device = &plan.device;
    vec![
        "net/ipv4/ip_forward".into(),
        "net/ipv6/conf/all/forwarding".into(),
        "net/ipv6/conf/all/disable_ipv6".into(),
        "net/ipv4/conf/all/rp_filter".into(),
        format!("net/ipv4/conf/{device}/rp_filter"),
    ]
}
