//! BIRD kept as wanted: decided, carried out, and in a thread of its own.
//!
//! [`Supervisor`] decides, [`hands::Hands`] does, [`Service`] is the thread; [`Halves`] keeps neighbours' devices and their sessions
//! together.

mod halves;
mod hands;
mod service;
mod supervisor;

pub use halves::{Halves, Next};
pub use hands::{Paths, Seen};
pub use service::{End, Report, Service};
pub use supervisor::{Manner, Mode, Standing, Step, Supervisor, Trouble};
