//! The lab's end of the control socket, and its wait for the end.
//!
//! One thread, one connection at a time: requests are short, but for pings, and a lab has one user. The loop ends on
//! SIGINT, SIGTERM or a request to end. A client that sends nothing, too much or nonsense is refused and forgotten.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wayleave_agent::control::line::{hear, listen, reply};
use wayleave_agent::system::signals::wait_readable;
use wayleave_core::file::nearest;

pub use wayleave_agent::system::signals::Signals;

use super::{Entry, PROTOCOL, Request, Response, Status};
use crate::limits::PING_COUNT_CONTROL_MAX;
use crate::session::{Lab, LabError, Place};

/// How soon after long work its watcher ends, in milliseconds.
const WATCH_INTERVAL_MS: i32 = 50;

/// Does something that takes long; if a signal arrives meanwhile, `interrupted` is called in another thread, to end the
/// process.
pub fn watch_while<T>(signals: &Signals, interrupted: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !finished.load(Ordering::Acquire) {
                if wait_readable(&[signals.as_fd()], WATCH_INTERVAL_MS).is_ok_and(|ready| ready[0]) {
                    return interrupted();
                }
            }
        });
        let outcome = work();
        finished.store(true, Ordering::Release);
        outcome
    })
}

/// Answers requests until a signal or a request ends the lab.
///
/// # Errors
/// If the socket can't be made or waited for.
pub fn serve(lab: &mut Lab, lab_name: &str, signals: &Signals) -> io::Result<()> {
    let listener = listen(&lab.socket())?;
    loop {
        let ready = wait_readable(&[signals.as_fd(), listener.as_fd()], -1)?;
        if ready[0] {
            return Ok(());
        }
        if !ready[1] {
            continue;
        }
        let Ok((stream, _)) = listener.accept() else { continue };
        if matches!(converse(lab, lab_name, &stream), Ok(true)) {
            return Ok(());
        }
    }
}

/// One request and its answer; true if it was the last.
fn converse(lab: &mut Lab, lab_name: &str, stream: &UnixStream) -> io::Result<bool> {
    let request = hear(&PROTOCOL, stream);
    let last = matches!(request, Ok(Request::Down));
    let response = request.and_then(|request| answer(lab, lab_name, request)).unwrap_or_else(Response::Refused);
    reply(&PROTOCOL, stream, &response)?;
    Ok(last)
}

fn answer(lab: &mut Lab, lab_name: &str, request: Request) -> Result<Response, String> {
    let words = |error: LabError| chain(&error);
    match request {
        Request::Status => Ok(Response::Status(status(lab, lab_name).map_err(words)?)),
        Request::Ping { from, to, count } => {
            let pairs = pairs(lab, &from, &to)?;
            lab.follow_clients();
            let count = count.clamp(1, PING_COUNT_CONTROL_MAX);
            Ok(Response::Pairs(lab.measure_pairs(&pairs, count).map_err(words)?))
        }
        Request::Fail(fault) => lab.fail(fault).map(|()| Response::Done).map_err(|error| chain(&error)),
        Request::Heal(target) => lab.heal(&target).map(|()| Response::Done).map_err(|error| chain(&error)),
        Request::Move { client, region, keep_address } => {
            let moved = lab.move_client(&client, &region, keep_address);
            moved.map(|address| Response::Moved { address }).map_err(|error| chain(&error))
        }
        Request::Enter { place } => entry(lab, &place).map(Response::Entry),
        Request::Down => Ok(Response::Done),
    }
}

/// An error and its causes as one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn status(lab: &mut Lab, lab_name: &str) -> Result<Status, LabError> {
    let milliseconds = |late: Duration| late.as_secs_f64() * 1_000.0;
    let stats = lab.wire().stats()?;
    let clients = lab.follow_clients();
    Ok(Status {
        lab: lab_name.to_owned(),
        network: lab.plan.network.name.to_string(),
        pid: std::process::id(),
        links: lab.links()?,
        clients,
        sessions: lab.sessions(),
        faults: lab.faults().iter().map(ToString::to_string).collect(),
        wire_lateness_p99_ms: milliseconds(stats.lateness.p99),
        wire_lateness_max_ms: milliseconds(stats.lateness.max),
    })
}

fn place(lab: &Lab, name: &str) -> Result<Place, String> {
    lab.find_place(name).ok_or_else(|| {
        let all: Vec<String> = lab.places().into_iter().take(20).map(|place| lab.place_name(place)).collect();
        let names: Vec<String> = lab.places().into_iter().map(|place| lab.place_name(place)).collect();
        let meant = nearest(name, names.iter().map(String::as_str));
        let meant = meant.map_or_else(String::new, |word| format!("did you mean {word}? "));
        format!("there is no {name} in this lab; {meant}there are {}", all.join(", "))
    })
}

fn pairs(lab: &Lab, from: &str, to: &[String]) -> Result<Vec<(Place, Place)>, String> {
    let from = place(lab, from)?;
    let to: Vec<Place> = if to.is_empty() {
        lab.places().into_iter().filter(|to| *to != from).collect()
    } else {
        to.iter().map(|name| place(lab, name)).collect::<Result<_, _>>()?
    };
    Ok(to.into_iter().map(|to| (from, to)).collect())
}

fn entry(lab: &Lab, name: &str) -> Result<Entry, String> {
    let place = place(lab, name)?;
    let namespace = lab.namespace(place).ok_or_else(|| format!("{name} has no namespace"))?;
    let uapi = match place {
        Place::Member(member) => lab.uapi_directory(member).map(|path| path.display().to_string()),
        Place::Neighbour(at) => lab.neighbour_directory(at).map(|path| path.display().to_string()),
        Place::Lan(_) | Place::Far(_) => None,
    };
    Ok(Entry {
        pid: std::process::id(),
        network_fd: namespace.as_fd().as_raw_fd(),
        in_user_namespace: wayleave_agent::system::directory::in_user_namespace(),
        uapi,
    })
}
