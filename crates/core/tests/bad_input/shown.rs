//! Findings as text for tables of expectations: severity, code, place, sentence, related places, fix.

use std::collections::BTreeMap;
use std::fmt::Write;

use wayleave_core::check::{Finding, Severity, Sources};
use wayleave_core::file::{Loaded, load_with};
use wayleave_core::network::resolve::{Resolution, resolve};

/// All findings about a set of sources, the first being the root, one line each.
pub fn findings(sources: &[(&str, &str)]) -> String {
    let (loaded, resolution) = both(sources);
    let mut out = String::new();
    for finding in loaded.findings.sorted().into_iter().chain(resolution.findings.sorted()) {
        line(&mut out, finding, &loaded.sources);
    }
    out
}

fn both(sources: &[(&str, &str)]) -> (Loaded, Resolution) {
    let texts: BTreeMap<&str, &str> = sources.iter().copied().collect();
    let loaded = load_with(sources[0].0, |path| {
        texts.get(path).map(|text| text.as_bytes().to_vec()).ok_or_else(|| "no such file".to_owned())
    });
    let resolution = resolve(&loaded.file);
    assert!(resolution.network.is_none() || loaded.findings.errors() + resolution.findings.errors() == 0);
    (loaded, resolution)
}

fn line(out: &mut String, finding: &Finding, sources: &Sources) {
    let severity = match finding.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let at =
        |span| sources.position(span).map_or("?".to_owned(), |(name, line, column)| format!("{name}:{line}:{column}"));
    let place = finding.place.map_or("-".to_owned(), at);
    write!(out, "{severity} {} {place} {}", finding.kind.code(), finding.kind).expect("a string takes everything");
    for (span, words) in &finding.related {
        write!(out, " ({} {words})", at(*span)).expect("a string takes everything");
    }
    writeln!(out, "{}", finding.fix.as_ref().map_or(String::new(), |fix| format!(" => {fix}")))
        .expect("a string takes everything");
}

/// Checks the findings of one TOML source that follows a sound `[network]` table. Lines are counted from the first
/// line of `body`; `expected` has one finding a line, without the source's name.
pub fn check(body: &str, expected: &str) {
    let head = "network = { name = \"n\", prefixes = [\"10.50.0.0/16\"] }";
    let source = format!("{head}\n{body}");
    check_sources(&[("n", &source)], expected);
}

/// Checks the findings of several sources.
pub fn check_sources(sources: &[(&str, &str)], expected: &str) {
    let found = findings(sources);
    let trimmed: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found, trimmed, "\nfound:\n{}\n", found.join("\n"));
}
