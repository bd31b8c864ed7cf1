//! What nodes tell each other: one end's view of one link, counted by generations.
//!
//! A link has two ends, so two records are about it, each with its own origin. Only the origin raises its record's
//! generation; a higher one replaces a lower one everywhere, and of two with the same generation (an origin that forgot
//! its past) the greater view wins until the origin, which hears of it, issues a higher one. No clock is involved.

use crate::names::Name;

/// Which record: who says it, and with whom the link is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The node that says it.
    pub origin: Name,
    /// The other end of the link.
    pub other: Name,
}

/// One end's view of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// Works as the network file says.
    AsStated,
    /// Works, and takes another time than stated: microseconds there and back, waiting for what is lost included.
    Takes {
        /// Microseconds.
        us: u32,
    },
    /// Does not work in at least one direction.
    Down,
}

/// A view with its key and generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose, and about what.
    pub key: Key,
    /// Counts the origin's changes of mind.
    pub generation: u32,
    /// The view.
    pub view: View,
}

impl Key {
    /// A hash that all nodes share, whatever their version and platform.
    pub(super) fn hash(&self) -> u64 {
        let bytes = self.origin.as_str().bytes().chain([b'/']).chain(self.other.as_str().bytes());
        // FNV-1a, then mixed: nobody gains by making collisions, since members can say what they want anyway.
        mix(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }
}

impl View {
    /// A hash of a record with this view.
    pub(super) fn stamp(self, key_hash: u64, generation: u32) -> u64 {
        let view = match self {
            View::AsStated => 0,
            View::Takes { us } => 1 << 32 | u64::from(us),
            View::Down => 2 << 32,
        };
        mix(mix(key_hash ^ u64::from(generation)).wrapping_add(view))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
