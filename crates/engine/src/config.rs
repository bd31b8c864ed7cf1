//! What a device is told and what it tells: the UAPI's `set` and `get` as types.
//!
//! A [`ConfigureDevice`] is a list of changes, not a whole state: what it does not mention stays. It is applied all or nothing,
//! and never disturbs the sessions of peers that it does not name. A [`DeviceDescription`] is a copy of everything that `get`
//! reports. An [`Event`] is something the device noticed that its owner may want to act on. No I/O, no protocol here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::time::Tai64N;

/// Changes to a device: the typed form of UAPI `set=1`. `Default` changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigureDevice {
    /// The new private key; all zero takes the key away.
    pub private_key: Option<PrivateKey>,
    /// The UDP port; 0 lets the kernel choose one.
    pub listen_port: Option<u16>,
    /// The `SO_MARK` of the encrypted packets; 0 takes the mark away.
    pub fwmark: Option<u32>,
    /// Which one this is, below [`DEVICES_PER_KEY_MAX`], of several devices with the same private key, between which peers move.
    /// Indices of sessions made from now on say it to the others: see [`Event::Stray`]. Not to be had by UAPI.
    ///
    /// [`DEVICES_PER_KEY_MAX`]: crate::limits::DEVICES_PER_KEY_MAX
    pub number: Option<u8>,
    /// Who may send from what besides its own prefixes, in the place of what was told before. Not to be had by UAPI.
    pub common: Option<CommonSources>,
    /// Remove all peers first.
    pub replace_peers: bool,
    /// Changes to peers, applied in this order.
    pub peers: Vec<ConfigurePeer>,
}

/// Peers that may send from one another's prefixes, and from prefixes that nobody owns: routers, between which the way there need not
/// be the way back. What goes to these prefixes goes to their owners. Of the prefixes below, the longest one that covers a source counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommonSources {
    /// The peers.
    pub peers: Vec<PublicKey>,
    /// Prefixes from which all of them may send.
    pub within: Vec<IpNet>,
    /// Prefixes inside those that stay their owners' alone.
    pub without: Vec<IpNet>,
}

/// Changes to one peer, which is made when it does not exist. `Default` (by [`ConfigurePeer::new`]) changes nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurePeer {
    /// Which peer.
    pub public_key: PublicKey,
    /// Remove the peer; everything else in this value is then ignored.
    pub remove: bool,
    /// Change the peer only if it exists already.
    pub update_only: bool,
    /// The new preshared key; all zero takes it away.
    pub preshared_key: Option<PresharedKey>,
    /// Where to send until an authenticated packet comes from elsewhere.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between persistent keepalives; 0 switches them off.
    pub persistent_keepalive_s: Option<u16>,
    /// Remove all allowed prefixes of the peer first.
    pub replace_allowed_ips: bool,
    /// Prefixes to take from the peer, if it has them. Happens before `allowed_ips`.
    pub remove_allowed_ips: Vec<IpNet>,
    /// Prefixes to give to the peer; each moves from its present owner in one step.
    pub allowed_ips: Vec<IpNet>,
    /// Prefixes from which the peer may send for [`Timing::source_grace`], whoever owns them or parts of them, since paths are
    /// about to change. What goes to them goes to their owners. Not to be had by UAPI.
    ///
    /// [`Timing::source_grace`]: crate::limits::Timing::source_grace
    pub expected_ips: Vec<IpNet>,
}

impl ConfigurePeer {
    /// A change to the peer `public_key` that does nothing but make sure that it exists.
    pub fn new(public_key: PublicKey) -> ConfigurePeer {
        ConfigurePeer {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive_s: None,
            replace_allowed_ips: false,
            remove_allowed_ips: Vec::new(),
            allowed_ips: Vec::new(),
            expected_ips: Vec::new(),
        }
    }
}

/// Everything that a device reports: the typed form of UAPI `get=1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceDescription {
    /// The interface's name.
    pub name: String,
    /// The private key, if there is one.
    pub private_key: Option<PrivateKey>,
    /// The public key that belongs to it.
    pub public_key: Option<PublicKey>,
    /// The UDP port in use, or wished for while the interface is down; 0 if the interface is up and somebody else has it.
    pub listen_port: u16,
    /// The `SO_MARK` of encrypted packets; 0 is none.
    pub fwmark: u32,
    /// The peers, in the order in which they were added.
    pub peers: Vec<PeerDescription>,
    /// What went through or was dropped.
    pub counters: Counters,
    /// How many batches of packets each of the further threads has worked on.
    pub jobs: Vec<u64>,
}

/// One peer, as `get` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerDescription {
    /// The peer's public key.
    pub public_key: PublicKey,
    /// The preshared key; all zero is none.
    pub preshared_key: PresharedKey,
    /// Where packets to the peer go.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between persistent keepalives; 0 is off.
    pub persistent_keepalive_s: u16,
    /// Wall-clock time of the last completed handshake, since 1970.
    pub last_handshake: Option<Duration>,
    /// Bytes of datagrams received and accepted from the peer.
    pub rx_bytes: u64,
    /// Bytes of datagrams sent to the peer.
    pub tx_bytes: u64,
    /// The peer's prefixes, in the order in which it was given them.
    pub allowed_ips: Vec<IpNet>,
}

/// What went to and from one peer: what changes all the time, without what is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerTraffic {
    /// The peer's public key.
    pub public_key: PublicKey,
    /// Wall-clock time of the last completed handshake, since 1970.
    pub last_handshake: Option<Duration>,
    /// Bytes of datagrams received and accepted from the peer.
    pub rx_bytes: u64,
    /// Bytes of datagrams sent to the peer.
    pub tx_bytes: u64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a device did and refused, in packets since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Each counter with its name, in the order of declaration: for metrics and tests.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Packets decrypted and given to the interface.
    rx_packets,
    /// Packets taken from the interface and sealed.
    tx_packets,
    /// Handshakes completed, in either role.
    handshakes,
    /// Datagrams too short, of unknown type or with reserved bits.
    rx_malformed,
    /// Handshake messages whose first MAC is wrong.
    rx_bad_mac,
    /// Handshake messages that did not authenticate, or for which there is no handshake.
    rx_bad_handshake,
    /// Initiations from keys that are no peers.
    rx_unknown_peer,
    /// Initiations with an old timestamp: replays.
    rx_replayed_handshake,
    /// Handshake messages over a rate limit.
    rx_rate_limited,
    /// Handshake messages dropped because too many waited already.
    rx_handshake_overflow,
    /// Data datagrams for a session that does not exist (any more).
    rx_unknown_session,
    /// Data datagrams that did not authenticate.
    rx_bad_data,
    /// Data datagrams seen before or too old.
    rx_replayed_data,
    /// Decrypted packets that are no IP packets.
    rx_not_ip,
    /// Decrypted packets whose source address is not the sender's.
    rx_source_not_allowed,
    /// Cookie replies sent.
    cookies_sent,
    /// Packets for whose destination there is no peer, or none with an endpoint.
    tx_no_peer,
    /// Packets from the interface that are no IP packets.
    tx_not_ip,
    /// Packets dropped while waiting for a handshake.
    tx_staged_dropped,
    /// Datagrams that the socket refused.
    tx_socket_errors,
    /// Packets that the interface refused.
    rx_tun_errors,
}

/// Where a peer is, for another device with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPlace {
    /// Its address.
    pub endpoint: SocketAddr,
    /// The local address that it expects answers from, if known.
    pub local: Option<IpAddr>,
    /// The latest timestamp that it was sent in an initiation.
    pub timestamp_sent: Option<Tai64N>,
}

/// Something that the device noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A handshake with a peer is complete: a session exists and the peer has proven that it has its key.
    HandshakeDone {
        /// The peer.
        peer: PublicKey,
        /// Where it is.
        endpoint: Option<SocketAddr>,
        /// The peer's own clock in its initiation; `None` where this side initiated. Never runs backwards for one key.
        timestamp: Option<Tai64N>,
    },
    /// An authenticated packet came from another address than the one known.
    EndpointChanged {
        /// The peer.
        peer: PublicKey,
        /// Where it was.
        old: Option<SocketAddr>,
        /// Where it is.
        new: SocketAddr,
        /// The latest timestamp that this device has sent to it in an initiation, which it remembers.
        timestamp_sent: Option<Tai64N>,
    },
    /// Packets are sent to a peer, or wait for a session with it, after at least
    /// [`SENDING_PAUSE`](crate::limits::SENDING_PAUSE) without any.
    SendingBegins {
        /// The peer.
        peer: PublicKey,
    },
    /// A data datagram for a session that this device does not have (rate limited).
    UnknownSession {
        /// The receiver index that the datagram carries.
        index: u32,
        /// Where it came from.
        source: SocketAddr,
        /// The local address it was sent to, if known.
        local: Option<IpAddr>,
    },
    /// A datagram for a session of another device with the same key: as its index says, which only such devices can make, or
    /// because it came from where a peer was given away ([`DeviceHandle::give_away`](crate::DeviceHandle::give_away)). Rate limited.
    /// Whoever moves between them sent it; it is not authenticated.
    Stray {
        /// The other device's number, if the index says one.
        number: Option<u8>,
        /// Where it came from.
        source: SocketAddr,
        /// The local address it was sent to, if known.
        local: Option<IpAddr>,
        /// The datagram.
        datagram: Vec<u8>,
    },
    /// The interface came up, but its UDP port could not be had. Tried again with the next change of port or interface.
    ListenFailed {
        /// Which port.
        port: u16,
        /// The system's error number.
        errno: i32,
    },
    /// The interface was deleted; the device has ended.
    InterfaceGone,
}
