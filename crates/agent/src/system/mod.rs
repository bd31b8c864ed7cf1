//! What a long-running program needs of the system it runs on, beside the network.
//!
//! Directories with locks, signals, changed files, the service manager. None of it knows of networks or plans.

pub mod clock;
pub mod directory;
pub mod http;
pub mod ready_port;
pub mod signals;
pub mod systemd;
pub mod watch_files;
