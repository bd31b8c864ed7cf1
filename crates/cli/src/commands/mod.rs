//! One file per command.

pub mod check;
pub mod client;
pub mod engine;
pub mod host;
pub mod import;
pub mod key;
pub mod lab;
pub mod manual;
pub mod plan;
pub mod prove;
pub mod render;
