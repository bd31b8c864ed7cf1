//! The list of findings of one run, bounded, and the sources whose places they name.
//!
//! A finding is data: a kind, a place, other places that belong to it, perhaps a fix. Sentences and carets are made where
//! it is shown. However wrong a file is, the list stays short and says how many findings it left out.

use std::sync::Arc;

use serde::Serialize;

use super::Kind;
use crate::limits::FINDINGS_MAX;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The network can't be planned.
    Error,
    /// It can be planned, but somebody will be surprised.
    Warning,
    /// Worth knowing.
    Note,
}

/// Which source file, by its number in [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SourceIx(pub u16);

/// A range of bytes in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// The source file.
    pub source: SourceIx,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A source file's name as shown to people, and its text.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path as the operator gave it, or as an `include` wrote it relative to that.
    pub name: String,
    /// The whole text.
    pub text: Arc<str>,
}

/// All sources of one network file, the root first.
#[derive(Debug, Clone, Default)]
pub struct Sources(pub Vec<Source>);

impl Sources {
    /// The source's name, line and column (both from 1, the column in characters) where a span starts.
    pub fn position(&self, span: Span) -> Option<(&str, usize, usize)> {
        let source = self.0.get(span.source.0 as usize)?;
        let before = source.text.get(..span.start as usize)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        Some((&source.name, line, before[line_start..].chars().count() + 1))
    }
}

/// One thing that is wrong or odd.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What it is, with the facts.
    pub kind: Kind,
    /// Where; none when it concerns the network as a whole.
    pub place: Option<Span>,
    /// Other places that explain it, each with a few words.
    pub related: Vec<(Span, String)>,
    /// What to do about it, as an imperative sentence.
    pub fix: Option<String>,
}

impl Finding {
    /// A finding without further explanation.
    pub fn new(kind: impl Into<Kind>, place: impl Into<Option<Span>>) -> Finding {
        Finding { kind: kind.into(), place: place.into(), related: Vec::new(), fix: None }
    }

    /// Adds another place that explains it.
    #[must_use]
    pub fn with_related(mut self, place: Span, words: impl Into<String>) -> Finding {
        self.related.push((place, words.into()));
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Finding {
        self.fix = Some(fix.into());
        self
    }

    /// How bad it is: decided by its kind.
    pub fn severity(&self) -> Severity {
        self.kind.severity()
    }
}

/// The findings of one run, at most [`FINDINGS_MAX`] kept, all counted.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    /// How many of those kept are not errors, and how many are notes: who is worse than none of them need not look.
    lesser: [usize; 2],
    errors: usize,
    warnings: usize,
    dropped: usize,
}

impl Findings {
    /// Adds one. Worse findings displace lesser ones when the list is full, so that none hides why a file is refused.
    pub fn push(&mut self, finding: Finding) {
        let severity = finding.severity();
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
            Severity::Note => {}
        }
        if self.kept.len() < FINDINGS_MAX {
            self.count(severity, 1);
            self.kept.push(finding);
            return;
        }
        self.dropped += 1;
        let displaceable = match severity {
            Severity::Error => self.lesser[0],
            Severity::Warning => self.lesser[1],
            Severity::Note => 0,
        };
        if displaceable == 0 {
            return;
        }
        if let Some(at) = self.kept.iter().rposition(|kept| kept.severity() > severity) {
            self.count(self.kept[at].severity(), -1);
            self.count(severity, 1);
            self.kept[at] = finding;
        }
    }

    /// Notes that one of a severity is kept, or no longer.
    fn count(&mut self, severity: Severity, change: isize) {
        for (count, counts) in self.lesser.iter_mut().zip([severity > Severity::Error, severity == Severity::Note]) {
            *count = count.saturating_add_signed(if counts { change } else { 0 });
        }
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Findings) {
        self.dropped += other.dropped;
        let kept_errors = other.kept.iter().filter(|f| f.severity() == Severity::Error).count();
        let kept_warnings = other.kept.iter().filter(|f| f.severity() == Severity::Warning).count();
        self.errors += other.errors - kept_errors;
        self.warnings += other.warnings - kept_warnings;
        other.kept.into_iter().for_each(|finding| self.push(finding));
    }

    /// The kept findings: errors first, then by place.
    pub fn sorted(&self) -> Vec<&Finding> {
        let mut all: Vec<&Finding> = self.kept.iter().collect();
        all.sort_by_key(|f| (f.severity(), f.place));
        all
    }

    /// The same without those of one code, for callers to whom it does not matter.
    #[must_use]
    pub fn without(&self, code: &str) -> Findings {
        let mut rest = self.clone();
        rest.kept.retain(|finding| finding.kind.code() != code);
        let gone = self.kept.iter().filter(|finding| finding.kind.code() == code);
        for finding in gone {
            rest.count(finding.severity(), -1);
            match finding.severity() {
                Severity::Error => rest.errors -= 1,
                Severity::Warning => rest.warnings -= 1,
                Severity::Note => {}
            }
        }
        rest
    }

    /// Errors found, kept or not.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Warnings found, kept or not.
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// Findings counted but not kept.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Whether nothing at all was found.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_still_counts_and_keeps_errors() {
        let mut findings = Findings::default();
        for _ in 0..FINDINGS_MAX + 5 {
            findings.push(Finding::new(Kind::NoKey { node: "a".into(), others: 0 }, None));
        }
        findings.push(Finding::new(Kind::Syntax { message: "x".into() }, None));
        assert_eq!((findings.errors(), findings.dropped()), (1, 6));
        assert_eq!(findings.sorted()[0].severity(), Severity::Error);
    }

    #[test]
    fn positions_count_lines_and_characters() {
        let sources = Sources(vec![Source { name: "n".into(), text: "a\néb = 1\n".into() }]);
        let span = Span { source: SourceIx(0), start: 4, end: 5 };
        assert_eq!(sources.position(span), Some(("n", 2, 2)));
    }
}
