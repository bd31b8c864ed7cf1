//! Looking: all links, addresses, routes of one protocol and rules of one protocol in a namespace.
//!
//! A dump that the kernel marks as interrupted, because something changed meanwhile, is an error of the kind `Interrupted`; the
//! caller looks again. Routes are asked for by protocol, so that a router's full table is not read for the sake of ten.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use netlink_packet_route::rule::{RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Attempt, Netlink, NetlinkError};

/// A link as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSeen {
    /// Its name.
    pub name: String,
    /// Its alias, if it has one.
    pub alias: Option<String>,
    /// Whether it is the kernel's WireGuard.
    pub is_wireguard: bool,
    /// Whether it is up.
    pub up: bool,
    /// Whether there is somebody at the other end of its cable, as far as it can tell.
    pub connected: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Its addresses, without those of its link.
    pub addresses: Vec<IpNet>,
    /// Those of its link (`fe80::/10`): the kernel gives it one by itself, unless it is told not to.
    pub link_local: Vec<IpNet>,
}

/// A route as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSeen {
    /// Where to.
    pub destination: IpNet,
    /// In which table.
    pub table: u32,
    /// The number of the link that it leads to.
    pub link: Option<u32>,
    /// Source address of packets that have none yet.
    pub preferred_source: Option<IpAddr>,
}

/// A rule as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleSeen {
    /// Its place in the order.
    pub priority: u32,
    /// Whether it is for IPv6.
    pub ipv6: bool,
    /// The table to ask.
    pub table: u32,
    /// Its mark.
    pub mark: Option<u32>,
    /// Whether it is for all other packets.
    pub invert: bool,
    /// Routes found there count only if their prefixes are longer than this.
    pub suppress_length: Option<u32>,
}

impl Netlink {
    /// All links by number.
    pub fn links(&mut self) -> Result<BTreeMap<u32, LinkSeen>, NetlinkError> {
        let mut links = BTreeMap::new();
        let all = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump(&Attempt::new("list the links"), all, |message| {
            if let RouteNetlinkMessage::NewLink(link) = message {
                links.extend(link_seen(&link).map(|seen| (link.header.index, seen)));
            }
        })?;
        let all = RouteNetlinkMessage::GetAddress(Default::default());
        self.dump(&Attempt::new("list the addresses"), all, |message| {
            let RouteNetlinkMessage::NewAddress(address) = message else { return };
            let own = address.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(own) => Some(*own),
                _ => None,
            });
            let plain = address.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(own) => Some(*own),
                _ => None,
            });
            if let Some(own) = own.or(plain)
                && let Ok(prefix) = IpNet::new(own, address.header.prefix_len)
                && let Some(link) = links.get_mut(&address.header.index)
            {
                if is_link_local(own) { &mut link.link_local } else { &mut link.addresses }.push(prefix);
            }
        })?;
        Ok(links)
    }

    /// All routes of a table.
    pub fn routes_in(&mut self, table: u32) -> Result<Vec<RouteSeen>, NetlinkError> {
        let of_table = |route: &RouteMessage| route_seen(route).is_some_and(|seen| seen.table == table);
        self.routes_by(0, vec![RouteAttribute::Table(table)], of_table)
    }

    /// All routes that `protocol` has set, in all tables.
    pub fn routes_of(&mut self, protocol: u8) -> Result<Vec<RouteSeen>, NetlinkError> {
        self.routes_by(protocol, Vec::new(), |route| u8::from(route.header.protocol) == protocol)
    }

    /// The kernel looks for these itself: where a routing daemon has filled a table, all of them are a million. Kernels before 4.20
    /// list all, whatever is asked for.
    fn routes_by(
        &mut self,
        protocol: u8,
        attributes: Vec<RouteAttribute>,
        is_it: impl Fn(&RouteMessage) -> bool,
    ) -> Result<Vec<RouteSeen>, NetlinkError> {
        let _ = self.connection.socket.set_netlink_get_strict_chk(true);
        let mut routes = Vec::new();
        let mut work = || {
            for family in [AddressFamily::Inet, AddressFamily::Inet6] {
                let mut message = RouteMessage::default();
                message.header.address_family = family;
                message.header.protocol = RouteProtocol::from(protocol);
                message.attributes.clone_from(&attributes);
                let dumped =
                    self.dump(&Attempt::new("list the routes"), RouteNetlinkMessage::GetRoute(message), |route| {
                        if let RouteNetlinkMessage::NewRoute(route) = route
                            && is_it(&route)
                        {
                            routes.extend(route_seen(&route));
                        }
                    });
                match dumped {
                    // A family of which there is no such table.
                    Err(error) if error.errno() == Some(libc::ENOENT) => {}
                    other => other?,
                }
            }
            Ok(())
        };
        let done = work();
        // Requests for other things are not as strictly made.
        let _ = self.connection.socket.set_netlink_get_strict_chk(false);
        done.map(|()| routes)
    }

    /// All rules that `protocol` has set.
    pub fn rules_of(&mut self, protocol: u8) -> Result<Vec<RuleSeen>, NetlinkError> {
        let mut rules = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            self.dump(&Attempt::new("list the rules"), RouteNetlinkMessage::GetRule(message), |message| {
                if let RouteNetlinkMessage::NewRule(rule) = message {
                    rules.extend(rule_seen(&rule, protocol));
                }
            })?;
        }
        Ok(rules)
    }
}

fn link_seen(link: &LinkMessage) -> Option<LinkSeen> {
    let has = |flag| link.header.flags.contains(flag);
    let (up, connected) = (has(LinkFlags::Up), has(LinkFlags::LowerUp));
    let (name, addresses, link_local) = (String::new(), Vec::new(), Vec::new());
    let empty = LinkSeen { name, alias: None, is_wireguard: false, up, connected, mtu: 0, addresses, link_local };
    let seen = link.attributes.iter().fold(empty, |mut seen, attribute| {
        match attribute {
            LinkAttribute::IfName(name) => seen.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => seen.alias = Some(alias.clone()),
            LinkAttribute::Mtu(mtu) => seen.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                seen.is_wireguard = infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Wireguard)));
            }
            _ => {}
        }
        seen
    });
    (!seen.name.is_empty()).then_some(seen)
}

fn route_seen(route: &RouteMessage) -> Option<RouteSeen> {
    let v6 = route.header.address_family == AddressFamily::Inet6;
    let zero: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let mut seen = RouteSeen {
        destination: IpNet::new(zero, 0).ok()?,
        table: u32::from(route.header.table),
        link: None,
        preferred_source: None,
    };
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(to) => {
                seen.destination = IpNet::new(plain(to)?, route.header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Table(table) => seen.table = *table,
            RouteAttribute::Oif(link) => seen.link = Some(*link),
            RouteAttribute::PrefSource(source) => seen.preferred_source = plain(source),
            _ => {}
        }
    }
    Some(seen)
}

fn rule_seen(rule: &RuleMessage, protocol: u8) -> Option<RuleSeen> {
    let mut seen = RuleSeen {
        priority: 0,
        ipv6: rule.header.family == AddressFamily::Inet6,
        table: u32::from(rule.header.table),
        mark: None,
        invert: rule.header.flags.contains(RuleFlags::Invert),
        suppress_length: None,
    };
    let mut is_ours = false;
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => seen.priority = *priority,
            RuleAttribute::Table(table) => seen.table = *table,
            RuleAttribute::FwMark(mark) => seen.mark = Some(*mark),
            // What is not asked for is told as -1.
            RuleAttribute::SuppressPrefixLen(length) => seen.suppress_length = Some(*length).filter(|l| *l != u32::MAX),
            RuleAttribute::Protocol(by) => is_ours = u8::from(*by) == protocol,
            _ => {}
        }
    }
    is_ours.then_some(seen)
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80)
}
