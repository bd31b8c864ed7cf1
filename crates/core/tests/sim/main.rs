//! Networks of agents in virtual time: failures, what they do to packets, and whether everybody agrees afterwards.

#[path = "../random/mod.rs"]
mod random;
mod wire;
mod world;

mod faults;
mod messages;
mod seeds;
mod traffic;
