//! Large and hostile input gives findings, in bounded time, on the small stack of a test's thread.

use wayleave_core::check::Findings;
use wayleave_core::file::{Loader, load_with};
use wayleave_core::limits::{FINDINGS_MAX, INCLUDE_DEPTH_MAX, SOURCE_BYTES_MAX, SOURCES_MAX};
use wayleave_core::network::resolve::resolve;

use super::shown::check_sources;

const ENDINGS: [&str; 3] = ["toml", "yaml", "json"];

fn refused(name: &str, bytes: Vec<u8>) -> Findings {
    let loaded = load_with(name, |_| Ok(bytes.clone()));
    assert!(loaded.findings.errors() > 0, "{name} was accepted");
    assert!(loaded.findings.sorted().len() <= FINDINGS_MAX);
    assert!(resolve(&loaded.file).network.is_none());
    loaded.findings
}

/// A stream of bytes that is the same each time.
fn noise(len: usize) -> impl Iterator<Item = u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(len)
}

#[test]
fn ten_megabytes_of_anything_are_too_large() {
    for ending in ENDINGS {
        for bytes in [noise(10 << 20).collect::<Vec<u8>>(), vec![b'['; 10 << 20], vec![b'a'; 10 << 20]] {
            let findings = refused(&format!("n.{ending}"), bytes);
            assert_eq!(findings.sorted()[0].kind.code(), "WL004");
        }
    }
}

#[test]
fn the_largest_garbage_that_is_read_is_refused_without_overflow() {
    let units = ["[", "{", "a.", "- ", "? ", "&a [", "{a: ", "\"", "a: ", "*a ", "[{", "a = [", "'", "\t", "a\n"];
    for ending in ENDINGS {
        for unit in units {
            refused(&format!("n.{ending}"), unit.repeat((1 << 20) / unit.len()).into_bytes());
        }
        let printable = noise(1 << 20).map(|byte| 32 + byte % 95).collect::<Vec<u8>>();
        refused(&format!("n.{ending}"), printable.clone());
        refused(&format!("n.{ending}"), printable.chunks(40).collect::<Vec<_>>().join(&b'\n'));
    }
    refused("n.toml", vec![b'['; SOURCE_BYTES_MAX]);
    refused("n.toml", "a.".repeat(SOURCE_BYTES_MAX / 2).into_bytes());
}

#[test]
fn the_deepest_yaml_that_is_parsed_fits_the_stack() {
    let blocks: String = (0..120).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refused("n.yaml", format!("{blocks}{}{}", " ".repeat(120), "[".repeat(250)).into_bytes());
    refused("n.yaml", format!("{}{}{}", "- ".repeat(60), "[".repeat(250), "]".repeat(250)).into_bytes());
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_offset() {
    let findings = refused("n.toml", b"# \xff".to_vec());
    assert_eq!(findings.sorted()[0].kind.to_string(), "n.toml is not UTF-8 text (byte 2)");
}

#[test]
fn includes_nested_too_deep_are_refused() {
    let mut loader = Loader::new("0");
    let mut count = 0;
    while let Some(path) = loader.poll_wanted() {
        let next = path.parse::<usize>().unwrap() + 1;
        loader.handle_source(&path, Ok(format!("include = [\"{next}\"]").into_bytes()));
        count += 1;
    }
    let loaded = loader.finish();
    assert_eq!(count, INCLUDE_DEPTH_MAX + 1);
    assert_eq!(loaded.findings.sorted()[0].kind.code(), "WL006");
}

#[test]
fn a_fan_of_includes_is_cut() {
    let mut count = 0;
    let loaded = load_with("x", |path| {
        count += 1;
        let list: Vec<String> = (0..40).map(|n| format!("\"{path}{n}\"")).collect();
        Ok(format!("include = [{}]", list.join(",")).into_bytes())
    });
    assert_eq!(count, SOURCES_MAX);
    assert_eq!(loaded.findings.sorted()[0].kind.code(), "WL007");
}

#[test]
fn a_rule_that_asks_for_too_many_links_is_refused_before_they_are_made() {
    let mut source = "network = { name = \"n\", prefixes = [\"10.0.0.0/8\"] }\n".to_owned();
    (0..5000).for_each(|n| source += &format!("nodes.n{n} = {{ endpoint = \"192.0.2.1:{}\" }}\n", n + 1));
    let expected = "error WL120 n:5002:1 12497500 linked pairs are more than 8000000 => Link fewer pairs: through hubs, or within = \"region\".";
    check_sources(&[("n", &format!("{source}[[links]]\nmesh = [\"*\"]"))], expected);
}
