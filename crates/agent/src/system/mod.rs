//! What a long-running program needs of the system it runs on, beside the network.
//!
//! Directories with locks, open files, signals, changed files, the service manager. None of it knows of networks or plans.

pub mod clock;
pub mod directory;
pub mod http;
pub mod open_files;
pub mod ready_port;
pub mod signals;
pub(crate) mod sockets;
pub mod systemd;
pub mod watch_files;
