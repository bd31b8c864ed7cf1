//! How commands reach a running lab: one JSON line there, one back, over a socket in the lab's directory.
//!
//! The socket is in a directory that only its owner may enter. Messages are versioned and bounded; one request per
//! connection. [`server`] runs beside a lab, [`client`] in the commands, [`enter`] moves a process into a member.

pub mod client;
pub mod enter;
pub mod server;

use serde::{Deserialize, Serialize};

use wayleave_agent::control::line::Protocol;

use crate::limits::{CONTROL_ANSWER_BYTES_MAX, CONTROL_ANSWER_TIMEOUT, CONTROL_REQUEST_BYTES_MAX, CONTROL_TIMEOUT};
use crate::session::{ClientReport, Fault, LinkReport, PairReport, SessionReport, Target};

/// How a lab and the commands talk.
pub const PROTOCOL: Protocol = Protocol {
    who: "lab",
    version: 1,
    request_bytes_max: CONTROL_REQUEST_BYTES_MAX,
    answer_bytes_max: CONTROL_ANSWER_BYTES_MAX,
    talk_max: CONTROL_TIMEOUT,
    answer_max: CONTROL_ANSWER_TIMEOUT,
};

/// What can be asked of a lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How is it?
    Status,
    /// Ping from one place to others; to all others if none is named.
    Ping {
        /// Who pings.
        from: String,
        /// Who is pinged.
        to: Vec<String>,
        /// How often.
        count: u32,
    },
    /// Cut something.
    Fail(Fault),
    /// Mend something.
    Heal(Target),
    /// Take a client to a region.
    Move {
        /// Which client.
        client: String,
        /// Which region.
        region: String,
        /// Under its present address, instead of one of the other region.
        keep_address: bool,
    },
    /// Where a place's namespace is.
    Enter {
        /// Which place.
        place: String,
    },
    /// End.
    Down,
}

/// What a lab answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Ping`].
    Pairs(Vec<PairReport>),
    /// To [`Request::Enter`].
    Entry(Entry),
    /// To [`Request::Move`].
    Moved {
        /// The client's new public address, if it has one.
        address: Option<std::net::Ipv4Addr>,
    },
    /// Done.
    Done,
    /// Not done, and why.
    Refused(String),
}

/// A lab's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The lab's name.
    pub lab: String,
    /// The network's name.
    pub network: String,
    /// The lab's process.
    pub pid: u32,
    /// All overlay links.
    pub links: Vec<LinkReport>,
    /// All clients that roam.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientReport>,
    /// All BGP sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionReport>,
    /// What is cut, as sentences.
    pub faults: Vec<String>,
    /// How late the wire delivered its packets, in milliseconds: the 99th percentile.
    pub wire_lateness_p99_ms: f64,
    /// The worst one.
    pub wire_lateness_max_ms: f64,
}

/// Where a place's namespace is: descriptors of the lab's process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// The lab's process.
    pub pid: u32,
    /// Its descriptor of the network namespace.
    pub network_fd: i32,
    /// Whether its user namespace must be entered first.
    pub in_user_namespace: bool,
    /// Directory of the place's UAPI sockets, if it has a WireGuard device.
    pub uapi: Option<String>,
}
