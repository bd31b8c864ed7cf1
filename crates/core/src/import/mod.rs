//! Foreign configurations in, a network file out.
//!
//! [`read`] takes files as they are (wg-quick, dumps of `wg`, systemd-networkd, cloud-init, EdgeOS and VyOS, shell scripts), finds out
//! what each is, and returns [`Read`]: hosts as written, with places, and what is wrong with them. [`infer`] makes the
//! text of a network file that explains them, and says what it could not express. [`verify`] plans that network and
//! lists what its hosts would be told differently from what was read. [`prove_read`] proves the hosts as they are.
//!
//! Nothing is lost silently: a line that is not understood, and a setting that stays behind, is a finding. Private
//! keys never reach a network file, and are blotted out of the sources that findings are shown from.

pub mod facts;
pub mod hosts;

mod infer;
mod model;
mod readers;
mod rules;
mod sources;
mod verify;

/// How hosts' devices and peers are called where people are told of them.
pub(crate) mod labels {
    pub(crate) use super::rules::{device_label, peer_label};
}

pub use infer::{Inferred, Taken, infer};
pub use model::{Model, model, prove_read, proved};
pub use sources::{File, Read, read};
pub use verify::{Aspect, Difference, verify};
