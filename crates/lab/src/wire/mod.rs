//! The emulated internet: one thread that carries packets between the TUN devices of all nodes.
//!
//! A node's outside is a *port* of the wire. A packet read from a port is looked up by its destination address ([`route`]), perhaps
//! translated by the sender's NAT ([`nat`]), sent on to the nearest of several members ([`cloud::anycast`]), judged by the link between the two ports ([`model`]), held until its time
//! ([`queue`]) and handed to the other port, through that one's NAT if it has one. The pure parts know neither clock nor socket;
//! `thread` turns descriptors and deadlines into calls of [`cloud::Cloud`], which ties them together.
//!
//! It is a cloud at layer 3: it doesn't count down hop limits, doesn't fragment and doesn't answer; what it can't deliver it drops
//! and counts.

mod chance;
pub mod cloud;
mod handle;
pub mod model;
pub mod nat;
mod packet;
mod poller;
pub mod queue;
pub mod route;
mod stats;
mod thread;

pub use chance::Chance;
pub use cloud::anycast::{AnycastConfig, AnycastFlow, AnycastId, AnycastMember};
pub use handle::{Wire, WireError, WireOptions};
pub use model::{Link, LinkModel};
pub use nat::{Nat, NatConfig, NatFiltering, NatMapping, PortForward};
pub use route::{NatId, PortId, RouteError, UnderlayId};
pub use stats::{AnycastStats, Lateness, LinkStats, NatStats, Scheduling, WireDrops, WireStats};
