//! Whether a client's server still answers, and what to do when it doesn't.
//!
//! A load balancer may keep a client's packets with a dead server for as long as the client sends any: it pins a flow by its
//! endpoints, and a keepalive keeps the flow alive. Only another source port is another flow. So a client watches its server, and
//! when it is silent speaks from another port, with a handshake of its own, until it is answered.
//!
//! Anything authenticated that comes from the server is a sign of life, and while there are such signs nothing is sent. After
//! [`CLIENT_IDLE_MS`] without one (or [`CLIENT_ASK_MS`], if packets went out) the server is asked for an echo, once a second. With
//! [`CLIENT_CHECKS_MAX`] unanswered it counts as silent, or, if it has never answered one, [`CLIENT_CHECKS_MAX_MUTE`]. Then the port
//! is changed, and again after 3 s, 6 s, ... up to a minute: a client without internet must not spin. The first sign of life ends that.
//! Several endpoints are raced ([`Race`]) before the server counts as silent and every [`CLIENT_RACE_MS`] while it does.
//!
//! In: the device's counters, echoes, answers of endpoints, the time. Out: [`Step`]s. Nothing is sent or changed here.

mod race;

use std::time::Duration;

use race::Race;

use crate::limits::{
    CLIENT_ASK_MS, CLIENT_CHECK_MS, CLIENT_CHECKS_MAX, CLIENT_CHECKS_MAX_MUTE, CLIENT_IDLE_MS, CLIENT_RACE_CHECKS,
    CLIENT_RACE_MS, CLIENT_REBIND_DOUBLINGS_MAX, CLIENT_REBIND_MS,
};

/// What to do for the link with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask the server for an echo.
    Check,
    /// Ask all endpoints at once whether they live: [`ServerWatch::handle_answer`].
    Race,
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
    race: Race,
    /// When the endpoints are raced again, while the server is silent.
    race_at: Duration,
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
    /// Before this the one that was dialled last has not had its time.
    rebind_not_before: Duration,
}

impl ServerWatch {
    /// A server with so many endpoints, of which the first is dialled.
    pub fn new(endpoints: usize, now: Duration) -> Self {
        ServerWatch {
            race: Race::new(endpoints),
            race_at: now,
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
            rebind_not_before: now,
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

    /// An endpoint has answered the latest [`Step::Race`].
    pub fn handle_answer(&mut self, endpoint: usize) {
        if self.race.handle_answer(endpoint) {
            self.rebind_at = self.rebind_at.min(self.rebind_not_before);
            self.check_at = if self.attempts > 0 { self.check_at.min(self.rebind_at) } else { self.check_at };
        }
    }

    /// What is to be done now; to be asked until there is nothing.
    pub fn poll(&mut self, now: Duration) -> Option<Step> {
        if self.races() && now >= self.race_at {
            self.race.begin();
            self.race_at = now + ms(CLIENT_RACE_MS);
            return Some(Step::Race);
        }
        if now < self.next_check() {
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
        let next = self.next_check();
        if self.races() { next.min(self.race_at) } else { next }
    }

    fn next_check(&self) -> Duration {
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
        (self.rebind_at, self.rebind_not_before, self.race_at) = (now, now, now);
        self.race.end();
        let attempts = std::mem::take(&mut self.attempts);
        (attempts > 0).then_some(attempts)
    }

    fn is_silent(&self) -> bool {
        let most = if self.answers_echoes { CLIENT_CHECKS_MAX } else { CLIENT_CHECKS_MAX_MUTE };
        self.attempts > 0 || self.unanswered >= most
    }

    /// Whether it is worth a packet to each endpoint to know which of them lives.
    fn races(&self) -> bool {
        self.race.has_several() && (self.attempts > 0 || self.unanswered >= CLIENT_RACE_CHECKS)
    }

    fn rebind(&mut self, now: Duration) -> Step {
        let endpoint = self.race.next();
        let doublings = self.race.rounds().min(CLIENT_REBIND_DOUBLINGS_MAX);
        self.rebind_at = now + ms((CLIENT_REBIND_MS << doublings).min(60_000));
        self.rebind_not_before = now + ms(CLIENT_REBIND_MS);
        self.attempts = self.attempts.saturating_add(1);
        // It is perhaps another server now. Something has to go out for a handshake to begin.
        self.answers_echoes = false;
        (self.unanswered, self.check_at) = (1, now);
        Step::Rebind { attempt: self.attempts, endpoint }
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
        /// For each endpoint after how many milliseconds it answers a race, if it does; with any, it is these that lead to servers.
        answers_ms: Vec<Option<u64>>,
        /// The endpoint that leads to a server.
        living_endpoint: Option<usize>,
        endpoint: usize,
        /// When which endpoint will have answered.
        answers: Vec<(u64, usize)>,
        log: Vec<String>,
    }

    impl World {
        fn new(endpoints: usize) -> World {
            let watch = ServerWatch::new(endpoints, Duration::ZERO);
            let log = Vec::new();
            World {
                watch,
                now_ms: 0,
                sent: 0,
                received: 0,
                echoes: true,
                living_port: Some(0),
                port: 0,
                answers_ms: vec![],
                living_endpoint: None,
                endpoint: 0,
                answers: vec![],
                log,
            }
        }

        /// A server behind each endpoint; the first one's dies after a minute, and which of the others lives is given.
        fn raced(answers_ms: &[Option<u64>], living_endpoint: Option<usize>) -> World {
            let mut world = World::new(answers_ms.len());
            world.pass(60, 1);
            (world.answers_ms, world.living_endpoint) = (answers_ms.to_vec(), living_endpoint);
            world
        }

        fn lives(&self) -> bool {
            if self.answers_ms.is_empty() {
                return self.living_port == Some(self.port);
            }
            self.living_endpoint == Some(self.endpoint)
        }

        /// Lets time pass, `traffic` packets going out each quarter of a second.
        fn pass(&mut self, seconds: u64, traffic: u64) -> &mut World {
            self.pass_quarters(seconds * 4, traffic)
        }

        fn pass_quarters(&mut self, quarters: u64, traffic: u64) -> &mut World {
            for _ in 0..quarters {
                self.now_ms += 250;
                self.sent += traffic * 100;
                let lives = self.lives();
                self.received += if lives { traffic * 100 } else { 0 };
                let now = ms(self.now_ms);
                if let Some(attempts) = self.watch.handle_counters(self.sent, self.received, now) {
                    self.log.push(format!("{} heard after {attempts}", self.now_ms));
                }
                let (due, later): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut self.answers).into_iter().partition(|(at, _)| *at <= self.now_ms);
                self.answers = later;
                due.iter().for_each(|(_, endpoint)| self.watch.handle_answer(*endpoint));
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
                    if self.lives() && self.echoes {
                        self.received += 128;
                        let ended = self.watch.handle_echo(now);
                        self.log.extend(ended.map(|attempts| format!("{} answered after {attempts}", self.now_ms)));
                    }
                }
                Step::Race => {
                    let answers = self.answers_ms.iter().enumerate();
                    let mut answers: Vec<_> = answers.filter_map(|(at, ms)| Some((self.now_ms + (*ms)?, at))).collect();
                    answers.sort_unstable();
                    self.answers.extend(answers);
                }
                Step::Rebind { attempt, endpoint } => {
                    (self.port, self.endpoint) = (self.port + 1, endpoint);
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
        assert_eq!(gaps[..11], [3, 3, 6, 6, 12, 12, 24, 24, 48, 48, 60], "{rebound:?}");
        assert!(gaps[11..].iter().all(|gap| *gap == 60), "{gaps:?}");
        let turns: Vec<&str> = rebound.iter().map(|line| &line[line.len() - 1..]).collect();
        assert_eq!(turns[..6], ["0", "1", "0", "1", "0", "1"], "endpoints take turns: {rebound:?}");
        world.living_port = Some(world.port);
        assert_eq!(world.pass(2, 0).logged().len(), 1, "who is back is heard at once, whatever the wait");
        world.living_port = None;
        let again = world.pass(12, 0).logged();
        assert!(again[0].contains("rebind 1 "), "and the waits begin anew: {again:?}");
    }

    #[test]
    fn the_endpoint_that_answers_a_race_first_is_dialled_at_once() {
        // The first is dead, one is a black hole, and of those that live one is nearer.
        for (answers_ms, living) in
            [(&[None, Some(40)][..], 1), (&[None, None, Some(200)], 2), (&[None, Some(300), Some(20)], 2)]
        {
            let mut world = World::raced(answers_ms, Some(living));
            let begin_ms = world.now_ms;
            let told = world.pass(20, 1).logged();
            assert!(told[0].ends_with(&format!("rebind 1 to {living}")), "{answers_ms:?}: {told:?}");
            assert!(told[1].ends_with("answered after 1") && told.len() == 2, "{told:?}");
            let at_ms: u64 = told[1].split(' ').next().unwrap().parse().unwrap();
            assert!(at_ms - begin_ms <= 4_500, "{told:?}");
        }
    }

    #[test]
    fn where_no_endpoint_answers_a_race_they_take_turns_until_one_answers() {
        let mut world = World::raced(&[None, None, None], Some(2));
        let told = world.pass(20, 1).logged();
        let words: Vec<&str> = told.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(words, ["rebind 1 to 0", "rebind 2 to 1", "rebind 3 to 2", "answered after 3"]);
    }

    #[test]
    fn one_that_answers_races_but_no_handshake_does_not_keep_a_client_from_the_others() {
        let mut world = World::raced(&[None, Some(5), None], Some(2));
        let told = world.pass(30, 1).logged();
        let words: Vec<&str> = told.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(words, ["rebind 1 to 1", "rebind 2 to 2", "answered after 2"]);
    }

    #[test]
    fn an_endpoint_that_comes_back_is_dialled_within_eight_seconds_however_long_nobody_was_there() {
        let mut world = World::raced(&[None, None, None], None);
        world.pass(1_000, 1).logged();
        let other = (world.endpoint + 1) % 3;
        (world.living_endpoint, world.answers_ms[other]) = (Some(other), Some(100));
        let begin_ms = world.now_ms;
        let told = world.pass(70, 1).logged();
        let back = told.iter().find(|line| line.contains("answered")).unwrap_or_else(|| panic!("{told:?}"));
        let at_ms: u64 = back.split(' ').next().unwrap().parse().unwrap();
        assert!(at_ms - begin_ms <= 8_000, "{} ms: {told:?}", at_ms - begin_ms);
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
