//! Findings 0xx: what can be wrong with the text of a network file, before anything is known of its meaning.
//!
//! They are made while sources are read and decoded, in [`crate::file`]. Texts from the file are cut to a readable
//! length before they come here, and secret values never do.

use super::rows::rows;

/// Something wrong with a source's text, or with one value in it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Reading {
    /// A source could not be read.
    #[error("can't read {name}: {why}")]
    Unreadable {
        /// The path.
        name: String,
        /// What the system says.
        why: String,
    },
    /// A source is not UTF-8.
    #[error("{name} is not UTF-8 text (byte {at})")]
    NotUtf8 {
        /// The path.
        name: String,
        /// The first wrong byte's offset.
        at: usize,
    },
    /// A source, or all of them together, is too large.
    #[error("{what} has more than {max} bytes")]
    TooLarge {
        /// The path, or "the whole network file".
        what: String,
        /// The limit.
        max: usize,
    },
    /// An include leads back to a file that includes it.
    #[error("include cycle: {chain}")]
    IncludeCycle {
        /// The paths, joined by arrows.
        chain: String,
    },
    /// Includes nested too deep.
    #[error("includes are nested deeper than {max}")]
    IncludeTooDeep {
        /// The limit.
        max: usize,
    },
    /// Too many sources.
    #[error("more than {max} files are included")]
    TooManySources {
        /// The limit.
        max: usize,
    },
    /// The same file is included twice.
    #[error("{name} is already included")]
    IncludedTwice {
        /// The path.
        name: String,
    },
    /// Tables and lists nested too deep.
    #[error("tables and lists are nested deeper than {max}")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// A key written twice in one table.
    #[error("{key} is already given in this table")]
    KeyTwice {
        /// The key.
        key: String,
    },
    /// A key that the format does not know.
    #[error("{table} has no key {key:?}")]
    UnknownKey {
        /// What kind of table it is.
        table: &'static str,
        /// The key.
        key: String,
    },
    /// A value of the wrong type.
    #[error("{expected} is expected here, not {found}")]
    WrongType {
        /// What the format wants.
        expected: String,
        /// What is there.
        found: &'static str,
    },
    /// A text that is no name.
    #[error("{text:?} is no name: {why}")]
    BadName {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A text that is no public key.
    #[error("this is no public key: {why}")]
    BadKey {
        /// What is wrong with it.
        why: String,
    },
    /// A text that is no address or prefix.
    #[error("{text:?} is no {what}{why}")]
    BadAddress {
        /// The text.
        text: String,
        /// "address" or "prefix".
        what: &'static str,
        /// What is wrong with it, with its own leading punctuation, or nothing.
        why: String,
    },
    /// A prefix with bits set beyond its length.
    #[error("{text} has address bits set beyond its length")]
    HostBits {
        /// The prefix as written.
        text: String,
    },
    /// A text that is no endpoint.
    #[error("{text:?} is no endpoint: {why}")]
    BadEndpoint {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A number outside its range.
    #[error("{value} is outside {min} to {max}{unit}")]
    OutOfRange {
        /// The number as written.
        value: String,
        /// Smallest allowed.
        min: String,
        /// Largest allowed.
        max: String,
        /// The unit, with a leading space, or nothing.
        unit: &'static str,
    },
    /// A word that is not among those allowed.
    #[error("{text:?} is no {what}")]
    UnknownWord {
        /// The word.
        text: String,
        /// What it should have been.
        what: &'static str,
    },
    /// A private or preshared key in a network file.
    #[error("{key} does not belong into a network file")]
    Secret {
        /// The key of the table entry, never its value.
        key: String,
    },
    /// A required key is absent.
    #[error("{table} needs {key:?}")]
    Missing {
        /// What kind of table it is.
        table: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A YAML construct that the format does not take.
    #[error("{what} can't be used in a network file")]
    Unsupported {
        /// The construct.
        what: &'static str,
    },
    /// A table that only one source may have.
    #[error("[{table}] is given in two files")]
    TableTwice {
        /// The table.
        table: &'static str,
    },
}

impl Reading {
    rows! {
        self {
            Reading::Unreadable { .. } => ("WL002", Error),
            Reading::NotUtf8 { .. } => ("WL003", Error),
            Reading::TooLarge { .. } => ("WL004", Error),
            Reading::IncludeCycle { .. } => ("WL005", Error),
            Reading::IncludeTooDeep { .. } => ("WL006", Error),
            Reading::TooManySources { .. } => ("WL007", Error),
            Reading::IncludedTwice { .. } => ("WL008", Warning),
            Reading::TooDeep { .. } => ("WL009", Error),
            Reading::KeyTwice { .. } => ("WL010", Error),
            Reading::UnknownKey { .. } => ("WL011", Error),
            Reading::WrongType { .. } => ("WL012", Error),
            Reading::BadName { .. } => ("WL013", Error),
            Reading::BadKey { .. } => ("WL014", Error),
            Reading::BadAddress { .. } => ("WL015", Error),
            Reading::HostBits { .. } => ("WL016", Error),
            Reading::BadEndpoint { .. } => ("WL017", Error),
            Reading::OutOfRange { .. } => ("WL018", Error),
            Reading::UnknownWord { .. } => ("WL019", Error),
            Reading::Secret { .. } => ("WL020", Error),
            Reading::Missing { .. } => ("WL021", Error),
            Reading::Unsupported { .. } => ("WL022", Error),
            Reading::TableTwice { .. } => ("WL023", Error),
        }
    }
}
