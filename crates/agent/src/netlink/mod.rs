//! Links, addresses, routes and rules by netlink, one request at a time.
//!
//! A [`Netlink`] belongs to the namespace of the thread that opened it, and works from any thread after that. Each call sends
//! one request and waits for the kernel's acknowledgement; devices are named, not numbered, so that errors can say what was
//! attempted on which one. Adding what exists is an error except where a method says "replaces".

mod link;
mod look;
mod route;
mod table;
mod traffic;
mod watch;
mod wireguard;

pub use look::{LinkSeen, RouteSeen, RuleSeen};
pub use route::{Route, Rule};
pub use table::{Hop, TableWatch};
pub use watch::Watch;
pub use wireguard::{WireGuard, set_device};

use crate::limits;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::fmt;
use std::io;
use zeroize::Zeroizing;

/// The kernel's sign that a dump is not of one moment, since something changed meanwhile (`linux/netlink.h`).
const NLM_F_DUMP_INTR: u16 = 0x10;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("can't open a netlink socket")]
    Open(#[source] io::Error),
    /// The kernel said no.
    #[error("can't {attempt}")]
    Refused {
        /// What was attempted.
        attempt: Attempt,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// An answer that can't be read.
    #[error("the kernel's answer to \"{attempt}\" isn't understood: {why}")]
    Answer {
        /// What was attempted.
        attempt: Attempt,
        /// What is odd about it.
        why: String,
    },
}

impl NetlinkError {
    /// The kernel's error number, if it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open(source) | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Answer { .. } => None,
        }
    }

    /// Whether something changed while all of a kind were listed, so that the list is of no one moment.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.kind() == io::ErrorKind::Interrupted)
    }
}

/// What a request was to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    what: String,
    device: Option<String>,
}

impl Attempt {
    fn on(device: &str, what: impl Into<String>) -> Self {
        Self { what: what.into(), device: Some(device.into()) }
    }

    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), device: None }
    }

    /// The device it was about.
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.device {
            Some(device) => write!(f, "{} on device {device}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// A connection to the kernel of one namespace.
#[derive(Debug)]
pub struct Netlink {
    connection: Connection,
}

impl Netlink {
    /// Opens one in the namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { connection: Connection::open(NETLINK_ROUTE)? })
    }

    /// The address of its socket: changes that it makes are told to everybody with it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn port(&self) -> Result<u32, NetlinkError> {
        let mut address = SocketAddr::new(0, 0);
        self.connection.socket.get_address(&mut address).map_err(NetlinkError::Open)?;
        Ok(address.port_number())
    }

    /// Sends a request and waits for its acknowledgement. A message that comes before it is the answer.
    fn request(
        &mut self,
        attempt: &Attempt,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Option<RouteNetlinkMessage>, NetlinkError> {
        let mut answer = None;
        self.connection.exchange(attempt, message, NLM_F_ACK | flags, |reply| answer = Some(reply))?;
        Ok(answer)
    }

    /// Asks for all of a kind.
    fn dump(
        &mut self,
        attempt: &Attempt,
        message: RouteNetlinkMessage,
        each: impl FnMut(RouteNetlinkMessage),
    ) -> Result<(), NetlinkError> {
        self.connection.exchange(attempt, message, NLM_F_DUMP, each)
    }
}

/// A netlink socket of any family.
#[derive(Debug)]
struct Connection {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let connect = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = connect().map_err(NetlinkError::Open)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(limits::NETLINK_REPLY_BYTES) })
    }

    /// Sends a request and hands over what is answered until the acknowledgement, or until the end of a dump.
    fn exchange<T>(
        &mut self,
        attempt: &Attempt,
        message: T,
        flags: u16,
        mut each: impl FnMut(T),
    ) -> Result<(), NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable,
        NetlinkPayload<T>: From<T>,
    {
        let refused = |source| NetlinkError::Refused { attempt: attempt.clone(), source };
        let strange = |why: String| NetlinkError::Answer { attempt: attempt.clone(), why };
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = Zeroizing::new(vec![0; message.buffer_len()]);
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(refused)?;

        let is_dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        let most = if is_dump { limits::NETLINK_DUMP_REPLIES_MAX } else { limits::NETLINK_REPLIES_MAX };
        for _ in 0..most {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0).map_err(refused)?;
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let reply = NetlinkMessage::<T>::deserialize(rest).map_err(|error| strange(error.to_string()))?;
                // Messages are aligned to four bytes; a length of zero would never end.
                let length = (reply.header.length as usize).next_multiple_of(4).max(4);
                rest = rest.get(length..).unwrap_or_default();
                if reply.header.sequence_number != self.sequence {
                    continue;
                }
                if reply.header.flags & NLM_F_DUMP_INTR != 0 {
                    return Err(refused(io::ErrorKind::Interrupted.into()));
                }
                match reply.payload {
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok(()),
                        Some(_) => return Err(refused(error.to_io())),
                    },
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    _ => {}
                }
            }
        }
        Err(strange("no end of it".into()))
    }
}
