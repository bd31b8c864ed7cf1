//! The queue of events between a device and its owner: bounded, never blocking the device.
//!
//! When nobody reads, the oldest events go and are counted, so that the device's memory and pace don't depend on its owner. An
//! owner with a loop of its own polls the queue's descriptor, which is readable while events wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sys;
use crate::config::Event;
use crate::limits::EVENTS_MAX;

/// The reading end of a device's events; lives as long as the device or the last clone of the `Arc` around it.
#[derive(Debug)]
pub struct Events {
    readable: OwnedFd,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Event>,
    lost: u64,
}

impl Events {
    pub(super) fn new() -> io::Result<Events> {
        Ok(Events { readable: sys::eventfd()?, state: Mutex::default(), arrived: Condvar::new() })
    }

    /// The next event, if one waits.
    pub fn poll(&self) -> Option<Event> {
        self.take(&mut self.lock())
    }

    /// The next event, or none after `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<Event> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(event) = self.take(&mut state) {
                return Some(event);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many events were dropped because nobody read them.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    pub(super) fn push(&self, event: Event) {
        let mut state = self.lock();
        if state.queue.len() >= EVENTS_MAX {
            state.queue.pop_front();
            state.lost += 1;
        }
        state.queue.push_back(event);
        // The counter can't be full: it is at most the queue's length.
        let _ = sys::write(self.readable.as_fd(), &1u64.to_ne_bytes());
        drop(state);
        self.arrived.notify_all();
    }

    /// Takes an event; with the last one the descriptor stops being readable.
    fn take(&self, state: &mut State) -> Option<Event> {
        let event = state.queue.pop_front();
        if state.queue.is_empty() {
            let _ = sys::read(self.readable.as_fd(), &mut [0; 8]);
        }
        event
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Events {
    /// Readable while events wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}
