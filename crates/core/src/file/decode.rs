//! From the spanned tree to typed values, never stopping at the first thing that is wrong.
//!
//! A [`Decode`] type reads itself from a [`Value`], pushes a finding for each fault and returns what it could build.
//! The same trait describes the type for the JSON Schema and the reference, so these can't disagree with the reader.

use serde_json::json;

use super::tree::{Entry, Spanned, Value, ValueKind};
use crate::check::{Finding, Findings, Reading, Span};
use crate::limits::FINDINGS_MAX;
use crate::names::Name;

/// A type that a network file can contain.
pub(super) trait Decode: Sized {
    /// Reads a value. `None` means that a finding was pushed and nothing could be built.
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self>;

    /// The type as JSON Schema.
    fn schema() -> serde_json::Value;

    /// The type in a few words for people: "list of names".
    fn words() -> String;

    /// Several of it: "names".
    fn plural() -> String {
        format!("{}s", Self::words())
    }
}

/// Collects what is found while decoding one source.
pub(super) struct Decoder<'a> {
    findings: &'a mut Findings,
    /// Places of secret values, to be blotted out before anybody prints the source.
    pub(super) secrets: Vec<Span>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(findings: &'a mut Findings) -> Decoder<'a> {
        Decoder { findings, secrets: Vec::new() }
    }

    pub(super) fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Reads a table entry's value with its place.
    pub(super) fn field<T: Decode>(&mut self, entry: &Entry) -> Option<Spanned<T>> {
        self.spanned(&entry.value)
    }

    fn spanned<T: Decode>(&mut self, value: &Value) -> Option<Spanned<T>> {
        Some(Spanned { value: T::decode(value, self)?, span: value.span })
    }

    /// The entries of a table, or a finding.
    pub(super) fn table<'v>(&mut self, value: &'v Value, expected: impl Into<String>) -> Option<&'v [Entry]> {
        match &value.kind {
            ValueKind::Table(entries) => Some(entries),
            _ => self.wrong_type(value, expected),
        }
    }

    /// The text of a value, or a finding.
    pub(super) fn text<'v>(&mut self, value: &'v Value, what: &str) -> Option<&'v str> {
        match &value.kind {
            ValueKind::Text(text) => Some(text),
            _ => self.wrong_type(value, format!("{what} in quotes")),
        }
    }

    /// A finding about a value of the wrong type.
    pub(super) fn wrong_type<T>(&mut self, value: &Value, expected: impl Into<String>) -> Option<T> {
        if value.kind != ValueKind::Refused {
            let kind = Reading::WrongType { expected: expected.into(), found: value.found() };
            self.push(Finding::new(kind, value.span));
        }
        None
    }

    /// A finding about a key that a record does not have.
    pub(super) fn unknown_key(&mut self, entry: &Entry, table: &'static str, known: &[&str]) {
        let key = &entry.key.value;
        if is_secret_key(key) {
            self.secrets.push(entry.value.span);
            self.push(Finding::new(Reading::Secret { key: shown(key) }, entry.key.span).with_fix(
                "Remove it; private keys stay on the host that made them. If this file was shared, replace the key.",
            ));
            return;
        }
        let finding = Finding::new(Reading::UnknownKey { table, key: shown(key) }, entry.key.span);
        // Suggestions cost comparisons, and nobody reads them beyond the findings that are kept.
        let read = self.findings.errors() < FINDINGS_MAX;
        let fix = match nearest(key, known.iter().copied().filter(|_| read)) {
            Some(near) => format!("Did you mean {near:?}?"),
            None => format!("Remove it; {table} takes {}.", known.join(", ")),
        };
        self.push(finding.with_fix(fix));
    }

    /// A finding about an absent key.
    pub(super) fn missing(&mut self, place: Span, table: &'static str, key: &'static str) {
        self.push(Finding::new(Reading::Missing { table, key }, place).with_fix(format!("Add {key} = ...")));
    }
}

/// Whether a key's value would be secret, however it is spelled.
fn is_secret_key(key: &str) -> bool {
    let letters: String = key.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect();
    ["privatekey", "presharedkey", "psk", "secretkey", "privkey"].contains(&letters.as_str())
}

/// A text cut to what a person wants to see of it in a message.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// The known word that was probably meant: the nearest by edits, if it is near enough.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const WORD_BYTES_MAX: usize = 80;
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let near_enough = (word.chars().count() / 3).max(1);
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= near_enough)
        .min()
        .map(|(_, candidate)| candidate)
}

impl<T: Decode> Decode for Vec<Spanned<T>> {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        match &value.kind {
            ValueKind::List(items) => Some(items.iter().filter_map(|item| decoder.spanned(item)).collect()),
            _ => decoder.wrong_type(value, format!("a {}", Self::words())),
        }
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "array", "items": T::schema() })
    }

    fn words() -> String {
        format!("list of {}", T::plural())
    }

    fn plural() -> String {
        format!("lists of {}", T::plural())
    }
}

/// One thing, or a list of such things.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrMore<T>(pub Vec<Spanned<T>>);

impl<T: Decode> Decode for OneOrMore<T> {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        match &value.kind {
            ValueKind::List(_) => Vec::decode(value, decoder).map(OneOrMore),
            _ => decoder.spanned(value).map(|one| OneOrMore(vec![one])),
        }
    }

    fn schema() -> serde_json::Value {
        json!({ "anyOf": [T::schema(), Vec::<Spanned<T>>::schema()] })
    }

    fn words() -> String {
        format!("{} or list of {}", T::words(), T::plural())
    }
}

/// A table from names to things, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Map<T>(pub Vec<(Spanned<Name>, Spanned<T>)>);

impl<T> Default for Map<T> {
    fn default() -> Self {
        Map(Vec::new())
    }
}

impl<T: Decode> Decode for Map<T> {
    fn decode(value: &Value, decoder: &mut Decoder<'_>) -> Option<Self> {
        let entries = decoder.table(value, format!("a table from names to {}", T::plural()))?;
        let mut read = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = super::scalars::name(&entry.key.value, entry.key.span, decoder);
            let thing = decoder.field(entry);
            if let (Some(name), Some(thing)) = (name, thing) {
                read.push((Spanned { value: name, span: entry.key.span }, thing));
            }
        }
        Some(Map(read))
    }

    fn schema() -> serde_json::Value {
        json!({ "type": "object", "propertyNames": Name::schema(), "additionalProperties": T::schema() })
    }

    fn words() -> String {
        format!("table: name → {}", T::words())
    }

    fn plural() -> String {
        "tables".into()
    }
}
