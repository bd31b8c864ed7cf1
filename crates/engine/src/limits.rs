//! Every bound, interval and queue length of the engine, with its reason.
//!
//! Three groups: the protocol's own constants (whitepaper section 6, values of the kernel module), the bounds of our queues and
//! tables (what an attacker or a stuck socket could otherwise grow), and [`Timing`], the protocol intervals as a value, so that
//! a test may rekey after seconds instead of minutes. Production code uses [`Timing::default`] and nothing else.

use std::time::Duration;

/// A session has to be replaced after this many packets (whitepaper 6.1): far from the nonce's end, so that rekeying has time.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// A session is dead after this many packets: 2^64 less one replay window, so a counter can never wrap inside the window.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - REPLAY_WINDOW_BITS as u64;
/// Bits of replay memory: large enough that several worker threads may reorder packets as much as they do in the kernel.
pub const REPLAY_WINDOW_BITS: usize = 8192;
/// For so long after a peer has answered a call at an address, its packets from elsewhere don't lead there: what went to it through
/// another device of the same key, by a longer way, makes it answer to that one until it hears of this one again.
pub const CALLED_SETTLES: Duration = Duration::from_secs(2);
/// Between two keepalives that tell it so.
pub const CALLED_REMINDER: Duration = Duration::from_millis(50);
/// Initiations from one peer closer together than this are dropped (kernel: 50 a second), since each costs three X25519.
pub const INITIATION_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// A cookie's secret lives this long (whitepaper 5.4.7).
pub const COOKIE_SECRET_LIFETIME: Duration = Duration::from_secs(120);
/// The receiver of a cookie stops using it this much before the secret changes, to cover the way there.
pub const COOKIE_LATENCY: Duration = Duration::from_secs(5);

/// Packets kept for one peer while its handshake is under way; the oldest goes first (kernel: `MAX_STAGED_PACKETS`).
pub const STAGED_PACKETS_MAX: usize = 128;
/// Peers of one device (kernel: `MAX_PEERS_PER_DEVICE`).
pub const PEERS_MAX: usize = 1 << 20;
/// Bytes of one UAPI request: as many peers as there may be, with a key and a prefix or two each, fit; more is abuse.
pub const UAPI_REQUEST_BYTES_MAX: usize = 256 << 20;
/// UAPI connections served at once; tools open one at a time, so more means a leak on the other side.
pub const UAPI_CONNECTIONS_MAX: usize = 16;
/// A UAPI client that says nothing for this long is cut off, so that it does not hold its slot for ever.
pub const UAPI_IDLE: Duration = Duration::from_secs(30);
/// A peer to which nothing was sent for so long is reported when packets go to it again: often enough to notice a dead link
/// when traffic begins, and far from once a packet.
pub const SENDING_PAUSE: Duration = Duration::from_secs(2);
/// Events nobody has read yet; beyond it the oldest goes and is counted. One entry a peer for a device of ordinary size.
pub const EVENTS_MAX: usize = 4096;
/// Events about datagrams that match no session, per second: an attacker must not push out those about peers.
pub const UNKNOWN_SESSION_EVENTS_PER_S: u32 = 100;

/// Datagrams for sessions of other devices with the same key that are handed out, per second: a thousand clients that have just
/// moved, and send on. Each takes a place in the queue of events.
pub const STRAYS_PER_S: u32 = 2_000;
/// The same from where peers were given away: all that a thousand of them send, of which some watch films.
pub const GIVEN_AWAY_STRAYS_PER_S: u32 = 50_000;

/// Devices that can share a private key and tell each other's sessions: their number is six bits of an index.
pub const DEVICES_PER_KEY_MAX: u8 = 64;

/// ICMP errors about packets that go nowhere, per second: a program that sends on regardless must not cost twice.
pub const UNREACHABLES_PER_S: u32 = 100;

/// Handshake messages that wait for their X25519; more are dropped (kernel: 4096). A megabyte.
pub const HANDSHAKES_QUEUED_MAX: usize = 4096;
/// With so many waiting the device is under load: senders must prove their address. A thousand peers that all come back at once,
/// after a restart, are a quarter of a second of work and no attack (the kernel, with a core for each queue: 512).
pub const HANDSHAKES_UNDER_LOAD: usize = 1024;
/// With one that waits for so long, it is under load as well: a slow processor takes seconds for a thousand, and an answer after five
/// seconds is to an initiation that its sender has given up.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(2);
/// Handshake messages worked off before packets get their turn again: under a millisecond.
pub const HANDSHAKES_PER_TURN: usize = 4;
/// Under load as well is who spends X25519 on this many messages within [`LOAD_WINDOW`] for nothing: six hundredths of a core.
pub const LOAD_WASTED_MAX: u32 = 100;
/// The window in which messages that were for nothing are counted.
pub const LOAD_WINDOW: Duration = Duration::from_millis(100);
/// "Under load" lasts this much longer than its cause (kernel: one second), so that the answer does not flap.
pub const LOAD_HOLD: Duration = Duration::from_secs(1);
/// Under load, what is known of where peers are is this old at most: to look through ten thousand peers takes a millisecond.
pub const LOAD_ENDPOINTS_AGE: Duration = Duration::from_secs(2);
/// Under load, proven addresses may still send this many handshake messages a second (kernel: 20) ...
pub const HANDSHAKES_PER_ADDRESS_PER_S: u32 = 20;
/// ... after a burst of this many (kernel: 5).
pub const HANDSHAKES_PER_ADDRESS_BURST: u32 = 5;
/// Addresses remembered by the rate limiter. Only proven addresses get in, yet a /64 per entry must not eat memory.
pub const RATE_LIMITED_ADDRESSES_MAX: usize = 65_536;

/// Ways to peers of which is remembered what routing said; with more, all is asked anew.
pub const ROUTES_KEPT_MAX: usize = 65_536;

/// The largest packet we read: an IP packet is never longer than 65,535 bytes.
pub const PACKET_BYTES_MAX: usize = 65_535;
/// The processor time that the device's thread asks for at a turn: short ones come sooner, and a packet waits for no more than that.
pub const THREAD_SLICE: Duration = Duration::from_micros(300);
/// Threads of one device, if nothing else is asked for and the machine has as many processors. What one thread has to do alone
/// (read, route, judge) is about a third of all work, so more than four would wait for it.
pub const THREADS_DEFAULT_MAX: usize = 4;
/// Threads of one device at most; a number larger than this is a mistake.
pub const THREADS_MAX: usize = 64;
/// From so many bytes on, at once, sealing or opening them takes longer (10 us) than waking another thread.
pub const PARALLEL_FROM_BYTES: usize = 16 << 10;
/// The same in packets: if they are small, the system call for each is what takes long.
pub const PARALLEL_FROM_PACKETS: usize = 16;
/// Jobs of one kind that are under way: enough for all threads, and not so many that what comes last waits for a millisecond.
pub const JOBS_IN_FLIGHT_MAX: usize = 8;
/// An outbox is handed to another thread when it is filled so far, nearly one full train: a job for each.
pub const OUTBOX_SHARED_FROM_BYTES: usize = 56 << 10;
/// A packet that comes so long after the last one is taken to be alone, if the last one was: it is sent before it is asked whether there
/// is another. At 20,000 packets a second nothing is gained by sending several at once.
pub const QUIET_GAP: Duration = Duration::from_micros(50);
/// A larger packet is part of a stream, and another one comes while it is sealed.
pub const QUIET_BYTES: usize = 1500;
/// Packets taken from the interface before the sockets get their turn.
pub const BATCH_PACKETS: usize = 64;
/// The same in bytes: four superpackets, a quarter of a millisecond of work, since what comes in waits for so long.
pub const BATCH_BYTES: usize = 200 << 10;
/// Bytes of the buffer that outgoing datagrams are laid out in: a superpacket with all its headers, and as much again.
pub const OUTBOX_BYTES: usize = 192 << 10;
/// The buffer is sent when it is filled so far, nearly two full trains: more would only wait, and leave the cache.
pub const OUTBOX_SENT_FROM_BYTES: usize = 112 << 10;
/// The most datagrams that the kernel cuts one message into (`UDP_MAX_SEGMENTS` before Linux 6.9).
pub const TRAIN_DATAGRAMS_MAX: usize = 64;
/// The most bytes of one message: an IPv4 packet less its headers.
pub const TRAIN_BYTES_MAX: usize = 65_507;
/// A path that refuses trains (its MTU is smaller than a datagram, say) is tried with one again after this.
pub const TRAIN_RETRY: Duration = Duration::from_secs(10);
/// Messages handed to or taken from a socket by one system call.
pub const MESSAGES_AT_ONCE_MAX: usize = 32;
/// Messages asked for at once while they come alone: enough to see that they don't any more, and few headers to fill in.
pub const MESSAGES_WHILE_QUIET: usize = 2;
/// Messages taken at once while they are large: enough to join what belongs together, and small enough for the cache.
pub const LARGE_MESSAGES_AT_ONCE: usize = 4;
/// From this many bytes on average, messages are large.
pub const LARGE_MESSAGE_BYTES: usize = 16 << 10;
/// Room for one message: the largest there is.
pub const MESSAGE_BYTES_MAX: usize = 65_536;
/// Packets joined into one for the interface; the kernel takes at most 1024 pieces in one write.
pub const JOINED_PACKETS_MAX: usize = 128;
/// `SO_RCVBUF` and `SO_SNDBUF`: what wireguard-go asks for. It holds about 6,000 full datagrams, 70 ms at 1 Gbit/s, which is as long as
/// the thread may have to wait for a processor. It has nothing to do with how long the path is: what is under way waits elsewhere.
pub const SOCKET_BUFFER_BYTES: usize = 7 << 20;
/// Ports tried when the v6 socket can't have the port that the kernel chose for the v4 socket.
pub const PORT_PAIR_TRIES: usize = 32;

/// The intervals of whitepaper section 6 as a value. `Default` gives the protocol's; tests shrink them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The initiator of a session replaces it when it sends after this (120 s).
    pub rekey_after: Duration,
    /// A session neither seals nor opens after this (180 s).
    pub reject_after: Duration,
    /// An unanswered initiation is repeated after this, plus up to `rekey_jitter` (5 s).
    pub rekey_timeout: Duration,
    /// Upper bound of what is added to `rekey_timeout`, so that two ends don't stay in step (334 ms: a third of a second).
    pub rekey_jitter: Duration,
    /// Initiations are given up after this long (90 s).
    pub rekey_attempt_time: Duration,
    /// A peer that got data and sent nothing for this long sends a keepalive (10 s).
    pub keepalive_timeout: Duration,
    /// How long a peer may go on sending from a prefix that was moved away from it, or send from one that it will be given soon.
    /// Nothing, as in the kernel, unless whoever moves prefixes between paths asks for it.
    pub source_grace: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            rekey_after: Duration::from_secs(120),
            reject_after: Duration::from_secs(180),
            rekey_timeout: Duration::from_secs(5),
            rekey_jitter: Duration::from_millis(334),
            rekey_attempt_time: Duration::from_secs(90),
            keepalive_timeout: Duration::from_secs(10),
            source_grace: Duration::ZERO,
        }
    }
}

impl Timing {
    /// Retries before an initiation is given up (kernel: `MAX_TIMER_HANDSHAKES`, 18).
    pub fn attempts_max(&self) -> u32 {
        let timeout_ms = self.rekey_timeout.as_millis().max(1);
        u32::try_from(self.rekey_attempt_time.as_millis() / timeout_ms).unwrap_or(u32::MAX)
    }

    /// Age at which a session's initiator renews it although it only receives (165 s).
    pub fn receive_rekey_after(&self) -> Duration {
        self.reject_after.saturating_sub(self.keepalive_timeout + self.rekey_timeout)
    }

    /// Age at which a session's responder renews it when it sends, should the initiator not have done so (170 s).
    pub fn responder_rekey_after(&self) -> Duration {
        self.reject_after.saturating_sub(self.keepalive_timeout)
    }
}

/// Prefixes that peers may send from beside their owners: what a hub of a thousand nodes moves at once.
pub const LENT_PREFIXES_MAX: usize = 4_096;
