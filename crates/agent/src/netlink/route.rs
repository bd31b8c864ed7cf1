//! Routes and rules.
//!
//! Tables and protocols are numbers of the caller's choice; the lab's own namespaces hold nobody else's routes. A table above 255
//! travels in an attribute, the header's byte being too small.

use super::link::family;
use super::{Attempt, Netlink, NetlinkError};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::BTreeMap;
use std::net::IpAddr;
use wayleave_core::host::{CLAIM_METRIC, CLAIM_PROTOCOL};

/// The table that is asked when no rule says otherwise.
pub const TABLE_MAIN: u32 = 254;
/// The protocol of routes that an administrator has set.
pub const PROTOCOL_STATIC: u8 = 4;

/// A route to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to; `0.0.0.0/0` and `::/0` are the default routes.
    pub destination: IpNet,
    /// Out of which device.
    pub device: String,
    /// Through which neighbour, if not directly.
    pub gateway: Option<IpAddr>,
    /// Source address of packets that have none yet.
    pub preferred_source: Option<IpAddr>,
    /// In which table.
    pub table: u32,
    /// Who has set it.
    pub protocol: u8,
    /// Of two routes to the same prefix the one with the smaller metric counts.
    pub metric: Option<u32>,
}

impl Route {
    /// A route out of a device in the main table.
    pub fn new(destination: IpNet, device: &str) -> Self {
        Self {
            destination,
            device: device.into(),
            gateway: None,
            preferred_source: None,
            table: TABLE_MAIN,
            protocol: PROTOCOL_STATIC,
            metric: None,
        }
    }
}

/// A rule that sends packets to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Rules are asked in this order.
    pub priority: u32,
    /// The table to ask.
    pub table: u32,
    /// For IPv6 rather than IPv4, where no prefix says it.
    pub ipv6: bool,
    /// For packets from here.
    pub from: Option<IpNet>,
    /// For packets to there.
    pub to: Option<IpNet>,
    /// For packets with this firewall mark, under this mask.
    pub mark: Option<(u32, u32)>,
    /// For all packets that the conditions above do *not* describe.
    pub invert: bool,
    /// Routes found there count only if their prefixes are longer than this.
    pub suppress_length: Option<u32>,
    /// Who has set it; 0: nobody says.
    pub protocol: u8,
}

impl Netlink {
    /// Adds a route; an existing one to the same prefix with the same metric in the same table is an error.
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        self.new_route(route, "add", NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route or replaces the existing one.
    pub fn replace_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        self.new_route(route, "replace", NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a route.
    pub fn remove_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let message = self.route_message(route)?;
        let attempt = Attempt::on(&route.device, format!("remove route {}", route.destination));
        self.request(&attempt, RouteNetlinkMessage::DelRoute(message), 0).map(drop)
    }

    /// Removes all routes of one maker from some tables, of whatever kind they are; how many there were.
    ///
    /// # Errors
    /// If the kernel refuses one, or does not say which there are.
    pub fn flush_routes(&mut self, protocol: u8, tables: &[u32]) -> Result<usize, NetlinkError> {
        let mut all = self.routes_of(protocol)?;
        all.retain(|seen| tables.contains(&seen.table));
        for seen in &all {
            let mut message = RouteMessage::default();
            message.header.address_family = family(seen.destination.addr());
            message.header.destination_prefix_length = seen.destination.prefix_len();
            message.header.protocol = RouteProtocol::from(protocol);
            message.header.kind = RouteType::Unspec;
            // Of whatever scope.
            message.header.scope = RouteScope::NoWhere;
            message.header.table = u8::try_from(seen.table).unwrap_or(0);
            message.attributes.push(RouteAttribute::Destination(address(seen.destination.trunc().addr())));
            message.attributes.push(RouteAttribute::Table(seen.table));
            let attempt = Attempt::new(format!("remove route {} of table {}", seen.destination, seen.table));
            match self.request(&attempt, RouteNetlinkMessage::DelRoute(message), 0) {
                // It has gone by itself, as those do whose device goes.
                Err(error) if error.errno() == Some(libc::ESRCH) => {}
                outcome => drop(outcome?),
            }
        }
        Ok(all.len())
    }

    /// Writes a claim into a table, in place of any other of the client or site: a route by which nobody gets anywhere, and whose window is
    /// the epoch.
    pub fn set_claim(&mut self, table: u32, prefix: IpNet, epoch: u32) -> Result<(), NetlinkError> {
        let mut message = claim_message(table, prefix);
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Window(epoch)]));
        let attempt = Attempt::new(format!("write the claim of {prefix} into table {table}"));
        self.request(&attempt, RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Takes a claim out of a table.
    pub fn remove_claim(&mut self, table: u32, prefix: IpNet) -> Result<(), NetlinkError> {
        let attempt = Attempt::new(format!("take the claim of {prefix} out of table {table}"));
        self.request(&attempt, RouteNetlinkMessage::DelRoute(claim_message(table, prefix)), 0).map(drop)
    }

    /// All claims in a table, by the clients' addresses and the sites' prefixes.
    pub fn claims(&mut self, table: u32) -> Result<BTreeMap<IpNet, u32>, NetlinkError> {
        let mut claims = BTreeMap::new();
        let attempt = Attempt::new(format!("list the claims in table {table}"));
        // Only this table is to be listed, not a router's full one.
        let _ = self.connection.socket.set_netlink_get_strict_chk(true);
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.attributes.push(RouteAttribute::Table(table));
            let listed = self.dump(&attempt, RouteNetlinkMessage::GetRoute(message), |message| {
                if let RouteNetlinkMessage::NewRoute(route) = message
                    && u8::from(route.header.protocol) == CLAIM_PROTOCOL
                {
                    claims.extend(claim_seen(&route, table));
                }
            });
            match listed {
                // There is no such table yet.
                Err(error) if error.errno() == Some(libc::ENOENT) => {}
                listed => listed?,
            }
        }
        let _ = self.connection.socket.set_netlink_get_strict_chk(false);
        Ok(claims)
    }

    /// Adds a rule.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewRule(rule_message(rule));
        self.request(&rule_attempt("add", rule), message, NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Removes a rule.
    pub fn remove_rule(&mut self, rule: &Rule) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelRule(rule_message(rule));
        self.request(&rule_attempt("remove", rule), message, 0).map(drop)
    }

    /// Asks the kernel for its way for a packet that comes in by a device: as it would do with a real one, filters for sources
    /// and forwarding included, firewalls left out.
    ///
    /// # Errors
    /// Why it would drop the packet.
    pub fn way_for(&mut self, from: IpAddr, device: &str, to: IpAddr) -> Result<(), NetlinkError> {
        let index = self.link_index(device)?;
        let mut message = RouteMessage::default();
        message.header.address_family = family(to);
        message.header.destination_prefix_length = if to.is_ipv4() { 32 } else { 128 };
        message.header.source_prefix_length = if from.is_ipv4() { 32 } else { 128 };
        message.attributes.push(RouteAttribute::Destination(address(to)));
        message.attributes.push(RouteAttribute::Source(address(from)));
        message.attributes.push(RouteAttribute::Iif(index));
        let attempt = Attempt::on(device, format!("find the way to {to} for packets from {from}"));
        self.request(&attempt, RouteNetlinkMessage::GetRoute(message), 0).map(drop)
    }

    fn new_route(&mut self, route: &Route, verb: &str, flags: u16) -> Result<(), NetlinkError> {
        let message = self.route_message(route)?;
        let attempt = Attempt::on(&route.device, format!("{verb} route {}", route.destination));
        self.request(&attempt, RouteNetlinkMessage::NewRoute(message), flags).map(drop)
    }

    fn route_message(&mut self, route: &Route) -> Result<RouteMessage, NetlinkError> {
        let index = self.link_index(&route.device)?;
        let mut message = RouteMessage::default();
        message.header.address_family = family(route.destination.addr());
        message.header.destination_prefix_length = route.destination.prefix_len();
        message.header.protocol = RouteProtocol::from(route.protocol);
        message.header.kind = RouteType::Unicast;
        message.header.scope = match (route.gateway, route.destination) {
            (None, IpNet::V4(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        message.header.table = u8::try_from(route.table).unwrap_or(0);
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Destination(address(route.destination.trunc().addr())));
        attributes.push(RouteAttribute::Oif(index));
        attributes.push(RouteAttribute::Table(route.table));
        attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(address(gateway))));
        attributes.extend(route.preferred_source.map(|source| RouteAttribute::PrefSource(address(source))));
        attributes.extend(route.metric.map(RouteAttribute::Priority));
        Ok(message)
    }
}

fn claim_message(table: u32, prefix: IpNet) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(prefix.addr());
    message.header.destination_prefix_length = prefix.prefix_len();
    message.header.protocol = RouteProtocol::from(CLAIM_PROTOCOL);
    message.header.kind = RouteType::Unreachable;
    message.header.scope = RouteScope::Universe;
    message.attributes.push(RouteAttribute::Destination(address(prefix.trunc().addr())));
    message.attributes.push(RouteAttribute::Table(table));
    message.attributes.push(RouteAttribute::Priority(CLAIM_METRIC));
    message
}

/// The prefix and the epoch, if a route is a claim in this table.
fn claim_seen(route: &RouteMessage, table: u32) -> Option<(IpNet, u32)> {
    let (mut address, mut epoch, mut is_in) = (None, None, u32::from(route.header.table) == table);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => address = Some(IpAddr::from(*v4)),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => address = Some(IpAddr::from(*v6)),
            RouteAttribute::Table(of) => is_in = *of == table,
            RouteAttribute::Metrics(all) => {
                epoch = all.iter().find_map(|metric| match metric {
                    RouteMetric::Window(epoch) => Some(*epoch),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let prefix = IpNet::new(address?, route.header.destination_prefix_length).ok()?;
    Some((prefix, epoch?)).filter(|_| is_in)
}

fn rule_attempt(verb: &str, rule: &Rule) -> Attempt {
    Attempt::new(format!("{verb} rule {} for table {}", rule.priority, rule.table))
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let ipv6 = rule.ipv6 || [rule.from, rule.to].into_iter().flatten().any(|prefix| matches!(prefix, IpNet::V6(_)));
    message.header.family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(0);
    message.attributes.push(RuleAttribute::Table(rule.table));
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    if rule.invert {
        message.header.flags |= RuleFlags::Invert;
    }
    if rule.protocol != 0 {
        message.attributes.push(RuleAttribute::Protocol(RouteProtocol::from(rule.protocol)));
    }
    message.attributes.extend(rule.suppress_length.map(RuleAttribute::SuppressPrefixLen));
    if let Some(prefix) = rule.from {
        message.header.src_len = prefix.prefix_len();
        message.attributes.push(RuleAttribute::Source(prefix.trunc().addr()));
    }
    if let Some(prefix) = rule.to {
        message.header.dst_len = prefix.prefix_len();
        message.attributes.push(RuleAttribute::Destination(prefix.trunc().addr()));
    }
    if let Some((mark, mask)) = rule.mark {
        message.attributes.push(RuleAttribute::FwMark(mark));
        message.attributes.push(RuleAttribute::FwMask(mask));
    }
    message
}

fn address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}
