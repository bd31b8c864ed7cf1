//! Mutated examples, in all three syntaxes: whatever they say, they are read without a panic, and what is found has a
//! place that exists.

use proptest::prelude::*;
use wayleave_core::file::load_with;
use wayleave_core::network::resolve::resolve;

const SEEDS: [(&str, &str); 5] = [
    ("n.toml", include_str!("../../../../examples/edgeproxy.toml")),
    ("n.toml", include_str!("../../../../examples/multi-region.toml")),
    ("n.toml", include_str!("../../../../examples/private-cluster.toml")),
    (
        "n.yaml",
        "network: {name: n, prefixes: [10.0.0.0/8]}\nnodes:\n  a: &x\n    endpoint: \"192.0.2.1:1\"\n    tags: [t]\n  b: *x\nlinks:\n- mesh: ['*']\n",
    ),
    (
        "n.json",
        r#"{"network": {"name": "n", "prefixes": ["10.0.0.0/8"]}, "nodes": {"é": {"hub": true}}, "rtt_ms": {"a": {"b": 1e3}}}"#,
    ),
];

const PIECES: [&str; 24] = [
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "\n",
    ":",
    "=",
    ",",
    ".",
    "-",
    "#",
    "[[links]]",
    "0",
    "é",
    "\u{0}",
    "\\u00e9",
    "*",
    "true",
    "10.50.0.0/16",
    "node",
    "&a ",
    "!x ",
];

/// Where, how many characters are cut, and what is put there.
type Edit = (prop::sample::Index, usize, prop::sample::Index);

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, cut, piece) in edits {
        let at = at.index(chars.len() + 1);
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, PIECES[piece.index(PIECES.len())].chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_are_read_without_panic(
        seed in 0..SEEDS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, any::<prop::sample::Index>()), 1..8),
    ) {
        let (name, text) = SEEDS[seed];
        let text = edited(text, &edits);
        let loaded = load_with(name, |path| {
            if path == name { Ok(text.clone().into_bytes()) } else { Err("no such file".into()) }
        });
        let resolution = resolve(&loaded.file);
        for finding in loaded.findings.sorted().into_iter().chain(resolution.findings.sorted()) {
            if let Some(place) = finding.place {
                prop_assert!(loaded.sources.position(place).is_some(), "{finding:?} is nowhere in {text:?}");
                prop_assert!(place.start <= place.end && place.end as usize <= text.len());
            }
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,200}", ending in "toml|yaml|json") {
        let loaded = load_with(&format!("n.{ending}"), |_| Ok(text.clone().into_bytes()));
        resolve(&loaded.file);
    }
}
