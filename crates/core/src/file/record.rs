//! The macro with which each written table is declared once.
//!
//! From one declaration come the struct (every field optional, with its place), the reader that accepts keys in any
//! order and reports unknown and missing ones, the JSON Schema and the reference for people.

use serde_json::json;

/// A table's description, for the schema and the reference.
pub(super) struct RecordShape {
    /// What one such table is called: "node".
    pub name: &'static str,
    /// Its documentation, one line.
    pub doc: String,
    /// Its keys.
    pub fields: Vec<FieldShape>,
}

/// A key's description.
pub(super) struct FieldShape {
    /// The key.
    pub name: &'static str,
    /// Its documentation, one line.
    pub doc: String,
    /// Its type in words.
    pub words: String,
    /// Its type as JSON Schema.
    pub schema: serde_json::Value,
    /// What is taken when it is absent, or [`REQUIRED`].
    pub default: &'static str,
}

/// The default text of a field that must be given.
pub(super) const REQUIRED: &str = "required";

/// Joins the lines of a doc comment.
pub(super) fn doc_line(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A record's JSON Schema: its keys, and no others.
pub(super) fn record_schema(shape: &RecordShape) -> serde_json::Value {
    let mut properties = serde_json::Map::new();
    for field in &shape.fields {
        let mut schema = field.schema.clone();
        if let Some(object) = schema.as_object_mut() {
            object.insert("description".into(), field.doc.clone().into());
        }
        properties.insert(field.name.into(), schema);
    }
    let required: Vec<&str> = shape.fields.iter().filter(|f| f.default == REQUIRED).map(|f| f.name).collect();
    json!({
        "type": "object", "description": shape.doc, "additionalProperties": false,
        "properties": properties, "required": required,
    })
}

/// Declares a table: `what it is called`, its struct, its keys with type and default text.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $what:literal $name:ident {
            $( $(#[doc = $field_doc:literal])+ $field:ident : $type:ty = $default:expr; )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $( $(#[doc = $field_doc])+ pub $field: Option<$crate::file::Spanned<$type>>, )+
        }

        impl $name {
            pub(super) fn shape() -> $crate::file::record::RecordShape {
                use $crate::file::record::{FieldShape, RecordShape, doc_line};
                RecordShape {
                    name: $what,
                    doc: doc_line(&[$($doc),+]),
                    fields: vec![$( FieldShape {
                        name: stringify!($field),
                        doc: doc_line(&[$($field_doc),+]),
                        words: <$type as $crate::file::decode::Decode>::words(),
                        schema: <$type as $crate::file::decode::Decode>::schema(),
                        default: $default,
                    } ),+],
                }
            }
        }

        impl $crate::file::decode::Decode for $name {
            fn decode(
                value: &$crate::file::tree::Value,
                decoder: &mut $crate::file::decode::Decoder<'_>,
            ) -> Option<Self> {
                let mut record = $name::default();
                // A table that is none still stands for its name, so that others may refer to it.
                let Some(entries) = decoder.table(value, concat!("a table (", $what, ")")) else { return Some(record) };
                for entry in entries {
                    match entry.key.value.as_str() {
                        $( stringify!($field) => record.$field = decoder.field(entry), )+
                        _ => decoder.unknown_key(entry, $what, &[$(stringify!($field)),+]),
                    }
                }
                for (key, default) in [$( (stringify!($field), $default) ),+] {
                    let absent = default == $crate::file::record::REQUIRED
                        && !entries.iter().any(|entry| entry.key.value == key);
                    if absent {
                        decoder.missing(value.span, $what, key);
                    }
                }
                Some(record)
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({ "$ref": concat!("#/$defs/", $what) })
            }

            fn words() -> String {
                $what.into()
            }
        }
    };
}

pub(super) use record;
