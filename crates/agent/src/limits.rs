//! Every bound in `agent`, with what it prevents.

/// One netlink reply. The kernel never sends more than 32 KB in a datagram.
pub const NETLINK_REPLY_BYTES: usize = 65_536;

/// Datagrams read while waiting for the answer to one request, before giving up on it: the kernel answers with one to three.
pub const NETLINK_REPLIES_MAX: usize = 64;
