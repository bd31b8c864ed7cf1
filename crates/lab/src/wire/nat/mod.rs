//! A NAT: one public address in front of private ones.
//!
//! Told the time and a packet on its way out ([`Nat::handle_outbound`]) or in ([`Nat::handle_inbound`]), it rewrites the packet in
//! place or says why it can't. UDP, TCP and ICMP echo are translated, ICMP errors with what they quote, later fragments after
//! their first; IPv6 never. What distinguishes NATs for an overlay is in the words of RFC 4787: *mapping* (does an inside socket
//! look the same to everybody, or different to each remote: symmetric), *filtering* (who may answer), and the timeout after which
//! a silent mapping is gone, which keepalives have to beat. Outbound packets always refresh a mapping, inbound ones if asked for.
//!
//! Nothing here knows ports of the wire or clocks: a simulation can drive it.

mod table;
mod translate;

#[cfg(test)]
mod tests;

use super::chance::Chance;
use super::packet::{HeaderV4, ICMP, TCP, UDP};
use crate::limits;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use table::{Entry, Key, Table, TableError};
use translate::{Flow, Kind, Side};

/// How inside endpoints get outside ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatMapping {
    /// One outside port for an inside endpoint, whoever it talks to. Direct links can be made.
    EndpointIndependent,
    /// Another outside port for each remote endpoint (address- and port-dependent). Direct links from behind two of these can't.
    Symmetric,
}

/// Who may send to a mapped port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatFiltering {
    /// Everybody ("full cone").
    EndpointIndependent,
    /// Addresses to which the inside has sent.
    AddressDependent,
    /// Exactly those endpoints to which the inside has sent.
    AddressAndPortDependent,
}

/// A port outside that always leads to one endpoint inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortForward {
    /// UDP (17) or TCP (6).
    pub protocol: u8,
    /// Port of the outside address.
    pub outside_port: u16,
    /// Where it leads.
    pub inside: SocketAddrV4,
}

/// Properties of a NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatConfig {
    /// The public address.
    pub outside: Ipv4Addr,
    /// How ports are given.
    pub mapping: NatMapping,
    /// Who may answer.
    pub filtering: NatFiltering,
    /// How long an unused UDP mapping lives.
    pub udp_timeout: Duration,
    /// How long an unused TCP mapping lives.
    pub tcp_timeout: Duration,
    /// How long an unused mapping of an ICMP echo lives.
    pub icmp_timeout: Duration,
    /// Whether the inside port is kept where it is free.
    pub preserve_ports: bool,
    /// Whether packets from outside keep a mapping alive too.
    pub refresh_inbound: bool,
    /// Fixed ports.
    pub forwards: Vec<PortForward>,
}

impl NatConfig {
    /// A usual home router: endpoint-independent mapping, strict filter, UDP gone after 30 s of silence.
    pub fn home_router(outside: Ipv4Addr) -> Self {
        Self {
            outside,
            mapping: NatMapping::EndpointIndependent,
            filtering: NatFiltering::AddressAndPortDependent,
            udp_timeout: Duration::from_secs(30),
            tcp_timeout: Duration::from_secs(7_440),
            icmp_timeout: Duration::from_secs(30),
            preserve_ports: true,
            refresh_inbound: true,
            forwards: Vec::new(),
        }
    }

    /// The unfriendly kind, as in offices and mobile networks: another port for each remote.
    pub fn symmetric(outside: Ipv4Addr) -> Self {
        Self { mapping: NatMapping::Symmetric, preserve_ports: false, ..Self::home_router(outside) }
    }

    fn timeout_ns(&self, protocol: u8) -> u64 {
        let timeout = match protocol {
            UDP => self.udp_timeout,
            TCP => self.tcp_timeout,
            _ => self.icmp_timeout,
        };
        u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Why a NAT dropped a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatDrop {
    /// Not an IPv4 packet, or cut short.
    Malformed,
    /// Neither UDP, TCP nor ICMP echo, nor an error about one.
    Unsupported,
    /// Nothing inside has that port, or the packet isn't for the outside address at all.
    NoMapping,
    /// The inside has never sent anything to this sender.
    Filtered,
    /// [`limits::NAT_MAPPINGS_MAX`] reached, or no port is left.
    Full,
    /// A later fragment whose first one wasn't seen.
    Fragment,
}

/// A live mapping, for showing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapping {
    /// UDP (17), TCP (6) or ICMP (1).
    pub protocol: u8,
    /// The endpoint inside; for ICMP its port is the echo's identifier.
    pub inside: SocketAddrV4,
    /// How it looks from outside.
    pub outside: SocketAddrV4,
    /// The remote it is for, with a symmetric NAT.
    pub remote: Option<SocketAddrV4>,
}

/// A NAT with its state.
#[derive(Debug, Clone)]
pub struct Nat {
    config: NatConfig,
    table: Table,
    /// Which address the fragments of a datagram are rewritten to, and until when.
    fragments: HashMap<FragmentKey, (Ipv4Addr, u64)>,
    /// A NAT that was rebound chooses ports anew, or it would choose the same ones.
    rebound: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FragmentKey {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    identification: u16,
    protocol: u8,
}

impl Nat {
    /// A NAT without mappings; `seed` decides which ports it chooses.
    pub fn new(config: NatConfig, seed: u64) -> Self {
        let reserved = config.forwards.iter().map(|forward| (forward.protocol, forward.outside_port)).collect();
        Self { config, table: Table::new(reserved, Chance::new(seed)), fragments: HashMap::new(), rebound: false }
    }

    /// Its properties.
    pub fn config(&self) -> &NatConfig {
        &self.config
    }

    /// Mappings held, expired ones included that nobody asked for since.
    pub fn mapping_count(&self) -> usize {
        self.table.len()
    }

    /// The live mappings in a fixed order.
    pub fn mappings(&self, now_ns: u64) -> Vec<Mapping> {
        let alive =
            |key: &Key, entry: &Entry| now_ns.saturating_sub(entry.used_ns) < self.config.timeout_ns(key.protocol);
        let mut mappings: Vec<Mapping> = self
            .table
            .iter()
            .filter(|(key, entry)| alive(key, entry))
            .map(|(key, entry)| Mapping {
                protocol: key.protocol,
                inside: key.inside,
                outside: SocketAddrV4::new(self.config.outside, entry.outside_port),
                remote: key.remote,
            })
            .collect();
        mappings.sort_unstable();
        mappings
    }

    /// Forgets everything, as a restarted router does, and takes another public address if one is given.
    pub fn rebind(&mut self, outside: Option<Ipv4Addr>) {
        self.table.clear();
        self.fragments.clear();
        self.rebound = true;
        self.config.outside = outside.unwrap_or(self.config.outside);
    }

    /// Rewrites the source of a packet on its way out.
    pub fn handle_outbound(&mut self, now_ns: u64, packet: &mut [u8]) -> Result<(), NatDrop> {
        let header = HeaderV4::parse(packet).ok_or(NatDrop::Malformed)?;
        match translate::classify(packet, &header) {
            Kind::Whole(flow) => {
                let port = self.outside_port(now_ns, &flow)?;
                let outside = SocketAddrV4::new(self.config.outside, port);
                self.note_first_fragment(now_ns, &header, *outside.ip());
                translate::rewrite(packet, &header, Side::Source, outside);
            }
            Kind::Error(quoted, flow) => {
                // The quoted packet came from the remote to the inside.
                let port = self.existing_port(now_ns, &flow).ok_or(NatDrop::NoMapping)?;
                let outside = SocketAddrV4::new(self.config.outside, port);
                translate::rewrite_error(packet, &header, &quoted, Side::Source, outside, outside);
            }
            Kind::Fragment => {
                let address = self.fragment_address(now_ns, &header).ok_or(NatDrop::Fragment)?;
                translate::rewrite_address(packet, &header, Side::Source, SocketAddrV4::new(address, 0));
            }
            Kind::Unsupported => return Err(NatDrop::Unsupported),
        }
        Ok(())
    }

    /// Rewrites the destination of a packet on its way in.
    pub fn handle_inbound(&mut self, now_ns: u64, packet: &mut [u8]) -> Result<(), NatDrop> {
        let header = HeaderV4::parse(packet).ok_or(NatDrop::Malformed)?;
        if header.destination != self.config.outside {
            return Err(NatDrop::NoMapping);
        }
        match translate::classify(packet, &header) {
            Kind::Whole(flow) => {
                let inside = self.inside_endpoint(now_ns, flow.protocol, flow.destination.port(), flow.source)?;
                self.note_first_fragment(now_ns, &header, *inside.ip());
                translate::rewrite(packet, &header, Side::Destination, inside);
            }
            Kind::Error(quoted, flow) => {
                // The quoted packet went from our outside to the remote; the error itself may come from any router.
                if *flow.source.ip() != self.config.outside {
                    return Err(NatDrop::NoMapping);
                }
                let inside = self.inside_endpoint(now_ns, flow.protocol, flow.source.port(), flow.destination)?;
                translate::rewrite_error(packet, &header, &quoted, Side::Destination, inside, inside);
            }
            Kind::Fragment => {
                let address = self.fragment_address(now_ns, &header).ok_or(NatDrop::Fragment)?;
                translate::rewrite_address(packet, &header, Side::Destination, SocketAddrV4::new(address, 0));
            }
            Kind::Unsupported => return Err(NatDrop::Unsupported),
        }
        Ok(())
    }

    /// Which inside address a packet from outside would be for, without deciding whether it may pass.
    pub fn inside_of(&self, packet: &[u8]) -> Option<Ipv4Addr> {
        let header = HeaderV4::parse(packet)?;
        let (protocol, port) = match translate::classify(packet, &header) {
            Kind::Whole(flow) => (flow.protocol, flow.destination.port()),
            Kind::Error(_, flow) => (flow.protocol, flow.source.port()),
            Kind::Fragment => return self.fragments.get(&FragmentKey::of(&header)).map(|&(address, _)| address),
            Kind::Unsupported => return None,
        };
        self.forward_in(protocol, port).or_else(|| self.table.owner(protocol, port)).map(|inside| *inside.ip())
    }

    /// The outside port of a flow from inside, making a mapping if there is none.
    fn outside_port(&mut self, now_ns: u64, flow: &Flow) -> Result<u16, NatDrop> {
        if let Some(port) = self.forward_out(flow.protocol, flow.source) {
            return Ok(port);
        }
        if flow.protocol == ICMP && flow.source.port() == 0 && flow.destination.port() != 0 {
            // An answer to an echo: its identifier belongs to the one who asked, nothing inside has a mapping for it.
            return Err(NatDrop::NoMapping);
        }
        let config = &self.config;
        let key = Key::new(config.mapping, flow.protocol, flow.source, flow.destination);
        let timeout_ns = config.timeout_ns(flow.protocol);
        let remembers = config.filtering != NatFiltering::EndpointIndependent;
        let exists = self.table.of_inside(&key, now_ns, timeout_ns).is_some();
        let entry = if exists {
            self.table.of_inside(&key, now_ns, timeout_ns)
        } else {
            let preferred =
                Some(flow.source.port()).filter(|&port| config.preserve_ports && !self.rebound && port != 0);
            let created = self.table.create(key, preferred, now_ns, |protocol| config.timeout_ns(protocol));
            Some(created.map_err(|error| match error {
                TableError::Full | TableError::NoPort => NatDrop::Full,
            })?)
        };
        let entry = entry.ok_or(NatDrop::NoMapping)?;
        entry.used_ns = now_ns;
        if remembers {
            entry.note_contact(flow.destination, now_ns);
        }
        Ok(entry.outside_port)
    }

    /// The outside port of the inside endpoint to which a quoted packet went.
    fn existing_port(&mut self, now_ns: u64, quoted: &Flow) -> Option<u16> {
        let (inside, remote) = (quoted.destination, quoted.source);
        if let Some(port) = self.forward_out(quoted.protocol, inside) {
            return Some(port);
        }
        let key = Key::new(self.config.mapping, quoted.protocol, inside, remote);
        let timeout_ns = self.config.timeout_ns(quoted.protocol);
        self.table.of_inside(&key, now_ns, timeout_ns).map(|entry| entry.outside_port)
    }

    /// Who inside receives what `remote` sends to an outside port.
    fn inside_endpoint(
        &mut self,
        now_ns: u64,
        protocol: u8,
        port: u16,
        remote: SocketAddrV4,
    ) -> Result<SocketAddrV4, NatDrop> {
        if let Some(inside) = self.forward_in(protocol, port) {
            return Ok(inside);
        }
        let timeout_ns = self.config.timeout_ns(protocol);
        let (filtering, refresh) = (self.config.filtering, self.config.refresh_inbound);
        let (key, entry) = self.table.of_outside(protocol, port, now_ns, timeout_ns).ok_or(NatDrop::NoMapping)?;
        // Expired is what is as old as the timeout, so the contact must be one nanosecond younger.
        let since_ns = now_ns.saturating_sub(timeout_ns.saturating_sub(1));
        let allowed = match filtering {
            NatFiltering::EndpointIndependent => true,
            NatFiltering::AddressDependent => entry.has_contact(*remote.ip(), None, since_ns),
            NatFiltering::AddressAndPortDependent => entry.has_contact(*remote.ip(), Some(remote.port()), since_ns),
        };
        if !allowed {
            return Err(NatDrop::Filtered);
        }
        if refresh {
            entry.used_ns = now_ns;
            if filtering != NatFiltering::EndpointIndependent {
                entry.note_contact(remote, now_ns);
            }
        }
        Ok(key.inside)
    }

    fn forward_in(&self, protocol: u8, port: u16) -> Option<SocketAddrV4> {
        let mut forwards = self.config.forwards.iter();
        forwards.find(|f| (f.protocol, f.outside_port) == (protocol, port)).map(|f| f.inside)
    }

    fn forward_out(&self, protocol: u8, inside: SocketAddrV4) -> Option<u16> {
        let mut forwards = self.config.forwards.iter();
        forwards.find(|f| (f.protocol, f.inside) == (protocol, inside)).map(|f| f.outside_port)
    }

    fn note_first_fragment(&mut self, now_ns: u64, header: &HeaderV4, address: Ipv4Addr) {
        if !header.more_fragments {
            return;
        }
        if self.fragments.len() >= limits::NAT_FRAGMENTS_MAX {
            self.fragments.retain(|_, (_, until_ns)| *until_ns > now_ns);
        }
        if self.fragments.len() < limits::NAT_FRAGMENTS_MAX {
            let until_ns = now_ns.saturating_add(limits::NAT_FRAGMENT_TIMEOUT.as_nanos() as u64);
            self.fragments.insert(FragmentKey::of(header), (address, until_ns));
        }
    }

    fn fragment_address(&self, now_ns: u64, header: &HeaderV4) -> Option<Ipv4Addr> {
        let &(address, until_ns) = self.fragments.get(&FragmentKey::of(header))?;
        (until_ns > now_ns).then_some(address)
    }
}

impl FragmentKey {
    fn of(header: &HeaderV4) -> Self {
        Self {
            source: header.source,
            destination: header.destination,
            identification: header.identification,
            protocol: header.protocol,
        }
    }
}
