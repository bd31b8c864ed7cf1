//! Everything that touches the kernel: namespaces, devices, and through the agent's netlink addresses and routes.
//!
//! By system calls and netlink, so that a lab needs nothing installed; only firewalls take `nft`. Functions act in the
//! network namespace of the calling thread; [`Namespace::run`] is the way into another one. Errors say what was attempted on which
//! device, and where a machine's settings forbid it, how to change them.

pub mod firewall;
pub mod namespace;
pub mod tun;
pub mod user_namespace;

pub use namespace::{Namespace, NamespaceError};
pub use wayleave_agent::netlink::{Netlink, NetlinkError, Route, Rule};
