//! TOML text to the spanned tree, with all syntax errors at once.
//!
//! The `toml` crate bounds nesting itself, so that its recursion is bounded; the limit here is lower and gives a
//! finding with a place.

use toml::de::{DeTable, DeValue};

use super::tree::{Entry, Spanned, Value, ValueKind, span};
use crate::check::{Finding, Findings, Kind, Reading, SourceIx};
use crate::limits::NESTING_DEPTH_MAX;

/// Above this size only the first syntax error is reported: the parser keeps a record of every one of them, some 300
/// bytes each, and megabytes of garbage have millions.
const ALL_ERRORS_BYTES_MAX: usize = 4 << 20;

/// Parses a source; what could not be understood is left out.
pub(super) fn parse(text: &str, source: SourceIx, findings: &mut Findings) -> Value {
    let (table, errors) = if text.len() <= ALL_ERRORS_BYTES_MAX {
        let (table, errors) = DeTable::parse_recoverable(text);
        (Some(table), errors)
    } else {
        match DeTable::parse(text) {
            Ok(table) => (Some(table), Vec::new()),
            Err(error) => (None, vec![error]),
        }
    };
    for error in &errors {
        let place = span(source, error.span().unwrap_or(0..0));
        findings.push(Finding::new(Kind::Syntax { message: error.message().to_owned() }, place));
    }
    let mut converter = Converter { source, findings };
    let kind = match table {
        Some(table) => converter.table(table.into_inner(), 1),
        None => ValueKind::Table(Vec::new()),
    };
    Value { span: span(source, 0..0), kind }
}

struct Converter<'a> {
    source: SourceIx,
    findings: &'a mut Findings,
}

impl Converter<'_> {
    fn table(&mut self, table: DeTable<'_>, depth: usize) -> ValueKind {
        let entries = table.into_iter().map(|(key, value)| {
            let place = span(self.source, key.span());
            let key = Spanned { value: key.into_inner().into_owned(), span: place };
            Entry { key, value: self.value(value, depth) }
        });
        ValueKind::Table(entries.collect())
    }

    fn value(&mut self, value: toml::Spanned<DeValue<'_>>, depth: usize) -> Value {
        let place = span(self.source, value.span());
        let kind = match value.into_inner() {
            DeValue::Array(_) | DeValue::Table(_) if depth >= NESTING_DEPTH_MAX => {
                self.findings.push(Finding::new(Reading::TooDeep { max: NESTING_DEPTH_MAX }, place));
                ValueKind::Refused
            }
            DeValue::Array(items) => {
                ValueKind::List(items.into_iter().map(|item| self.value(item, depth + 1)).collect())
            }
            DeValue::Table(table) => self.table(table, depth + 1),
            DeValue::String(text) => ValueKind::Text(text.into_owned()),
            DeValue::Boolean(yes) => ValueKind::Bool(yes),
            DeValue::Datetime(date) => ValueKind::Date(date.to_string()),
            DeValue::Float(float) => ValueKind::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => ValueKind::Integer(number),
                Err(_) => ValueKind::Float(integer.as_str().parse().unwrap_or(f64::INFINITY)),
            },
        };
        Value { span: place, kind }
    }
}
