//! BIRD kept as wanted: decided, carried out, and in a thread of its own.
//!
//! [`Supervisor`] decides, [`hands::Hands`] does, [`Service`] is the thread; [`Halves`] keeps neighbours' devices and their sessions
//! together. [`Theirs`] is a BIRD of the administrator's, of which only a file is ours; [`left`] and [`end_left`] are for what others left.

mod halves;
mod hands;
mod service;
mod supervisor;
mod theirs;

pub use halves::{Halves, Next};
pub use hands::{Paths, Seen};
pub use service::{End, Report, Service, end_left, left, program};
pub use supervisor::{Manner, Mode, Standing, Step, Supervisor, Trouble};
pub use theirs::Theirs;
