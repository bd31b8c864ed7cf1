//! Who is who among the own peers, and what was last counted of each.
//!
//! Peers come by name from the plan, by address with messages and by key from the device. With ten thousand of them none may be
//! searched for one by one: all three are looked up here.

mod names;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use wayleave_core::keys::PublicKey;
use wayleave_core::names::Name;
use wayleave_core::plan::{NodePlan, PeerPlan};
use wayleave_engine::PeerTraffic;

pub(super) use names::Names;

/// The places of peers in a node's plan, and their counters.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_name: HashMap<Name, usize>,
    by_link_address: HashMap<IpAddr, usize>,
    by_key: HashMap<PublicKey, usize>,
    counted: HashMap<PublicKey, PeerTraffic>,
}

impl Peers {
    /// Goes over to another plan. What was counted of peers that stay is kept.
    pub(super) fn follow(&mut self, plan: &NodePlan) {
        let all = || plan.peers.iter().enumerate();
        self.by_name = all().map(|(at, peer)| (peer.name.clone(), at)).collect();
        self.by_link_address = all().filter_map(|(at, peer)| Some((peer.link_address?, at))).collect();
        self.by_key = all().filter_map(|(at, peer)| Some((peer.public_key?, at))).collect();
        let by_key = &self.by_key;
        self.counted.retain(|key, _| by_key.contains_key(key));
    }

    /// The place of the peer with a name.
    pub(super) fn named(&self, name: &Name) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The place of the peer with a link address.
    pub(super) fn at_link_address(&self, address: IpAddr) -> Option<usize> {
        self.by_link_address.get(&address).copied()
    }

    /// Takes note of what the device has counted; gives the places and figures of those for which it is new.
    pub(super) fn count(&mut self, news: Vec<PeerTraffic>) -> Vec<(usize, PeerTraffic)> {
        let mut changed = Vec::new();
        for traffic in news {
            let key = PublicKey::from_bytes(traffic.public_key.0);
            let Some(at) = self.by_key.get(&key) else { continue };
            if self.counted.insert(key, traffic) != Some(traffic) {
                changed.push((*at, traffic));
            }
        }
        changed
    }

    /// Bytes sent to a peer and received from it, when it was last counted.
    pub(super) fn counted_bytes(&self, peer: &PeerPlan) -> Option<(u64, u64)> {
        let counted = self.counted.get(&peer.public_key?)?;
        Some((counted.tx_bytes, counted.rx_bytes))
    }

    /// How long ago a peer's last handshake was, when it was last counted.
    pub(super) fn handshake_age(&self, peer: &PeerPlan) -> Option<Duration> {
        self.counted.get(&peer.public_key?)?.last_handshake.map(age)
    }
}

/// The time since a wall-clock time; none if the clock has been set back since.
pub(super) fn age(at: Duration) -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(key: u8, rx_bytes: u64) -> PeerTraffic {
        PeerTraffic { public_key: wayleave_engine::PublicKey([key; 32]), last_handshake: None, rx_bytes, tx_bytes: 0 }
    }

    #[test]
    fn only_what_is_new_of_known_peers_is_told() {
        let mut peers = Peers { by_key: HashMap::from([(PublicKey::from_bytes([1; 32]), 5)]), ..Peers::default() };
        assert_eq!(peers.count(vec![traffic(1, 10), traffic(2, 10)]), vec![(5, traffic(1, 10))]);
        assert_eq!(peers.count(vec![traffic(1, 10)]), vec![]);
        assert_eq!(peers.count(vec![traffic(1, 11)]), vec![(5, traffic(1, 11))]);
    }
}
