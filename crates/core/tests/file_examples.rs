//! Every example in `examples/` reads and resolves without an error, and says what it is meant to say.

use std::path::PathBuf;

use wayleave_core::check::Severity;
use wayleave_core::file::load_with;
use wayleave_core::network::Network;
use wayleave_core::network::resolve::resolve;

/// The network of an example, after showing everything that was found.
fn example(name: &str) -> Network {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let loaded = load_with(name, |path| std::fs::read(folder.join(path)).map_err(|error| error.to_string()));
    let resolution = resolve(&loaded.file);
    for finding in loaded.findings.sorted().into_iter().chain(resolution.findings.sorted()) {
        let place = finding.place.and_then(|place| loaded.sources.position(place));
        println!("{} {:?} {place:?} {}", finding.kind.code(), finding.severity(), finding.kind);
        assert_ne!(finding.severity(), Severity::Error, "{name}");
    }
    resolution.network.unwrap_or_else(|| panic!("{name} has no network"))
}

#[test]
fn edgeproxy_has_twelve_nodes_in_six_regions_and_fourteen_links() {
    let network = example("edgeproxy.toml");
    assert_eq!((network.nodes.len(), network.regions.len(), network.links.len()), (12, 6, 14));
}
