//! The whole device's protocol state, without I/O and without a clock.
//!
//! A [`Tunnel`] is told what happened (`handle_*`, always with the time) and asked what to do next (`poll_*`). After one `handle_*`
//! or [`Tunnel::configure`] the owner drains [`Tunnel::poll_transmit`] (datagrams to send), [`Tunnel::poll_tun`] (packets for the
//! interface) and [`Tunnel::poll_event`], then sleeps until [`Tunnel::poll_timeout`] at the latest and calls
//! [`Tunnel::handle_timeout`]. It starts down; nothing is sent or accepted before [`Tunnel::handle_up`].
//!
//! Files: `peer` (a peer's state and timers), `handshakes` and `data` (the two kinds of datagrams), `configure` (changes and
//! description), `session`, `replay`, `allowed_ips`, `index`, `timers`, `load` (one structure each).

pub mod allowed_ips;
mod configure;
mod data;
mod handshakes;
mod index;
mod load;
mod peer;
mod replay;
mod session;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use allowed_ips::{AllowedIps, Common, LentPrefixes};
use index::IndexTable;
use load::{HandshakeQueue, KnownEndpoints, LoadMeter, PerSecond, RateLimiter};
pub use peer::PeerId;
use peer::{Called, Peer, PeerSet, Sequence};
use timers::Deadlines;

use crate::config::{Counters, Event, PeerPlace};
use crate::keys::PublicKey;
use crate::limits::{EVENTS_MAX, Timing};
use crate::noise::cookie::CookieChecker;
use crate::noise::handshake::Identity;
use crate::noise::messages::{Message, u32_at};
use crate::packet::PacketBuf;
use crate::rng::{Rng, SeededRng, random_u64};
use crate::time::{Monotonic, Now, Tai64N};

pub use configure::ConfigureError;
pub use data::Departure;
pub use session::{Rejection, Session};

/// The local end of a path: which of our addresses, on which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddress {
    /// The address the other end sent to, and so expects answers from.
    pub address: IpAddr,
    /// The interface it came in by.
    pub interface: u32,
}

/// Both ends of a path through the outer network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The other end.
    pub remote: SocketAddr,
    /// This end; none lets the kernel choose.
    pub local: Option<LocalAddress>,
}

impl From<SocketAddr> for Endpoint {
    fn from(remote: SocketAddr) -> Endpoint {
        Endpoint { remote, local: None }
    }
}

/// A datagram to send.
#[derive(Debug)]
pub struct Transmit {
    /// From where to where.
    pub endpoint: Endpoint,
    /// The datagram.
    pub packet: PacketBuf,
    /// To which peer; none for a cookie reply.
    pub peer: Option<PeerId>,
}

/// What the tunnel wants done.
#[derive(Debug, Default)]
struct Outputs {
    transmits: VecDeque<Transmit>,
    packets: VecDeque<PacketBuf>,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Outputs {
    fn event(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// All of a tunnel but its peers, so that a peer and this can be borrowed at once.
struct Shared {
    identity: Option<Identity>,
    allowed_ips: AllowedIps,
    lent: LentPrefixes,
    common: Common,
    /// Of what was added last, be it a peer or a prefix.
    sequence: Sequence,
    /// Peers whose counters have changed since somebody last asked.
    news: PeerSet,
    indices: IndexTable,
    deadlines: Deadlines,
    out: Outputs,
    rng: Box<dyn Rng>,
    /// For what nobody is hurt by guessing: the jitter of timers that packets set, which is not to cost a system call.
    jitter: SeededRng,
    timing: Timing,
    mtu: usize,
    up: bool,
    /// Forget one's own initiation when answering another's, as the kernel and wireguard-go do: to simulate them.
    #[cfg(test)]
    single_handshake: bool,
}

/// The protocol state of one device.
pub struct Tunnel {
    peers: Vec<Option<Box<Peer>>>,
    free: Vec<PeerId>,
    by_key: HashMap<PublicKey, PeerId>,
    checker: Option<CookieChecker>,
    handshakes: HandshakeQueue,
    load: LoadMeter,
    limiter: RateLimiter,
    known_endpoints: KnownEndpoints,
    unknown_sessions: PerSecond,
    strays: PerSecond,
    /// Where peers are that were given away to another device with the same key.
    given_away: HashSet<SocketAddr>,
    given_away_strays: PerSecond,
    /// Which one this is of several devices with the same key.
    number: Option<u8>,
    unreachables: PerSecond,
    shared: Shared,
}

impl Tunnel {
    /// A tunnel without key and peers, down.
    pub fn new(mut rng: Box<dyn Rng>, timing: Timing) -> Tunnel {
        let jitter = SeededRng::new(random_u64(rng.as_mut()));
        Tunnel {
            peers: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            checker: None,
            handshakes: HandshakeQueue::default(),
            load: LoadMeter::default(),
            limiter: RateLimiter::default(),
            known_endpoints: KnownEndpoints::default(),
            unknown_sessions: PerSecond::default(),
            strays: PerSecond::default(),
            given_away: HashSet::new(),
            given_away_strays: PerSecond::default(),
            number: None,
            unreachables: PerSecond::default(),
            shared: Shared {
                identity: None,
                allowed_ips: AllowedIps::default(),
                lent: LentPrefixes::default(),
                common: Common::default(),
                sequence: Sequence::default(),
                news: PeerSet::default(),
                indices: IndexTable::default(),
                deadlines: Deadlines::default(),
                out: Outputs::default(),
                rng,
                jitter,
                timing,
                mtu: 1420,
                up: false,
                #[cfg(test)]
                single_handshake: false,
            },
        }
    }

    /// A datagram came in. Its buffer is used for the packet inside, if there is one. A handshake message waits for the next
    /// [`Tunnel::handle_timeout`], which is due at once.
    pub fn handle_datagram(&mut self, now: Now, source: Endpoint, datagram: PacketBuf) {
        if !self.shared.up {
            return;
        }
        match Message::parse(datagram.packet()) {
            Some(Message::Data { receiver, counter }) => self.handle_data(now, source, receiver, counter, datagram),
            Some(Message::Response(message)) if self.is_others_response(source.remote, message) => {
                self.handle_stray(now, source, u32_at(message, 8), datagram.packet());
            }
            Some(Message::Initiation(_) | Message::Response(_)) => self.handle_handshake_message(now, source, datagram),
            Some(Message::CookieReply(message)) => self.handle_cookie_reply(now, message),
            None => self.shared.out.counters.rx_malformed += 1,
        }
    }

    /// What is due is done, and a few of the handshake messages that wait. May be called at any time.
    pub fn handle_timeout(&mut self, now: Now) {
        self.handle_waiting_handshakes(now);
        self.shared.lent.forget_until(now.monotonic);
        while let Some(id) = self.shared.deadlines.peek_due(now.monotonic) {
            let Some(Some(peer)) = self.peers.get_mut(id.0 as usize) else { return };
            self.shared.deadlines.disarm(id, &mut peer.timers);
            peer.handle_timeout(now, &mut self.shared);
            self.shared.deadlines.arm(id, &mut peer.timers);
        }
    }

    /// The interface came up.
    pub fn handle_up(&mut self, now: Now) {
        if !std::mem::replace(&mut self.shared.up, true) {
            self.each_peer(|peer, shared| {
                peer.send_staged(now, shared);
                if peer.persistent_keepalive_s > 0 {
                    peer.send_keepalive(now, shared);
                }
            });
        }
    }

    /// The interface went down.
    pub fn handle_down(&mut self) {
        if std::mem::replace(&mut self.shared.up, false) {
            self.each_peer(|peer, shared| peer.handle_down(shared));
            self.handshakes.clear();
            self.shared.out.transmits.clear();
            self.shared.out.packets.clear();
        }
    }

    /// The interface's MTU, which bounds the padding.
    pub fn handle_mtu(&mut self, mtu: usize) {
        self.shared.mtu = mtu;
    }

    /// The socket did not take a datagram of `bytes` bytes.
    pub fn handle_transmit_failed(&mut self, peer: Option<PeerId>, bytes: usize) {
        self.shared.out.counters.tx_socket_errors += 1;
        if let Some((peer, shared)) = peer.and_then(|id| self.peer(id)) {
            peer.tx_bytes = peer.tx_bytes.saturating_sub(bytes as u64);
            shared.news.insert(peer.id);
        }
    }

    /// The local address that a peer expects answers from is not ours any more.
    pub fn handle_source_lost(&mut self, peer: Option<PeerId>) {
        if let Some((peer, _)) = peer.and_then(|id| self.peer(id)) {
            peer.clear_source();
        }
    }

    /// The interface did not take that many packets.
    pub fn handle_tun_refused(&mut self, packets: u64) {
        self.shared.out.counters.rx_tun_errors += packets;
    }

    /// The interface handed out something that is no packet and can't be made into any.
    pub fn handle_tun_nonsense(&mut self) {
        self.shared.out.counters.tx_not_ip += 1;
    }

    /// All local addresses may have changed (the sockets were made anew): none is kept for answers.
    pub fn handle_sockets_changed(&mut self) {
        self.each_peer(|peer, _| peer.clear_source());
    }

    /// Starts a handshake with a peer, for an owner that knows it to be worthwhile. False if there is no such peer.
    pub fn initiate(&mut self, now: Now, peer: &PublicKey) -> bool {
        let Some(&id) = self.by_key.get(peer) else { return false };
        self.with_peer(id, |peer, shared| peer.send_initiation(now, shared, false));
        true
    }

    /// Starts a handshake however short a time ago one was started, at `place` for once if one is given: whether the peer is there
    /// is known when it answers. `seen` is a timestamp that it has seen from another device with the same key: those of its own are
    /// to be later. False if there is no such peer.
    pub fn call(&mut self, now: Now, peer: &PublicKey, place: Option<SocketAddr>, seen: Option<Tai64N>) -> bool {
        let Some(&id) = self.by_key.get(peer) else { return false };
        self.with_peer(id, |peer, shared| {
            peer.timestamp_sent = peer.timestamp_sent.max(seen);
            peer.handshake_sent = None;
            let known = peer.endpoint;
            peer.called = place.map(Called::at);
            peer.endpoint = place.map(Endpoint::from).or(known);
            peer.send_initiation(now, shared, false);
            peer.endpoint = known;
        });
        true
    }

    /// Sends the initiation that waits for its answer to further places, and a new one if none waits: whoever of them has the peer's
    /// key and answers first is the peer, and the answers of the others are to nothing. False if there is no such peer.
    pub fn race(&mut self, now: Now, peer: &PublicKey, places: &[SocketAddr]) -> bool {
        let Some(&id) = self.by_key.get(peer) else { return false };
        self.with_peer(id, |peer, shared| {
            if peer.pending.is_none() {
                peer.send_initiation(now, shared, false);
            }
            let known = peer.endpoint;
            let Some(message) = peer.pending.as_ref().map(|pending| pending.message) else { return };
            for place in places.iter().filter(|place| known.is_none_or(|known| known.remote != **place)) {
                peer.endpoint = Some(Endpoint::from(*place));
                peer.transmit(PacketBuf::new(&message), shared);
            }
            peer.endpoint = known;
        });
        true
    }

    /// Where a peer is, and what it may have seen. None if there is no such peer.
    pub fn place(&self, peer: &PublicKey) -> Option<PeerPlace> {
        let peer = self.peers.get(self.by_key.get(peer)?.0 as usize)?.as_ref()?;
        let endpoint = peer.endpoint?;
        let local = endpoint.local.map(|local| local.address);
        Some(PeerPlace { endpoint: endpoint.remote, local, timestamp_sent: peer.timestamp_sent })
    }

    /// Forgets the sessions of a peer that another device with the same key has: nothing is sent to it until it calls, or is called.
    pub fn forget_sessions(&mut self, peer: &PublicKey) {
        if let Some(&id) = self.by_key.get(peer) {
            self.with_peer(id, |peer, shared| peer.handle_down(shared));
        }
    }

    /// A peer that is at this address is given away to another device with the same key, or no longer: what comes from there for
    /// no session of this device is handed out whatever its index says, since not all devices number theirs.
    pub fn give_away(&mut self, source: SocketAddr, is_given: bool) {
        if is_given {
            self.given_away.insert(source);
        } else {
            self.given_away.remove(&source);
        }
    }

    /// Sends a datagram that another device with the same key has made.
    pub fn relay(&mut self, to: Endpoint, datagram: &[u8]) {
        self.shared.out.transmits.push_back(Transmit { endpoint: to, packet: PacketBuf::new(datagram), peer: None });
    }

    /// Treats the device as under load until `until`: senders of handshakes have to prove their address.
    pub fn hold_under_load(&mut self, until: Monotonic) {
        self.load.hold(until);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.shared.out.transmits.pop_front()
    }

    /// The next packet for the interface.
    pub fn poll_tun(&mut self) -> Option<PacketBuf> {
        self.shared.out.packets.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.shared.out.events.pop_front()
    }

    /// When [`Tunnel::handle_timeout`] is due; none means not before something else happens.
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.handshakes.since().or_else(|| self.shared.deadlines.earliest())
    }

    /// What went through or was dropped so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.out.counters
    }

    /// Number of peers that have any timer running, and of session indices in use: zero when all is quiet.
    pub fn activity(&self) -> (usize, usize) {
        (self.shared.deadlines.len(), self.shared.indices.len())
    }

    fn peer(&mut self, id: PeerId) -> Option<(&mut Peer, &mut Shared)> {
        let peer = self.peers.get_mut(id.0 as usize)?.as_deref_mut()?;
        Some((peer, &mut self.shared))
    }

    /// Does something to a peer and arms its deadline anew.
    fn with_peer<T>(&mut self, id: PeerId, act: impl FnOnce(&mut Peer, &mut Shared) -> T) -> Option<T> {
        let (peer, shared) = self.peer(id)?;
        let done = act(peer, shared);
        shared.deadlines.arm(id, &mut peer.timers);
        Some(done)
    }

    fn each_peer(&mut self, mut act: impl FnMut(&mut Peer, &mut Shared)) {
        for peer in self.peers.iter_mut().flatten() {
            act(peer, &mut self.shared);
            self.shared.deadlines.arm(peer.id, &mut peer.timers);
        }
    }
}
