//! What the lab builds, decided before anything is built: pure.
//!
//! From a [`Network`] comes an [`Underlay`]: which member has which addresses outside the overlay, who is behind which
//! NAT, and what DNS names mean. The network itself is used with throw-away keys, so that files with real public keys
//! run too: [`with_keys`].

mod underlay;

use wayleave_core::keys::PublicKey;
use wayleave_core::network::{Network, NodeIx};
use wayleave_core::plan::{LinkState, LinkStates, Member};

pub use underlay::{Home, NatChoice, NatPlan, Underlay, UnderlayError};

/// The same network without foreign routers: nobody here plays them.
pub fn without_neighbours(network: &Network) -> Network {
    Network { neighbours: Vec::new(), ..network.clone() }
}

/// The same network with other public keys.
pub fn with_keys(network: &Network, key: impl Fn(Member) -> PublicKey) -> Network {
    let mut network = without_neighbours(network);
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
