//! import(render(network)) is the network: for the examples, and for random ones.

use std::path::Path;

use proptest::prelude::*;
use wayleave_core::file::load_with;
use wayleave_core::import::{Aspect, read};
use wayleave_core::network::{Network, resolve::resolve};
use wayleave_core::plan::{Member, Plan};

use super::support::{back, rendered, shown};
use crate::random;

pub fn example(name: &str) -> Network {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let loaded = load_with(name, |path| std::fs::read(folder.join(path)).map_err(|error| error.to_string()));
    resolve(&loaded.file).network.unwrap()
}

/// What members are, apart from names of regions and private networks.
fn meaning(plan: &Plan) -> Vec<String> {
    let told = |member: Member| {
        let told = plan.of(member);
        let peers: Vec<String> = told
            .peers
            .iter()
            .map(|p| format!("{} {:?} {:?}", p.name, p.endpoints.first().map(ToString::to_string), p.keepalive_s))
            .collect();
        format!(
            "{} {:?} {:?} {:?} {} {:?} {:?}",
            told.name, told.kind, told.addresses, told.port, told.mtu, told.public_key, peers
        )
    };
    let mut all: Vec<String> = plan.members().map(told).collect();
    all.sort();
    all
}

fn check(network: Network) -> Result<(), String> {
    let (before, files) = rendered(network);
    let read = read(files);
    if !read.findings.is_empty() {
        return Err(format!("findings in rendered files: {:?}", read.findings.sorted()));
    }
    let (inferred, after, differences) = back(&read);
    let context = || format!("{}\n{:?}", inferred.text, inferred.findings.sorted());
    if !differences.is_empty() {
        return Err(format!("{}\n{}", shown(&differences), context()));
    }
    let (was, is) = (meaning(&before), meaning(&after));
    if was != is {
        let lines: Vec<String> =
            was.iter().zip(&is).filter(|(a, b)| a != b).map(|(a, b)| format!("{a}\n{b}")).collect();
        return Err(format!("{}\n{}", lines.join("\n"), context()));
    }
    Ok(())
}

#[test]
fn examples_come_back() {
    for name in ["edgeproxy", "multi-region", "two-offices", "third-office", "private-cluster", "dn42"] {
        let result = check(example(&format!("{name}.toml")));
        assert!(result.is_ok(), "{name}: {}", result.unwrap_err());
    }
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let (_, files) = rendered(example("edgeproxy.toml"));
    let mut turned = files.clone();
    turned.reverse();
    assert_eq!(back(&read(files)).0.text, back(&read(turned)).0.text);
}

/// Which hub has the overlay prefixes follows from ways that no packet takes where a direct link is better, so the files of
/// some networks don't tell.
#[test]
fn most_random_networks_are_told_the_same_and_the_others_but_for_allowed_prefixes() {
    let mut same = 0;
    for seed in 0..60 {
        let (_, files) = rendered((*random::random_network(seed)).clone());
        let (_, _, differences) = back(&read(files));
        assert!(differences.iter().all(|one| one.aspect == Aspect::Allowed), "seed {seed}: {}", shown(&differences));
        same += usize::from(differences.is_empty());
    }
    println!("{same} of 60");
    assert!(same >= 36, "only {same} of 60");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_networks_come_back(seed: u64) {
        let network = random::random_network(seed);
        // A host that nobody knows and that knows nobody says nothing of its key.
        let mut linked = network.links.iter().flat_map(|link| [link.a, link.b]);
        prop_assume!(network.isolated.is_empty() && network.node_numbers().all(|node| linked.clone().any(|other| other == node)));
        let _ = linked.next();
        let (before, files) = rendered((*network).clone());
        let read = read(files);
        prop_assert!(read.findings.is_empty(), "{:?}", read.findings.sorted());
        let (inferred, after, mut differences) = back(&read);
        prop_assert_eq!(meaning(&before), meaning(&after), "seed {}\n{}", seed, inferred.text);
        // Which wide prefixes a node uses follows from regions, of which files show only traces.
        differences.retain(|difference| difference.aspect != Aspect::Allowed);
        prop_assert!(differences.is_empty(), "seed {}: {}\n{}", seed, shown(&differences), inferred.text);
    }
}
