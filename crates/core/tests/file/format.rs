//! The description of the format agrees with what is read, and the committed reference with the description.

use std::path::PathBuf;

use wayleave_core::check::Severity;
use wayleave_core::file::{load_with, reference_markdown, schema};

#[test]
fn the_committed_reference_is_the_generated_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/network-file.md");
    let generated = reference_markdown();
    if std::env::var_os("WAYLEAVE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "docs/network-file.md is old: run the tests with WAYLEAVE_BLESS=1");
}

#[test]
fn the_schema_describes_every_table_and_refuses_other_keys() {
    let schema = schema();
    let tables = schema["$defs"].as_object().unwrap();
    assert_eq!(tables.len(), 15);
    for (name, table) in tables {
        assert_eq!(table["additionalProperties"], false, "{name}");
        assert!(table["description"].as_str().unwrap().ends_with('.'), "{name}");
        for (key, property) in table["properties"].as_object().unwrap() {
            assert!(!property["description"].as_str().unwrap().is_empty(), "{name}.{key}");
        }
    }
    assert_eq!(schema["$defs"]["site"]["required"], serde_json::json!(["prefixes", "gateways"]));
}

#[test]
fn every_reference_in_the_schema_leads_somewhere() {
    let schema = schema();
    let text = schema.to_string();
    for part in text.split("\"#/$defs/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{name}");
    }
}

#[test]
fn the_file_in_the_reference_is_sound() {
    let markdown = reference_markdown();
    let example = markdown.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let loaded = load_with("n.toml", |_| Ok(example.as_bytes().to_vec()));
    let resolution = wayleave_core::network::resolve::resolve(&loaded.file);
    assert_eq!((loaded.findings.errors(), resolution.findings.errors()), (0, 0));
    assert_eq!(resolution.network.map(|network| network.links.len()), Some(1));
}

#[test]
fn a_secret_is_blotted_out_of_the_source() {
    let source =
        "[network]\nname = \"n\"\nprefixes = [\"10.0.0.0/8\"]\n[nodes.a]\nprivate_key = \"hush hush\" # gone\n";
    let loaded = load_with("n.toml", |_| Ok(source.as_bytes().to_vec()));
    assert_eq!(loaded.findings.sorted()[0].severity(), Severity::Error);
    assert!(!format!("{loaded:?}").contains("hush"));
    assert!(loaded.sources.0[0].text.ends_with("private_key = *********** # gone\n"));
}
