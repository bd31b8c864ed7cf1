//! What else is known of a host: sysctls, firewall, addresses, clock, resolver, BGP sessions, as other programs print them.
//!
//! They come from files that lie beside the WireGuard files of a host: the output of `sysctl -a`, `iptables-save`,
//! `nft list ruleset`, `ip addr`, `ip route`, `timedatectl`, or the files they are configured by. What is not there is
//! not known, and nothing is concluded from it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::check::Span;
use crate::file::Spanned;

/// Everything known of a host besides its WireGuard devices.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Kernel settings by their dotted names, the last one said.
    pub sysctls: BTreeMap<String, Spanned<String>>,
    /// Chains that forwarded packets pass, in the order of reading.
    pub forward: Vec<ForwardChain>,
    /// Whether a rule adapts the segment size of forwarded TCP.
    pub clamps_mss: bool,
    /// Whether sources are hidden behind the host's address.
    pub masquerades: bool,
    /// Networks that the host is on.
    pub networks: Vec<LocalNetwork>,
    /// MTU of its interfaces.
    pub mtus: BTreeMap<String, Spanned<u16>>,
    /// Resolvers it asks.
    pub resolvers: Vec<Spanned<IpAddr>>,
    /// What says that its clock is not set from outside.
    pub clock: Option<Spanned<&'static str>>,
    /// Where hardware NAT is switched on.
    pub hwnat: Option<Span>,
    /// Devices and peers that are switched off: device, peer, place.
    pub disabled: Vec<Disabled>,
    /// BGP sessions.
    pub sessions: Vec<Session>,
}

/// A device, or a peer of it, that a router's configuration disables.
#[derive(Debug, Clone)]
pub struct Disabled {
    /// The device.
    pub device: String,
    /// The peer; none is the device itself.
    pub peer: Option<String>,
    /// Where it says so.
    pub place: Span,
}

/// A network that a host is on.
#[derive(Debug, Clone)]
pub struct LocalNetwork {
    /// Its interface.
    pub interface: String,
    /// The network.
    pub prefix: IpNet,
    /// Where it is written.
    pub place: Span,
}

/// A chain that forwarded packets pass.
#[derive(Debug, Clone)]
pub struct ForwardChain {
    /// Its name, with its table.
    pub name: String,
    /// Whether it sees IPv4 packets.
    pub v4: bool,
    /// Whether it sees IPv6 packets.
    pub v6: bool,
    /// Where the policy refuses what no rule accepts.
    pub refuses: Option<Span>,
    /// Its rules that decide, in order.
    pub rules: Vec<ForwardRule>,
}

/// A rule of a chain, as far as it decides.
#[derive(Debug, Clone)]
pub struct ForwardRule {
    /// Whether it accepts; if not, it refuses.
    pub accepts: bool,
    /// Incoming interface it is limited to; `+` or `*` at the end stands for anything.
    pub input: Option<String>,
    /// Outgoing interface it is limited to.
    pub output: Option<String>,
    /// Whether it is limited by anything else, such as addresses, ports or the state of a connection.
    pub limited: bool,
    /// Where it is written.
    pub place: Span,
}

/// A BGP session of a router.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its name, or the neighbour's address.
    pub name: String,
    /// Whether both sides are in one AS.
    pub internal: Option<bool>,
    /// Whether the neighbour is spoken to over IPv6.
    pub over_v6: bool,
    /// Whether IPv4 routes are exchanged, and where that is said.
    pub v4_routes: Option<Span>,
    /// Whether next hops of the other family are agreed on (RFC 8950).
    pub extended_next_hop: bool,
    /// Whether it puts itself in as the next hop.
    pub next_hop_self: bool,
    /// Where it is written.
    pub place: Span,
}

impl Facts {
    /// Whether anything is known.
    pub fn is_empty(&self) -> bool {
        self.sysctls.is_empty()
            && self.forward.is_empty()
            && !self.clamps_mss
            && !self.masquerades
            && self.networks.is_empty()
            && self.mtus.is_empty()
            && self.resolvers.is_empty()
            && self.clock.is_none()
            && self.hwnat.is_none()
            && self.disabled.is_empty()
            && self.sessions.is_empty()
    }

    /// Adds what another file says; of two values for one thing the later one counts.
    pub fn extend(&mut self, other: Facts) {
        self.sysctls.extend(other.sysctls);
        self.forward.extend(other.forward);
        self.clamps_mss |= other.clamps_mss;
        self.masquerades |= other.masquerades;
        self.networks.extend(other.networks);
        self.mtus.extend(other.mtus);
        self.resolvers.extend(other.resolvers);
        self.clock = other.clock.or(self.clock.take());
        self.hwnat = other.hwnat.or(self.hwnat);
        self.disabled.extend(other.disabled);
        self.sessions.extend(other.sessions);
    }

    /// A kernel setting, if it is a number.
    pub fn sysctl(&self, key: &str) -> Option<(i64, Span)> {
        let value = self.sysctls.get(key)?;
        Some((value.value.parse().ok()?, value.span))
    }
}
