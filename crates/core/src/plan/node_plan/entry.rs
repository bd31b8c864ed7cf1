//! The device that clients roam between: the same on every entry node but for who is there at present.
//!
//! In: the plan, with the node that each client is with. Out: an entry node's second device, and the only peer of a client that
//! roams, which stands for all entry nodes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{MemberKind, PeerPlan};
use crate::keys::PublicKey;
use crate::names::{DeviceName, Name};
use crate::network::{Network, NodeIx};
use crate::plan::{Claims, Member, Plan, host, merge};

/// The clients' device of an entry node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPlan {
    /// Its name.
    pub device: DeviceName,
    /// UDP port.
    pub port: u16,
    /// MTU in bytes.
    pub mtu: u16,
    /// Its public key, if it is known.
    pub public_key: Option<PublicKey>,
    /// Its overlay addresses, v4 before v6: the same on all entry nodes.
    pub addresses: Vec<IpAddr>,
    /// TCP port that is open while the node is ready for clients.
    pub ready_port: u16,
    /// All clients that roam, sorted by name, each with all that it may send from.
    pub peers: Vec<PeerPlan>,
    /// Those that are with this node.
    pub here: BTreeSet<Name>,
}

impl EntryPlan {
    /// What is routed into the device, and what is not, since those clients are elsewhere.
    pub fn prefixes(&self) -> (BTreeSet<IpNet>, BTreeSet<IpNet>) {
        let of = |here: bool| {
            let peers = self.peers.iter().filter(move |peer| self.here.contains(&peer.name) == here);
            peers.flat_map(|peer| peer.allowed.iter().copied()).collect()
        };
        (of(true), of(false))
    }
}

/// The node that each client is with: as claimed, else the one that it prefers.
pub(in crate::plan) fn homes(network: &Network, claims: &Claims) -> Vec<Option<NodeIx>> {
    let claimed = |client: &crate::network::Client| {
        let server = claims.of(&client.name).filter(|_| client.roams)?;
        network.find_node(server).filter(|ix| client.via.contains(ix))
    };
    network.clients.iter().map(|client| claimed(client).or(client.via.first().copied())).collect()
}

impl Plan {
    /// The clients' device of a node, if it is an entry node.
    pub(super) fn entry(&self, node: NodeIx) -> Option<EntryPlan> {
        let entry = self.network.entry.as_ref().filter(|_| self.network.node(node).entry)?;
        let roaming = || (0..).zip(&self.network.clients).filter(|(_, client)| client.roams);
        let peer = |(at, client): (u32, &crate::network::Client)| PeerPlan {
            name: client.name.clone(),
            kind: MemberKind::Client,
            public_key: self.public_key(Member::Client(at)),
            endpoints: Vec::new(),
            keepalive_s: None,
            link_address: None,
            allowed: {
                let own = self.overlay_addresses(Member::Client(at)).iter().copied().map(host);
                merge(own.chain(client.prefixes.iter().copied()).collect())
            },
        };
        let here = roaming().filter(|(at, _)| self.home(*at) == Some(node));
        Some(EntryPlan {
            device: entry.device.clone(),
            port: entry.port,
            mtu: entry.mtu,
            public_key: self.keys.entry,
            addresses: self.addresses.entry.clone(),
            ready_port: entry.ready_port,
            here: here.map(|(_, client)| client.name.clone()).collect(),
            peers: roaming().map(peer).collect(),
        })
    }

    /// What a client that roams has for a peer: what all entry nodes have in common.
    pub(super) fn roaming_peer(&self, client: u32) -> Option<PeerPlan> {
        let entry = self.network.entry.as_ref().filter(|_| self.network.clients[client as usize].roams)?;
        let carrying = self.peers(Member::Client(client)).iter().find(|peer| !peer.allowed.is_empty())?;
        Some(PeerPlan {
            name: entry.name.clone(),
            kind: MemberKind::Node,
            public_key: self.keys.entry,
            endpoints: entry.endpoints.clone(),
            keepalive_s: (carrying.keepalive_s > 0).then_some(carrying.keepalive_s),
            link_address: None,
            allowed: carrying.allowed.to_vec(),
        })
    }
}
