//! The internet as a state machine: directory, NATs, links and the packets under way, without clock or socket.
//!
//! Order of calls: [`Cloud::handle_packet`] for what a port sends; [`Cloud::poll_delivery`] until it returns nothing, for what has
//! arrived by now; [`Cloud::poll_timeout`] says when to ask again. Everything else changes the surroundings at any time.
//!
//! A packet's way is decided when it is sent, but a NAT in front of the receiver judges it when it arrives: two nodes that open
//! their NATs towards each other at the same moment must meet. A cut way also swallows what is on it. A source address that
//! would lead an answer to somebody else is refused, as providers do. A packet to an anycast address ([`anycast`]) goes on as one to
//! the member that was chosen.

pub mod anycast;

use super::chance::Chance;
use super::handle::WireError;
use super::model::{Link, LinkDrop, LinkModel, Verdict};
use super::nat::{Mapping, Nat, NatConfig};
use super::packet;
use super::queue::DeadlineQueue;
use super::route::{Directory, NatId, PortId, Target, UnderlayId};
use super::stats::{AnycastStats, LinkStats, NatStats, WireDrops};
use crate::limits;
use anycast::{Anycast, AnycastConfig, AnycastFlow, AnycastId};
use ipnet::{IpNet, Ipv4Net};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

/// A packet that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The port it came from.
    pub from: PortId,
    /// The port it is for.
    pub to: PortId,
    /// When it was due.
    pub due_ns: u64,
    /// The packet as the receiver sees it.
    pub packet: Vec<u8>,
}

/// The whole emulated internet.
#[derive(Debug)]
pub struct Cloud {
    directory: Directory,
    ports: BTreeMap<PortId, Port>,
    nats: BTreeMap<NatId, Translator>,
    anycasts: BTreeMap<AnycastId, Anycast>,
    paths: HashMap<(PortId, PortId), Path>,
    default_model: LinkModel,
    queue: DeadlineQueue<Flight>,
    chance: Chance,
    drops: WireDrops,
}

#[derive(Debug)]
struct Port {
    up: bool,
    nat: Option<NatId>,
    /// Group of the present partition.
    group: Option<usize>,
}

#[derive(Debug)]
struct Translator {
    nat: Nat,
    inside: UnderlayId,
}

#[derive(Debug)]
struct Path {
    link: Link,
    stats: LinkStats,
}

#[derive(Debug)]
struct Flight {
    from: PortId,
    to: PortId,
    through: Option<NatId>,
    packet: Vec<u8>,
}

impl Cloud {
    /// An internet without anybody; `seed` decides all its chances.
    pub fn new(seed: u64) -> Self {
        Self {
            directory: Directory::default(),
            ports: BTreeMap::new(),
            nats: BTreeMap::new(),
            anycasts: BTreeMap::new(),
            paths: HashMap::new(),
            default_model: LinkModel::default(),
            queue: DeadlineQueue::new(limits::WIRE_PACKETS_MAX, limits::WIRE_BYTES_MAX),
            chance: Chance::new(seed),
            drops: WireDrops::default(),
        }
    }

    /// Takes a packet that a port has sent. The buffer may be changed.
    pub fn handle_packet(&mut self, now_ns: u64, from: PortId, packet: &mut [u8]) {
        let Some((source, destination)) = packet::addresses(packet) else {
            self.drops.malformed += 1;
            return;
        };
        if is_local(destination) {
            self.drops.local += 1;
            return;
        }
        let Some((underlay, target)) = self.directory.lookup(from, destination) else {
            self.drops.unroutable += 1;
            return;
        };
        if let Some(id) = self.nat_for(from, source, underlay) {
            let outcome = self.nats.get_mut(&id).map(|t| t.nat.handle_outbound(now_ns, packet));
            if !matches!(outcome, Some(Ok(()))) {
                self.drops.nat += 1;
                return;
            }
        } else if !self.leads_back(from, source, target) {
            self.drops.foreign_source += 1;
            return;
        }
        self.answer_as_anycast(now_ns, from, packet);
        let target = match target {
            Target::Anycast(id) => match self.direct_to_member(now_ns, id, from, packet) {
                Some(target) => target,
                None => {
                    self.drops.anycast += 1;
                    return;
                }
            },
            other => other,
        };
        let (to, through) = match target {
            Target::Port(port) => (Some(port), None),
            Target::Nat(id) => (self.port_behind(id, packet), Some(id)),
            // Nobody's member is an anycast address again.
            Target::Anycast(_) => (None, None),
        };
        let Some(to) = to else {
            self.drops.unroutable += 1;
            return;
        };
        self.send(now_ns, Flight { from, to, through, packet: packet.to_vec() });
    }

    /// The next packet that has arrived by `now_ns`.
    pub fn poll_delivery(&mut self, now_ns: u64) -> Option<Delivery> {
        loop {
            let (due_ns, flight) = self.queue.pop_due(now_ns)?;
            let Flight { from, to, through, mut packet } = flight;
            let cut = self.is_cut(from, to);
            let Some(path) = self.paths.get_mut(&(from, to)) else { continue };
            if cut || !path.link.model().up {
                path.stats.cut += 1;
                continue;
            }
            let mut receiver = Some(to);
            if let Some(id) = through {
                receiver = self.nats.get_mut(&id).and_then(|translator| {
                    translator.nat.handle_inbound(now_ns, &mut packet).ok()?;
                    let (_, destination) = packet::addresses(&packet)?;
                    self.directory.owner(translator.inside, destination).and_then(port_of)
                });
            }
            let Some(receiver) = receiver else {
                path.stats.nat += 1;
                continue;
            };
            path.stats.delivered_packets += 1;
            path.stats.delivered_bytes += packet.len() as u64;
            return Some(Delivery { from, to: receiver, due_ns, packet });
        }
    }

    /// When the next packet arrives.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.queue.deadline()
    }

    /// Says that the receiver's device didn't take a delivery.
    pub fn handle_refused(&mut self, delivery: &Delivery) {
        if let Some(path) = self.paths.get_mut(&(delivery.from, delivery.to)) {
            path.stats.refused += 1;
            path.stats.delivered_packets = path.stats.delivered_packets.saturating_sub(1);
            path.stats.delivered_bytes = path.stats.delivered_bytes.saturating_sub(delivery.packet.len() as u64);
        }
    }

    /// Adds a port.
    pub fn add_port(&mut self, port: PortId) {
        self.ports.insert(port, Port { up: true, nat: None, group: None });
    }

    /// Forgets a port with its addresses and links.
    pub fn remove_port(&mut self, port: PortId) {
        self.ports.remove(&port);
        self.directory.remove_target(Target::Port(port));
        self.paths.retain(|&(from, to), _| from != port && to != port);
    }

    /// Gives an address or prefix to a port.
    pub fn add_address(&mut self, port: PortId, prefix: IpNet, underlay: UnderlayId) -> Result<(), WireError> {
        self.port(port)?;
        Ok(self.directory.add(Target::Port(port), prefix, underlay)?)
    }

    /// Takes an address or prefix away.
    pub fn remove_address(&mut self, prefix: IpNet, underlay: UnderlayId) {
        self.directory.remove(prefix, underlay);
    }

    /// Adds a NAT in front of an underlay, with its outside address.
    pub fn add_nat(&mut self, id: NatId, config: NatConfig, inside: UnderlayId) -> Result<(), WireError> {
        let outside = host_prefix(config.outside);
        self.directory.add(Target::Nat(id), outside, UnderlayId::PUBLIC)?;
        let seed = self.chance.bits();
        self.nats.insert(id, Translator { nat: Nat::new(config, seed), inside });
        Ok(())
    }

    /// Sends a port's packets through a NAT, or through none.
    pub fn set_nat(&mut self, port: PortId, nat: Option<NatId>) -> Result<(), WireError> {
        if let Some(id) = nat.filter(|id| !self.nats.contains_key(id)) {
            return Err(WireError::UnknownNat(id));
        }
        self.port(port)?.nat = nat;
        Ok(())
    }

    /// Makes a NAT forget its mappings and perhaps move to another address.
    pub fn rebind_nat(&mut self, id: NatId, outside: Option<Ipv4Addr>) -> Result<(), WireError> {
        let translator = self.nats.get_mut(&id).ok_or(WireError::UnknownNat(id))?;
        let old = translator.nat.config().outside;
        if let Some(new) = outside.filter(|&new| new != old) {
            self.directory.add(Target::Nat(id), host_prefix(new), UnderlayId::PUBLIC)?;
            self.directory.remove(host_prefix(old), UnderlayId::PUBLIC);
        }
        translator.nat.rebind(outside);
        Ok(())
    }

    /// Adds an anycast address.
    pub fn add_anycast(&mut self, id: AnycastId, config: AnycastConfig) -> Result<(), WireError> {
        if config.members.len() > limits::ANYCAST_MEMBERS_MAX {
            return Err(WireError::TooManyMembers);
        }
        self.directory.add(Target::Anycast(id), config.address.into(), UnderlayId::PUBLIC)?;
        self.anycasts.insert(id, Anycast::new(config));
        Ok(())
    }

    /// Says whether new flows to an anycast address may go to a member.
    pub fn set_healthy(&mut self, id: AnycastId, member: PortId, healthy: bool) {
        if let Some(anycast) = self.anycasts.get_mut(&id) {
            anycast.set_healthy(member, healthy);
        }
    }

    /// The live flows of an anycast address.
    pub fn flows(&self, now_ns: u64, id: AnycastId) -> Result<Vec<AnycastFlow>, WireError> {
        Ok(self.anycasts.get(&id).ok_or(WireError::UnknownAnycast(id))?.flows(now_ns))
    }

    /// The live mappings of a NAT.
    pub fn mappings(&self, now_ns: u64, id: NatId) -> Result<Vec<Mapping>, WireError> {
        let translator = self.nats.get(&id).ok_or(WireError::UnknownNat(id))?;
        Ok(translator.nat.mappings(now_ns))
    }

    /// Sets the model of pairs that have none of their own and haven't been used.
    pub fn set_default_link(&mut self, model: LinkModel) {
        self.default_model = model;
    }

    /// Sets the model of one direction.
    pub fn set_link(&mut self, from: PortId, to: PortId, model: LinkModel) {
        self.path(from, to).link.set_model(model);
    }

    /// Cuts or mends one direction.
    pub fn set_link_up(&mut self, from: PortId, to: PortId, up: bool) {
        self.path(from, to).link.set_up(up);
    }

    /// Cuts off or mends a port.
    pub fn set_port_up(&mut self, port: PortId, up: bool) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.up = up;
        }
    }

    /// Separates groups of ports from each other.
    pub fn set_partition(&mut self, groups: &[Vec<PortId>]) {
        for (id, port) in &mut self.ports {
            port.group = groups.iter().position(|group| group.contains(id));
        }
    }

    /// Counters of all links, in order.
    pub fn link_stats(&self) -> Vec<LinkStats> {
        let up = |path: &Path| path.link.model().up && !self.is_cut(path.stats.from, path.stats.to);
        let mut links: Vec<LinkStats> =
            self.paths.values().map(|path| LinkStats { up: up(path), ..path.stats.clone() }).collect();
        links.sort_unstable_by_key(|link| (link.from, link.to));
        links
    }

    /// State of all NATs, in order.
    pub fn nat_stats(&self) -> Vec<NatStats> {
        let stats = |(&nat, translator): (&NatId, &Translator)| NatStats {
            nat,
            outside: translator.nat.config().outside,
            mappings: translator.nat.mapping_count(),
        };
        self.nats.iter().map(stats).collect()
    }

    /// State of all anycast addresses, in order.
    pub fn anycast_stats(&self, now_ns: u64) -> Vec<AnycastStats> {
        let stats = |(&anycast, state): (&AnycastId, &Anycast)| {
            let members = state.config().members.iter().map(|member| (member.port, state.is_healthy(member.port)));
            AnycastStats {
                anycast,
                address: state.config().address,
                members: members.collect(),
                flows: state.flows(now_ns),
            }
        };
        self.anycasts.iter().map(stats).collect()
    }

    /// Packets that never reached a link.
    pub fn drops(&self) -> WireDrops {
        self.drops
    }

    /// Packets and bytes under way.
    pub fn held(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.bytes())
    }

    /// The NAT that a packet from this source to this underlay goes through.
    fn nat_for(&self, from: PortId, source: IpAddr, underlay: UnderlayId) -> Option<NatId> {
        if underlay != UnderlayId::PUBLIC || source.is_ipv6() {
            return None;
        }
        let id = self.ports.get(&from)?.nat?;
        let inside = self.nats.get(&id)?.inside;
        (self.directory.owner(inside, source) == Some(Target::Port(from))).then_some(id)
    }

    /// Whether an answer from `target` to this source would come to `from`.
    fn leads_back(&self, from: PortId, source: IpAddr, target: Target) -> bool {
        let answered = match target {
            Target::Port(to) => self.directory.lookup(to, source).map(|(_, target)| target),
            Target::Nat(_) | Target::Anycast(_) => self.directory.owner(UnderlayId::PUBLIC, source),
        };
        answered == Some(Target::Port(from))
    }

    /// Sends a packet on to the member of an anycast address that its flow has or gets.
    fn direct_to_member(&mut self, now_ns: u64, id: AnycastId, from: PortId, packet: &mut [u8]) -> Option<Target> {
        let (client, wanted) = packet::udp_endpoints(packet)?;
        let (paths, default_model) = (&self.paths, &self.default_model);
        let delay = |to: PortId| paths.get(&(from, to)).map_or(default_model.delay, |path| path.link.model().delay);
        let anycast = self.anycasts.get_mut(&id).filter(|anycast| anycast.config().port == wanted.port())?;
        let member = anycast.handle_inbound(now_ns, client, delay)?;
        packet::replace_udp_destination(packet, member.address);
        self.directory.owner(UnderlayId::PUBLIC, member.address)
    }

    /// Gives what a member answers within a flow the anycast address as its source.
    fn answer_as_anycast(&mut self, now_ns: u64, from: PortId, packet: &mut [u8]) {
        if self.anycasts.is_empty() {
            return;
        }
        let Some((source, client)) = packet::udp_endpoints(packet) else { return };
        let mut anycasts = self.anycasts.values_mut();
        if let Some(anycast) = anycasts.find_map(|a| a.handle_outbound(now_ns, (from, source), client).then_some(a)) {
            packet::replace_udp_source(packet, anycast.config().address);
        }
    }

    /// The port behind a NAT that a packet is on its way to. One that nobody inside expects travels as far as the NAT, which is
    /// where the first of its ports is.
    fn port_behind(&self, id: NatId, packet: &[u8]) -> Option<PortId> {
        let translator = self.nats.get(&id)?;
        let expecting = translator.nat.inside_of(packet).map(IpAddr::from);
        expecting
            .and_then(|address| self.directory.owner(translator.inside, address))
            .and_then(port_of)
            .or_else(|| self.ports.iter().find(|(_, port)| port.nat == Some(id)).map(|(&port, _)| port))
    }

    fn send(&mut self, now_ns: u64, flight: Flight) {
        let (from, to, length) = (flight.from, flight.to, flight.packet.len());
        let cut = self.is_cut(from, to);
        let path = path(&mut self.paths, &self.default_model, from, to);
        path.stats.sent_packets += 1;
        path.stats.sent_bytes += length as u64;
        if cut {
            path.stats.cut += 1;
            return;
        }
        let (at_ns, again_ns) = match path.link.decide(now_ns, length, &mut self.chance) {
            Verdict::Deliver { at_ns, again_ns } => (at_ns, again_ns),
            Verdict::Drop(reason) => {
                match reason {
                    LinkDrop::Down => path.stats.cut += 1,
                    LinkDrop::Loss => path.stats.lost += 1,
                    LinkDrop::QueueFull => path.stats.queue_full += 1,
                }
                return;
            }
        };
        let twin = again_ns.map(|again_ns| (again_ns, Flight { packet: flight.packet.clone(), ..flight }));
        for (at_ns, flight) in [(at_ns, flight)].into_iter().chain(twin) {
            if self.queue.push(at_ns, length, flight).is_err() {
                path.stats.wire_full += 1;
            }
        }
    }

    fn is_cut(&self, from: PortId, to: PortId) -> bool {
        let (Some(from), Some(to)) = (self.ports.get(&from), self.ports.get(&to)) else { return true };
        let separated = matches!((from.group, to.group), (Some(a), Some(b)) if a != b);
        !from.up || !to.up || separated
    }

    fn path(&mut self, from: PortId, to: PortId) -> &mut Path {
        path(&mut self.paths, &self.default_model, from, to)
    }

    fn port(&mut self, port: PortId) -> Result<&mut Port, WireError> {
        self.ports.get_mut(&port).ok_or(WireError::UnknownPort(port))
    }
}

fn path<'a>(
    paths: &'a mut HashMap<(PortId, PortId), Path>,
    default_model: &LinkModel,
    from: PortId,
    to: PortId,
) -> &'a mut Path {
    paths
        .entry((from, to))
        .or_insert_with(|| Path { link: Link::new(default_model.clone()), stats: LinkStats::new(from, to) })
}

fn port_of(target: Target) -> Option<PortId> {
    match target {
        Target::Port(port) => Some(port),
        Target::Nat(_) | Target::Anycast(_) => None,
    }
}

fn host_prefix(address: Ipv4Addr) -> IpNet {
    Ipv4Net::from(address).into()
}

/// What never leaves the neighbourhood, and there are no neighbours here.
fn is_local(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MS: u64 = 1_000_000;
    const A: PortId = PortId(0);
    const B: PortId = PortId(1);
    const LAN: UnderlayId = UnderlayId(1);

    /// An echo request, enough of a packet for routing.
    fn packet(source: &str, destination: &str) -> Vec<u8> {
        let mut packet = vec![0; 28];
        (packet[0], packet[9], packet[20]) = (0x45, 1, 8);
        packet[12..16].copy_from_slice(&source.parse::<Ipv4Addr>().unwrap().octets());
        packet[16..20].copy_from_slice(&destination.parse::<Ipv4Addr>().unwrap().octets());
        packet
    }

    fn cloud() -> Cloud {
        let mut cloud = Cloud::new(1);
        for (port, address) in [(A, "192.0.2.1/32"), (B, "192.0.2.2/32")] {
            cloud.add_port(port);
            cloud.add_address(port, address.parse().unwrap(), UnderlayId::PUBLIC).unwrap();
        }
        cloud.set_default_link(LinkModel::with_delay(Duration::from_millis(10)));
        cloud
    }

    fn arrivals(cloud: &mut Cloud, now_ns: u64) -> Vec<(u64, PortId)> {
        std::iter::from_fn(|| cloud.poll_delivery(now_ns)).map(|delivery| (delivery.due_ns, delivery.to)).collect()
    }

    #[test]
    fn a_packet_arrives_after_the_delay_and_not_before() {
        let mut cloud = cloud();
        cloud.handle_packet(5 * MS, A, &mut packet("192.0.2.1", "192.0.2.2"));
        assert_eq!(cloud.poll_timeout(), Some(15 * MS));
        assert_eq!(arrivals(&mut cloud, 15 * MS - 1), []);
        assert_eq!(arrivals(&mut cloud, 15 * MS), [(15 * MS, B)]);
        assert_eq!(cloud.poll_timeout(), None);
    }

    #[test]
    fn every_drop_is_counted_once() {
        let mut cloud = cloud();
        let sent = [
            ("192.0.2.1", "192.0.2.9"),
            ("192.0.2.9", "192.0.2.2"),
            ("192.0.2.1", "224.0.0.1"),
            ("192.0.2.2", "192.0.2.2"),
        ];
        for (source, destination) in sent {
            cloud.handle_packet(0, A, &mut packet(source, destination));
        }
        cloud.handle_packet(0, A, &mut [0x45; 3]);
        let drops = WireDrops { malformed: 1, local: 1, unroutable: 1, foreign_source: 2, ..WireDrops::default() };
        assert_eq!(cloud.drops(), drops);
    }

    #[test]
    fn the_way_is_cut_for_packets_on_it() {
        let mut cloud = cloud();
        cloud.handle_packet(0, A, &mut packet("192.0.2.1", "192.0.2.2"));
        cloud.set_partition(&[vec![A], vec![B]]);
        assert_eq!(arrivals(&mut cloud, 20 * MS), []);
        let stats = cloud.link_stats();
        assert_eq!((stats[0].sent_packets, stats[0].cut, stats[0].up), (1, 1, false));
    }

    #[test]
    fn a_nat_judges_when_the_packet_arrives() {
        let mut cloud = cloud();
        cloud.add_port(PortId(2));
        cloud.add_address(PortId(2), "192.168.0.2/32".parse().unwrap(), LAN).unwrap();
        let config = NatConfig::home_router("203.0.113.1".parse().unwrap());
        cloud.add_nat(NatId(0), config, LAN).unwrap();
        cloud.set_nat(PortId(2), Some(NatId(0))).unwrap();
        let reply = |cloud: &mut Cloud, now_ns| {
            let mut packet = packet("192.0.2.1", "203.0.113.1");
            (packet[20], packet[25]) = (0, 7);
            cloud.handle_packet(now_ns, A, &mut packet);
        };
        reply(&mut cloud, 0);
        assert_eq!(arrivals(&mut cloud, 10 * MS), [], "nobody has asked");
        reply(&mut cloud, 20 * MS);
        let mut request = packet("192.168.0.2", "192.0.2.1");
        request[25] = 7;
        cloud.handle_packet(25 * MS, PortId(2), &mut request);
        assert_eq!(arrivals(&mut cloud, 30 * MS), [(30 * MS, PortId(2))], "asked while it was under way");
        assert_eq!(cloud.link_stats().iter().map(|link| link.nat).sum::<u64>(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_from_anybody_are_survived(
            packets in proptest::collection::vec((0_u32..5, proptest::collection::vec(any::<u8>(), 0..90), 0_usize..6), 0..40),
        ) {
            let mut cloud = cloud();
            cloud.add_nat(NatId(0), NatConfig::symmetric("203.0.113.1".parse().unwrap()), LAN).unwrap();
            cloud.add_address(A, "10.0.0.1/32".parse().unwrap(), LAN).unwrap();
            cloud.set_nat(A, Some(NatId(0))).unwrap();
            let known = ["192.0.2.1", "192.0.2.2", "203.0.113.1", "10.0.0.1"];
            for (now_ns, (port, mut bytes, shape)) in (0..).zip(packets) {
                if bytes.len() >= 20 && shape < known.len() {
                    bytes[0] = 0x45;
                    bytes[12..16].copy_from_slice(&known[shape].parse::<Ipv4Addr>().unwrap().octets());
                    bytes[16..20].copy_from_slice(&known[(shape + 1) % 4].parse::<Ipv4Addr>().unwrap().octets());
                }
                cloud.handle_packet(now_ns, PortId(port), &mut bytes);
            }
            while cloud.poll_delivery(u64::MAX).is_some() {}
            prop_assert_eq!(cloud.held(), (0, 0));
        }
    }
}
