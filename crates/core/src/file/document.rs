//! The format described: JSON Schema for editors, Markdown for people.
//!
//! Both are made from the declarations in [`super::written`] that also read the file, so a key can't be read and not be
//! described. What the declarations can't say, the shape of single values, is a table here.

use std::fmt::Write;

use serde_json::json;

use super::record::{REQUIRED, RecordShape, record_schema};
use super::written::{
    AllowRule, AssertRule, BgpTable, BirdTable, ClientTable, EntryTable, IsolateRule, LinkRule, NeighbourTable,
    NetworkTable, NodeTable, RegionTable, ServiceTable, SiteTable, SourceTable,
};

/// How each table is written in TOML, with its description.
fn records() -> Vec<(&'static str, RecordShape)> {
    vec![
        ("The file", SourceTable::shape()),
        ("[network]", NetworkTable::shape()),
        ("[regions.NAME]", RegionTable::shape()),
        ("[nodes.NAME]", NodeTable::shape()),
        ("[sites.NAME]", SiteTable::shape()),
        ("[clients.NAME]", ClientTable::shape()),
        ("[entry]", EntryTable::shape()),
        ("[nodes.NAME.bird]", BirdTable::shape()),
        ("[bgp]", BgpTable::shape()),
        ("[neighbours.NAME]", NeighbourTable::shape()),
        ("[[links]]", LinkRule::shape()),
        ("[[isolate]]", IsolateRule::shape()),
        ("[[allow]]", AllowRule::shape()),
        ("[services.NAME]", ServiceTable::shape()),
        ("[[assert]]", AssertRule::shape()),
    ]
}

/// The format as JSON Schema (2020-12).
pub fn schema() -> serde_json::Value {
    let shapes = records();
    let defs: serde_json::Map<String, serde_json::Value> =
        shapes.iter().map(|(_, shape)| (shape.name.to_owned(), record_schema(shape))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Wayleave network file",
        "$ref": "#/$defs/file",
        "$defs": defs,
    })
}

/// The format's reference as Markdown.
pub fn reference_markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    for (heading, shape) in records() {
        let heading = if heading.starts_with('[') { format!("`{heading}`") } else { heading.to_owned() };
        // Writing to a string can't fail.
        let _ =
            write!(out, "\n## {heading}\n\n{}\n\n| key | type | default | meaning |\n|---|---|---|---|\n", shape.doc);
        for field in &shape.fields {
            let default = if field.default == REQUIRED { "**required**" } else { field.default };
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} |",
                field.name,
                field.words,
                default.replace('|', "\\|"),
                field.doc.replace('|', "\\|")
            );
        }
    }
    out.push_str(VALUES);
    out
}

const INTRODUCTION: &str = "\
# The network file

<!-- Generated from crates/core/src/file/written.rs by `WAYLEAVE_BLESS=1 cargo test -p wayleave-core`; do not edit. -->

One network is one file, or one file and those it includes. It is TOML; YAML and JSON with the same keys are read too,
by the ending of the file's name (`.yaml`, `.yml`, `.json`). Keys that are not listed here are refused. The order of
entries never matters, except in lists that say \"the preferred one first\". Private keys never belong into it.

The smallest useful file, two nodes of which one is behind NAT:

```toml
[network]
name = \"home\"
prefixes = [\"10.50.0.0/24\"]

[nodes.server]
endpoint = \"vpn.example.org:51820\"

[nodes.laptop]
```
";

const VALUES: &str = "
## Values

| type | written as |
|---|---|
| name | lower-case letters, digits and inner hyphens, at most 63; nodes, regions, clients and neighbours share one set of names |
| device name | at most 15 letters, digits and `_ = + . -` |
| prefix | `10.50.0.0/16`, `fd00:50::/48`; no address bits beyond the length |
| endpoint | `203.0.113.7:51820`, `[2001:db8::7]:51820`, `vpn.example.org:51820`; without a port it is the node's port |
| date | `2026-03-31` |
| code | `WL535`, as `wayleave check` prints it; errors can't be accepted |
| cloud | `aws`, `gcp`, `azure` |
| public key | 32 bytes in base64, as `wg pubkey` prints them |
| selector | `*` every node, a node's name, a region's name (all its nodes), `tag:WORD`, `role:hub`, `role:entry` |
| platform | `wg-quick` Linux with wg-quick, `agent` Linux with our agent, `edgeos` EdgeOS or VyOS, `app` a WireGuard app |
";
