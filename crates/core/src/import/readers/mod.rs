//! One reader for each foreign syntax, all pure: lines in, devices out, findings beside.

pub(super) mod cloud_init;
pub(super) mod dump;
pub(super) mod edgeos;
pub(super) mod facts;
pub(super) mod lines;
pub(super) mod networkd;
pub(super) mod routeros;
pub(super) mod shell;
pub(super) mod wg_quick;

mod hooks;
