//! The commands' end of the control socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{Envelope, Request, Response, VERSION};
use crate::limits::CONTROL_RESPONSE_BYTES_MAX;

/// How long an agent may take: a reload looks names up and talks to the kernel.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no agent runs here (nothing answers at {path}); start one with `wayleave agent`")]
    NoAgent {
        /// Where it would listen.
        path: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the agent did not answer")]
    Silent(#[source] io::Error),
    /// It says no.
    #[error("the agent refuses: {0}")]
    Refused(String),
}

/// Asks the agent that listens at a socket.
///
/// # Errors
/// If there is none, or it refuses.
pub fn ask(socket: &Path, request: Request) -> Result<Response, AskError> {
    let no_agent = |source| AskError::NoAgent { path: socket.display().to_string(), source };
    let stream = UnixStream::connect(socket).map_err(no_agent)?;
    let converse = || -> io::Result<Response> {
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut line = serde_json::to_vec(&Envelope { version: VERSION, request })?;
        line.push(b'\n');
        (&stream).write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(&stream).take(CONTROL_RESPONSE_BYTES_MAX).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    };
    match converse().map_err(AskError::Silent)? {
        Response::Refused(why) => Err(AskError::Refused(why)),
        answer => Ok(answer),
    }
}
