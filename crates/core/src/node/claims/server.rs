//! One entry server's part: which clients it claims, and when it lets them go.
//!
//! In come signs of clients from the clients device, and whom the claims in force say that each is with; out comes what the
//! server is to state. In short:
//!
//! - A new handshake is a claim at once, unless the client is held already.
//! - Packets over an older session are a claim if the client is with nobody, or has been with another server for so long that
//!   they can't have been under way: a client that comes back to a session that still lives makes no handshake.
//! - A client that is held and silent is let go after a quarter of an hour; after half a minute if the server drains, or if only others
//!   remember that it was here before this server started anew.
//! - Until the node has looked around after its start, signs wait: claims made without knowing the others' epochs would lose.
//!
//! A server that drains still claims who is with nobody, or makes a new handshake with it, since nobody else serves such a
//! client; it takes nobody back from another server. What it does about those that it holds is decided in [`super::drain`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::Time;
use super::drain::{self, Drain};
use crate::limits::{CLAIM_CHECK_S, CLAIM_DRAIN_SILENT_S, CLAIM_REMEMBERED_S, CLAIM_SILENT_S};
use crate::names::Name;

/// What the device has shown of a client, the weaker sign first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// It is not, or no longer, with this server.
    Gone,
    /// Packets over a session that is not new.
    Heard,
    /// A new session.
    Here,
}

/// Whom a client is with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// This server.
    Own,
    /// Another one; since a moment ago, or for longer.
    Other {
        /// A moment ago.
        is_new: bool,
    },
    /// Nobody.
    Nobody,
}

/// What a server is to state of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// That it is here.
    Claim,
    /// That it no longer is.
    Release,
}

/// The clients of one server.
#[derive(Debug, Default)]
pub struct Server {
    held: BTreeMap<Name, Heard>,
    /// Signs that wait until the node has looked around.
    waiting: BTreeMap<Name, Sign>,
    /// What has been done about them, if they are to go elsewhere.
    drain: Option<Drain>,
    /// When silent clients are to be looked for; never while none is held.
    check_at: Option<Time>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Time,
    /// Nothing has been heard of it since this server started; others remember that it was here.
    is_remembered: bool,
}

impl Server {
    /// How many clients it holds.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The clients that it holds.
    pub fn all(&self) -> impl Iterator<Item = &Name> {
        self.held.keys()
    }

    /// Whether clients are to go elsewhere.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// From now on clients are to go elsewhere, or no longer.
    pub fn drain(&mut self, drains: bool, now: Time) {
        if drains != self.is_draining() {
            self.drain = drains.then(Drain::default);
        }
        self.check_at = self.next_check(now);
        self.drain.iter_mut().for_each(|drain| drain.note_held(now));
    }

    /// When clients are to be asked for elsewhere.
    pub fn drain_wake(&self) -> Time {
        self.drain.as_ref().map_or(Time::NEVER, Drain::wake)
    }

    /// Another server has been told where a client is.
    pub fn note_offered(&mut self, client: &Name) {
        self.drain.iter_mut().for_each(|drain| drain.note_offered(client));
    }

    /// What is to be done about clients that are to go elsewhere: to one of these servers, the nearest first.
    pub fn poll_drain(&mut self, servers: &[Name], now: Time) -> Vec<drain::Step> {
        let held = self.held.iter().map(|(client, heard)| (client, (!heard.is_remembered).then_some(heard.at)));
        self.drain.as_mut().map_or_else(Vec::new, |drain| drain.poll(held, servers, now))
    }

    /// Keeps a sign until the node has looked around.
    pub fn wait(&mut self, client: Name, sign: Sign) {
        let kept = self.waiting.entry(client).or_insert(sign);
        *kept = if sign == Sign::Gone { sign } else { sign.max(*kept) };
    }

    /// The signs that have waited.
    pub fn take_waiting(&mut self) -> BTreeMap<Name, Sign> {
        std::mem::take(&mut self.waiting)
    }

    /// A sign of a client; `holder` is whom it is with by the claims in force.
    pub fn handle(&mut self, client: &Name, sign: Sign, holder: Holder, now: Time) -> Option<Step> {
        let heard = Heard { at: now, is_remembered: false };
        match (sign, holder) {
            (Sign::Gone, Holder::Own) => Some(Step::Release),
            (Sign::Gone, Holder::Other { .. } | Holder::Nobody) => None,
            (Sign::Here | Sign::Heard, Holder::Own) => {
                if let Some(held) = self.held.get_mut(client) {
                    *held = heard;
                }
                None
            }
            (Sign::Heard, Holder::Other { is_new }) if is_new || self.is_draining() => None,
            (Sign::Here | Sign::Heard, Holder::Other { .. } | Holder::Nobody) => Some(Step::Claim),
        }
    }

    /// The claims in force say that a client is with this server; whether that is the server's own doing, or others' memory.
    pub fn hold(&mut self, client: &Name, is_remembered: bool, now: Time) {
        let heard = Heard { at: now, is_remembered };
        self.held.entry(client.clone()).or_insert(heard);
        self.drain.iter_mut().for_each(|drain| drain.note_held(now));
        let due = self.due(heard).max(now.plus(CHECK));
        self.check_at = Some(self.check_at.map_or(due, |at| at.min(due)));
    }

    /// The claims in force say that it is not.
    pub fn lose(&mut self, client: &Name) {
        self.held.remove(client);
        if self.held.is_empty() {
            self.check_at = None;
        }
    }

    /// When there may be silent clients.
    pub fn wake(&self) -> Time {
        self.check_at.unwrap_or(Time::NEVER)
    }

    /// The clients that have been silent for too long.
    pub fn silent(&mut self, now: Time) -> Vec<Name> {
        let silent = self.held.iter().filter(|(_, heard)| self.due(**heard) <= now);
        let silent: Vec<Name> = silent.map(|(client, _)| client.clone()).collect();
        self.check_at = self.next_check(now);
        silent
    }

    fn next_check(&self, now: Time) -> Option<Time> {
        let due = self.held.values().map(|heard| self.due(*heard)).min();
        due.map(|due| due.max(now.plus(CHECK)))
    }

    fn due(&self, heard: Heard) -> Time {
        let silence = match heard {
            Heard { is_remembered: true, .. } => CLAIM_REMEMBERED_S,
            Heard { is_remembered: false, .. } if self.is_draining() => CLAIM_DRAIN_SILENT_S,
            Heard { is_remembered: false, .. } => CLAIM_SILENT_S,
        };
        heard.at.plus(Duration::from_secs(silence))
    }
}

const CHECK: Duration = Duration::from_secs(CLAIM_CHECK_S);

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Holder = Holder::Other { is_new: false };
    const JUST_OTHER: Holder = Holder::Other { is_new: true };

    fn at(s: u64) -> Time {
        Time::from_us(s * 1_000_000)
    }

    #[test]
    fn what_a_sign_leads_to_depends_on_whom_the_client_is_with() {
        let table = [
            (Sign::Here, Holder::Own, [None, None]),
            (Sign::Here, Holder::Nobody, [Some(Step::Claim), Some(Step::Claim)]),
            (Sign::Here, OTHER, [Some(Step::Claim), Some(Step::Claim)]),
            (Sign::Here, JUST_OTHER, [Some(Step::Claim), Some(Step::Claim)]),
            (Sign::Heard, Holder::Own, [None, None]),
            (Sign::Heard, Holder::Nobody, [Some(Step::Claim), Some(Step::Claim)]),
            (Sign::Heard, OTHER, [Some(Step::Claim), None]),
            (Sign::Heard, JUST_OTHER, [None, None]),
            (Sign::Gone, Holder::Own, [Some(Step::Release), Some(Step::Release)]),
            (Sign::Gone, Holder::Nobody, [None, None]),
            (Sign::Gone, OTHER, [None, None]),
        ];
        let client = Name::new("c1").expect("it is one");
        for (sign, holder, expected) in table {
            for (drains, expected) in [false, true].into_iter().zip(expected) {
                let mut server = Server::default();
                server.drain(drains, at(0));
                assert_eq!(server.handle(&client, sign, holder, at(1)), expected, "{sign:?} {holder:?} {drains}");
            }
        }
    }

    /// A client is held since 0 s and heard at 100 s. Returns when it is let go.
    fn let_go(is_remembered: bool, is_heard: bool, drains_at_s: Option<u64>) -> u64 {
        let (client, mut server) = (Name::new("c1").expect("it is one"), Server::default());
        server.hold(&client, is_remembered, at(0));
        for s in 1..2_000 {
            if is_heard && s == 100 {
                server.handle(&client, Sign::Heard, Holder::Own, at(s));
            }
            if drains_at_s == Some(s) {
                server.drain(true, at(s));
            }
            if server.wake() <= at(s) && !server.silent(at(s)).is_empty() {
                return s;
            }
        }
        0
    }

    #[test]
    fn silence_is_measured_from_the_last_sign_and_is_shorter_for_who_is_only_remembered_or_is_to_go() {
        assert_eq!(let_go(false, false, None), CLAIM_SILENT_S);
        assert_eq!(let_go(false, true, None), 100 + CLAIM_SILENT_S);
        assert_eq!(let_go(true, false, None), CLAIM_REMEMBERED_S);
        assert_eq!(let_go(false, true, Some(110)), 100 + CLAIM_DRAIN_SILENT_S);
        assert_eq!(let_go(false, true, Some(500)), 500 + CLAIM_CHECK_S);
    }

    #[test]
    fn signs_from_before_the_node_has_looked_around_are_kept_one_for_each_client_the_strongest_unless_it_left() {
        let [one, two] = ["c1", "c2"].map(|name| Name::new(name).expect("it is one"));
        let mut server = Server::default();
        for (client, sign) in [(&one, Sign::Here), (&one, Sign::Heard), (&two, Sign::Here), (&two, Sign::Gone)] {
            server.wait(client.clone(), sign);
        }
        assert_eq!(server.take_waiting(), BTreeMap::from([(one, Sign::Here), (two, Sign::Gone)]));
        assert!(server.take_waiting().is_empty());
    }
}
