//! Claims: the other kind of run-time knowledge, with which entry node each client that roams is.
//!
//! The plan without any claims has each with its nearest entry node. Keyed by names, as link states are.

use std::collections::BTreeMap;

use crate::names::Name;

/// The entry node that each client is with, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims(BTreeMap<Name, Name>);

impl Claims {
    /// The entry node that a client is with.
    pub fn of(&self, client: &Name) -> Option<&Name> {
        self.0.get(client)
    }

    /// A client is with an entry node, or, with none, it is not known where. Says whether that is news.
    pub fn set(&mut self, client: &Name, server: Option<&Name>) -> bool {
        match server {
            Some(server) if self.of(client) == Some(server) => false,
            Some(server) => {
                self.0.insert(client.clone(), server.clone());
                true
            }
            None => self.0.remove(client).is_some(),
        }
    }

    /// All clients of which it is known, with their entry nodes, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &Name)> {
        self.0.iter()
    }
}

impl FromIterator<(Name, Name)> for Claims {
    /// From clients with their entry nodes.
    fn from_iter<T: IntoIterator<Item = (Name, Name)>>(all: T) -> Claims {
        Claims(all.into_iter().collect())
    }
}
