//! Whether the address that a peer reached us at is still the one to answer from.
//!
//! Answers leave from the address that was asked, as long as the way to the peer leads out where its packets came in. When another
//! interface has become the better way, or was so from the start, the address of the first would be filtered or lost there, and
//! routing chooses: the kernel's rule for IPv4 (`send4`; for IPv6 it only asks whether the address is still ours, which sending finds
//! out). What routing said is kept until routes, rules, addresses or links change; of those the kernel tells, and is listened to only
//! while something is kept, so that a thousand changes wake nobody twice. The tunnel's endpoints are left as they are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::super::sys;
use crate::limits::ROUTES_KEPT_MAX;
use crate::tunnel::{Endpoint, LocalAddress};

/// What the kernel's headers say of `rtnetlink` messages, apart from what libc has.
const HEADER_BYTES: usize = 16;
const ROUTE_BYTES: usize = 12;

/// A way, as far as routing is asked about it: where to, and what the peer reached us at.
type Way = (Ipv4Addr, LocalAddress);

/// What routing says about the ways to peers.
#[derive(Debug, Default)]
pub struct Sources {
    /// Made when first needed; none is also for a host that has no such sockets, where each address is kept until it is gone.
    netlink: Option<Netlink>,
    tried: bool,
    kept: HashMap<Way, bool>,
    last: Option<(Way, bool)>,
    /// Of what is sent: rules may go by it.
    fwmark: u32,
}

#[derive(Debug)]
struct Netlink {
    questions: OwnedFd,
    changes: OwnedFd,
}

impl Sources {
    /// The endpoint without its local address, if that is not to be sent from any more.
    pub fn checked(&mut self, mut endpoint: Endpoint) -> Endpoint {
        let (IpAddr::V4(remote), Some(local)) = (endpoint.remote.ip(), endpoint.local) else { return endpoint };
        let way = (remote, local);
        let holds = match self.last {
            Some((last, holds)) if last == way => holds,
            _ => self.look_up(way),
        };
        if !holds {
            endpoint.local = None;
        }
        endpoint
    }

    /// The descriptor that tells of changes, while they matter.
    pub fn raw_fd(&self) -> Option<RawFd> {
        self.last.and(self.netlink.as_ref()).map(|netlink| netlink.changes.as_raw_fd())
    }

    /// Something has changed: routing is asked anew.
    pub fn handle_change(&mut self) {
        if let Some(netlink) = &self.netlink {
            // What each says does not matter, and what is left over only says it again.
            for _ in 0..64 {
                if sys::read(netlink.changes.as_fd(), &mut [0; 64]).is_err() {
                    break;
                }
            }
        }
        self.forget();
    }

    /// What is sent has another mark from here on.
    pub fn set_fwmark(&mut self, fwmark: u32) {
        self.fwmark = fwmark;
        self.forget();
    }

    fn forget(&mut self) {
        self.kept.clear();
        self.last = None;
    }

    fn look_up(&mut self, way: Way) -> bool {
        if !std::mem::replace(&mut self.tried, true) {
            self.netlink = Netlink::open().ok();
        }
        let Some(netlink) = &self.netlink else { return true };
        if self.kept.len() >= ROUTES_KEPT_MAX {
            self.kept.clear();
        }
        let fwmark = self.fwmark;
        let holds = *self.kept.entry(way).or_insert_with(|| netlink.holds(&way, fwmark));
        self.last = Some((way, holds));
        holds
    }
}

impl Netlink {
    fn open() -> std::io::Result<Netlink> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV4_RULE;
        let changes = sys::netlink(groups as u32)?;
        // One message is as good as a thousand.
        sys::set_option(changes.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, 1 << 14)?;
        Ok(Netlink { questions: sys::netlink(0)?, changes })
    }

    /// Whether packets from the local address to the other end leave where that one's came in. What can't be found out is no reason
    /// to change anything.
    fn holds(&self, (remote, local): &Way, fwmark: u32) -> bool {
        let IpAddr::V4(address) = local.address else { return true };
        let mut answer = [0; 1024];
        let asked = sys::write(self.questions.as_fd(), &question(*remote, address, fwmark));
        let Ok(len) = asked.and_then(|_| sys::read(self.questions.as_fd(), &mut answer)) else { return true };
        // An error is one of sending, too: there it shows whether it is the address that is wrong.
        leaves_by(&answer[..len.min(answer.len())]).is_none_or(|interface| interface == local.interface)
    }
}

/// `RTM_GETROUTE`: how a packet of that mark goes from here to there.
fn question(remote: Ipv4Addr, local: Ipv4Addr, fwmark: u32) -> Vec<u8> {
    let mut attributes = Vec::with_capacity(64);
    let marked = [(libc::RTA_MARK, fwmark.to_ne_bytes())];
    let marks = &marked[..usize::from(fwmark != 0)];
    for (kind, value) in [(libc::RTA_DST, remote.octets()), (libc::RTA_SRC, local.octets())].iter().chain(marks) {
        attributes.extend(8u16.to_ne_bytes());
        attributes.extend(kind.to_ne_bytes());
        attributes.extend(value);
    }
    let len = (HEADER_BYTES + ROUTE_BYTES + attributes.len()) as u32;
    let mut message = Vec::with_capacity(len as usize);
    message.extend(len.to_ne_bytes());
    message.extend(libc::RTM_GETROUTE.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Number and sender: the kernel answers one question after the other.
    message.extend([0; 8]);
    message.extend([libc::AF_INET as u8, 32, 32, 0, 0, 0, 0, 0]);
    message.extend([0; 4]);
    message.extend(attributes);
    message
}

/// The interface that an answer names; none if there is no such way.
fn leaves_by(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let content = answer.get(HEADER_BYTES..)?;
    let mut attributes = content.get(ROUTE_BYTES..).filter(|_| kind == libc::RTM_NEWROUTE)?;
    loop {
        let len = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        if kind == libc::RTA_OIF {
            return Some(u32::from_ne_bytes(*attributes.get(4..)?.first_chunk()?));
        }
        // A length of less than its own header would never end.
        attributes = attributes.get(len.max(4).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(remote: &str, local: &str, interface: u32) -> Endpoint {
        let local = Some(LocalAddress { address: local.parse().unwrap(), interface });
        Endpoint { remote: remote.parse().unwrap(), local }
    }

    #[test]
    fn answers_are_read_and_nonsense_is_none() {
        let answer = |kind: u16, content: &[u8]| {
            let mut message = vec![0; 4];
            message.extend(kind.to_ne_bytes());
            message.extend([0; 10]);
            message.extend(content);
            message
        };
        let mut route = vec![0; ROUTE_BYTES];
        route.extend([8, 0, libc::RTA_DST as u8, 0, 192, 0, 2, 1, 5, 0, 99, 0, 1, 0, 0, 0]);
        assert_eq!(leaves_by(&answer(libc::RTM_NEWROUTE, &route)), None, "it names no interface");
        route.extend([8, 0, libc::RTA_OIF as u8, 0]);
        route.extend(7u32.to_ne_bytes());
        let whole = answer(libc::RTM_NEWROUTE, &route);
        assert_eq!(leaves_by(&whole), Some(7));
        assert!((0..whole.len()).all(|len| leaves_by(&whole[..len]).is_none()), "cut anywhere");
        let error = answer(libc::NLMSG_ERROR as u16, &(-libc::EINVAL).to_ne_bytes());
        assert_eq!(leaves_by(&error), None);
        let endless = answer(libc::RTM_NEWROUTE, &[0; 200]);
        assert_eq!(leaves_by(&endless), None);
    }

    #[test]
    fn the_kernel_is_asked_once_until_something_changes() {
        let mut sources = Sources::default();
        // Loopback leads to itself in every namespace.
        let here = endpoint("127.0.0.1:9", "127.0.0.1", 1);
        assert_eq!(sources.raw_fd(), None, "nothing is kept, so nothing is listened for");
        assert_eq!(sources.checked(here), here);
        assert_eq!(sources.checked(endpoint("127.0.0.1:9", "127.0.0.1", 77)).local, None, "another way out");
        let gone = endpoint("127.0.0.1:9", "192.0.2.77", 1);
        assert_eq!(sources.checked(gone), gone, "that it is not ours is found out by sending");
        assert!(sources.raw_fd().is_some() && sources.kept.len() == 3);
        sources.handle_change();
        assert!(sources.raw_fd().is_none() && sources.kept.is_empty());
        let v6 = endpoint("[::1]:9", "::1", 77);
        assert_eq!(sources.checked(v6), v6, "of IPv6 only sending finds out");
    }
}
