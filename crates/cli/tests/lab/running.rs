//! A lab that stays up: started by a test, asked through the other commands, ended with it.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::desk::{Desk, Ran, WAYLEAVE};

/// How long a lab may take until it can be asked, on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
/// How long it may take to end.
const END_MAX: Duration = Duration::from_secs(20);

/// A running lab. Dropped, it is ended, whatever happened.
pub struct Running<'a> {
    desk: &'a Desk,
    child: Child,
    name: String,
}

impl<'a> Running<'a> {
    /// Starts a lab under a name of its own and waits until it can be asked.
    pub fn start(desk: &'a Desk, name: &str, arguments: &str) -> Running<'a> {
        let mut command = Command::new(WAYLEAVE);
        command.args(["lab", "up", "--name", name, "--count", "2"]).args(arguments.split_whitespace());
        command.env("WAYLEAVE_RUNTIME_DIR", desk.path("run"));
        Running::started(desk, name, &mut command)
    }

    /// Starts a lab by a command of the test's own.
    pub fn started(desk: &'a Desk, name: &str, command: &mut Command) -> Running<'a> {
        let log = |end: &str| File::create(desk.path(&format!("{name}.{end}"))).unwrap();
        let child = command
            .current_dir(&desk.directory)
            .stdin(Stdio::null())
            .stdout(log("out"))
            .stderr(log("err"))
            .spawn()
            .unwrap();
        let mut running = Running { desk, child, name: name.to_owned() };
        let begin = Instant::now();
        // These words come right before the lab begins to answer.
        while !running.said().contains("stays up until Ctrl-C") {
            if let Some(status) = running.child.try_wait().unwrap() {
                panic!("the lab ended with {status}: {}", running.said());
            }
            assert!(begin.elapsed() < START_MAX, "the lab is not up: {}", running.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }

    pub fn said(&self) -> String {
        self.desk.read(&format!("{}.err", self.name))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs one of the commands that speak to a lab: `ping a b` is `wayleave lab ping --name NAME a b`.
    pub fn lab(&self, command: &str) -> Ran {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        self.desk.wayleave(&format!("lab {verb} --name {} {rest}", self.name))
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: takes no pointers; the process is our child and not yet waited for, so the number is its.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Waits for the end, which something else has brought about.
    pub fn wait(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < END_MAX, "the lab does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        assert_eq!(self.wait().signal(), Some(libc::SIGKILL));
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
