//! A command's end of the control socket.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Envelope, Request, Response, VERSION};
use crate::limits::{CONTROL_ANSWER_TIMEOUT, CONTROL_END_TIMEOUT};

/// Why a lab can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("can't speak to the lab at {path}")]
    Io {
        /// The socket.
        path: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The answer makes no sense.
    #[error("the lab's answer makes no sense; is it of another version?")]
    Answer(#[source] serde_json::Error),
    /// The lab refuses.
    #[error("{0}")]
    Refused(String),
}

/// Asks a lab and waits for its answer.
///
/// # Errors
/// If it can't be reached, or refuses.
pub fn ask(socket: &Path, request: Request) -> Result<Response, ClientError> {
    let io_error = |source| ClientError::Io { path: socket.display().to_string(), source };
    let stream = UnixStream::connect(socket).map_err(io_error)?;
    stream.set_read_timeout(Some(CONTROL_ANSWER_TIMEOUT)).map_err(io_error)?;
    let mut text = serde_json::to_vec(&Envelope { version: VERSION, request }).map_err(ClientError::Answer)?;
    text.push(b'\n');
    (&stream).write_all(&text).map_err(io_error)?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).map_err(io_error)?;
    match serde_json::from_str(&line).map_err(ClientError::Answer)? {
        Response::Refused(why) => Err(ClientError::Refused(why)),
        response => Ok(response),
    }
}

/// Waits until a lab that was told to end has ended; true if it did.
pub fn wait_for_end(socket: &Path) -> bool {
    let begin = std::time::Instant::now();
    while socket.exists() && begin.elapsed() < CONTROL_END_TIMEOUT {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    !socket.exists()
}
