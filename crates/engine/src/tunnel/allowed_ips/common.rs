//! Peers that may send from one another's prefixes: routers, between which the way there need not be the way back.
//!
//! By WireGuard's rule a packet is let in from the peer to which packets to its source would go. Where a routing protocol chooses for
//! each router by itself, that is often another. An owner of a device can say within which prefixes some of its peers are
//! trusted with each other's sources ([`ConfigureDevice::common`](crate::ConfigureDevice::common)); within the longest prefix
//! that covers a source, it is either common or not. Where packets are sent is not touched by it.

use std::collections::HashSet;
use std::net::IpAddr;

use super::AllowedIps;
use crate::config::CommonSources;
use crate::keys::PublicKey;
use crate::tunnel::peer::PeerId;

/// What the tries say of a prefix.
const COMMON: PeerId = PeerId(1);
const NOT_COMMON: PeerId = PeerId(0);

/// Who may send from what, whoever owns it.
#[derive(Debug, Default)]
pub struct Common {
    peers: HashSet<PublicKey>,
    prefixes: AllowedIps,
}

impl Common {
    /// As told.
    pub fn new(told: &CommonSources) -> Common {
        let mut prefixes = AllowedIps::default();
        for prefix in &told.within {
            prefixes.insert(*prefix, COMMON);
        }
        for prefix in &told.without {
            prefixes.insert(*prefix, NOT_COMMON);
        }
        Common { peers: told.peers.iter().copied().collect(), prefixes }
    }

    /// Whether a peer may send from an address.
    pub fn may_send(&self, source: IpAddr, peer: &PublicKey) -> bool {
        self.peers.contains(peer) && self.prefixes.lookup(source) == Some(COMMON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_are_named_share_what_is_common_and_nothing_else() {
        let [own, other] = [PublicKey([1; 32]), PublicKey([2; 32])];
        let net = |text: &str| text.parse().expect("it is one");
        let common = Common::new(&CommonSources {
            peers: vec![own],
            within: vec![net("172.20.0.0/14"), net("172.22.1.7/32"), net("fd00::/8")],
            without: vec![net("172.22.1.0/24")],
        });
        let may = |source: &str, peer: &PublicKey| common.may_send(source.parse().expect("it is one"), peer);
        assert!(may("172.20.9.9", &own) && may("fd12::1", &own));
        assert!(!may("172.20.9.9", &other), "who is not named");
        assert!(!may("10.0.0.1", &own) && !may("2001:db8::1", &own), "what is not common");
        assert!(!may("172.22.1.8", &own), "an exception");
        assert!(may("172.22.1.7", &own), "an exception of the exception");
    }
}
