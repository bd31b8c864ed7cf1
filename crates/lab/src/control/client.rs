//! A command's end of the control socket.

use std::path::Path;

use wayleave_agent::control::line::{self, TalkError};

use super::{PROTOCOL, Request, Response};
use crate::limits::CONTROL_END_TIMEOUT;

/// Why a lab can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing comes back.
    #[error("can't speak to the lab at {path}")]
    Talk {
        /// The socket.
        path: String,
        /// Why.
        #[source]
        source: TalkError,
    },
    /// The lab refuses.
    #[error("{0}")]
    Refused(String),
}

/// Asks a lab and waits for its answer.
///
/// # Errors
/// If it can't be reached, or refuses.
pub fn ask(socket: &Path, request: Request) -> Result<Response, ClientError> {
    match line::ask(&PROTOCOL, socket, request) {
        Ok(Response::Refused(why)) => Err(ClientError::Refused(why)),
        Ok(response) => Ok(response),
        Err(source) => Err(ClientError::Talk { path: socket.display().to_string(), source }),
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
