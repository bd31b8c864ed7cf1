//! Rendering for hosts of every platform: what is taken away from routers, what DHCP clients decode, what scripts and files
//! have in common. What real programs make of the files is tested in the cli crate.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test reads examples and may panic"
)]

mod random;

mod render {
    mod bird;
    mod claims;
    mod every;
    mod ingress;
    mod lan;
    mod routers;
    mod support;
}
