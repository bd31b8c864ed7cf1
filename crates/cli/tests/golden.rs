//! Every example, checked, planned and rendered by the real binary, against the files in `golden/`.
//!
//! A golden directory holds the plan's table, one member's part of it, what every member's platform wants, and some of what
//! other platforms would get, all without private keys. After a wanted change, run with WAYLEAVE_BLESS=1 and read the difference before it is committed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod desk;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use desk::Desk;

/// Each example and the member whose plan says most.
const EXAMPLES: [(&str, &str); 9] = [
    ("dn42", "vps"),
    ("edge-router", "vps"),
    ("edgeproxy", "sin"),
    ("multi-region", "vpn-singapore"),
    ("policy", "git"),
    ("private-cluster", "host1"),
    ("stock-regions", "vpn-singapore"),
    ("third-office", "gamma"),
    ("two-offices", "alpha"),
];

/// What else is rendered of an example, as options of `wayleave render`.
const MORE: [(&str, &str); 19] = [
    ("dn42", "--ingress"),
    ("dn42", "--neighbour home"),
    ("edge-router", "vps --platform commands"),
    ("edge-router", "--ingress"),
    ("edgeproxy", "nrt --platform cloud-init"),
    ("edgeproxy", "sin --platform container"),
    ("edgeproxy", "hkg --platform commands"),
    ("edgeproxy", "--names"),
    ("policy", "db --platform commands"),
    ("policy", "--ingress"),
    ("policy", "gate --platform networkd"),
    ("policy", "git --platform cloud-init"),
    ("stock-regions", "vpn-ireland --platform networkd"),
    ("stock-regions", "vpn-singapore --platform commands"),
    ("stock-regions", "--routes"),
    ("private-cluster", "host1 --platform networkd"),
    ("third-office", "alpha --platform routeros"),
    ("third-office", "beta --platform vyos"),
    ("two-offices", "--routes"),
];

/// Files by their names.
type Files = BTreeMap<String, String>;

/// Checks, plans and renders an example, and returns what came of it.
fn produce(desk: &Desk, example: &str, member: &str) -> Files {
    let checked = desk.wayleave(&format!("check --strict {example}.toml")).expect(0);
    assert!(checked.err.ends_with("no errors, no warnings\n"), "{checked}");
    let mut files = Files::new();
    files.insert("plan.txt".into(), desk.wayleave(&format!("plan {example}.toml")).expect(0).out);
    let part = desk.wayleave(&format!("plan {example}.toml {member}")).expect(0).out;
    files.insert(format!("plan-{member}.txt"), part);
    desk.wayleave(&format!("render {example}.toml -o {example}")).expect(0);
    files.extend(rendered(&desk.path(example)));
    for (_, options) in MORE.iter().filter(|(of, _)| *of == example) {
        desk.wayleave(&format!("render {example}.toml {options} -o more")).expect(0);
    }
    files.extend(rendered(&desk.path("more")));
    files
}

/// Files below a directory by the names that they get in `golden`: a member's wg-quick file its own name, others the
/// member's and theirs.
fn rendered(directory: &Path) -> Files {
    let mut files = Files::new();
    for path in entries(directory) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_file() {
            files.insert(name, fs::read_to_string(&path).unwrap());
            continue;
        }
        for file in entries(&path) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.contains("PrivateKey=") && !text.contains("PrivateKey ="), "{}: a key", file.display());
            let own = file.file_name().unwrap().to_str().unwrap();
            let is_wg_quick = own.ends_with(".conf") && !own.starts_with("60-") && !own.contains(".nginx-");
            let is_wg_quick = is_wg_quick && own != "bird.conf" && !own.starts_with("wgn-");
            files.insert(if is_wg_quick { format!("{name}.conf") } else { format!("{name}-{own}") }, text);
        }
    }
    files
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn golden(example: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(example)
}

fn read_golden(directory: &Path) -> Files {
    let Ok(entries) = fs::read_dir(directory) else { return Files::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), fs::read_to_string(&path).unwrap())).collect()
}

/// The first line in which two texts differ, for a message that can be read.
fn first_difference(expected: &str, actual: &str) -> String {
    let end = "(end)";
    let mut lines = expected.lines().chain([end]).zip(actual.lines().chain([end])).enumerate();
    match lines.find(|(_, (expected, actual))| expected != actual) {
        Some((at, (expected, actual))) => format!("line {}:\n  golden: {expected}\n  actual: {actual}", at + 1),
        None => "only the ends of lines differ".to_owned(),
    }
}

#[track_caller]
fn assert_same(what: &str, expected: &Files, actual: &Files) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(actual), "{what}: not the same files");
    for (name, text) in expected {
        let is = &actual[name];
        assert!(text == is, "{what}/{name}, {}", first_difference(text, is));
    }
}

fn bless(directory: &Path, files: &Files) {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).unwrap();
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
}

#[test]
fn every_example_gives_its_golden_files() {
    for (example, member) in EXAMPLES {
        let actual = produce(&Desk::with_examples(), example, member);
        if std::env::var_os("WAYLEAVE_BLESS").is_some() {
            bless(&golden(example), &actual);
        }
        assert_same(example, &read_golden(&golden(example)), &actual);
    }
}

#[test]
fn every_example_has_golden_files_and_every_golden_directory_an_example() {
    let stems = |paths: Vec<PathBuf>| -> Vec<String> {
        paths.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let expected: Vec<&str> = EXAMPLES.iter().map(|(example, _)| *example).collect();
    assert_eq!(stems(desk::examples()), expected);
    let mut directories: Vec<PathBuf> = fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    directories.sort();
    assert_eq!(stems(directories), expected);
}

#[test]
fn the_same_file_gives_the_same_bytes_with_and_without_its_lock() {
    for (example, member) in EXAMPLES {
        let desk = Desk::with_examples();
        let first = produce(&desk, example, member);
        let lock = desk.read(&format!("{example}.lock"));
        assert_same(example, &first, &produce(&desk, example, member));
        assert_eq!(lock, desk.read(&format!("{example}.lock")));
        assert_same(example, &first, &produce(&Desk::with_examples(), example, member));
    }
}

/// The same file with its tables from back to front; what stands before the first table stays there.
fn reversed(text: &str) -> String {
    let mut tables: Vec<String> = vec![String::new()];
    for line in text.lines() {
        if line.starts_with('[') {
            tables.push(String::new());
        }
        let last = tables.last_mut().unwrap();
        last.push_str(line);
        last.push('\n');
    }
    tables[1..].reverse();
    tables.concat()
}

#[test]
fn the_order_of_tables_in_a_file_changes_nothing() {
    for (example, member) in EXAMPLES {
        let as_written = produce(&Desk::with_examples(), example, member);
        let desk = Desk::with_examples();
        for path in desk::examples() {
            let text = fs::read_to_string(&path).unwrap();
            let turned = reversed(&text);
            assert_ne!(text, turned);
            desk.write(path.file_name().unwrap().to_str().unwrap(), turned);
        }
        assert_same(example, &as_written, &produce(&desk, example, member));
    }
}
