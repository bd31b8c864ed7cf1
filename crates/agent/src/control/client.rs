//! The commands' end of the control socket.

use std::io;
use std::path::Path;

use super::line::{self, TalkError};
use super::{PROTOCOL, Request, Response};

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
    /// The conversation came to nothing.
    #[error("the agent did not answer")]
    Silent(#[source] TalkError),
    /// It says no.
    #[error("the agent refuses: {0}")]
    Refused(String),
}

/// Asks the agent that listens at a socket.
///
/// # Errors
/// If there is none, or it refuses.
pub fn ask(socket: &Path, request: Request) -> Result<Response, AskError> {
    match line::ask(&PROTOCOL, socket, request) {
        Ok(Response::Refused(why)) => Err(AskError::Refused(why)),
        Ok(answer) => Ok(answer),
        Err(TalkError::Nobody(source)) => Err(AskError::NoAgent { path: socket.display().to_string(), source }),
        Err(error) => Err(AskError::Silent(error)),
    }
}
