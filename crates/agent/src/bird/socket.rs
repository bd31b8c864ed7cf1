//! A connection to BIRD's control socket: one command there, one answer back, within a time and a length.
//!
//! Whoever listens may be stopped, be another program or send rubbish: each exchange ends in time, with an error that says what
//! happened. Nothing is retried here; after an error the connection is of no use any more. The typed questions are in
//! `protocols` and `routes`, which only read what comes.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::protocols::{self, Protocol};
use super::reply::{Assembly, Reply, ReplyError};
use super::routes::{self, Candidate};
use super::status::{self, Status};
use crate::limits::BIRD_COMMAND_BYTES_MAX;
use crate::system::sockets::{in_words, left};

/// The code with which BIRD greets.
const WELCOME: u16 = 1;
/// Nothing was found: an answer, not a failure.
const NOT_FOUND: u16 = 8_001;

/// Why BIRD gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nobody listens there.
    #[error("no BIRD listens at {path}")]
    Nobody {
        /// Where.
        path: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The conversation broke off, or took too long.
    #[error("BIRD's control socket fell silent")]
    Broken(#[source] io::Error),
    /// Whoever listens is no BIRD.
    #[error("what answers at BIRD's control socket makes no sense")]
    Nonsense(#[from] ReplyError),
    /// It greets in another way.
    #[error("what answers at BIRD's control socket greets with {0:?}; is it BIRD?")]
    Greeting(String),
    /// It says no.
    #[error("BIRD refuses `{command}`: {why}")]
    Refused {
        /// What was asked.
        command: String,
        /// Its words.
        why: String,
    },
    /// The command itself.
    #[error("{0:?} is no command: it is longer than a line may be, or of several lines")]
    Command(String),
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    answer_max: Duration,
    /// How it greeted: `BIRD 2.0.12 ready.`
    welcome: String,
}

impl Connection {
    /// Connects, and hears the greeting. Each answer, that one too, may take `answer_max`.
    ///
    /// # Errors
    /// If nobody listens, or whoever does is no BIRD.
    pub fn open(path: &Path, answer_max: Duration) -> Result<Connection, SocketError> {
        let nobody = |source| SocketError::Nobody { path: path.display().to_string(), source };
        let stream = connect(path).map_err(nobody)?;
        let mut connection = Connection { stream, answer_max, welcome: String::new() };
        let mut greeting = connection.hear()?;
        match greeting.lines.pop() {
            Some(line) if line.code == WELCOME => connection.welcome = line.text,
            line => return Err(SocketError::Greeting(line.map(|line| line.text).unwrap_or_default())),
        }
        Ok(connection)
    }

    /// How it greeted: `BIRD 2.0.12 ready.`
    pub fn welcome(&self) -> &str {
        &self.welcome
    }

    /// Gives up, for this connection, whatever changes anything.
    ///
    /// # Errors
    /// If there is no answer, or it is no.
    pub fn restrict(&mut self) -> Result<(), SocketError> {
        self.ask("restrict").map(drop)
    }

    /// Asks, and waits for the answer; a refusal is an error.
    ///
    /// # Errors
    /// If there is no answer, or it is no.
    pub fn ask(&mut self, command: &str) -> Result<Reply, SocketError> {
        let reply = self.ask_any(command)?;
        match reply.refusal() {
            Some(why) => Err(SocketError::Refused { command: command.into(), why: why.into() }),
            None => Ok(reply),
        }
    }

    /// Asks, and waits for the answer, be it a refusal or not.
    ///
    /// # Errors
    /// If there is none.
    pub fn ask_any(&mut self, command: &str) -> Result<Reply, SocketError> {
        if command.len() > BIRD_COMMAND_BYTES_MAX || command.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(SocketError::Command(command.chars().take(80).collect()));
        }
        self.send(format!("{command}\n").as_bytes()).map_err(SocketError::Broken)?;
        self.hear()
    }

    /// How BIRD is.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn status(&mut self) -> Result<Status, SocketError> {
        Ok(status::read(&self.ask("show status")?))
    }

    /// All protocols, with what `show protocols all` knows of each.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn protocols(&mut self) -> Result<Vec<Protocol>, SocketError> {
        Ok(protocols::read(&self.ask("show protocols all")?))
    }

    /// All routes of the narrowest prefix that an address is in, the best one first; none if there is none.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn routes(&mut self, address: IpAddr, table: Option<&str>) -> Result<Vec<Candidate>, SocketError> {
        let table = table.map_or(String::new(), |table| format!(" table {table}"));
        let command = format!("show route for {address}{table} all");
        let reply = self.ask_any(&command)?;
        match reply.refusal() {
            Some(_) if reply.code() == NOT_FOUND => Ok(Vec::new()),
            Some(why) => Err(SocketError::Refused { command, why: why.into() }),
            None => Ok(routes::read(&reply)),
        }
    }

    /// How many routes each table has.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn counts(&mut self) -> Result<Vec<routes::Count>, SocketError> {
        Ok(routes::counts(&self.ask("show route table all count")?))
    }

    fn send(&self, mut rest: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + self.answer_max;
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            match (&self.stream).write(rest) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => rest = &rest[written.map_err(in_words)?..],
            }
        }
        Ok(())
    }

    fn hear(&self) -> Result<Reply, SocketError> {
        let (deadline, mut assembly, mut piece) = (Instant::now() + self.answer_max, Assembly::default(), [0; 16_384]);
        loop {
            let wait = left(deadline).and_then(|left| self.stream.set_read_timeout(Some(left)));
            wait.map_err(SocketError::Broken)?;
            let got = match (&self.stream).read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "it was closed")),
                got => got.map_err(in_words),
            };
            if let Some(reply) = assembly.handle(&piece[..got.map_err(SocketError::Broken)?])? {
                return Ok(reply);
            }
        }
    }
}

/// Connects without waiting: the queue of a process that is stopped fills up, and whoever then waits does so for ever.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all-zero bytes are a valid value of this plain C struct.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "its path is too long for a socket"));
    }
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    address.sun_path.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from as libc::c_char);
    // SAFETY: socket takes plain numbers; the descriptor is owned at once.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let size = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address lives through the call and its size is given.
    if unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size) } != 0 {
        let error = io::Error::last_os_error();
        return Err(match error.kind() {
            ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "it takes no connections"),
            _ => error,
        });
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}
