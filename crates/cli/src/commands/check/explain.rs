//! `wayleave check --explain`: the story of a code, or the list of all.
//!
//! It goes to stdout, wrapped to a terminal of 80 columns whatever it is printed to, so that it reads the same everywhere.

use anyhow::Error;
use wayleave_core::check::{Severity, Story, explain, nearest_code, severity_word, stories};

use crate::exit::Exit;
use crate::files;
use crate::table::{Align, layout};

/// Columns of text.
const COLUMNS: usize = 78;

/// Prints the story of a code, or without one the list of all.
pub fn run(code: Option<&str>) -> anyhow::Result<Exit> {
    match code {
        None => print!("{}", list()),
        Some(code) => print!("{}", told(explain(code).ok_or_else(|| unknown(code))?)),
    }
    Ok(Exit::Fine)
}

/// The error that there is no such code.
pub fn unknown(code: &str) -> Error {
    files::usage(match nearest_code(code) {
        Some(near) => format!("there is no code {code:?}; did you mean {near}? `wayleave check --explain` lists all"),
        None => format!("there is no code {code:?}; `wayleave check --explain` lists all"),
    })
}

fn list() -> String {
    let row = |story: &Story| {
        let severity = severity_word(story.severity().unwrap_or(Severity::Note));
        vec![story.code.to_owned(), severity.to_owned(), story.title.to_owned()]
    };
    let rows: Vec<Vec<String>> = stories().map(row).collect();
    layout(&["code", "severity", "what"].map(|title| (title, Align::Left)), &rows)
}

fn told(story: &Story) -> String {
    let severity = severity_word(story.severity().unwrap_or(Severity::Note));
    let mut out = format!("{} ({severity}): {}\n\n", story.code, story.title);
    out += &wrapped(story.means, "");
    out += "\nWhy it hurts\n";
    out += &wrapped(story.hurts, "  ");
    out += "\nExample\n";
    story.example.lines().for_each(|line| out += &format!("  {line}\n"));
    out += "\nHow to mend it\n";
    out += &wrapped(story.mend, "  ");
    out += "\nFound in\n";
    out += &wrapped(&format!("{}. {}", story.inputs.words(), story.elsewhere), "  ");
    if !story.seen.is_empty() {
        out += "\nSeen in\n";
        out += &wrapped(story.seen, "  ");
    }
    out
}

/// Text broken between words, each line indented.
fn wrapped(text: &str, indent: &str) -> String {
    let (mut out, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        let wide = indent.len() + line.chars().count() + 1 + word.chars().count() > COLUMNS;
        if wide && !line.is_empty() {
            out += &format!("{indent}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out + &format!("{indent}{line}\n")
}
