//! Clients called by the kernel's device, and given away by it: what [`wayleave_core::node::claims::calls`] decides is carried out.
//!
//! The kernel's WireGuard has no order for it. A peer that is put in anew, with an endpoint and keepalives, is called at once; one
//! put in anew without them has no sessions, and sends nothing that would lead a client back here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use wayleave_core::host::Backend;
use wayleave_core::keys::PublicKey;
use wayleave_core::names::Name;
use wayleave_core::node::Time;
use wayleave_core::node::claims::calls::{Calls, Offered, Step, may_call};
use wayleave_core::node::claims::drain::Way;
use wayleave_core::node::handover::{Offer, Place};
use wayleave_engine::{ConfigurePeer, PublicKey as DeviceKey};

use super::super::agent::Agent;
use super::super::peers::age;
use super::super::report::SESSION;
use super::super::{Weight, chain, log};
use crate::host::HostError;

/// How long it is believed where clients are: offers are made many at a time, and to ask for one is to ask for all.
const PLACES_LAST: Duration = Duration::from_millis(50);

/// What is under way on a device of the kernel's.
#[derive(Debug, Default)]
pub(super) struct KernelCalls {
    calls: Calls,
    pub(super) offered: Offered,
    places: Option<(Instant, HashMap<DeviceKey, SocketAddr>)>,
}

impl Agent {
    /// Another server is to be asked to call a client that is here.
    pub(super) fn offer_from_kernel(&mut self, device: &str, (client, key): (Name, PublicKey), to: &Name, way: Way) {
        let Some(found) = self.kernel_place(device, &key) else { return };
        let owner = self.peers.named(to).and_then(|at| self.part.peers[at].link_address);
        let (Some(owner), Some(relay)) = (owner, &self.clients.relay) else { return };
        // Who comes through another server is not where it seems to be.
        if relay.is_servers(found.ip()) {
            return;
        }
        let place = match way {
            Way::Direct => {
                relay.offer(found, owner);
                Some(Place::At(found))
            }
            // From which of this server's addresses the client hears, its next packet says.
            Way::Relayed => relay.lead(found, None, owner).map(Place::Port),
        };
        let Some(place) = place else { return };
        let seen = self.clients.kernel.offered.seen(&client, unix());
        self.tell(wayleave_core::node::Event::Offer { to: to.clone(), offer: Offer { client, place, seen } });
    }

    fn kernel_place(&mut self, device: &str, key: &PublicKey) -> Option<SocketAddr> {
        let is_old = |(at, _): &(Instant, _)| at.elapsed() > PLACES_LAST;
        if self.clients.kernel.places.as_ref().is_none_or(is_old) {
            let places = self.reconciler.host().places(device).ok()?;
            self.clients.kernel.places = Some((Instant::now(), places));
        }
        self.clients.kernel.places.as_ref()?.1.get(&device_key(key)).copied()
    }

    /// A client is called that another server offers. One that has a session here already has only lost its way.
    pub(super) fn call_from_kernel(
        &mut self,
        device: &str,
        (client, key): (&Name, PublicKey),
        at: SocketAddr,
        offer: &Offer,
    ) {
        if !may_call(offer.seen, unix()) {
            let ahead = "it has seen a handshake of a server whose clock is ahead of this one's";
            return log(Weight::Warning, &format!("can't call {client}: {ahead}"));
        }
        let counted = self.clients.counted.get(&key).and_then(|counted| counted.last_handshake);
        let is_here = self.claims.of(client) == Some(&self.part.name) && counted.is_some_and(|at| age(at) < SESSION);
        let now = self.time();
        self.clients.kernel.calls.handle_call(client, at, now);
        if is_here {
            self.clients.kernel.calls.handle_answer(client, now);
            let nudged = self.reconciler.host().nudge(device, device_key(&key), at);
            return said(nudged);
        }
        self.renew(device, key, Some(at));
    }

    /// A client has a new session.
    pub(super) fn note_answer(&mut self, client: &Name) {
        let now = self.time();
        self.clients.kernel.calls.handle_answer(client, now);
    }

    /// When something is due for calls of the kernel's.
    pub(super) fn calls_wake(&self) -> Option<Instant> {
        let wake = self.clients.kernel.calls.wake();
        (wake != Time::NEVER).then(|| self.instant(wake))
    }

    /// Does what is due for calls.
    pub(super) fn tend_calls(&mut self, device: &str) {
        for step in self.clients.kernel.calls.poll(self.time()) {
            let (Step::Nudge(client, _) | Step::Rest(client) | Step::GiveUp(client)) = &step;
            let Some(key) = self.client_key(client) else { continue };
            let is_elsewhere = self.claims.of(client).is_some_and(|server| *server != self.part.name);
            match step {
                Step::Nudge(_, at) if !is_elsewhere => {
                    said(self.reconciler.host().nudge(device, device_key(&key), at));
                }
                Step::Nudge(..) | Step::Rest(_) => {
                    said(self.reconciler.host().set_keepalive(device, device_key(&key), 0));
                }
                Step::GiveUp(_) => self.renew(device, key, None),
            }
        }
    }

    /// Puts a client's peer in anew: without a session, or called at an address.
    pub(super) fn renew(&mut self, device: &str, key: PublicKey, called_at: Option<SocketAddr>) {
        let entry = self.part.entry.as_ref().filter(|_| self.reconciler.backend() == Backend::Kernel);
        let mut peers = entry.iter().flat_map(|entry| &entry.peers);
        let Some(peer) = peers.find(|peer| peer.public_key == Some(key)) else { return };
        let anew = ConfigurePeer {
            endpoint: called_at,
            persistent_keepalive_s: called_at.map(|_| 1),
            allowed_ips: peer.allowed.clone(),
            ..ConfigurePeer::new(device_key(&key))
        };
        // Its counters begin anew.
        self.clients.counted.remove(&key);
        said(self.reconciler.host().renew(device, anew));
    }

    /// A moment as [`Instant`].
    pub(super) fn instant(&self, time: Time) -> Instant {
        self.started + Duration::from_micros(time.us())
    }
}

fn device_key(key: &PublicKey) -> DeviceKey {
    DeviceKey(*key.as_bytes())
}

fn unix() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A look at the whole host makes up for what was refused.
fn said(done: Result<(), HostError>) {
    if let Err(error) = done {
        log(Weight::Info, &chain(&error));
    }
}
