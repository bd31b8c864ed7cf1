//! JSON text to the spanned tree.
//!
//! `serde_json` judges the text first, strictly and with bounded recursion. What it passes is walked once more for
//! the places, which it does not keep; so the walk may rely on the text being JSON, and gives up quietly if not.

use super::tree::{Entry, Spanned, Value, ValueKind, span};
use crate::check::{Finding, Findings, Kind, Reading, SourceIx};
use crate::limits::NESTING_DEPTH_MAX;

/// Parses a source.
pub(super) fn parse(text: &str, source: SourceIx, findings: &mut Findings) -> Value {
    let empty = Value { span: span(source, 0..0), kind: ValueKind::Table(Vec::new()) };
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let at = byte_at(text, error.line(), error.column());
        let whole = error.to_string();
        let message = whole.split(" at line ").next().unwrap_or(&whole).to_owned();
        findings.push(Finding::new(Kind::Syntax { message }, span(source, at..at)));
        return empty;
    }
    let mut walk = Walk { text, at: 0, source, findings };
    walk.value(0).unwrap_or(empty)
}

/// The offset of a line and a byte column, both from 1.
fn byte_at(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
    source: SourceIx,
    findings: &'a mut Findings,
}

impl Walk<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        let next = self.next_byte()?;
        let start = self.at;
        let kind = match next {
            b'{' | b'[' if depth >= NESTING_DEPTH_MAX => {
                let place = span(self.source, start..start + 1);
                self.findings.push(Finding::new(Reading::TooDeep { max: NESTING_DEPTH_MAX }, place));
                return None;
            }
            b'{' => self.table(depth)?,
            b'[' => self.list(depth)?,
            b'"' => ValueKind::Text(self.string()?),
            _ => self.word()?,
        };
        Some(Value { span: span(self.source, start..self.at), kind })
    }

    fn table(&mut self, depth: usize) -> Option<ValueKind> {
        self.at += 1;
        let mut entries: Vec<Entry> = Vec::new();
        let mut places = std::collections::BTreeMap::new();
        while self.next_byte()? != b'}' {
            let start = self.at;
            let key = Spanned { value: self.string()?, span: span(self.source, start..self.at) };
            self.next_byte()?; // The colon.
            self.at += 1;
            let value = self.value(depth + 1)?;
            if self.next_byte()? == b',' {
                self.at += 1;
            }
            match places.entry(key.value.clone()) {
                std::collections::btree_map::Entry::Occupied(first) => {
                    let finding = Finding::new(Reading::KeyTwice { key: key.value.clone() }, key.span);
                    self.findings.push(finding.with_related(*first.get(), "given here first"));
                }
                std::collections::btree_map::Entry::Vacant(slot) => {
                    slot.insert(key.span);
                    entries.push(Entry { key, value });
                }
            }
        }
        self.at += 1;
        Some(ValueKind::Table(entries))
    }

    fn list(&mut self, depth: usize) -> Option<ValueKind> {
        self.at += 1;
        let mut items = Vec::new();
        while self.next_byte()? != b']' {
            items.push(self.value(depth + 1)?);
            if self.next_byte()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Some(ValueKind::List(items))
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        while *bytes.get(self.at)? != b'"' {
            self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }

    fn word(&mut self) -> Option<ValueKind> {
        let rest = self.text.get(self.at..)?;
        let ends = |c: char| matches!(c, ',' | ']' | '}') || c.is_ascii_whitespace();
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        Some(match word {
            "null" => ValueKind::Null,
            "true" => ValueKind::Bool(true),
            "false" => ValueKind::Bool(false),
            number => match number.parse() {
                Ok(integer) => ValueKind::Integer(integer),
                Err(_) => ValueKind::Float(number.parse().ok()?),
            },
        })
    }

    /// Skips white space; the byte that follows.
    fn next_byte(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }
}
