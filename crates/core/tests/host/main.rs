//! The difference of a host's states: against a kernel made of maps.

mod changes;
mod model;
#[path = "../random/mod.rs"]
mod random;
mod steps;
