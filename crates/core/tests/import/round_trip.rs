//! import(render(network)) is the network: for the examples, and for random ones.

use std::path::Path;

use proptest::prelude::*;
use wayleave_core::file::load_with;
use wayleave_core::import::{File, read};
use wayleave_core::network::{Network, Platform, resolve::resolve};
use wayleave_core::plan::{Member, Plan};

use super::support::{back, rendered, rendered_for, shown};
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
            "{} {:?} {} {:?} {:?} {} {:?} {:?}",
            told.name,
            told.kind,
            told.platform.word(),
            told.addresses,
            told.port,
            told.mtu,
            told.public_key,
            peers
        )
    };
    let mut all: Vec<String> = plan.members().map(told).collect();
    all.sort();
    all
}

/// Platforms whose files can be read again.
const READ: [Platform; 8] = [
    Platform::WgQuick,
    Platform::Networkd,
    Platform::Commands,
    Platform::CloudInit,
    Platform::Container,
    Platform::Edgeos,
    Platform::Vyos,
    Platform::Routeros,
];

fn check(before: &Plan, files: Vec<File>) -> Result<(), String> {
    let read = read(files);
    if !read.findings.is_empty() {
        return Err(format!("findings in rendered files: {:?}", read.findings.sorted()));
    }
    let (inferred, after, differences) = back(&read);
    let context = || format!("{}\n{:?}", inferred.text, inferred.findings.sorted());
    if !differences.is_empty() {
        return Err(format!("{}\n{}", shown(&differences), context()));
    }
    let (was, is) = (meaning(before), meaning(&after));
    if was != is {
        let lines: Vec<String> =
            was.iter().zip(&is).filter(|(a, b)| a != b).map(|(a, b)| format!("{a}\n{b}")).collect();
        return Err(format!("{}\n{}", lines.join("\n"), context()));
    }
    Ok(())
}

#[test]
fn examples_come_back() {
    for name in
        ["edgeproxy", "stock-regions", "two-offices", "third-office", "private-cluster", "edge-router", "policy"]
    {
        for platform in READ {
            // Routers can't keep a tunnel's own packets out of it, as the clouds of this one need.
            let is_router = matches!(platform, Platform::Edgeos | Platform::Vyos | Platform::Routeros);
            let rendered = rendered_for(example(&format!("{name}.toml")), platform);
            assert_eq!(rendered.is_none(), is_router && name == "stock-regions", "{name} {}", platform.word());
            let Some((plan, files)) = rendered else { continue };
            let result = check(&plan, files);
            assert!(result.is_ok(), "{name} {}: {}", platform.word(), result.unwrap_err());
        }
    }
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let (_, files) = rendered(example("edgeproxy.toml"));
    let mut turned = files.clone();
    turned.reverse();
    assert_eq!(back(&read(files)).0.text, back(&read(turned)).0.text);
}

/// Which hub has the overlay prefixes follows from ways that no packet takes where a direct link is better; what neither
/// regions nor times explain is carried over to the letter.
#[test]
fn whatever_is_rendered_is_told_the_same_when_it_was_read() {
    let mut to_the_letter = 0;
    for seed in 0..120 {
        let (_, files) = rendered((*random::random_network(seed)).clone());
        let (inferred, _, differences) = back(&read(files));
        assert!(differences.is_empty(), "seed {seed}: {}", shown(&differences));
        to_the_letter += usize::from(inferred.text.contains("\nallowed = "));
    }
    // Most of it is understood.
    assert!(to_the_letter <= 40, "{to_the_letter} of 120");
}

/// Two hosts that only speak by way of two hubs, one of which has a client, on a platform that tells little of ways.
#[test]
fn a_network_with_two_hubs_and_a_client_comes_back_from_edgeos() {
    let network = random::random_network(17_127_027_386_889_758_458);
    let (plan, files) = rendered_for((*network).clone(), Platform::Edgeos).expect("EdgeOS can be told all of it");
    let result = check(&plan, files);
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 140, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_networks_come_back_from_the_files_of_every_platform(seed: u64, platform in prop::sample::select(READ.to_vec())) {
        let network = random::random_network(seed);
        // A host that nobody knows and that knows nobody says nothing of its key.
        let mut linked = network.links.iter().flat_map(|link| [link.a, link.b]);
        prop_assume!(network.isolated.is_empty() && network.node_numbers().all(|node| linked.clone().any(|other| other == node)));
        let _ = linked.next();
        let rendered = rendered_for((*network).clone(), platform);
        prop_assume!(rendered.is_some());
        let (before, files) = rendered.expect("it was looked at");
        let read = read(files);
        prop_assert!(read.findings.is_empty(), "{:?}", read.findings.sorted());
        let (inferred, after, differences) = back(&read);
        prop_assert_eq!(meaning(&before), meaning(&after), "seed {} {}\n{}", seed, platform.word(), inferred.text);
        prop_assert!(differences.is_empty(), "seed {} {}: {}\n{}", seed, platform.word(), shown(&differences), inferred.text);
    }
}
