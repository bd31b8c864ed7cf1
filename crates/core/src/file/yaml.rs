//! YAML text to the spanned tree: one document of plain tables, lists and scalars.
//!
//! Aliases, own tags and several documents are refused: a network file is data, and aliases are how YAML
//! bombs are made. The parser underneath recurses once per nested block, so the nesting that indentation can express
//! is bounded before it is asked (its limit for brackets is its own, 255), and it counts in characters, which are
//! turned into bytes here.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::tree::{Entry, Spanned, Value, ValueKind, span};
use crate::check::{Finding, Findings, Kind, Reading, SourceIx, Span};
use crate::limits::{NESTING_DEPTH_MAX, YAML_INDENT_MAX};

/// Parses a source.
pub(crate) fn parse(text: &str, source: SourceIx, findings: &mut Findings) -> Value {
    let empty = Value { span: span(source, 0..0), kind: ValueKind::Table(Vec::new()) };
    if let Some(at) = too_indented(text) {
        let finding = Finding::new(Reading::TooDeep { max: NESTING_DEPTH_MAX }, span(source, at..at));
        findings.push(finding.with_fix(format!("Indent by less than {YAML_INDENT_MAX} columns.")));
        return empty;
    }
    let mut converter = Converter { text, offsets: char_offsets(text), source, findings };
    let documents = match MarkedYaml::load_from_str(text) {
        Ok(documents) => documents,
        Err(error) => {
            let at = converter.byte(error.marker().index());
            let message = error.info().to_owned();
            converter.findings.push(Finding::new(Kind::Syntax { message }, span(source, at..at)));
            return empty;
        }
    };
    if let Some(second) = documents.get(1) {
        let place = converter.place(second);
        converter.refuse("a second YAML document", place);
    }
    documents.first().map_or(empty, |document| converter.value(document, 0))
}

/// The offset of the first line whose content starts too far to the right. Each nested block starts at least a column
/// further than the one around it, except for a list directly under its key, so this bounds the parser's recursion.
fn too_indented(text: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive(['\n', '\r']) {
        let mut rest = line.trim_end();
        loop {
            rest = rest.trim_start();
            let token = rest.split([' ', '\t']).next().unwrap_or_default();
            let leads = matches!(token, "-" | "?" | ":") || token.starts_with(['&', '!']);
            if token.is_empty() || !leads {
                break;
            }
            rest = &rest[token.len()..];
        }
        let column = line.trim_end().len() - rest.len();
        if column > YAML_INDENT_MAX {
            return Some(start + column);
        }
        start += line.len();
    }
    None
}

/// Byte offset of each character, or nothing for ASCII text, in which they are the same.
fn char_offsets(text: &str) -> Vec<u32> {
    if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at as u32).collect() }
}

struct Converter<'a> {
    text: &'a str,
    offsets: Vec<u32>,
    source: SourceIx,
    findings: &'a mut Findings,
}

impl Converter<'_> {
    fn byte(&self, index: usize) -> usize {
        let at =
            if self.offsets.is_empty() { index } else { self.offsets.get(index).map_or(usize::MAX, |at| *at as usize) };
        at.min(self.text.len())
    }

    fn place(&self, node: &MarkedYaml<'_>) -> Span {
        let start = self.byte(node.span.start.index());
        let end = self.byte(node.span.end.index()).max(start);
        let written = self.text.get(start..end).unwrap_or_default();
        span(self.source, start..start + written.trim_end().len())
    }

    fn refuse(&mut self, what: &'static str, place: Span) {
        self.findings.push(Finding::new(Reading::Unsupported { what }, place));
    }

    fn value(&mut self, node: &MarkedYaml<'_>, depth: usize) -> Value {
        let place = self.place(node);
        let kind = self.kind(node, place, depth);
        Value { span: place, kind }
    }

    fn kind(&mut self, node: &MarkedYaml<'_>, place: Span, depth: usize) -> ValueKind {
        // The parser replaces an alias by a copy of what it stands for, placed where the alias is; nothing else can
        // start with an asterisk.
        if self.text.as_bytes().get(place.start as usize) == Some(&b'*') {
            self.refuse("a YAML alias", place);
            return ValueKind::Refused;
        }
        match &node.data {
            YamlData::Sequence(_) | YamlData::Mapping(_) if depth >= NESTING_DEPTH_MAX => {
                self.findings.push(Finding::new(Reading::TooDeep { max: NESTING_DEPTH_MAX }, place));
                ValueKind::Refused
            }
            YamlData::Sequence(items) => {
                ValueKind::List(items.iter().map(|item| self.value(item, depth + 1)).collect())
            }
            YamlData::Mapping(entries) => {
                ValueKind::Table(entries.iter().filter_map(|(key, value)| self.entry(key, value, depth)).collect())
            }
            YamlData::Value(scalar) => match scalar {
                Scalar::Null => ValueKind::Null,
                Scalar::Boolean(yes) => ValueKind::Bool(*yes),
                Scalar::Integer(number) => ValueKind::Integer(*number),
                Scalar::FloatingPoint(number) => ValueKind::Float(number.into_inner()),
                Scalar::String(text) => ValueKind::Text(text.clone().into_owned()),
            },
            YamlData::Representation(text, ..) => ValueKind::Text(text.clone().into_owned()),
            YamlData::Tagged(..) | YamlData::BadValue | YamlData::Alias(_) => {
                self.refuse("a YAML tag", place);
                ValueKind::Refused
            }
        }
    }

    fn entry(&mut self, key: &MarkedYaml<'_>, value: &MarkedYaml<'_>, depth: usize) -> Option<Entry> {
        let place = self.place(key);
        let text = match &key.data {
            YamlData::Value(Scalar::String(text)) => text.clone().into_owned(),
            // A key such as `1` or `no` is the text it is written as.
            YamlData::Value(_) => self.text.get(place.start as usize..place.end as usize)?.to_owned(),
            _ => {
                self.refuse("a key that is no text", place);
                return None;
            }
        };
        Some(Entry { key: Spanned { value: text, span: place }, value: self.value(value, depth + 1) })
    }
}
