//! Being told that links, addresses, routes or rules have changed.
//!
//! What exactly has changed is not read: whoever is told looks at the host anew. Routes of other programs are left out, since a
//! router's table changes all the time, and a routing daemon may fill one with a million; the kernel does that itself, so that they
//! neither wake anybody nor take the room of other news. So are those left out that the agent itself has changed, which knows of them.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::{SockFilter, SockRef};

use super::NetlinkError;
use crate::limits::NETLINK_REPLY_BYTES;

/// Links, IPv4 and IPv6 addresses, routes and rules (`linux/rtnetlink.h`).
const GROUPS: [u32; 7] = [1, 5, 9, 7, 11, 8, 19];
/// `RTM_NEWROUTE` and `RTM_DELROUTE`.
const ROUTE_MESSAGES: [u16; 2] = [24, 25];
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Where it has the kind of the message.
const KIND: usize = 4;
/// Where it has the address of the socket that asked for the change (`nlmsg_pid`).
const PORT: std::ops::Range<usize> = 12..16;
/// Where `struct rtmsg` behind it has the protocol.
const PROTOCOL: usize = HEADER + 5;

/// The kernel's news about one namespace.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    protocol: u8,
    own: u32,
}

impl Watch {
    /// Listens in the namespace of the calling thread; of routes, only to those of `protocol` that another socket than that with
    /// the address `own` has changed.
    ///
    /// # Errors
    /// Without a socket.
    pub fn open(protocol: u8, own: u32) -> Result<Watch, NetlinkError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            // A kernel that can't leaves that to us.
            let _ = leave_out_routes(&socket, protocol);
            for group in GROUPS {
                match socket.add_membership(group) {
                    // A kernel without IPv6 has no groups of its own for it.
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                    result => result?,
                }
            }
            Ok(socket)
        };
        Ok(Watch { socket: open().map_err(NetlinkError::Open)?, protocol, own })
    }

    /// Waits until something has changed.
    ///
    /// # Errors
    /// If the socket is of no use any more.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(NETLINK_REPLY_BYTES);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) if concerns(&buffer, self.protocol, self.own) => return Ok(()),
                Ok(_) => {}
                // News were lost: anything may have changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Has the kernel drop news of routes that others than `protocol` have set (socket(7), `SO_ATTACH_FILTER`). Each is a datagram of its own.
fn leave_out_routes(socket: &Socket, protocol: u8) -> io::Result<()> {
    // Classic BPF: load a number of two bytes, or of one; go on, or so many steps further; end with so many bytes of the datagram.
    const LOAD_2: u16 = 0x28;
    const LOAD_1: u16 = 0x30;
    const JUMP_IF: u16 = 0x15;
    const END: u16 = 0x06;
    let step = SockFilter::new;
    // Numbers are loaded as the network has them, and netlink has them as the machine does.
    let kind = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    SockRef::from(socket).attach_filter(&[
        step(LOAD_2, 0, 0, KIND as u32),
        step(JUMP_IF, 1, 0, kind(ROUTE_MESSAGES[0])),
        step(JUMP_IF, 0, 2, kind(ROUTE_MESSAGES[1])),
        step(LOAD_1, 0, 0, PROTOCOL as u32),
        step(JUMP_IF, 0, 1, u32::from(protocol)),
        step(END, 0, 0, u32::MAX),
        step(END, 0, 0, 0),
    ])
}

/// Whether any message in a datagram is more than other programs' routes and what `own` has done to ours.
fn concerns(mut datagram: &[u8], protocol: u8, own: u32) -> bool {
    while let Some(header) = datagram.get(..HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let is_ours = datagram.get(PROTOCOL).is_none_or(|by| *by == protocol);
        if !ROUTE_MESSAGES.contains(&kind) || (is_ours && header[PORT] != own.to_ne_bytes()) {
            return true;
        }
        datagram = datagram.get(length.next_multiple_of(4).max(HEADER)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, protocol: u8) -> Vec<u8> {
        let mut bytes = vec![0; 28];
        bytes[0] = 28;
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[PROTOCOL] = protocol;
        bytes
    }

    #[test]
    fn other_programs_routes_and_own_doings_are_no_news_and_everything_else_is() {
        assert!(!concerns(&message(24, 3), 87, 9));
        assert!(concerns(&message(25, 87), 87, 9));
        assert!(concerns(&message(16, 0), 87, 9));
        assert!(concerns(&[message(24, 3), message(24, 87)].concat(), 87, 9));
        assert!(!concerns(&[], 87, 9));
        assert!(!concerns(&message(24, 3)[..9], 87, 9));
        let mut own = message(24, 87);
        own[PORT].copy_from_slice(&9_u32.to_ne_bytes());
        assert!(!concerns(&own, 87, 9));
        assert!(concerns(&[own, message(25, 87)].concat(), 87, 9), "somebody has removed a route of ours");
    }
}
