//! Findings: what is wrong or odd in a file or a network, with its place and a fix.
//!
//! A [`Finding`] carries a kind (an enum with the facts), a severity, a place in a source and other places that
//! explain it. The sentence is made at the edge, by the kind's `Display`; carets are drawn by the command line.
//! Rules live beside this file, one small function each, and never stop at the first thing they find.

mod findings;
mod hazard;
mod imported;
mod kind;
mod meaning;
mod proven;
mod reading;
mod rows;
pub mod rules;
mod stories;

pub use findings::{Finding, Findings, Severity, Source, SourceIx, Sources, Span};
pub use hazard::Hazard;
pub use imported::Imported;
pub use kind::Kind;
pub use meaning::Meaning;
pub use proven::Proven;
pub use reading::Reading;
pub use stories::{Inputs, Story, explain, findings_markdown, nearest_code, severity_word, stories};
