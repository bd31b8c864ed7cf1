//! A server that drains: it has other entry servers call the clients that it holds, so that they need not notice anything.
//!
//! In come the clients that the server holds, when each was last heard, and the entry servers that could have them, the nearest first;
//! out comes who is to call whom and by which way, and who is let go. Each client is asked for twice at the nearest server, which calls
//! it from an address of its own, so that the client speaks with that server from then on, whatever a load balancer does. A NAT
//! that lets in nothing but answers drops such a call; so the third one goes through the draining server, which the client knows.
//! Then the next server has its turn. A client that says nothing to all that is let go, as is one that was never heard here. Whoever another server
//! claims is no longer held, which ends all this. A few clients are asked for at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::Time;
use crate::limits::{
    DRAIN_ASK_MS, DRAIN_ASK_MS_LATER, DRAIN_ASKS_MAX, DRAIN_ASKS_PER_TURN, DRAIN_DIRECT_ASKS, DRAIN_TURN_MS,
};
use crate::names::Name;

/// How another server calls a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From an address of its own.
    Direct,
    /// Through the server that the client is with.
    Relayed,
}

/// What is to be done about a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another server is to call it.
    HandOver {
        /// The client.
        client: Name,
        /// The server.
        to: Name,
        /// How.
        way: Way,
    },
    /// It is with nobody from now on.
    Release(Name),
}

/// What has been done about each client.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    asked: BTreeMap<Name, Asked>,
    /// When to go on; none: nobody is here.
    turn_at: Option<Time>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    since: Time,
    times: usize,
    next_at: Time,
    /// Whether somebody could be told where it is.
    is_offered: bool,
}

impl Drain {
    /// A client is here.
    pub fn note_held(&mut self, now: Time) {
        self.turn_at = Some(self.turn_at.map_or(now, |at| at.min(now.plus(TURN))));
    }

    /// A server has been told where a client is.
    pub fn note_offered(&mut self, client: &Name) {
        if let Some(asked) = self.asked.get_mut(client) {
            asked.is_offered = true;
        }
    }

    /// When there is something to do.
    pub fn wake(&self) -> Time {
        self.turn_at.unwrap_or(Time::NEVER)
    }

    /// What is to be done; `held` is each client with the time when it was last heard, if it ever was.
    pub fn poll<'a>(
        &mut self,
        held: impl Iterator<Item = (&'a Name, Option<Time>)>,
        servers: &[Name],
        now: Time,
    ) -> Vec<Step> {
        let (mut steps, mut next_at) = (Vec::new(), Time::NEVER);
        let mut before = std::mem::take(&mut self.asked);
        for (client, heard) in held {
            let (name, mut asked) = before
                .remove_entry(client)
                .unwrap_or((client.clone(), Asked { since: now, times: 0, next_at: now, is_offered: false }));
            if asked.next_at <= now && steps.len() < DRAIN_ASKS_PER_TURN {
                steps.extend(asked.step(client, heard, servers, now));
            }
            next_at = next_at.min(asked.next_at);
            self.asked.insert(name, asked);
        }
        self.turn_at = (next_at != Time::NEVER).then(|| next_at.max(now.plus(TURN)));
        steps
    }
}

impl Asked {
    fn step(&mut self, client: &Name, heard: Option<Time>, servers: &[Name], now: Time) -> Option<Step> {
        if self.times >= DRAIN_ASKS_MAX {
            // Who lives and is reached by nobody is served from here, and asked for again later.
            let is_silent = heard.is_none_or(|heard| self.is_offered && heard <= self.since);
            *self = Asked { since: now, times: 0, next_at: now.plus(LATER), is_offered: false };
            return is_silent.then(|| Step::Release(client.clone()));
        }
        self.next_at = now.plus(SOON);
        let (server, way) = turn(self.times, servers.len())?;
        self.times += 1;
        Some(Step::HandOver { client: client.clone(), to: servers.get(server)?.clone(), way })
    }
}

/// Which of so many servers has its turn, and how it is to call.
fn turn(times: usize, servers: usize) -> Option<(usize, Way)> {
    let per_server = DRAIN_DIRECT_ASKS + 1;
    let way = if times % per_server < DRAIN_DIRECT_ASKS { Way::Direct } else { Way::Relayed };
    Some(((times / per_server).checked_rem(servers)?, way))
}

const TURN: Duration = Duration::from_millis(DRAIN_TURN_MS);
const SOON: Duration = Duration::from_millis(DRAIN_ASK_MS);
const LATER: Duration = Duration::from_millis(DRAIN_ASK_MS_LATER);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    /// Drains for six seconds, with one client that was last heard then, and of which it `knows` where it is. Returns what is done, and when.
    fn drained(heard_ms: Option<u64>, knows: bool, servers: &[&str]) -> Vec<String> {
        let servers: Vec<Name> = servers.iter().map(|server| name(server)).collect();
        let (client, mut drain, mut log) = (name("c1"), Drain::default(), Vec::new());
        drain.note_held(at(1_000));
        for ms in 1_000..7_000 {
            if drain.wake() > at(ms) {
                continue;
            }
            for step in drain.poll([(&client, heard_ms.map(|heard| at(heard.min(ms))))].into_iter(), &servers, at(ms)) {
                if knows {
                    drain.note_offered(&client);
                }
                log.push(match step {
                    Step::HandOver { to, way, .. } => format!("{ms} {to} {way:?}"),
                    Step::Release(_) => return [log, vec![format!("{ms} released")]].concat(),
                });
            }
        }
        log
    }

    #[test]
    fn each_server_is_asked_to_call_a_client_itself_and_then_through_this_one() {
        let expected = [
            "1000 b Direct",
            "1700 b Direct",
            "2400 b Relayed",
            "3100 c Direct",
            "3800 c Direct",
            "4500 c Relayed",
            "5200 released",
        ];
        assert_eq!(drained(Some(0), true, &["b", "c"]), expected, "who is silent is let go within five seconds");
        assert_eq!(drained(None, false, &["b", "c"]), expected, "and who only others remember");
        let heard = drained(Some(6_000), true, &["b", "c"]);
        assert_eq!(heard, expected[..6], "who is heard is served from here, and is left in peace for a while");
        assert_eq!(drained(Some(0), false, &["b", "c"]), expected[..6], "nobody could call it");
        assert!(drained(Some(6_000), true, &["b"])[3..].iter().all(|line| line.contains(" b ")));
    }

    #[test]
    fn without_another_server_nobody_is_asked_and_nobody_let_go() {
        assert_eq!(drained(Some(0), true, &[]), [""; 0]);
    }

    #[test]
    fn few_are_asked_for_at_a_time_and_all_within_seconds() {
        let clients: Vec<Name> = (0..1_000).map(|n| name(&format!("c{n}"))).collect();
        let mut asked = BTreeMap::new();
        let mut drain = Drain::default();
        drain.note_held(at(0));
        for ms in 0..3_000 {
            if drain.wake() > at(ms) {
                continue;
            }
            let held = clients.iter().filter(|client| !asked.contains_key(*client)).map(|client| (client, Some(at(0))));
            let steps = drain.poll(held, &[name("b")], at(ms));
            assert!(steps.len() <= DRAIN_ASKS_PER_TURN);
            // The server takes each at once.
            for step in steps {
                let Step::HandOver { client, .. } = step else { panic!("{step:?}") };
                asked.insert(client, ms);
            }
        }
        assert_eq!(asked.len(), 1_000);
        assert!(asked.values().all(|ms| *ms < 2_000), "{:?}", asked.values().max());
    }

    #[test]
    fn whoever_comes_while_it_drains_is_asked_for_as_well() {
        let (client, mut drain) = (name("c1"), Drain::default());
        assert_eq!(drain.wake(), Time::NEVER);
        drain.note_held(at(0));
        assert_eq!(drain.poll(std::iter::empty(), &[name("b")], at(0)), []);
        assert_eq!(drain.wake(), Time::NEVER, "nobody is here");
        drain.note_held(at(50_000));
        assert_eq!(drain.poll([(&client, Some(at(50_000)))].into_iter(), &[name("b")], drain.wake()).len(), 1);
    }
}
