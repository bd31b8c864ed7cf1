//! With which entry server each client is.
//!
//! In come claims from the exchange ([`super::exchange::record::Claim`]), of this server and of others; out come the clients
//! whose server has changed. Every node has all of them ([`Claims`]), and packets for a client go to its server. What an entry server
//! itself claims, and when it lets go, is decided in [`server`]; where BGP carries claims, [`routes`] does what the
//! exchange does elsewhere, and [`sites`] the same for sites and their gateways. Nothing here compares the clocks of two hosts.

pub mod calls;
pub mod drain;
pub mod looks;
pub mod routes;
pub mod server;
pub mod sites;

use std::collections::BTreeMap;
use std::time::Duration;

use super::Time;
use crate::limits::CLAIM_GRACE_MS;
use crate::names::Name;
use crate::plan::Claims;

/// The claims that are in force, with what has changed of them.
#[derive(Debug, Default)]
pub struct Whereabouts {
    claims: Claims,
    /// Clients whose server has changed since that was last told.
    changed: BTreeMap<Name, Option<Name>>,
    /// When clients got their server, if that was less than a moment ago.
    moved: BTreeMap<Name, Time>,
    /// When those are to be forgotten that is longer ago for.
    forget_at: Time,
}

impl Whereabouts {
    /// The claims that are in force.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// A client is with this server, or with nobody.
    pub fn set(&mut self, client: &Name, server: Option<&Name>, now: Time) {
        if !self.claims.set(client, server) {
            return;
        }
        self.changed.insert(client.clone(), server.cloned());
        if self.forget_at <= now {
            self.moved.retain(|_, at| now.since(*at) <= GRACE);
            self.forget_at = now.plus(GRACE);
        }
        self.moved.insert(client.clone(), now);
    }

    /// Whether a client got its server so lately that packets which come elsewhere may still have been under way.
    pub fn has_just_moved(&self, client: &Name, now: Time) -> bool {
        self.moved.get(client).is_some_and(|at| now.since(*at) <= GRACE)
    }

    /// Whether changes are to be told.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What has changed since this was last asked.
    pub fn take_changed(&mut self) -> Vec<(Name, Option<Name>)> {
        std::mem::take(&mut self.changed).into_iter().collect()
    }
}

const GRACE: Duration = Duration::from_millis(CLAIM_GRACE_MS);
