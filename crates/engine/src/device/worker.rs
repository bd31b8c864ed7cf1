//! The device's thread: waits for descriptors, tells the tunnel, and does what the tunnel wants.
//!
//! Descriptors: wake-up (commands), link notifications, UAPI listener, changes of routes, TUN, the two sockets. From each of the last three at most
//! one batch is taken before the others get their turn (`outward` and `inward` do the work), and the tunnel's outputs are drained
//! after all of them. The wait ends at the tunnel's next deadline. The thread ends on a stop command or when the interface is deleted.
//!
//! With a `pool`, other threads do the cryptography, send and write; this one decides. Whatever changes or describes the device waits
//! until the pool has nothing under way, so that it sees and does the same as if there were no pool.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::clock::Clock;
use super::inward::{Inward, collect};
use super::outward::{Outward, Way};
use super::pool::Pool;
use super::sys::waiter::Waiter;
use super::tun::{LinkState, LinkWatch, Tun};
use super::udp::{Family, Sockets};
use super::{Command, DeviceError, DeviceHandle, Events, Offloads, sys};
use crate::config::{ConfigureDevice, DeviceDescription, Event};
use crate::limits::{THREAD_SLICE, THREADS_MAX, Timing};
use crate::rng::SystemRng;
use crate::time::Now;
use crate::tunnel::Tunnel;
use crate::uapi::UapiSocket;

/// Everything that the thread owns.
pub struct Worker {
    tunnel: Tunnel,
    clock: Clock,
    tun: Arc<Tun>,
    link: LinkWatch,
    sockets: Option<Arc<Sockets>>,
    /// Counts each time that other sockets take their place.
    sockets_generation: u64,
    waiter: Waiter<8>,
    listen_port: u16,
    fwmark: u32,
    uapi: Option<UapiSocket>,
    handle: DeviceHandle,
    commands: Receiver<Command>,
    events: Arc<Events>,
    offloads: Offloads,
    outward: Outward,
    inward: Inward,
    /// None if this thread does all.
    pool: Option<Pool>,
    up: bool,
    ended: bool,
}

impl Worker {
    pub fn new(
        mut tun: Tun,
        (timing, offloads, threads): (Timing, Offloads, usize),
        uapi: Option<UapiSocket>,
        handle: DeviceHandle,
        commands: Receiver<Command>,
        events: Arc<Events>,
    ) -> io::Result<Worker> {
        tun.set_offloads(offloads)?;
        let (inward, tun) = (Inward::new(&tun), Arc::new(tun));
        let further = threads.clamp(1, THREADS_MAX) - 1;
        let pool = if further > 0 { Some(Pool::new(further, Arc::clone(&tun))?) } else { None };
        Ok(Worker {
            tunnel: Tunnel::new(Box::new(SystemRng), timing),
            clock: Clock::new(),
            link: LinkWatch::open(&tun)?,
            tun,
            sockets: None,
            sockets_generation: 0,
            waiter: Waiter::new()?,
            listen_port: 0,
            fwmark: 0,
            uapi,
            handle,
            commands,
            events,
            offloads,
            outward: Outward::default(),
            inward,
            pool,
            up: false,
            ended: false,
        })
    }

    /// Runs until the device ends.
    pub fn run(mut self) {
        sys::ask_for_short_slices(THREAD_SLICE);
        while !self.ended {
            let Ok(ready) = self.wait() else { break };
            self.handle_ready(ready);
        }
        if let Some(uapi) = self.uapi.take() {
            uapi.close();
        }
    }

    fn wait(&mut self) -> io::Result<[bool; 8]> {
        let always = |fd: RawFd| Some((fd, 0));
        let generation = self.sockets_generation;
        let socket = |family| Some((self.sockets.as_ref()?.raw_fd(family)?, generation));
        self.waiter.watch([
            always(self.handle.wake.as_raw_fd()),
            always(self.link.raw_fd()),
            self.uapi.as_ref().and_then(|uapi| always(uapi.raw_fd())),
            self.up.then(|| self.tun.raw_fd()).and_then(always),
            socket(Family::V4),
            socket(Family::V6),
            self.pool.as_ref().and_then(|pool| always(pool.raw_fd())),
            self.outward.sources.raw_fd().and_then(always),
        ])?;
        if self.pool.as_ref().is_some_and(|pool| !pool.may_sleep()) {
            return Ok([false; 8]);
        }
        self.waiter.wait(self.clock.now().monotonic, self.tunnel.poll_timeout())
    }

    fn handle_ready(&mut self, [commands, link, uapi, tun, v4, v6, pool, routes]: [bool; 8]) {
        if routes {
            self.outward.sources.handle_change();
        }
        if pool && let Some(pool) = &self.pool {
            pool.hush();
        }
        self.collect();
        if commands {
            self.handle_commands();
        }
        if link {
            self.handle_link();
        }
        if uapi && let Some(uapi) = &mut self.uapi {
            uapi.handle_connections(&self.handle);
        }
        if v4 {
            self.handle_datagrams(Family::V4);
        }
        if v6 {
            self.handle_datagrams(Family::V6);
        }
        // What came in is often answered at once, before the thread could sleep.
        if tun || v4 || v6 {
            self.handle_tun();
        }
        let now = self.clock.now();
        self.tunnel.handle_timeout(now);
        self.drain(now);
    }

    fn handle_commands(&mut self) {
        // Reading resets the counter; a command sent after this wakes the thread again.
        let _ = sys::read(self.handle.wake.as_fd(), &mut [0; 8]);
        self.settle();
        while let Ok(command) = self.commands.try_recv() {
            // Nobody waits for an answer any more if sending it fails.
            match command {
                Command::Configure(change, reply) => drop(reply.send(self.configure(&change))),
                Command::Describe(reply) => drop(reply.send(self.describe())),
                Command::News(reply) => drop(reply.send(self.tunnel.traffic_news())),
                Command::Initiate(peer, reply) => drop(reply.send(self.tunnel.initiate(self.clock.now(), &peer))),
                Command::Call(peer, place, seen, reply) => {
                    let _ = reply.send(self.tunnel.call(self.clock.now(), &peer, place, seen));
                }
                Command::Race(peer, places) => {
                    self.tunnel.race(self.clock.now(), &peer, &places);
                }
                Command::Place(peer, reply) => drop(reply.send(self.tunnel.place(&peer))),
                Command::ForgetSessions(peer) => self.tunnel.forget_sessions(&peer),
                Command::GiveAway(source, is_given) => self.tunnel.give_away(source, is_given),
                Command::Relay(to, datagram) => self.tunnel.relay(to, &datagram),
                Command::Stop => self.ended = true,
            }
            self.drain(self.clock.now());
        }
    }

    /// Looks at the interface and follows it up, down or out.
    pub fn handle_link(&mut self) {
        self.settle();
        match self.link.state(&self.tun) {
            LinkState::Gone => {
                self.events.push(Event::InterfaceGone);
                self.ended = true;
            }
            LinkState::Down { mtu } => {
                self.tunnel.handle_mtu(mtu);
                self.tunnel.handle_down();
                self.sockets = None;
                self.up = false;
            }
            LinkState::Up { mtu } => {
                self.tunnel.handle_mtu(mtu);
                self.up = true;
                self.open_sockets();
            }
        }
        self.drain(self.clock.now());
    }

    /// Binds the sockets if they should be there and are not, and lets the tunnel run.
    fn open_sockets(&mut self) {
        if self.sockets.is_none() {
            match Sockets::bind(self.listen_port, self.fwmark, self.offloads) {
                Ok(sockets) => {
                    self.listen_port = sockets.port;
                    self.sockets = Some(Arc::new(sockets));
                    self.sockets_generation += 1;
                }
                Err(error) => {
                    let (port, errno) = (self.listen_port, error.raw_os_error().unwrap_or(0));
                    self.events.push(Event::ListenFailed { port, errno });
                    return;
                }
            }
        }
        self.tunnel.handle_up(self.clock.now());
    }

    fn configure(&mut self, change: &ConfigureDevice) -> Result<(), DeviceError> {
        let fwmark = change.fwmark.unwrap_or(self.fwmark);
        let port = change.listen_port.unwrap_or(self.listen_port);
        let rebind = self.up && (self.sockets.as_ref().is_none_or(|sockets| port == 0 || sockets.port != port));
        let new = if rebind && change.listen_port.is_some() {
            let bound = Sockets::bind(port, fwmark, self.offloads);
            Some(bound.map_err(|source| DeviceError::Listen { port, source })?)
        } else {
            if let Some(sockets) = self.sockets.as_ref().filter(|_| fwmark != self.fwmark) {
                sockets.set_fwmark(fwmark).map_err(|source| DeviceError::Fwmark { fwmark, source })?;
            }
            None
        };
        if let Err(error) = self.tunnel.configure(self.clock.now(), change) {
            if let Some(sockets) = &self.sockets {
                // It worked a moment ago with another value.
                let _ = sockets.set_fwmark(self.fwmark);
            }
            return Err(error.into());
        }
        let changed = new.is_some() || fwmark != self.fwmark;
        self.fwmark = fwmark;
        self.listen_port = new.as_ref().map_or(port, |sockets| sockets.port);
        if new.is_some() {
            self.sockets = new.map(Arc::new);
            self.sockets_generation += 1;
            self.open_sockets();
        }
        if changed {
            self.outward.sources.set_fwmark(fwmark);
            self.tunnel.handle_sockets_changed();
        }
        Ok(())
    }

    fn describe(&self) -> DeviceDescription {
        DeviceDescription {
            name: self.tun.name().unwrap_or_default(),
            // Somebody else may have had it when the interface came up: who asks sees that it is not what was wished for.
            listen_port: if self.up && self.sockets.is_none() { 0 } else { self.listen_port },
            fwmark: self.fwmark,
            jobs: self.pool.as_ref().map(Pool::jobs).unwrap_or_default(),
            ..self.tunnel.describe()
        }
    }

    fn handle_tun(&mut self) {
        if !self.up {
            return;
        }
        let now = self.clock.now();
        let Some(sockets) = &self.sockets else { return };
        let mut way = Way { now, tunnel: &mut self.tunnel, sockets, pool: self.pool.as_mut() };
        let result = self.outward.handle_tun(&self.tun, &mut way);
        if result.is_err_and(|error| error.raw_os_error() == Some(libc::EBADFD)) {
            self.handle_link();
        }
    }

    fn handle_datagrams(&mut self, family: Family) {
        let now = self.clock.now();
        let Some(sockets) = &self.sockets else { return };
        let mut way = Way { now, tunnel: &mut self.tunnel, sockets, pool: self.pool.as_mut() };
        self.inward.handle_socket(family, &self.tun, &mut way);
    }

    /// Takes over what the pool has done.
    fn collect(&mut self) {
        if let Some(pool) = &mut self.pool {
            collect(self.clock.now(), pool, &mut self.tunnel, &self.tun);
        }
    }

    /// Waits until the pool has nothing under way.
    fn settle(&mut self) {
        while self.pool.as_ref().is_some_and(Pool::advance) {
            self.collect();
        }
        self.collect();
    }

    /// Does everything that the tunnel wants done.
    fn drain(&mut self, now: Now) {
        match &self.sockets {
            Some(sockets) => {
                let mut way = Way { now, tunnel: &mut self.tunnel, sockets, pool: self.pool.as_mut() };
                self.outward.drain(&mut way);
            }
            None => while self.tunnel.poll_transmit().is_some() {},
        }
        while let Some(packet) = self.tunnel.poll_tun() {
            if self.tun.write(packet.packet()).is_err() {
                self.tunnel.handle_tun_refused(1);
            }
        }
        while let Some(event) = self.tunnel.poll_event() {
            self.events.push(event);
        }
    }
}
