//! A thread that keeps BIRD as wanted: what [`super::Supervisor`] decides, [`super::hands::Hands`] does.
//!
//! In: what BIRD is to be told, and at last how it ends. Out: a [`Report`] whenever something has changed, and after every look.
//! Whoever gives orders never waits for BIRD, except for its end.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::hands::{Hands, Paths, Seen};
use super::supervisor::{Mode, Standing, Step, Supervisor, Trouble};
use super::theirs;
use crate::system::signals::wait_readable;

/// What is started.
const PROGRAM: &str = "bird";

/// How BIRD is.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In one word: `running`, `starting`, `down`, `silent`, `not needed`.
    pub state: &'static str,
    /// Whether it runs with what is wanted.
    pub is_as_wanted: bool,
    /// The number of the order that was heard last.
    pub order: u64,
    /// How it stands to what that says.
    pub standing: Standing,
    /// What is wrong, if anything.
    pub problem: Option<String>,
    /// What was seen at the last look, while it answers.
    pub seen: Option<Seen>,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// BIRD goes on, and so do its routes; whoever comes next finds it.
    Leave,
    /// BIRD ends, and takes its routes back.
    Stop,
    /// The same, and its files go.
    Remove,
}

enum Order {
    Consider(String, u64),
    Want(Option<String>, u64),
    Died,
    End(End),
}

/// A BIRD that is kept.
#[derive(Debug)]
pub struct Service {
    orders: Sender<Order>,
    given: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts to keep one; nothing is wanted yet. What others have left elsewhere is ended first. `tell` is called from the thread and
    /// must not wait.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(paths: Paths, left: Vec<Paths>, tell: impl Fn(Report) + Send + 'static) -> io::Result<Service> {
        let (orders, received) = channel();
        let again = orders.clone();
        let (mode, hands) = (paths.mode(), Hands::new(paths));
        let supervisor = Supervisor::new(mode, mode == Mode::Own && hands.has_file());
        let keeper = Keeper { supervisor, hands, began: Instant::now(), orders: again, order: 0, is_watched: false };
        let run = move || {
            // What can't be ended now is reported by what it is in the way of.
            left.into_iter().for_each(|left| drop(end_left(left)));
            keeper.run(&received, &tell);
        };
        let thread = std::thread::Builder::new().name("bird".into()).spawn(run)?;
        Ok(Service { orders, given: AtomicU64::new(0), thread: Some(thread) })
    }

    /// What is to be judged, and not to be in force before it is wanted. The number of the order.
    pub fn consider(&self, text: String) -> u64 {
        let number = self.number();
        // The thread ends only by an order.
        let _ = self.orders.send(Order::Consider(text, number));
        number
    }

    /// What is to be in force from here on; nothing: no BIRD is needed. The number of the order.
    pub fn want(&self, text: Option<String>) -> u64 {
        let number = self.number();
        let _ = self.orders.send(Order::Want(text, number));
        number
    }

    fn number(&self) -> u64 {
        self.given.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends, and waits until that is done.
    pub fn end(mut self, end: End) {
        let _ = self.orders.send(Order::End(end));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where BIRD's program is: where programs are, or where Debian has it, which is out of many users' path.
pub fn program() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&paths).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    all.map(|directory| directory.join(PROGRAM)).find(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into())
}

/// What of BIRD is in a network's directory, or noted there: one of ours, a part of the administrator's.
pub fn left(place: &Path, program: &Path) -> Vec<Paths> {
    let own = Some(Paths::own(place, program, false)).filter(|own| own.configuration.exists());
    own.into_iter().chain(theirs::noted(place, program)).collect()
}

/// Ends it: one of ours with its routes and files, or our part of the administrator's.
///
/// # Errors
/// What is in the way.
pub fn end_left(left: Paths) -> Result<(), Trouble> {
    let (mode, mut hands) = (left.mode(), Hands::new(left));
    match mode {
        Mode::Own => hands.carry_out(&Step::Stop).map(|()| hands.remove_files()),
        Mode::Included => hands.withdraw(),
    }
}

struct Keeper {
    supervisor: Supervisor,
    hands: Hands,
    began: Instant,
    orders: Sender<Order>,
    /// The number of the last one.
    order: u64,
    /// Whether somebody waits for the end of the process.
    is_watched: bool,
}

impl Keeper {
    fn run(mut self, orders: &Receiver<Order>, tell: &dyn Fn(Report)) {
        let mut is_wanted = false;
        loop {
            let wake = self.supervisor.poll_timeout().filter(|_| is_wanted);
            let order = match wake {
                None => orders.recv().ok(),
                Some(at) => match orders.recv_timeout(at.saturating_sub(self.began.elapsed())) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            match order {
                // A predecessor's BIRD is looked for as soon as anything is said about one.
                Some(Order::Consider(text, number)) => {
                    (is_wanted, self.order) = (true, number);
                    self.supervisor.handle_considered(&text);
                }
                Some(Order::Want(text, number)) => {
                    (is_wanted, self.order) = (true, number);
                    self.supervisor.handle_wanted(text.as_deref());
                }
                Some(Order::Died) => self.is_watched = false,
                Some(Order::End(end)) => return self.end(end),
                None if wake.is_none() => return,
                None => {}
            }
            self.work();
            tell(Report {
                state: self.supervisor.word(),
                is_as_wanted: self.supervisor.is_as_wanted(),
                order: self.order,
                standing: self.supervisor.standing(),
                problem: self.supervisor.problem(),
                seen: self.hands.seen.clone(),
            });
        }
    }

    /// Does all that is to be done now.
    fn work(&mut self) {
        loop {
            if let Some(words) = self.hands.poll_death() {
                self.supervisor.handle_death(&words, self.began.elapsed());
            }
            if !self.is_watched
                && let Some(handle) = self.hands.death()
            {
                self.is_watched = self.watch(handle);
            }
            let Some(step) = self.supervisor.poll(self.began.elapsed()) else { break };
            let outcome = self.hands.carry_out(&step);
            if step == Step::Stop {
                // Nothing is wanted: nothing is left.
                self.hands.remove_files();
            }
            self.supervisor.handle(outcome, self.began.elapsed());
        }
    }

    /// Waits beside this thread for the end of the process; whether somebody does.
    fn watch(&self, handle: OwnedFd) -> bool {
        let orders = self.orders.clone();
        let wait = move || {
            while !wait_readable(&[handle.as_fd()], -1).is_ok_and(|ready| ready[0]) {
                std::thread::sleep(Duration::from_millis(100));
            }
            let _ = orders.send(Order::Died);
        };
        std::thread::Builder::new().name("bird's end".into()).spawn(wait).is_ok()
    }

    fn end(mut self, end: End) {
        match (self.supervisor.mode(), end) {
            (_, End::Leave) => {}
            (Mode::Own, End::Stop | End::Remove) => {
                let _ = self.hands.carry_out(&Step::Stop);
                if end == End::Remove {
                    self.hands.remove_files();
                }
            }
            // The administrator's goes on, and includes a file that says nothing any more.
            (Mode::Included, _) => {
                self.supervisor.handle_wanted(None);
                self.work();
                if end == End::Remove {
                    let _ = self.hands.carry_out(&Step::Stop);
                }
            }
        }
    }
}
