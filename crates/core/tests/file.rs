//! Network files that are in order: the examples, what does not change a network, and the format's description.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads the examples and may panic")]

mod file {
    mod examples;
    mod format;
    mod properties;
    mod selection;
}
