//! The agent's end of the control socket.
//!
//! Each connection has a thread of its own and a limit of time; the request goes to the agent's loop, which answers in its turn.
//! Whoever sends nothing, too much or nonsense is refused and forgotten. Nothing is decided here.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

pub use super::line::listen;
use super::line::{hear, reply};
use super::{PROTOCOL, Request, Response};
use crate::limits::CONTROL_CONNECTIONS_MAX;

/// A request with the way back for its answer.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes. An asker may be gone: that is no error.
    pub answer: SyncSender<Response>,
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
            // What it asks is left unread; there is room in the socket for these words, so nothing waits here.
            let _ = stream.set_nonblocking(true);
            let _ = reply(&PROTOCOL, &stream, &Response::Refused("too many ask at once; try again".into()));
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
    let response = match hear(&PROTOCOL, stream) {
        Err(why) => Response::Refused(why),
        Ok(request) => {
            let (answer, answered) = sync_channel(1);
            match hand_over(Asked { request, answer }) {
                true => {
                    let in_time = answered.recv_timeout(PROTOCOL.answer_max);
                    in_time.unwrap_or_else(|_| Response::Refused("no answer in time".into()))
                }
                false => Response::Refused("the agent is ending, or has more to do than it can".into()),
            }
        }
    };
    reply(&PROTOCOL, stream, &response)
}
