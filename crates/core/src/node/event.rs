//! What happens to a node, and what it wants done: everything that crosses the border between deciding and doing.
//!
//! An agent turns the outside world into [`Event`]s and carries out [`Output`]s; both are plain values, so that a run can be
//! written down and played again (`recording`). [`LinkReport`] and [`Counters`] are for showing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claims::drain::Way;
use super::claims::routes::Told;
use super::handover::Offer;
use super::links::Health;
use super::recording::base64_text;
use crate::names::Name;
use crate::plan::LinkStates;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A control message has come over the tunnel. `from` is the peer whose link address it came from, which WireGuard
    /// has proved.
    Received {
        /// The peer.
        from: Name,
        /// The message.
        #[serde(with = "base64_text")]
        bytes: Vec<u8>,
    },
    /// A peer has answered an echo request.
    EchoReply {
        /// The peer.
        from: Name,
    },
    /// The device's counters of a peer. To be told every 200 ms, for peers whose counters have changed, and at once when packets
    /// begin to go to somebody; where nothing tells of that, every 100 ms: traffic that begins on a broken link finds out
    /// that much later. Tell [`Event::Handshake`] of the same reading first.
    Traffic {
        /// The peer.
        with: Name,
        /// Bytes sent, as WireGuard counts them.
        sent_bytes: u64,
        /// Bytes received.
        received_bytes: u64,
    },
    /// The age of a peer's last handshake; none if there never was one.
    Handshake {
        /// The peer.
        with: Name,
        /// Time since.
        age: Option<Duration>,
    },
    /// Whether this host gets into one of the sites that it is a gateway of. To be told at the start, and whenever it is another
    /// way; it may be told again.
    Site {
        /// The site.
        site: Name,
        /// Whether it does.
        works: bool,
    },
    /// A client's session with this server was confirmed by the first packet that came over it: a new handshake, which a
    /// recorded one replayed elsewhere can't bring about.
    ClientHere {
        /// The client.
        client: Name,
    },
    /// Packets of a client have come over a session that is not new. To be told when its counters grow, as often as they
    /// are read.
    ClientHeard {
        /// The client.
        client: Name,
    },
    /// A client is no longer with this server: its peer was removed, or the agent gives it up. Not when its session ends: it
    /// can be reached for as long as its address is the same.
    ClientGone {
        /// The client.
        client: Name,
    },
    /// What BGP holds for the best of others' claims of a client is this now; none: there is none. An own one, of before this program
    /// was started, is told the same way. Only where BGP carries claims.
    ClientRoute {
        /// The client.
        client: Name,
        /// The claim.
        told: Option<Told>,
    },
    /// What BGP holds for the best of the other gateways of a site is this now, with how much it is preferred in the place of an epoch; none:
    /// no other gateway gets in. Only where BGP tells of the site.
    SiteRoute {
        /// The site.
        site: Name,
        /// The gateway.
        told: Option<Told>,
    },
    /// Other nodes' claims are here, as far as BGP carries them. To be told once there is a session.
    RoutesTold,
    /// Whether clients are to go elsewhere. A draining server has other servers call those that are with it
    /// ([`Output::HandOver`]), serves who still is, and lets each go that another one claims, that does not answer these calls or,
    /// where there is no other server, that has been silent for [`crate::limits::CLAIM_DRAIN_SILENT_S`].
    Drain(bool),
    /// What the node has asked for by [`Output::HandOver`]: the server that is to call a client is told where it is.
    Offer {
        /// The server.
        to: Name,
        /// The client and its place.
        offer: Offer,
    },
    /// The program is about to end, and the device with it: clients that are still held are let go, and everybody is told.
    Ending,
    /// The program is about to end, and the device stays: peers are told, so that they don't take it for an outage. Clients that
    /// are held are kept, since the device serves them; a server that drains lets them all go.
    Leaving,
}

/// Where a peer is asked for an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EchoAddress {
    /// At its link address, which hosts have that run the agent, whether or not it runs just now.
    Link,
    /// At its overlay address, which every host has. Only if packets to it go over the link at present: an answer by another
    /// way says nothing of the link.
    Overlay,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Send a control message to a peer, from the own link address to its link address.
    Send {
        /// The peer.
        to: Name,
        /// The message.
        #[serde(with = "base64_text")]
        bytes: Vec<u8>,
    },
    /// Send an ICMP echo request with [`super::ECHO_BYTES`] of payload to a peer.
    SendEcho {
        /// The peer.
        to: Name,
        /// To which of its addresses.
        at: EchoAddress,
    },
    /// Packets may soon come by the paths of these states: let them in from the peers that they would come from, and go on
    /// sending by the present paths. Those that can't do it lose what is under way when paths change.
    Expect {
        /// What is known of all links.
        states: LinkStates,
    },
    /// Paths are to change: plan with these states, and apply the own part. What came by the earlier paths is to be let in for
    /// a while, where that can be done.
    States {
        /// What is known of all links, but for what is still to be expected.
        states: LinkStates,
        /// Why, in sentences.
        reasons: Vec<String>,
    },
    /// Clients are with other entry nodes than before; none if with nobody. To be carried out at once. All of them are in
    /// [`super::Node::claims`].
    Claims {
        /// Each client once, with its server.
        changed: Vec<(Name, Option<Name>)>,
    },
    /// BGP is to carry this node's claim of a client, in place of an earlier one; none: no claim any more.
    Originate {
        /// The client.
        client: Name,
        /// The claim's epoch.
        epoch: Option<u32>,
    },
    /// BGP is to tell that this node gets into a site, and how much it is preferred to others that do; none: that it does not.
    OriginateSite {
        /// The site.
        site: Name,
        /// The preference.
        preference: Option<u32>,
    },
    /// A server is to be asked to call a client that is to go elsewhere. To be answered with [`Event::Offer`], if it is known where
    /// the client is.
    HandOver {
        /// The client.
        client: Name,
        /// The server.
        to: Name,
        /// How it is to call.
        way: Way,
    },
    /// A client is to be called, which another server offers that holds it.
    Call {
        /// The server that offers it.
        from: Name,
        /// The client and its place.
        offer: Offer,
    },
    /// A line for the log.
    Log(String),
}

/// One link as seen from this end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkReport {
    /// The other end.
    pub peer: Name,
    /// Whether it works.
    pub health: Health,
    /// For how long it has been so.
    pub for_how_long: Duration,
    /// Measured round-trip time in microseconds.
    pub rtt_us: Option<u64>,
    /// Round trips of probes that fail, in thousandths.
    pub loss_permille: u32,
    /// Whether the other end has an agent, as far as can be seen.
    pub has_agent: bool,
    /// What is wrong with it, if anything.
    pub trouble: Option<String>,
}

/// What a node has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages sent.
    pub sent: u64,
    /// Messages received and used.
    pub received: u64,
    /// Messages from somebody without a link to this node.
    pub strange: u64,
    /// Messages of an unknown version.
    pub unknown_version: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Parts and records of unknown kinds that were skipped.
    pub skipped: u64,
    /// Records whose generation was beyond all bounds, or for which there was no room.
    pub refused: u64,
    /// Records of this node's own past that others remembered.
    pub remembered: u64,
    /// Claims for nodes that are no entry servers in this node's file: kept and passed on, without effect.
    pub unentitled: u64,
    /// Clients that were offered here and not taken: by who does not have them, too many, or while this server drains.
    pub declined: u64,
    /// Claims that this server made or gave up.
    pub claims: u64,
    /// Times that states were handed out.
    pub changes: u64,
}
