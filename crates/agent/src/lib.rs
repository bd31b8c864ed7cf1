//! Wayleave's hands: what changes a host.
//!
//! At present the kernel's side of it: [`netlink`], links, addresses, routes and rules by typed requests, in the network
//! namespace of the calling thread. The lab builds its hosts with it.

pub mod limits;
pub mod netlink;
