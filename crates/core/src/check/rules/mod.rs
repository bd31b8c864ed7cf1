//! Rules over what is sound as written: each has hit real users. One small function per rule.
//!
//! [`network`] looks at a network file and the network it means, [`hosts`] at hosts that were imported. What comes in is data that others read; what goes out are findings, with
//! the places they are about. Nothing here reads a file or a clock, and nothing stops at the first thing it finds. What
//! each code means is told in [`super::stories`].

mod hosts;
mod network;

pub use hosts::{hosts, walked};
pub use network::{accepted, network};

use hosts::not_dialable;

use super::{Finding, Findings, Hazard, Span};

/// Files with a private key that are under version control: each with its place and its repository.
pub fn tracked_keys(files: impl Iterator<Item = (String, Option<Span>, String)>) -> Findings {
    let mut findings = Findings::default();
    for (file, place, repository) in files {
        let kind = Hazard::KeyInRepository { file, repository };
        findings.push(
            Finding::new(kind, place)
                .with_fix("Remove it from the repository and make a new key: its history still has this one."),
        );
    }
    findings
}
