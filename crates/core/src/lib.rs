//! Wayleave's decisions, all of them pure.
//!
//! Text comes in, a [`file::NetworkFile`] (as written) becomes a [`network::Network`] (as meant), and
//! [`plan::plan`] turns that into one [`plan::NodePlan`] per node and client, which [`render`] turns into
//! files for hosts. Nothing here reads a clock, a file or a socket, draws a random number, spawns or locks:
//! callers hand in what is needed, so the same inputs give the same bytes on every node.

#![forbid(unsafe_code)]
#![deny(clippy::iter_over_hash_type)]

pub mod check;
pub mod file;
pub mod host;
pub mod import;
pub mod limits;
pub mod names;
pub mod network;
pub mod node;
pub mod plan;
pub mod prove;
pub mod render;

pub use names::keys;
