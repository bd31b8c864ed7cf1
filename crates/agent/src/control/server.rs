//! The agent's end of the control socket.
//!
//! Each connection has a thread of its own and a limit of time; the request goes to the agent's loop, which answers in its turn.
//! Whoever sends nothing, too much or nonsense is refused and forgotten. Nothing is decided here.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use super::{Envelope, Request, Response, VERSION};
use crate::limits::{CONTROL_CONNECTIONS_MAX, CONTROL_REQUEST_BYTES_MAX};

/// How long somebody may take to ask, and to take the answer.
const TALK_MAX: Duration = Duration::from_secs(5);
/// How long the agent may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A request with the way back for its answer.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes. An asker may be gone: that is no error.
    pub answer: SyncSender<Response>,
}

/// Opens the socket; a dead predecessor's is replaced.
///
/// # Errors
/// What the file system refuses.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Takes connections until the listener is of no use any more; `hand_over` passes each request to the agent and says
/// whether there still is one.
pub fn serve(listener: &UnixListener, hand_over: impl Fn(Asked) -> bool + Send + Sync + 'static) {
    let (hand_over, busy) = (Arc::new(hand_over), Arc::new(()));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: they come back.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if Arc::strong_count(&busy) > CONTROL_CONNECTIONS_MAX {
            let _ = reply(&stream, &Response::Refused("too many ask at once; try again".into()));
            continue;
        }
        let (hand_over, guard) = (hand_over.clone(), busy.clone());
        let talk = move || {
            let _ = converse(&stream, hand_over.as_ref());
            drop(guard);
        };
        // Without a thread the connection is closed, and whoever asked is told so by that.
        let _ = std::thread::Builder::new().name("control".into()).spawn(talk);
    }
}

fn converse(stream: &UnixStream, hand_over: &dyn Fn(Asked) -> bool) -> io::Result<()> {
    stream.set_read_timeout(Some(TALK_MAX))?;
    stream.set_write_timeout(Some(TALK_MAX))?;
    let mut line = Vec::new();
    BufReader::new(stream).take(CONTROL_REQUEST_BYTES_MAX).read_until(b'\n', &mut line)?;
    let response = match read(&line) {
        Err(why) => Response::Refused(why),
        Ok(request) => {
            let (answer, answered) = sync_channel(1);
            match hand_over(Asked { request, answer }) {
                true => {
                    answered.recv_timeout(ANSWER_MAX).unwrap_or_else(|_| Response::Refused("no answer in time".into()))
                }
                false => Response::Refused("the agent is ending, or has more to do than it can".into()),
            }
        }
    };
    reply(stream, &response)
}

/// A request from a line, whatever is in it.
///
/// # Errors
/// Says what is wrong with it.
pub fn read(line: &[u8]) -> Result<Request, String> {
    // The version first: another version's request may not be understood.
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let wrong = |error: serde_json::Error| format!("not a request: {error}");
    let Version { version } = serde_json::from_slice(line).map_err(wrong)?;
    if version != VERSION {
        return Err(format!("this agent speaks version {VERSION} of the control messages, not {version}"));
    }
    serde_json::from_slice::<Envelope>(line).map(|envelope| envelope.request).map_err(wrong)
}

fn reply(mut stream: &UnixStream, response: &Response) -> io::Result<()> {
    let mut text = serde_json::to_vec(response)?;
    text.push(b'\n');
    stream.write_all(&text)
}
