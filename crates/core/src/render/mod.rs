//! Everything in other people's syntax: files for hosts, and drawings.
//!
//! A renderer takes a [`crate::plan::NodePlan`] (or a whole plan, for drawings) and returns text. It decides nothing.
//! Files are the same bytes for the same plan, begin with a header that says where they come from, and never hold a
//! private key unless one is handed in.

mod drawing;
mod svg;
mod wg_quick;

pub use drawing::{dot, mermaid};
pub use svg::svg;
pub use wg_quick::{KeySource, RenderError, RenderedFile, wg_quick};
