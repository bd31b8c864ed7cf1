//! Claims that BGP carries: what is known of each client where the nodes' own exchange does not spread it.
//!
//! In come this node's own claims, and of others' the one that BGP holds for the best, with its epoch and its entry node; out come with
//! whom each client is, and that an own claim has lost. The greater epoch is in force, then the greater name, as everywhere.
//! BGP hides what has lost, since reflectors pass on the best only. So who hears of a better claim takes its own back, and who hears
//! of none has nothing to fear; nothing has to be compared with everybody, and no clocks.
//!
//! A route that goes leaves nothing behind, not even its epoch. Each node remembers the epochs that it has seen for as long as it
//! runs; and for a moment a client counts as being where it was, since routes also go when BIRD is started anew. Where it was itself, that
//! moment is longer: whoever the others send its packets to then does not send them back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::Time;
use crate::limits::{CLAIM_FADES_MS, CLAIM_FADES_MS_OWN, EXCHANGE_GENERATION_MAX};
use crate::names::Name;

/// A claim as a route tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its epoch.
    pub epoch: u32,
    /// The entry node.
    pub server: Name,
}

/// All that is known from routes.
#[derive(Debug, Default)]
pub struct Routes {
    clients: BTreeMap<Name, Known>,
    /// Clients of which no route is left, and until when they count as being where they were.
    fading: BTreeSet<(Time, Name)>,
    /// Whether others' routes are here, as far as there are any.
    pub is_told: bool,
}

#[derive(Debug, Default)]
struct Known {
    own: Option<u32>,
    heard: Option<Told>,
    highest: u32,
    believed: Option<Name>,
    fades_at: Option<Time>,
}

impl Routes {
    /// With whom a client is.
    pub fn holder(&self, client: &Name) -> Option<&Name> {
        self.clients.get(client)?.believed.as_ref()
    }

    /// Whether this node claims it.
    pub fn holds(&self, client: &Name) -> bool {
        self.clients.get(client).is_some_and(|known| known.own.is_some())
    }

    /// This node claims a client. Returns the epoch.
    pub fn claim(&mut self, client: &Name, own: &Name, now: Time) -> u32 {
        let known = self.clients.entry(client.clone()).or_default();
        let epoch = known.highest.saturating_add(1).min(EXCHANGE_GENERATION_MAX);
        self.recall(client, epoch, own, now);
        epoch
    }

    /// This node has claimed a client before it was started. Says whether that still counts.
    pub fn recall(&mut self, client: &Name, epoch: u32, own: &Name, now: Time) -> bool {
        let known = self.clients.entry(client.clone()).or_default();
        known.highest = known.highest.max(epoch);
        known.own = known.own.max(Some(epoch));
        !self.settle(client, own, now)
    }

    /// This node lets a client go. Says whether it claimed it.
    pub fn release(&mut self, client: &Name, own: &Name, now: Time) -> bool {
        let claimed = self.clients.get_mut(client).is_some_and(|known| known.own.take().is_some());
        self.settle(client, own, now);
        claimed
    }

    /// What BGP holds for the best of others' claims of a client is this now. Says whether the own one has lost.
    pub fn hear(&mut self, client: &Name, told: Option<Told>, own: &Name, now: Time) -> bool {
        let known = self.clients.entry(client.clone()).or_default();
        known.highest = known.highest.max(told.as_ref().map_or(0, |told| told.epoch));
        known.heard = told;
        self.settle(client, own, now)
    }

    /// When a client ceases to count as being where it was.
    pub fn wake(&self) -> Time {
        self.fading.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// Clients that are with nobody from now on.
    pub fn faded(&mut self, now: Time) -> Vec<Name> {
        let mut gone = Vec::new();
        while self.wake() <= now
            && let Some((_, client)) = self.fading.pop_first()
        {
            if let Some(known) = self.clients.get_mut(&client) {
                (known.believed, known.fades_at) = (None, None);
            }
            gone.push(client);
        }
        gone
    }

    /// Compares the two claims of a client. Says whether the own one has lost.
    fn settle(&mut self, client: &Name, own: &Name, now: Time) -> bool {
        let Some(known) = self.clients.get_mut(client) else { return false };
        let is_better = |told: &&Told| known.own.is_none_or(|epoch| (told.epoch, &told.server) > (epoch, own));
        let better = known.heard.as_ref().filter(is_better).map(|told| told.server.clone());
        let lost = better.is_some() && known.own.take().is_some();
        let in_force = better.or_else(|| known.own.map(|_| own.clone()));
        let fades = in_force.is_none() && known.believed.is_some();
        match (fades, known.fades_at) {
            (true, None) => {
                let is_own = known.believed.as_ref() == Some(own);
                let at = now.plus(Duration::from_millis(if is_own { CLAIM_FADES_MS_OWN } else { CLAIM_FADES_MS }));
                known.fades_at = Some(at);
                self.fading.insert((at, client.clone()));
            }
            (false, Some(at)) => {
                known.fades_at = None;
                self.fading.remove(&(at, client.clone()));
            }
            (true, Some(_)) | (false, None) => {}
        }
        if in_force.is_some() {
            known.believed = in_force;
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    fn told(epoch: u32, server: &str) -> Option<Told> {
        Some(Told { epoch, server: name(server) })
    }

    #[test]
    fn the_later_claim_is_in_force_and_the_own_one_is_taken_back_when_another_is_later() {
        let (client, own, mut routes) = (name("c1"), name("m"), Routes::default());
        assert_eq!(routes.claim(&client, &own, at(0)), 1);
        assert!(!routes.hear(&client, told(1, "a"), &own, at(1)), "of two with the same epoch the greater name wins");
        assert_eq!(routes.holder(&client), Some(&own));
        assert!(routes.hear(&client, told(1, "z"), &own, at(2)));
        assert_eq!((routes.holder(&client), routes.holds(&client)), (Some(&name("z")), false));
        assert_eq!(routes.claim(&client, &own, at(3)), 2, "it came back");
        assert_eq!(routes.holder(&client), Some(&own));
        assert!(!routes.hear(&client, None, &own, at(4)), "the other has taken its own back");
        assert!(routes.hear(&client, told(7, "a"), &own, at(5)));
        assert_eq!(routes.claim(&client, &own, at(6)), 8);
    }

    #[test]
    fn epochs_are_remembered_when_routes_go() {
        let (client, own, mut routes) = (name("c1"), name("m"), Routes::default());
        routes.hear(&client, told(41, "a"), &own, at(0));
        routes.hear(&client, None, &own, at(1));
        assert_eq!(routes.claim(&client, &own, at(2)), 42);
        routes.release(&client, &own, at(3));
        assert_eq!(routes.claim(&client, &own, at(4)), 43);
        routes.hear(&client, told(EXCHANGE_GENERATION_MAX, "a"), &own, at(5));
        assert_eq!(routes.claim(&client, &own, at(6)), EXCHANGE_GENERATION_MAX, "and there is no more");
    }

    #[test]
    fn who_has_no_route_left_counts_as_being_where_it_was_for_a_while() {
        let (client, own, mut routes) = (name("c1"), name("m"), Routes::default());
        assert_eq!(routes.wake(), Time::NEVER);
        routes.hear(&client, told(5, "a"), &own, at(0));
        routes.hear(&client, None, &own, at(100));
        assert_eq!(routes.holder(&client), Some(&name("a")), "BIRD may only be starting anew");
        routes.hear(&client, None, &own, at(200));
        assert_eq!(routes.wake(), at(100 + CLAIM_FADES_MS));
        routes.hear(&client, told(5, "a"), &own, at(300));
        assert_eq!(routes.wake(), Time::NEVER);
        routes.hear(&client, None, &own, at(400));
        assert!(routes.faded(at(399 + CLAIM_FADES_MS)).is_empty());
        assert_eq!(routes.faded(at(400 + CLAIM_FADES_MS)), std::slice::from_ref(&client));
        assert_eq!((routes.holder(&client), routes.wake()), (None, Time::NEVER));
    }

    #[test]
    fn what_is_left_of_a_time_before_counts_unless_another_is_later() {
        let (client, own) = (name("c1"), name("m"));
        let mut routes = Routes::default();
        assert!(routes.recall(&client, 5, &own, at(0)));
        assert!(routes.holds(&client));
        let mut routes = Routes::default();
        routes.hear(&client, told(6, "a"), &own, at(0));
        assert!(!routes.recall(&client, 5, &own, at(1)));
        assert_eq!(routes.holder(&client), Some(&name("a")));
    }

    /// A client is let go by its server, of which the others hear so many milliseconds later. The longest way that a packet for it
    /// goes at any time, from a server to whom that believes to have it, or to the nearest if nobody has.
    fn longest_way(heard_after_ms: [u64; 2]) -> usize {
        let (client, names) = (name("c1"), ["nearest", "other", "server"].map(name));
        let mut all = [Routes::default(), Routes::default(), Routes::default()];
        all[2].claim(&client, &names[2], at(0));
        for no in 0..2 {
            all[no].hear(&client, told(1, "server"), &names[no], at(0));
        }
        all[2].release(&client, &names[2], at(100));
        let mut longest = 0;
        for ms in 100..100 + CLAIM_FADES_MS_OWN + 2_000 {
            for no in 0..2 {
                if ms == 100 + heard_after_ms[no] {
                    all[no].hear(&client, None, &names[no], at(ms));
                }
            }
            for routes in &mut all {
                routes.faded(at(ms));
            }
            for from in 0..3 {
                let (mut here, mut way) = (from, 0);
                loop {
                    let holder =
                        all[here].holder(&client).map_or(0, |holder| names.iter().position(|n| n == holder).unwrap());
                    if holder == here || way > 5 {
                        break;
                    }
                    (here, way) = (holder, way + 1);
                }
                longest = longest.max(way);
            }
        }
        longest
    }

    #[test]
    fn packets_for_who_was_let_go_do_not_circle_however_late_the_others_hear_of_it() {
        for heard_after_ms in [[1, 1], [1, 900], [900, 1], [300, 700], [1_900, 1_900]] {
            assert!(longest_way(heard_after_ms) <= 2, "{heard_after_ms:?}");
        }
    }
}
