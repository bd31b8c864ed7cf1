//! The difference of a host's states: against a kernel made of maps.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod changes;
mod doctor;
mod expected;
mod learned;
mod model;
mod moves;
#[path = "../random/mod.rs"]
mod random;
mod steps;
