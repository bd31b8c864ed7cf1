//! Everything that touches the kernel: namespaces, devices, and through the agent's netlink addresses and routes.
//!
//! All of it by system calls and netlink, nothing by other programs, so that a lab needs nothing installed. Functions act in the
//! network namespace of the calling thread; [`Namespace::run`] is the way into another one. Errors say what was attempted on which
//! device, and where a machine's settings forbid it, how to change them.

pub mod namespace;
pub mod tun;
pub mod user_namespace;

pub use namespace::{Namespace, NamespaceError};
pub use wayleave_agent::netlink::{Netlink, NetlinkError, Route, Rule};
