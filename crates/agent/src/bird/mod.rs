//! BIRD, the routing engine that speaks BGP: kept as wanted, asked, and understood.
//!
//! [`Connection`] asks over its control socket, within bounds; what comes back is taken apart by pure readers ([`reply`],
//! [`status`], [`protocols`], [`routes`]) that were fed rubbish. [`Supervisor`] decides what is to be done about a BIRD, ours or the
//! administrator's, and [`Service`] does it in a thread of its own; [`glass`] lets others ask over HTTP. What BIRD is told is `core`'s to decide and to write.

pub mod glass;
mod keep;
pub mod lines;
pub mod metrics;
pub mod protocols;
pub mod reply;
pub mod routes;
mod session;
mod socket;
pub mod status;

pub use keep::{
    End, Halves, Manner, Mode, Next, Paths, Report, Seen, Service, Standing, Step, Supervisor, Theirs, Trouble,
    end_left, left, program,
};
pub use session::{Tunnel, sessions};
pub use socket::{Connection, SocketError};
