//! The session index table: what a datagram's receiver index stands for.
//!
//! Indices are random, so that they tell an observer nothing, and unique among everything alive. An index is either a handshake
//! that waits for its response or a session. Whoever retires one of these takes it out here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::peer::PeerId;
use super::session::Session;
use crate::rng::{Rng, random_u32};

/// What an index stands for.
#[derive(Clone, Debug)]
pub enum Indexed {
    /// An initiation that this device sent.
    Handshake(PeerId),
    /// A session.
    Session(Arc<Session>),
}

impl Indexed {
    /// Whose it is.
    pub fn peer(&self) -> PeerId {
        match self {
            Indexed::Handshake(peer) => *peer,
            Indexed::Session(session) => session.peer,
        }
    }
}

/// Index to meaning.
#[derive(Debug, Default)]
pub struct IndexTable(HashMap<u32, Indexed, BuildHasherDefault<IndexHasher>>);

/// What was drawn at random need not be hashed: nobody else chooses what is in the table.
#[derive(Debug, Default)]
pub struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0 << 8 | u64::from(*byte));
    }

    fn write_u32(&mut self, index: u32) {
        // The table's groups go by the low bits, their members by the high ones.
        self.0 = u64::from(index) << 32 | u64::from(index);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl IndexTable {
    /// Draws an unused index for a handshake of `peer`.
    pub fn reserve(&mut self, peer: PeerId, rng: &mut dyn Rng) -> u32 {
        loop {
            if let Entry::Vacant(vacant) = self.0.entry(random_u32(rng)) {
                let index = *vacant.key();
                vacant.insert(Indexed::Handshake(peer));
                return index;
            }
        }
    }

    /// The handshake that reserved the index is done; it names the session from here on.
    pub fn promote(&mut self, session: Arc<Session>) {
        self.0.insert(session.local_index, Indexed::Session(session));
    }

    /// What the index stands for.
    pub fn lookup(&self, index: u32) -> Option<&Indexed> {
        self.0.get(&index)
    }

    /// Frees the index.
    pub fn remove(&mut self, index: u32) {
        self.0.remove(&index);
    }

    /// How many indices are in use.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
