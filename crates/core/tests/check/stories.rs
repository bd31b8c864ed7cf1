//! Every code has a story and a case, and `docs/findings.md` is made of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wayleave_core::check::{Inputs, Kind, explain, findings_markdown, nearest_code, stories};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn codes() -> Vec<&'static str> {
    Kind::all().into_iter().map(|(code, _)| code).collect()
}

#[test]
fn the_committed_findings_are_the_generated_ones() {
    let path = root().join("docs/findings.md");
    let generated = findings_markdown();
    if std::env::var_os("WAYLEAVE_BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "docs/findings.md is old: run the tests with WAYLEAVE_BLESS=1");
}

#[test]
fn every_code_is_given_once_and_has_one_story() {
    let codes = codes();
    let once: BTreeSet<&str> = codes.iter().copied().collect();
    assert_eq!(once.len(), codes.len(), "a code is given twice");
    assert!(codes.iter().all(|code| code.len() == 5 && code.starts_with("WL")));
    let told: Vec<&str> = stories().map(|story| story.code).collect();
    assert_eq!(told, codes, "left: stories, right: kinds");
}

#[test]
fn every_story_says_all_that_it_should() {
    for story in stories() {
        let code = story.code;
        for text in [story.title, story.means, story.hurts, story.example, story.mend] {
            assert!(!text.is_empty(), "{code}");
        }
        for sentence in [story.means, story.hurts, story.mend] {
            assert!(sentence.ends_with('.'), "{code}: {sentence}");
        }
        assert!(!story.title.ends_with('.'), "{code}");
        // What reads texts is about one kind of input by nature; the others say why they are.
        let is_hazard = code.starts_with("WL5");
        assert!(!is_hazard || story.inputs == Inputs::Both || !story.elsewhere.is_empty(), "{code} is silent");
        assert!(story.example.lines().all(|line| line.len() <= 78), "{code}: the example is wider than a terminal");
    }
}

/// Texts of all tests: every code must be expected somewhere.
fn tests(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            tests(&entry, text);
        } else if entry.extension().is_some_and(|extension| extension == "rs" || extension == "txt") {
            text.push_str(&std::fs::read_to_string(&entry).unwrap());
        }
    }
}

/// Codes whose kinds a test would need minutes for: two million failures to examine. Standing here they are not missed.
const _TOO_LARGE: [&str; 1] = ["WL311"];

/// A kind as tests may name it: `OneWay` for WL303, from the tables of the enums.
fn named(code: &str, tables: &str) -> String {
    let row = tables.lines().find(|line| line.contains(&format!("(\"{code}\""))).unwrap_or_default();
    // The verdict of a proof has the name of the finding.
    row.trim().split(" {").next().and_then(|name| name.split("::").nth(1)).unwrap_or_default().to_owned()
}

#[test]
fn every_code_is_expected_by_a_test() {
    let (mut text, mut tables) = (String::new(), String::new());
    tests(&root().join("crates/core/tests"), &mut text);
    tests(&root().join("crates/cli/tests"), &mut text);
    tests(&root().join("crates/core/src/check"), &mut tables);
    let is_expected = |code: &&str| {
        let name = named(code, &tables);
        text.contains(code) || (!name.is_empty() && text.contains(&format!("::{name}")))
    };
    let missing: Vec<&str> = codes().into_iter().filter(|code| !is_expected(code)).collect();
    assert!(missing.is_empty(), "no test expects {}", missing.join(", "));
}

#[test]
fn a_code_is_found_however_it_is_typed() {
    assert_eq!(explain("wl012").unwrap().code, "WL012");
    assert_eq!(nearest_code("12"), Some("WL012"));
    assert_eq!(nearest_code("WL12"), Some("WL012"));
    assert!(nearest_code("WL1O3").is_some());
    assert_eq!(nearest_code("nonsense"), None);
}
