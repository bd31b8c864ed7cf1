//! Clients that come to another entry server with a session of the one they were with before: what becomes of their packets.
//!
//! In come datagrams that the server can't open and whose index says whose they are, and what the owner says of them; out comes
//! whether to pass a datagram on, and when the server is to call the client itself. A flow is all that comes from one address.
//! Whoever sends is unknown until the owner has opened a packet of his, so that few datagrams are passed on for flows that
//! nobody has vouched for, and few such flows begin in a second: a stranger can hardly make two servers talk, and can
//! make none call anybody. Flows that nothing comes over are forgotten.
//!
//! A server that drains uses the same way in the other direction: it offers a client of its own to another server ([`Offer`]), whose
//! call and session then go through it as a flow of its own making ([`Handover::lead`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Time;
use crate::keys::{KEY_BYTES, PublicKey};
use crate::limits::{
    HANDOVER_AGAIN_MS, HANDOVER_CALL_DOUBLINGS_MAX, HANDOVER_CALL_MS, HANDOVER_FLOWS_MAX, HANDOVER_FLOWS_MAX_DRAINING,
    HANDOVER_FLOWS_PER_S, HANDOVER_SILENT_MS, HANDOVER_SILENT_MS_DRAINING, HANDOVER_UNKNOWN_DATAGRAMS_MAX,
};
use crate::names::Name;

/// First byte of what the owner says; WireGuard's messages begin with 1 to 4.
const VOUCHER: u8 = 0xc0;
/// Bytes of a TAI64N label.
pub const LABEL_BYTES: usize = 12;

/// Who is with whom for the moment.
#[derive(Debug, Default)]
pub struct Handover {
    flows: BTreeMap<SocketAddr, Flow>,
    /// Flows that began in the second that began then.
    begun: (Time, usize),
    is_draining: bool,
}

#[derive(Debug)]
struct Flow {
    /// The server that has the session.
    owner: u8,
    local: Option<IpAddr>,
    /// Whether something was passed on, or may be.
    is_open: bool,
    /// Whether its client was given away, to go on through here.
    is_led: bool,
    /// Datagrams passed on before anybody vouched for them.
    unknown: usize,
    /// When somebody vouched for it.
    vouched: Option<Time>,
    /// The client, once the owner has said who it is, and how often it was called.
    called: Option<(Voucher, u32)>,
    /// When it is to be called again if it still comes by this flow.
    call_at: Time,
    /// When its client was offered to the owner, which calls it from elsewhere.
    offered: Option<Time>,
    /// Whether the owner has answered by it, though it was to call its client from elsewhere: a late packet of this server's own
    /// session has led the client back here (a peer's endpoint follows whatever it can open), with the owner's session.
    is_answered: bool,
    heard: Time,
}

impl Flow {
    fn new(owner: u8, local: Option<IpAddr>, now: Time) -> Flow {
        Flow {
            owner,
            local,
            is_open: false,
            is_led: false,
            unknown: 0,
            vouched: None,
            called: None,
            call_at: now,
            offered: None,
            is_answered: false,
            heard: now,
        }
    }

    /// Whether it is the way between a client and the owner, as far as the owner has shown.
    fn is_way(&self) -> bool {
        self.vouched.is_some() || self.is_answered
    }

    fn open(&mut self) -> Passing {
        if std::mem::replace(&mut self.is_open, true) { Passing::On } else { Passing::Begin }
    }
}

/// What to do with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// Nothing.
    Drop,
    /// Pass it on over the flow that there is.
    On,
    /// Pass it on over a new flow.
    Begin,
}

/// A client that a draining server offers to another one, which is to call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The client.
    pub client: Name,
    /// Where it is called.
    pub place: Place,
    /// The latest TAI64N label that it is known to have seen from an entry server: as in a [`Voucher`].
    pub seen: Option<[u8; LABEL_BYTES]>,
}

/// Where a client is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// At its own address.
    At(SocketAddr),
    /// At this UDP port of the link address of the server that offers it.
    Port(u16),
}

/// What a session's owner says of a flow: it is this client, who has proved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voucher {
    /// The client.
    pub client: PublicKey,
    /// The latest TAI64N label that the owner knows the client to have seen, if any: a handshake with an earlier one is a replay
    /// to it.
    pub seen: Option<[u8; LABEL_BYTES]>,
}

impl Handover {
    /// A datagram has come from `source` that the server with number `owner` can open.
    pub fn pass(&mut self, source: SocketAddr, local: Option<IpAddr>, owner: u8, now: Time) -> Passing {
        if let Some(flow) = self.flows.get_mut(&source).filter(|flow| flow.owner == owner) {
            // Who comes after a pause was with the owner meanwhile, which will vouch anew. A call before that, by what was known then,
            // and the one that follows would take each other's place, and packets of the first session would be lost.
            if now.since(flow.heard) >= Duration::from_millis(HANDOVER_CALL_MS) {
                flow.called = None;
            }
            flow.heard = now;
            flow.unknown += usize::from(flow.vouched.is_none());
            let passes = flow.vouched.is_some() || flow.unknown <= HANDOVER_UNKNOWN_DATAGRAMS_MAX;
            return if passes { flow.open() } else { Passing::Drop };
        }
        if now.since(self.begun.0) >= Duration::from_secs(1) {
            self.begun = (now, 0);
        }
        let is_full = self.flows.len() >= HANDOVER_FLOWS_MAX && !self.flows.contains_key(&source);
        if is_full || self.begun.1 >= HANDOVER_FLOWS_PER_S {
            return Passing::Drop;
        }
        self.begun.1 += 1;
        self.flows.insert(source, Flow { unknown: 1, is_open: true, ..Flow::new(owner, local, now) });
        Passing::Begin
    }

    /// The server gives the client of a flow away to the one with number `owner`, which need not vouch for it: all that comes from
    /// there is for that one. Says whether there is such a flow already.
    pub fn lead(&mut self, source: SocketAddr, local: Option<IpAddr>, owner: u8, now: Time) -> Passing {
        if let Some(flow) = self.flows.get_mut(&source).filter(|flow| flow.owner == owner) {
            (flow.vouched, flow.heard, flow.is_led) = (flow.vouched.or(Some(now)), now, true);
            flow.local = local.or(flow.local);
            return flow.open();
        }
        if self.flows.len() >= HANDOVER_FLOWS_MAX_DRAINING && !self.flows.contains_key(&source) {
            return Passing::Drop;
        }
        let flow = Flow { vouched: Some(now), is_open: true, is_led: true, ..Flow::new(owner, local, now) };
        self.flows.insert(source, flow);
        Passing::Begin
    }

    /// The server offers the client of a flow to the one with number `owner`, which calls it from an address of its own: what still
    /// comes here meanwhile may be for that one, whatever it looks like. Says whether it is to be passed on.
    pub fn offer(&mut self, source: SocketAddr, owner: u8, now: Time) -> bool {
        if let Some(flow) = self.flows.get_mut(&source).filter(|flow| flow.owner == owner) {
            flow.offered = Some(now);
            return true;
        }
        let is_led = |flow: &Flow| flow.vouched.is_some();
        if self.flows.get(&source).map_or(self.flows.len() >= HANDOVER_FLOWS_MAX_DRAINING, is_led) {
            return false;
        }
        self.flows.insert(source, Flow { offered: Some(now), ..Flow::new(owner, None, now) });
        true
    }

    /// A datagram has come from `source` for a session that this server does not have. If the client there was given away or
    /// offered, the number of the server that it is for, whatever it looks like: sessions of the kernel's WireGuard don't say whose
    /// they are. What strangers send is never passed on so.
    pub fn pass_any(&mut self, source: SocketAddr, local: Option<IpAddr>, now: Time) -> Option<(u8, Passing)> {
        let is_given = |flow: &&mut Flow| flow.is_led || flow.offered.is_some();
        let flow = self.flows.get_mut(&source).filter(is_given)?;
        flow.local = local.or(flow.local);
        if flow.is_way() {
            flow.heard = now;
        }
        Some((flow.owner, flow.open()))
    }

    /// From now on clients reach other servers through this one for as long as they like, or no longer: then all begins anew, so
    /// that this server gets those back that come here. Returns the flows that are forgotten.
    pub fn set_draining(&mut self, is_draining: bool) -> Vec<SocketAddr> {
        let ends = std::mem::replace(&mut self.is_draining, is_draining) && !is_draining;
        let gone = if ends { std::mem::take(&mut self.flows) } else { BTreeMap::new() };
        gone.into_keys().collect()
    }

    /// How many clients go on through this server that are with another one.
    pub fn led(&self) -> usize {
        self.flows.values().filter(|flow| flow.is_way()).count()
    }

    /// The owner has vouched for a flow. Says whether that is news: then the server is to call the client there, and one that drains
    /// is to have the owner call it. A client that was with the owner again meanwhile comes by the same flow, and is called again.
    pub fn vouch(&mut self, source: SocketAddr, voucher: Voucher, now: Time) -> bool {
        let Some(flow) = self.flows.get_mut(&source) else { return false };
        let again = |at| now.since(at) >= Duration::from_millis(HANDOVER_AGAIN_MS);
        let is_news = flow.vouched.is_none_or(again);
        if is_news {
            flow.vouched = Some(now);
            (flow.called, flow.call_at) = (Some((voucher, 0)), now.plus(Duration::from_millis(HANDOVER_CALL_MS)));
        }
        is_news
    }

    /// Asked whenever a datagram was passed on: who is to be called again, since a call should have ended that. Either the call was
    /// lost, or what confirms the new session to the client; until then it goes on with the old one.
    pub fn call_again(&mut self, source: SocketAddr, now: Time) -> Option<Voucher> {
        let flow = self.flows.get_mut(&source).filter(|flow| !self.is_draining && now >= flow.call_at)?;
        let (voucher, calls) = flow.called.as_mut()?;
        *calls = (*calls + 1).min(HANDOVER_CALL_DOUBLINGS_MAX);
        flow.call_at = now.plus(Duration::from_millis(HANDOVER_CALL_MS << *calls));
        Some(*voucher)
    }

    /// The owner has answered by a flow. Where that leaves from; none if there is no such flow any more.
    pub fn answer(&mut self, source: SocketAddr) -> Option<Option<IpAddr>> {
        let flow = self.flows.get_mut(&source)?;
        flow.is_answered = true;
        Some(flow.local)
    }

    /// Forgets flows over which nothing has come for a while, and returns them.
    pub fn expire(&mut self, now: Time) -> Vec<SocketAddr> {
        let lasts = |is_way| {
            Duration::from_millis(if is_way && self.is_draining {
                HANDOVER_SILENT_MS_DRAINING
            } else {
                HANDOVER_SILENT_MS
            })
        };
        let is_silent = |flow: &Flow| {
            let offered = flow.offered.unwrap_or_default();
            now.since(flow.heard.max(offered)) >= lasts(flow.is_way())
        };
        let gone: Vec<SocketAddr> =
            self.flows.iter().filter(|(_, flow)| is_silent(flow)).map(|(source, _)| *source).collect();
        for source in &gone {
            self.flows.remove(source);
        }
        gone
    }
}

impl Voucher {
    /// As it is sent: a byte, the key, and the label if there is one.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VOUCHER];
        bytes.extend(self.client.as_bytes());
        bytes.extend(self.seen.iter().flatten());
        bytes
    }

    /// Reads one; none if it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Voucher> {
        let (_, rest) = bytes.split_first().filter(|(kind, _)| **kind == VOUCHER)?;
        let (key, label) = rest.split_first_chunk::<KEY_BYTES>()?;
        let seen = if label.is_empty() { None } else { Some(label.try_into().ok()?) };
        Some(Voucher { client: PublicKey::from_bytes(*key), seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(host: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], host))
    }

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    fn laptop() -> Voucher {
        Voucher { client: PublicKey::from_bytes([7; 32]), seen: Some([9; LABEL_BYTES]) }
    }

    #[test]
    fn who_goes_on_with_its_old_session_after_a_call_is_called_again_ever_less_often() {
        let mut handover = Handover::default();
        assert_eq!(handover.pass(from(1), None, 3, at(0)), Passing::Begin);
        let called = |handover: &mut Handover, from_ms: u64, to_ms: u64| -> Vec<u64> {
            let packets = (from_ms..to_ms).step_by(10).filter(|ms| {
                handover.pass(from(1), None, 3, at(*ms));
                handover.call_again(from(1), at(*ms)).is_some_and(|voucher| voucher == laptop())
            });
            packets.collect()
        };
        assert_eq!(called(&mut handover, 0, 500), [0; 0], "nobody knows who it is");
        assert!(handover.vouch(from(1), laptop(), at(500)));
        assert_eq!(called(&mut handover, 500, 130_000), [1_500, 3_500, 7_500, 15_500, 31_500, 63_500, 127_500]);
        assert!(handover.vouch(from(1), laptop(), at(130_000)));
        assert_eq!(
            called(&mut handover, 132_000, 140_000),
            [0; 0],
            "after a pause it is for the owner to say who it is"
        );
        assert!(handover.vouch(from(1), laptop(), at(140_000)));
        handover.set_draining(true);
        assert_eq!(called(&mut handover, 140_000, 150_000), [0; 0], "who drains leaves it with the other server");
        assert_eq!(handover.call_again(from(2), at(0)), None);
    }

    #[test]
    fn few_datagrams_pass_before_somebody_vouches_for_them_and_all_after() {
        let mut handover = Handover::default();
        assert_eq!(handover.pass(from(1), None, 3, at(0)), Passing::Begin);
        let passed = (0..100).filter(|ms| handover.pass(from(1), None, 3, at(*ms)) == Passing::On).count();
        assert_eq!(passed, HANDOVER_UNKNOWN_DATAGRAMS_MAX - 1);
        assert!(handover.vouch(from(1), laptop(), at(1)));
        assert!(!handover.vouch(from(1), laptop(), at(1)), "once");
        assert!(!handover.vouch(from(2), laptop(), at(1)), "nobody asked");
        assert_eq!((0..100).filter(|ms| handover.pass(from(1), None, 3, at(*ms)) == Passing::On).count(), 100);
    }

    #[test]
    fn flows_are_few_and_begin_slowly_and_end_when_nothing_comes() {
        let mut handover = Handover::default();
        let mut begin = |second: u64| {
            let mut begins = |port: u16| {
                handover.pass(from(port + 1_000 * second as u16), None, 1, at(second * 1_000)) != Passing::Drop
            };
            (0..1_000).filter(|port| begins(*port)).count()
        };
        assert_eq!(begin(1), HANDOVER_FLOWS_PER_S);
        let all: usize = (2..30).map(&mut begin).sum();
        assert_eq!(all, HANDOVER_FLOWS_MAX - HANDOVER_FLOWS_PER_S);
        assert_eq!(handover.expire(at(29_000)).len(), HANDOVER_FLOWS_MAX, "the last began before");
        assert_eq!(handover.answer(from(1_001)), None);
    }

    #[test]
    fn a_flow_that_goes_to_another_owner_begins_anew() {
        let mut handover = Handover::default();
        assert_eq!(handover.pass(from(1), None, 3, at(0)), Passing::Begin);
        assert!(handover.vouch(from(1), laptop(), at(1)));
        assert_eq!(handover.pass(from(1), None, 4, at(1)), Passing::Begin);
        assert!(handover.vouch(from(1), laptop(), at(1)), "the new owner has not spoken yet");
    }

    #[test]
    fn a_client_that_goes_back_to_its_owner_and_comes_again_is_called_again() {
        let mut handover = Handover::default();
        assert_eq!(handover.pass(from(1), None, 3, at(0)), Passing::Begin);
        assert!(handover.vouch(from(1), laptop(), at(200)));
        assert_eq!(handover.pass(from(1), None, 3, at(900)), Passing::On, "the flow is still there");
        assert!(handover.vouch(from(1), laptop(), at(1_100)));
    }

    #[test]
    fn who_is_given_away_by_a_draining_server_goes_through_it_until_it_has_been_silent_for_a_sessions_life() {
        let mut handover = Handover::default();
        handover.set_draining(true);
        assert_eq!(handover.lead(from(1), None, 3, at(0)), Passing::Begin);
        assert_eq!(handover.lead(from(1), None, 3, at(1)), Passing::On);
        assert_eq!(handover.pass(from(2), None, 3, at(1)), Passing::Begin);
        assert!((0..1_000).all(|ms| handover.pass(from(1), None, 3, at(ms)) == Passing::On));
        assert_eq!(
            (handover.led(), handover.vouch(from(1), laptop(), at(1))),
            (1, false),
            "nobody has to vouch for it"
        );
        assert!(handover.vouch(from(1), laptop(), at(999)), "it has come back this way");
        assert!(!handover.vouch(from(1), laptop(), at(1_000)));
        assert_eq!(handover.expire(at(60_000)), [from(2)]);
        assert_eq!(handover.expire(at(999 + HANDOVER_SILENT_MS_DRAINING)), [from(1)]);
        assert_eq!(handover.lead(from(1), None, 3, at(0)), Passing::Begin);
        assert_eq!(handover.set_draining(false), [from(1)]);
        assert_eq!(handover.pass(from(1), None, 3, at(1)), Passing::Begin, "its owner is to vouch for it from now on");
        for port in 0..HANDOVER_FLOWS_MAX_DRAINING as u16 {
            handover.lead(from(port), None, 3, at(2));
        }
        assert_eq!(handover.lead(from(60_000), None, 3, at(3)), Passing::Drop);
    }

    #[test]
    fn what_comes_from_an_offered_client_is_passed_on_for_a_while_and_from_one_that_is_led_for_as_long_as_it_comes() {
        let mut handover = Handover::default();
        handover.set_draining(true);
        let local = Some(IpAddr::from([198, 51, 100, 1]));
        let passed = |handover: &mut Handover, port, ms| handover.pass_any(from(port), local, at(ms));
        assert_eq!(passed(&mut handover, 1, 0), None, "nobody offered it");
        assert!(handover.offer(from(1), 3, at(0)) && handover.offer(from(1), 3, at(1)));
        assert_eq!(passed(&mut handover, 1, 1), Some((3, Passing::Begin)), "the first");
        assert!((0..1_000).all(|ms| passed(&mut handover, 1, ms) == Some((3, Passing::On))));
        assert_eq!((handover.led(), handover.answer(from(1))), (0, Some(local)), "it is to come another way");
        assert_eq!(handover.expire(at(HANDOVER_SILENT_MS)), []);
        assert_eq!(handover.lead(from(1), None, 3, at(1)), Passing::On);
        assert_eq!((handover.led(), handover.answer(from(1))), (1, Some(local)));
        assert!(!handover.offer(from(1), 4, at(2)), "it goes on by the way that it has");
        assert!(handover.offer(from(2), 4, at(1)) && handover.offer(from(2), 3, at(2)));
        assert_eq!(passed(&mut handover, 2, 2_000), Some((3, Passing::Begin)), "to who was asked last");
        assert_eq!(handover.expire(at(HANDOVER_SILENT_MS + 2)), [from(2)], "what it sends does not keep it");
        assert!(passed(&mut handover, 1, HANDOVER_SILENT_MS_DRAINING).is_some());
        assert_eq!(handover.expire(at(HANDOVER_SILENT_MS_DRAINING + 2)), []);
    }

    #[test]
    fn an_offered_client_by_whose_flow_the_owner_answers_goes_on_by_it() {
        let mut handover = Handover::default();
        handover.set_draining(true);
        let local = Some(IpAddr::from([198, 51, 100, 1]));
        assert!(handover.offer(from(1), 3, at(0)));
        assert_eq!(handover.pass_any(from(1), local, at(500)), Some((3, Passing::Begin)));
        assert_eq!((handover.answer(from(1)), handover.answer(from(2))), (Some(local), None));
        for ms in (1_000..60_000).step_by(1_000) {
            assert_eq!(handover.pass_any(from(1), local, at(ms)), Some((3, Passing::On)), "{ms}");
            assert_eq!((handover.expire(at(ms)), handover.led()), (vec![], 1), "{ms}");
        }
        assert!(handover.offer(from(1), 4, at(60_000)), "the owner drains as well");
        assert_eq!(handover.pass_any(from(1), local, at(60_001)), Some((4, Passing::Begin)));
        assert_eq!(handover.expire(at(60_000 + HANDOVER_SILENT_MS)), [from(1)]);
    }

    #[test]
    fn a_draining_server_passes_nothing_on_that_comes_from_strangers_and_nobodys_session() {
        let mut handover = Handover::default();
        handover.set_draining(true);
        assert!(handover.offer(from(1), 3, at(0)));
        assert_eq!(handover.lead(from(2), None, 3, at(0)), Passing::Begin);
        // Somebody guessed an index of another server's; even one whom that has vouched for has to go on guessing.
        assert_eq!(handover.pass(from(3), None, 3, at(0)), Passing::Begin);
        assert_eq!(handover.pass(from(4), None, 3, at(0)), Passing::Begin);
        assert!(handover.vouch(from(4), laptop(), at(0)));
        let passed = (0..100).filter(|port| handover.pass_any(from(*port), None, at(0)).is_some());
        assert_eq!(passed.collect::<Vec<_>>(), [1, 2]);
        assert_eq!(handover.set_draining(false).len(), 4);
        assert!(
            (0..100).all(|port| handover.pass_any(from(port), None, at(0)).is_none()),
            "nor does one that drains no more"
        );
    }

    #[test]
    fn thousands_of_offers_leave_room_for_clients_that_are_led() {
        let mut handover = Handover::default();
        handover.set_draining(true);
        assert!((0..HANDOVER_FLOWS_MAX_DRAINING as u16).all(|port| handover.offer(from(port), 3, at(0))));
        assert!(!handover.offer(from(60_000), 3, at(0)));
        let local = Some(IpAddr::from([198, 51, 100, 1]));
        assert_eq!(handover.lead(from(9), local, 3, at(1_400)), Passing::Begin, "an offer opens nothing by itself");
        assert_eq!(handover.answer(from(9)), Some(local), "its NAT lets in what comes from there");
        assert_eq!(handover.lead(from(9), None, 3, at(1_400)), Passing::On);
    }

    #[test]
    fn vouchers_come_back_as_they_were_and_nothing_else_is_one() {
        let client = PublicKey::from_bytes([7; 32]);
        for seen in [None, Some([9; 12])] {
            let voucher = Voucher { client, seen };
            assert_eq!(Voucher::decode(&voucher.encode()), Some(voucher));
            let mut longer = voucher.encode();
            longer.push(0);
            assert_eq!(Voucher::decode(&longer), None);
        }
        for bad in [&[][..], &[VOUCHER], &[4; 45], &[VOUCHER; 20]] {
            assert_eq!(Voucher::decode(bad), None, "{bad:?}");
        }
    }
}
