//! What nodes tell each other: one end's view of one link, and with which server a client is; counted by generations.
//!
//! A link has two ends, so two records are about it, each with its own origin. Only the origin raises its record's
//! generation; a higher one replaces a lower one everywhere, and of two with the same generation (an origin that forgot
//! its past) the greater view wins until the origin, which hears of it, issues a higher one.
//!
//! A client has one record, which any entry server may replace: who sees the client come makes a claim with the highest
//! generation it knows, the claim's epoch, and one more. Of two claims with the same epoch (two servers that did not hear of
//! each other) one that holds the client wins over one that lets it go, then the greater name; so all nodes choose alike.
//! No clock is involved.

use crate::names::Name;

/// Which record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// One end's view of a link.
    Link {
        /// The node that says it.
        origin: Name,
        /// The other end of the link.
        other: Name,
    },
    /// With which server a client is.
    Client(Name),
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

/// A server's statement that a client is with it, or no longer. The order decides between claims of the same epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Whether the client is with the server; otherwise it was until this.
    pub held: bool,
    /// The entry server.
    pub server: Name,
}

/// A record: what is said, and how often it has been said anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// One end's view of a link.
    Link {
        /// The node that says it.
        origin: Name,
        /// The other end of the link.
        other: Name,
        /// Counts the origin's changes of mind.
        generation: u32,
        /// What it says.
        view: View,
    },
    /// With which server a client is.
    Client {
        /// The client.
        client: Name,
        /// Counts the claims of this client, whoever made them.
        epoch: u32,
        /// The last of them.
        claim: Claim,
    },
}

/// What a record says, without its key and generation. The order decides between records of one generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    View(View),
    Claim(Claim),
}

impl Record {
    /// Which record it is.
    pub fn key(&self) -> Key {
        match self {
            Record::Link { origin, other, .. } => Key::Link { origin: origin.clone(), other: other.clone() },
            Record::Client { client, .. } => Key::Client(client.clone()),
        }
    }

    /// Counts how often it has been said anew.
    pub fn generation(&self) -> u32 {
        match self {
            Record::Link { generation, .. } => *generation,
            Record::Client { epoch, .. } => *epoch,
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Record::Link { view, .. } => Value::View(*view),
            Record::Client { claim, .. } => Value::Claim(claim.clone()),
        }
    }

    /// Puts a record together again; none if the value is not one of such a key.
    pub(super) fn join(key: &Key, generation: u32, value: &Value) -> Option<Record> {
        match (key.clone(), value) {
            (Key::Link { origin, other }, Value::View(view)) => {
                Some(Record::Link { origin, other, generation, view: *view })
            }
            (Key::Client(client), Value::Claim(claim)) => {
                Some(Record::Client { client, epoch: generation, claim: claim.clone() })
            }
            (Key::Link { .. }, Value::Claim(_)) | (Key::Client(_), Value::View(_)) => None,
        }
    }
}

impl Key {
    /// A hash that all nodes share, whatever their version and platform.
    pub(super) fn hash(&self) -> u64 {
        // Nobody gains by making collisions, since members can say what they want anyway.
        match self {
            Key::Link { origin, other } => mix(fnv(fnv(fnv(FNV, origin.as_str()), "/"), other.as_str())),
            Key::Client(client) => mix(fnv(fnv(FNV, "client/"), client.as_str())),
        }
    }
}

impl Value {
    /// A hash of a record with this value.
    pub(super) fn stamp(&self, key_hash: u64, generation: u32) -> u64 {
        let value = match self {
            Value::View(View::AsStated) => 0,
            Value::View(View::Takes { us }) => 1 << 32 | u64::from(*us),
            Value::View(View::Down) => 2 << 32,
            Value::Claim(Claim { held, server }) => mix(fnv(FNV, server.as_str()) ^ u64::from(*held)),
        };
        mix(mix(key_hash ^ u64::from(generation)).wrapping_add(value))
    }
}

const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a.
fn fnv(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
