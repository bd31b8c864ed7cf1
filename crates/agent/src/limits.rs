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
