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

#[test]
fn multi_region_has_a_backbone_and_clients_that_all_dial_one_address() {
    let network = example("multi-region.toml");
    assert_eq!((network.nodes.len(), network.sites.len(), network.links.len()), (3, 3, 3));
    assert!(network.clients.iter().all(|client| client.roams));
    let nearest: Vec<&str> = network.clients.iter().map(|c| network.node(c.via[0]).name.as_str()).collect();
    assert_eq!(nearest, ["vpn-ireland", "vpn-singapore", "vpn-virginia"]);
    assert_eq!(network.client_rtt_us(1, network.clients[1].via[0]), 3_000);
    let entry = network.entry.as_ref().map(|entry| (entry.endpoints[0].to_string(), entry.ready_port));
    assert_eq!(entry, Some(("198.51.100.1:51821".to_owned(), 51819)));
}

#[test]
fn stock_regions_has_clients_that_prefer_their_own_region_and_know_all_servers() {
    let network = example("stock-regions.toml");
    assert_eq!((network.nodes.len(), network.sites.len(), network.links.len()), (3, 3, 3));
    let via: Vec<&str> = network.clients.iter().map(|c| network.node(c.via[0]).name.as_str()).collect();
    assert_eq!(via, ["vpn-ireland", "vpn-singapore", "vpn-virginia"]);
    assert!(network.clients.iter().all(|client| !client.roams && client.via.len() == 3));
}

#[test]
fn a_third_office_takes_one_stanza() {
    assert_eq!(example("two-offices.toml").links.len(), 1);
    let three = example("third-office.toml");
    assert_eq!((three.links.len(), three.sites.len()), (3, 3));
    assert_eq!(three.nodes[2].endpoints[0].to_string(), "192.0.2.30:7777");
}

#[test]
fn dn42_is_a_server_that_reaches_a_large_network_by_a_neighbour_of_its_own_as() {
    let network = example("dn42.toml");
    let neighbour = &network.neighbours[0];
    assert_eq!((network.nodes.len(), network.links.len(), network.neighbours.len()), (1, 0, 1));
    assert_eq!(Some(neighbour.asn), network.bgp.as_ref().map(|bgp| bgp.asn));
    assert_eq!(neighbour.device.as_str(), "wgn-home");
    assert_eq!(neighbour.endpoint.as_ref().unwrap().to_string(), "home.example.net:51823");
}

#[test]
fn an_edge_router_is_one_link_with_service_addresses_behind_both_ends() {
    let network = example("edge-router.toml");
    assert_eq!((network.links.len(), network.sites.len()), (1, 2));
    assert_eq!(network.nodes[0].endpoints[0].to_string(), "home.example.net:51823");
}

#[test]
fn a_private_cluster_is_a_full_mesh_with_road_warriors_through_one_host() {
    let network = example("private-cluster.toml");
    assert_eq!((network.links.len(), network.clients.len()), (6, 3));
    assert!(network.clients.iter().all(|c| c.via.len() == 1 && network.node(c.via[0]).name.as_str() == "host1"));
}

#[test]
fn policy_lets_the_staff_see_a_service_and_nobody_more_than_the_rules_say() {
    let network = example("policy.toml");
    let party = |name: &str| network.parties().find(|party| party.name(&network) == name).unwrap();
    let permits = |from: &str, to: &str| network.permits(party(from), party(to)).to_string();
    assert_eq!(permits("alice", "db"), "everything");
    assert_eq!(permits("bob", "site office"), "tcp/80, tcp/443, tcp/631, icmp");
    assert_eq!(permits("git", "db"), "tcp/5432, icmp");
    assert_eq!(permits("db", "git"), "tcp/80, tcp/443", "its web server decides");
    assert_eq!(permits("bob", "db"), "nothing");
}
