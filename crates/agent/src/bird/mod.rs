//! BIRD, the routing engine that speaks BGP: all that is said to it and heard from it.
//!
//! [`Connection`] asks over its control socket, within bounds; what comes back is taken apart by pure readers ([`reply`],
//! [`status`], [`protocols`], [`routes`]) that were fed rubbish. What BIRD is told to do is `core`'s to decide and to write.

pub mod protocols;
pub mod reply;
pub mod routes;
mod socket;
pub mod status;

pub use socket::{Connection, SocketError};
