//! What is meant: the ports that each end may open at each other, as masks of bits over classes of ports.
//!
//! Made of a network's policy, and of nothing that firewalls are made of, so that a proof compares two things. Per end
//! it keeps as bits in which rules it is a source and in which a destination; a pair's rules are what both have.

use std::sync::Arc;

use super::hosts::Hosts;
use crate::network::{Network, Party, PortClasses, Ports};
use crate::plan::Firewall;

/// What is allowed between ends.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Classes of ports that neither rules nor firewalls tell apart.
    classes: PortClasses,
    /// Per end the rules of which it is a source, a bit each.
    from: Vec<Vec<u64>>,
    /// The same for destinations.
    to: Vec<Vec<u64>>,
    /// The ports of each rule.
    rules: Vec<u128>,
    /// Per end what is allowed without any rule.
    unasked: Vec<u128>,
    /// Per end the denials of which it is on the one side, and on the other.
    denied: Vec<[Vec<u64>; 2]>,
}

impl Intent {
    /// A network's policy over ends that stand for these parties. Classes are cut finely enough for firewalls, too.
    pub(super) fn new(network: &Network, parties: &[Party], firewalls: &[Arc<Firewall>]) -> Intent {
        let policy = &network.policy;
        let restricted: Vec<Ports> = parties.iter().map(|party| policy.restricted(*party)).collect();
        let planned = firewalls.iter().flat_map(|firewall| firewall.rules.iter().map(|rule| &rule.ports));
        let classes = PortClasses::new(policy.allowed.iter().map(|rule| &rule.ports).chain(&restricted).chain(planned));
        let bits = |has: &dyn Fn(usize) -> bool, count: usize| {
            let mut words = vec![0_u64; count.div_ceil(64)];
            (0..count).filter(|at| has(*at)).for_each(|at| words[at / 64] |= 1 << (at % 64));
            words
        };
        let (rules, denied) = (&policy.allowed, &policy.denied);
        let base = if policy.denies_by_default { Ports::default() } else { Ports::all() };
        Intent {
            from: parties.iter().map(|party| bits(&|at| rules[at].from.has(*party), rules.len())).collect(),
            to: parties.iter().map(|party| bits(&|at| rules[at].to.has(*party), rules.len())).collect(),
            rules: rules.iter().map(|rule| classes.mask(&rule.ports)).collect(),
            unasked: restricted.iter().map(|ports| classes.mask(&base.without(ports))).collect(),
            denied: parties
                .iter()
                .map(|party| {
                    let one = bits(&|at| denied[at].one.has(*party), denied.len());
                    [one, bits(&|at| denied[at].other.has(*party), denied.len())]
                })
                .collect(),
            classes,
        }
    }

    /// The ports that one end may open at another.
    pub(super) fn mask(&self, from: usize, to: usize) -> u128 {
        let meet = |a: &[u64], b: &[u64]| a.iter().zip(b).any(|(a, b)| a & b != 0);
        let (one, other) = (&self.denied[from], &self.denied[to]);
        if meet(&one[0], &other[1]) || meet(&one[1], &other[0]) {
            return 0;
        }
        let mut mask = self.unasked[to];
        for (word, (a, b)) in self.from[from].iter().zip(&self.to[to]).enumerate() {
            let mut both = a & b;
            while both != 0 {
                mask |= self.rules[word * 64 + both.trailing_zeros() as usize];
                both &= both - 1;
            }
        }
        mask
    }

    /// The classes over which its masks are.
    pub(super) fn classes(&self) -> &PortClasses {
        &self.classes
    }
}

impl Hosts {
    /// Classes of ports for all firewalls and for what is meant.
    pub(super) fn port_classes(&self) -> PortClasses {
        match &self.intent {
            Some(intent) => intent.classes().clone(),
            None => {
                let firewalls = self.hosts.iter().filter_map(|host| host.firewall.as_ref());
                PortClasses::new(firewalls.flat_map(|firewall| firewall.rules.iter().map(|rule| &rule.ports)))
            }
        }
    }
}
