//! What a link does to a packet.
//!
//! A [`Link`] is one direction between two ports. It is told the time and a packet's length and answers with a [`Verdict`]: when the
//! packet arrives (perhaps twice), or why it doesn't. It holds no packet, reads no clock and draws its chances from what it is
//! handed, so the lab's wire and a pure simulation use the same one.
//!
//! A packet first waits for its turn at the link's rate (a bounded queue, dropped at the tail), then travels for delay ± jitter.
//! Packets of one link arrive in the order they were sent, jitter or not, because reordering on a real path is rare and TCP and
//! WireGuard both suffer from it; it has a probability of its own. Times are nanoseconds since any moment the caller likes.

use super::chance::Chance;
use crate::limits;
use std::collections::VecDeque;
use std::time::Duration;

/// The properties of one direction of a path. The default is a perfect one: no delay, no loss, no limit.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkModel {
    /// One-way delay, at most [`limits::DELAY_MAX`].
    pub delay: Duration,
    /// Delay varies evenly by up to this much either way.
    pub jitter: Duration,
    /// Probability of losing a packet, 0 to 1.
    pub loss: f64,
    /// Probability of a packet arriving twice, 0 to 1.
    pub duplicate: f64,
    /// Probability of a packet being held back so that later ones overtake it, 0 to 1.
    pub reorder: f64,
    /// How long such a packet is held back beyond its own delay, at most [`limits::REORDER_HOLD_MAX`].
    pub reorder_hold: Duration,
    /// Rate in bits of IP packet per second, no limit if `None`.
    pub rate_bit_per_s: Option<u64>,
    /// Packets that wait for their turn at the rate, at most.
    pub queue_packets: u32,
    /// Bytes that wait for their turn at the rate, at most.
    pub queue_bytes: u32,
    /// False for a cut link: everything is dropped.
    pub up: bool,
}

impl Default for LinkModel {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_hold: Duration::from_millis(10),
            rate_bit_per_s: None,
            queue_packets: limits::LINK_QUEUE_PACKETS,
            queue_bytes: limits::LINK_QUEUE_BYTES,
            up: true,
        }
    }
}

impl LinkModel {
    /// A link that only takes time: `delay` one way.
    pub fn with_delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives.
    Deliver {
        /// When.
        at_ns: u64,
        /// When its twin arrives, if it has one.
        again_ns: Option<u64>,
    },
    /// It doesn't.
    Drop(LinkDrop),
}

/// Why a link dropped a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkDrop {
    /// The link is cut.
    Down,
    /// Chance.
    Loss,
    /// The queue before a limited rate was full.
    QueueFull,
}

/// One direction of a path, with what it remembers from packet to packet.
#[derive(Debug, Clone, Default)]
pub struct Link {
    model: LinkModel,
    /// End of transmission and length of the packets that wait for their turn, oldest first. Empty without a rate.
    waiting: VecDeque<(u64, u32)>,
    waiting_bytes: u64,
    /// When the last accepted packet has left.
    busy_until_ns: u64,
    /// When the last accepted packet arrives; none may arrive before it.
    last_arrival_ns: u64,
}

impl Link {
    /// An idle link.
    pub fn new(model: LinkModel) -> Self {
        Self { model, ..Self::default() }
    }

    /// What it does at present.
    pub fn model(&self) -> &LinkModel {
        &self.model
    }

    /// Replaces the model. A changed path is a new path: packets under way arrive as they would have, later ones may overtake them.
    pub fn set_model(&mut self, model: LinkModel) {
        *self = Self::new(model);
    }

    /// Cuts or mends the link, everything else staying as it is.
    pub fn set_up(&mut self, up: bool) {
        self.model.up = up;
    }

    /// Decides about a packet of `length` bytes sent at `now_ns`, and remembers it.
    pub fn decide(&mut self, now_ns: u64, length: usize, chance: &mut Chance) -> Verdict {
        if !self.model.up {
            return Verdict::Drop(LinkDrop::Down);
        }
        if chance.happens(self.model.loss) {
            return Verdict::Drop(LinkDrop::Loss);
        }
        let Some(sent_ns) = self.transmit(now_ns, length) else {
            return Verdict::Drop(LinkDrop::QueueFull);
        };
        let at_ns = self.arrival(sent_ns, chance);
        let again_ns = chance.happens(self.model.duplicate).then_some(at_ns);
        Verdict::Deliver { at_ns, again_ns }
    }

    /// When the packet has been sent at the link's rate, or `None` if the queue is full.
    fn transmit(&mut self, now_ns: u64, length: usize) -> Option<u64> {
        let Some(rate) = self.model.rate_bit_per_s else {
            return Some(now_ns);
        };
        while let Some(&(end_ns, bytes)) = self.waiting.front() {
            if end_ns > now_ns {
                break;
            }
            self.waiting.pop_front();
            self.waiting_bytes -= u64::from(bytes);
        }
        let length = u32::try_from(length).ok()?;
        let idle = self.waiting.is_empty();
        let full = self.waiting.len() >= self.model.queue_packets as usize
            || self.waiting_bytes + u64::from(length) > u64::from(self.model.queue_bytes);
        // The packet being sent is not in a queue: an idle link takes one whatever its bounds.
        if full && !idle {
            return None;
        }
        let sending_ns = (u128::from(length) * 8 * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
        let start_ns = self.busy_until_ns.max(now_ns);
        let end_ns = start_ns.saturating_add(u64::try_from(sending_ns).unwrap_or(u64::MAX));
        self.busy_until_ns = end_ns;
        self.waiting.push_back((end_ns, length));
        self.waiting_bytes += u64::from(length);
        Some(end_ns)
    }

    /// When a packet that has left at `sent_ns` arrives.
    fn arrival(&mut self, sent_ns: u64, chance: &mut Chance) -> u64 {
        let delay_ns = nanoseconds(self.model.delay.min(limits::DELAY_MAX));
        let jitter_ns = nanoseconds(self.model.jitter.min(limits::DELAY_MAX));
        let varied_ns = match jitter_ns {
            0 => delay_ns,
            _ => (delay_ns + chance.up_to(2 * jitter_ns)).saturating_sub(jitter_ns),
        };
        let at_ns = sent_ns.saturating_add(varied_ns).max(self.last_arrival_ns);
        if chance.happens(self.model.reorder) {
            return at_ns.saturating_add(nanoseconds(self.model.reorder_hold.min(limits::REORDER_HOLD_MAX)));
        }
        self.last_arrival_ns = at_ns;
        at_ns
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn arrival(verdict: Verdict) -> Option<u64> {
        match verdict {
            Verdict::Deliver { at_ns, .. } => Some(at_ns),
            Verdict::Drop(_) => None,
        }
    }

    #[test]
    fn a_perfect_link_takes_its_delay() {
        let mut link = Link::new(LinkModel::with_delay(Duration::from_millis(40)));
        let mut chance = Chance::new(0);
        assert_eq!(arrival(link.decide(5 * MS, 1500, &mut chance)), Some(45 * MS));
    }

    #[test]
    fn a_rate_spaces_packets_and_its_queue_is_bounded() {
        // 1250 bytes at 1 Mbit/s take 10 ms.
        let model = LinkModel { rate_bit_per_s: Some(1_000_000), queue_packets: 3, ..LinkModel::default() };
        let mut link = Link::new(model);
        let mut chance = Chance::new(0);
        let arrivals: Vec<_> = (0..5).map(|_| arrival(link.decide(0, 1250, &mut chance))).collect();
        assert_eq!(arrivals, [Some(10 * MS), Some(20 * MS), Some(30 * MS), None, None]);
        assert_eq!(
            arrival(link.decide(10 * MS, 1250, &mut chance)),
            Some(40 * MS),
            "one has left, there is room for one"
        );
    }

    #[test]
    fn a_queue_is_bounded_in_bytes_and_an_idle_link_takes_anything() {
        let model = LinkModel { rate_bit_per_s: Some(8_000), queue_bytes: 100, ..LinkModel::default() };
        let mut link = Link::new(model);
        let mut chance = Chance::new(0);
        assert!(arrival(link.decide(0, 500, &mut chance)).is_some());
        assert_eq!(link.decide(0, 50, &mut chance), Verdict::Drop(LinkDrop::QueueFull));
    }

    #[test]
    fn a_cut_link_drops_and_a_mended_one_delivers() {
        let mut link = Link::new(LinkModel::default());
        let mut chance = Chance::new(0);
        link.set_up(false);
        assert_eq!(link.decide(0, 1, &mut chance), Verdict::Drop(LinkDrop::Down));
        link.set_up(true);
        assert_eq!(arrival(link.decide(0, 1, &mut chance)), Some(0));
    }

    #[test]
    fn reordering_happens_only_when_asked_for() {
        let model = LinkModel { reorder: 0.2, ..LinkModel::with_delay(Duration::from_millis(1)) };
        let mut link = Link::new(model);
        let mut chance = Chance::new(3);
        let arrivals: Vec<_> = (0..100).filter_map(|i| arrival(link.decide(i * MS, 100, &mut chance))).collect();
        assert!(arrivals.windows(2).any(|w| w[1] < w[0]));
    }

    #[test]
    fn duplicates_and_losses_come_at_their_probability() {
        let model = LinkModel { loss: 0.1, duplicate: 0.2, ..LinkModel::default() };
        let mut link = Link::new(model);
        let mut chance = Chance::new(4);
        let (mut lost, mut twice) = (0, 0);
        for i in 0..10_000 {
            match link.decide(i, 100, &mut chance) {
                Verdict::Drop(_) => lost += 1,
                Verdict::Deliver { again_ns: Some(_), .. } => twice += 1,
                Verdict::Deliver { .. } => {}
            }
        }
        assert!((900..1100).contains(&lost), "{lost}");
        assert!((1600..2000).contains(&twice), "{twice}");
    }

    proptest! {
        #[test]
        fn order_is_kept_and_time_passes_forward(
            seed: u64, delay_ms in 0_u64..500, jitter_ms in 0_u64..500, rate in proptest::option::of(1_u64..1_000_000_000),
            packets in proptest::collection::vec((0_u64..50_000_000, 0_usize..70_000), 1..100),
        ) {
            let mut link = Link::new(LinkModel {
                delay: Duration::from_millis(delay_ms), jitter: Duration::from_millis(jitter_ms), rate_bit_per_s: rate,
                ..LinkModel::default()
            });
            let mut chance = Chance::new(seed);
            let (mut now, mut last) = (0, 0);
            for (gap, length) in packets {
                now += gap;
                if let Some(at) = arrival(link.decide(now, length, &mut chance)) {
                    prop_assert!(at >= now && at >= last);
                    prop_assert!(rate.is_some() || at <= last.max(now + (delay_ms + jitter_ms) * MS));
                    last = at;
                }
            }
        }

        #[test]
        fn no_model_panics(seed: u64, delay: u64, jitter: u64, loss: f64, reorder: f64, rate: u64, now: u64, length: usize) {
            let mut link = Link::new(LinkModel {
                delay: Duration::from_nanos(delay), jitter: Duration::from_secs(jitter), loss, reorder, duplicate: loss,
                reorder_hold: Duration::MAX, rate_bit_per_s: Some(rate), ..LinkModel::default()
            });
            let mut chance = Chance::new(seed);
            for _ in 0..3 {
                link.decide(now, length, &mut chance);
            }
        }
    }
}
