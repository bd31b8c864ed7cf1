//! Kinds of traffic: TCP and UDP ports, ICMP, and all that is neither, as sets.
//!
//! A set is what a rule is about and what a firewall lets through. It is always in one form (ranges sorted, disjoint and
//! not touching), so equal sets are equal values. A port is the destination's, of the packet that opens a connection;
//! answers are no business of rules.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::PORT_CLASSES_MAX;

/// Ports from the first to the second, both included.
pub type PortRange = (u16, u16);

/// A set of kinds of traffic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Ports {
    /// TCP ports.
    pub tcp: Vec<PortRange>,
    /// UDP ports.
    pub udp: Vec<PortRange>,
    /// ICMP and ICMPv6.
    pub icmp: bool,
    /// Every other protocol.
    pub other: bool,
}

impl Ports {
    /// Everything.
    pub fn all() -> Ports {
        Ports { tcp: vec![(0, u16::MAX)], udp: vec![(0, u16::MAX)], icmp: true, other: true }
    }

    /// Whether it is everything.
    pub fn is_all(&self) -> bool {
        *self == Ports::all()
    }

    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Ports::default()
    }

    /// What is in one of two.
    #[must_use]
    pub fn or(&self, other: &Ports) -> Ports {
        let join = |a: &[PortRange], b: &[PortRange]| normal(a.iter().chain(b).copied().collect());
        Ports {
            tcp: join(&self.tcp, &other.tcp),
            udp: join(&self.udp, &other.udp),
            icmp: self.icmp || other.icmp,
            other: self.other || other.other,
        }
    }

    /// What is in any of several.
    pub fn of_all<'a>(all: impl Iterator<Item = &'a Ports> + Clone) -> Ports {
        Ports {
            tcp: normal(all.clone().flat_map(|ports| &ports.tcp).copied().collect()),
            udp: normal(all.clone().flat_map(|ports| &ports.udp).copied().collect()),
            icmp: all.clone().any(|ports| ports.icmp),
            other: all.clone().any(|ports| ports.other),
        }
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Ports) -> Ports {
        self.without(&Ports::all().without(other))
    }

    /// What is in it and not in another.
    #[must_use]
    pub fn without(&self, other: &Ports) -> Ports {
        Ports {
            tcp: less(&self.tcp, &other.tcp),
            udp: less(&self.udp, &other.udp),
            icmp: self.icmp && !other.icmp,
            other: self.other && !other.other,
        }
    }

    /// Whether it has all that another has.
    pub fn contains(&self, other: &Ports) -> bool {
        other.without(self).is_empty()
    }
}

/// All kinds of traffic cut into classes that some sets don't tell apart, so that a set is a mask of bits.
#[derive(Debug, Clone)]
pub struct PortClasses(Vec<Ports>);

impl PortClasses {
    /// Cuts at the borders of every set. Beyond [`PORT_CLASSES_MAX`] classes no further cut is made; resolving a network
    /// refuses that many.
    pub fn new<'a>(sets: impl Iterator<Item = &'a Ports>) -> PortClasses {
        let mut classes = vec![Ports::all()];
        // Thousands of rules share few sets.
        for set in sets.collect::<BTreeSet<&Ports>>() {
            if classes.len() > PORT_CLASSES_MAX {
                break;
            }
            let halves = |class: &Ports| [class.and(set), class.without(set)];
            classes = classes.iter().flat_map(halves).filter(|class| !class.is_empty()).collect();
            classes.truncate(PORT_CLASSES_MAX + 1);
        }
        PortClasses(classes)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The classes of which a set has something.
    pub fn mask(&self, set: &Ports) -> u128 {
        let has = |(at, class): (usize, &Ports)| u128::from(!class.and(set).is_empty()) << (at % 128);
        self.0.iter().enumerate().map(has).fold(0, |mask, bit| mask | bit)
    }

    /// The set of a mask.
    pub fn ports(&self, mask: u128) -> Ports {
        let chosen = self.0.iter().enumerate().filter(|(at, _)| mask >> (at % 128) & 1 == 1);
        chosen.fold(Ports::default(), |ports, (_, class)| ports.or(class))
    }
}

impl fmt::Display for Ports {
    /// `everything`, `nothing`, or `tcp/22, tcp/8000-8100, icmp` as in a network file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("everything");
        }
        let mut words: Vec<String> = Vec::new();
        for (protocol, ranges) in [("tcp", &self.tcp), ("udp", &self.udp)] {
            words.extend(ranges.iter().map(|range| match range {
                (0, u16::MAX) => protocol.to_owned(),
                (first, last) if first == last => format!("{protocol}/{first}"),
                (first, last) => format!("{protocol}/{first}-{last}"),
            }));
        }
        words.extend(self.icmp.then(|| "icmp".to_owned()));
        words.extend(self.other.then(|| "other".to_owned()));
        f.write_str(&if words.is_empty() { "nothing".to_owned() } else { words.join(", ") })
    }
}

/// Sorted, with neighbours and overlaps joined.
fn normal(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

/// What is in the first list and not in the second: both are walked once, since a rule may have thousands of ranges.
fn less(from: &[PortRange], taken: &[PortRange]) -> Vec<PortRange> {
    let (mut rest, mut at) = (Vec::with_capacity(from.len()), 0);
    for (first, last) in from.iter().map(|(first, last)| (u32::from(*first), u32::from(*last))) {
        let mut start = first;
        while let Some((low, high)) = taken.get(at).map(|(low, high)| (u32::from(*low), u32::from(*high))) {
            if low > last {
                break;
            }
            if low > start {
                rest.push((start as u16, (low - 1) as u16));
            }
            start = start.max(high + 1);
            // One that goes beyond may have something of the next range, too.
            if high > last {
                break;
            }
            at += 1;
        }
        if start <= last {
            rest.push((start as u16, last as u16));
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ranges: &[PortRange]) -> Ports {
        Ports { tcp: normal(ranges.to_vec()), ..Ports::default() }
    }

    #[test]
    fn sets_of_ports_are_what_single_ports_say() {
        let samples: Vec<Vec<PortRange>> = vec![
            vec![],
            vec![(0, u16::MAX)],
            vec![(22, 22)],
            vec![(20, 30), (25, 40)],
            vec![(0, 10), (11, 20)],
            vec![(65_530, 65_535), (0, 0)],
        ];
        let has = |set: &Ports, port: u16| set.tcp.iter().any(|(first, last)| (*first..=*last).contains(&port));
        for a in &samples {
            for b in &samples {
                let (a, b) = (tcp(a), tcp(b));
                for port in (0..50).chain(65_520..=65_535) {
                    let (in_a, in_b) = (has(&a, port), has(&b, port));
                    assert_eq!(has(&a.or(&b), port), in_a || in_b, "{a} or {b}: {port}");
                    assert_eq!(has(&a.and(&b), port), in_a && in_b, "{a} and {b}: {port}");
                    assert_eq!(has(&a.without(&b), port), in_a && !in_b, "{a} without {b}: {port}");
                }
            }
        }
        assert_eq!(tcp(&[(0, 10), (11, 65_535)]), tcp(&[(0, 65_535)]));
        let odd: Vec<PortRange> = (1..=u16::MAX).step_by(2).map(|port| (port, port)).collect();
        let (odd, all) = (tcp(&odd), tcp(&[(0, u16::MAX)]));
        let even = all.without(&odd);
        assert_eq!((even.tcp.len(), even.tcp[1], odd.and(&even).tcp.len()), (32_768, (2, 2), 0));
        assert_eq!((odd.or(&even), Ports::of_all([&odd, &even].into_iter())), (all.clone(), all.clone()));
        assert_eq!(all.without(&even), odd);
        assert_eq!(Ports::all().without(&tcp(&[(22, 22)])).to_string(), "tcp/0-21, tcp/23-65535, udp, icmp, other");
    }
}
