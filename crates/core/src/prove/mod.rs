//! Exact reachability: what becomes of every packet between all nodes, clients and sites, hop by hop.
//!
//! [`Hosts`] say what each host does with packets, and come from a plan or from imported configurations. All prefixes
//! that occur cut the address space into classes that are treated alike everywhere, so an answer for a class covers
//! each of its addresses. [`reachability`] walks all pairs both ways and gives a [`Proof`]; findings are made of it.
//! Nothing is sampled, and nothing is believed: not even that a plan's paths are what its prefixes do.

mod asserted;
mod explain;
mod findings;
mod from_plan;
mod hosts;
mod intent;
mod reach;
mod standing;
mod survive;
mod tables;
mod walk;

pub use crate::network::Party;
pub use asserted::refuted;
pub use explain::Story;
pub use findings::Spoofable;
pub use from_plan::parties;
pub use hosts::{
    Device, End, EndKind, FilterRule, Host, Hosts, Peer, Route, RouteTo, RpFilter, Rule, TABLE_MAIN, WrittenPeer,
};
pub use intent::Intent;
pub use reach::{Example, Proof, Tally, Verdict, reachability};
pub use standing::{Failure, Part, Standing};
pub use survive::{Element, Loss, Survival, survive};
pub use tables::Atoms;
pub use walk::{Drop, Outcome, Reason};
