//! A thread that keeps BIRD as wanted: what [`super::Supervisor`] decides, [`super::hands::Hands`] does.
//!
//! In: what BIRD is to be told, and at last how it ends. Out: a [`Report`] whenever something has changed, and after every look.
//! Whoever gives orders never waits for BIRD, except for its end.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::hands::{Hands, Paths, Seen};
use super::supervisor::{Mode, Step, Supervisor};
use crate::system::signals::wait_readable;

/// How BIRD is.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In one word: `running`, `starting`, `down`, `silent`, `not needed`.
    pub state: &'static str,
    /// Whether it runs with what is wanted.
    pub is_as_wanted: bool,
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
    Want(Option<String>),
    Died,
    End(End),
}

/// A BIRD that is kept.
#[derive(Debug)]
pub struct Service {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts to keep one; nothing is wanted yet. `tell` is called from the thread and must not wait.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(mode: Mode, paths: Paths, tell: impl Fn(Report) + Send + 'static) -> io::Result<Service> {
        let (orders, received) = channel();
        let again = orders.clone();
        let hands = Hands::new(paths);
        let supervisor = Supervisor::new(mode, mode == Mode::Own && hands.has_file());
        let keeper = Keeper { mode, supervisor, hands, began: Instant::now(), orders: again, is_watched: false };
        let thread = std::thread::Builder::new().name("bird".into()).spawn(move || keeper.run(&received, &tell))?;
        Ok(Service { orders, thread: Some(thread) })
    }

    /// What is to be in force from here on; nothing: no BIRD is needed.
    pub fn want(&self, text: Option<String>) {
        // The thread ends only by an order.
        let _ = self.orders.send(Order::Want(text));
    }

    /// Ends, and waits until that is done.
    pub fn end(mut self, end: End) {
        let _ = self.orders.send(Order::End(end));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Keeper {
    mode: Mode,
    supervisor: Supervisor,
    hands: Hands,
    began: Instant,
    orders: Sender<Order>,
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
                Some(Order::Want(text)) => {
                    // A predecessor's BIRD is looked for as soon as anything is said about one.
                    is_wanted = true;
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
        match (self.mode, end) {
            (_, End::Leave) => {}
            (Mode::Own, End::Stop | End::Remove) => {
                let _ = self.hands.carry_out(&Step::Stop);
                if end == End::Remove {
                    self.hands.remove_files();
                }
            }
            // The administrator's configuration includes the file: it stays, and says nothing.
            (Mode::Included, _) => {
                let _ = self.hands.carry_out(&Step::Install("# Nothing is wanted of BIRD.\n".into()));
                let _ = self.hands.carry_out(&Step::Reload).and_then(|()| self.hands.carry_out(&Step::Confirm));
            }
        }
    }
}
