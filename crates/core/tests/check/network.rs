//! Rules over a network file: a text, and the codes found with their lines.

use wayleave_core::check::rules;
use wayleave_core::file::{Date, load_with};
use wayleave_core::network::resolve::resolve;

/// `WL501:3` for each thing that the rules find, by code; lines are counted from 1.
fn found(text: &str) -> Vec<String> {
    let loaded = load_with("n.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let findings = format!("{:?} {:?}", loaded.findings.sorted(), resolution.findings.sorted());
    let network = resolution.network.unwrap_or_else(|| panic!("{findings}\n{text}"));
    let findings = rules::network(&loaded.file, &network, Date::parse("2026-11-21").unwrap());
    let accepted = rules::accepted(&loaded.file);
    let kept = findings.sorted().into_iter().filter(|finding| !accepted.contains(&finding.kind.code()));
    let mut lines: Vec<String> = kept
        .map(|finding| {
            let line = finding.place.and_then(|place| loaded.sources.position(place)).map_or(0, |(_, line, _)| line);
            format!("{}:{line}", finding.kind.code())
        })
        .collect();
    lines.sort();
    lines
}

/// Checks what follows three lines of `[network]`.
#[track_caller]
fn check(body: &str, expected: &[&str]) {
    let text = format!("[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/16\"]\n{body}");
    assert_eq!(found(&text), expected, "left: found, right: expected");
}

#[test]
fn mtus_are_held_against_lines() {
    let two = "[nodes.a]\nendpoint = \"192.0.2.1\"\n[nodes.b]\n";
    check(two, &[]);
    check(&format!("mtu = 1440\n{two}"), &[]);
    check(&format!("mtu = 1441\n{two}"), &["WL517:4", "WL517:4"]);
    check(&format!("{two}underlay_mtu = 1492\nmtu = 1440\n"), &["WL517:8"]);
    check(&format!("underlay_mtu = 1492\n{two}"), &[]);
    check(&format!("underlay_mtu = 1460\n{two}"), &["WL517:5", "WL517:7"]);
    // Over IPv6 the header takes 20 bytes more, at both ends.
    let v6 = two.replace("192.0.2.1", "[2001:db8::1]");
    check(&format!("mtu = 1421\n{v6}"), &["WL517:4", "WL517:4"]);
    check(&format!("{two}[regions.r]\nunderlay_mtu = 1400\n[nodes.c]\nregion = \"r\"\n[[links]]\nfrom = [\"a\"]\nto = [\"b\", \"c\"]\n")
        .replace("192.0.2.1\"", "192.0.2.1\"\nhub = true"), &["WL517:10", "WL535:4"]);
}

#[test]
fn public_endpoints_are_public() {
    check("[nodes.a]\nendpoint = \"192.168.1.5\"\n[nodes.b]\n", &["WL509:5"]);
    check("[nodes.a]\nendpoint = \"100.64.0.9\"\n[nodes.b]\n", &["WL509:5"]);
    check("[nodes.a]\nendpoints = { public = \"172.16.0.9\" }\n[nodes.b]\n", &["WL509:5"]);
    check(
        "[nodes.a]\nendpoints = { office = \"192.168.1.5\", public = \"192.0.2.1\" }\n[nodes.b]\nunderlays = [\"office\"]\n",
        &[],
    );
}

#[test]
fn gateways_need_something_from_their_surroundings() {
    let site = "[nodes.a]\nendpoint = \"192.0.2.1\"\nprefixes = [\"192.168.77.0/24\"]\n[nodes.b]\n";
    check(site, &["WL515:6"]);
    check(&format!("accept = [\"WL515\"]\n{site}"), &[]);
    check(&site.replace("prefixes", "masquerade = \"v4\"\nprefixes"), &[]);
    check(&site.replace("prefixes", "masquerade = \"v6\"\nprefixes"), &["WL515:7"]);
    check(&site.replace("prefixes", "platform = \"edgeos\"\nprefixes"), &[]);
    // Files adapt the size of segments, unless they are told not to or the platform has no such thing.
    check(&site.replace("prefixes", "firewall = \"none\"\nprefixes"), &["WL515:7", "WL519:4"]);
    check(&format!("firewall = \"none\"\n{site}"), &["WL515:7", "WL519:5"]);
    check(&site.replace("prefixes", "platform = \"app\"\nprefixes"), &["WL515:7", "WL519:4"]);
    let cloud = format!("cloud = \"aws\"\naccept = [\"WL515\"]\n{site}");
    check(&cloud, &["WL516:6"]);
    check(&cloud.replace("prefixes = [\"192", "source_check = false\nprefixes = [\"192"), &[]);
}

#[test]
fn one_hub_is_a_risk_that_can_be_accepted() {
    let hub = "[nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\n[nodes.b]\n[nodes.c]\n";
    check(hub, &["WL535:4"]);
    check(&format!("accept = [\"WL535\"]\n{hub}"), &[]);
    check(&format!("{hub}[nodes.d]\nendpoint = \"192.0.2.4\"\nhub = true\n"), &[]);
    // What is linked directly needs no hub.
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\n[nodes.b]\nendpoint = \"192.0.2.2\"\n[nodes.c]\n[[links]]\nmesh = [\"*\"]\n",
        &[],
    );
    check("[nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\n[nodes.b]\n", &[]);
}

#[test]
fn hubs_at_one_address_replace_nobody() {
    let hubs = |port: &str, host: &str| {
        format!(
            "[nodes.a]\nendpoint = \"192.0.2.1:51820\"\nhub = true\n[nodes.b]\nendpoint = \"{host}:{port}\"\nhub = true\n[nodes.c]\n"
        )
    };
    check(&hubs("51821", "192.0.2.1"), &["WL523:7"]);
    check(&hubs("51821", "192.0.2.2"), &[]);
}

#[test]
fn nodes_behind_one_nat_have_ports_of_their_own() {
    let two = "[nodes.z]\nendpoint = \"192.0.2.1\"\n[nodes.a]\nnat = \"office\"\n[nodes.b]\nnat = \"office\"\n";
    check(two, &["WL529:9"]);
    check(&format!("{two}port = 51821\n"), &[]);
}

#[test]
fn keys_age_and_members_expire() {
    let node = "[nodes.a]\nendpoint = \"192.0.2.1\"\nkey_created = 2025-01-31\n[clients.c]\nvia = [\"a\"]\n";
    check(node, &[]);
    check(&format!("key_max_age_days = 365\n{node}"), &["WL527:7"]);
    check(&format!("key_max_age_days = 700\n{node}"), &[]);
    check(&format!("{node}expires = \"2026-11-20\"\n"), &["WL528:9"]);
    check(&format!("{node}expires = 2026-12-05\n"), &["WL528:9"]);
    check(&format!("{node}expires = 2026-12-06\n"), &[]);
}

#[test]
fn the_nearer_of_two_servers_is_named_if_the_file_says_how_far_they_are() {
    let two = "[nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\n[nodes.b]\nendpoint = \"192.0.2.2\"\nhub = true\n[clients.c]\n";
    let times = |a: u32, b: u32| format!("[rtt_ms]\nc = {{ a = {a}, b = {b} }}\n");
    check(&format!("{two}via = [\"a\"]\n{}", times(200, 3)), &["WL542:11"]);
    check(&format!("{two}via = [\"a\", \"b\"]\n{}", times(200, 3)), &[]);
    check(&format!("{two}{}", times(200, 3)), &[]);
    check(&format!("{two}via = [\"a\"]\n{}", times(200, 110)), &[]);
    check(&format!("{two}via = [\"a\"]\n{}", times(12, 3)), &[]);
    check(&format!("{two}via = [\"a\"]\n"), &[]);
}
