//! What moves from one peer to another while everything else stays: single prefixes, without comparing whole states.
//!
//! Clients that change their entry server ([`follow`]), routes that a routing daemon has learned ([`Learned`]), and what is to be let
//! in before ([`expected()`]).

mod expected;
mod learned;
mod moved;

pub use expected::expected;
pub use learned::{Learned, LearnedRoute, NotCarried};
pub use moved::{expected_of, follow};
