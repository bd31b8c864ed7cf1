//! Prefixes that the file gives to peers as they are to be, put in the place of those that were planned.
//!
//! A prefix has one owner in each device: what is given to one peer is taken from the others. Where the link with one of these
//! peers is down, all that is written for the member waits, so that paths around it are used.

use super::{LinkState, LinkStates, Member, Peer};
use crate::names::Name;
use crate::network::{Fixed, Network};

/// Changes the peers of all members of which something is written.
pub(super) fn apply(network: &Network, states: &LinkStates, nodes: &mut [Vec<Peer>], clients: &mut [Vec<Peer>]) {
    let called = |member: Member| match member {
        Member::Node(ix) => &network.node(ix).name,
        Member::Client(at) => &network.clients[at as usize].name,
    };
    let node = |name: &Name| network.find_node(name).map(|ix| ix.at());
    let client = |name: &Name| network.clients.binary_search_by(|client| client.name.cmp(name)).ok();
    for fixed in &network.fixed {
        if network.fixed.iter().any(|other| other.of == fixed.of && is_down(other, states)) {
            continue;
        }
        let peers = match (node(&fixed.of), client(&fixed.of)) {
            (Some(at), _) => &mut nodes[at],
            (None, Some(at)) => &mut clients[at],
            (None, None) => continue,
        };
        for peer in peers {
            if *called(peer.who) == fixed.peer {
                peer.allowed = fixed.allowed.clone().into();
            } else if peer.allowed.iter().any(|prefix| fixed.allowed.contains(prefix))
                && !is_fixed(network, fixed, called(peer.who))
            {
                peer.allowed = peer.allowed.iter().copied().filter(|prefix| !fixed.allowed.contains(prefix)).collect();
            }
        }
    }
}

/// Which of them wait, all others of the same member besides.
pub(super) fn waiting(network: &Network, states: &LinkStates) -> Vec<bool> {
    network.fixed.iter().map(|fixed| is_down(fixed, states)).collect()
}

fn is_down(fixed: &Fixed, states: &LinkStates) -> bool {
    states.of(&fixed.of, &fixed.peer) == Some(LinkState::Down)
}

/// Whether the file also says what another peer of the same member has.
fn is_fixed(network: &Network, fixed: &Fixed, peer: &Name) -> bool {
    network.fixed.iter().any(|other| other.of == fixed.of && other.peer == *peer)
}
