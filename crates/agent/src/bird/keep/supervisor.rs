//! What is to be done about BIRD next; pure, and told the time.
//!
//! In: what BIRD is to judge (`handle_considered`) and to be told (`handle_wanted`), what became of the step before (`handle`), that its process has ended
//! (`handle_death`). Out: one [`Step`] at a time (`poll`), and when to ask again (`poll_timeout`). A text is checked before it is in
//! force, taken over by a running BIRD under a limit of time after which BIRD itself goes back, and confirmed when BIRD has
//! answered; one that is refused is not tried again, and what was in force before stays. States: *finding* (a predecessor's BIRD
//! may be running), *down* until some time, *starting*, *up*. Of the administrator's own BIRD ([`Mode::Included`]) only
//! a file is written, and it is asked to read it; what it refuses is tried again now and then, since that may be theirs to mend.

use std::sync::Arc;
use std::time::Duration;

/// Between looks at a BIRD that runs.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Between looks at one that is starting, or that does not answer.
const LOOK_SOON: Duration = Duration::from_millis(100);
const LOOK_SILENT: Duration = Duration::from_secs(2);
/// How long it may take to start.
const START_MAX: Duration = Duration::from_secs(10);
/// Silence after which our own is killed: longer than any table keeps it busy.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Between starts: doubled with every death, forgotten when it has run for as long as the longest.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// How long the routes of a BIRD that does not come back stay in the kernel: as long as neighbours keep what it told them (RFC
/// 4724; 120 s is BIRD's and FRR's default).
const ROUTES_KEPT: Duration = Duration::from_secs(120);

/// Until an administrator's BIRD that refuses is asked again: what is wrong may be theirs, and is mended without us.
const AGAIN: Duration = Duration::from_secs(10);

/// What the administrator's BIRD includes when nothing is wanted of it.
pub(super) const NOTHING: &str = "# Nothing is wanted of BIRD.\n";

/// Whose BIRD it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Ours: started, restarted and stopped.
    Own,
    /// The administrator's, whose configuration includes a file of ours.
    Included,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write a text beside the file in force, and let BIRD judge it.
    Check(Arc<str>),
    /// Put a text where BIRD reads it, and keep what was there.
    Install(Arc<str>),
    /// Put back what was there before the last [`Step::Install`].
    PutBack,
    /// Start BIRD.
    Start(Manner),
    /// Let it read the file, and go back by itself unless that is confirmed.
    Reload,
    /// Confirm that.
    Confirm,
    /// Ask how it is.
    Look,
    /// End it in good order, so that it takes its routes back; its files are of no use any more.
    Stop,
    /// End it at once.
    Kill,
    /// Remove the routes from the kernel that it has left there.
    Flush,
}

/// How BIRD starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// What the kernel may have of it is removed as soon as it looks.
    Anew,
    /// What the kernel has of a predecessor that has died stays until sessions are back and have told everything (RFC 4724).
    Recovering,
}

/// How BIRD stands to what is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is known yet.
    #[default]
    Judging,
    /// It would take it, and waits to be told.
    Judged,
    /// It was told, and has not answered yet.
    UnderWay,
    /// It runs with it, or ran with it last.
    InForce,
    /// It refuses it, and what was there before stays.
    Refused,
    /// Nothing is wanted, and it knows nothing of ours.
    Ended,
}

/// Why a step came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The program is not there.
    Missing,
    /// BIRD refuses the text, in these words.
    Refused(String),
    /// Nobody listens at the socket.
    Gone(String),
    /// Whoever listens does not answer, or not sensibly.
    Silent(String),
    /// The file system or the kernel refuses something.
    Failed(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Trouble::Missing => "bird is not installed: apt install bird2",
            Trouble::Refused(words) | Trouble::Gone(words) | Trouble::Silent(words) | Trouble::Failed(words) => words,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Finding,
    Down { retry_at: Duration },
    Starting { since: Duration, look_at: Duration },
    Up { since: Duration, look_at: Duration },
}

/// How far a wanted text has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Written,
    Checked,
    Installed,
    Reloaded,
    Back,
}

/// Decides.
#[derive(Debug)]
pub struct Supervisor {
    mode: Mode,
    state: State,
    wanted: Option<Arc<str>>,
    /// Whether that is to be in force, and not only to be judged; and whether it says anything.
    may_go: bool,
    is_needed: bool,
    stage: Stage,
    /// What is in the file, as far as it is known; and whether there is a file.
    installed: Option<Arc<str>>,
    has_file: bool,
    /// What was in it when BIRD was started.
    started_with: Option<Arc<str>>,
    /// What BIRD runs with.
    in_force: Option<Arc<str>>,
    refused: Option<(Arc<str>, String)>,
    /// When to ask an administrator's BIRD again that refuses.
    again_at: Option<Duration>,
    pending: Option<Step>,
    silent_since: Option<Duration>,
    back_off: Duration,
    /// When to try again what the host refused, or whether BIRD is installed.
    blocked_until: Option<Duration>,
    /// Since when the kernel may have routes of a BIRD that is gone.
    left_since: Option<Duration>,
    trouble: Option<String>,
}

impl Supervisor {
    /// One that knows nothing yet; whether there is a file from before.
    pub fn new(mode: Mode, has_file: bool) -> Supervisor {
        Supervisor {
            mode,
            state: State::Finding,
            wanted: None,
            may_go: false,
            is_needed: false,
            stage: Stage::Written,
            installed: None,
            has_file,
            started_with: None,
            in_force: None,
            refused: None,
            again_at: None,
            pending: None,
            silent_since: None,
            back_off: Duration::ZERO,
            blocked_until: None,
            left_since: None,
            trouble: None,
        }
    }

    /// Whose BIRD it is.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What is to be judged; it comes into force only when the same is wanted.
    pub fn handle_considered(&mut self, text: &str) {
        self.take(Some(text));
        self.may_go = false;
    }

    /// What is to be in force from here on; nothing: no BIRD is needed.
    pub fn handle_wanted(&mut self, text: Option<&str>) {
        self.take(text);
        self.may_go = true;
    }

    fn take(&mut self, text: Option<&str>) {
        self.is_needed = text.is_some();
        // The administrator's configuration includes the file: it stays, and says nothing.
        let text = text.or((self.mode == Mode::Included).then_some(NOTHING));
        if self.wanted.as_deref() != text {
            self.wanted = text.map(Arc::from);
            (self.stage, self.refused, self.blocked_until) = (Stage::Written, None, None);
        }
    }

    /// The process has ended, in these words.
    pub fn handle_death(&mut self, words: &str, now: Duration) {
        let ran = match self.state {
            State::Up { since, .. } => now.saturating_sub(since),
            State::Starting { .. } => Duration::ZERO,
            State::Finding | State::Down { .. } => return,
        };
        self.fall(now, ran, format!("BIRD has ended: {words}"));
    }

    /// What is wrong, if anything.
    pub fn problem(&self) -> Option<String> {
        let refused = self.refused.as_ref().map(|(_, why)| {
            let stays = if self.in_force.is_some() || self.has_file { "; what was in force stays" } else { "" };
            match self.mode {
                Mode::Own => format!("BIRD refuses its configuration{stays}: {why}"),
                Mode::Included => format!("the administrator's BIRD can't take our part{stays}: {why}"),
            }
        });
        let trouble = self.trouble.clone().filter(|_| self.is_needed);
        match (trouble, refused) {
            (Some(trouble), Some(refused)) => Some(format!("{trouble}; {refused}")),
            (trouble, refused) => trouble.or(refused),
        }
    }

    /// Whether BIRD runs and answers with what is wanted.
    pub fn is_as_wanted(&self) -> bool {
        self.is_needed && self.wanted == self.in_force && self.silent_since.is_none()
    }

    /// How it stands to what is wanted.
    pub fn standing(&self) -> Standing {
        let is_down = matches!(self.state, State::Down { .. });
        let Some(wanted) = &self.wanted else {
            return if is_down && !self.has_file { Standing::Ended } else { Standing::UnderWay };
        };
        if self.refused.as_ref().is_some_and(|(text, _)| text == wanted) {
            return Standing::Refused;
        }
        match (self.is_needed, self.stage) {
            (true, _) if self.in_force.as_ref() == Some(wanted) => Standing::InForce,
            (false, _) if self.in_force.as_ref() == Some(wanted) => Standing::Ended,
            // Who is not there will read the file when it comes.
            (false, Stage::Installed) if is_down => Standing::Ended,
            (_, Stage::Written) => Standing::Judging,
            (_, Stage::Checked) if !self.may_go => Standing::Judged,
            _ => Standing::UnderWay,
        }
    }

    /// In one word.
    pub fn word(&self) -> &'static str {
        match self.state {
            _ if !self.is_needed => "not needed",
            State::Finding | State::Starting { .. } => "starting",
            State::Down { .. } => "down",
            State::Up { .. } if self.silent_since.is_some() => "silent",
            State::Up { .. } => "running",
        }
    }

    /// The next step, if there is something to do now. What becomes of it must be told before the next one is given.
    pub fn poll(&mut self, now: Duration) -> Option<Step> {
        if self.pending.is_some() {
            return None;
        }
        self.pending = self.decide(now);
        self.pending.clone()
    }

    /// When there may be something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let state = match self.state {
            State::Finding => Some(Duration::ZERO),
            State::Down { .. } if self.wanted.is_none() => None,
            State::Down { retry_at } => Some(retry_at),
            State::Starting { look_at, .. } | State::Up { look_at, .. } => Some(look_at),
        };
        let next = match (self.blocked_until, state) {
            (Some(blocked), Some(state)) if matches!(self.state, State::Down { .. }) => Some(blocked.max(state)),
            (Some(blocked), Some(state)) => Some(blocked.min(state)),
            (blocked, state) => state.or(blocked),
        };
        let again = self.again_at.filter(|_| self.refused.is_some());
        [next, again, self.flush_at()].into_iter().flatten().min()
    }

    /// When the routes of a BIRD that is gone are to go.
    fn flush_at(&self) -> Option<Duration> {
        let is_gone = matches!(self.state, State::Down { .. } | State::Starting { .. });
        self.left_since.filter(|_| is_gone).map(|since| since + ROUTES_KEPT)
    }

    fn decide(&mut self, now: Duration) -> Option<Step> {
        if self.state == State::Finding {
            return Some(Step::Look);
        }
        let Some(wanted) = self.wanted.clone() else {
            let runs = matches!(self.state, State::Up { .. } | State::Starting { .. });
            return (runs || self.has_file).then_some(Step::Stop);
        };
        if self.flush_at().is_some_and(|at| now >= at) {
            return Some(Step::Flush);
        }
        if self.stage == Stage::Back {
            return Some(Step::PutBack);
        }
        if self.mode == Mode::Included && !self.is_needed && self.in_force.as_ref() == Some(&wanted) {
            return Some(Step::Stop);
        }
        if self.refused.is_some() && self.again_at.is_some_and(|at| now >= at) {
            self.again_at = None;
            return self.ask_again(wanted);
        }
        let is_blocked = self.blocked_until.is_some_and(|until| now < until);
        let is_refused = self.refused.as_ref().is_some_and(|(text, _)| *text == wanted);
        let is_up = matches!(self.state, State::Up { .. }) && self.silent_since.is_none();
        if !is_blocked && !is_refused && self.in_force.as_ref() != Some(&wanted) {
            match self.stage {
                // What says nothing needs no judgement.
                Stage::Written if self.is_needed => return Some(Step::Check(wanted)),
                Stage::Written | Stage::Checked if !self.may_go => {}
                Stage::Written | Stage::Checked => return Some(Step::Install(wanted)),
                Stage::Installed if is_up => return Some(Step::Reload),
                Stage::Reloaded if is_up => return Some(Step::Confirm),
                Stage::Installed | Stage::Reloaded | Stage::Back => {}
            }
        }
        match self.state {
            State::Finding => None,
            State::Down { retry_at } if now < retry_at || is_blocked => None,
            State::Down { .. } if self.mode == Mode::Included => Some(Step::Look),
            State::Down { .. } => {
                let manner = if self.left_since.is_some() { Manner::Recovering } else { Manner::Anew };
                self.has_file.then_some(Step::Start(manner))
            }
            State::Starting { since, .. } if now >= since + START_MAX => Some(Step::Kill),
            State::Up { .. } if self.mode == Mode::Own && self.is_silent_for_long(now) => Some(Step::Kill),
            State::Starting { look_at, .. } | State::Up { look_at, .. } => (now >= look_at).then_some(Step::Look),
        }
    }

    fn ask_again(&mut self, wanted: Arc<str>) -> Option<Step> {
        if self.is_needed {
            self.stage = Stage::Written;
            return Some(Step::Check(wanted));
        }
        (self.stage, self.refused) = (Stage::Installed, None);
        Some(Step::Look)
    }

    fn refuse(&mut self, text: Arc<str>, why: String, now: Duration) {
        self.refused = Some((text, why));
        self.again_at = (self.mode == Mode::Included).then_some(now + AGAIN);
    }

    fn is_silent_for_long(&self, now: Duration) -> bool {
        self.silent_since.is_some_and(|since| now >= since + SILENCE_MAX)
    }

    /// What became of the step that [`Supervisor::poll`] gave.
    pub fn handle(&mut self, outcome: Result<(), Trouble>, now: Duration) {
        let Some(step) = self.pending.take() else { return };
        match (step, outcome) {
            (Step::Look, outcome) => self.handle_look(outcome, now),
            (Step::Check(_), Ok(())) => (self.stage, self.refused) = (Stage::Checked, None),
            (Step::Install(text), Ok(())) => {
                (self.installed, self.has_file) = (Some(text), true);
                self.stage = Stage::Installed;
            }
            (Step::PutBack, outcome) => {
                (self.stage, self.installed) = (Stage::Written, self.in_force.clone());
                if let Err(trouble) = outcome {
                    self.block(trouble, now);
                }
            }
            (Step::Reload, Ok(())) => self.stage = Stage::Reloaded,
            (Step::Confirm, Ok(())) => (self.in_force, self.refused) = (self.installed.clone(), None),
            (Step::Start(_), Ok(())) => {
                self.started_with = self.installed.clone();
                self.state = State::Starting { since: now, look_at: now + LOOK_SOON };
            }
            (Step::Stop, _) => {
                (self.state, self.in_force, self.silent_since) = (State::Down { retry_at: now }, None, None);
                (self.stage, self.installed, self.has_file) = (Stage::Written, None, false);
                (self.wanted, self.left_since) = (None, None);
            }
            (Step::Flush, outcome) => self.left_since = outcome.is_err().then_some(now),
            (Step::Kill, _) => self.fall(now, Duration::ZERO, "BIRD did not answer, and was killed".into()),
            (Step::Check(text), Err(Trouble::Refused(why))) => self.refuse(text, why, now),
            (Step::Reload, Err(Trouble::Refused(why))) => {
                if let Some(wanted) = self.wanted.clone() {
                    self.refuse(wanted, why, now);
                }
                // What says nothing stays, for when theirs loads again.
                self.stage = if self.is_needed { Stage::Back } else { Stage::Installed };
            }
            (Step::Reload | Step::Confirm, Err(trouble @ (Trouble::Gone(_) | Trouble::Silent(_)))) => {
                // BIRD goes back by itself; the file is taken over again when it answers.
                self.stage = Stage::Installed;
                // Whether its process is there is found out by the next look.
                let trouble = match trouble {
                    Trouble::Gone(words) if self.mode == Mode::Own => Trouble::Silent(words),
                    trouble => trouble,
                };
                self.handle_look(Err(trouble), now);
            }
            (_, Err(trouble)) => self.block(trouble, now),
        }
    }

    fn handle_look(&mut self, outcome: Result<(), Trouble>, now: Duration) {
        let Err(trouble) = outcome else {
            let since = match self.state {
                State::Up { since, .. } => since,
                State::Starting { .. } => {
                    self.in_force = self.started_with.take();
                    now
                }
                State::Finding | State::Down { .. } => now,
            };
            self.state = State::Up { since, look_at: now + LOOK_INTERVAL };
            (self.silent_since, self.trouble, self.left_since) = (None, None, None);
            if now.saturating_sub(since) >= BACK_OFF_MAX {
                self.back_off = Duration::ZERO;
            }
            return;
        };
        let words = trouble.to_string();
        match (self.state, &trouble) {
            (_, Trouble::Refused(_)) if self.mode == Mode::Included => {
                // It answers, and has lost our part: whether it would take it is asked anew.
                self.state = State::Up { since: now, look_at: now + LOOK_INTERVAL };
                (self.in_force, self.stage, self.silent_since) = (None, Stage::Written, None);
            }
            (State::Starting { since, .. }, _) => self.state = State::Starting { since, look_at: now + LOOK_SOON },
            (State::Finding, Trouble::Gone(_)) if self.mode == Mode::Own => {
                self.state = State::Down { retry_at: now };
                self.left_since = self.has_file.then_some(now);
            }
            (State::Finding | State::Down { .. }, Trouble::Gone(_)) => {
                self.state = State::Down { retry_at: now + LOOK_INTERVAL };
                self.trouble = Some(words);
            }
            (State::Up { .. }, Trouble::Gone(_)) if self.mode == Mode::Included => {
                // When it is there again it has read whatever is in the file then.
                (self.state, self.in_force) = (State::Down { retry_at: now + LOOK_SILENT }, None);
                self.stage = self.stage.min_installed();
                self.left_since.get_or_insert(now);
                self.trouble = Some(words);
            }
            // Nobody listens and there is no process: one that was found while it was about to end.
            (State::Up { since, .. }, Trouble::Gone(_)) => self.fall(now, now.saturating_sub(since), words),
            (State::Finding | State::Down { .. } | State::Up { .. }, _) => {
                let since = if let State::Up { since, .. } = self.state { since } else { now };
                self.silent_since.get_or_insert(now);
                self.state = State::Up { since, look_at: now + LOOK_SILENT };
                self.trouble = Some(format!("BIRD does not answer: {words}"));
            }
        }
    }

    /// It is down, after it ran for some time.
    fn fall(&mut self, now: Duration, ran: Duration, words: String) {
        // Who has run for long starts again at once: the kernel still has its routes.
        let wait = if ran >= BACK_OFF_MAX { Duration::ZERO } else { self.back_off.max(BACK_OFF_MIN) };
        self.back_off = (wait * 2).min(BACK_OFF_MAX);
        self.state = State::Down { retry_at: now + wait };
        (self.in_force, self.silent_since) = (None, None);
        self.left_since.get_or_insert(now);
        self.stage = self.stage.min_installed();
        self.trouble = Some(words);
    }

    fn block(&mut self, trouble: Trouble, now: Duration) {
        self.trouble = Some(trouble.to_string());
        self.blocked_until = Some(now + BACK_OFF_MAX / 2);
    }
}

impl Stage {
    /// A text that was on its way into a BIRD that is gone is in its file all the same.
    fn min_installed(self) -> Stage {
        if self == Stage::Reloaded { Stage::Installed } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host as a test imagines it, with a clock.
    struct World {
        supervisor: Supervisor,
        now: Duration,
        steps: Vec<String>,
        is_up: bool,
        /// What steps come to, by their name; those that are not named succeed.
        troubles: Vec<(&'static str, Trouble)>,
    }

    impl World {
        fn new(mode: Mode, is_up: bool) -> World {
            let supervisor = Supervisor::new(mode, false);
            World { supervisor, now: Duration::from_secs(100), steps: Vec::new(), is_up, troubles: Vec::new() }
        }

        /// Lets so much time pass; what was done, in words.
        fn pass(&mut self, seconds: f64) -> String {
            let end = self.now + Duration::from_secs_f64(seconds);
            self.steps.clear();
            for _ in 0..10_000 {
                while let Some(step) = self.supervisor.poll(self.now) {
                    let outcome = self.outcome(&step);
                    self.supervisor.handle(outcome, self.now);
                }
                match self.supervisor.poll_timeout() {
                    Some(at) if at <= end => self.now = self.now.max(at) + Duration::from_millis(1),
                    _ => break,
                }
            }
            self.now = self.now.max(end);
            self.steps.join(" ")
        }

        fn outcome(&mut self, step: &Step) -> Result<(), Trouble> {
            let name = format!("{step:?}");
            let name = name.split('(').next().unwrap_or_default().to_owned();
            if name != "Look" {
                self.steps.push(name.clone());
            }
            if let Some((_, trouble)) = self.troubles.iter().find(|(of, _)| *of == name) {
                return Err(trouble.clone());
            }
            match step {
                Step::Start(_) => self.is_up = true,
                Step::Stop | Step::Kill => self.is_up = false,
                Step::Look | Step::Reload | Step::Confirm if !self.is_up => return Err(Trouble::Gone("nobody".into())),
                _ => {}
            }
            Ok(())
        }

        fn want(&mut self, text: &str) {
            self.supervisor.handle_wanted(Some(text));
        }

        fn die(&mut self) {
            self.is_up = false;
            self.supervisor.handle_death("signal 9", self.now);
        }

        fn problem(&self) -> String {
            self.supervisor.problem().unwrap_or_default()
        }
    }

    fn running(text: &str) -> World {
        let mut world = World::new(Mode::Own, false);
        world.want(text);
        assert_eq!(world.pass(1.0), "Check Install Start");
        assert!(world.supervisor.is_as_wanted(), "{:?}", world.supervisor);
        world
    }

    #[test]
    fn a_text_is_checked_before_it_is_in_force_and_confirmed_after() {
        let mut world = running("one");
        assert_eq!((world.pass(60.0).as_str(), world.problem().as_str()), ("", ""));
        world.want("two");
        assert!(!world.supervisor.is_as_wanted());
        assert_eq!(world.pass(6.0), "Check Install Reload Confirm");
        assert!(world.supervisor.is_as_wanted() && world.supervisor.word() == "running");
        world.supervisor.handle_wanted(None);
        assert_eq!((world.pass(60.0).as_str(), world.supervisor.word()), ("Stop", "not needed"));
        assert_eq!(world.supervisor.poll_timeout(), None, "and then there is nothing to wake up for");
    }

    #[test]
    fn a_text_that_is_refused_changes_nothing_and_is_not_tried_again() {
        let mut world = running("one");
        world.troubles = vec![("Check", Trouble::Refused("line 3".into()))];
        world.want("bad");
        assert_eq!((world.pass(600.0).as_str(), world.supervisor.word()), ("Check", "running"));
        assert_eq!(world.problem(), "BIRD refuses its configuration; what was in force stays: line 3");
        // What only the running one refuses is put back.
        world.troubles = vec![("Reload", Trouble::Refused("no".into()))];
        world.want("worse");
        assert_eq!(world.pass(600.0), "Check Install Reload PutBack");
        world.troubles.clear();
        world.want("one");
        assert_eq!((world.pass(60.0).as_str(), world.problem().as_str()), ("", ""));
        assert!(world.supervisor.is_as_wanted());
    }

    #[test]
    fn one_that_dies_is_started_again_ever_later_and_one_that_ran_for_long_at_once() {
        let mut world = running("one");
        world.pass(300.0);
        world.die();
        assert!(world.problem().contains("BIRD has ended: signal 9"), "{}", world.problem());
        assert_eq!(world.pass(0.2), "Start");
        assert_eq!(world.problem(), "");
        let mut waits = Vec::new();
        for _ in 0..9 {
            world.die();
            let before = world.now;
            while !world.pass(0.5).contains("Start") {}
            waits.push((world.now - before).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        world.pass(120.0);
        world.die();
        assert_eq!(world.pass(0.2), "Start");
    }

    #[test]
    fn one_that_is_silent_is_complained_of_and_killed_only_after_long() {
        let mut world = running("one");
        world.troubles = vec![("Look", Trouble::Silent("no answer in time".into()))];
        assert_eq!((world.pass(30.0).as_str(), world.supervisor.word()), ("", "silent"));
        assert!(world.problem().contains("BIRD does not answer: no answer in time"));
        world.troubles.clear();
        assert_eq!((world.pass(5.0).as_str(), world.problem().as_str()), ("", ""));
        world.troubles = vec![("Look", Trouble::Silent("no answer in time".into()))];
        assert_eq!(world.pass(67.0), "Kill Start");
        world.troubles.clear();
        world.pass(10.0);
        assert!(world.supervisor.is_as_wanted());
    }

    #[test]
    fn a_predecessors_is_taken_over_and_not_started_twice() {
        let mut world = World::new(Mode::Own, true);
        world.want("one");
        assert_eq!(world.pass(10.0), "Check Install Reload Confirm");
        assert!(world.supervisor.is_as_wanted());
    }

    #[test]
    fn a_predecessors_that_ends_while_it_is_looked_at_is_started_again_within_seconds() {
        let mut world = World::new(Mode::Own, true);
        world.troubles = vec![("Look", Trouble::Silent("connection reset".into()))];
        world.want("one");
        assert_eq!(world.pass(0.5), "Check Install");
        (world.is_up, world.troubles) = (false, Vec::new());
        assert_eq!(world.pass(5.0), "Start");
        assert!(world.supervisor.is_as_wanted(), "{:?}", world.supervisor);
    }

    #[test]
    fn a_text_that_comes_while_bird_starts_is_taken_over_by_it() {
        let mut world = World::new(Mode::Own, false);
        world.want("one");
        world.troubles = vec![("Look", Trouble::Gone("not yet".into()))];
        assert_eq!(world.pass(1.0), "Check Install Start");
        world.want("two");
        world.troubles.clear();
        assert_eq!(world.pass(1.0), "Check Install Reload Confirm", "it has read the first one");
        assert!(world.supervisor.is_as_wanted());
    }

    #[test]
    fn bird_that_is_not_installed_is_asked_for_and_found_later() {
        let mut world = World::new(Mode::Own, false);
        world.troubles = vec![("Check", Trouble::Missing)];
        world.want("one");
        assert_eq!(world.pass(100.0), "Check Check Check Check");
        assert_eq!(world.problem(), "bird is not installed: apt install bird2");
        world.troubles.clear();
        assert_eq!((world.pass(40.0).as_str(), world.problem().as_str()), ("Check Install Start", ""));
    }

    #[test]
    fn the_administrators_is_neither_started_nor_stopped() {
        let mut world = World::new(Mode::Included, false);
        world.want("one");
        assert_eq!((world.pass(30.0).as_str(), world.supervisor.word()), ("Check Install", "down"));
        assert_eq!(world.problem(), "nobody");
        world.is_up = true;
        assert_eq!(world.pass(10.0), "Reload Confirm");
        assert!(world.supervisor.is_as_wanted() && world.problem().is_empty());
        world.troubles = vec![("Reload", Trouble::Refused("line 3".into()))];
        world.want("bad");
        assert_eq!(world.pass(9.0), "Check Install Reload PutBack");
        assert!(world.problem().contains("line 3"));
        assert_eq!(world.pass(600.0).matches("PutBack").count(), 60, "every ten seconds, and no more");
        world.troubles.clear();
        world.supervisor.handle_wanted(None);
        assert_eq!(world.pass(600.0), "Install Reload Confirm Stop", "of a file that says nothing, and then of none");
        assert_eq!((world.supervisor.standing(), world.supervisor.word()), (Standing::Ended, "not needed"));
        assert_eq!(world.supervisor.poll_timeout(), None);
        world.is_up = true;
        world.want("one");
        assert_eq!(world.pass(10.0), "Check Install Reload Confirm");
    }

    #[test]
    fn what_the_administrator_mends_is_noticed_and_what_they_take_out_too() {
        let mut world = World::new(Mode::Included, true);
        world.troubles = vec![("Check", Trouble::Refused("it does not include it".into()))];
        world.supervisor.handle_considered("one");
        assert_eq!((world.pass(25.0).as_str(), world.supervisor.standing()), ("Check Check Check", Standing::Refused));
        assert!(world.problem().starts_with("the administrator's BIRD can't take our part: it does not"));
        world.troubles.clear();
        assert_eq!((world.pass(10.0).as_str(), world.supervisor.standing()), ("Check", Standing::Judged));
        world.want("one");
        assert_eq!(world.pass(10.0), "Install Reload Confirm");
        // They take the line out again, and reload.
        world.troubles =
            vec![("Look", Trouble::Refused("lost".into())), ("Check", Trouble::Refused("not there".into()))];
        assert_eq!((world.pass(6.0).as_str(), world.supervisor.standing()), ("Check", Standing::Refused));
        assert!(world.pass(600.0).split(' ').count() <= 61, "asked again, and not all the time");
        world.troubles.clear();
        assert_eq!(world.pass(11.0), "Check Install Reload Confirm");
        assert!(world.supervisor.is_as_wanted());
        // What they run does not load any more just when nothing is wanted: what says nothing stays in the file.
        world.troubles = vec![("Reload", Trouble::Refused("their line 7".into()))];
        world.supervisor.handle_wanted(None);
        assert_eq!(world.pass(9.0), "Install Reload");
        world.troubles.clear();
        assert_eq!(world.pass(11.0), "Reload Confirm Stop");
        assert_eq!(world.supervisor.standing(), Standing::Ended);
    }

    #[test]
    fn a_text_that_is_only_considered_is_judged_and_does_not_come_into_force() {
        let mut world = running("one");
        world.supervisor.handle_considered("two");
        assert_eq!((world.pass(600.0).as_str(), world.supervisor.standing()), ("Check", Standing::Judged));
        world.die();
        assert_eq!(world.pass(2.0), "Start", "with what was in force");
        world.want("two");
        assert_eq!(world.supervisor.standing(), Standing::UnderWay);
        assert_eq!(
            (world.pass(10.0).as_str(), world.supervisor.standing()),
            ("Install Reload Confirm", Standing::InForce)
        );
        world.supervisor.handle_considered("two");
        assert_eq!(world.supervisor.standing(), Standing::InForce);
        world.troubles = vec![("Check", Trouble::Refused("line 3".into()))];
        world.supervisor.handle_considered("bad");
        assert_eq!((world.pass(10.0).as_str(), world.supervisor.standing()), ("Check", Standing::Refused));
        world.supervisor.handle_wanted(None);
        assert_eq!((world.pass(10.0).as_str(), world.supervisor.standing()), ("Stop", Standing::Ended));
    }

    #[test]
    fn routes_of_one_that_does_not_come_back_go_after_two_minutes() {
        let mut world = running("one");
        world.pass(300.0);
        world.troubles = vec![("Start", Trouble::Missing)];
        world.die();
        assert!(!world.pass(119.0).contains("Flush"));
        assert_eq!(world.pass(3.0).matches("Flush").count(), 1);
        assert!(!world.pass(600.0).contains("Flush"), "once");
        world.troubles.clear();
        world.pass(60.0);
        assert!(world.supervisor.is_as_wanted());
        // One that was left by a dead predecessor and is wanted no more goes with all that it left.
        let mut world = World::new(Mode::Own, false);
        world.supervisor = Supervisor::new(Mode::Own, true);
        world.supervisor.handle_wanted(None);
        assert_eq!((world.pass(600.0).as_str(), world.supervisor.standing()), ("Stop", Standing::Ended));
    }

    #[test]
    fn a_change_that_was_not_confirmed_is_taken_over_again_when_bird_answers() {
        let mut world = running("one");
        world.troubles = vec![("Confirm", Trouble::Silent("gone".into()))];
        world.want("two");
        assert!(world.pass(1.0).starts_with("Check Install Reload Confirm"));
        assert!(!world.supervisor.is_as_wanted());
        world.troubles.clear();
        assert_eq!(world.pass(10.0), "Reload Confirm");
        assert!(world.supervisor.is_as_wanted());
    }
}
