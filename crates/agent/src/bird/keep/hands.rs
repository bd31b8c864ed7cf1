//! The steps that [`super::Supervisor`] asks for, carried out: files, the process, the control socket.
//!
//! Every step ends in time. Files are written beside their place and renamed, the one before is kept. A BIRD that a dead
//! predecessor left running is found by its process file, and is ours if it runs with our configuration. Of an administrator's BIRD only
//! our part is written, and only protocols of ours are seen.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::supervisor::{Manner, Mode, NOTHING, Step, Trouble};
use super::theirs::{self, Theirs};
use crate::bird::protocols::Protocol;
use crate::bird::status::Status;
use crate::bird::{Connection, SocketError};
use crate::netlink::{Netlink, NetlinkError};
use crate::node::chain;
use crate::system::signals::{unblock_in, wait_readable};

/// How long an answer may take, and a check of a configuration.
const ANSWER_MAX: Duration = Duration::from_secs(3);
const CHECK_MAX: Duration = Duration::from_secs(20);
/// How long BIRD has to take its routes back, and then to be gone at all.
const STOP_MAX: Duration = Duration::from_secs(5);
const KILL_MAX: Duration = Duration::from_secs(2);
/// How long an administrator's BIRD may take until it has the protocols of our part.
const APPEAR_MAX: Duration = Duration::from_secs(3);
const APPEAR_STEP: Duration = Duration::from_millis(50);
/// Seconds after which BIRD goes back by itself to what it had.
const UNDO_S: u32 = 30;
/// It says that it ends, and reads nothing any more.
const SHUTTING_DOWN: u16 = 6;
/// Who has set routes, as the kernel numbers it: BIRD (`RTPROT_BIRD` of linux/rtnetlink.h).
const ROUTES_OF_BIRD: u8 = 12;

/// The files of one of ours, in the network's directory.
const CONFIGURATION: &str = "bird.conf";
const CONTROL: &str = "bird.ctl";

/// Where everything about a BIRD is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The program: `bird`.
    pub program: PathBuf,
    /// What it reads, or what an administrator's configuration includes.
    pub configuration: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// Whether it ends when we do, however that is: where devices are ours, nothing it knows lives on without us.
    pub ends_with_us: bool,
    /// The administrator's, if it is theirs.
    pub theirs: Option<Theirs>,
}

impl Paths {
    /// Of one of ours, in a network's directory.
    pub fn own(place: &Path, program: &Path, ends_with_us: bool) -> Paths {
        let [configuration, socket] = [CONFIGURATION, CONTROL].map(|name| place.join(name));
        Paths { program: program.to_owned(), configuration, socket, ends_with_us, theirs: None }
    }

    /// Whose BIRD it is.
    pub fn mode(&self) -> Mode {
        if self.theirs.is_some() { Mode::Included } else { Mode::Own }
    }

    pub(super) fn beside(&self, end: &str) -> PathBuf {
        let mut name = self.configuration.as_os_str().to_owned();
        name.push(end);
        name.into()
    }

    fn process_file(&self) -> PathBuf {
        self.configuration.with_extension("pid")
    }
}

/// What was seen at the last look.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How it is.
    pub status: Status,
    /// All its protocols.
    pub protocols: Vec<Protocol>,
}

/// A running BIRD.
#[derive(Debug)]
struct Process {
    pid: libc::pid_t,
    /// Readable once it has ended.
    handle: OwnedFd,
    /// None: a predecessor's.
    child: Option<Child>,
}

/// Carries steps out.
#[derive(Debug)]
pub struct Hands {
    paths: Paths,
    process: Option<Process>,
    /// Whether an administrator's BIRD has taken over a part of ours that says something.
    has_part: bool,
    /// What was seen at the last look, while it answers.
    pub seen: Option<Seen>,
}

impl Hands {
    /// Hands for one place.
    pub fn new(paths: Paths) -> Hands {
        Hands { paths, process: None, has_part: false, seen: None }
    }

    /// Whether there is a configuration already.
    pub fn has_file(&self) -> bool {
        self.paths.configuration.exists()
    }

    /// Carries a step out.
    ///
    /// # Errors
    /// Says what it came to.
    pub fn carry_out(&mut self, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::Check(text) => match &self.paths.theirs {
                Some(theirs) => theirs::check(&self.paths, theirs, text),
                None => self.check(text),
            },
            Step::Install(text) => self.install(text).map_err(failed("write BIRD's configuration")),
            Step::PutBack => self.put_back().map_err(failed("put BIRD's configuration back")),
            Step::Start(manner) => self.start(*manner),
            Step::Reload => self.reload(),
            Step::Confirm => self.confirm(),
            Step::Look => self.look(),
            Step::Stop => {
                if let Some(theirs) = &self.paths.theirs {
                    self.flush()?;
                    return theirs::leave(&self.paths, theirs).map_err(failed("take our part away"));
                }
                self.find();
                // Who ends in good order has taken its routes back; of one that was killed they are there.
                self.end(libc::SIGTERM).and_then(|()| self.flush())
            }
            Step::Flush => self.flush(),
            Step::Kill => self.end(libc::SIGKILL),
        }
    }

    /// Readable once the process has ended that was started, or found.
    pub fn death(&self) -> Option<OwnedFd> {
        self.process.as_ref().and_then(|process| process.handle.try_clone().ok())
    }

    /// How the process ended, if it has.
    pub fn poll_death(&mut self) -> Option<String> {
        let process = self.process.as_mut()?;
        if !wait_readable(&[process.handle.as_fd()], 0).is_ok_and(|ready| ready[0]) {
            return None;
        }
        let status = process.child.as_mut().and_then(|child| child.wait().ok());
        (self.process, self.seen) = (None, None);
        Some(status.map_or_else(|| "nobody knows why".into(), in_words))
    }

    fn open(&self) -> Result<Connection, SocketError> {
        Connection::open(&self.paths.socket, ANSWER_MAX)
    }

    fn look(&mut self) -> Result<(), Trouble> {
        let look = |mut bird: Connection| Ok(Seen { status: bird.status()?, protocols: bird.protocols()? });
        match self.open().and_then(look) {
            Ok(mut seen) => {
                if let Some(theirs) = &self.paths.theirs {
                    seen.protocols.retain(|protocol| protocol.name.starts_with(&theirs.prefix));
                    let is_lost = self.has_part && seen.protocols.is_empty();
                    self.seen = Some(seen);
                    return if is_lost { Err(Trouble::Refused(self.lost(theirs))) } else { Ok(()) };
                }
                self.seen = Some(seen);
                self.find();
                Ok(())
            }
            Err(error) => {
                (self.seen, self.has_part) = (None, false);
                if !matches!(error, SocketError::Nobody { .. }) {
                    self.find();
                }
                Err(match (trouble(error), &self.process) {
                    // It lives, but nobody can speak with it.
                    (Trouble::Gone(words), Some(_)) => Trouble::Silent(words),
                    (trouble, _) => trouble,
                })
            }
        }
    }

    /// Finds a predecessor's process.
    fn find(&mut self) {
        if self.process.is_some() {
            return;
        }
        let pid = fs::read_to_string(self.paths.process_file()).ok().and_then(|text| text.trim().parse().ok());
        let Some(pid) = pid.filter(|pid| *pid > 1) else { return };
        let Ok(handle) = open_process(pid) else { return };
        // The number may have gone to another process since; the handle keeps it from changing hands after this.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let own = self.paths.configuration.as_os_str().as_encoded_bytes();
        if line.split(|byte| *byte == 0).any(|word| word == own) {
            self.process = Some(Process { pid, handle, child: None });
        }
    }

    fn check(&mut self, text: &str) -> Result<(), Trouble> {
        let path = self.paths.beside(".new");
        write(&path, text).map_err(failed("write BIRD's configuration"))?;
        judge(&self.paths.program, &path)
    }

    fn install(&self, text: &str) -> io::Result<()> {
        let (place, new, before) = (&self.paths.configuration, self.paths.beside(".new"), self.paths.beside(".before"));
        if let Some(theirs) = &self.paths.theirs {
            theirs::note(&self.paths, theirs)?;
        }
        write(&new, text)?;
        remove(&before)?;
        match fs::hard_link(place, &before) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(new, place)
    }

    fn put_back(&self) -> io::Result<()> {
        match fs::rename(self.paths.beside(".before"), &self.paths.configuration) {
            Err(error) if error.kind() == ErrorKind::NotFound => remove(&self.paths.configuration),
            outcome => outcome,
        }
    }

    fn start(&mut self, manner: Manner) -> Result<(), Trouble> {
        let Paths { program, configuration, socket, ends_with_us, theirs: _ } = &self.paths;
        let mut command = Command::new(program);
        command.arg("-f").arg("-c").arg(configuration).arg("-s").arg(socket).arg("-P").arg(self.paths.process_file());
        if manner == Manner::Recovering {
            command.arg("-R");
        }
        // A group of its own: Ctrl-C is for us, and we decide what it means for BIRD.
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        // BIRD ends by a signal that this program has taken for itself.
        unblock_in(&mut command);
        if *ends_with_us {
            let own = std::process::id().cast_signed();
            // SAFETY: the child only asks the kernel for a signal at the end of the thread that has started it, and whether that
            // has ended meanwhile.
            unsafe {
                command.pre_exec(move || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                    0 if libc::getppid() == own => Ok(()),
                    0 => Err(ErrorKind::BrokenPipe.into()),
                    _ => Err(io::Error::last_os_error()),
                });
            }
        }
        let child = command.spawn().map_err(not_started)?;
        let pid = child.id().cast_signed();
        let handle = open_process(pid).map_err(failed("watch BIRD"))?;
        self.process = Some(Process { pid, handle, child: Some(child) });
        Ok(())
    }

    fn reload(&mut self) -> Result<(), Trouble> {
        // Not `soft`: filters that have changed are to judge the routes that are there already. Sessions stay either way.
        let reply =
            self.open().and_then(|mut bird| bird.ask(&format!("configure timeout {UNDO_S}"))).map_err(trouble)?;
        match reply.code() {
            SHUTTING_DOWN => Err(Trouble::Silent("it is shutting down".into())),
            _ => self.appear(),
        }
    }

    /// Whether an administrator's BIRD has our part now: it may run with another configuration than the one that includes it.
    fn appear(&mut self) -> Result<(), Trouble> {
        let Some(theirs) = self.paths.theirs.clone() else { return Ok(()) };
        let text = fs::read_to_string(&self.paths.configuration).unwrap_or_default();
        self.has_part = text.lines().any(|line| line.starts_with("protocol "));
        let deadline = Instant::now() + APPEAR_MAX;
        while self.has_part {
            let all = self.open().and_then(|mut bird| bird.protocols()).map_err(trouble)?;
            if all.iter().any(|protocol| protocol.name.starts_with(&theirs.prefix)) {
                break;
            }
            if Instant::now() > deadline {
                self.has_part = false;
                // What it has read is what it had.
                let _ = self.confirm();
                return Err(Trouble::Refused(self.lost(&theirs)));
            }
            std::thread::sleep(APPEAR_STEP);
        }
        Ok(())
    }

    fn lost(&self, theirs: &Theirs) -> String {
        let (socket, part, whole) = (&self.paths.socket, &self.paths.configuration, &theirs.configuration);
        let [socket, part, whole] = [socket, part, whole].map(|path| path.display());
        format!(
            "the BIRD at {socket} knows nothing of {part}: it runs with something else than {whole}, or that has changed"
        )
    }

    fn confirm(&self) -> Result<(), Trouble> {
        self.open().and_then(|mut bird| bird.ask("configure confirm")).map_err(trouble)?;
        if self.paths.theirs.is_some() {
            // Their directory is kept tidy.
            remove(&self.paths.beside(".before")).map_err(failed("remove what was in force before"))?;
        }
        Ok(())
    }

    fn end(&mut self, signal: libc::c_int) -> Result<(), Trouble> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        self.seen = None;
        let send = |signal: libc::c_int| {
            // SAFETY: the handle is open, and no memory is concerned.
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.handle.as_raw_fd(), signal, 0, 0) };
        };
        send(signal);
        if signal == libc::SIGTERM && !wait_until(&process.handle, Instant::now() + STOP_MAX) {
            send(libc::SIGKILL);
        }
        let is_gone = wait_until(&process.handle, Instant::now() + KILL_MAX);
        match process.child.as_mut().filter(|_| is_gone) {
            Some(child) => {
                let _ = child.wait();
            }
            // Whoever kept it before in this very program has left it to be waited for; another's child is none of ours.
            None => {
                // SAFETY: takes numbers and no pointer to anything.
                let _ = unsafe { libc::waitpid(process.pid, std::ptr::null_mut(), libc::WNOHANG) };
            }
        }
        let _ = fs::remove_file(&self.paths.socket);
        let _ = fs::remove_file(self.paths.process_file());
        if is_gone { Ok(()) } else { Err(Trouble::Failed(format!("BIRD, process {}, does not end", process.pid))) }
    }

    /// Removes the routes that a BIRD which is gone has left in its tables of the kernel's. The tables are those that its
    /// configuration names, which is all that is known of a predecessor's.
    fn flush(&self) -> Result<(), Trouble> {
        let text = fs::read_to_string(&self.paths.configuration).unwrap_or_default();
        let tables = kernel_tables(&text);
        if tables.is_empty() {
            return Ok(());
        }
        let flush = |mut netlink: Netlink| netlink.flush_routes(ROUTES_OF_BIRD, &tables);
        let outcome: Result<usize, NetlinkError> = Netlink::open().and_then(flush);
        outcome.map(drop).map_err(|error| Trouble::Failed(chain(&error)))
    }

    /// Removes what was written; for when nothing is to be left of it.
    pub fn remove_files(&self) {
        if self.paths.theirs.is_some() {
            return;
        }
        for path in [self.paths.configuration.clone(), self.paths.beside(".new"), self.paths.beside(".before")] {
            let _ = fs::remove_file(path);
        }
    }

    /// Lets an administrator's BIRD, if it is there, forget our part, of which nothing is left then.
    pub fn withdraw(&mut self) -> Result<(), Trouble> {
        if self.paths.configuration.exists() {
            if self.open().is_err() {
                self.flush()?;
            }
            self.install(NOTHING).map_err(failed("write our part of BIRD's configuration"))?;
            if let Ok(mut bird) = self.open() {
                bird.ask("configure").map_err(trouble)?;
            }
        }
        self.carry_out(&Step::Stop)
    }
}

/// Whether BIRD would take a configuration.
pub(super) fn judge(program: &Path, configuration: &Path) -> Result<(), Trouble> {
    let mut command = Command::new(program);
    command.arg("-p").arg("-c").arg(configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(not_started)?;
    let deadline = Instant::now() + CHECK_MAX;
    let handle = open_process(child.id().cast_signed()).map_err(failed("watch BIRD"))?;
    let is_done = wait_until(&handle, deadline);
    if !is_done {
        let _ = child.kill();
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(4_096).read_to_string(&mut said);
    }
    let status = child.wait().map_err(failed("wait for BIRD"))?;
    match status.success() {
        true => Ok(()),
        false if !is_done => Err(Trouble::Failed("bird -p did not end in time".into())),
        false => Err(Trouble::Refused(plain(&said))),
    }
}

/// What BIRD says of a text, without its own name, which BIRD 2 puts before that, and without the time, which BIRD 3 does: the same mistake
/// is told in the same words.
fn plain(said: &str) -> String {
    let plain = |line: &str| match line.split_once("> ") {
        Some((before, words)) if before.contains(" <") => words.to_owned(),
        _ => line.trim_start_matches("bird: ").to_owned(),
    };
    said.trim().lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// The kernel's tables that a configuration of ours names.
fn kernel_tables(text: &str) -> Vec<u32> {
    let table = |line: &str| line.trim().strip_prefix("kernel table ")?.strip_suffix(';')?.parse().ok();
    let mut tables: Vec<u32> = text.lines().filter_map(table).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    remove(path)?;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    io::Write::write_all(&mut &file, text.as_bytes())?;
    file.sync_all()
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A handle of a process, which is that process's whatever becomes of its number.
fn open_process(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers; the descriptor is owned at once.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let fd = libc::c_int::try_from(fd).unwrap_or(-1);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Waits for the end of a process; whether it came.
fn wait_until(handle: &OwnedFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let ms = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        match wait_readable(&[handle.as_fd()], ms) {
            Ok(ready) if ready[0] => return true,
            _ if left.is_zero() => return false,
            _ => {}
        }
    }
}

fn in_words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(0), _) => "it was shut down".into(),
        (Some(code), _) => format!("exit code {code}; its log says why"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn not_started(error: io::Error) -> Trouble {
    if error.kind() == ErrorKind::NotFound { Trouble::Missing } else { failed("start BIRD")(error) }
}

pub(super) fn failed(attempt: &'static str) -> impl FnOnce(io::Error) -> Trouble {
    move |error| Trouble::Failed(format!("can't {attempt}: {error}"))
}

fn trouble(error: SocketError) -> Trouble {
    match &error {
        SocketError::Nobody { source, .. } if source.kind() == ErrorKind::TimedOut => Trouble::Silent(chain(&error)),
        SocketError::Nobody { .. } => Trouble::Gone(chain(&error)),
        SocketError::Refused { why, .. } => Trouble::Refused(why.clone()),
        _ => Trouble::Silent(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_mistake_is_told_in_the_same_words_by_bird_2_and_bird_3() {
        let words = "/etc/bird/bird.conf:4:17 Symbol 'k4' already defined";
        assert_eq!(plain(&format!("bird: {words}\n")), words);
        assert_eq!(plain(&format!("2026-11-22 02:32:48.950 [0001] <FATAL> {words}\n")), words);
    }
}
