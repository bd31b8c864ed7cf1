//! Link states: the one kind of run-time knowledge that changes paths.
//!
//! The plan without any states is the intended network. A link that is down carries nothing; a measured round-trip
//! time replaces the stated one. Keyed by names, so that records of nodes with different files still mean something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::Name;

/// What is known of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Works; its measured round-trip time in microseconds.
    Up {
        /// Microseconds there and back.
        rtt_us: u64,
    },
    /// Does not work in at least one direction.
    Down,
}

/// States by the two ends' names. A link without an entry is up with its stated round-trip time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<(Name, Name, LinkState)>", from = "Vec<(Name, Name, LinkState)>")]
pub struct LinkStates(BTreeMap<(Name, Name), LinkState>);

impl LinkStates {
    /// Sets a link's state; the order of its ends does not matter.
    pub fn set(&mut self, a: &Name, b: &Name, state: LinkState) {
        self.0.insert((a.min(b).clone(), a.max(b).clone()), state);
    }

    /// Forgets what is known of a link.
    pub fn clear(&mut self, a: &Name, b: &Name) {
        self.0.remove(&(a.min(b).clone(), a.max(b).clone()));
    }

    /// All links of which something is known, the smaller name first, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Name, LinkState)> {
        self.0.iter().map(|((a, b), state)| (a, b, *state))
    }

    /// A link's state, if anything is known.
    pub fn of(&self, a: &Name, b: &Name) -> Option<LinkState> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(a.min(b).clone(), a.max(b).clone())).copied()
    }
}

impl From<LinkStates> for Vec<(Name, Name, LinkState)> {
    fn from(states: LinkStates) -> Self {
        states.0.into_iter().map(|((a, b), state)| (a, b, state)).collect()
    }
}

impl From<Vec<(Name, Name, LinkState)>> for LinkStates {
    fn from(all: Vec<(Name, Name, LinkState)>) -> Self {
        let mut states = LinkStates::default();
        all.iter().for_each(|(a, b, state)| states.set(a, b, *state));
        states
    }
}
