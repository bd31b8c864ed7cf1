//! What people are told: findings with carets, errors with their causes, summaries. All on stderr, but JSON.
//!
//! Colour is for terminals only. However long a line of a network file is, what is printed of it is short.

mod printable;
mod sarif;

use std::io::IsTerminal as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};
use wayleave_core::check::{Finding, Findings, Severity, Sources, Span};

use crate::exit::Exit;

pub use printable::printable;
use printable::printable_in_place;
pub use sarif::findings_sarif;

use crate::table::terminal_columns;

/// Columns of source around a place that are shown of one line: a line of 10 MB must not be printed whole.
const EXCERPT_BYTES: usize = 400;

/// Whether to colour what goes to stderr: a terminal, and `NO_COLOR` unset (no-color.org).
pub fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints an error and its causes, once.
pub fn print_error(error: &anyhow::Error) {
    let causes: Vec<String> =
        error.chain().filter(|cause| cause.downcast_ref::<Exit>().is_none()).map(ToString::to_string).collect();
    if !causes.is_empty() {
        eprintln!("{}: {}", paint("error", "1;31"), printable(&causes.join(": ")));
    }
}

/// A number and what it counts: `1 node`, `2 nodes`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn paint(text: &str, code: &str) -> String {
    if colour() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Prints findings, worst first, as compilers do.
pub fn print_findings(findings: &Findings, sources: &Sources) {
    let renderer = if colour() { Renderer::styled() } else { Renderer::plain() };
    let renderer = match terminal_columns(libc::STDERR_FILENO).filter(|columns| *columns >= COLUMNS_MIN) {
        Some(columns) => renderer.term_width(columns),
        None => renderer,
    };
    for finding in findings.sorted() {
        eprintln!("{}\n", render(&renderer, finding, sources));
    }
    if findings.dropped() > 0 {
        eprintln!("... and {} more findings", findings.dropped());
    }
}

/// A narrower terminal than this is not believed: nothing could be shown in it.
const COLUMNS_MIN: usize = 40;

/// The errors among findings, one line each with its place: for logs and other programs' eyes.
pub fn errors_text(findings: &Findings, sources: &Sources) -> String {
    let place =
        |span| sources.position(span).map_or(String::new(), |(name, line, column)| format!("{name}:{line}:{column}: "));
    let errors = findings.sorted().into_iter().filter(|finding| finding.severity() == Severity::Error);
    let lines: Vec<String> =
        errors.map(|finding| format!("{}{}", finding.place.map_or(String::new(), place), finding.kind)).collect();
    lines.join("; ")
}

/// Prints what was looked at and how many findings there are.
pub fn print_summary(findings: &Findings, what: &str) {
    let (errors, warnings) = (findings.errors(), findings.warnings());
    if errors == 0 && warnings == 0 {
        eprintln!("{what}: no errors, no warnings");
    } else {
        eprintln!("{what}: {}, {}", count(errors, "error"), count(warnings, "warning"));
    }
}

/// Places in one source, each with a few words unless it is the place itself.
type Marks<'a> = Vec<(Span, Option<&'a str>)>;

fn render(renderer: &Renderer, finding: &Finding, sources: &Sources) -> String {
    let level = match finding.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = printable(&finding.kind.to_string()).into_owned();
    let mut group = Group::with_title(level.primary_title(title).id(finding.kind.code()));
    let places = finding.place.iter().map(|place| (*place, None));
    let related = finding.related.iter().map(|(place, words)| (*place, Some(words.as_str())));
    let places: Marks<'_> = places.chain(related).collect();
    let mut by_source: Vec<(u16, Marks<'_>)> = Vec::new();
    for (span, words) in places {
        match by_source.iter_mut().find(|(source, _)| *source == span.source.0) {
            Some((_, list)) => list.push((span, words)),
            None => by_source.push((span.source.0, vec![(span, words)])),
        }
    }
    for (source, spans) in &by_source {
        let Some(source) = sources.0.get(*source as usize) else { continue };
        if let Some(excerpt) = Excerpt::new(&source.text, spans.iter().map(|(span, _)| *span)) {
            let text = printable_in_place(excerpt.text);
            let mut snippet = Snippet::source(text).line_start(excerpt.line).path(printable(&source.name));
            for (span, words) in spans {
                let kind = if words.is_some() { AnnotationKind::Context } else { AnnotationKind::Primary };
                let annotation = kind.span(excerpt.within(*span));
                snippet = snippet.annotation(match words {
                    Some(words) => annotation.label(printable(words)),
                    None => annotation,
                });
            }
            group = group.element(snippet);
        } else {
            let all: Vec<String> = spans.iter().filter_map(|(span, _)| position(sources, *span)).collect();
            group = group.element(Level::NOTE.message(format!("at {}", all.join(", "))));
        }
    }
    if let Some(fix) = &finding.fix {
        group = group.element(Level::HELP.message(printable(fix)));
    }
    renderer.render(&[group]).to_string()
}

/// The part of a source that holds all places, if it is short enough to show.
struct Excerpt<'a> {
    text: &'a str,
    start: usize,
    line: usize,
}

impl<'a> Excerpt<'a> {
    fn new(text: &'a str, spans: impl Iterator<Item = Span> + Clone) -> Option<Excerpt<'a>> {
        let first = spans.clone().map(|span| span.start as usize).min()?.min(text.len());
        let last = spans.clone().map(|span| span.end as usize).max()?.clamp(first, text.len());
        let start = text.get(..first)?.rfind('\n').map_or(0, |at| at + 1);
        let end = text.get(last..)?.find('\n').map_or(text.len(), |at| last + at);
        let longest = text.get(start..end)?.lines().map(str::len).max().unwrap_or(0);
        let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        (longest <= EXCERPT_BYTES).then_some(Excerpt { text: &text[start..end], start, line })
    }

    fn within(&self, span: Span) -> std::ops::Range<usize> {
        let clamp = |at: u32| (at as usize).saturating_sub(self.start).min(self.text.len());
        clamp(span.start)..clamp(span.end).max(clamp(span.start))
    }
}

fn position(sources: &Sources, span: Span) -> Option<String> {
    sources.position(span).map(|(name, line, column)| format!("{name}:{line}:{column}"))
}

/// Findings as data.
pub fn findings_json(findings: &Findings, sources: &Sources) -> Value {
    let place = |span: Span| {
        let (file, line, column) = sources.position(span)?;
        Some(json!({ "file": file, "line": line, "column": column }))
    };
    let finding = |finding: &&Finding| {
        let related: Vec<Value> =
            finding.related.iter().map(|(span, words)| json!({ "place": place(*span), "message": words })).collect();
        json!({
            "code": finding.kind.code(),
            "severity": finding.severity(),
            "message": finding.kind.to_string(),
            "place": finding.place.and_then(place),
            "related": related,
            "fix": finding.fix,
        })
    };
    json!({
        "schema": "wayleave.findings",
        "version": 1,
        "errors": findings.errors(),
        "warnings": findings.warnings(),
        "not_listed": findings.dropped(),
        "findings": findings.sorted().iter().map(finding).collect::<Vec<_>>(),
    })
}
