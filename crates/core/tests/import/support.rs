//! What the import tests share: files by name and text, and the way from a network to its files and back.

use std::sync::Arc;

use wayleave_core::file::load_with;
use wayleave_core::import::{Difference, File, Inferred, Read, infer, verify};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::network::{Network, Platform, resolve::resolve};
use wayleave_core::plan::{Ledger, LinkStates, Plan, plan};
use wayleave_core::render::{KeySource, files as files_of, key_path};

/// Files to read, by path and text.
pub fn files(list: &[(&str, &str)]) -> Vec<File> {
    list.iter().map(|(path, text)| File { path: (*path).into(), bytes: text.as_bytes().into(), mode: None }).collect()
}

/// A private key made of a number.
pub fn key(number: u8) -> PrivateKey {
    PrivateKey::from_random([number; 32])
}

/// Codes of all findings of reading, sorted.
pub fn codes(read: &Read) -> Vec<&'static str> {
    let mut codes: Vec<&str> = read.findings.sorted().iter().map(|finding| finding.kind.code()).collect();
    codes.sort_unstable();
    codes
}

/// The network that a text means.
pub fn network(text: &str) -> Network {
    let loaded = load_with("network.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let findings = format!("{:?}\n{:?}\n{text}", loaded.findings.sorted(), resolution.findings.sorted());
    resolution.network.unwrap_or_else(|| panic!("the network file has errors: {findings}"))
}

/// Infers a network and verifies it.
pub fn back(read: &Read) -> (Inferred, Plan, Vec<Difference>) {
    let inferred = infer(read, &Name::new("imported").unwrap());
    let (plan, ..) = plan(Arc::new(network(&inferred.text)), &Ledger::default(), &LinkStates::default());
    let differences = verify(read, &inferred.taken, &plan);
    (inferred, plan, differences)
}

/// A network with keys for everybody, as the wg-quick files of its hosts.
pub fn rendered(network: Network) -> (Plan, Vec<File>) {
    rendered_for(network, Platform::WgQuick).expect("wg-quick can be told everything")
}

/// The same for hosts of another platform; none if that platform can't be told what the network needs.
pub fn rendered_for(mut network: Network, platform: Platform) -> Option<(Plan, Vec<File>)> {
    network.nodes.iter_mut().for_each(|node| node.platform = platform);
    network.clients.iter_mut().for_each(|client| client.platform = platform);
    let mut ledger = Ledger::default();
    let names = network.nodes.iter().map(|node| &node.name).chain(network.clients.iter().map(|client| &client.name));
    for (at, name) in names.enumerate() {
        let public = PrivateKey::from_random(*blake(at)).public_key();
        ledger.public_keys.insert(name.clone(), public);
    }
    let (plan, ..) = plan(Arc::new(network), &ledger, &LinkStates::default());
    let render = |member| {
        let told = plan.of(member);
        let rendered = files_of(&told, platform, &KeySource::File(key_path(platform)), None).ok()?;
        let placed = rendered.into_iter().map(move |file| {
            let path = format!("hosts/{}/{}", told.name, file.name);
            File { path, bytes: file.text.as_bytes().to_vec(), mode: Some(file.mode()) }
        });
        Some(placed.collect())
    };
    let files: Option<Vec<Vec<File>>> = plan.members().map(render).collect();
    let files = files?.concat();
    Some((plan, files))
}

fn blake(at: usize) -> Box<[u8; 32]> {
    let mut bytes = Box::new([7; 32]);
    bytes[..8].copy_from_slice(&(at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes
}

/// The differences as lines.
pub fn shown(differences: &[Difference]) -> String {
    let line = |d: &Difference| {
        format!("{} {} {}: {} -> {}\n", d.member, d.peer.as_deref().unwrap_or("-"), d.aspect, d.read, d.rendered)
    };
    differences.iter().map(line).collect()
}
