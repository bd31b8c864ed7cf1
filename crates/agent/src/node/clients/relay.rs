//! Datagrams of clients that have come here with a session of another entry server: passed on to it, and its answers back.
//!
//! Works in two threads of its own, beside the control loop: one hears what the engine notices, the other what comes back over
//! the flows ([`super::flows`]), each of which has a socket on the link with the session's owner, where only that server can answer. The owner's engine takes a flow for the
//! client's new address, so its answers come back by themselves; its agent sees that, and vouches for the client. Then the
//! control loop is told, and the server calls the client with a handshake of its own: see [`wayleave_core::node::handover`],
//! which decides.
//!
//! With the kernel's device, which notices nothing, packets are heard on their way to it ([`super::tap`]), and sent from its port
//! beside it ([`super::raw`]). Whose a session is can't be seen then, as with sessions of another server's kernel: only what comes
//! from clients that were offered or given away is passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wayleave_core::keys::PublicKey;
use wayleave_core::node::Time;
use wayleave_core::node::handover::{Handover, Passing, Voucher};
use wayleave_engine::{DeviceHandle, Event as DeviceEvent, Events};

use super::Came;
use super::flows::{Flow, Flows};
use super::raw::Raw;
use super::tap::{Heard, Tap};
use crate::node::Event;
use crate::node::links::bind_to_device;

/// How soon threads notice that they are not needed any more.
const NOTICE: Duration = Duration::from_millis(500);
/// After a hint of the kernel's device nothing is heard for so long: looks follow anyway, and a flood costs little.
const PAUSE: Duration = Duration::from_millis(2);
/// Copies of a voucher: one that is lost costs the client a handshake's timeout.
const VOUCHER_COPIES: usize = 2;

/// Where the other entry servers are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Servers {
    /// The own link address.
    pub own: Option<IpAddr>,
    /// The device of the links.
    pub device: String,
    /// Link addresses of the others, by their numbers.
    pub others: BTreeMap<u8, IpAddr>,
    /// The UDP port of the clients' device on all of them.
    pub port: u16,
}

/// Hears what the clients' device notices, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
}

/// The clients' device: what is heard of it, and how something is sent from its port.
#[derive(Debug)]
pub(super) enum Port {
    /// The engine's.
    Engine(Arc<Events>, DeviceHandle),
    /// The kernel's.
    Kernel(Tap, Raw),
}

/// What the threads have in common.
#[derive(Debug)]
struct Shared {
    servers: Mutex<Servers>,
    port: Port,
    events: SyncSender<Event>,
    handover: Mutex<Handover>,
    flows: Flows,
    by_source: Mutex<BTreeMap<SocketAddr, Arc<Flow>>>,
    begun: Instant,
    ended: AtomicBool,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.forget(|_| false);
    }
}

impl Relay {
    /// Starts to listen.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub(super) fn start(port: Port, to: &SyncSender<Event>) -> std::io::Result<Relay> {
        let shared = Arc::new(Shared {
            servers: Mutex::default(),
            port,
            events: to.clone(),
            handover: Mutex::default(),
            flows: Flows::new()?,
            by_source: Mutex::default(),
            begun: Instant::now(),
            ended: AtomicBool::new(false),
        });
        let work = shared.clone();
        let back = shared.clone();
        std::thread::Builder::new().name("flows".into()).spawn(move || back.run_back())?;
        std::thread::Builder::new().name("clients".into()).spawn(move || work.run())?;
        Ok(Relay { shared })
    }

    /// Where the other servers are from now on.
    pub fn set_servers(&self, servers: Servers) {
        *locked(&self.shared.servers) = servers;
    }

    /// Whether clients that are with others are to go on through here for as long as they like.
    pub fn set_draining(&self, is_draining: bool) {
        let gone = locked(&self.shared.handover).set_draining(is_draining);
        self.shared.forget_all(&gone);
        if let Port::Kernel(tap, _) = &self.shared.port {
            // Without, clients that let in answers only stay here until they call another server by themselves.
            let _ = tap.hear_all(is_draining);
        }
    }

    /// How many clients come through here that are with others.
    pub fn led(&self) -> usize {
        locked(&self.shared.handover).led()
    }

    /// Whether an address is another entry server's, so that a client there comes through that one.
    pub fn is_servers(&self, address: IpAddr) -> bool {
        locked(&self.shared.servers).others.values().any(|other| *other == address)
    }

    /// Lets the entry server at `owner`, a link address, speak with a client through here. Returns the UDP port of the own link
    /// address at which it can; none if there is no room for more.
    pub fn lead(&self, source: SocketAddr, local: Option<IpAddr>, owner: IpAddr) -> Option<u16> {
        let servers = self.shared.servers();
        let (number, _) = servers.others.iter().find(|(_, address)| **address == owner)?;
        let passing = locked(&self.shared.handover).lead(source, local, *number, self.shared.now());
        if passing == Passing::Begin {
            self.shared.begin(&servers, SocketAddr::new(owner, servers.port), source).ok()?;
        }
        if passing == Passing::Drop {
            return None;
        }
        self.shared.give_away(source, true);
        Some(locked(&self.shared.by_source).get(&source)?.socket.local_addr().ok()?.port())
    }

    /// A client is offered to the entry server at `owner`, which calls it from an address of its own: what still comes here is passed
    /// on to that one.
    pub fn offer(&self, source: SocketAddr, owner: IpAddr) {
        let servers = self.shared.servers();
        let Some((number, _)) = servers.others.iter().find(|(_, address)| **address == owner) else { return };
        if locked(&self.shared.handover).offer(source, *number, self.shared.now()) {
            self.shared.give_away(source, true);
        }
    }
}

impl Shared {
    fn run(&self) {
        while !self.ended.load(Ordering::Acquire) {
            match &self.port {
                Port::Engine(news, _) => self.hear_engine(news),
                Port::Kernel(tap, _) => self.hear_kernel(tap),
            }
            let gone = locked(&self.handover).expire(self.now());
            self.forget_all(&gone);
        }
    }

    fn hear_engine(&self, news: &Events) {
        match news.wait(NOTICE) {
            Some(DeviceEvent::HandshakeDone { peer, .. }) => {
                // What the loop can't take now, the next look at the device finds.
                let _ = self.events.try_send(Event::ClientConnected { key: PublicKey::from_bytes(peer.0) });
            }
            Some(DeviceEvent::Stray { number, source, local, datagram }) => {
                if !self.pass_any(source, local, &datagram)
                    && let Some(owner) = number
                {
                    self.pass(owner, source, local, &datagram);
                }
            }
            Some(DeviceEvent::EndpointChanged { peer, new, timestamp_sent, .. }) => {
                let client = PublicKey::from_bytes(peer.0);
                self.vouch(new, &Voucher { client, seen: timestamp_sent.map(|label| label.0) });
            }
            _ => {}
        }
    }

    fn hear_kernel(&self, tap: &Tap) {
        let mut is_any = false;
        let each = |heard: &Heard<'_>| is_any |= self.pass_any(heard.source, Some(heard.local), heard.payload);
        match tap.wait(NOTICE.as_millis() as i32, each) {
            Ok(true) => {
                // What the loop can't take now, its next look finds.
                let _ = self.events.try_send(Event::SessionHinted);
                if !is_any {
                    std::thread::sleep(PAUSE);
                }
            }
            Ok(false) => {}
            // Nothing that waiting could mend; but it must not spin.
            Err(_) => std::thread::sleep(NOTICE),
        }
    }

    /// A datagram that may be for another server, to which its client was offered or given away. Says whether it was passed on.
    fn pass_any(&self, source: SocketAddr, local: Option<IpAddr>, datagram: &[u8]) -> bool {
        let passed = locked(&self.handover).pass_any(source, local, self.now());
        let Some((owner, passing)) = passed else { return false };
        self.pass_on(passing, owner, source, datagram);
        true
    }

    /// Over the flow from there, which may have to begin.
    fn pass_on(&self, passing: Passing, owner: u8, source: SocketAddr, datagram: &[u8]) {
        if passing == Passing::Begin {
            let servers = self.servers();
            let Some(address) = servers.others.get(&owner) else { return };
            if self.begin(&servers, SocketAddr::new(*address, servers.port), source).is_err() {
                // The client calls by itself when nothing answers.
                return;
            }
        }
        if let (Some(flow), true) = (locked(&self.by_source).get(&source), passing != Passing::Drop) {
            let _ = flow.socket.send(datagram);
        }
    }

    /// What comes from there for no session of the device is to be heard, or no longer.
    fn give_away(&self, source: SocketAddr, is_given: bool) {
        if let Port::Engine(_, device) = &self.port {
            let _ = device.give_away(source, is_given);
        }
    }

    /// These flows are over.
    fn forget_all(&self, gone: &[SocketAddr]) {
        if !gone.is_empty() {
            let gone: BTreeSet<SocketAddr> = gone.iter().copied().collect();
            gone.iter().for_each(|source| self.give_away(*source, false));
            self.forget(|source| !gone.contains(&source));
        }
    }

    /// Sends something from the device's port.
    fn send(&self, to: SocketAddr, local: Option<IpAddr>, bytes: Vec<u8>) {
        match &self.port {
            Port::Engine(_, device) => drop(device.relay(to, local, bytes)),
            Port::Kernel(_, raw) => drop(raw.send(to, local, &bytes)),
        }
    }

    fn now(&self) -> Time {
        Time::from_us(self.begun.elapsed().as_micros() as u64)
    }

    fn servers(&self) -> Servers {
        locked(&self.servers).clone()
    }

    /// A datagram that another server can open.
    fn pass(&self, owner: u8, source: SocketAddr, local: Option<IpAddr>, datagram: &[u8]) {
        if !locked(&self.servers).others.contains_key(&owner) {
            return;
        }
        let now = self.now();
        let mut handover = locked(&self.handover);
        let passing = handover.pass(source, local, owner, now);
        let again = handover.call_again(source, now);
        drop(handover);
        if let Some(Voucher { client, seen }) = again {
            let _ = self.events.try_send(Event::ClientCame(Came { client, seen, source }));
        }
        self.pass_on(passing, owner, source, datagram);
    }

    /// A socket for a flow, in the place of an earlier one from there.
    fn begin(&self, servers: &Servers, owner: SocketAddr, source: SocketAddr) -> std::io::Result<()> {
        let own = servers.own.ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let socket = UdpSocket::bind((own, 0))?;
        bind_to_device(&socket, &servers.device)?;
        socket.connect(owner)?;
        let flow = self.flows.add(source, socket)?;
        if let Some(before) = locked(&self.by_source).insert(source, flow) {
            self.flows.remove(&before);
        }
        Ok(())
    }

    /// Ends all flows but some.
    fn forget(&self, stays: impl Fn(SocketAddr) -> bool) {
        locked(&self.by_source).retain(|source, flow| {
            let stays = stays(*source);
            if !stays {
                self.flows.remove(flow);
            }
            stays
        });
    }

    /// A client has sent a packet from here over another server: that server is told who it is.
    fn vouch(&self, new: SocketAddr, voucher: &Voucher) {
        if self.servers().others.values().any(|address| *address == new.ip()) {
            for _ in 0..VOUCHER_COPIES {
                // From the device's own port, where the flow's socket expects answers from.
                self.send(new, None, voucher.encode());
            }
        }
    }

    /// The way back of all flows.
    fn run_back(&self) {
        while !self.ended.load(Ordering::Acquire) {
            if self.flows.wait(NOTICE, |flow, answer| self.answer(flow, answer)).is_err() {
                // Nothing that waiting could mend; but it must not spin.
                std::thread::sleep(NOTICE);
            }
        }
    }

    /// Something has come from the server that has a flow's session.
    fn answer(&self, flow: &Flow, answer: &[u8]) {
        let mut handover = locked(&self.handover);
        match Voucher::decode(answer) {
            Some(voucher) => {
                if handover.vouch(flow.source, voucher, self.now()) {
                    let came = Came { client: voucher.client, seen: voucher.seen, source: flow.source };
                    let _ = self.events.try_send(Event::ClientCame(came));
                }
            }
            None => {
                if let Some(local) = handover.answer(flow.source) {
                    self.send(flow.source, local, answer.to_vec());
                }
            }
        }
    }
}

/// What a thread that has panicked leaves behind is as good as before: all changes are single steps.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
