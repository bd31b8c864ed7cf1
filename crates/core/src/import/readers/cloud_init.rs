//! User-data for cloud-init: the files that `write_files` lists, each to be read as what it is.
//!
//! The YAML parser of network files reads it. Lines of a literal block stand in the user-data as they are, so findings
//! point at them; of any other text the place is that of the whole. What is encoded is a finding, and what `runcmd` does is
//! not looked at.

use std::borrow::Cow;

use super::lines::{Line, Notes, lines};
use crate::check::{Imported, SourceIx, Span};
use crate::file::{Value, ValueKind, yaml};

/// A file that cloud-init writes.
pub(in crate::import) struct Written<'t> {
    /// Its path on the host.
    pub path: String,
    /// Its text.
    pub content: String,
    /// Its lines, with their places in the user-data.
    pub lines: Vec<Line<'t>>,
}

/// Whether a text is user-data in cloud-init's own format.
pub(in crate::import) fn is_user_data(text: &str) -> bool {
    text.starts_with("#cloud-config")
}

/// Reads the files that are written.
pub(in crate::import) fn read<'t>(text: &'t str, source: SourceIx, notes: &mut Notes<'_>) -> Vec<Written<'t>> {
    let tree = yaml(text, source, notes.findings);
    let Some(ValueKind::List(entries)) = entry(&tree, "write_files").map(|list| &list.kind) else { return Vec::new() };
    entries.iter().filter_map(|entry| written(entry, text, source, notes)).collect()
}

fn written<'t>(file: &Value, text: &'t str, source: SourceIx, notes: &mut Notes<'_>) -> Option<Written<'t>> {
    let (path, content) = (entry(file, "path")?, entry(file, "content")?);
    let (ValueKind::Text(path), ValueKind::Text(body)) = (&path.kind, &content.kind) else { return None };
    if let Some(encoding) =
        entry(file, "encoding").filter(|encoding| encoding.kind != ValueKind::Text("text/plain".into()))
    {
        let why = format!("{path} is encoded, and only plain text is read");
        notes.push(Imported::UnknownLine { why }, encoding.span);
        return None;
    }
    Some(Written { path: path.clone(), content: body.clone(), lines: placed(body, content.span, text, source) })
}

fn entry<'v>(table: &'v Value, key: &str) -> Option<&'v Value> {
    let ValueKind::Table(entries) = &table.kind else { return None };
    entries.iter().find(|entry| entry.key.value == key).map(|entry| &entry.value)
}

/// The lines of a content, each where it stands in the user-data, if all stand there in their order.
fn placed<'t>(content: &str, place: Span, text: &'t str, source: SourceIx) -> Vec<Line<'t>> {
    let made = || {
        let line = |line: &str| Line { text: Cow::Owned(line.to_owned()), span: place, verbatim: false };
        content.lines().map(line).collect()
    };
    let start = text.get(..place.start as usize).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let Some(rest) = text.get(start..) else { return made() };
    let mut below = lines(rest, source);
    let mut found = Vec::new();
    for line in content.lines() {
        let fits = |written: &&str| {
            if line.trim().is_empty() { written.trim().is_empty() } else { written.ends_with(line) }
        };
        let here = below.by_ref().find_map(|below| {
            let Cow::Borrowed(written) = below.text else { return None };
            Some((written, below.span)).filter(|(written, _)| fits(written))
        });
        let Some((written, span)) = here else { return made() };
        let length = line.len().min(written.len());
        let end = span.end + start as u32;
        let span = Span { source, start: end - length as u32, end };
        found.push(Line { text: Cow::Borrowed(&written[written.len() - length..]), span, verbatim: true });
    }
    found
}
