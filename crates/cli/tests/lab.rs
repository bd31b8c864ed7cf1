//! Lab scenarios: the real binary brings networks up on this machine, and everything is measured with real packets.
//!
//! All packets stay in namespaces that a lab makes. A machine that can't do this has the scenario listed as not run. The
//! tests run one at a time, since two measurements at once would measure each other; see `.config/nextest.toml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../lab/tests/bed/mod.rs"]
mod bed;
#[path = "lab/bgp.rs"]
mod bgp;
#[path = "lab/claims.rs"]
mod claims;
#[path = "lab/client_watch.rs"]
mod client_watch;
#[path = "lab/dead_ways.rs"]
mod dead_ways;
mod desk;
#[path = "lab/drain.rs"]
mod drain;

#[path = "lab/engine.rs"]
mod engine;
#[path = "lab/examples.rs"]
mod examples;
#[path = "lab/failover.rs"]
mod failover;
#[path = "lab/faults.rs"]
mod faults;
#[path = "lab/full_table.rs"]
mod full_table;
#[path = "lab/leftovers.rs"]
mod leftovers;
#[path = "lab/neighbours.rs"]
mod neighbours;
#[path = "lab/ordinary_user.rs"]
mod ordinary_user;
#[path = "lab/policy.rs"]
mod policy;
#[path = "lab/regions.rs"]
mod regions;
#[path = "lab/rendered.rs"]
mod rendered;
#[path = "lab/roaming.rs"]
mod roaming;
#[path = "lab/running.rs"]
mod running;
#[path = "lab/segments.rs"]
mod segments;
#[path = "lab/servers.rs"]
mod servers;
#[path = "lab/stays_up.rs"]
mod stays_up;
#[path = "lab/underlay.rs"]
mod underlay;

/// A hub, two nodes behind NAT and a client.
const NETWORK: &str = r#"[network]
name = "small"
prefixes = ["10.9.0.0/24"]

[nodes.hub]
endpoint = "192.0.2.1"
hub = true
entry = true

[nodes.left]
prefixes = ["192.168.77.0/24"]

[nodes.right]

[clients.laptop]
"#;
