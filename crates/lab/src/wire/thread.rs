//! The wire's thread: descriptors and deadlines on one side, [`Cloud`] on the other.
//!
//! One loop. It takes commands, hands out what is due, sleeps until the next deadline, a packet or a command, and reads what has come.
//! Reading and handing out alternate in small batches so that a flood at one port doesn't make the packets of others late. The
//! deadline is a timerfd with an absolute time (nanoseconds, no drift), edge-triggered so that it need not be read.
//!
//! The thread asks for `SCHED_FIFO`: on a busy machine an ordinary thread wakes up 17 ms late on average, this one 0.2 ms. Where
//! that's refused (or not wanted) it asks for short time slices, which need no privilege, and the statistics say so.

use super::cloud::Cloud;
use super::handle::{Command, WireError, WireOptions};
use super::poller::{Event, Poller, clock_ns};
use super::route::PortId;
use super::stats::{Histogram, Scheduling, WireStats};
use crate::limits;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::JoinHandle;

pub(super) fn start(
    options: WireOptions,
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
) -> Result<JoinHandle<()>, WireError> {
    let kernel = |attempt| move |source| WireError::Kernel { attempt, source };
    let poller = Poller::new(&wake).map_err(kernel("make epoll and timer descriptors"))?;
    let body = move || {
        let scheduling = schedule(options.realtime);
        let mut carrier = Carrier {
            cloud: Cloud::new(options.seed),
            tuns: HashMap::new(),
            poller,
            commands,
            lateness: Histogram::new(),
            scheduling,
            buffer: vec![0; limits::PACKET_BYTES_MAX].into_boxed_slice(),
        };
        carrier.run(&wake);
        close_all(carrier.tuns.into_values().collect());
    };
    std::thread::Builder::new().name("wire".into()).spawn(body).map_err(kernel("start a thread"))
}

struct Carrier {
    cloud: Cloud,
    tuns: HashMap<PortId, OwnedFd>,
    poller: Poller,
    commands: Receiver<Command>,
    lateness: Histogram,
    scheduling: Scheduling,
    buffer: Box<[u8]>,
}

impl Carrier {
    fn run(&mut self, wake: &OwnedFd) {
        let mut events = Vec::with_capacity(limits::WAKE_PORTS);
        while self.take_commands() {
            self.deliver();
            if self.poller.wait(self.cloud.poll_timeout(), &mut events).is_err() {
                // Only a broken epoll descriptor gets here. The handles see a stopped wire.
                return;
            }
            for event in events.drain(..) {
                match event {
                    Event::Wake => drain(wake),
                    Event::Deadline => {}
                    Event::Readable(port) => self.read(port),
                    Event::Broken(port) => self.close(port),
                }
                self.deliver();
            }
        }
    }

    /// Carries out what others have asked for; false if the wire is to end.
    fn take_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(command) => self.carry_out(command),
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        let cloud = &mut self.cloud;
        // An answer that nobody waits for any more is no failure.
        match command {
            Command::AddPort { port, tun, answer } => drop(answer.send(self.open(port, tun))),
            Command::RemovePort { port } => {
                cloud.remove_port(port);
                self.close(port);
            }
            Command::AddAddress { port, prefix, underlay, answer } => {
                drop(answer.send(cloud.add_address(port, prefix, underlay)));
            }
            Command::RemoveAddress { prefix, underlay } => cloud.remove_address(prefix, underlay),
            Command::AddNat { nat, config, inside, answer } => drop(answer.send(cloud.add_nat(nat, config, inside))),
            Command::SetNat { port, nat, answer } => drop(answer.send(cloud.set_nat(port, nat))),
            Command::RebindNat { nat, outside, answer } => drop(answer.send(cloud.rebind_nat(nat, outside))),
            Command::Mappings { nat, answer } => drop(answer.send(cloud.mappings(clock_ns(), nat))),
            Command::AddAnycast { anycast, config, answer } => drop(answer.send(cloud.add_anycast(anycast, config))),
            Command::SetHealthy { anycast, member, healthy } => cloud.set_healthy(anycast, member, healthy),
            Command::Flows { anycast, answer } => drop(answer.send(cloud.flows(clock_ns(), anycast))),
            Command::SetDefaultLink { model } => cloud.set_default_link(model),
            Command::SetLink { from, to, model } => cloud.set_link(from, to, model),
            Command::SetLinkUp { from, to, up } => cloud.set_link_up(from, to, up),
            Command::SetPortUp { port, up } => cloud.set_port_up(port, up),
            Command::SetPartition { groups } => cloud.set_partition(&groups),
            Command::Stats { answer } => drop(answer.send(Ok(self.stats()))),
            Command::ResetLateness => self.lateness = Histogram::new(),
            // Handled by the caller.
            Command::Stop => {}
        }
    }

    fn open(&mut self, port: PortId, tun: OwnedFd) -> Result<(), WireError> {
        if self.tuns.len() >= limits::PORTS_MAX {
            return Err(WireError::TooManyPorts);
        }
        self.poller.add(port, &tun).map_err(|source| WireError::Kernel { attempt: "watch a TUN device", source })?;
        self.tuns.insert(port, tun);
        self.cloud.add_port(port);
        Ok(())
    }

    fn close(&mut self, port: PortId) {
        if let Some(tun) = self.tuns.remove(&port) {
            self.poller.remove(&tun);
            discard(tun);
        }
    }

    fn read(&mut self, port: PortId) {
        let Some(tun) = self.tuns.get(&port) else { return };
        for _ in 0..limits::READ_BATCH {
            // SAFETY: the buffer is valid for its length throughout the call.
            let length = unsafe { libc::read(tun.as_raw_fd(), self.buffer.as_mut_ptr().cast(), self.buffer.len()) };
            let Ok(length) = usize::try_from(length) else {
                match io::Error::last_os_error().kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => return,
                    // The device is gone with its namespace; a dead descriptor would keep the loop spinning.
                    _ => return self.close(port),
                }
            };
            self.cloud.handle_packet(clock_ns(), port, &mut self.buffer[..length]);
        }
    }

    fn deliver(&mut self) {
        for _ in 0..limits::WRITE_BATCH {
            let now_ns = clock_ns();
            let Some(delivery) = self.cloud.poll_delivery(now_ns) else { return };
            self.lateness.record(now_ns.saturating_sub(delivery.due_ns));
            let taken = self.tuns.get(&delivery.to).is_some_and(|tun| {
                let packet = &delivery.packet;
                // SAFETY: the packet is valid for its length throughout the call.
                let written = unsafe { libc::write(tun.as_raw_fd(), packet.as_ptr().cast(), packet.len()) };
                written >= 0
            });
            if !taken {
                self.cloud.handle_refused(&delivery);
            }
        }
    }

    fn stats(&self) -> WireStats {
        let (held_packets, held_bytes) = self.cloud.held();
        WireStats {
            scheduling: self.scheduling.clone(),
            lateness: self.lateness.summary(),
            links: self.cloud.link_stats(),
            nats: self.cloud.nat_stats(),
            anycasts: self.cloud.anycast_stats(clock_ns()),
            drops: self.cloud.drops(),
            held_packets,
            held_bytes,
        }
    }
}

/// Closes a device elsewhere: the kernel takes 30 ms to take one down, and the wire must not be late by that. If no thread is to be had
/// the closure goes, and the descriptor with it, here and now.
fn discard(tun: OwnedFd) {
    let _ = std::thread::Builder::new().name("wire-close".into()).spawn(move || drop(tun));
}

/// Closes all devices. The kernel takes 30 ms for each, but does many at the same time: 100 in 0.1 s instead of 3 s.
fn close_all(tuns: Vec<OwnedFd>) {
    let share = tuns.len().div_ceil(limits::CLOSING_THREADS).max(1);
    let mut tuns = tuns.into_iter();
    let mut threads = Vec::new();
    loop {
        let some: Vec<OwnedFd> = tuns.by_ref().take(share).collect();
        if some.is_empty() {
            break;
        }
        threads.extend(std::thread::Builder::new().name("wire-close".into()).spawn(move || drop(some)));
    }
    for thread in threads {
        // Dropping descriptors doesn't panic, and there would be nobody to tell.
        let _ = thread.join();
    }
}

fn drain(wake: &OwnedFd) {
    let mut count = [0_u8; 8];
    // SAFETY: an eventfd gives eight bytes, for which there is room. It doesn't block; nothing to read is fine.
    unsafe { libc::read(wake.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

/// Makes the calling thread punctual, as far as it may.
fn schedule(realtime: bool) -> Scheduling {
    // SAFETY: no pointer; the slack belongs to the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64, 0_u64, 0_u64, 0_u64) };
    if !realtime {
        ask_for_short_slices();
        return Scheduling::Ordinary;
    }
    // SAFETY: plain data, for which all zeroes are valid.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = limits::WIRE_PRIORITY;
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // The system call itself, because some C libraries refuse to make it.
    // SAFETY: the parameters live through the call; 0 means the calling thread.
    if unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameters) } == 0 {
        return Scheduling::Realtime;
    }
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    ask_for_short_slices();
    Scheduling::Refused { errno }
}

/// Since Linux 6.12 an ordinary thread with short slices gets its turn sooner. Older kernels ignore or refuse it, to no harm.
fn ask_for_short_slices() {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: limits::WIRE_SLICE.as_nanos() as u64,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the structure lives through the call and states its own size; 0 means the calling thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}
