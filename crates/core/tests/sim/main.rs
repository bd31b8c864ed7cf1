//! Networks of agents in virtual time: failures, what they do to packets, and whether everybody agrees afterwards.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and reads how many seeds to run")]

mod flows;
#[path = "../random/mod.rs"]
mod random;
#[path = "roaming/roamers.rs"]
mod roamers;
mod told;
mod wire;
mod world;

mod faults;
mod files;
mod gateways;
mod messages;
mod pauses;
mod plain;
mod recorded;
mod roaming;
mod seeds;
mod traffic;
