//! Every bound of the lab, with the story of what it prevents.
//!
//! The wire holds packets in user memory for as long as they are "under way", so its queues are the lab's only real consumer of
//! memory; the NAT's tables grow with whatever the nodes send. Both are bounded here and nowhere else.

use std::time::Duration;

/// Largest packet that the wire carries: the largest an IP header can describe, so that any device MTU works.
pub const PACKET_BYTES_MAX: usize = 65_535;

/// Packets under way on the whole wire. 1.4 Gbit/s over a path of 80 ms are about 10,000 packets of 1400 bytes each way; this
/// leaves room for several such flows and keeps the queue's own memory near 10 MB.
pub const WIRE_PACKETS_MAX: usize = 131_072;

/// Bytes under way on the whole wire. Bounds the process near 200 MB when somebody floods a slow link.
pub const WIRE_BYTES_MAX: usize = 192 << 20;

/// Packets taken from one port before the next has its turn: long enough to spread the cost of a wake-up, short enough
/// (about 0.1 ms) that a flooding port doesn't make the others late.
pub const READ_BATCH: usize = 64;

/// Packets handed out before ports are read again, for the same reason in the other direction.
pub const WRITE_BATCH: usize = 256;

/// Ports handled per wake-up; more are handled in the next round, which follows at once.
pub const WAKE_PORTS: usize = 256;

/// Ports of one wire, each a node's TUN. A process may open about a million files, a machine hold a few thousand namespaces.
pub const PORTS_MAX: usize = 4_096;

/// Queue of a link with a rate, in packets, when the model names none: a usual router's 1000.
pub const LINK_QUEUE_PACKETS: u32 = 1_000;

/// Queue of a link with a rate, in bytes, when the model names none: 1000 full packets.
pub const LINK_QUEUE_BYTES: u32 = 1_500_000;

/// Longest one-way delay that a model can ask for. Longer ones are cut: the queue's deadlines would only hold memory.
pub const DELAY_MAX: Duration = Duration::from_secs(60);

/// How long a reordered packet is held back at most beyond its own delay.
pub const REORDER_HOLD_MAX: Duration = Duration::from_secs(1);

/// Mappings in one NAT. There are about 64,000 ports for each protocol; a home router holds 16,000 and stops there.
pub const NAT_MAPPINGS_MAX: usize = 16_384;

/// Remote endpoints remembered for one mapping, for its filter. An overlay node talks to a few hundred peers.
pub const NAT_CONTACTS_MAX: usize = 4_096;

/// Fragmented datagrams followed at the same time by one NAT.
pub const NAT_FRAGMENTS_MAX: usize = 256;

/// How long the later fragments of a datagram are expected; RFC 791 suggests 15 s, RFC 1122 60 s; a lab's wire needs less.
pub const NAT_FRAGMENT_TIMEOUT: Duration = Duration::from_secs(15);

/// First port a NAT hands out by itself; those below are kept for servers.
pub const NAT_PORT_FIRST: u16 = 1_024;

/// Members of one anycast address. The largest cloud has some thirty regions; each member is probed by a thread of its own.
pub const ANYCAST_MEMBERS_MAX: usize = 64;

/// Flows of one anycast address that are remembered. A lab has a thousand clients, each with a few source ports; this is 8 MB.
pub const ANYCAST_FLOWS_MAX: usize = 65_536;

/// Clients that have travelled at the same time, each with a public address of its own: what is left of the made-up range.
pub const MOVED_ADDRESSES_MAX: u32 = 400;

/// `txqueuelen` of the wire's TUNs: at the default of 500 a burst at 200 Mbit/s loses 16 % before the wire sees it.
pub const TUN_QUEUE_PACKETS: u32 = 10_000;

/// Realtime priority of the wire's thread: above the defaults of audio and interrupt threads' users, below the kernel's own 99.
pub const WIRE_PRIORITY: i32 = 40;

/// How long a caller waits for the wire to answer. The wire answers in microseconds unless its machine has stopped.
pub const WIRE_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time slice asked for where realtime scheduling is refused; the shortest that Linux grants.
pub const WIRE_SLICE: Duration = Duration::from_micros(100);

/// Bytes in one request on the control socket: a ping to a thousand named members, with room.
pub const CONTROL_REQUEST_BYTES_MAX: u64 = 256 << 10;

/// Bytes in one answer: all pairs of a thousand members at a hundred bytes each, with room.
pub const CONTROL_ANSWER_BYTES_MAX: u64 = 256 << 20;

/// How long a client of the control socket may take to send or take a line: it is a program on this machine.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a command waits for the lab's answer: a thousand pings to everybody take minutes.
pub const CONTROL_ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Probes per target that one request may ask for, so that a lab can't be kept busy for hours.
pub const PING_COUNT_CONTROL_MAX: u32 = 1_000;

/// Threads that close a wire's devices at its end. Closing waits for the kernel rather than works, so more than processors pay.
pub const CLOSING_THREADS: usize = 64;

/// How long a client's own WireGuard may take until it listens to its socket.
pub const STOCK_START_MAX: Duration = Duration::from_secs(20);

/// How long a lab may take to end: a hundred engines and their devices take about four seconds on a busy machine.
pub const CONTROL_END_TIMEOUT: Duration = Duration::from_secs(60);
