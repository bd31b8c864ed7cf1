//! A directory of a test's own, and the real binary run in it.
//!
//! Every test gets a [`Desk`]: an empty directory with the examples or files of its own, gone at the end. Programs run
//! there without a terminal, with their output kept. A test that this machine can't run asks [`can_run`] first.
#![allow(dead_code, reason = "every test program uses its own part of this")]

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The program under test.
pub const WAYLEAVE: &str = env!("CARGO_BIN_EXE_wayleave");

/// What came of a program.
pub struct Ran {
    pub line: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.line, self.code, self.out, self.err)
    }
}

impl Ran {
    /// Panics with all that was printed unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }
}

/// A directory of a test's own.
pub struct Desk {
    pub directory: PathBuf,
}

impl Desk {
    pub fn new() -> Desk {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wayleave-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Desk { directory }
    }

    /// With one file in it.
    pub fn with(name: &str, text: &str) -> Desk {
        let desk = Desk::new();
        desk.write(name, text);
        desk
    }

    /// With a copy of all examples.
    pub fn with_examples() -> Desk {
        let desk = Desk::new();
        for path in examples() {
            fs::copy(&path, desk.path(path.file_name().unwrap().to_str().unwrap())).unwrap();
        }
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Permission bits of a file.
    pub fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    /// Names of what is in it, sorted.
    pub fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs `wayleave` with arguments parted by spaces.
    pub fn wayleave(&self, arguments: &str) -> Ran {
        self.run(Command::new(WAYLEAVE).args(arguments.split_whitespace()), "")
    }

    /// Runs `wayleave` with something on its stdin.
    pub fn wayleave_fed(&self, arguments: &str, stdin: &str) -> Ran {
        self.run(Command::new(WAYLEAVE).args(arguments.split_whitespace()), stdin)
    }

    /// Runs any program here, with words parted by spaces.
    pub fn program(&self, line: &str, stdin: &str) -> Ran {
        let mut words = line.split_whitespace();
        self.run(Command::new(words.next().unwrap()).args(words), stdin)
    }

    /// Runs a prepared command here to its end.
    pub fn run(&self, command: &mut Command, stdin: &str) -> Ran {
        let line = format!("{command:?}");
        command.current_dir(&self.directory).env("WAYLEAVE_RUNTIME_DIR", self.path("run"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        // A program that does not read its stdin may be gone already.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ran { line, code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All network files in `examples`, sorted.
pub fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    paths.sort();
    paths
}

/// Whether this machine has these programs and, if `devices`, lets the test make network namespaces and TUN devices.
///
/// If not, the test fails; with WAYLEAVE_NOT_RUN_FILE set its name and the reason go to that file instead, so that what
/// was not run is listed and never taken for passed.
pub fn can_run(test: &str, devices: bool, programs: &[&str]) -> bool {
    let Some(reason) = what_is_missing(devices, programs) else { return true };
    note_not_run(test, &reason);
    false
}

/// Notes that a test did not run, and why; fails it where nobody reads such notes.
pub fn note_not_run(test: &str, reason: &str) {
    let Some(list) = std::env::var_os("WAYLEAVE_NOT_RUN_FILE") else { panic!("{test} can't run: {reason}") };
    let mut list = fs::OpenOptions::new().append(true).create(true).open(list).unwrap();
    list.write_all(format!("wayleave {test}: {reason}\n").as_bytes()).unwrap();
}

fn what_is_missing(devices: bool, programs: &[&str]) -> Option<String> {
    // SAFETY: takes nothing, can't fail.
    if devices && unsafe { libc::geteuid() } != 0 {
        return Some("needs root".to_owned());
    }
    if devices && !Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun".to_owned());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_found = |program: &&&str| std::env::split_paths(&paths).any(|directory| directory.join(program).exists());
    programs.iter().find(|program| !is_found(program)).map(|program| format!("needs {program}"))
}
