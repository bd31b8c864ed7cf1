//! The ledger (`network.lock`): what earlier plans decided and later plans must keep.
//!
//! It records every address handed out, the generation, and the public keys that `wayleave key` made. It belongs in
//! version control beside the network file. Entries of members that are gone stay until their pool is full, so that
//! a member that returns finds its old address and nobody inherits one that others may still remember.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::keys::PublicKey;
use crate::names::Name;

/// The format that this code writes; it reads this and older ones.
pub const LEDGER_VERSION: u32 = 1;

/// Earlier allocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Format version.
    pub version: u32,
    /// Counts plans that differ from the one before.
    #[serde(default)]
    pub generation: u64,
    /// Digest of the plan of that generation, hexadecimal.
    #[serde(default)]
    pub digest: String,
    /// Overlay addresses by node or client.
    #[serde(default)]
    pub addresses: BTreeMap<Name, Vec<IpAddr>>,
    /// Link addresses by node or client.
    #[serde(default)]
    pub link_addresses: BTreeMap<Name, IpAddr>,
    /// Public keys made for nodes and clients that have none in the network file.
    #[serde(default)]
    pub public_keys: BTreeMap<Name, PublicKey>,
}

/// The last line. A file that was cut short at the end of a line would otherwise be a ledger with fewer entries, and
/// everybody behind the cut would be numbered anew.
const LAST_LINE: &str = "# The end. Without this line the file was cut short.";

/// Why a ledger can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Not the text of a ledger.
    #[error("not a ledger")]
    Syntax(#[source] toml::de::Error),
    /// Its last line is missing.
    #[error("it was cut short: its last line is missing; take it from version control, or from a backup")]
    CutShort,
    /// Written by a later version.
    #[error("its format is version {found}, this program knows up to {LEDGER_VERSION}: use a newer wayleave")]
    Version {
        /// The version found.
        found: u32,
    },
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger {
            version: LEDGER_VERSION,
            generation: 0,
            digest: String::new(),
            addresses: BTreeMap::new(),
            link_addresses: BTreeMap::new(),
            public_keys: BTreeMap::new(),
        }
    }
}

impl Ledger {
    /// Reads the text of a `network.lock`.
    ///
    /// # Errors
    /// If it is not one, or from a later version.
    pub fn parse(text: &str) -> Result<Ledger, LedgerError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = toml::from_str(text).map_err(LedgerError::Syntax)?;
        if version > LEDGER_VERSION {
            return Err(LedgerError::Version { found: version });
        }
        if text.trim_end().lines().next_back() != Some(LAST_LINE) {
            return Err(LedgerError::CutShort);
        }
        toml::from_str(text).map_err(LedgerError::Syntax)
    }

    /// The text to write: stable, one entry a line, so that differences read well.
    pub fn to_text(&self) -> String {
        let body = toml::to_string(self).expect("a ledger holds only strings, numbers and tables of them");
        format!(
            "# Addresses and keys that Wayleave has handed out. Written by `wayleave`; keep it in version control\n\
             # beside the network file. Without it, nodes are numbered anew.\n{body}\n{LAST_LINE}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_comes_back_as_it_was() {
        let mut ledger = Ledger { generation: 7, digest: "ab".into(), ..Ledger::default() };
        let name = Name::new("hkg").unwrap();
        ledger.addresses.insert(name.clone(), vec![IpAddr::from([10, 50, 5, 1])]);
        ledger.link_addresses.insert(name, "fd00::1".parse().unwrap());
        assert_eq!(Ledger::parse(&ledger.to_text()).unwrap(), ledger);
    }

    #[test]
    fn other_texts_and_later_versions_are_refused() {
        assert!(matches!(Ledger::parse("version = 2"), Err(LedgerError::Version { found: 2 })));
        for bad in ["", "version = 1\nwhat = 2", "version = 1\n[addresses]\nhkg = [\"10.0.0\"]", "\u{0}"] {
            assert!(matches!(Ledger::parse(&format!("{bad}\n{LAST_LINE}\n")), Err(LedgerError::Syntax(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_ledger_cut_anywhere_is_refused() {
        let mut ledger = Ledger::default();
        for (at, name) in ["fra", "hkg", "nrt"].into_iter().enumerate() {
            ledger.addresses.insert(Name::new(name).unwrap(), vec![IpAddr::from([10, 50, 5, at as u8 + 1])]);
        }
        let text = ledger.to_text();
        for cut in 0..text.trim_end().len() {
            assert!(Ledger::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(Ledger::parse(&text).unwrap(), ledger);
    }
}
