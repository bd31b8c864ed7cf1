//! Further threads for the cryptography of a device, and for sending and writing what came of it.
//!
//! The device's thread decides everything: it alone touches the tunnel, reads packets and datagrams, and makes jobs of them. There
//! are three lanes, each [`Ordered`]: *sealing* (an outbox is sealed by anybody, then sent in order), *opening* (a batch is
//! opened by anybody, then handed back to the device's thread in order), and *writing* (a batch that the tunnel has judged goes to
//! the interface in order). So packets of a flow stay in order by construction, while several threads work for one peer.
//!
//! Nobody is the sender or the writer for long: who finds the oldest job done takes it out, and whoever ends a job meanwhile leaves
//! it there. Where a lane is full the device's thread helps; it never waits for a job that nobody has begun. Threads are started when
//! first needed and end with the pool. One lock guards the lanes; a job is tens of microseconds of work, so it is rarely held.

pub mod batch;
mod ordered;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use batch::Batch;
use ordered::Ordered;

use super::outbox::Outbox;
use super::sys;
use super::tun::Tun;
use super::udp::{Failure, Sockets};
use crate::limits::{JOBS_IN_FLIGHT_MAX, THREAD_SLICE};
use crate::time::Monotonic;
use crate::tunnel::{PeerId, Tunnel};

/// An outbox to seal and to send.
#[derive(Debug)]
pub struct Sealing {
    /// What leaves.
    pub outbox: Outbox,
    /// Where it leaves.
    pub sockets: Arc<Sockets>,
    /// When it was made.
    pub now: Monotonic,
}

/// The threads and what they work on.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    /// How many threads there should be.
    wanted: usize,
    threads: Vec<JoinHandle<()>>,
}

/// What all threads see.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is a job to begin, or the end has come.
    arrived: Condvar,
    /// Something has left a lane, or can be taken from the opening lane.
    progress: Condvar,
    /// Readable when a batch was opened while the device's thread slept.
    opened: OwnedFd,
    tun: Arc<Tun>,
}

#[derive(Debug, Default)]
struct State {
    /// In which lanes the jobs are that nobody has begun, in the order in which they came.
    waiting: VecDeque<Lane>,
    sealing: Ordered<Sealing>,
    opening: Ordered<Batch>,
    writing: Ordered<Batch>,
    /// To be used again: no more than there were in flight.
    outboxes: Vec<Outbox>,
    batches: Vec<Batch>,
    /// For the tunnel. No more than there are datagrams in flight, since the device's thread takes them at each turn.
    failures: Vec<(Option<PeerId>, Failure)>,
    refused: u64,
    /// How many threads wait for work.
    idle: usize,
    /// The device's thread sleeps, or is about to.
    owner_sleeps: bool,
    /// The device's thread waits for progress.
    owner_waits: bool,
    /// How many jobs each thread has done.
    jobs: Vec<u64>,
    ends: bool,
    /// A thread has panicked, and its job is lost.
    broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Sealing,
    Opening,
    Writing,
}

impl Pool {
    /// A pool of `threads` threads beside the device's own, none of which runs yet.
    pub fn new(threads: usize, tun: Arc<Tun>) -> io::Result<Pool> {
        let state = State { jobs: vec![0; threads], ..State::default() };
        let shared = Shared {
            state: Mutex::new(state),
            arrived: Condvar::new(),
            progress: Condvar::new(),
            opened: sys::eventfd()?,
            tun,
        };
        Ok(Pool { shared: Arc::new(shared), wanted: threads, threads: Vec::new() })
    }

    /// Readable when [`Pool::opened`] has something for a thread that sleeps.
    pub fn raw_fd(&self) -> RawFd {
        self.shared.opened.as_raw_fd()
    }

    /// Makes [`Pool::raw_fd`] quiet.
    pub fn hush(&self) {
        let _ = sys::read(self.shared.opened.as_fd(), &mut [0; 8]);
    }

    /// Whether nothing is on its way out.
    pub fn nothing_leaves(&self) -> bool {
        self.shared.lock().sealing.is_empty()
    }

    /// Whether nothing is on its way in.
    pub fn nothing_comes(&self) -> bool {
        let state = self.shared.lock();
        state.opening.is_empty() && state.writing.is_empty()
    }

    /// Whether no more batches should come in for now.
    pub fn is_full_of_batches(&self) -> bool {
        self.shared.lock().opening.len() >= JOBS_IN_FLIGHT_MAX
    }

    /// An outbox that was used before, or a new one.
    pub fn outbox(&self) -> Outbox {
        self.shared.lock().outboxes.pop().unwrap_or_default()
    }

    /// A batch that was used before, if there is one.
    pub fn batch(&self) -> Option<Batch> {
        self.shared.lock().batches.pop()
    }

    /// A batch that is used no more.
    pub fn put_back(&self, batch: Batch) {
        self.shared.lock().batches.push(batch);
    }

    /// Has an outbox sealed and sent.
    pub fn seal(&mut self, job: Sealing) {
        self.start();
        let mut state = self.shared.lock();
        while state.sealing.len() >= JOBS_IN_FLIGHT_MAX {
            state = self.shared.help(state);
        }
        state.sealing.push(job);
        self.call(state, Lane::Sealing);
    }

    /// Has a batch opened, to be taken from [`Pool::opened`].
    pub fn open(&mut self, batch: Batch) {
        self.start();
        let mut state = self.shared.lock();
        state.opening.push(batch);
        self.call(state, Lane::Opening);
    }

    /// Has a batch written.
    pub fn write(&mut self, batch: Batch) {
        self.start();
        let mut state = self.shared.lock();
        while state.writing.len() >= JOBS_IN_FLIGHT_MAX {
            state = self.shared.help(state);
        }
        state.writing.push(batch);
        self.call(state, Lane::Writing);
    }

    /// The next batch in order, if it is opened.
    pub fn opened(&self) -> Option<Batch> {
        let mut state = self.shared.lock();
        state.owner_sleeps = false;
        let batch = state.opening.leave();
        // Only the device's thread takes batches out, so there is an order without this.
        state.opening.left();
        batch
    }

    /// Tells the tunnel what did not work.
    pub fn report(&self, tunnel: &mut Tunnel) {
        let mut state = self.shared.lock();
        let (failures, refused) = (std::mem::take(&mut state.failures), std::mem::take(&mut state.refused));
        drop(state);
        for (peer, failure) in failures {
            failure.tell(peer, tunnel);
        }
        if refused > 0 {
            tunnel.handle_tun_refused(refused);
        }
    }

    /// Helps, or waits until something has happened. False if there is nothing to wait for: all lanes are empty.
    pub fn advance(&self) -> bool {
        let state = self.shared.lock();
        if state.opening.can_leave() {
            return true;
        }
        let is_busy = !(state.sealing.is_empty() && state.opening.is_empty() && state.writing.is_empty());
        if is_busy {
            drop(self.shared.help(state));
        }
        is_busy
    }

    /// Whether the device's thread may sleep: it will be woken when a batch was opened. False if one is already.
    pub fn may_sleep(&self) -> bool {
        let mut state = self.shared.lock();
        state.owner_sleeps = !state.opening.can_leave();
        state.owner_sleeps
    }

    /// How many jobs each thread has done.
    pub fn jobs(&self) -> Vec<u64> {
        self.shared.lock().jobs.clone()
    }

    /// Has somebody begin the job that was just put into a lane.
    fn call<'a>(&'a self, mut state: MutexGuard<'a, State>, lane: Lane) {
        state.waiting.push_back(lane);
        if self.threads.is_empty() {
            while !state.waiting.is_empty() {
                state = self.shared.work(state).0;
            }
        } else if state.idle > 0 {
            drop(state);
            self.shared.arrived.notify_one();
        }
    }

    /// Starts the threads, if they don't run yet.
    fn start(&mut self) {
        for number in self.threads.len()..self.wanted {
            let shared = Arc::clone(&self.shared);
            let name = format!("wayleave-eng/{}", number + 1);
            match std::thread::Builder::new().name(name).spawn(move || shared.run(number)) {
                Ok(thread) => self.threads.push(thread),
                // The system has no more threads. Fewer do as well; without any, the device's thread does all.
                Err(_) => self.wanted = number,
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of it was reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn run(&self, number: usize) {
        let _alarm = Alarm(self);
        sys::ask_for_short_slices(THREAD_SLICE);
        let mut state = self.lock();
        loop {
            let (after, worked) = self.work(state);
            state = after;
            if worked {
                if let Some(jobs) = state.jobs.get_mut(number) {
                    *jobs += 1;
                }
            } else if state.ends {
                return;
            } else {
                state.idle += 1;
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    /// The device's thread does what nobody else has begun or, if there is no such thing, waits for progress.
    fn help<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        assert!(!state.broken, "a thread of the device has panicked");
        let (mut state, worked) = self.work(state);
        if !worked {
            state.owner_waits = true;
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.owner_waits = false;
        }
        state
    }

    /// Does the job that has waited longest, and what can then leave its lane. False if none waits.
    fn work<'a>(&'a self, mut state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, bool) {
        let Some(lane) = state.waiting.pop_front() else { return (state, false) };
        match lane {
            Lane::Sealing => {
                let Some((number, mut job)) = state.sealing.begin() else { return (state, true) };
                drop(state);
                job.outbox.seal();
                state = self.lock();
                state.sealing.end(number, job);
                state = self.send(state);
            }
            Lane::Opening => {
                let Some((number, mut batch)) = state.opening.begin() else { return (state, true) };
                drop(state);
                batch.open();
                state = self.lock();
                state.opening.end(number, batch);
                if state.opening.can_leave() && std::mem::take(&mut state.owner_sleeps) {
                    // The counter can't be full: the device's thread reads it each time.
                    let _ = sys::write(self.opened.as_fd(), &1u64.to_ne_bytes());
                }
                self.note_progress(&state);
            }
            Lane::Writing => {
                let Some((number, batch)) = state.writing.begin() else { return (state, true) };
                state.writing.end(number, batch);
                state = self.write(state);
            }
        }
        (state, true)
    }

    /// Sends what is sealed, in order, unless somebody is at it.
    fn send<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut failures = Vec::new();
        while let Some(Sealing { mut outbox, sockets, now }) = state.sealing.leave() {
            drop(state);
            outbox.send(now, &sockets, |peer, failure| failures.push((peer, failure)));
            // Before the lane is found empty: whoever waits for that wants the port to be free.
            drop(sockets);
            state = self.lock();
            state.sealing.left();
            state.outboxes.push(outbox);
            state.failures.append(&mut failures);
            self.note_progress(&state);
        }
        state
    }

    /// Writes what was judged, in order, unless somebody is at it.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while let Some(mut batch) = state.writing.leave() {
            drop(state);
            let refused = batch.write(&self.tun);
            state = self.lock();
            state.writing.left();
            state.batches.push(batch);
            state.refused += refused;
            self.note_progress(&state);
        }
        state
    }

    fn note_progress(&self, state: &State) {
        if state.owner_waits {
            self.progress.notify_one();
        }
    }
}

/// Tells the device's thread if a thread ends by a panic, instead of letting it wait for the lost job for ever.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().broken = true;
            self.0.progress.notify_one();
        }
    }
}
