//! One routing table, as far as it leads out of one device to gateways: at first as a whole, then each change at once.
//!
//! A routing daemon writes it, at times a hundred thousand routes a second, most of which may lead out of other devices. So the
//! kernel's messages are read in place and nothing is kept of what does not lead out of the device. What changed several times until
//! somebody asks is told once. Where the kernel does not tell, for want of room or because a device goes down, the table is looked at
//! as a whole again.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::SockRef;

use super::{Netlink, NetlinkError};
use crate::limits::{LEARNED_AT_A_TIME_MAX, NETLINK_DUMP_REPLIES_MAX, NETLINK_REPLY_BYTES, TABLE_NEWS_BYTES};
use crate::system::sockets::set_room;

/// Routes of IPv4 and of IPv6, links, and addresses of IPv4 (`linux/rtnetlink.h`).
const GROUPS: [u32; 4] = [7, 11, 1, 5];
/// From news of the device itself to a look: the kernel takes IPv4 routes away with a device or an address, without a word.
const SETTLE: Duration = Duration::from_millis(100);
/// How long a look at the table may take of the time, as one part in so many: news that are lost all the time must not take all.
const LOOK_SHARE: u32 = 10;
/// Kinds of messages (`linux/netlink.h`, `linux/rtnetlink.h`).
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
/// `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_NEWADDR`, `RTM_DELADDR`, and where they all have the number of the link.
const LINK_KINDS: [u16; 4] = [16, 17, 20, 21];
const LINK_NUMBER: std::ops::Range<usize> = 4..8;
/// Bytes of `struct nlmsghdr`, `struct rtmsg`, `struct rtattr` and `struct rtnexthop`.
const HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const ATTRIBUTE_HEADER: usize = 4;
const NEXT_HOP_HEADER: usize = 8;
/// Attributes of a route.
const DESTINATION: u16 = 1;
const LINK: u16 = 4;
const GATEWAY: u16 = 5;
const METRIC: u16 = 6;
const METRICS: u16 = 8;
const SEVERAL: u16 = 9;
const TABLE: u16 = 15;
const VIA: u16 = 18;
/// `RTAX_WINDOW`, among the metrics.
const WINDOW: u16 = 3;
/// `RTN_UNICAST`: others lead nowhere.
const UNICAST: u8 = 1;

/// What a table says of one prefix: where to, or that there is nothing any more.
pub type TableNews = (IpNet, Option<Hop>);

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Its gateway.
    pub gateway: IpAddr,
    /// The window of its metrics, if it has one: where nothing is sent along a route, whatever its writer wants to say.
    pub window: Option<u32>,
}

/// The routes of a table that lead out of a device to gateways.
#[derive(Debug)]
pub struct TableWatch {
    news: Socket,
    table: u32,
    link: u32,
    /// By prefix and metric, of which the smallest counts.
    routes: BTreeMap<(IpNet, u32), Hop>,
    /// Prefixes that may have changed, with what was told of them last.
    touched: BTreeMap<IpNet, Option<Hop>>,
    /// Whether the routes above may be wrong, and when they may be looked at.
    is_lost: bool,
    look_at: Instant,
}

impl TableWatch {
    /// Listens in the namespace of the calling thread; the first news are all that is there. Waits for news at most as long as
    /// `patience` each time.
    ///
    /// # Errors
    /// Without a socket.
    pub fn open(table: u32, device: &str, patience: Duration) -> Result<TableWatch, NetlinkError> {
        let link = Netlink::open()?.link_index(device)?;
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            set_room(&socket, TABLE_NEWS_BYTES);
            SockRef::from(&socket).set_read_timeout(Some(patience))?;
            for group in GROUPS {
                match socket.add_membership(group) {
                    // A kernel without IPv6 has no group of its own for it.
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                    result => result?,
                }
            }
            Ok(socket)
        };
        let news = open().map_err(NetlinkError::Open)?;
        let (routes, touched) = (BTreeMap::new(), BTreeMap::new());
        Ok(TableWatch { news, table, link, routes, touched, is_lost: true, look_at: Instant::now() })
    }

    /// What has changed since this was last asked; waits a while if nothing has.
    ///
    /// # Errors
    /// If the kernel refuses to say.
    pub fn wait(&mut self) -> io::Result<Vec<TableNews>> {
        if self.is_lost && Instant::now() >= self.look_at {
            self.look()?;
            return Ok(self.take_news());
        }
        let mut buffer = Vec::with_capacity(NETLINK_REPLY_BYTES);
        let mut flags = 0;
        while self.touched.len() < LEARNED_AT_A_TIME_MAX {
            buffer.clear();
            match self.news.recv(&mut buffer, flags) {
                Ok(_) => self.read(&buffer),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.is_lost = true,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => break,
                Err(error) => return Err(error),
            }
            // What has come in the meantime belongs to the same news.
            flags = libc::MSG_DONTWAIT;
        }
        Ok(self.take_news())
    }

    fn take_news(&mut self) -> Vec<TableNews> {
        let touched = std::mem::take(&mut self.touched).into_iter();
        let news = touched.map(|(prefix, before)| (prefix, before, self.best(prefix)));
        news.filter(|(_, before, now)| before != now).map(|(prefix, _, now)| (prefix, now)).collect()
    }

    /// The gateway of a prefix's route with the smallest metric.
    fn best(&self, prefix: IpNet) -> Option<Hop> {
        self.routes.range((prefix, 0)..=(prefix, u32::MAX)).next().map(|(_, hop)| *hop)
    }

    /// Looks at the whole table.
    fn look(&mut self) -> io::Result<()> {
        let begin = Instant::now();
        self.is_lost = false;
        let mut routes = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            self.list(family, |route| {
                if let Some(hop) = route.hop {
                    routes.insert((route.prefix, route.metric), hop);
                }
            })?;
        }
        let before: Vec<IpNet> = self.routes.keys().chain(routes.keys()).map(|(prefix, _)| *prefix).collect();
        for prefix in before {
            self.touch(prefix);
        }
        self.routes = routes;
        self.look_at = Instant::now() + begin.elapsed() * LOOK_SHARE;
        Ok(())
    }

    /// All routes of a family that lead out of the device. Kernels before 4.20 list all, whatever is asked for.
    fn list(&mut self, family: AddressFamily, mut each: impl FnMut(RouteRead)) -> io::Result<()> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let _ = socket.set_netlink_get_strict_chk(true);
        let mut route = RouteMessage::default();
        route.header.address_family = family;
        route.attributes = vec![RouteAttribute::Table(self.table), RouteAttribute::Oif(self.link)];
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let payload = NetlinkPayload::from(RouteNetlinkMessage::GetRoute(route));
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut request = vec![0; message.buffer_len()];
        message.serialize(&mut request);
        socket.send(&request, 0)?;
        let mut buffer = Vec::with_capacity(NETLINK_REPLY_BYTES);
        for _ in 0..NETLINK_DUMP_REPLIES_MAX {
            buffer.clear();
            socket.recv(&mut buffer, 0)?;
            for (kind, body) in Messages(&buffer) {
                match kind {
                    DONE => return Ok(()),
                    // A kernel without a table of this family has no such table (ENOENT), or no such family.
                    ERROR => {
                        let code =
                            body.get(..4).map_or(0, |code| i32::from_ne_bytes([code[0], code[1], code[2], code[3]]));
                        let is_none = [libc::ENOENT, libc::EOPNOTSUPP, libc::EAFNOSUPPORT].contains(&-code);
                        return if is_none { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                    }
                    NEW_ROUTE => {
                        let route = RouteRead::of(body, self.link).filter(|route| route.table == self.table);
                        route.into_iter().for_each(&mut each);
                    }
                    _ => {}
                }
            }
        }
        Err(io::Error::other("no end of the table"))
    }

    /// Takes up what the kernel tells.
    fn read(&mut self, datagram: &[u8]) {
        for (kind, body) in Messages(datagram) {
            if LINK_KINDS.contains(&kind) && body.get(LINK_NUMBER).and_then(number) == Some(self.link) {
                self.is_lost = true;
                self.look_at = self.look_at.max(Instant::now() + SETTLE);
            }
            if ![NEW_ROUTE, DELETE_ROUTE].contains(&kind) {
                continue;
            }
            let Some(route) = RouteRead::of(body, self.link).filter(|route| route.table == self.table) else {
                continue;
            };
            let key = (route.prefix, route.metric);
            match (kind, route.hop) {
                (NEW_ROUTE, Some(hop)) => {
                    self.touch(route.prefix);
                    self.routes.insert(key, hop);
                }
                // It leads elsewhere now.
                (NEW_ROUTE, None) if self.routes.contains_key(&key) => {
                    self.touch(route.prefix);
                    self.routes.remove(&key);
                }
                (DELETE_ROUTE, hop) if self.routes.contains_key(&key) => {
                    self.touch(route.prefix);
                    // One of several routes of a metric, as IPv6 has them, is not all.
                    let is_same = |before: Hop| hop.is_some_and(|hop| hop.gateway == before.gateway);
                    self.is_lost |= !self.routes.remove(&key).is_some_and(is_same);
                }
                _ => {}
            }
        }
    }

    fn touch(&mut self, prefix: IpNet) {
        if !self.touched.contains_key(&prefix) {
            self.touched.insert(prefix, self.best(prefix));
        }
    }
}

/// The messages of a datagram: their kinds and what is behind their headers.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..HEADER)?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    }
}

/// Attributes: their types and values.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..ATTRIBUTE_HEADER)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        // The two bits above are flags.
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// What concerns us of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RouteRead {
    prefix: IpNet,
    metric: u32,
    table: u32,
    /// Where it leads out of the device; none: it leads elsewhere, or to nobody in particular.
    hop: Option<Hop>,
}

impl RouteRead {
    /// Reads what is behind the header of a message.
    fn of(body: &[u8], link: u32) -> Option<RouteRead> {
        let header = body.get(..ROUTE_HEADER)?;
        let is_v4 = match i32::from(header[0]) {
            libc::AF_INET => true,
            libc::AF_INET6 => false,
            _ => return None,
        };
        let (mut to, mut metric, mut table) = (None, 0, u32::from(header[4]));
        let (mut out, mut gateway, mut several, mut window) = (None, None, None, None);
        for (kind, value) in Attributes(&body[ROUTE_HEADER..]) {
            match kind {
                DESTINATION => to = address(value),
                LINK => out = number(value),
                GATEWAY => gateway = address(value),
                METRIC => metric = number(value)?,
                METRICS => {
                    window = Attributes(value).find(|(kind, _)| *kind == WINDOW).and_then(|(_, value)| number(value))
                }
                SEVERAL => several = Some(value),
                TABLE => table = number(value)?,
                VIA => gateway = value.get(2..).and_then(address),
                _ => {}
            }
        }
        let zero = if is_v4 { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let prefix = IpNet::new(to.unwrap_or(zero), header[1]).ok()?;
        if let Some(several) = several {
            (out, gateway) = (Some(link), first_hop(several, link));
        }
        let leads = header[7] == UNICAST && out == Some(link);
        let hop = gateway.filter(|_| leads).map(|gateway| Hop { gateway, window });
        Some(RouteRead { prefix, metric, table, hop })
    }
}

/// Of several next hops, the gateway of the first one that is out of the device.
fn first_hop(mut hops: &[u8], link: u32) -> Option<IpAddr> {
    while let Some(header) = hops.get(..NEXT_HOP_HEADER) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let attributes = hops.get(NEXT_HOP_HEADER..length)?;
        if number(&header[4..]) == Some(link) {
            let found = Attributes(attributes).find_map(|(kind, value)| match kind {
                GATEWAY => address(value),
                VIA => value.get(2..).and_then(address),
                _ => None,
            });
            if found.is_some() {
                return found;
            }
        }
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + ATTRIBUTE_HEADER) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// A message about 172.20.0.0/16 in table 50980.
    fn message(kind: u16, metric: u32, link: u32, gateway: [u8; 4]) -> Vec<u8> {
        let mut body = vec![2, 16, 0, 0, 252, 12, 0, UNICAST, 0, 0, 0, 0];
        body.extend(attribute(15, &50980_u32.to_ne_bytes()));
        body.extend(attribute(1, &[172, 20, 0, 0]));
        body.extend(attribute(6, &metric.to_ne_bytes()));
        body.extend(attribute(5, &gateway));
        body.extend(attribute(4, &link.to_ne_bytes()));
        wrapped(kind, body)
    }

    fn wrapped(kind: u16, body: Vec<u8>) -> Vec<u8> {
        let mut bytes = ((body.len() + HEADER) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes
    }

    fn watch() -> TableWatch {
        let news = Socket::new(NETLINK_ROUTE).unwrap();
        let (routes, touched) = (BTreeMap::new(), BTreeMap::new());
        TableWatch { news, table: 50980, link: 7, routes, touched, is_lost: false, look_at: Instant::now() }
    }

    fn told(watch: &mut TableWatch) -> Vec<String> {
        let text = |(prefix, gateway): TableNews| match gateway {
            Some(hop) => format!("{prefix} {}", hop.gateway),
            None => format!("{prefix} gone"),
        };
        watch.take_news().into_iter().map(text).collect()
    }

    #[test]
    fn the_route_with_the_smallest_metric_counts_and_only_what_has_changed_is_told() {
        let mut watch = watch();
        watch.read(&message(NEW_ROUTE, 32, 7, [10, 0, 0, 2]));
        assert_eq!(told(&mut watch), ["172.20.0.0/16 10.0.0.2"]);
        watch.read(&message(NEW_ROUTE, 32, 7, [10, 0, 0, 2]));
        watch.read(&message(NEW_ROUTE, 64, 7, [10, 0, 0, 3]));
        assert!(told(&mut watch).is_empty());
        watch.read(&[message(DELETE_ROUTE, 32, 7, [10, 0, 0, 2]), message(NEW_ROUTE, 32, 7, [10, 0, 0, 4])].concat());
        assert_eq!(told(&mut watch), ["172.20.0.0/16 10.0.0.4"], "two changes are one");
        watch.read(&message(NEW_ROUTE, 32, 8, [10, 0, 0, 5]));
        assert_eq!(told(&mut watch), ["172.20.0.0/16 10.0.0.3"], "it leads out of another device now");
        watch.read(&message(DELETE_ROUTE, 64, 7, [10, 0, 0, 3]));
        assert_eq!(told(&mut watch), ["172.20.0.0/16 gone"]);
        assert!(!watch.is_lost && watch.routes.is_empty());
    }

    #[test]
    fn other_tables_and_devices_are_nothing_and_odd_removals_are_a_reason_to_look() {
        let mut watch = watch();
        watch.table = 254;
        watch.read(&message(NEW_ROUTE, 32, 7, [10, 0, 0, 2]));
        watch.table = 50980;
        watch.read(&message(NEW_ROUTE, 32, 9, [10, 0, 0, 2]));
        watch.read(&message(DELETE_ROUTE, 32, 7, [10, 0, 0, 2]));
        assert!(told(&mut watch).is_empty() && !watch.is_lost);
        watch.read(&message(NEW_ROUTE, 32, 7, [10, 0, 0, 2]));
        watch.read(&message(DELETE_ROUTE, 32, 7, [10, 0, 0, 9]));
        assert!(watch.is_lost, "of two of one metric one is left");
    }

    #[test]
    fn of_several_next_hops_the_first_out_of_the_device_counts() {
        let hop = |link: u32, gateway: [u8; 4]| {
            let rest = attribute(5, &gateway);
            let mut bytes = ((NEXT_HOP_HEADER + rest.len()) as u16).to_ne_bytes().to_vec();
            bytes.extend([0, 0]);
            bytes.extend(link.to_ne_bytes());
            bytes.extend(rest);
            bytes
        };
        let mut body = vec![2, 8, 0, 0, 254, 12, 0, UNICAST, 0, 0, 0, 0];
        body.extend(attribute(1, &[10, 0, 0, 0]));
        body.extend(attribute(9, &[hop(3, [10, 0, 0, 3]), hop(7, [10, 0, 0, 7]), hop(7, [10, 0, 0, 8])].concat()));
        let read = RouteRead::of(&body, 7).unwrap();
        assert_eq!((read.hop.map(|hop| hop.gateway), read.table, read.metric), (Some([10, 0, 0, 7].into()), 254, 0));
        assert_eq!(RouteRead::of(&body, 1).unwrap().hop, None);
    }

    #[test]
    fn a_route_with_another_window_is_news() {
        let mut watch = watch();
        let with = |window: u32| {
            let mut bytes = message(NEW_ROUTE, 32, 7, [10, 0, 0, 2]);
            bytes.extend(attribute(8, &[attribute(7, &[9; 4]), attribute(3, &window.to_ne_bytes())].concat()));
            let length = bytes.len() as u32;
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            bytes
        };
        for window in [5, 6] {
            watch.read(&with(window));
            let news = watch.take_news();
            assert_eq!(news.len(), 1);
            assert_eq!(news[0].1.and_then(|hop| hop.window), Some(window));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_a_reason_to_panic(bytes: Vec<u8>, kind in proptest::sample::select(vec![NEW_ROUTE, DELETE_ROUTE])) {
            let mut watch = watch();
            watch.read(&bytes);
            watch.read(&wrapped(kind, [vec![2, 24, 0, 0, 254, 12, 0, UNICAST, 0, 0, 0, 0], bytes].concat()));
        }
    }
}
