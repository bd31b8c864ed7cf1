//! What the wire counts, and how late it was.
//!
//! A wire in user memory is only as exact as its scheduling, so it measures itself: for each packet, how long after its deadline it
//! was handed out. A measurement made while the wire was late by milliseconds says nothing and should be repeated; this is how to know.

use super::cloud::anycast::{AnycastFlow, AnycastId};
use super::route::{NatId, PortId};
use std::fmt;
use std::time::Duration;

/// Everything counted since the wire started (lateness: since it was last reset).
#[derive(Debug, Clone, Default)]
pub struct WireStats {
    /// How the wire's thread is scheduled.
    pub scheduling: Scheduling,
    /// How late packets were handed out.
    pub lateness: Lateness,
    /// One entry per ordered pair of ports that has a model or has seen a packet.
    pub links: Vec<LinkStats>,
    /// One entry per NAT.
    pub nats: Vec<NatStats>,
    /// One entry per anycast address.
    pub anycasts: Vec<AnycastStats>,
    /// Packets that never got as far as a link.
    pub drops: WireDrops,
    /// Packets under way.
    pub held_packets: usize,
    /// Bytes under way.
    pub held_bytes: usize,
}

/// Whether the wire runs before everything else on its processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// Like any other thread, because nobody asked for more.
    #[default]
    Ordinary,
    /// `SCHED_FIFO`.
    Realtime,
    /// `SCHED_FIFO` was asked for and refused: on a busy machine delays are too long by milliseconds.
    Refused {
        /// The kernel's error number.
        errno: i32,
    },
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ordinary => f.write_str("ordinary scheduling"),
            Self::Realtime => f.write_str("realtime scheduling"),
            Self::Refused { errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                write!(f, "ordinary scheduling (SCHED_FIFO refused: {error}; delays grow when the machine is busy)")
            }
        }
    }
}

/// Counters of one direction between two ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStats {
    /// Where packets come from.
    pub from: PortId,
    /// Where they go.
    pub to: PortId,
    /// Whether packets can pass at present: neither the link nor one of its ports is cut, no partition separates them.
    pub up: bool,
    /// Packets judged by the link.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets handed to the other port.
    pub delivered_packets: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Dropped by chance.
    pub lost: u64,
    /// Dropped because the queue before the rate was full.
    pub queue_full: u64,
    /// Dropped because the link, a port or a partition cut the way.
    pub cut: u64,
    /// Dropped because the whole wire held too much.
    pub wire_full: u64,
    /// Dropped by the NAT in front of the receiver.
    pub nat: u64,
    /// Not accepted by the receiver's device.
    pub refused: u64,
}

impl LinkStats {
    /// No packet yet.
    pub fn new(from: PortId, to: PortId) -> Self {
        Self {
            from,
            to,
            up: true,
            sent_packets: 0,
            sent_bytes: 0,
            delivered_packets: 0,
            delivered_bytes: 0,
            lost: 0,
            queue_full: 0,
            cut: 0,
            wire_full: 0,
            nat: 0,
            refused: 0,
        }
    }
}

/// State of one NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatStats {
    /// Which.
    pub nat: NatId,
    /// Its outside address.
    pub outside: std::net::Ipv4Addr,
    /// Mappings it holds, expired ones that nobody asked for included.
    pub mappings: usize,
}

/// State of one anycast address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnycastStats {
    /// Which.
    pub anycast: AnycastId,
    /// The address.
    pub address: std::net::IpAddr,
    /// Its members, and whether each is healthy.
    pub members: Vec<(PortId, bool)>,
    /// Its live flows.
    pub flows: Vec<AnycastFlow>,
}

/// Packets dropped before they reached a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WireDrops {
    /// Not an IP packet, or a broken one.
    pub malformed: u64,
    /// Link-local, multicast and broadcast: what a kernel says to its neighbours, of whom there are none.
    pub local: u64,
    /// Nobody has the destination address, or the sender can't reach the network in which it is.
    pub unroutable: u64,
    /// The source address isn't the sender's, so no answer could come back.
    pub foreign_source: u64,
    /// The sender's NAT couldn't translate it.
    pub nat: u64,
    /// To an anycast address, but not UDP to its port, or one flow too many.
    pub anycast: u64,
}

/// Distribution of how long after their deadlines packets were handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Packets measured.
    pub packets: u64,
    /// Half of them were at most this late.
    pub p50: Duration,
    /// 99 % of them were at most this late.
    pub p99: Duration,
    /// The worst.
    pub max: Duration,
}

/// Octaves and eight steps in each: exact within 12.5 % from nanoseconds to hours.
const STEPS: usize = 8;
const BUCKETS: usize = 64 * STEPS;

/// Collects lateness in constant memory.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    packets: u64,
    max_ns: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), packets: 0, max_ns: 0 }
    }

    pub(super) fn record(&mut self, late_ns: u64) {
        self.buckets[bucket(late_ns)] += 1;
        self.packets += 1;
        self.max_ns = self.max_ns.max(late_ns);
    }

    pub(super) fn summary(&self) -> Lateness {
        Lateness {
            packets: self.packets,
            p50: Duration::from_nanos(self.quantile(50)),
            p99: Duration::from_nanos(self.quantile(99)),
            max: Duration::from_nanos(self.max_ns),
        }
    }

    fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.packets * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(index).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let octave = value.ilog2() as usize;
    // The three bits after the leading one choose the step.
    let step = ((value >> (octave - 3)) & 7) as usize;
    (octave - 2) * STEPS + step
}

fn upper_bound(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let (octave, step) = (index / STEPS + 2, (index % STEPS) as u64);
    if octave >= 64 {
        return u64::MAX;
    }
    let width = 1_u64 << (octave - 3);
    (1_u64 << octave) + step * width + (width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|i| histogram.record(i * 1000));
        let lateness = histogram.summary();
        assert_eq!(lateness.max, Duration::from_millis(1));
        assert!((500_000..563_000).contains(&(lateness.p50.as_nanos() as u64)), "{lateness:?}");
        assert!((990_000..=1_000_000).contains(&(lateness.p99.as_nanos() as u64)), "{lateness:?}");
    }

    #[test]
    fn an_empty_histogram_is_zero() {
        assert_eq!(Histogram::new().summary(), Lateness::default());
    }

    proptest! {
        #[test]
        fn every_value_lies_in_its_bucket(value: u64) {
            let index = bucket(value);
            prop_assert!(value <= upper_bound(index));
            prop_assert!(index == 0 || value > upper_bound(index - 1));
        }
    }
}
