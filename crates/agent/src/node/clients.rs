//! Clients that roam, as far as they are with this entry node: what their device tells of them.
//!
//! A new session is claimed when its client has proved that it is there itself, which the engine tells at once; the kernel's
//! device is asked for it. Who has which client is decided in `core`.

use std::collections::HashMap;

use wayleave_core::keys::PublicKey;
use wayleave_core::names::Name;
use wayleave_core::plan::NodePlan;

/// The clients' device of an entry node.
#[derive(Debug, Default)]
pub(super) struct Clients {
    by_key: HashMap<PublicKey, Name>,
}

impl Clients {
    /// Goes over to another plan.
    pub(super) fn follow(&mut self, plan: &NodePlan) {
        let all = plan.entry.iter().flat_map(|entry| &entry.peers);
        self.by_key = all.filter_map(|peer| Some((peer.public_key?, peer.name.clone()))).collect();
    }
}
