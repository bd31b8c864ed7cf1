//! Clients that roam, on an entry node: what their device tells of them, and moves that are carried out at once.
//!
//! A session counts once its client has proved that it is there itself: the engine tells of that when it happens, the kernel's
//! device is asked for it, now and then and when a packet comes that may have begun one ([`tap`]). Who has which client is decided in `core` ([`wayleave_core::node::claims`]); here the device's
//! signs are passed on, and what was decided is carried out ([`following`]).

mod calls;
mod drain;
mod flows;
mod following;
mod moves;
mod raw;
mod recall;
mod relay;
mod server;
mod tap;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wayleave_core::host::Backend;
use wayleave_core::keys::PublicKey;
use wayleave_core::limits::LOOK_SHARE;
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::node::claims::looks::Looks;
use wayleave_core::node::{Event as NodeEvent, Time};
use wayleave_core::plan::NodePlan;
use wayleave_engine::limits::DEVICES_PER_KEY_MAX;
use wayleave_engine::{PeerTraffic, Tai64N};

use calls::KernelCalls;
pub(super) use drain::Farewell;
use drain::Gone;
use following::Following;
use moves::Moves;
use raw::Raw;
use recall::{CALL_INTERVAL, Recall};
use relay::{Port, Relay, Servers};
pub(super) use server::OwnServer;
use tap::Tap;

use super::agent::Agent;
use super::peers::age;
use super::report::SESSION;
use super::{Weight, chain, log};
use crate::system::clock::monotonic_us;

/// Between looks at the device's counters: who is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What came of a client for so long after it has gone to another server was under way: packets that this one passed on, in no
/// certain order with that one's claim.
const SPILL: Duration = Duration::from_millis(500);
/// Length of a handshake initiation (WireGuard whitepaper, section 5.4.2).
const INITIATION_BYTES: u64 = 148;
/// What the engine may take to send the last messages.
const FAREWELL: Duration = Duration::from_millis(50);

/// The clients' device of an entry node, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Clients {
    by_key: HashMap<PublicKey, Name>,
    counted: HashMap<PublicKey, PeerTraffic>,
    /// When that was.
    counted_at: Option<Instant>,
    /// Clients that have gone to another server since, or shortly before.
    left: HashMap<PublicKey, Instant>,
    /// What hears the device.
    relay: Option<Relay>,
    /// This device's number among the entry nodes, as it was told.
    number: Option<u8>,
    /// Clients whose sessions are to be forgotten.
    gone: Vec<Gone>,
    /// When to look; none: there is no device, or it was never looked at.
    look_at: Option<Instant>,
    /// When to look at the kernel's device, and calls by it.
    looks: Looks,
    kernel: KernelCalls,
    pub(super) moves: Moves,
    following: Following,
    recall: Recall,
}

impl Clients {
    /// Goes over to another plan.
    pub(super) fn follow(&mut self, plan: &NodePlan) {
        let all = plan.entry.iter().flat_map(|entry| &entry.peers);
        self.by_key = all.filter_map(|peer| Some((peer.public_key?, peer.name.clone()))).collect();
        let by_key = &self.by_key;
        self.counted.retain(|key, _| by_key.contains_key(key));
        self.left.retain(|key, _| by_key.contains_key(key));
        self.following = Following::default();
    }

    /// Whether the part in force was planned with all that is known of clients.
    pub(super) fn is_planned(&self) -> bool {
        !matches!(self.following, Following::Behind)
    }

    /// Notes when clients came whom a look has found: when their sessions were made, or just now.
    fn note(&mut self, signs: &[NodeEvent]) {
        let now_us = monotonic_us();
        for sign in signs {
            let (NodeEvent::ClientHere { client } | NodeEvent::ClientHeard { client }) = sign else { continue };
            let here = matches!(sign, NodeEvent::ClientHere { .. }).then(|| self.handshake_age(client)).flatten();
            let ago_us = here.filter(|ago| *ago < LOOK_INTERVAL).unwrap_or_default().as_micros() as u64;
            self.moves.handle_sign(client, now_us.saturating_sub(ago_us), now_us);
        }
    }

    fn handshake_age(&self, client: &Name) -> Option<Duration> {
        let (key, _) = self.by_key.iter().find(|(_, name)| *name == client)?;
        Some(age(self.counted.get(key)?.last_handshake?))
    }

    /// The device is made anew, or gone.
    pub(super) fn forget_device(&mut self) {
        (self.relay, self.look_at, self.counted_at) = (None, None, None);
        (self.looks, self.kernel) = (Looks::default(), KernelCalls::default());
        self.counted.clear();
        self.left.clear();
        self.gone.clear();
    }

    /// Takes note of what the device has counted, and says what it means. What is there at the first look is not new.
    fn count(&mut self, news: Vec<PeerTraffic>, is_first: bool, now: Instant) -> Vec<NodeEvent> {
        let since = self.counted_at.replace(now);
        let mut signs = Vec::new();
        for traffic in news {
            let key = PublicKey::from_bytes(traffic.public_key.0);
            let Some(client) = self.by_key.get(&key).cloned() else { continue };
            let before = self.counted.insert(key, traffic);
            let had = before.map_or((None, 0), |before| (before.last_handshake, before.rx_bytes));
            let is_live = traffic.last_handshake.is_some_and(|at| age(at) < SESSION);
            if is_first {
                signs.extend(is_live.then_some(NodeEvent::ClientHeard { client }));
            } else if traffic.last_handshake.is_some() && traffic.last_handshake != had.0 {
                let is_later = self.is_later(&key, since, Duration::ZERO);
                signs.extend(is_later.then_some(NodeEvent::ClientHere { client }));
            } else if has_spoken(had.1, traffic.rx_bytes) {
                let is_later = self.is_later(&key, since, SPILL);
                signs.extend(is_later.then_some(NodeEvent::ClientHeard { client }));
            }
        }
        self.left.retain(|_, left| since.is_none_or(|since| since < *left + SPILL));
        signs
    }

    /// Whether all that was counted since then came when a client had been gone to another server for some time: otherwise it may
    /// be from before, and no sign that it is back.
    fn is_later(&self, client: &PublicKey, since: Option<Instant>, spill: Duration) -> bool {
        self.left.get(client).is_none_or(|left| since.is_some_and(|since| since >= *left + spill))
    }
}

/// Whether more has come from a client than handshake initiations, going by what its peer has received before and now. Devices count
/// these too, and anybody can send one who has recorded it on its way to another server. Other messages' lengths are multiples of 16,
/// so some that add up to several initiations are taken for such; the next one is heard.
fn has_spoken(before_bytes: u64, now_bytes: u64) -> bool {
    !now_bytes.abs_diff(before_bytes).is_multiple_of(INITIATION_BYTES)
}

impl Agent {
    /// When the clients' device is to be looked at.
    pub(super) fn clients_wake(&self) -> Option<Instant> {
        self.clients.look_at.into_iter().chain(self.calls_wake()).min()
    }

    /// A packet has come that may have begun a session.
    pub(super) fn handle_hint(&mut self) {
        self.clients.looks.handle_hint(self.time());
        let at = self.instant(self.clients.looks.wake());
        self.clients.look_at = self.clients.look_at.map(|look_at| look_at.min(at));
    }

    /// Looks at the clients' device if that is due.
    pub(super) fn tend_clients(&mut self, now: Instant) {
        let Some(device) = self.part.entry.as_ref().map(|entry| entry.device.clone()) else { return };
        self.forget_gone(now);
        self.tend_calls(device.as_str());
        if !self.failover.is_device_there || self.clients.look_at.is_some_and(|at| at > now) {
            return;
        }
        let Ok(news) = self.reconciler.host().traffic_news(device.as_str()) else {
            // What was never looked at is still to be listened to.
            self.clients.look_at = self.clients.look_at.map(|_| now + LOOK_INTERVAL);
            return;
        };
        let is_first = self.clients.look_at.is_none();
        if is_first {
            self.listen(&device);
            if self.reconciler.backend() == Backend::Engine {
                self.clients.recall.begin(self.reconciler.place());
            }
        }
        let signs = self.clients.count(news, is_first, now);
        let came = signs.iter().any(|sign| matches!(sign, NodeEvent::ClientHere { .. }));
        self.clients.note(&signs);
        for sign in signs {
            if let NodeEvent::ClientHere { client } = &sign {
                self.note_answer(&client.clone());
            }
            self.tell(sign);
        }
        self.recall_clients(&device);
        self.keep_clients(&device, now, false);
        if is_first || came {
            self.clients.recall.keep_soon();
        }
        self.clients.look_at = Some(self.next_look(now, came));
    }

    /// When to look again after a look that began then; whether it has found a new session.
    fn next_look(&mut self, begin: Instant, came: bool) -> Instant {
        let interval = match self.reconciler.backend() {
            Backend::Kernel => {
                let at = Time::from_us(begin.saturating_duration_since(self.started).as_micros() as u64);
                self.clients.looks.handle_look(at, begin.elapsed(), came);
                return self.instant(self.clients.looks.wake());
            }
            Backend::Engine if self.clients.recall.is_waiting() => CALL_INTERVAL,
            Backend::Engine => LOOK_INTERVAL,
        };
        begin + interval.max(begin.elapsed() * LOOK_SHARE)
    }

    /// A client has a new session here.
    pub(super) fn handle_connected(&mut self, key: PublicKey) {
        if let Some(client) = self.clients.by_key.get(&key).cloned() {
            let now_us = monotonic_us();
            self.clients.moves.handle_sign(&client, now_us, now_us);
            self.clients.recall.keep_soon();
            self.tell(NodeEvent::ClientHere { client });
        }
    }

    /// A client came here with a session of another server, which has vouched for it: it is called from here. Who drains leaves it
    /// with that one.
    pub(super) fn handle_came(&mut self, came: Came) {
        let Some(device) = self.part.entry.as_ref().map(|entry| entry.device.as_str().to_owned()) else { return };
        if self.ready.is_draining() {
            return self.offer_again(&came);
        }
        if !self.clients.by_key.contains_key(&came.client) {
            return;
        }
        let key = wayleave_engine::PublicKey(*came.client.as_bytes());
        if let Err(error) = self.reconciler.host().call(&device, key, came.source, came.seen.map(Tai64N)) {
            log(Weight::Info, &chain(&error));
        }
    }

    /// The device goes with the agent: clients that are still here are with nobody, which the others are told before.
    pub(super) fn release_clients(&mut self) {
        if let Some(device) = self.part.entry.as_ref().map(|entry| entry.device.clone()) {
            self.keep_clients(&device, Instant::now(), true);
        }
        self.tell(NodeEvent::Ending);
        self.send_last();
        // The engine sends in threads of its own, which end with it.
        std::thread::sleep(FAREWELL);
    }

    /// Listens to the device.
    fn listen(&mut self, device: &DeviceName) {
        let Some(port) = self.part.entry.as_ref().map(|entry| entry.port) else { return };
        let mark = self.part.mark().unwrap_or(0);
        let host = self.reconciler.host();
        let port = match (host.events(device.as_str()), host.handle(device.as_str())) {
            (Some(news), Some(handle)) => Ok(Port::Engine(news, handle)),
            _ if host.backend() == Backend::Engine => return,
            _ => Tap::open(port).and_then(|tap| Ok(Port::Kernel(tap, Raw::open(port, mark)?))),
        };
        match port.and_then(|port| Relay::start(port, &self.events)) {
            Ok(relay) => self.clients.relay = Some(relay),
            Err(error) => log(Weight::Warning, &format!("can't listen to packets of {device}: {error}")),
        }
        self.follow_servers();
        self.follow_draining();
    }

    /// Tells the device which one it is of those that share its key, and the relay where the others are.
    pub(super) fn follow_servers(&mut self) {
        let Some(entry) = &self.part.entry else { return };
        let network = &self.reading.network;
        let numbered = || network.entries().zip(0..DEVICES_PER_KEY_MAX);
        let number = numbered().find(|(ix, _)| network.node(*ix).name == self.part.name).map(|(_, number)| number);
        // Before there is a device: a session that began without a number is not known at the other servers.
        if number != self.clients.number && self.reconciler.host().set_number(entry.device.as_str(), number).is_ok() {
            self.clients.number = number;
        }
        let Some(relay) = &self.clients.relay else { return };
        let place = |(ix, number)| -> Option<(u8, IpAddr)> {
            let at = self.peers.named(&network.node(ix).name)?;
            Some((number, self.part.peers[at].link_address?))
        };
        let others: BTreeMap<u8, IpAddr> = numbered().filter_map(place).collect();
        let device = self.part.device.as_str().to_owned();
        relay.set_servers(Servers { own: self.part.link_address, device, others, port: entry.port });
    }
}

/// A client that another server has vouched for.
#[derive(Debug)]
pub struct Came {
    /// Its public key.
    pub client: PublicKey,
    /// The latest TAI64N label of a handshake that it is known to have seen from an entry server.
    pub seen: Option<[u8; 12]>,
    /// Where it is.
    pub source: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(handshake_age_s: Option<u64>, rx_bytes: u64) -> PeerTraffic {
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let last_handshake = handshake_age_s.map(|age| Duration::from_secs(now.as_secs() - age));
        PeerTraffic { public_key: wayleave_engine::PublicKey([1; 32]), last_handshake, rx_bytes, tx_bytes: 0 }
    }

    #[test]
    fn an_old_session_is_heard_and_a_new_one_is_here() {
        let client = Name::new("laptop").unwrap();
        let mut clients =
            Clients { by_key: HashMap::from([(PublicKey::from_bytes([1; 32]), client)]), ..Clients::default() };
        let mut now = Instant::now();
        let mut said = |traffic, is_first| {
            now += Duration::from_secs(1);
            let signs = clients.count(vec![traffic], is_first, now);
            signs.iter().map(|sign| format!("{sign:?}").split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(said(traffic(Some(100), 10), true), ["ClientHeard"]);
        assert_eq!(said(traffic(Some(100), 10), false), [""; 0]);
        assert_eq!(said(traffic(Some(100), 20), false), ["ClientHeard"]);
        assert_eq!(
            said(traffic(Some(100), 20 + 148), false),
            [""; 0],
            "somebody may have sent an old initiation again"
        );
        assert_eq!(said(traffic(Some(100), 20 + 3 * 148), false), [""; 0]);
        assert_eq!(said(traffic(Some(100), 20 + 4 * 148 + 32), false), ["ClientHeard"]);
        assert_eq!(said(traffic(Some(1), 30), false), ["ClientHere"]);
        assert_eq!(said(traffic(Some(400), 30), true), [""; 0], "its session is over");
    }

    #[test]
    fn what_may_have_come_before_a_client_left_does_not_bring_it_back() {
        let (client, key) = (Name::new("laptop").unwrap(), PublicKey::from_bytes([1; 32]));
        let mut clients = Clients { by_key: HashMap::from([(key, client)]), ..Clients::default() };
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        assert_eq!(clients.count(vec![traffic(Some(100), 10)], true, at(0)).len(), 1);
        // A session that the engine has told of, and then the client goes: both since the last look.
        clients.left.insert(key, at(900));
        assert_eq!(clients.count(vec![traffic(Some(1), 5_000)], false, at(1_000)), []);
        assert_eq!(clients.count(vec![traffic(Some(1), 5_100)], false, at(2_000)), [], "packets were under way");
        assert_eq!(clients.count(vec![traffic(Some(1), 5_200)], false, at(3_000)).len(), 1, "it is back");
        assert!(clients.left.is_empty());
        // A new session after it has gone brings it back at once.
        clients.left.insert(key, at(3_100));
        assert_eq!(clients.count(vec![], false, at(3_200)), []);
        assert_eq!(clients.count(vec![traffic(Some(0), 6_000)], false, at(3_400)).len(), 1);
    }
}
