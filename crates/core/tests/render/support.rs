//! What the tests of rendering share: plans of networks in which everybody has a key.

use std::path::Path;
use std::sync::Arc;

use wayleave_core::file::load_with;
use wayleave_core::keys::PrivateKey;
use wayleave_core::network::{Network, resolve::resolve};
use wayleave_core::plan::{Ledger, LinkStates, Plan, plan};

/// The private key of the member with a number.
pub fn key(at: usize) -> PrivateKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    PrivateKey::from_random(bytes)
}

/// A network's plan, with a key for everybody who has none: that of the position.
pub fn planned(network: Arc<Network>) -> Plan {
    let mut ledger = Ledger::default();
    let names = network.nodes.iter().map(|node| &node.name).chain(network.clients.iter().map(|client| &client.name));
    for (at, name) in names.enumerate() {
        ledger.public_keys.insert(name.clone(), key(at).public_key());
    }
    plan(network, &ledger, &LinkStates::default()).0
}

/// The network that a text means.
pub fn network(text: &str) -> Arc<Network> {
    let loaded = load_with("network.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let findings = format!("{:?}\n{:?}\n{text}", loaded.findings.sorted(), resolution.findings.sorted());
    Arc::new(resolution.network.unwrap_or_else(|| panic!("the network file has errors: {findings}")))
}

/// The plan of an example.
pub fn example(name: &str) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    planned(network(&std::fs::read_to_string(path).unwrap()))
}
