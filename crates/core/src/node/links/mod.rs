//! One direct link, judged from one end: probes out, probes in, up or down, and what it costs.
//!
//! A link is *starting*, *up* or *down*. An end is *deaf* when it does not hear the other, and says so in its probes; the
//! other is then *told*. Either makes the link down for both, so one-way loss is an outage. The end whose name comes first
//! polls, the other answers; any end polls when it has reason to. Pace: rarely without traffic, every 200 ms with it, as long
//! as the doubt lasts where the cost is in doubt. A probe that does not come in time makes an end *suspect* the link: a
//! burst of polls and echo requests follows at once, so that chance losses are told from an outage, and another one if the
//! program got no processor when it should have judged. Nothing but
//! echoes: the other end runs no agent, or it has stopped, and its kernel still does; the link is *alone*, and is judged by
//! echoes, or by handshakes if there are none. A link that was down has to work for a while ([`damping`]).

mod cost;
mod damping;
pub mod detours;
mod hearing;
pub mod site;
pub mod traffic;
mod ways;

use std::time::Duration;

use cost::Cost;
use damping::Damping;
pub use hearing::Heard;
use hearing::Hearing;
use traffic::{Passed, Traffic};

use super::Time;
use super::event::EchoAddress;
use super::exchange::record::View;
use super::exchange::wire::Header;
use crate::limits::{
    EXPECT_MS, HANDSHAKE_RETRY_S, HANDSHAKE_STALE_S, LATE_VERDICTS_MAX, PROBE_BURST_GAP_MS, PROBE_BURST_MAX,
    PROBE_BURST_MIN, PROBE_DOUBT_S, PROBE_DOWN_S, PROBE_FAST_HOLD_S, PROBE_FAST_MS, PROBE_FIRST_S, PROBE_IDLE_S_MAX,
    PROBE_IDLE_S_PER_LINK, PROBE_PATIENCE_MS, PROBE_SLACK_MS, SESSION_ENDED_S, SESSION_FRESH_S,
};

const FAST: Duration = Duration::from_millis(PROBE_FAST_MS);
const SLACK: Duration = Duration::from_millis(PROBE_SLACK_MS);

/// Whether a link works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not known yet.
    Starting,
    /// In use.
    Up,
    /// Not in use: it does not work, or has not worked for long enough.
    Down,
}

/// What the network file says of a link.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// How many links the busier end has.
    pub degree: usize,
    /// Its round-trip time in microseconds.
    pub stated_us: u64,
    /// Whether packets have another way to the other end.
    pub has_detour: bool,
}

/// One end of a link.
#[derive(Debug)]
pub struct Link {
    /// What was sent and heard.
    pub hearing: Hearing,
    sent: Traffic,
    /// Counters of what was received.
    pub received: Traffic,
    damping: Damping,
    cost: Cost,
    /// Whether this end polls.
    polls: bool,
    idle_every: Duration,
    stated_us: u64,
    has_detour: bool,
    health: Health,
    /// Since when it has that health.
    since: Time,
    /// This end does not hear the other.
    deaf: bool,
    /// The other end does not hear this one.
    told: bool,
    /// The other end runs no agent.
    alone: bool,
    /// When the last probe and the last echo came.
    heard_at: Option<Time>,
    echo_at: Option<Time>,
    /// When the last handshake was.
    handshake_at: Option<Time>,
    /// Since when it has been fast, and until when this end and the other want it to be.
    fast_since: Time,
    fast_until: Time,
    asked_until: Time,
    /// The other end has said that another poll follows soon.
    promised: bool,
    last_poll: Option<Time>,
    poll_now: bool,
    answer: bool,
    awaiting: Option<Time>,
    suspicion: Option<Suspicion>,
    /// When the last message of our own went out.
    spoke_at: Time,
    /// Since when nothing has been wrong, while it is down.
    clear_since: Option<Time>,
}

/// A burst of polls under way.
#[derive(Debug, Clone, Copy)]
struct Suspicion {
    since: Time,
    left: u32,
    next: Time,
    conclude: Time,
    /// Bursts before it whose conclusion came too late to mean anything.
    late: u32,
}

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// A probe that wants an answer.
    pub poll: bool,
    /// A probe that is one.
    pub answer: bool,
    /// An echo request.
    pub echo: bool,
}

impl Link {
    /// A link of which nothing is known. `first` says whether this end's name comes first.
    pub fn new(first: bool, place: Place, now: Time) -> Link {
        let mut link = Link {
            hearing: Hearing::default(),
            sent: Traffic::default(),
            received: Traffic::default(),
            damping: Damping::default(),
            cost: Cost::default(),
            polls: first,
            idle_every: Duration::ZERO,
            stated_us: place.stated_us,
            has_detour: place.has_detour,
            health: Health::Starting,
            since: now,
            deaf: false,
            told: false,
            alone: false,
            heard_at: None,
            echo_at: None,
            handshake_at: None,
            fast_since: now,
            fast_until: now.plus(Duration::from_secs(PROBE_FIRST_S)),
            asked_until: now,
            promised: false,
            last_poll: None,
            poll_now: true,
            answer: false,
            awaiting: None,
            suspicion: None,
            spoke_at: now,
            clear_since: None,
        };
        link.adapt(place);
        link
    }

    /// Goes over to another network file.
    pub fn adapt(&mut self, place: Place) {
        let idle_s = (PROBE_IDLE_S_PER_LINK * place.degree as u64).min(PROBE_IDLE_S_MAX);
        self.idle_every = Duration::from_secs(idle_s);
        (self.stated_us, self.has_detour) = (place.stated_us, place.has_detour);
    }

    /// Counts as down until it has worked.
    pub fn distrust(&mut self, now: Time) {
        (self.health, self.since, self.deaf) = (Health::Down, now, true);
    }

    /// Whether it is in use.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Since when it has been that.
    pub fn since(&self) -> Time {
        self.since
    }

    /// Whether the other end runs no agent, as far as can be seen.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether the other end's agent is heard, so that the exchange can run.
    pub fn is_heard(&self) -> bool {
        !self.deaf && !self.alone && self.heard_at.is_some()
    }

    /// What everybody is to be told of it.
    pub fn view(&self) -> View {
        match self.health {
            Health::Down => View::Down,
            Health::Starting | Health::Up => self.cost.view(),
        }
    }

    /// Why it is down, in a sentence's end.
    pub fn trouble(&self, peer: &str, now: Time) -> String {
        let silent = self.heard_at.max(self.echo_at).map(|at| now.since(at).as_millis());
        match (self.deaf, self.told, silent) {
            (true, _, Some(ms)) => format!("nothing has been heard from {peer} for {ms} ms"),
            (true, _, None) => format!("nothing has ever been heard from {peer}"),
            (false, true, _) => format!("{peer} does not hear this node"),
            (false, false, _) => format!("it has to work for {} s first", self.damping.hold(self.has_detour).as_secs()),
        }
    }

    /// How long a receipt of the exchange may take.
    pub fn patience(&self) -> Duration {
        self.hearing.patience().unwrap_or(Duration::from_millis(PROBE_PATIENCE_MS)) + 2 * SLACK
    }

    /// A message's header has come. Says whether it counts; an old one or a copy does not.
    pub fn handle_header(&mut self, header: &Header, now: Time) -> Heard {
        if self.deaf {
            self.hearing.forgive();
        }
        let heard = self.hearing.handle(header, now);
        if matches!(heard, Heard::Again | Heard::Late) {
            return heard;
        }
        self.heard_at = Some(now);
        (self.awaiting, self.suspicion, self.deaf, self.alone) = (None, None, false, header.leaving);
        self.told = header.deaf;
        self.answer |= header.poll;
        self.promised = header.fast && !self.polls;
        if header.fast && self.polls {
            self.ask_fast(now);
        }
        self.settle(now);
        if let Some(rtt_us) = self.hearing.rtt_us().filter(|_| self.polls && self.health == Health::Up) {
            self.cost.handle(rtt_us, self.hearing.loss_both_ways_permille(), self.stated_us, now);
        }
        heard
    }

    /// An answer to an echo request has come.
    pub fn handle_echo(&mut self, now: Time) {
        self.echo_at = Some(now);
        if self.alone || self.deaf {
            // Echoes and no probes: a kernel without an agent.
            (self.alone, self.deaf, self.told) = (true, false, false);
            (self.awaiting, self.suspicion) = (None, None);
        }
        self.settle(now);
    }

    /// Where the other end is asked for an echo: who has spoken has a link address, and keeps it when its agent ends.
    pub fn echo_address(&self) -> EchoAddress {
        if self.heard_at.is_some() { EchoAddress::Link } else { EchoAddress::Overlay }
    }

    /// The age of the last handshake, if there has been one.
    pub fn handle_handshake(&mut self, age: Option<Duration>, now: Time) {
        self.handshake_at = age.map(|age| now.before(age));
        let is_young = age.is_some_and(|age| age.as_secs() < HANDSHAKE_STALE_S);
        if self.alone && self.echo_at.is_none() {
            self.deaf = !is_young;
            self.settle(now);
        } else if self.deaf && self.heard_at.is_none() && self.handshake_at.is_some_and(|at| at > self.since) {
            // It runs no agent, and while it is down no echo goes over the link. A handshake has passed both ways.
            (self.alone, self.deaf) = (true, false);
            self.settle(now);
        }
    }

    /// The device's counters.
    pub fn handle_counters(&mut self, sent_bytes: u64, received_bytes: u64, now: Time) {
        let (sent, received) = (self.sent.handle_sent(sent_bytes), self.received.handle_received(received_bytes));
        let sends = match sent {
            Passed::Nothing => false,
            // Somebody's packets wait for this handshake, unless it is ours, or renews a session.
            Passed::Initiation => {
                let is_ours = now.since(self.spoke_at).as_secs() < HANDSHAKE_RETRY_S;
                let renews = self.handshake_at.is_some_and(|at| now.since(at).as_secs() < SESSION_ENDED_S);
                !is_ours && !renews && !self.deaf
            }
            Passed::Packets => true,
        };
        if sends || received == Passed::Packets {
            self.handle_traffic(sends, now);
        }
    }

    /// A message of our own of so many bytes goes out; an echo request has no number.
    pub fn handle_own(&mut self, bytes: u64, is_numbered: bool, now: Time) {
        if is_numbered {
            self.hearing.handle_sent(now);
        }
        self.sent.handle_own(bytes);
        self.spoke_at = now;
    }

    /// The link has carried others' packets; `sends` if this end has sent some.
    fn handle_traffic(&mut self, sends: bool, now: Time) {
        if now >= self.fast_until {
            self.fast_since = now;
            self.poll_now = !self.promised;
            if sends && self.is_silent(now) && self.can_suspect(now) {
                self.suspect(now, 2);
            }
        }
        self.fast_until = now.plus(Duration::from_secs(PROBE_FAST_HOLD_S));
    }

    /// Others say that the other end has trouble: looks at once, unless it has just been heard.
    pub fn handle_rumour(&mut self, now: Time) {
        let is_fresh = self.evidence_at().is_some_and(|at| now.since(at) < 5 * FAST);
        if !is_fresh && self.can_suspect(now) {
            self.suspect(now, if self.is_silent(now) { 2 } else { 1 });
        }
    }

    /// Judges by what has not come, and says what is to be sent.
    pub fn step(&mut self, now: Time) -> Due {
        self.watch(now);
        let mut due = Due { answer: std::mem::take(&mut self.answer), ..Due::default() };
        let burst = self.burst(now);
        if burst.is_some() || self.poll_at() <= now {
            self.poll_now = false;
            self.last_poll = Some(now);
            let is_even = burst.is_none_or(|left| left.is_multiple_of(2));
            due.echo =
                is_even && (self.alone || self.suspicion.is_some() || self.deaf || self.health == Health::Starting);
            due.poll = !self.alone || self.deaf;
            self.expect_answer(now);
        }
        due
    }

    /// A message that wants an answer goes out.
    pub fn expect_answer(&mut self, now: Time) {
        if self.awaiting.is_none() && self.can_suspect(now) {
            self.awaiting = Some(now.plus(self.allowance(now)));
        }
    }

    /// When [`Link::step`] has something to do.
    pub fn wake(&self) -> Time {
        if self.answer {
            return Time::default();
        }
        let burst = self.suspicion.map(|it| if it.left > 0 { it.next.min(it.conclude) } else { it.conclude });
        let first = (self.health == Health::Starting).then(|| self.first_verdict());
        let hold = self.clear_since.map(|since| since.plus(self.damping.hold(self.has_detour)));
        let all = [burst, first, hold, self.mute_until(), self.due_by(), Some(self.poll_at())];
        all.into_iter().flatten().min().unwrap_or(Time::NEVER)
    }

    /// Fills in the fields of a header that are about this link.
    pub fn header(&self, now: Time) -> Header {
        let fast =
            if self.polls { self.is_fast(now.plus(FAST)) } else { now < self.fast_until || self.is_recovering() };
        Header {
            fast,
            deaf: self.deaf,
            loss: self.hearing.loss(),
            number: self.hearing.next_number(),
            heard: self.hearing.heard(now),
            ..Header::default()
        }
    }

    fn ask_fast(&mut self, now: Time) {
        if !self.is_fast(now) {
            self.fast_since = now;
            self.poll_now = true;
        }
        self.asked_until = now.plus(3 * FAST);
    }

    /// It works, and has to prove it.
    fn is_recovering(&self) -> bool {
        self.health == Health::Down && !self.deaf && !self.told
    }

    fn is_fast(&self, at: Time) -> bool {
        at < self.fast_until || at < self.asked_until || self.is_recovering()
    }

    fn evidence_at(&self) -> Option<Time> {
        if self.alone { self.echo_at } else { self.heard_at }
    }

    /// Nothing has been heard for so long that a handshake may have to go first.
    fn is_silent(&self, now: Time) -> bool {
        self.evidence_at().is_none_or(|at| now.since(at).as_secs() >= SESSION_FRESH_S)
    }

    fn can_suspect(&self, now: Time) -> bool {
        let can_answer = !self.is_mute() && self.reached_at() <= now;
        can_answer && !self.deaf && self.suspicion.is_none() && self.health != Health::Starting
    }

    /// Since when packets to the other end's own address go over the link, which is all that a host without agent answers: not
    /// before the link counts as working, and everybody has been told.
    fn reached_at(&self) -> Time {
        match self.health {
            _ if !self.alone || self.heard_at.is_some() => Time::default(),
            Health::Down => Time::NEVER,
            Health::Starting | Health::Up => self.since.plus(Duration::from_millis(EXPECT_MS) + 2 * FAST),
        }
    }

    /// It answers no echoes either.
    fn is_mute(&self) -> bool {
        self.alone && self.echo_at.is_none()
    }

    /// How long an answer may take before something is wrong.
    fn allowance(&self, now: Time) -> Duration {
        let silent = self.is_silent(now);
        let patience = self.hearing.patience().unwrap_or(Duration::from_millis(PROBE_PATIENCE_MS));
        if silent { 2 * patience + 4 * SLACK } else { patience + 2 * SLACK }
    }

    /// When this end polls next.
    fn poll_at(&self) -> Time {
        let Some(last) = self.last_poll.filter(|_| !self.poll_now) else { return Time::default() };
        if self.health == Health::Starting && self.evidence_at().is_none() {
            return last.plus(FAST);
        }
        if self.deaf || self.told {
            let down_s = last.since(self.since).as_secs();
            let pace = PROBE_DOWN_S[usize::from(down_s >= 60) + usize::from(down_s >= 600)];
            return last.plus(Duration::from_secs(pace));
        }
        let heard = self.evidence_at().map_or(last, |at| at.max(last));
        if !self.polls && !self.alone {
            return heard.plus(self.idle_every * 5 / 4 + Duration::from_secs(5));
        }
        if self.is_fast(last.plus(FAST)) && !self.is_mute() {
            return last.plus(FAST);
        }
        if self.cost.is_unsettled() {
            return last.plus(Duration::from_secs(PROBE_DOUBT_S));
        }
        heard.plus(self.idle_every)
    }

    /// When something should have been heard.
    fn due_by(&self) -> Option<Time> {
        let reached_at = self.reached_at();
        if reached_at == Time::NEVER || !self.can_suspect(reached_at) {
            return None;
        }
        let polled = self.polls || self.alone;
        let is_steady = |at: &Time| if polled { *at >= self.fast_since && self.is_fast(*at) } else { self.promised };
        let steady = self.evidence_at().filter(is_steady).map(|at| at.plus(self.gap()));
        Some([steady, self.awaiting].into_iter().flatten().min()?.max(reached_at))
    }

    /// The time between two probes that is nothing unusual.
    fn gap(&self) -> Duration {
        let loses = self.hearing.loss_both_ways_permille() > 100;
        FAST * if loses { 2 } else { 1 } + SLACK + 2 * self.hearing.variation()
    }

    fn watch(&mut self, now: Time) {
        if let Some(suspicion) = self.suspicion.filter(|it| it.conclude <= now) {
            if now.since(suspicion.conclude) > SLACK && suspicion.late < LATE_VERDICTS_MAX {
                // This program got no processor: answers may have come meanwhile and still wait for it.
                self.suspect(now, 1);
                self.suspicion = self.suspicion.map(|it| Suspicion { late: suspicion.late + 1, ..it });
            } else {
                self.conclude(suspicion.since, now);
            }
        } else if self.due_by().is_some_and(|by| by <= now) {
            self.suspect(now, 1);
        }
        if self.mute_until().is_some_and(|until| until <= now) {
            self.deaf = true;
        }
        if self.health == Health::Starting && self.first_verdict() <= now && self.evidence_at().is_none() {
            self.conclude(self.since, now);
        }
        self.settle(now);
    }

    /// Until when the last handshake speaks for a peer that says nothing itself.
    fn mute_until(&self) -> Option<Time> {
        let shook_hands_at = self.handshake_at.filter(|_| self.is_mute() && !self.deaf)?;
        Some(shook_hands_at.plus(Duration::from_secs(HANDSHAKE_STALE_S)))
    }

    fn first_verdict(&self) -> Time {
        self.since.plus(Duration::from_secs(PROBE_FIRST_S))
    }

    fn suspect(&mut self, now: Time, trips: u32) {
        let left = polls_against_chance(self.hearing.loss_both_ways_permille());
        let patience = self.hearing.patience().unwrap_or(Duration::from_millis(PROBE_PATIENCE_MS));
        let last = Duration::from_millis(PROBE_BURST_GAP_MS) * left;
        let before = self.hearing.rtt_us().map_or(patience, Duration::from_micros) * (trips - 1);
        let conclude = now.plus(last.max(before + patience) + SLACK);
        self.suspicion = Some(Suspicion { since: now, left, next: now, conclude, late: 0 });
        self.awaiting = None;
    }

    fn burst(&mut self, now: Time) -> Option<u32> {
        let suspicion = self.suspicion.as_mut().filter(|it| it.left > 0 && it.next <= now)?;
        suspicion.left -= 1;
        suspicion.next = now.plus(Duration::from_millis(PROBE_BURST_GAP_MS));
        Some(suspicion.left)
    }

    fn conclude(&mut self, since: Time, now: Time) {
        (self.suspicion, self.awaiting) = (None, None);
        let echoed = self.echo_at.is_some_and(|at| at >= since);
        let shook_hands = self.handshake_at.is_some_and(|at| now.since(at).as_secs() < HANDSHAKE_STALE_S);
        let is_mute = self.heard_at.is_none() && self.echo_at.is_none() && shook_hands;
        if echoed || is_mute {
            (self.alone, self.told, self.promised) = (true, false, false);
        } else {
            self.deaf = true;
        }
    }

    fn settle(&mut self, now: Time) {
        let is_bad = self.deaf || self.told;
        let is_known = self.evidence_at().is_some() || self.alone;
        let health = match self.health {
            Health::Starting | Health::Up if is_bad => Health::Down,
            Health::Starting if is_known => Health::Up,
            Health::Down if !is_bad => {
                let since = *self.clear_since.get_or_insert(now);
                if since.plus(self.damping.hold(self.has_detour)) <= now { Health::Up } else { Health::Down }
            }
            same => same,
        };
        if is_bad || health == Health::Up {
            self.clear_since = None;
        }
        if health != self.health {
            if self.health == Health::Up {
                self.damping.handle_failure(now);
            }
            (self.health, self.since) = (health, now);
        }
    }
}

/// So many polls that all of them are lost by chance once in a million times.
fn polls_against_chance(loss_permille: u32) -> u32 {
    let (mut polls, mut chance) = (0, 1_000_000_u64);
    while chance > 0 && polls < PROBE_BURST_MAX {
        chance = chance * u64::from(loss_permille) / 1_000;
        polls += 1;
    }
    polls.max(PROBE_BURST_MIN)
}
