//! Where events come from: one thread for each thing to wait for, and all in the network namespace of the agent.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use wayleave_core::host::ROUTE_PROTOCOL;

use super::agent::Agent;
use super::{AgentError, Event, Weight, log};
use crate::control::server::{listen, serve};
use crate::netlink::Watch;
use crate::system::signals::Signals;
use crate::system::watch_files::FileWatch;

/// Until files are watched again whose directory has gone.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// Starts all that last as long as the agent.
pub fn start(agent: &mut Agent, events: &SyncSender<Event>, signals: Signals) -> Result<(), AgentError> {
    let mut kernel = Watch::open(ROUTE_PROTOCOL, agent.reconciler.host().port()?)?;
    let socket = agent.socket_path();
    let listener = listen(&socket).map_err(crate::system::directory::refusal("listen at", &socket))?;
    let to = events.clone();
    thread("signals", move || {
        while let Ok(signal) = signals.wait() {
            if to.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    let to = events.clone();
    thread("kernel news", move || {
        loop {
            match kernel.wait() {
                Ok(()) if to.send(Event::KernelChanged).is_ok() => {}
                Ok(()) => return,
                Err(error) => return log(Weight::Error, &format!("no more news from the kernel: {error}")),
            }
        }
    })?;
    let to = events.clone();
    thread("control socket", move || serve(&listener, move |asked| to.try_send(Event::Asked(asked)).is_ok()))?;
    watch(agent.files().to_vec(), events)
}

/// Watches files for as long as the agent lives; called again when there are others.
pub fn watch(files: Vec<PathBuf>, events: &SyncSender<Event>) -> Result<(), AgentError> {
    let mut watch = FileWatch::open(&files).map_err(failed("watch the network file"))?;
    let to = events.clone();
    thread("files", move || {
        while watch.wait().is_ok() {
            // Links may lead elsewhere now; a directory that is just being replaced is there again soon.
            watch = loop {
                match FileWatch::open(&files) {
                    Ok(watch) => break watch,
                    Err(_) => std::thread::sleep(WATCH_AGAIN),
                }
            };
            if to.send(Event::FileChanged).is_err() {
                return;
            }
        }
    })
}

fn thread(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), AgentError> {
    std::thread::Builder::new().name(name.into()).spawn(work).map(drop).map_err(failed("start a thread"))
}

fn failed(attempt: &'static str) -> impl FnOnce(io::Error) -> AgentError {
    move |source| AgentError::Io { attempt, source }
}
