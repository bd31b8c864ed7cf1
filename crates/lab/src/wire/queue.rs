//! Packets under way, by deadline.
//!
//! A heap of deadlines beside the packets themselves; equal deadlines keep the order of arrival, because a link that promised
//! first-in-first-out must not lose that promise in a heap. Bounded in packets and in bytes: what doesn't fit is handed back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A bounded queue of things with deadlines and sizes.
#[derive(Debug)]
pub struct DeadlineQueue<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    sequence: u64,
    bytes: usize,
    packets_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Entry<T> {
    at_ns: u64,
    sequence: u64,
    bytes: usize,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.sequence) == (other.at_ns, other.sequence)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.sequence).cmp(&(other.at_ns, other.sequence))
    }
}

impl<T> DeadlineQueue<T> {
    /// An empty queue with its bounds.
    pub fn new(packets_max: usize, bytes_max: usize) -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0, bytes: 0, packets_max, bytes_max }
    }

    /// Adds an item of `bytes` that is due at `at_ns`; hands it back if there is no room.
    pub fn push(&mut self, at_ns: u64, bytes: usize, item: T) -> Result<(), T> {
        if self.heap.len() >= self.packets_max || self.bytes_max - self.bytes < bytes {
            return Err(item);
        }
        self.heap.push(Reverse(Entry { at_ns, sequence: self.sequence, bytes, item }));
        self.sequence += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes the earliest item if it is due, with its deadline.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<(u64, T)> {
        if self.deadline()? > now_ns {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.bytes -= entry.bytes;
        Some((entry.at_ns, entry.item))
    }

    /// When the earliest item is due.
    pub fn deadline(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at_ns)
    }

    /// Items in the queue.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// True if nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Bytes in the queue.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_deadlines_keep_their_order() {
        let mut queue = DeadlineQueue::new(100, 1000);
        for item in 0..50 {
            queue.push(7, 1, item).unwrap();
        }
        let out: Vec<_> = std::iter::from_fn(|| queue.pop_due(7)).map(|(_, item)| item).collect();
        assert_eq!(out, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_leaves_before_its_time() {
        let mut queue = DeadlineQueue::new(10, 10);
        queue.push(5, 1, 'a').unwrap();
        assert_eq!(queue.pop_due(4), None);
        assert_eq!(queue.pop_due(5), Some((5, 'a')));
    }

    proptest! {
        #[test]
        fn against_a_sorted_list(packets in proptest::collection::vec((0_u64..20, 0_usize..20), 0..60)) {
            let mut queue = DeadlineQueue::new(30, 200);
            let mut list = Vec::new();
            for (index, &(at, bytes)) in packets.iter().enumerate() {
                let held: usize = list.iter().map(|&(_, _, b): &(u64, usize, usize)| b).sum();
                let fits = list.len() < 30 && held + bytes <= 200;
                prop_assert_eq!(queue.push(at, bytes, index).is_ok(), fits);
                if fits {
                    list.push((at, index, bytes));
                }
            }
            list.sort_unstable();
            prop_assert_eq!(queue.len(), list.len());
            let out: Vec<_> = std::iter::from_fn(|| queue.pop_due(u64::MAX)).collect();
            prop_assert_eq!(out, list.iter().map(|&(at, index, _)| (at, index)).collect::<Vec<_>>());
            prop_assert_eq!(queue.bytes(), 0);
        }
    }
}
