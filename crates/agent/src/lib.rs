//! Wayleave's hands: what changes a host.
//!
//! [`netlink`] talks to the kernel: links, addresses, routes, rules and its WireGuard, by typed requests, in the network
//! namespace of the calling thread; the lab builds its hosts with it. [`host`] reads a whole host and carries out the changes
//! that `core` proposes. [`node`] is the agent. What is to be done is decided in `core`.

pub mod bird;
pub mod client;
pub mod control;
pub mod host;
pub mod limits;
pub mod netlink;
pub mod node;
pub mod ping;
pub mod reconcile;
mod recording;
pub mod system;
