//! What all entry nodes have in common: the device that clients roam between.
//!
//! It is the same on each of them, key, addresses and peers included, so that a client's packets mean the same wherever
//! they come in. Where a client is, is found at run time; until then, and wherever nothing runs, it counts as being with the
//! nearest.

use std::net::IpAddr;

use super::{Endpoint, Network, NodeIx};
use crate::check::Span;
use crate::keys::PublicKey;
use crate::names::{DeviceName, Name};

/// The name under which the ledger and key files keep what belongs to it; no member may have it beside `[entry]`.
pub const ENTRY_NAME: &str = "entry";

/// The device for roaming clients, on all entry nodes.
#[derive(Debug, Clone)]
pub struct Entry {
    /// [`ENTRY_NAME`].
    pub name: Name,
    /// Where clients dial, at least one.
    pub endpoints: Vec<Endpoint>,
    /// Its public key, if the file has one.
    pub public_key: Option<PublicKey>,
    /// UDP port.
    pub port: u16,
    /// Name of the device.
    pub device: DeviceName,
    /// Overlay addresses given in the file (at most one v4, one v6).
    pub addresses: Vec<IpAddr>,
    /// MTU in bytes.
    pub mtu: u16,
    /// TCP port that is open while a node is ready for clients.
    pub ready_port: u16,
    /// Where the file has it.
    pub place: Span,
}

impl Network {
    /// The nodes between which clients roam, sorted; none if clients don't roam.
    pub fn entries(&self) -> impl Iterator<Item = NodeIx> {
        let all = self.entry.is_some();
        self.node_numbers().filter(move |ix| all && self.node(*ix).entry)
    }
}
