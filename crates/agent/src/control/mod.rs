//! How commands reach a running agent: one JSON line there, one back, over a socket in the network's directory below `/run`.
//!
//! Only the directory's owner may enter it. Messages are versioned and bounded ([`mod@line`]); one request per connection, each connection in
//! a thread of its own, so that a slow asker holds nobody up. [`Snapshot`] is all that people are ever shown of an agent.

mod bgp;
pub mod client;
pub mod line;
pub mod server;
mod snapshot;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wayleave_core::host::KeyPaths;

use self::line::Protocol;
use crate::limits::{CONTROL_REQUEST_BYTES_MAX, CONTROL_RESPONSE_BYTES_MAX};

pub use bgp::{BgpSnapshot, LearnedSnapshot, SessionSnapshot};
pub use snapshot::{DeviceSnapshot, Health, MemberSnapshot, MoveSnapshot, ReadySnapshot, Snapshot};

/// How an agent and the commands talk.
pub const PROTOCOL: Protocol = Protocol {
    who: "agent",
    version: 1,
    request_bytes_max: CONTROL_REQUEST_BYTES_MAX,
    answer_bytes_max: CONTROL_RESPONSE_BYTES_MAX,
    talk_max: Duration::from_secs(5),
    // A reload looks names up and talks to the kernel.
    answer_max: Duration::from_secs(60),
};

/// What can be asked of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How is it?
    Status,
    /// What would be changed on the host if a network file were taken now?
    Propose {
        /// Which: a whole path.
        file: PathBuf,
        /// Where private keys are, for the commands.
        key_paths: KeyPaths,
    },
    /// Read the network file again.
    Reload {
        /// Which: a whole path. The agent refuses any other than its own.
        file: Option<PathBuf>,
        /// Go back after so many seconds, unless [`Request::Confirm`] comes before.
        confirm_s: Option<u64>,
    },
    /// What the last reload changed is well.
    Confirm,
    /// Take no more clients, or take them again.
    Drain {
        /// No more.
        on: bool,
    },
    /// End.
    Stop {
        /// Remove everything of the network from the host.
        cleanup: bool,
    },
}

/// A change that would be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedChange {
    /// As a sentence.
    pub change: String,
    /// The command that a person would have typed for it.
    pub command: String,
}

/// What an agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Snapshot>),
    /// To [`Request::Propose`], in the order of application.
    Changes(Vec<ProposedChange>),
    /// Done; what there is to say about it.
    Done(String),
    /// Not done, and why.
    Refused(String),
}
