//! What people and scripts rely on: exit codes, files that stay as they are, keys, streams, and stable addresses.
//!
//! Everything here is the real binary run in a directory of its own. What needs network devices is in `lab.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod desk;

#[path = "cli/checks.rs"]
mod checks;
#[path = "cli/clients.rs"]
mod clients;
#[path = "cli/exit_codes.rs"]
mod exit_codes;
#[path = "cli/foreign.rs"]
mod foreign;
#[path = "cli/imports.rs"]
mod imports;
#[path = "cli/keys.rs"]
mod keys;
#[path = "cli/proofs.rs"]
mod proofs;
#[path = "cli/records.rs"]
mod records;
#[path = "cli/rendered.rs"]
mod rendered;
#[path = "cli/streams.rs"]
mod streams;

/// A small network without errors and warnings but for the keys that nobody has yet.
const OFFICE: &str = r#"[network]
name = "office"
prefixes = ["10.9.0.0/24"]
accept = ["WL535"]

[nodes.server]
endpoint = "192.0.2.1"
entry = true
hub = true
prefixes = ["192.168.77.0/24"]

[nodes.printer]

[nodes.archive]

[clients.laptop]
"#;
