//! The story of every kind of finding: what it means, why it hurts, an example, how to mend it, who was hit by it.
//!
//! `wayleave check --explain CODE` prints one, and `docs/findings.md` is made of all. A test keeps them complete: each code
//! has one story, and each story a code. The severity is not told here, since it belongs to the kind.

use std::fmt::Write as _;

use super::{Kind, Severity};
use crate::file::nearest;

mod hazards;
mod importing;
mod meaning;
mod planning;
mod proving;
mod reading;
mod routing;

/// What a finding can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inputs {
    /// Network files only.
    NetworkFile,
    /// Imported hosts only.
    Hosts,
    /// Both.
    Both,
}

impl Inputs {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Inputs::NetworkFile => "network files",
            Inputs::Hosts => "imported hosts",
            Inputs::Both => "network files and imported hosts",
        }
    }
}

/// What people are told of a kind of finding.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    /// Its code.
    pub code: &'static str,
    /// A few words.
    pub title: &'static str,
    /// What it can be about.
    pub inputs: Inputs,
    /// What it means.
    pub means: &'static str,
    /// Why it hurts.
    pub hurts: &'static str,
    /// A line or two that have it.
    pub example: &'static str,
    /// How to mend it.
    pub mend: &'static str,
    /// Why the other kind of input can't have it, or where it is found there; empty where nothing is to be said.
    pub elsewhere: &'static str,
    /// Where it was seen: issues of other projects, texts; empty if it is a matter of course.
    pub seen: &'static str,
}

impl Story {
    /// How bad the finding is.
    pub fn severity(&self) -> Option<Severity> {
        Kind::all().into_iter().find(|(code, _)| *code == self.code).map(|(_, severity)| severity)
    }
}

/// All stories, by code.
pub fn stories() -> impl Iterator<Item = &'static Story> {
    let all = [
        reading::STORIES,
        meaning::STORIES,
        routing::STORIES,
        planning::STORIES,
        proving::STORIES,
        importing::STORIES,
        hazards::STORIES,
    ];
    all.into_iter().flatten()
}

/// The story of a code, in any case.
pub fn explain(code: &str) -> Option<&'static Story> {
    stories().find(|story| story.code.eq_ignore_ascii_case(code))
}

/// The code that was probably meant: digits with or without `WL` and zeros in front, or the nearest by edits.
pub fn nearest_code(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_uppercase();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let padded = format!("WL{digits:0>3}");
    let exact = stories().map(|story| story.code).find(|known| *known == padded);
    exact.or_else(|| nearest(&text, stories().map(|story| story.code)))
}

/// All stories as Markdown, for `docs/findings.md`.
pub fn findings_markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    // Writing to a string can't fail.
    for story in stories() {
        let severity = severity_word(story.severity().unwrap_or(Severity::Note));
        let _ = writeln!(out, "| [{0}](#{1}) | {severity} | {2} |", story.code, anchor(story), story.title);
    }
    let mut block = "";
    for story in stories() {
        if story.code[..3] != *block {
            block = &story.code[..3];
            let _ = write!(out, "\n## {block}xx: {}\n", block_title(block));
        }
        section(&mut out, story);
    }
    out
}

fn section(out: &mut String, story: &Story) {
    let severity = severity_word(story.severity().unwrap_or(Severity::Note));
    let _ = write!(out, "\n### {} {}\n\n*{severity}, in {}*\n\n", story.code, story.title, story.inputs.words());
    let _ = write!(out, "{} {}\n\n```text\n{}\n```\n\n{}\n", story.means, story.hurts, story.example, story.mend);
    if !story.elsewhere.is_empty() {
        let _ = write!(out, "\n{}\n", story.elsewhere);
    }
    if !story.seen.is_empty() {
        let _ = write!(out, "\nSeen in: {}.\n", story.seen);
    }
}

/// The heading's anchor, as GitHub makes it.
fn anchor(story: &Story) -> String {
    let title = format!("{} {}", story.code, story.title).to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A severity in one word.
pub fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn block_title(block: &str) -> &'static str {
    match block {
        "WL0" => "the text of a network file",
        "WL1" => "what it means",
        "WL2" => "planning",
        "WL3" => "what packets do",
        "WL4" => "other people's files",
        _ => "sound as written, and hurts in use",
    }
}

const INTRODUCTION: &str = "\
# Findings

<!-- Generated from crates/core/src/check/stories by `WAYLEAVE_BLESS=1 cargo test -p wayleave-core --test check`; do not edit. -->

Everything that `wayleave check` can find, by its code. A code never changes its meaning and is never used again.
`wayleave check --explain WL535` prints one of them.

- An *error* means that the network can't work, or not as written. `check` exits with 1.
- A *warning* means that it works and somebody will be surprised. `check --strict` exits with 3.
- A *note* is worth knowing.

Warnings and notes that are meant so are accepted with `--accept CODE`, or in a network file with `accept = [\"CODE\"]` in
`[network]`.

| code | severity | what |
| --- | --- | --- |
";
