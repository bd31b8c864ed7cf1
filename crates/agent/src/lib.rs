//! Wayleave's hands: what changes a host.
//!
//! [`netlink`] talks to the kernel: links, addresses, routes, rules and its WireGuard, by typed requests, in the network
//! namespace of the calling thread; the lab builds its hosts with it. [`host`] reads a whole host and carries out the changes
//! that `core` proposes. Nothing here decides anything.

pub mod control;
pub mod directory;
pub mod host;
pub mod limits;
pub mod netlink;
pub mod node;
pub mod originals;
pub mod reconcile;
pub mod signals;
pub mod systemd;
pub mod watch_files;
