//! What `wayleave check` knows: rules over hosts and networks, each with a case; and the stories of all codes.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test reads the tree and may panic"
)]

mod check {
    mod facts;
    mod hosts;
    mod network;
    mod others;
    mod stories;
    mod support;
    mod walked;
}
