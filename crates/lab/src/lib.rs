//! A small internet on one machine.
//!
//! Every node of a network gets a network namespace of its own ([`host`]); one thread, the wire ([`wire`]), carries packets between
//! them with the delay, loss, rate and NAT that the places they stand for have. [`wayleave_agent::ping`] measures what came of it.
//!
//! Nothing here touches the machine's own namespace, and nothing outlives the process: namespaces are held by file descriptors
//! only, so even a killed lab leaves nothing behind.

pub mod control;
pub mod host;
pub mod limits;
pub mod scenario;
pub mod session;
pub mod state;
pub mod wire;
