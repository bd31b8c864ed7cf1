//! One JSON line there, one back, over a Unix socket: what running agents and labs have in common.
//!
//! A request comes in an envelope with the version of the messages. Lines are bounded, and so is the time that the other end may take
//! for each, however it portions what it sends or takes. What is asked and answered is the caller's business.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::system::sockets::{in_words, left};

/// What two ends agree upon.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// Who answers: `agent`.
    pub who: &'static str,
    /// The version of the messages.
    pub version: u32,
    /// Bytes of a request.
    pub request_bytes_max: u64,
    /// Bytes of an answer.
    pub answer_bytes_max: u64,
    /// How long either end may take to send or to take a line.
    pub talk_max: Duration,
    /// How long whoever asks waits for the answer.
    pub answer_max: Duration,
}

/// A request as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<Q> {
    /// [`Protocol::version`].
    pub version: u32,
    /// The request.
    pub request: Q,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// Nobody listens.
    #[error("nobody listens")]
    Nobody(#[source] io::Error),
    /// The conversation broke off.
    #[error("the conversation broke off")]
    Broken(#[source] io::Error),
    /// The answer makes no sense.
    #[error("the answer makes no sense; is it of another version?")]
    Nonsense(#[source] serde_json::Error),
}

/// Opens a socket for its owner alone. A dead predecessor's socket is replaced, anything else at its place is not.
///
/// # Errors
/// What the file system refuses, or that there is something else.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(ErrorKind::AlreadyExists, "something is there that is no socket")),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes a request.
///
/// # Errors
/// Says what is wrong with it: words for whoever asks.
pub fn hear<Q: DeserializeOwned>(protocol: &Protocol, stream: &UnixStream) -> Result<Q, String> {
    let line = read_line(stream, protocol.request_bytes_max, Instant::now() + protocol.talk_max);
    read(protocol, &line.map_err(|error| format!("not a request: {error}"))?)
}

/// A request from a line, whatever is in it.
///
/// # Errors
/// Says what is wrong with it.
pub fn read<Q: DeserializeOwned>(protocol: &Protocol, line: &[u8]) -> Result<Q, String> {
    // The version first: another version's request may not be understood.
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Protocol { who, version: own, .. } = protocol;
    let wrong = |error: serde_json::Error| format!("not a request: {error}");
    let Version { version } = serde_json::from_slice(line).map_err(wrong)?;
    if version != *own {
        return Err(format!("this {who} speaks version {own} of the control messages, not {version}"));
    }
    serde_json::from_slice::<Envelope<Q>>(line).map(|envelope| envelope.request).map_err(wrong)
}

/// Sends an answer.
///
/// # Errors
/// If the other end is gone, or does not take it in time.
pub fn reply<A: Serialize>(protocol: &Protocol, stream: &UnixStream, answer: &A) -> io::Result<()> {
    write_line(stream, answer, Instant::now() + protocol.talk_max)
}

/// Asks whoever listens at a socket.
///
/// # Errors
/// If nobody does, or nothing sensible comes back in time.
pub fn ask<Q: Serialize, A: DeserializeOwned>(protocol: &Protocol, socket: &Path, request: Q) -> Result<A, TalkError> {
    let stream = UnixStream::connect(socket).map_err(TalkError::Nobody)?;
    let envelope = Envelope { version: protocol.version, request };
    let sent = write_line(&stream, &envelope, Instant::now() + protocol.talk_max);
    // Whoever is not heard out, since too many ask, finds the reason in the answer.
    let answer = read_line(&stream, protocol.answer_bytes_max, Instant::now() + protocol.answer_max);
    match answer {
        Ok(line) if !line.is_empty() => serde_json::from_slice(&line).map_err(TalkError::Nonsense),
        Ok(_) => Err(TalkError::Broken(sent.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into()))),
        Err(error) => Err(TalkError::Broken(error)),
    }
}

/// Reads up to the end of a line, or to the end of what comes.
fn read_line(mut stream: &UnixStream, bytes_max: u64, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut line, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let got = match stream.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            got => got.map_err(in_words)?,
        };
        let end = piece[..got].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&piece[..end.unwrap_or(got)]);
        if line.len() as u64 > bytes_max {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("it is longer than {bytes_max} bytes")));
        }
        if got == 0 || end.is_some() {
            return Ok(line);
        }
    }
}

fn write_line(mut stream: &UnixStream, value: &impl Serialize, deadline: Instant) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        match stream.write(rest) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            written => rest = &rest[written.map_err(in_words)?..],
        }
    }
    Ok(())
}
