//! Import: foreign files in every odd spelling become hosts, hosts become a network, and the network is the one they came
//! from.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test reads fixtures, takes the time and may panic"
)]

mod random;

mod import {
    mod formats;
    mod noise;
    mod proved;
    mod round_trip;
    mod sources;
    mod spellings;
    mod support;
}
