//! All that can happen to an agent.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wayleave_core::keys::PublicKey;
use wayleave_core::names::Name;

use super::bird::News;
use super::clients::Came;
use crate::bird::Report;
use crate::control::server::Asked;
use crate::ping::PathMtu;
use crate::system::signals::Signal;

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A signal came.
    Signal(Signal),
    /// The network file, one that it includes, or its ledger may have changed.
    FileChanged,
    /// Links, addresses, routes or rules of the host have changed.
    KernelChanged,
    /// A name was looked up.
    Resolved {
        /// The name.
        name: String,
        /// Its addresses, or why there are none.
        addresses: Result<Vec<IpAddr>, String>,
    },
    /// A message came over a link's own address.
    LinkMessage {
        /// From whom: an address that only one peer of the device may send from.
        from: IpAddr,
        /// What it says.
        bytes: Vec<u8>,
    },
    /// Packets go to some peer again, after a while without any.
    TrafficBegan,
    /// A client has a new session with this entry node, and has proved that it is there itself.
    ClientConnected {
        /// Its public key.
        key: PublicKey,
    },
    /// A packet has come for the clients' device that may have begun a session, if that is the kernel's.
    SessionHinted,
    /// A client has come with a session of another entry node, which has vouched for it.
    ClientCame(Came),
    /// Somebody answered an echo request.
    Echoed {
        /// The tag of the request.
        tag: u32,
    },
    /// The server of this host, a client that roams, has answered an echo request.
    ServerAnswered,
    /// An endpoint of that server has accepted a connection.
    EndpointAnswered(usize),
    /// Which addresses of peers that don't answer have answered an echo request.
    Answering(BTreeSet<IpAddr>),
    /// How large packets may be on the ways to some addresses: by the first hop, and as measured.
    PathsMeasured(Vec<(IpAddr, Option<u16>, Option<PathMtu>)>),
    /// Routes of the network's own table have changed.
    Learned(News),
    /// Others' claims that BGP tells of have changed.
    ClaimsHeard(News),
    /// Round trips to neighbours in milliseconds.
    LinesMeasured(Vec<(Name, f64)>),
    /// How BIRD is.
    Bird(Box<Report>),
    /// Somebody asks.
    Asked(Asked),
}
