//! How BGP is on a node, as it crosses the control socket: part of the snapshot, and printed by itself.
//!
//! Plain values with units in their names, in a format with a version; what they mean was judged by `bird`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Health;

/// BIRD and its sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BgpSnapshot {
    /// `wayleave.bgp`.
    pub schema: String,
    /// The version of this format: 1.
    pub version: u32,
    /// `running`, `starting`, `down`, `silent`.
    pub bird: String,
    /// BIRD's version.
    pub bird_version: Option<String>,
    /// BIRD's router id.
    pub router_id: Option<String>,
    /// Its control socket.
    pub socket: PathBuf,
    /// Its tables of IPv4 and IPv6 routes, where these are not the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<[String; 2]>,
    /// What is wrong with BIRD itself, if anything.
    pub problem: Option<String>,
    /// Whether others are asked not to come by this node, since it is about to go.
    #[serde(default)]
    pub is_leaving: bool,
    /// All sessions, worst first.
    pub sessions: Vec<SessionSnapshot>,
    /// Where routes go that lead to other nodes; none where no agent looks at them.
    #[serde(default)]
    pub between_nodes: Option<LearnedSnapshot>,
}

/// Routes in the network's own table that lead to other nodes, over the device that all nodes share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedSnapshot {
    /// How many prefixes go to each node.
    pub prefixes: BTreeMap<String, usize>,
    /// How many go to nobody.
    pub dropped: usize,
    /// Some of those, with why.
    pub dropped_some: BTreeMap<String, String>,
}

impl BgpSnapshot {
    /// As bad as its worst.
    pub fn health(&self) -> Health {
        let worst = self.sessions.iter().map(|session| session.health).filter(|health| *health != Health::Idle).min();
        let own = if self.problem.is_none() { Health::Fine } else { Health::Degraded };
        worst.unwrap_or(Health::Fine).min(own)
    }
}

/// A BGP session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    /// The neighbour or node; BIRD's name of it where there is no plan.
    pub name: String,
    /// BIRD's name of it.
    pub protocol: String,
    /// `external` or `internal`.
    pub kind: String,
    /// The other side's address.
    pub address: String,
    /// The other side's AS number.
    pub asn: u32,
    /// The device that it goes over, as far as that is known.
    pub device: Option<String>,
    /// Seconds since the last WireGuard handshake with it, where it has a device of its own.
    pub handshake_age_s: Option<u64>,
    /// Round trip of the line in milliseconds, the middle one of the latest.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
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
    /// Seconds after which the session ends if nothing comes.
    pub hold_left_s: Option<f64>,
    /// What went wrong last, in BIRD's words.
    pub last_error: Option<String>,
    /// How it is.
    pub health: Health,
    /// Why, in a few words.
    pub reason: String,
}
