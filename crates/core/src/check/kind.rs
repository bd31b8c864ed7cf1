//! What a finding can be, with the facts that its sentence needs.
//!
//! Each kind has a stable code that issues, scripts and documents can cite; a code is never reused. The severity
//! belongs to the kind, so that the same thing is never an error here and a warning there.

use std::net::Ipv4Addr;

use super::rows::rows;
use super::{Hazard, Imported, Meaning, Proven, Reading, Severity};

/// The closed list of findings. Texts inside are names as written, ready to be shown.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Kind {
    /// The text is not TOML, YAML or JSON.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// Something else about the text.
    #[error(transparent)]
    Reading(#[from] Reading),
    /// Something about what the file means.
    #[error(transparent)]
    Meaning(#[from] Meaning),
    /// Something about files that were imported.
    #[error(transparent)]
    Imported(#[from] Imported),
    /// Something that packets do.
    #[error(transparent)]
    Proven(#[from] Proven),
    /// Something that is sound as written and hurts in use.
    #[error(transparent)]
    Hazard(#[from] Hazard),
    /// A node has no public key.
    #[error("{}", no_key(.node, *.others))]
    NoKey {
        /// The first node or client without.
        node: String,
        /// How many others there are.
        others: usize,
    },
    /// Two hubs are isolated from each other, which addresses can't enforce, and neither has a firewall.
    #[error(
        "{hub} and {other} are hubs and relay for others, so it takes a firewall to keep them apart, and neither has one"
    )]
    HubIsolated {
        /// The first hub.
        hub: String,
        /// The other.
        other: String,
    },
    /// No free address is left in a pool.
    #[error("{pool} is full: no address is left for {owner}")]
    PoolFull {
        /// The prefix.
        pool: String,
        /// Who went without.
        owner: String,
    },
    /// Two nodes that speak BGP have the same router id.
    #[error("{first} and {second} have the same router id, {id}")]
    RouterIdTwice {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// What both have.
        id: Ipv4Addr,
    },
    /// A wanted pair has no path.
    #[error("{}", no_path(.pairs, *.count))]
    NoPath {
        /// Some of the pairs, ready to be shown.
        pairs: Vec<String>,
        /// How many there are.
        count: usize,
    },
}

impl Kind {
    /// The stable code, `WL` and three digits.
    pub fn code(&self) -> &'static str {
        self.row().0
    }

    /// Code and severity of everything that can be found, by code.
    pub fn all() -> Vec<(&'static str, Severity)> {
        let of = [Kind::ROWS, Reading::ROWS, Meaning::ROWS, Proven::ROWS, Imported::ROWS, Hazard::ROWS];
        let mut all = of.concat();
        all.sort_unstable_by_key(|(code, _)| *code);
        all
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.row().1
    }

    // 0xx: reading, 1xx: meaning, 2xx: planning, 3xx: proving, 4xx: importing, 5xx: what hurts in use.
    rows! {
        self {
            Kind::Syntax { .. } => ("WL001", Error),
            Kind::NoKey { .. } => ("WL201", Warning),
            Kind::PoolFull { .. } => ("WL202", Error),
            Kind::NoPath { .. } => ("WL203", Error),
            Kind::HubIsolated { .. } => ("WL204", Warning),
            Kind::RouterIdTwice { .. } => ("WL205", Error),
        }
        nested {
            Kind::Reading(reading) => reading.row(),
            Kind::Meaning(meaning) => meaning.row(),
            Kind::Imported(imported) => imported.row(),
            Kind::Proven(proven) => proven.row(),
            Kind::Hazard(hazard) => hazard.row(),
        }
    }
}

fn no_key(node: &str, others: usize) -> String {
    match others {
        0 => format!("{node} has no public key"),
        1 => format!("{node} and another have no public key"),
        _ => format!("{node} and {others} others have no public key"),
    }
}

fn no_path(pairs: &[String], count: usize) -> String {
    let more = count.saturating_sub(pairs.len());
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("no path between {}{tail}", pairs.join(", "))
}
