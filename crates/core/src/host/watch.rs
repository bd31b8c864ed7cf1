//! Whether a client's server still answers, and what to do when it doesn't.
//!
//! A load balancer may keep a client's packets with a dead server for as long as the client sends any: it pins a flow by its
//! endpoints, and a keepalive keeps the flow alive. Only another source port is another flow. So a client watches its server, and
//! when it is silent speaks from another port, with a handshake of its own, until it is answered.
//!
//! Anything authenticated that comes from the server is a sign of life, and while there are such signs nothing is sent. After
//! [`CLIENT_IDLE_MS`] without one (or [`CLIENT_ASK_MS`], if packets went out) the server is asked for an echo, once a second; so many
//! unanswered ones and it counts as silent: [`CLIENT_CHECKS_MAX`] for one that has answered an echo before,
//! [`CLIENT_CHECKS_MAX_MUTE`] for others, since WireGuard itself sends a keepalive to who has sent it something for ten seconds. Then
//! the port is changed, and again after 3 s, 6 s, ... up to a minute: a client without internet must not spin. The first sign of life ends that.
//! The server may have several endpoints: each attempt after the first goes to the next.
//!
//! In: the device's counters, echoes, the time. Out: [`Step`]s. Nothing is sent or changed here.

use std::time::Duration;

use crate::limits::{
    CLIENT_ASK_MS, CLIENT_CHECK_MS, CLIENT_CHECKS_MAX, CLIENT_CHECKS_MAX_MUTE, CLIENT_IDLE_MS,
    CLIENT_REBIND_DOUBLINGS_MAX, CLIENT_REBIND_MS,
};

/// What to do for the link with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask the server for an echo.
    Check,
    /// Speak from another source port, with a new handshake.
    Rebind {
        /// How many times without an answer, from 1.
        attempt: u32,
        /// Which of its endpoints to dial, in their order.
        endpoint: usize,
    },
}

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// It answers, or need not yet.
    Yes,
    /// It was asked, and has not answered yet.
    Asked,
    /// It is silent, and the port has been changed.
    No,
}

/// A client's watch over its server. `now` is any clock's time that never goes back.
#[derive(Debug, Clone)]
pub struct ServerWatch {
    endpoints: usize,
    endpoint: usize,
    /// Bytes sent and received, as last counted; none before the first count.
    counted: Option<(u64, u64)>,
    heard_at: Duration,
    /// Whether anything but a check went out since.
    has_sent: bool,
    /// Bytes that went out when the last check did are its own.
    has_checked: bool,
    /// Whether the present server has answered an echo; until then it is asked now and then, whatever comes from it.
    answers_echoes: bool,
    learn_at: Duration,
    unanswered: u32,
    check_at: Duration,
    attempts: u32,
    rebind_at: Duration,
}

impl ServerWatch {
    /// A server with so many endpoints, of which the first is dialled.
    pub fn new(endpoints: usize, now: Duration) -> Self {
        ServerWatch {
            endpoints: endpoints.max(1),
            endpoint: 0,
            counted: None,
            heard_at: now,
            has_sent: false,
            has_checked: false,
            answers_echoes: false,
            learn_at: now,
            unanswered: 0,
            check_at: now,
            attempts: 0,
            rebind_at: now,
        }
    }

    /// The device has counted so many bytes to and from the server. Says whether that ends a silence for which the port was changed,
    /// and after how many attempts.
    pub fn handle_counters(&mut self, sent_bytes: u64, received_bytes: u64, now: Duration) -> Option<u32> {
        let before = self.counted.replace((sent_bytes, received_bytes));
        let (sent_before, received_before) = before?;
        // A peer that was made anew counts from zero.
        let has_sent = sent_bytes > sent_before;
        let has_heard = received_bytes > if received_bytes < received_before { 0 } else { received_before };
        if has_heard {
            return self.hear(now);
        }
        self.has_sent |= has_sent && !std::mem::take(&mut self.has_checked);
        None
    }

    /// The server has answered an echo request. What it says is the same as with [`ServerWatch::handle_counters`].
    pub fn handle_echo(&mut self, now: Duration) -> Option<u32> {
        self.answers_echoes = true;
        self.hear(now)
    }

    /// What is to be done now; to be asked until there is nothing.
    pub fn poll(&mut self, now: Duration) -> Option<Step> {
        if now < self.next_wake() {
            return None;
        }
        if self.is_silent() && now >= self.rebind_at {
            return Some(self.rebind(now));
        }
        self.unanswered = self.unanswered.saturating_add(1);
        (self.check_at, self.learn_at) = (now + ms(CLIENT_CHECK_MS), now + ms(CLIENT_IDLE_MS));
        self.has_checked = true;
        Some(Step::Check)
    }

    /// When something is to be done, unless a sign of life comes before.
    pub fn next_wake(&self) -> Duration {
        match self.unanswered {
            0 if self.attempts == 0 => {
                let quiet = self.heard_at + ms(if self.has_sent { CLIENT_ASK_MS } else { CLIENT_IDLE_MS });
                if self.answers_echoes { quiet } else { quiet.min(self.learn_at) }
            }
            // The last check has its time to be answered as the others have.
            _ => self.check_at,
        }
    }

    /// How the server is.
    pub fn answering(&self) -> Answering {
        match (self.attempts, self.unanswered) {
            (0, 0) => Answering::Yes,
            (0, _) => Answering::Asked,
            _ => Answering::No,
        }
    }

    /// The time without a sign of life.
    pub fn silent_for(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard_at)
    }

    fn hear(&mut self, now: Duration) -> Option<u32> {
        (self.heard_at, self.has_sent, self.has_checked, self.unanswered) = (now, false, false, 0);
        self.rebind_at = now;
        let attempts = std::mem::take(&mut self.attempts);
        (attempts > 0).then_some(attempts)
    }

    fn is_silent(&self) -> bool {
        let most = if self.answers_echoes { CLIENT_CHECKS_MAX } else { CLIENT_CHECKS_MAX_MUTE };
        self.attempts > 0 || self.unanswered >= most
    }

    fn rebind(&mut self, now: Duration) -> Step {
        if self.attempts > 0 {
            self.endpoint = (self.endpoint + 1) % self.endpoints;
        }
        let doublings = self.attempts.min(CLIENT_REBIND_DOUBLINGS_MAX);
        self.rebind_at = now + ms((CLIENT_REBIND_MS << doublings).min(60_000));
        self.attempts = self.attempts.saturating_add(1);
        // It is perhaps another server now. Something has to go out for a handshake to begin.
        self.answers_echoes = false;
        (self.unanswered, self.check_at) = (1, now);
        Step::Rebind { attempt: self.attempts, endpoint: self.endpoint }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device, its server and the time: looked at four times a second.
    struct World {
        watch: ServerWatch,
        now_ms: u64,
        sent: u64,
        received: u64,
        /// Whether the server answers echoes.
        echoes: bool,
        /// The port that leads to a living server, by number of rebindings; none: no server lives.
        living_port: Option<u32>,
        port: u32,
        log: Vec<String>,
    }

    impl World {
        fn new(endpoints: usize) -> World {
            let watch = ServerWatch::new(endpoints, Duration::ZERO);
            let log = Vec::new();
            World { watch, now_ms: 0, sent: 0, received: 0, echoes: true, living_port: Some(0), port: 0, log }
        }

        /// Lets time pass, `traffic` packets going out each quarter of a second.
        fn pass(&mut self, seconds: u64, traffic: u64) -> &mut World {
            self.pass_quarters(seconds * 4, traffic)
        }

        fn pass_quarters(&mut self, quarters: u64, traffic: u64) -> &mut World {
            for _ in 0..quarters {
                self.now_ms += 250;
                self.sent += traffic * 100;
                let lives = self.living_port == Some(self.port);
                self.received += if lives { traffic * 100 } else { 0 };
                let now = ms(self.now_ms);
                if let Some(attempts) = self.watch.handle_counters(self.sent, self.received, now) {
                    self.log.push(format!("{} heard after {attempts}", self.now_ms));
                }
                while let Some(step) = self.watch.poll(now) {
                    self.act(step, now);
                }
            }
            self
        }

        fn act(&mut self, step: Step, now: Duration) {
            match step {
                Step::Check => {
                    self.sent += 128;
                    let lives = self.living_port == Some(self.port);
                    if lives && self.echoes {
                        self.received += 128;
                        let ended = self.watch.handle_echo(now);
                        self.log.extend(ended.map(|attempts| format!("{} answered after {attempts}", self.now_ms)));
                    }
                }
                Step::Rebind { attempt, endpoint } => {
                    self.port += 1;
                    self.log.push(format!("{} rebind {attempt} to {endpoint}", self.now_ms));
                }
            }
        }

        fn logged(&mut self) -> Vec<String> {
            std::mem::take(&mut self.log)
        }
    }

    #[test]
    fn a_server_that_answers_is_left_alone_and_an_idle_one_asked_every_five_seconds() {
        let mut world = World::new(1);
        assert!(world.pass(60, 0).logged().is_empty());
        let asked = world.sent / 128;
        assert!((11..=13).contains(&asked), "{asked}");
        assert!(world.pass(60, 3).logged().is_empty());
        assert_eq!(world.sent, asked * 128 + 60 * 4 * 300, "where packets come back nothing is asked");
    }

    #[test]
    fn a_silent_server_is_left_within_five_seconds_with_traffic_and_nine_without() {
        for (traffic, most_ms) in [(1, 4_500), (0, 8_750)] {
            for phase in 0..24 {
                let mut world = World::new(1);
                world.pass(10, traffic).pass_quarters(phase, traffic);
                (world.living_port, world.log) = (Some(1), Vec::new());
                let begin_ms = world.now_ms;
                while world.log.is_empty() {
                    world.pass_quarters(1, traffic);
                }
                assert!(world.now_ms - begin_ms <= most_ms, "{traffic} {phase}: {} ms", world.now_ms - begin_ms);
                assert_eq!(world.log.len(), 2, "the next port is answered: {:?}", world.log);
                assert!(world.logged()[1].ends_with("answered after 1"));
                assert!(world.pass(30, traffic).logged().is_empty());
            }
        }
    }

    #[test]
    fn a_dead_connection_does_not_make_it_spin() {
        let mut world = World::new(2);
        world.pass(10, 0);
        world.living_port = None;
        let rebound = world.pass(600, 1).logged();
        let times: Vec<u64> = rebound.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        let gaps: Vec<u64> = times.windows(2).map(|pair| (pair[1] - pair[0] + 500) / 1_000).collect();
        assert_eq!(gaps[..6], [3, 6, 12, 24, 48, 60], "{rebound:?}");
        assert!(gaps[6..].iter().all(|gap| *gap == 60), "{gaps:?}");
        assert!(rebound[1].ends_with("to 1") && rebound[2].ends_with("to 0"), "endpoints take turns: {rebound:?}");
        world.living_port = Some(world.port);
        assert_eq!(world.pass(2, 0).logged().len(), 1, "who is back is heard at once, whatever the wait");
        world.living_port = None;
        let again = world.pass(12, 0).logged();
        assert!(again[0].contains("rebind 1 "), "and the waits begin anew: {again:?}");
    }

    #[test]
    fn who_answers_no_echo_is_judged_by_the_keepalives_of_wireguard() {
        let mut world = World::new(1);
        world.echoes = false;
        // The server's WireGuard answers what it gets with a keepalive after ten seconds.
        for _ in 0..6 {
            world.pass(14, 0);
            world.received += 32;
        }
        assert!(world.logged().is_empty());
        world.living_port = None;
        let left = world.pass(40, 0).logged();
        assert_eq!(left[0].split(' ').nth(1), Some("rebind"), "{left:?}");
    }

    #[test]
    fn counters_of_a_peer_made_anew_are_no_sign_of_life_unless_it_has_received_something() {
        let mut watch = ServerWatch::new(1, Duration::ZERO);
        let at = ms(100);
        watch.handle_counters(1_000, 1_000, at);
        watch.handle_counters(148, 0, ms(200));
        assert_eq!(watch.silent_for(ms(200)), ms(200));
        watch.handle_counters(148, 92, ms(300));
        assert_eq!(watch.silent_for(ms(300)), Duration::ZERO);
    }

    #[test]
    fn after_a_sleep_the_server_is_asked_before_it_is_left() {
        let mut world = World::new(1);
        world.pass(10, 0);
        world.now_ms += 8 * 3_600_000;
        assert!(world.pass(10, 0).logged().is_empty());
    }
}
