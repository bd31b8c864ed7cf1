//! The cross-platform configuration protocol of WireGuard (<https://www.wireguard.com/xplatform/>), as `wg` speaks it.
//!
//! Text in, [`Request`] out ([`parse`]); a device's description in, text out ([`print()`]); both pure. `UapiSocket` is the Unix socket
//! around them: each connection gets a thread that reads whole requests, has the device do them, and answers with an `errno` line.
//! A request is parsed to its end before any of it is applied, so a bad line changes nothing. [`Client`] is the other side: it asks
//! devices that others run.

mod client;
mod parse;
mod print;
mod socket;

use std::path::PathBuf;

pub use client::{Client, read, write};
pub use parse::{Invalid, Request, parse};
pub use print::print;
pub(crate) use socket::UapiSocket;

/// Where `wg` looks for the device `name`.
pub fn default_path(name: &str) -> PathBuf {
    PathBuf::from(format!("/var/run/wireguard/{name}.sock"))
}
