//! One tree for all three syntaxes: every value and every key with its place in the source.
//!
//! [`super::toml`], [`super::yaml`] and [`super::json`] make it; [`super::decode`] reads typed records from it.
//! Tables keep all entries as written; a key written twice is a finding of whoever made the tree.

use crate::check::Span;

/// Something with its place in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The thing.
    pub value: T,
    /// Where it is written.
    pub span: Span,
}

/// A value as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Where it is written.
    pub span: Span,
    /// What it is.
    pub kind: ValueKind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueKind {
    /// Nothing (YAML and JSON).
    Null,
    /// Something that the syntax allows and the format does not; a finding says what, and no other is needed.
    Refused,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// A TOML date or time, as written.
    Date(String),
    /// A list.
    List(Vec<Value>),
    /// A table.
    Table(Vec<Entry>),
}

/// An entry of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Spanned<String>,
    /// The value.
    pub value: Value,
}

impl Value {
    /// What the value is, with its article, for "... is expected here, not ...".
    pub fn found(&self) -> &'static str {
        match self.kind {
            ValueKind::Null | ValueKind::Refused => "nothing",
            ValueKind::Bool(_) => "true or false",
            ValueKind::Integer(_) => "a whole number",
            ValueKind::Float(_) => "a number with a fraction",
            ValueKind::Text(_) => "text",
            ValueKind::Date(_) => "a date",
            ValueKind::List(_) => "a list",
            ValueKind::Table(_) => "a table",
        }
    }
}

/// A range of bytes of one source; offsets beyond 4 GiB can't occur, since sources are bounded.
pub(super) fn span(source: crate::check::SourceIx, range: std::ops::Range<usize>) -> Span {
    let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span { source, start: clamp(range.start), end: clamp(range.end) }
}
