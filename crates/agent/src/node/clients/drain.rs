//! A draining entry node gives its clients away, another one calls them.
//!
//! [`wayleave_core::node::claims::drain`] decides who calls whom; here the device is asked where a client is, a way through this
//! server is opened where that is wanted, and a call is made. A server that ends drains before, for some seconds at most. When a
//! client has gone, this server's sessions with it are forgotten: a keepalive over one of them would lead the client back.

use std::time::{Duration, Instant};

use wayleave_core::host::Backend;
use wayleave_core::keys::PublicKey;
use wayleave_core::names::Name;
use wayleave_core::node::Event as NodeEvent;
use wayleave_core::node::claims::drain::Way;
use wayleave_core::node::handover::{Offer, Place};
use wayleave_engine::{PeerPlace, Tai64N};

use super::super::agent::Agent;
use super::super::{Weight, chain, log};
use super::Came;

/// How long a server that ends waits for its clients to be elsewhere: what draining takes, whoever is silent included.
const FAREWELL_MAX: Duration = Duration::from_secs(5);
/// From a client's leaving until sessions with it are forgotten: what was under way has come by then, several times over.
const FORGET_AFTER: Duration = Duration::from_secs(2);
/// The same where the kernel's device goes on as before: it calls whoever has not answered packets for fifteen seconds (the whitepaper's section
/// 6.5), and a client that has another server's address would come back by that.
const SILENT_MAX: Duration = Duration::from_secs(10);
/// How long a server without clients goes on before it ends: what is under way to it is passed on, and who comes back is
/// called again.
const LINGER: Duration = Duration::from_secs(1);

/// The end of an agent that gives its clients away before.
#[derive(Debug, Clone, Copy)]
pub(in crate::node) struct Farewell {
    until: Instant,
    empty_since: Option<Instant>,
}

/// A client that has gone, and what it had sent then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone {
    key: PublicKey,
    at: Instant,
    rx_bytes: u64,
}

impl Agent {
    /// Another server is to be asked to call a client.
    pub(in crate::node) fn hand_over(&mut self, client: Name, to: Name, way: Way) {
        let Some(key) = self.client_key(&client) else { return };
        let Some(device) = self.part.entry.as_ref().map(|entry| entry.device.clone()) else { return };
        if self.reconciler.backend() == Backend::Kernel {
            return self.offer_from_kernel(device.as_str(), (client, key), &to, way);
        }
        let Some(handle) = self.reconciler.host().handle(device.as_str()) else { return };
        let found = handle.place(&wayleave_engine::PublicKey(*key.as_bytes()));
        let (Ok(Some(found)), Some(relay)) = (found, &self.clients.relay) else { return };
        let PeerPlace { endpoint, local, timestamp_sent } = found;
        // Who comes through another server is not where it seems to be.
        let is_direct = way == Way::Direct && !relay.is_servers(endpoint.ip());
        let owner = self.peers.named(&to).and_then(|at| self.part.peers[at].link_address);
        let Some(owner) = owner else { return };
        let place = if is_direct {
            relay.offer(endpoint, owner);
            Some(Place::At(endpoint))
        } else {
            relay.lead(endpoint, local, owner).map(Place::Port)
        };
        if let Some(place) = place {
            let offer = Offer { client, place, seen: timestamp_sent.map(|label| label.0) };
            self.tell(NodeEvent::Offer { to, offer });
        }
    }

    /// A client that was given away comes through here again, since packets have overtaken each other: it is to be called once more.
    pub(super) fn offer_again(&mut self, came: &Came) {
        let Some(client) = self.clients.by_key.get(&came.client).cloned() else { return };
        let holder = self.claims.of(&client).filter(|holder| **holder != self.part.name).cloned();
        let is_own = self.clients.relay.as_ref().is_some_and(|relay| !relay.is_servers(came.source.ip()));
        if let Some(to) = holder.filter(|_| is_own) {
            let offer = Offer { client, place: Place::At(came.source), seen: came.seen };
            self.tell(NodeEvent::Offer { to, offer });
        }
    }

    /// A client is called that another server offers, if this one is ready for clients.
    pub(in crate::node) fn call_offered(&mut self, from: &Name, offer: &Offer) {
        let Some(device) = self.part.entry.as_ref().map(|entry| entry.device.as_str().to_owned()) else { return };
        let Some(key) = self.client_key(&offer.client).filter(|_| self.ready.is_ready()) else { return };
        let at = self.peers.named(from).and_then(|at| self.part.peers[at].link_address);
        let place = match (offer.place, at) {
            (Place::At(place), _) => place,
            (Place::Port(port), Some(address)) => (address, port).into(),
            (Place::Port(_), None) => return,
        };
        if self.reconciler.backend() == Backend::Kernel {
            return self.call_from_kernel(&device, (&offer.client, key), place, offer);
        }
        let key = wayleave_engine::PublicKey(*key.as_bytes());
        if let Err(error) = self.reconciler.host().call_at(&device, key, Some(place), offer.seen.map(Tai64N)) {
            log(Weight::Info, &chain(&error));
        }
    }

    pub(super) fn client_key(&self, client: &Name) -> Option<PublicKey> {
        self.part.entry.iter().flat_map(|entry| &entry.peers).find(|peer| peer.name == *client)?.public_key
    }

    /// From now on clients that are with others go on through here, or no longer.
    pub(in crate::node) fn follow_draining(&mut self) {
        self.clients.kernel.offered.clear();
        if let Some(relay) = &self.clients.relay {
            relay.set_draining(self.ready.is_draining());
        }
    }

    /// How many clients come through here that are with others.
    pub(in crate::node) fn led(&self) -> usize {
        self.clients.relay.as_ref().map_or(0, super::relay::Relay::led)
    }

    /// A client that was here is elsewhere.
    pub(super) fn note_gone(&mut self, client: &Name) {
        let Some(key) = self.client_key(client) else { return };
        let rx_bytes = self.clients.counted.get(&key).map_or(0, |counted| counted.rx_bytes);
        let after = match (self.reconciler.backend(), self.ready.is_draining()) {
            // It calls nobody unasked who is elsewhere.
            (Backend::Engine, false) => return,
            (Backend::Engine, true) => FORGET_AFTER,
            (Backend::Kernel, false) => SILENT_MAX,
            // What comes over an old session is passed on to nobody there, and each answer leads the client back.
            (Backend::Kernel, true) => Duration::ZERO,
        };
        self.clients.gone.push(Gone { key, at: Instant::now() + after, rx_bytes });
    }

    /// Forgets sessions with clients that have gone, unless they go on using them.
    pub(super) fn forget_gone(&mut self, now: Instant) {
        if self.clients.gone.iter().all(|gone| gone.at > now) {
            return;
        }
        let device = self.part.entry.as_ref().map(|entry| entry.device.clone());
        let handle = device.as_ref().and_then(|device| self.reconciler.host().handle(device.as_str()));
        let (due, later): (Vec<Gone>, Vec<Gone>) =
            std::mem::take(&mut self.clients.gone).into_iter().partition(|gone| gone.at <= now);
        self.clients.gone = later;
        for gone in due {
            let is_here = |name: &Name| self.claims.of(name) == Some(&self.part.name);
            if self.clients.by_key.get(&gone.key).is_none_or(is_here) {
                continue;
            }
            let is_kernel = self.reconciler.backend() == Backend::Kernel;
            let rx_bytes = self.clients.counted.get(&gone.key).map_or(0, |counted| counted.rx_bytes);
            if rx_bytes != gone.rx_bytes && !(is_kernel && self.ready.is_draining()) {
                self.clients.gone.push(Gone { rx_bytes, at: now + FORGET_AFTER, ..gone });
            } else if let Some(device) = device.as_ref().filter(|_| is_kernel) {
                self.renew(device.as_str(), gone.key, None);
            } else if let Some(handle) = &handle {
                let _ = handle.forget_sessions(&wayleave_engine::PublicKey(*gone.key.as_bytes()));
            }
        }
    }

    /// Somebody wants this agent to end: where it has clients that others could have, they get them before. Asked once more, it
    /// ends at once.
    pub(in crate::node) fn begin_to_end(&mut self) {
        let goes = self.device_goes() && self.part.entry.is_some() && self.failover.held() > 0;
        if !goes || self.farewell.is_some() {
            self.ends = true;
            return;
        }
        crate::system::systemd::notify("STOPPING=1");
        let words = self.set_draining(true).unwrap_or_else(|error| error);
        log(Weight::Notice, &format!("ending: {words}"));
        self.farewell = Some(Farewell { until: Instant::now() + FAREWELL_MAX, empty_since: None });
    }

    /// Ends when the clients are elsewhere, or have had their time.
    pub(in crate::node) fn tend_farewell(&mut self, now: Instant) {
        let is_empty = self.failover.held() == 0;
        let Some(farewell) = &mut self.farewell else { return };
        farewell.empty_since = if is_empty { farewell.empty_since.or(Some(now)) } else { None };
        self.ends |= now >= farewell.wake();
    }

    /// When to look whether it can end.
    pub(in crate::node) fn farewell_wake(&self) -> Option<Instant> {
        self.farewell.map(|farewell| farewell.wake())
    }
}

impl Farewell {
    fn wake(self) -> Instant {
        self.empty_since.map_or(self.until, |since| self.until.min(since + LINGER))
    }
}
