//! Every bound in `agent`, with what it prevents.

/// One netlink reply. The kernel never sends more than 32 KB in a datagram.
pub const NETLINK_REPLY_BYTES: usize = 65_536;

/// Datagrams read while waiting for the answer to one request, before giving up on it: the kernel answers with one to three.
pub const NETLINK_REPLIES_MAX: usize = 64;

/// Datagrams of one dump: a device of 100,000 peers takes some 2,000.
pub const NETLINK_DUMP_REPLIES_MAX: usize = 100_000;

/// Peers and prefixes in one message to the kernel's WireGuard: attributes carry 64 KB, a peer takes 100 bytes and each prefix 40.
pub const WIREGUARD_PREFIXES_PER_MESSAGE: usize = 500;

/// Times that a look at the host is begun anew because something changed meanwhile.
pub const LOOKS_MAX: usize = 10;

/// A request on the control socket: the longest takes some hundred bytes.
pub const CONTROL_REQUEST_BYTES_MAX: u64 = 65_536;

/// An answer: a member takes some 500 bytes in a snapshot.
pub const CONTROL_RESPONSE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Connections to the control socket at a time: each has a thread.
pub const CONTROL_CONNECTIONS_MAX: usize = 32;

/// Routes that lead to nobody, named in a snapshot; of more, only how many there are.
pub const DROPPED_NAMED_MAX: usize = 8;

/// Routes that change at a time, told to the agent's loop as one event.
pub const LEARNED_AT_A_TIME_MAX: usize = 4_096;

/// Receive buffer for news of a routing table: some 20,000 routes, which a routing daemon writes in a tenth of a second. What does not
/// fit is made up for by a look at the table.
pub const TABLE_NEWS_BYTES: i32 = 16 << 20;

/// Files that the agent opens at most: a socket for each client that a draining entry node leads
/// ([`HANDOVER_FLOWS_MAX_DRAINING`](wayleave_core::limits::HANDOVER_FLOWS_MAX_DRAINING)), and as many of everything else.
pub const OPEN_FILES: u64 = 8_192;

/// Events that wait for the agent's loop: what sends more than it can take is dropped at its source, or waits there.
pub const EVENTS_MAX: usize = 1_024;

/// Changes that are logged one by one; of more, only how many there were.
pub const CHANGES_LOGGED_MAX: usize = 12;

/// What is read of where clients were when an agent before ended: a hundred thousand of them, at 130 bytes.
pub const RECALL_BYTES_MAX: u64 = 16 << 20;

/// Clients that are called at a time after a start: their handshakes take the processor some 10 ms.
pub const RECALLED_AT_A_TIME_MAX: usize = 64;

/// Receive buffer of the pinger: answers of some thousands of targets that arrive while it's not scheduled.
pub const PING_RECEIVE_BYTES: i32 = 4 << 20;

/// Targets of one pinger: their numbers travel in sixteen bits of the echo's sequence.
pub const PING_TARGETS_MAX: usize = 65_536;

/// Probes sent to one target in one call.
pub const PING_COUNT_MAX: u32 = 100_000;

/// How long a silent server's endpoints may take to answer a race: a lost packet is sent again after one second, and once more.
pub const RACE_MAX: std::time::Duration = std::time::Duration::from_millis(3_500);
/// Ways to endpoints that are measured at a time: each takes a packet of full size, sent at once.
pub const PATHS_MAX: usize = 256;

/// A message over a link's own address: what fits into the smallest MTU that IPv6 allows.
pub const LINK_MESSAGE_BYTES_MAX: usize = 1_280;

/// A recording: some days of a node of twelve links, some hours of one whose links carry traffic; it is started when something
/// odd is looked for, and must not fill a small host's disk if it is forgotten.
pub const RECORDING_BYTES_MAX: u64 = 64 << 20;

/// A command to BIRD: its own bound is 4,096 bytes.
pub const BIRD_COMMAND_BYTES_MAX: usize = 1_024;

/// An answer of BIRD's: a session takes 3 KB of `show protocols all`, and thousands of sessions are no node of ours.
pub const BIRD_REPLY_BYTES_MAX: usize = 32 << 20;

/// Lines of an answer: a session has some fifty.
pub const BIRD_REPLY_LINES_MAX: usize = 500_000;

/// One line of an answer: the longest have a route's communities, of which a message of BGP's carries some thousand.
pub const BIRD_LINE_BYTES_MAX: usize = 65_536;

/// Connections over HTTP at a time: so many may be silent; of more, the oldest goes.
pub const HTTP_CONNECTIONS_MAX: usize = 256;

/// A request over HTTP, with what browsers and proxies add.
pub const HTTP_REQUEST_BYTES_MAX: usize = 8_192;

/// Connections to a looking glass at a time: each has a thread, and may ask BIRD something.
pub const GLASS_CONNECTIONS_MAX: usize = 16;

/// A request to a looking glass with its headers: browsers send some 2 KB.
pub const GLASS_REQUEST_BYTES_MAX: usize = 16_384;

/// An answer of a looking glass: all protocols of a large router.
pub const GLASS_ANSWER_BYTES_MAX: usize = 1 << 20;
