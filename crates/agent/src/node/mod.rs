//! The agent: one network on this host, kept as planned for as long as it runs.
//!
//! One control loop takes one [`Event`] after the other and waits for the next; threads beside it (`sources`) only turn
//! what they wait for into events. At start, after each event that could matter and every minute the loop reconciles: it looks
//! at the host, asks for the difference and carries it out. A network file that is refused leaves the old one in force. User
//! packets never pass through here.

mod agent;
mod answer;
mod bird;
mod clients;
mod event;
mod failover;
mod links;
mod paths;
mod peers;
mod report;
mod sources;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::network::Network;
use wayleave_core::node::recording::Texts;
use wayleave_core::plan::{KeyNeed, Ledger};

pub use crate::recording::Recording;
pub use event::Event;

use crate::host::Choice;
use crate::netlink::NetlinkError;
use crate::reconcile::ReconcileError;
use crate::system::directory::DirectoryError;
use crate::system::signals::Signals;

/// A network file as it was read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The network, without errors.
    pub network: Arc<Network>,
    /// The ledger beside it.
    pub ledger: Ledger,
    /// The files that all this is from: those that are watched.
    pub files: Vec<PathBuf>,
    /// The texts of the network file and what it includes, for recordings.
    pub texts: Texts,
}

/// Reads the network file, or another one in its place; says what is wrong with it, as people are to read it.
pub type Reader = Box<dyn FnMut(Option<&Path>) -> Result<Reading, String> + Send>;

/// Finds the private key of a device, and checks that it is the right one.
pub type KeyFinder = Box<dyn FnMut(KeyNeed<'_>) -> Result<PrivateKey, String> + Send>;

/// What an agent is to do.
pub struct Options {
    /// Which node this host is.
    pub node: Name,
    /// What runs WireGuard.
    pub choice: Choice,
    /// Where the network comes from.
    pub read: Reader,
    /// Where private keys come from.
    pub key: KeyFinder,
    /// Whether everything is removed from the host when the agent ends.
    pub cleanup: bool,
    /// Where `/healthz` and `/readyz` are answered over HTTP, if anywhere.
    pub http: Option<SocketAddr>,
    /// Where all that links are judged by is written down, if anywhere.
    pub recording: Option<Recording>,
}

/// Why an agent can't start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The network file is refused.
    #[error("{0}")]
    File(String),
    /// The node is not in it.
    #[error("there is no node or client {0} in the network file")]
    NoNode(Name),
    /// There is no private key.
    #[error("{0}")]
    Key(String),
    /// The host.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The directory below `/run`.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The kernel's news.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A thread can't be started, or a descriptor is refused.
    #[error("can't {attempt}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Runs until a signal or a request ends it.
///
/// # Errors
/// If it can't start. Once it runs it goes on, whatever happens, and reports what is wrong.
pub fn run(options: Options, signals: Signals) -> Result<(), AgentError> {
    crate::system::open_files::raise();
    let (sender, events) = std::sync::mpsc::sync_channel(crate::limits::EVENTS_MAX);
    let mut agent = agent::Agent::start(options, sender.clone())?;
    sources::start(&mut agent, &sender, signals)?;
    if let Some(address) = agent.options.http {
        agent.answer_health(address);
    }
    agent.live(&events);
    Ok(())
}

/// Writes one line for people: to the journal with its weight, elsewhere as it is.
fn log(weight: Weight, line: &str) {
    use std::io::Write as _;
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    // A stderr that is gone is no reason to end.
    let _ = if journal {
        writeln!(std::io::stderr(), "<{}>{line}", weight as u8)
    } else {
        writeln!(std::io::stderr(), "{line}")
    };
}

/// How much a line matters, by syslog's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Something does not work.
    Error = 3,
    /// Something is odd.
    Warning = 4,
    /// A change of state.
    Notice = 5,
    /// A detail.
    Info = 6,
}

/// An error and its causes as one sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Transparent errors say the same as their cause.
        if !text.ends_with(&cause.to_string()) {
            text.push_str(": ");
            text.push_str(&cause.to_string());
        }
        next = cause.source();
    }
    text
}
