//! Clients that roam, on an entry node: what their device tells of them, and moves that are carried out at once.
//!
//! A session counts once its client has proved that it is there itself: the engine tells of that when it happens, the kernel's
//! device is asked for it. Who has which client is decided in `core` ([`wayleave_core::node::claims`]); here the device's
//! signs are passed on, and what was decided is carried out without a look at the host, which a reconciliation makes up for
//! soon after.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use wayleave_core::host::{Actual, Backend, diff, wanted};
use wayleave_core::keys::PublicKey;
use wayleave_core::names::{DeviceName, Name};
use wayleave_core::node::Event as NodeEvent;
use wayleave_core::plan::NodePlan;
use wayleave_engine::{Event as DeviceEvent, Events, PeerTraffic};

use super::agent::Agent;
use super::peers::age;
use super::report::SESSION;
use super::{Event, Weight, log};

/// Between looks at the device's counters: who is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same with the kernel's WireGuard, which tells of new sessions by nothing else.
const LOOK_INTERVAL_KERNEL: Duration = Duration::from_millis(200);
/// A look may take this share of the time at most: with thousands of clients the kernel's device is looked at less often.
const LOOK_SHARE: u32 = 20;
/// How soon the listener notices that it is not needed any more.
const NOTICE: Duration = Duration::from_millis(500);
/// Moves are made up for by a reconciliation after this time.
const MAKE_UP: Duration = Duration::from_secs(1);

/// The clients' device of an entry node, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Clients {
    by_key: HashMap<PublicKey, Name>,
    counted: HashMap<PublicKey, PeerTraffic>,
    /// Ends when this is dropped.
    listener: Option<Listener>,
    /// When to look; none: there is no device, or it was never looked at.
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct Listener(Arc<AtomicBool>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Clients {
    /// Goes over to another plan.
    pub(super) fn follow(&mut self, plan: &NodePlan) {
        let all = plan.entry.iter().flat_map(|entry| &entry.peers);
        self.by_key = all.filter_map(|peer| Some((peer.public_key?, peer.name.clone()))).collect();
        let by_key = &self.by_key;
        self.counted.retain(|key, _| by_key.contains_key(key));
    }

    /// The device is made anew, or gone.
    pub(super) fn forget_device(&mut self) {
        (self.listener, self.look_at) = (None, None);
        self.counted.clear();
    }

    /// Takes note of what the device has counted, and says what it means. What is there at the first look is not new.
    fn count(&mut self, news: Vec<PeerTraffic>, is_first: bool) -> Vec<NodeEvent> {
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
                signs.push(NodeEvent::ClientHere { client });
            } else if traffic.rx_bytes != had.1 {
                signs.push(NodeEvent::ClientHeard { client });
            }
        }
        signs
    }
}

impl Agent {
    /// When the clients' device is to be looked at.
    pub(super) fn clients_wake(&self) -> Option<Instant> {
        self.clients.look_at
    }

    /// Looks at the clients' device if that is due.
    pub(super) fn tend_clients(&mut self, now: Instant) {
        let Some(device) = self.part.entry.as_ref().map(|entry| entry.device.clone()) else { return };
        if !self.failover.is_device_there || self.clients.look_at.is_some_and(|at| at > now) {
            return;
        }
        let Ok(news) = self.reconciler.host().traffic_news(device.as_str()) else {
            self.clients.look_at = Some(now + LOOK_INTERVAL);
            return;
        };
        let is_first = self.clients.look_at.is_none();
        if is_first {
            self.listen(&device);
        }
        let signs = self.clients.count(news, is_first);
        signs.into_iter().for_each(|sign| self.tell(sign));
        let interval = match self.reconciler.backend() {
            Backend::Kernel => LOOK_INTERVAL_KERNEL,
            Backend::Engine => LOOK_INTERVAL,
        };
        self.clients.look_at = Some(now + interval.max(now.elapsed() * LOOK_SHARE));
    }

    /// A client has a new session here.
    pub(super) fn handle_connected(&mut self, key: PublicKey) {
        if let Some(client) = self.clients.by_key.get(&key).cloned() {
            self.tell(NodeEvent::ClientHere { client });
        }
    }

    /// Clients are with other entry nodes than before: their prefixes move at once.
    pub(super) fn move_clients(&mut self, changed: Vec<(Name, Option<Name>)>) {
        for (client, server) in changed {
            let words = match &server {
                Some(server) if *server == self.part.name => format!("{client} is here"),
                Some(server) => format!("{client} is with {server}"),
                None => format!("{client} is with nobody"),
            };
            log(Weight::Notice, &words);
            self.claims.set(&client, server.as_ref());
        }
        if !self.failover.is_device_there || self.wanted.devices.is_empty() {
            return;
        }
        self.plan_anew();
        self.let_in(&self.part.clone());
        let mut next = self.reconciler.fit(wanted(&self.part, self.reconciler.backend(), &self.dialler.chosen()));
        let before = std::mem::take(&mut self.wanted);
        self.narrow(&mut next, &before);
        // Nobody else changes what is ours: a look at the whole host would take longer than the move.
        let present = Actual { state: before.clone(), ..Actual::default() };
        let done = diff(&present, &next, Some(&before)).is_ok_and(|changes| self.reconciler.expect(&changes).is_ok());
        self.wanted = next;
        let make_up = if done { MAKE_UP } else { Duration::ZERO };
        self.look_at = self.look_at.min(Instant::now() + make_up);
    }

    fn listen(&mut self, device: &DeviceName) {
        let Some(news) = self.reconciler.host().events(device.as_str()) else { return };
        let ended = Arc::new(AtomicBool::new(false));
        let (until, to) = (ended.clone(), self.events.clone());
        let work = move || notice(&news, &until, &to);
        if std::thread::Builder::new().name("clients".into()).spawn(work).is_ok() {
            self.clients.listener = Some(Listener(ended));
        }
    }
}

fn notice(news: &Events, ended: &AtomicBool, events: &SyncSender<Event>) {
    while !ended.load(Ordering::Acquire) {
        if let Some(DeviceEvent::HandshakeDone { peer, .. }) = news.wait(NOTICE) {
            // What the loop can't take now, the next look finds.
            let _ = events.try_send(Event::ClientConnected { key: PublicKey::from_bytes(peer.0) });
        }
    }
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
        let mut said = |traffic, is_first| {
            let signs = clients.count(vec![traffic], is_first);
            signs.iter().map(|sign| format!("{sign:?}").split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(said(traffic(Some(100), 10), true), ["ClientHeard"]);
        assert_eq!(said(traffic(Some(100), 10), false), [""; 0]);
        assert_eq!(said(traffic(Some(100), 20), false), ["ClientHeard"]);
        assert_eq!(said(traffic(Some(1), 30), false), ["ClientHere"]);
        assert_eq!(said(traffic(Some(400), 30), true), [""; 0], "its session is over");
    }
}
