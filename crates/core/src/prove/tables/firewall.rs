//! Firewalls as masks: which classes of ports each host lets through from a class of addresses to another.
//!
//! A walk finds a packet's way by addresses alone; the ports that get through are what is left when every host on the
//! way has taken away what it refuses. Answers are not asked about: a firewall that let a connection be opened knows them.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::super::hosts::Hosts;
use super::super::walk::Trace;
use super::{Tables, Way};
use crate::network::PortClasses;
use crate::plan::Firewall;

/// Sets of prefixes that rules and firewalls ask about, each once.
#[derive(Default)]
pub(in crate::prove) struct Bits {
    pub sets: Vec<Vec<IpNet>>,
    known: BTreeMap<Vec<IpNet>, u32>,
}

impl Bits {
    /// The number of a set.
    pub fn of(&mut self, set: &[IpNet]) -> u32 {
        if let Some(at) = self.known.get(set) {
            return *at;
        }
        let at = self.sets.len() as u32;
        self.sets.push(set.to_vec());
        self.known.insert(set.to_vec(), at);
        at
    }
}

/// A host's firewall, its addresses as bits and its ports as masks.
pub(super) struct FirewallRow {
    rules: Vec<RuleRow>,
    refuses_rest: bool,
}

struct RuleRow {
    from: Option<u32>,
    to: Option<u32>,
    mask: u128,
    accept: bool,
}

impl FirewallRow {
    pub fn new(firewall: &Firewall, classes: &PortClasses, bits: &mut Bits) -> FirewallRow {
        let rule = |rule: &crate::plan::FirewallRule| RuleRow {
            from: rule.from.as_ref().map(|set| bits.of(set)),
            to: rule.to.as_ref().map(|set| bits.of(set)),
            mask: classes.mask(&rule.ports),
            accept: rule.accept,
        };
        FirewallRow { rules: firewall.rules.iter().map(rule).collect(), refuses_rest: firewall.refuses_rest }
    }
}

/// Every prefix that a firewall asks about.
pub(super) fn prefixes(hosts: &Hosts) -> impl Iterator<Item = IpNet> {
    let firewalls = hosts.hosts.iter().filter_map(|host| host.firewall.as_ref());
    let rules = firewalls.flat_map(|firewall| &firewall.rules);
    rules.flat_map(|rule| rule.from.iter().chain(&rule.to)).flatten().copied()
}

impl Tables {
    /// The classes of ports that all hosts on a packet's way let through, and the first host that refuses the last.
    pub(in crate::prove) fn passes(&self, trace: &Trace, source: u32, destination: u32) -> (u128, Option<u32>) {
        let (mut mask, mut source) = (self.all_ports, source);
        // What does not leave its host's LAN never meets the overlay's firewall.
        if trace.hosts.len() < 2 {
            return (mask, None);
        }
        for host in &trace.hosts {
            mask &= self.lets(*host, source, destination);
            if mask == 0 {
                return (0, Some(*host));
            }
            if let Some((_, own)) = trace.translated.iter().find(|(translator, _)| translator == host) {
                source = *own;
            }
        }
        (mask, None)
    }

    /// The first host on a packet's way that refuses any of some ports.
    pub(in crate::prove) fn refuser(&self, trace: &Trace, source: u32, destination: u32, asked: u128) -> Option<u32> {
        let far = trace.hosts.len() > 1;
        trace.hosts.iter().copied().find(|host| far && asked & !self.lets(*host, source, destination) != 0)
    }

    fn lets(&self, host: u32, source: u32, destination: u32) -> u128 {
        let Some(firewall) = &self.hosts[host as usize].firewall else { return self.all_ports };
        let (mut asked, mut passed) = (self.all_ports, 0);
        for rule in &firewall.rules {
            let is_about = rule.from.is_none_or(|bit| self.bit(bit, source))
                && rule.to.is_none_or(|bit| self.bit(bit, destination));
            if is_about {
                passed |= if rule.accept { asked & rule.mask } else { 0 };
                asked &= !rule.mask;
            }
        }
        let is_own = self.way(host, source, destination) == Way::Own;
        if firewall.refuses_rest && is_own { passed } else { passed | asked }
    }
}
