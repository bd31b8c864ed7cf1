//! Names of things in a network: nodes, regions, clients, sites, tags, and of devices on hosts.
//!
//! A name is checked once, where it enters, and carried as a type from then on. Names become file names,
//! DNS labels, interface names and metric labels, so the alphabet is the one that all of these share.

pub mod keys;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{DEVICE_NAME_BYTES_MAX, NAME_BYTES_MAX};

/// The name of a node, client, region, site, tag or network: lower-case letters, digits and inner hyphens
/// (an RFC 1123 label), at most 63 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("a name can't be empty")]
    Empty,
    /// More bytes than the limit.
    #[error("a name has at most {max} bytes, this one has {len}")]
    TooLong {
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A character outside the alphabet.
    #[error("a name can't contain {0:?}")]
    Character(char),
    /// A hyphen at an end, or a leading character that the kind of name forbids.
    #[error("a name can't start or end with {0:?}")]
    Edge(char),
}

impl Name {
    /// Checks a text and makes it a name.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn new(text: &str) -> Result<Name, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { len: text.len(), max: NAME_BYTES_MAX });
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if let Some(c) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(c));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::Edge('-'));
        }
        Ok(Name(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name to a text that is none: lower case, other characters turned to hyphens.
    pub fn suggest(text: &str) -> Option<Name> {
        let mapped: String =
            text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let cut: String = mapped.trim_matches('-').chars().take(NAME_BYTES_MAX).collect();
        Name::new(cut.trim_matches('-')).ok()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Name, NameError> {
        Name::new(&text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.as_ref().to_owned()
    }
}

/// The name of a WireGuard device on a host: what `wg-quick` and the kernel both accept, at most 15 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceName(Arc<str>);

impl DeviceName {
    /// Checks a text against `wg-quick`'s pattern `[a-zA-Z0-9_=+.-]{1,15}` and the kernel's refusal of `.` and `..`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn new(text: &str) -> Result<DeviceName, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > DEVICE_NAME_BYTES_MAX {
            return Err(NameError::TooLong { len: text.len(), max: DEVICE_NAME_BYTES_MAX });
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_=+.-".contains(*c)) {
            return Err(NameError::Character(c));
        }
        // A leading dot hides the file, `.` and `..` are refused by the kernel, a leading hyphen reads as a flag.
        if let Some(c @ ('.' | '-')) = text.chars().next() {
            return Err(NameError::Edge(c));
        }
        Ok(DeviceName(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl TryFrom<String> for DeviceName {
    type Error = NameError;
    fn try_from(text: String) -> Result<DeviceName, NameError> {
        DeviceName::new(&text)
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> String {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["hkg", "vpn-ireland", "1", &"a".repeat(63)] {
            assert_eq!(Name::new(good).map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "HKG", "a_b", "-a", "a-", "a.b", "é", &"a".repeat(64)] {
            assert!(Name::new(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_suggestion_is_a_valid_name() {
        assert_eq!(Name::suggest("Hong Kong_1"), Name::new("hong-kong-1").ok());
        assert_eq!(Name::suggest("***"), None);
    }

    #[test]
    fn device_names_follow_wg_quick() {
        for good in ["wg0", "wg_home", "a", "dn42-edge.1", "x=+._-"] {
            assert!(DeviceName::new(good).is_ok(), "{good:?} was refused");
        }
        for bad in ["", ".", "..", "-x", "wg/0", "sixteen-bytes-xx", "wg 0"] {
            assert!(DeviceName::new(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
