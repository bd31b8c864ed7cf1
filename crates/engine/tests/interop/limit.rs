//! No test hangs: one that takes longer than any should ends the program, with its name.
//!
//! Waits have limits of their own where that is easy. This is for the rest: engines of others that never answer, threads that a
//! panic elsewhere has left waiting. Programs that were started end with it.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The slowest takes half a minute alone, and each may share its processor with several others.
const TEST_MAX: Duration = Duration::from_secs(240);

/// Programs that this one has started and will end.
static PROGRAMS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The time that a test has, from here until this is dropped.
pub struct Limit {
    _held: Sender<()>,
}

impl Limit {
    /// What any test may take.
    pub fn of_any_test() -> Limit {
        Limit::of(TEST_MAX)
    }

    /// What a long one may take.
    pub fn of(time: Duration) -> Limit {
        let (held, ends) = channel();
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        std::thread::spawn(move || {
            if ends.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                eprintln!("interop::{test} has not ended after {time:?}");
                end_programs();
                std::process::abort();
            }
        });
        Limit { _held: held }
    }
}

/// A program was started.
pub fn note_started(pid: u32) {
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
}

/// It has ended and was waited for.
pub fn note_ended(pid: u32) {
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != pid);
}

fn end_programs() {
    for pid in PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // SAFETY: takes no pointers; nobody has waited for the process, so the number is still its own.
        unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
    }
}

#[test]
fn who_takes_too_long_is_ended_and_who_does_not_is_not() {
    const INNER: &str = "WAYLEAVE_LIMIT_REACHED";
    let short = Duration::from_millis(50);
    if std::env::var_os(INNER).is_some() {
        let _limit = Limit::of(short);
        std::thread::sleep(Duration::from_secs(20));
        return;
    }
    drop(Limit::of(short));
    let test = std::thread::current().name().unwrap().to_owned();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture"])
        .env(INNER, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("has not ended after 50ms"), "{said}");
}
