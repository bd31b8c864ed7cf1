//! Peers that may send for a while from prefixes which belong to others: the way of a pair's packets is about to change, or just has.
//!
//! The two ends of a pair that changes its path don't do so at the same moment, and packets are under way. By WireGuard's rule
//! each of them would be dropped, since its source belongs to another peer at that moment. An owner of a device who moves
//! prefixes about asks for a time of grace in [`Timing`](crate::limits::Timing); without one, which is the default, nothing here
//! is ever used. A former owner keeps for that time what it had. A future owner may be named before
//! ([`ConfigurePeer::expected_ips`](crate::ConfigurePeer::expected_ips)): it gains what it will have a moment later.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::limits::LENT_PREFIXES_MAX;
use crate::time::Monotonic;
use crate::tunnel::peer::PeerId;

/// Prefixes with those who may send from them beside their owners.
#[derive(Debug, Default)]
pub struct LentPrefixes(VecDeque<Lent>);

#[derive(Debug, Clone, Copy)]
struct Lent {
    prefix: IpNet,
    to: PeerId,
    until: Monotonic,
    /// Whether longer prefixes inside it stay their owners' alone.
    but_exceptions: bool,
}

impl LentPrefixes {
    /// A prefix was taken from a peer. What was an exception inside it was never its own.
    pub fn leave(&mut self, prefix: IpNet, to: PeerId, now: Monotonic, grace: Duration) {
        self.note(Lent { prefix, to, until: now + grace, but_exceptions: true }, now, grace);
    }

    /// A peer is expected to send from a prefix, whatever belongs to others inside it at present.
    pub fn expect(&mut self, prefix: IpNet, to: PeerId, now: Monotonic, grace: Duration) {
        self.note(Lent { prefix, to, until: now + grace, but_exceptions: false }, now, grace);
    }

    /// The oldest entry goes if there are too many: its packets are dropped as by the rule.
    fn note(&mut self, lent: Lent, now: Monotonic, grace: Duration) {
        if grace.is_zero() {
            return;
        }
        self.forget_until(now);
        if self.0.len() >= LENT_PREFIXES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(lent);
    }

    /// Whether a peer may send from an address. `matched` is the length of the prefix that the address belongs to at present.
    pub fn may_send(&self, source: IpAddr, matched: Option<u8>, peer: PeerId) -> bool {
        let covers = |lent: &&Lent| {
            let is_exception = lent.but_exceptions && matched.is_some_and(|length| length > lent.prefix.prefix_len());
            lent.to == peer && lent.prefix.contains(&source) && !is_exception
        };
        self.0.iter().any(|lent| covers(&lent))
    }

    /// Ends what is over. Entries are in the order of their end.
    pub fn forget_until(&mut self, now: Monotonic) {
        while self.0.front().is_some_and(|lent| lent.until <= now) {
            self.0.pop_front();
        }
    }

    /// A peer is gone, and its number may be given to another.
    pub fn forget_peer(&mut self, peer: PeerId) {
        self.0.retain(|lent| lent.to != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("it is one")
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("it is one")
    }

    const GRACE: Duration = Duration::from_secs(2);

    #[test]
    fn who_had_a_prefix_may_send_from_it_until_the_grace_is_over() {
        let (mut lent, begin) = (LentPrefixes::default(), Monotonic::default());
        lent.leave(net("10.0.0.0/24"), PeerId(1), begin, GRACE);
        assert!(lent.may_send(address("10.0.0.7"), Some(24), PeerId(1)));
        assert!(lent.may_send(address("10.0.0.7"), None, PeerId(1)), "a prefix that nobody has now");
        assert!(!lent.may_send(address("10.0.0.7"), Some(24), PeerId(2)));
        assert!(!lent.may_send(address("10.0.1.7"), Some(16), PeerId(1)));
        lent.forget_until(begin + GRACE);
        assert!(!lent.may_send(address("10.0.0.7"), Some(24), PeerId(1)));
    }

    #[test]
    fn an_exception_inside_the_prefix_was_never_its_owners() {
        let mut lent = LentPrefixes::default();
        lent.leave(net("10.0.0.0/16"), PeerId(1), Monotonic::default(), GRACE);
        assert!(!lent.may_send(address("10.0.9.9"), Some(24), PeerId(1)));
        lent.expect(net("10.0.0.0/16"), PeerId(1), Monotonic::default(), GRACE);
        assert!(lent.may_send(address("10.0.9.9"), Some(24), PeerId(1)), "who is expected is not told of exceptions");
    }

    #[test]
    fn without_a_grace_nothing_is_remembered_and_a_peer_that_goes_is_forgotten() {
        let mut lent = LentPrefixes::default();
        lent.leave(net("10.0.0.0/16"), PeerId(1), Monotonic::default(), Duration::ZERO);
        assert!(!lent.may_send(address("10.0.0.1"), None, PeerId(1)));
        lent.leave(net("10.0.0.0/16"), PeerId(1), Monotonic::default(), GRACE);
        lent.forget_peer(PeerId(1));
        assert!(!lent.may_send(address("10.0.0.1"), None, PeerId(1)));
    }
}
