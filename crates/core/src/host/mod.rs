//! The state of a host as data: what a plan wants there, what is there, and the changes from one to the other.
//!
//! In come a [`NodePlan`](crate::plan::NodePlan) with the endpoints' present addresses ([`wanted()`]) and what somebody has read
//! from a kernel ([`Actual`]). Out comes a list of [`Change`]s ([`diff()`]), to be applied in its order: all additions come before
//! all removals, so whoever stops anywhere, looks again and asks again arrives all the same. What does not carry our mark is not
//! in an [`Actual`], so nothing here can propose to touch it; a foreign device under a wanted name is an [`Obstacle`].
//! Nothing here talks to a kernel, and no private key comes in: a device's key is known by its public half.

mod change;
mod dial;
mod diff;
pub mod doctor;
mod moves;
mod mtu;
mod neighbours;
mod state;
mod wanted;
mod watch;

pub use change::{Change, KeyPaths, PeerRef};
pub use dial::Dialler;
pub use diff::{Obstacle, diff};
pub use moves::{Learned, LearnedRoute, NotCarried, expected, expected_of, follow};
pub use mtu::{OVERHEAD, mtu, overhead};
pub use state::{Actual, Backend, DeviceState, HostState, PeerState, Route, Rule, Sysctl};
pub use wanted::{Resolved, nothing, wanted};
pub use watch::{Answering, ServerWatch, Step};

/// The protocol number of our routes (`ip route ... proto 87`): the letter W, free in `rt_protos` everywhere we looked.
pub const ROUTE_PROTOCOL: u8 = 87;

/// The same of routes that tell BIRD of claims. No packet goes by them.
pub const CLAIM_PROTOCOL: u8 = 88;
/// Their metric: one with the same is replaced, whatever it says.
pub const CLAIM_METRIC: u32 = 1;
/// The priorities of our rules: before the main table's 32766, and before those that wg-quick takes (from 32765 downwards).
pub const RULE_PRIORITIES: std::ops::RangeInclusive<u32> = 8_700..=8_799;
/// What a device's alias (`ip link ... alias`) begins with, if it is ours; the network's name follows.
pub const ALIAS_PREFIX: &str = "wayleave:";
