//! What others than members are told: routers and DHCP servers of sites, clouds, name servers.
//!
//! Each text is about the whole network or one site. In: a plan; out: files for people to put where they belong.

mod ingress;
mod lan;
mod neighbour;
mod stand_in;
mod zones;

pub use ingress::ingress;
pub use lan::{lan_routes, option_121};
pub use neighbour::neighbour;
pub use stand_in::{Router, StandIn, origins};
pub use zones::names;

use super::file::{Opening, RenderedFile, joined, line};
