//! Clients that roam between entry nodes, in the lab with real agents: one address for all, and each is with the nearest.

use crate::desk::{Desk, can_run};

/// Two regions far apart, an entry node and a client in each.
const NETWORK: &str = r#"[network]
name = "roaming"
prefixes = ["10.50.0.0/16"]

[entry]
endpoint = "198.51.100.1"

[regions.ireland]
[regions.singapore]

[nodes.ie]
region = "ireland"
entry = true
platform = "agent"
endpoint = "203.0.113.10"

[nodes.sg]
region = "singapore"
entry = true
platform = "agent"
endpoint = "203.0.113.20"

[clients.cork]
region = "ireland"

[clients.penang]
region = "singapore"

[rtt_ms]
ireland = { singapore = 180 }
penang = { sg = 3, ie = 180 }
cork = { ie = 6, sg = 190 }
"#;

#[test]
fn all_clients_dial_one_address_and_each_lands_on_the_nearest_entry_node() {
    if !can_run("all_clients_dial_one_address_and_each_lands_on_the_nearest_entry_node", true, &[]) {
        return;
    }
    let desk = Desk::with("network.toml", NETWORK);
    let ran = desk.wayleave("lab up --agents --once --json").expect(0);
    let pairs: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let pairs = pairs.as_array().or_else(|| pairs["pairs"].as_array()).unwrap_or_else(|| panic!("{ran}"));
    let rtt = |a: &str, b: &str| {
        let is_it = |pair: &&serde_json::Value| {
            (pair["from"] == a && pair["to"] == b) || (pair["from"] == b && pair["to"] == a)
        };
        let pair = pairs.iter().find(is_it).unwrap_or_else(|| panic!("no {a} and {b}: {ran}"));
        pair["rtt_ms"].as_f64().unwrap_or_else(|| panic!("{a} and {b} don't reach each other: {ran}"))
    };
    // By the other entry node it would be 360 ms and more.
    assert!((3.0..15.0).contains(&rtt("sg", "penang")), "{ran}");
    assert!((6.0..18.0).contains(&rtt("ie", "cork")), "{ran}");
    assert!((180.0..200.0).contains(&rtt("ie", "penang")), "{ran}");
    assert!((180.0..205.0).contains(&rtt("cork", "penang")), "{ran}");
}
