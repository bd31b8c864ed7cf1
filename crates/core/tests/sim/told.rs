//! BGP between the hosts, as much of it as matters: the best of what the others say comes to each after a while.
//!
//! A host hears of the best whose owner it can reach by what its agent knows of links, as its BIRD does, which is told so; what a dead
//! host has said stays where it was heard, as it does until sessions run out. Which is better is decided as the rendered configuration has
//! it: local preference, then the owner whose name comes last.

use std::collections::BTreeMap;

use wayleave_core::names::Name;
use wayleave_core::node::Event;
use wayleave_core::node::claims::routes::Told;

use crate::wire::MS;
use crate::world::{What, World};

/// What a route is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Client(Name),
    Site(Name),
}

/// All routes.
#[derive(Debug, Default)]
pub struct Routes {
    /// By subject, what each host says.
    said: BTreeMap<Subject, BTreeMap<usize, u32>>,
    /// What each host has heard of last: how much it is preferred, and whose.
    heard: BTreeMap<(usize, Subject), (u32, usize)>,
}

impl World {
    /// A host's BIRD has its sessions for the first time.
    pub fn begin_routes(&mut self, at: usize, is_new: bool) {
        if is_new {
            for said in self.routes.said.values_mut() {
                said.remove(&at);
            }
        }
        self.routes.heard.retain(|(host, _), _| *host != at);
        let subjects: Vec<Subject> = self.routes.said.keys().cloned().collect();
        subjects.into_iter().for_each(|subject| self.spread(subject));
        if self.network.has_claims_by_bgp() {
            self.hear(at, Event::RoutesTold);
        }
    }

    /// A host says something else than before, or nothing any more.
    pub fn say(&mut self, at: usize, subject: Subject, what: Option<u32>) {
        let said = self.routes.said.entry(subject.clone()).or_default();
        match what {
            Some(what) => said.insert(at, what),
            None => said.remove(&at),
        };
        self.spread(subject);
    }

    fn spread(&mut self, subject: Subject) {
        for to in 0..self.hosts.len() {
            let at = self.now + MS + self.dice.roll(110 * MS);
            self.put(at, What::Route(to, subject.clone()));
        }
    }

    /// Links have changed: other owners may be reached than before.
    pub fn choose_again(&mut self, to: usize) {
        let subjects: Vec<Subject> = self.routes.said.keys().cloned().collect();
        subjects.into_iter().for_each(|subject| self.put(self.now + MS, What::Route(to, subject)));
    }

    /// A host takes the best.
    pub fn choose(&mut self, to: usize, subject: Subject) {
        let Some(agent) = &self.hosts[to].agent else { return };
        let reached = agent.reached();
        let others = self.routes.said[&subject].iter().filter(|(of, _)| **of != to);
        let best =
            others.filter(|(of, _)| reached.contains(&self.hosts[**of].name)).map(|(of, what)| (*what, *of)).max();
        let key = (to, subject.clone());
        let before = match best {
            Some(best) => self.routes.heard.insert(key, best),
            None => self.routes.heard.remove(&key),
        };
        if before == best {
            return;
        }
        let told = best.map(|(epoch, of)| Told { epoch, server: self.hosts[of].name.clone() });
        let event = match subject {
            Subject::Client(client) => Event::ClientRoute { client, told },
            Subject::Site(site) => Event::SiteRoute { site, told },
        };
        self.tell(to, event);
    }
}
