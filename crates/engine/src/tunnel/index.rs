//! The session index table: what a datagram's receiver index stands for.
//!
//! Indices are random, so that they tell an observer nothing, and unique among everything alive. An index is either a handshake
//! that waits for its response or a session. Whoever retires one of these takes it out here. Where several devices share a key, an
//! index says whose it is ([`Numbering`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::peer::PeerId;
use super::session::Session;
use crate::keys::PrivateKey;
use crate::noise::mac;
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

/// How devices with the same key tell each other's sessions: six bits of an index are the device's number, sixteen are random and
/// ten prove that somebody with the key has made it, so that a stranger's guess is right once in a thousand times.
pub struct Numbering {
    number: u8,
    secret: Zeroizing<[u8; 16]>,
}

impl std::fmt::Debug for Numbering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Numbering").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Numbering {
    /// For the device with a number among those that have a key.
    pub fn new(number: u8, key: &PrivateKey) -> Numbering {
        Numbering { number, secret: Zeroizing::new(mac(key.expose(), &[b"numbering of session indices"])) }
    }

    /// Whose an index is, if it is anybody's.
    pub fn owner(&self, index: u32) -> Option<u8> {
        let number = (index >> 26) as u8;
        (self.index(number, (index >> 10) as u16) == index).then_some(number)
    }

    fn index(&self, number: u8, random: u16) -> u32 {
        let [a, b, ..] = mac(self.secret.as_slice(), &[&[number], &random.to_be_bytes()]);
        u32::from(number) << 26 | u32::from(random) << 10 | u32::from(u16::from_be_bytes([a, b]) >> 6)
    }
}

/// Index to meaning.
#[derive(Debug, Default)]
pub struct IndexTable {
    meanings: HashMap<u32, Indexed, BuildHasherDefault<IndexHasher>>,
    numbering: Option<Numbering>,
}

/// Sessions whose indices are numbered: half of those there are, so that a free one is found soon. Others can't be handed over.
const NUMBERED_MAX: usize = 1 << 15;

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
        let numbering = self.numbering.as_ref().filter(|_| self.meanings.len() < NUMBERED_MAX);
        loop {
            let random = random_u32(rng);
            let index = numbering.map_or(random, |own| own.index(own.number, random as u16));
            if let Entry::Vacant(vacant) = self.meanings.entry(index) {
                let index = *vacant.key();
                vacant.insert(Indexed::Handshake(peer));
                return index;
            }
        }
    }

    /// The handshake that reserved the index is done; it names the session from here on.
    pub fn promote(&mut self, session: Arc<Session>) {
        self.meanings.insert(session.local_index, Indexed::Session(session));
    }

    /// What the index stands for.
    pub fn lookup(&self, index: u32) -> Option<&Indexed> {
        self.meanings.get(&index)
    }

    /// Frees the index.
    pub fn remove(&mut self, index: u32) {
        self.meanings.remove(&index);
    }

    /// How many indices are in use.
    pub fn len(&self) -> usize {
        self.meanings.len()
    }

    /// Whether other devices may have the same key.
    pub fn is_numbered(&self) -> bool {
        self.numbering.is_some()
    }

    /// From now on indices say whose they are.
    pub fn set_numbering(&mut self, numbering: Option<Numbering>) {
        self.numbering = numbering;
    }

    /// The other device whose session an index is, by what it says itself.
    pub fn owner(&self, index: u32) -> Option<u8> {
        let own = self.numbering.as_ref()?;
        own.owner(index).filter(|number| *number != own.number)
    }
}
