//! Calls of clients by a device that takes no orders: the kernel's, whose timestamps are its clock's, and which says nothing.
//!
//! A server that drains offers a client, another one calls it. The engine does that with one order; the kernel's WireGuard
//! starts a handshake when a peer without sessions gets keepalives, so its peer is put in anew with the client's address. Here is
//! decided what follows: in come the call, the new session that was found, and the time; out come further keepalives
//! ([`Step::Nudge`]), and when all is to be as it was. A client that has gone over is led back by each packet that the server which it
//! left had under way to it, since WireGuard answers to where the last good packet came from; and that server, if it is the
//! kernel's, can't open what comes then. The next keepalive leads the client to its new server again. A call that nobody answers is
//! taken back.
//!
//! A client takes handshakes of its server only with timestamps later than all before ([`may_call`]); what a kernel's device has sent is
//! not known, so that it is offered at first as if it had sent nothing, and then with the present time ([`Offered`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::super::Time;
use crate::limits::{CALL_MS_MAX, NUDGES_MS};
use crate::names::Name;
use crate::node::handover::LABEL_BYTES;

/// TAI64's label of the second in which Unix time begins, as WireGuard's implementations have it.
const UNIX_EPOCH: u64 = 0x4000_0000_0000_000a;
/// Timestamps of the kernel's WireGuard are multiples of this: a power of two below a fiftieth of a second.
const GRAIN_NS: u32 = 1 << 24;

/// The calls that are under way.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    all: BTreeMap<Name, Call>,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    place: SocketAddr,
    /// When it was made, or answered.
    since: Time,
    /// Nudges that were given; none: it is not answered yet.
    nudges: Option<usize>,
}

/// What is to be done about a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is sent a keepalive where it was called: what it sent by way of the other server has its server answer there.
    Nudge(Name, SocketAddr),
    /// It has gone over: nothing more is to be done, keepalives are as planned.
    Rest(Name),
    /// It does not answer: its peer is as one that never was heard.
    GiveUp(Name),
}

impl Calls {
    /// A client is called at an address.
    pub fn handle_call(&mut self, client: &Name, place: SocketAddr, now: Time) {
        self.all.insert(client.clone(), Call { place, since: now, nudges: None });
    }

    /// A client has a new session here, or one that goes on; whether it was called.
    pub fn handle_answer(&mut self, client: &Name, now: Time) -> bool {
        let Some(call) = self.all.get_mut(client) else { return false };
        (call.since, call.nudges) = (now, Some(0));
        true
    }

    /// When there is something to do.
    pub fn wake(&self) -> Time {
        self.all.values().map(|call| call.due()).min().unwrap_or(Time::NEVER)
    }

    /// What is to be done.
    pub fn poll(&mut self, now: Time) -> Vec<Step> {
        let due = self.all.iter_mut().filter(|(_, call)| call.due() <= now);
        let steps: Vec<Step> = due.map(|(client, call)| call.step(client)).collect();
        for step in &steps {
            if let Step::Rest(client) | Step::GiveUp(client) = step {
                self.all.remove(client);
            }
        }
        steps
    }
}

impl Call {
    fn due(&self) -> Time {
        let ms = self.nudges.map_or(CALL_MS_MAX, |nudges| NUDGES_MS.get(nudges).copied().unwrap_or(LAST_MS));
        self.since.plus(Duration::from_millis(ms))
    }

    fn step(&mut self, client: &Name) -> Step {
        match &mut self.nudges {
            None => Step::GiveUp(client.clone()),
            Some(nudges) if *nudges < NUDGES_MS.len() => {
                *nudges += 1;
                Step::Nudge(client.clone(), self.place)
            }
            Some(_) => Step::Rest(client.clone()),
        }
    }
}

/// When keepalives are as planned again: the last has been sent.
const LAST_MS: u64 = NUDGES_MS[NUDGES_MS.len() - 1] + 1;

/// Which clients a server with the kernel's WireGuard has offered.
#[derive(Debug, Clone, Default)]
pub struct Offered {
    all: BTreeSet<Name>,
}

impl Offered {
    /// The timestamp that a client is said to have seen, in an offer at this time. At first none: the other server's clock has a say
    /// in it as long as that suffices, since whoever is called with a time of the future can be called by nobody else until then.
    pub fn seen(&mut self, client: &Name, unix: Duration) -> Option<[u8; LABEL_BYTES]> {
        (!self.all.insert(client.clone())).then(|| label(unix))
    }

    /// It drains no more, or begins to.
    pub fn clear(&mut self) {
        self.all.clear();
    }
}

/// Whether a client that has `seen` a timestamp heeds a handshake of the kernel's at this time.
pub fn may_call(seen: Option<[u8; LABEL_BYTES]>, unix: Duration) -> bool {
    seen.is_none_or(|seen| label(unix) > seen)
}

/// The timestamp of a handshake that the kernel's WireGuard makes at this time.
fn label(unix: Duration) -> [u8; LABEL_BYTES] {
    let mut label = [0; LABEL_BYTES];
    let (seconds, nanoseconds) = label.split_at_mut(8);
    seconds.copy_from_slice(&UNIX_EPOCH.saturating_add(unix.as_secs()).to_be_bytes());
    nanoseconds.copy_from_slice(&(unix.subsec_nanos() / GRAIN_NS * GRAIN_NS).to_be_bytes());
    label
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

    /// Calls a client at these milliseconds, which answers at those. Returns what is done, and when.
    fn called(calls_ms: &[u64], answers_ms: &[u64]) -> Vec<String> {
        let (mut calls, client, mut log) = (Calls::default(), name("c1"), Vec::new());
        for ms in 0..10_000 {
            if calls_ms.contains(&ms) {
                calls.handle_call(&client, SocketAddr::from(([192, 0, 2, 1], 1)), at(ms));
            }
            if answers_ms.contains(&ms) {
                calls.handle_answer(&client, at(ms));
            }
            if calls.wake() <= at(ms) {
                log.extend(calls.poll(at(ms)).into_iter().map(|step| format!("{ms} {step:?}")));
            }
        }
        assert_eq!(calls.wake(), Time::NEVER);
        log
    }

    #[test]
    fn who_answers_is_nudged_a_few_times_and_then_left_in_peace() {
        let nudges = [130, 200, 350, 600, 1_000, 2_100].map(|ms| format!("{ms} Nudge(\"c1\", 192.0.2.1:1)"));
        assert_eq!(called(&[0], &[100]), [&nudges[..], &["2101 Rest(\"c1\")".to_owned()]].concat());
        assert_eq!(called(&[], &[100]), [""; 0], "nobody called it");
    }

    #[test]
    fn a_call_without_an_answer_is_taken_back_before_the_kernel_makes_another() {
        assert_eq!(called(&[0], &[]), ["3000 GiveUp(\"c1\")"]);
        assert_eq!(called(&[0, 700], &[]), ["3700 GiveUp(\"c1\")"], "after the last one");
        assert_eq!(called(&[0], &[3_500]), ["3000 GiveUp(\"c1\")"]);
    }

    #[test]
    fn a_client_that_is_called_again_is_nudged_anew() {
        let log = called(&[0, 1_000], &[100, 1_100]);
        assert_eq!(log.iter().filter(|line| line.contains("Nudge")).count(), 4 + NUDGES_MS.len(), "{log:?}");
        assert_eq!(log.last().map(String::as_str), Some("3101 Rest(\"c1\")"));
    }

    #[test]
    fn labels_are_those_of_the_kernel_and_later_than_what_a_client_has_seen_or_not_used() {
        let unix = Duration::new(1_700_000_000, 0x0123_4567);
        assert_eq!(label(unix), [0x40, 0, 0, 0, 0x65, 0x53, 0xf1, 0x0a, 0x01, 0, 0, 0]);
        assert!(may_call(None, unix));
        assert!(!may_call(Some(label(unix)), unix), "the same is a replay");
        assert!(may_call(Some(label(unix)), unix + Duration::from_millis(17)));
        assert!(!may_call(Some(label(unix + Duration::from_secs(3_600))), unix), "that clock was ahead of this one");
    }

    #[test]
    fn a_client_is_offered_with_the_time_only_if_that_was_in_vain_before() {
        let (mut offered, unix) = (Offered::default(), Duration::from_secs(1_700_000_000));
        assert_eq!(offered.seen(&name("c1"), unix), None);
        assert_eq!(offered.seen(&name("c2"), unix), None);
        assert_eq!(offered.seen(&name("c1"), unix), Some(label(unix)));
        offered.clear();
        assert_eq!(offered.seen(&name("c1"), unix), None);
    }
}
