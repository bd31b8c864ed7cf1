//! The cryptographic half of the protocol: messages in, keys and messages out, no state beyond one handshake.
//!
//! [`messages`] knows the wire format, [`handshake`] the Noise pattern `IKpsk2`, [`cookie`] the two MACs and the cookies,
//! [`cipher`] the transport keys, all on `primitives`. Nothing here knows peers, timers, sockets or the time.
//!
//! Why not the `snow` crate: it does not wipe its secrets, and it can neither stop after learning who calls (to look up the
//! peer) nor use a precomputed static-static secret. It is the oracle of the tests instead: both roles are run against it.

pub mod cipher;
pub mod cookie;
pub mod handshake;
pub mod messages;
mod primitives;
#[cfg(test)]
mod tests;
mod wiped;

pub use primitives::mac;
