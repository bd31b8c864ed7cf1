//! All that can happen to an agent.

use std::net::IpAddr;

use crate::control::server::Asked;
use crate::signals::Signal;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A signal came.
    Signal(Signal),
    /// The network file, one that it includes, or its ledger may have changed.
    FileChanged,
    /// Links, addresses, routes or rules of the host have changed.
    KernelChanged,
    /// A name was looked up.
    Resolved {
        /// The name.
        name: String,
        /// Its addresses, or why there are none.
        addresses: Result<Vec<IpAddr>, String>,
    },
    /// Somebody asks.
    Asked(Asked),
}
