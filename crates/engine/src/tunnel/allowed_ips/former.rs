//! Peers that may still send from a prefix which has just been moved away from them.
//!
//! The two ends of a pair that changes its path don't do so at the same moment, and packets are under way. By WireGuard's rule
//! each of them would be dropped, since its source belongs to another peer by then. An owner of a device who moves
//! prefixes about asks for a time of grace in [`Timing`](crate::limits::Timing); without one, which is the default, nothing here
//! is ever used. Nobody gains a right that they did not have the moment before.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::limits::FORMER_OWNERS_MAX;
use crate::time::Monotonic;
use crate::tunnel::peer::PeerId;

/// Prefixes with those who had them.
#[derive(Debug, Default)]
pub struct FormerOwners(VecDeque<Former>);

#[derive(Debug, Clone, Copy)]
struct Former {
    prefix: IpNet,
    owner: PeerId,
    until: Monotonic,
}

impl FormerOwners {
    /// A prefix was taken from a peer. The oldest entry goes if there are too many: its packets are dropped as by the rule.
    pub fn note(&mut self, prefix: IpNet, owner: PeerId, now: Monotonic, grace: Duration) {
        if grace.is_zero() {
            return;
        }
        self.forget_until(now);
        if self.0.len() >= FORMER_OWNERS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Former { prefix, owner, until: now + grace });
    }

    /// Whether a peer had the prefix of an address until just now. `matched` is the length of the prefix that the address
    /// belongs to at present: a longer one was an exception then as well.
    pub fn may_send(&self, source: IpAddr, matched: Option<u8>, peer: PeerId) -> bool {
        let covers = |former: &&Former| {
            let is_exception = matched.is_some_and(|length| length > former.prefix.prefix_len());
            former.owner == peer && former.prefix.contains(&source) && !is_exception
        };
        self.0.iter().any(|former| covers(&former))
    }

    /// Ends what is over. Entries are in the order of their end.
    pub fn forget_until(&mut self, now: Monotonic) {
        while self.0.front().is_some_and(|former| former.until <= now) {
            self.0.pop_front();
        }
    }

    /// A peer is gone, and its number may be given to another.
    pub fn forget_peer(&mut self, peer: PeerId) {
        self.0.retain(|former| former.owner != peer);
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
        let (mut former, begin) = (FormerOwners::default(), Monotonic::default());
        former.note(net("10.0.0.0/24"), PeerId(1), begin, GRACE);
        assert!(former.may_send(address("10.0.0.7"), Some(24), PeerId(1)));
        assert!(former.may_send(address("10.0.0.7"), None, PeerId(1)), "a prefix that nobody has now");
        assert!(!former.may_send(address("10.0.0.7"), Some(24), PeerId(2)));
        assert!(!former.may_send(address("10.0.1.7"), Some(16), PeerId(1)));
        former.forget_until(begin + GRACE);
        assert!(!former.may_send(address("10.0.0.7"), Some(24), PeerId(1)));
    }

    #[test]
    fn an_exception_inside_the_prefix_was_never_its_owners() {
        let mut former = FormerOwners::default();
        former.note(net("10.0.0.0/16"), PeerId(1), Monotonic::default(), GRACE);
        assert!(!former.may_send(address("10.0.9.9"), Some(24), PeerId(1)));
    }

    #[test]
    fn without_a_grace_nothing_is_remembered_and_a_peer_that_goes_is_forgotten() {
        let mut former = FormerOwners::default();
        former.note(net("10.0.0.0/16"), PeerId(1), Monotonic::default(), Duration::ZERO);
        assert!(!former.may_send(address("10.0.0.1"), None, PeerId(1)));
        former.note(net("10.0.0.0/16"), PeerId(1), Monotonic::default(), GRACE);
        former.forget_peer(PeerId(1));
        assert!(!former.may_send(address("10.0.0.1"), None, PeerId(1)));
    }
}
