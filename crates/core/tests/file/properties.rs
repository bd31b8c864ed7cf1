//! What does not change a network: the order of its entries, and the syntax it is written in.

use std::fmt::Write;

use proptest::prelude::*;
use wayleave_core::check::Span;
use wayleave_core::file::load_with;
use wayleave_core::network::Network;
use wayleave_core::network::resolve::resolve;

const EXAMPLES: [&str; 6] = [
    include_str!("../../../../examples/edgeproxy.toml"),
    include_str!("../../../../examples/multi-region.toml"),
    include_str!("../../../../examples/stock-regions.toml"),
    include_str!("../../../../examples/private-cluster.toml"),
    include_str!("../../../../examples/edge-router.toml"),
    include_str!("../../../../examples/dn42.toml"),
];

/// The network of a source as text, without the places.
fn meaning(name: &str, text: &str) -> String {
    let loaded = load_with(name, |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let found: Vec<String> = loaded.findings.sorted().iter().map(|finding| finding.kind.to_string()).collect();
    let network = resolution.network.unwrap_or_else(|| panic!("{found:?}\n{text}"));
    format!("{:#?}", without_places(network))
}

fn without_places(mut network: Network) -> Network {
    network.regions.iter_mut().for_each(|region| region.place = Span::default());
    network.nodes.iter_mut().for_each(|node| node.place = Span::default());
    network.clients.iter_mut().for_each(|client| client.place = Span::default());
    network.sites.iter_mut().for_each(|site| site.place = Span::default());
    network.neighbours.iter_mut().for_each(|neighbour| neighbour.place = Span::default());
    network.bgp.iter_mut().for_each(|bgp| bgp.place = Span::default());
    network.entry.iter_mut().for_each(|entry| entry.place = Span::default());
    network
}

/// A TOML text's stanzas, each from its header to the next.
fn stanzas(text: &str) -> Vec<String> {
    let mut stanzas: Vec<String> = vec![String::new()];
    for line in text.lines() {
        if line.starts_with('[') {
            stanzas.push(String::new());
        }
        writeln!(stanzas.last_mut().unwrap(), "{line}").unwrap();
    }
    stanzas
}

fn json(text: &str) -> serde_json::Value {
    toml::from_str(text).unwrap()
}

/// A value as block YAML with all scalars quoted or plain as JSON writes them.
fn yaml(value: &serde_json::Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        serde_json::Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                write!(out, "\n{pad}{key}:").unwrap();
                yaml(value, indent + 2, out);
            }
        }
        serde_json::Value::Array(items) if !items.is_empty() => {
            for item in items {
                write!(out, "\n{pad}-").unwrap();
                yaml(item, indent + 2, out);
            }
        }
        scalar => write!(out, " {scalar}").unwrap(),
    }
}

#[test]
fn toml_yaml_and_json_mean_the_same() {
    for example in EXAMPLES {
        let expected = meaning("n.toml", example);
        let value = json(example);
        let mut block = String::new();
        yaml(&value, 0, &mut block);
        assert_eq!(meaning("n.json", &serde_json::to_string_pretty(&value).unwrap()), expected);
        assert_eq!(meaning("n.yml", &block), expected);
        assert_eq!(meaning("n.yaml", &value.to_string()), expected, "JSON is YAML");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_entries_decides_nothing(
        example in 0..EXAMPLES.len(),
        keys in prop::collection::vec(any::<u32>(), 64),
    ) {
        let mut shuffled: Vec<(u32, String)> = keys.into_iter().zip(stanzas(EXAMPLES[example])).collect();
        shuffled.sort();
        let text: String = shuffled.into_iter().map(|(_, stanza)| stanza).collect();
        prop_assert_eq!(meaning("n.toml", &text), meaning("n.toml", EXAMPLES[example]));
    }
}
