//! Findings as SARIF 2.1.0 (OASIS), which code hosts show beside the lines they are about.
//!
//! One run, one rule for each code that was found, one result for each finding. Places are lines and columns from 1, counted
//! in characters. The fix is part of the message: SARIF's own fixes are replacements of text, which ours are not.

use serde_json::{Value, json};
use wayleave_core::check::{Finding, Findings, Severity, Sources, Span, explain};

/// Characters that stay as they are in a URI's path (RFC 3986 section 3.3).
const PLAIN: &str = "-._~/!$&'()*+,;=:@";

/// Findings as a SARIF log.
pub fn findings_sarif(findings: &Findings, sources: &Sources) -> Value {
    let sorted = findings.sorted();
    let mut codes: Vec<&str> = sorted.iter().map(|finding| finding.kind.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    let results: Vec<Value> = sorted.iter().map(|finding| result(finding, &codes, sources)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "wayleave",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(|code| rule(code)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: &str) -> Value {
    let Some(story) = explain(code) else { return json!({ "id": code }) };
    let level = story.severity().map_or("note", level);
    json!({
        "id": code,
        "shortDescription": { "text": story.title },
        "fullDescription": { "text": format!("{} {}", story.means, story.hurts) },
        "help": { "text": story.mend },
        "defaultConfiguration": { "level": level },
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn result(finding: &Finding, codes: &[&str], sources: &Sources) -> Value {
    let code = finding.kind.code();
    let text = match &finding.fix {
        Some(fix) => format!("{}. {fix}", finding.kind),
        None => finding.kind.to_string(),
    };
    // Code hosts show nothing without a place: what concerns all is shown at the first line.
    let place = finding.place.and_then(|place| location(place, sources));
    let place = place.or_else(|| location(Span::default(), sources));
    let related: Vec<Value> =
        finding.related.iter().filter_map(|(span, words)| related(*span, words, sources)).collect();
    json!({
        "ruleId": code,
        "ruleIndex": codes.binary_search(&code).unwrap_or(0),
        "level": level(finding.severity()),
        "message": { "text": text },
        "locations": place.into_iter().collect::<Vec<_>>(),
        "relatedLocations": related,
    })
}

fn related(span: Span, words: &str, sources: &Sources) -> Option<Value> {
    let mut place = location(span, sources)?;
    place["message"] = json!({ "text": words });
    Some(place)
}

fn location(span: Span, sources: &Sources) -> Option<Value> {
    let (name, line, column) = sources.position(span)?;
    let end = Span { start: span.end.max(span.start), ..span };
    let (_, end_line, end_column) = sources.position(end).unwrap_or((name, line, column));
    Some(json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(name) },
        "region": { "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column },
    } }))
}

/// A path as a URI: relative ones stay relative.
fn uri(path: &str) -> String {
    let mut out = String::from(if path.starts_with('/') { "file://" } else { "" });
    let path = path.trim_start_matches("./");
    for byte in path.bytes() {
        let c = char::from(byte);
        // A colon in the first part of a relative path would read as a scheme.
        if c.is_ascii_alphanumeric() || (PLAIN.contains(c) && (c != ':' || path.starts_with('/'))) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("./a b/é.conf"), "a%20b/%C3%A9.conf");
        assert_eq!(uri("/etc/wireguard/wg0.conf"), "file:///etc/wireguard/wg0.conf");
        assert_eq!(uri("c:x"), "c%3Ax");
    }
}
