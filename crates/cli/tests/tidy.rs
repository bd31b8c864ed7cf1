//! What the compiler and clippy can't check about the tree: headers, lengths, the map of the code, links, paths, dependencies.
//!
//! One small function per rule. Each gets all files that git knows or would add, and says what is wrong with file and
//! line; a rule's test fails with all that was said.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a module beyond which one sentence does not tell its story.
const SHORT_MODULE_LINES: usize = 100;
const HEADER_LINES_MIN: usize = 3;
const HEADER_LINES_MAX: usize = 15;
const FILE_LINES_MAX: usize = 800;
const FOLDER_ENTRIES_MAX: usize = 12;
const CORE_DEPENDENCIES_MAX: usize = 13;

/// Every text file: its path below the root, with `/`, and its text.
type Tree = BTreeMap<String, String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tree() -> Tree {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    // What is deleted but not yet committed, and what is no text, is left out.
    let read = |name: &str| Some((name.to_owned(), String::from_utf8(std::fs::read(root().join(name)).ok()?).ok()?));
    let tree: Tree = names.split_terminator('\0').filter_map(read).collect();
    assert!(tree.contains_key("Cargo.toml"), "git lists no files here");
    tree
}

fn check(rule: impl Fn(&Tree) -> Vec<String>) {
    let complaints = rule(&tree());
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// `crates/*/src/**/*.rs`.
fn modules(tree: &Tree) -> impl Iterator<Item = (&String, &String)> {
    tree.iter().filter(|(path, _)| path.starts_with("crates/") && path.contains("/src/") && path.ends_with(".rs"))
}

/// Numbered lines, from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

#[test]
fn every_module_opens_with_its_story() {
    check(|tree| {
        let mut wrong = Vec::new();
        for (path, text) in modules(tree) {
            let header = text.lines().take_while(|line| line.starts_with("//!")).count();
            let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
            let is_long = text.lines().count() > SHORT_MODULE_LINES;
            let least = if is_long && !is_test { HEADER_LINES_MIN } else { 1 };
            // A crate's first page may explain how to use it.
            let most = if path.ends_with("/lib.rs") { usize::MAX } else { HEADER_LINES_MAX };
            if !(least..=most).contains(&header) {
                wrong.push(format!("{path}:1: a header of {header} lines, not {least} to {HEADER_LINES_MAX}"));
            }
        }
        wrong
    });
}

#[test]
fn no_file_is_too_long() {
    check(|tree| {
        let sources = tree.iter().filter(|(path, _)| path.ends_with(".rs"));
        let too_long = sources.filter(|(_, text)| text.lines().count() > FILE_LINES_MAX);
        too_long.map(|(path, text)| format!("{path}:{FILE_LINES_MAX}: {} lines", text.lines().count())).collect()
    });
}

#[test]
fn no_folder_is_too_full() {
    check(|tree| {
        let mut folders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (path, _) in modules(tree) {
            // Every folder on the way down, with the entry that leads on.
            for (at, _) in path.match_indices('/') {
                let entry = path[at + 1..].split('/').next().unwrap();
                folders.entry(&path[..at]).or_default().insert(entry);
            }
        }
        let full = folders.into_iter().filter(|(path, entries)| {
            (path.contains("/src/") || path.ends_with("/src")) && entries.len() > FOLDER_ENTRIES_MAX
        });
        full.map(|(path, entries)| format!("{path}: {} entries", entries.len())).collect()
    });
}

/// Every `crates/<crate>/src/<module>` in a line of the code map.
fn mapped(line: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_/.-".contains(c);
    let from = |at: usize| {
        let rest = &line[at..];
        rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())].trim_end_matches(['/', '.'])
    };
    line.match_indices("crates/").map(|(at, _)| from(at)).filter(|path| path.contains("/src/")).collect()
}

#[test]
fn the_code_map_names_every_module_and_only_what_exists() {
    check(|tree| {
        let Some(map) = tree.get("ARCHITECTURE.md") else { return vec!["ARCHITECTURE.md: missing".into()] };
        let mut named = BTreeSet::new();
        let mut wrong = Vec::new();
        for (number, line) in lines(map) {
            for path in mapped(line) {
                let module = path.trim_end_matches(".rs");
                let exists = tree.contains_key(&format!("{module}.rs"))
                    || tree.keys().any(|file| file.starts_with(&format!("{module}/")));
                if !exists {
                    wrong.push(format!("ARCHITECTURE.md:{number}: {path} does not exist"));
                }
                named.insert(module.to_owned());
            }
        }
        let mut present = BTreeSet::new();
        for (path, _) in modules(tree) {
            let (before, inside) = path.split_once("/src/").unwrap();
            let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
            if !["lib", "main"].contains(&module) {
                present.insert(format!("{before}/src/{module}"));
            }
        }
        wrong.extend(
            present.difference(&named).map(|module| format!("ARCHITECTURE.md: {module} is not on the code map")),
        );
        wrong
    });
}

/// Lines of a Markdown text that are not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    lines(text).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

/// Names of a text's headings as GitHub makes them: lower case, no punctuation, `-` for spaces, a number for the second.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|n| format!("{name}-{n}"));
        let free = std::iter::once(name.clone()).chain(again).find(|name| !all.contains(name));
        all.extend(free);
    }
    all
}

/// Targets of links and pictures in a line.
fn targets(line: &str) -> Vec<&str> {
    let after = line.split("](").skip(1);
    after.filter_map(|rest| Some(rest.split_once(')')?.0.split_whitespace().next().unwrap_or_default())).collect()
}

#[test]
fn links_between_documents_resolve() {
    check(|tree| {
        let mut wrong = Vec::new();
        for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".md")) {
            for (number, line) in prose(text) {
                for target in targets(line).into_iter().filter(|target| !target.contains(':')) {
                    if let Some(complaint) = broken(tree, path, text, target) {
                        wrong.push(format!("{path}:{number}: {complaint}"));
                    }
                }
            }
        }
        wrong
    });
}

/// What is wrong with a link's target, seen from a document.
fn broken(tree: &Tree, path: &str, text: &str, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let text = if file.is_empty() {
        text
    } else {
        let mut parts: Vec<&str> = path.split('/').collect();
        parts.pop();
        for part in file.trim_end_matches('/').split('/') {
            match part {
                "." => {}
                ".." if parts.pop().is_none() => return Some(format!("{target} leads out of the tree")),
                ".." => {}
                part => parts.push(part),
            }
        }
        let wanted = parts.join("/");
        let is_folder = tree.keys().any(|file| file.starts_with(&format!("{wanted}/")));
        match tree.get(&wanted) {
            Some(text) => text,
            None if is_folder && anchor.is_none() => return None,
            None => return Some(format!("{target} does not exist")),
        }
    };
    let anchor = anchor?;
    (!anchors(text).contains(anchor)).then(|| format!("{target}: there is no such heading"))
}

#[test]
fn no_path_of_somebodys_machine_is_in_the_tree() {
    // Put together here, so that this file does not break its own rule.
    let machine = ["home", "root", "work", "tmp", "Users"].map(|name| format!("/{name}/"));
    check(|tree| {
        let mut wrong = Vec::new();
        for (path, text) in tree {
            for (number, line) in lines(text) {
                // Inside a longer path or a URL it is another directory.
                let starts = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}$)".contains(c));
                let found = machine.iter().find(|name| line.match_indices(name.as_str()).any(|(at, _)| starts(at)));
                wrong.extend(found.map(|name| format!("{path}:{number}: {name}")));
            }
        }
        wrong
    });
}

#[test]
fn nothing_is_ignored_or_left_for_later() {
    let words = [concat!("#[", "ignore"), concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("FIX", "ME")];
    check(|tree| {
        let mut wrong = Vec::new();
        for (path, text) in tree {
            for (number, line) in lines(text) {
                let found = words.iter().find(|word| line.contains(**word));
                wrong.extend(found.map(|word| format!("{path}:{number}: {word}")));
            }
        }
        wrong
    });
}

/// Direct dependencies of a manifest that are not ours, with line and section.
fn dependencies(manifest: &str) -> Vec<(usize, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (number, line) in lines(manifest) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else if section.ends_with("dependencies")
            && let Some((name, _)) = line.split_once('=')
        {
            let name = name.trim().trim_end_matches(".workspace").to_owned();
            if !name.starts_with('#') && !name.starts_with("wayleave-") {
                found.push((number, section.clone(), name));
            }
        }
    }
    found
}

#[test]
fn every_dependency_is_justified() {
    check(|tree| {
        let Some(decisions) = tree.get("docs/decisions.md") else { return vec!["docs/decisions.md: missing".into()] };
        let mut wrong = Vec::new();
        for (path, text) in tree.iter().filter(|(path, _)| path.starts_with("crates/") && path.ends_with("/Cargo.toml"))
        {
            for (number, _, name) in dependencies(text) {
                if !decisions.contains(&format!("`{name}`")) {
                    wrong.push(format!("{path}:{number}: docs/decisions.md does not say why there is `{name}`"));
                }
            }
        }
        wrong
    });
}

#[test]
fn core_depends_on_few() {
    check(|tree| {
        let all = dependencies(&tree["crates/core/Cargo.toml"]);
        let count = all.iter().filter(|(_, section, _)| section == "dependencies").count();
        assert!(count > 0, "no dependencies found");
        let too_many = count > CORE_DEPENDENCIES_MAX;
        too_many.then(|| format!("crates/core/Cargo.toml: {count} dependencies")).into_iter().collect()
    });
}

#[test]
fn headings_make_the_anchors_that_github_makes() {
    let text = "# One & two\n```\n# none\n```\n## It's `code`, _really_\n## Twice\n## Twice\n";
    let expected = ["its-code-_really_", "one--two", "twice", "twice-1"].map(str::to_owned);
    assert_eq!(anchors(text).into_iter().collect::<Vec<_>>(), expected);
}
