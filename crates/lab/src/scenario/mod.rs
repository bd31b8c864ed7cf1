//! What the lab builds, decided before anything is built: pure.
//!
//! From a [`Network`] comes an [`Underlay`]: which member has which addresses outside the overlay, who is behind which
//! NAT, and what DNS names mean; and what each foreign router tells of, [`Told`]. The network itself is used with throw-away keys, so
//! that files with real public keys run too: [`with_keys`].

mod told;
mod underlay;

use wayleave_core::keys::PublicKey;
use wayleave_core::network::{Network, NodeIx};
use wayleave_core::plan::{LinkState, LinkStates, Member};

pub use told::{Told, is_accepted, keep_apart, tunnel_rtt_us};
pub use underlay::{Home, NatChoice, NatPlan, Underlay, UnderlayError};

/// The same network with other public keys. Foreign routers without a key are left out: nobody plays them.
pub fn with_keys(network: &Network, key: impl Fn(Member) -> PublicKey, foreign: &[PublicKey]) -> Network {
    let mut network = network.clone();
    network.neighbours.truncate(foreign.len());
    network.neighbours.iter_mut().zip(foreign).for_each(|(neighbour, key)| neighbour.public_key = *key);
    for (at, node) in network.nodes.iter_mut().enumerate() {
        node.public_key = Some(key(Member::Node(NodeIx(at as u32))));
    }
    for (at, client) in network.clients.iter_mut().enumerate() {
        client.public_key = Some(key(Member::Client(at as u32)));
    }
    network
}

/// The hub to compare with: the one that most nodes are linked with, the first by name of several.
pub fn main_hub(network: &Network) -> Option<NodeIx> {
    let mut links = vec![0_usize; network.nodes.len()];
    for link in &network.links {
        links[link.a.at()] += 1;
        links[link.b.at()] += 1;
    }
    network.node_numbers().filter(|ix| network.node(*ix).hub).max_by_key(|ix| (links[ix.at()], std::cmp::Reverse(*ix)))
}

/// States in which only one hub's links work.
pub fn only_over(network: &Network, hub: NodeIx) -> LinkStates {
    let mut states = LinkStates::default();
    for link in network.links.iter().filter(|link| link.a != hub && link.b != hub) {
        states.set(&network.node(link.a).name, &network.node(link.b).name, LinkState::Down);
    }
    states
}
