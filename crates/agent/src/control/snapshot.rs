//! How an agent and its node are, at one moment.
//!
//! All that people are ever shown of an agent, as it crosses the control socket: plain values with units in their names, in a format
//! with a version. Made in the agent's loop, printed by the commands; nothing is worked out here.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// All that an agent reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `wayleave.snapshot`.
    pub schema: String,
    /// The version of this format: 1.
    pub version: u32,
    /// The network's name.
    pub network: String,
    /// This node's name.
    pub node: String,
    /// The plan's generation.
    pub generation: u64,
    /// The agent's process.
    pub pid: u32,
    /// Seconds since the agent started.
    pub uptime_s: u64,
    /// Worst of all members, or of the agent itself.
    pub health: Health,
    /// What is wrong with the agent's own work, if anything: a network file that was refused, a change that the kernel refuses.
    pub problems: Vec<String>,
    /// Whether it is ready for clients, on entry nodes that clients roam between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<ReadySnapshot>,
    /// BGP, on nodes that speak it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<super::BgpSnapshot>,
    /// The node's device.
    pub device: DeviceSnapshot,
    /// Everybody else in the network, worst first.
    pub members: Vec<MemberSnapshot>,
    /// Each client's latest move, of those that this agent has seen moving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<MoveSnapshot>,
}

/// How something is, from worst to best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Can't be reached, or can't do its work.
    Down,
    /// Works, but not as intended: over a relay, with losses, with a problem.
    Degraded,
    /// Nothing is known: a client that is not connected, a link that was never used.
    Idle,
    /// As intended.
    Fine,
}

/// Whether an entry node is ready for clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadySnapshot {
    /// The TCP port for health checks.
    pub port: u16,
    /// Whether it is open.
    pub is_open: bool,
    /// Whether it was asked to take no more clients.
    pub is_draining: bool,
    /// How many clients are with it.
    pub clients: usize,
    /// How many come through it that are with another one, since it drains.
    #[serde(default)]
    pub passing: usize,
    /// What speaks against being ready, what matters most first.
    pub against: Vec<String>,
}

/// A client's latest move between entry nodes, as one node has seen it. Times are microseconds of the host's monotonic clock
/// (`CLOCK_MONOTONIC`), the same for all programs of one host, and nothing to compare between two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveSnapshot {
    /// The client.
    pub client: String,
    /// The entry node that it was with before; none: nobody.
    pub from: Option<String>,
    /// The entry node that it is with.
    pub to: Option<String>,
    /// On the node that it came to: when that node's device told of it, or for the kernel's when the session was made.
    pub came_us: Option<u64>,
    /// On the node that it came to: when its agent got to know.
    #[serde(default)]
    pub noticed_us: Option<u64>,
    /// When this node's devices and routes had followed.
    pub followed_us: u64,
}

/// A WireGuard device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceSnapshot {
    /// Its name.
    pub name: String,
    /// `kernel` or `engine`.
    pub backend: String,
    /// Its public key.
    pub public_key: Option<String>,
    /// Its UDP port.
    pub port: u16,
    /// Its MTU in bytes.
    pub mtu: u16,
    /// Its mark; 0 is none.
    pub fwmark: u32,
}

/// Another member of the network, as this node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberSnapshot {
    /// Its name.
    pub name: String,
    /// `node` or `client`.
    pub kind: String,
    /// Its region.
    pub region: Option<String>,
    /// Its overlay address.
    pub address: Option<IpAddr>,
    /// How packets get there: `direct`, or over whom first; none: no way.
    pub via: Option<String>,
    /// Its public key.
    pub public_key: Option<String>,
    /// Where packets of the direct link go.
    pub endpoint: Option<SocketAddr>,
    /// Seconds since the direct link's last handshake.
    pub handshake_age_s: Option<u64>,
    /// Round-trip time of the direct link in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Share of probes lost on the direct link, 0 to 1.
    pub loss: Option<f64>,
    /// Bytes received over the direct link.
    pub received_bytes: u64,
    /// Bytes sent over the direct link.
    pub sent_bytes: u64,
    /// Seconds between keepalives; 0 is none.
    pub keepalive_s: u16,
    /// Prefixes that go to it, as peer.
    pub allowed: Vec<String>,
    /// How it is.
    pub health: Health,
    /// Why, in a few words.
    pub reason: String,
}
