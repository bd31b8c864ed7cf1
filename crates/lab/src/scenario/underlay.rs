//! Addresses outside the overlay: as the file gives them, and made up where it gives none.
//!
//! A node has the addresses of its endpoints, each in the private network it is said to be in, or on the internet. Where
//! several nodes share a public address, or the outside port is not the node's own, there is a NAT with port forwards in
//! front. Members without a public endpoint get a NAT each. Foreign routers have a place in the same way. Made-up addresses come from
//! the ranges for benchmarks (RFC 2544, RFC 5180), which nobody uses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

use wayleave_core::names::Name;
use wayleave_core::network::{Endpoint, Host, Network, NodeIx};
use wayleave_core::plan::Member;

/// First made-up public address: 198.18.0.1.
const OUTSIDE_FIRST: u32 = 0xC612_0001;
/// First made-up address behind a NAT: 198.19.0.1.
const INSIDE_FIRST: u32 = 0xC613_0001;
/// Made-up addresses of each of the two kinds: a /16 less a few.
const MADE_UP_MAX: u32 = 65_000;
/// Made-up IPv6 addresses are 2001:2::1 and so on.
const OUTSIDE_V6: u128 = 0x2001_0002 << 96;

/// What members without a public endpoint are behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatChoice {
    /// A NAT, of whatever kind the session makes it.
    Nat,
    /// Nothing: they have public addresses.
    Open,
}

/// One member's place outside the overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// Its addresses, each with the number of its network; 0 is the internet.
    pub addresses: Vec<(IpAddr, u16)>,
    /// The NAT it is behind, by its position in [`Underlay::nats`].
    pub nat: Option<usize>,
}

/// A NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatPlan {
    /// Its public address.
    pub outside: Ipv4Addr,
    /// The number of the network behind it.
    pub inside: u16,
    /// Outside UDP ports that always lead to somebody.
    pub forwards: Vec<(u16, SocketAddrV4)>,
}

/// The whole internet of a lab.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underlay {
    /// Every member's place.
    pub homes: BTreeMap<Member, Home>,
    /// The places of foreign routers, in the order of the network.
    pub neighbours: Vec<Home>,
    /// All NATs.
    pub nats: Vec<NatPlan>,
    /// What DNS names of endpoints mean.
    pub names: BTreeMap<String, IpAddr>,
}

/// Why a network has no underlay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnderlayError {
    /// More members than made-up addresses.
    #[error("the lab has addresses for {MADE_UP_MAX} members behind NAT, this network has more")]
    TooMany,
    /// More networks than numbers for them.
    #[error("the lab has numbers for 65535 private networks, this network needs more")]
    TooManyNetworks,
}

/// Hands out what is made up.
struct MakeUp {
    used: BTreeSet<IpAddr>,
    outside: u32,
    inside: u32,
    outside_v6: u128,
    networks: u16,
}

impl Underlay {
    /// Lays a network's underlay out.
    ///
    /// # Errors
    /// If the made-up ranges are too small.
    pub fn new(network: &Network, nat: NatChoice) -> Result<Underlay, UnderlayError> {
        let named: BTreeSet<&Name> = network.nodes.iter().flat_map(|node| &node.underlays).collect();
        let numbers: BTreeMap<&Name, u16> = named.into_iter().zip(1..).collect();
        let shared = || network.entry.iter().flat_map(|entry| &entry.endpoints);
        let foreign = || network.neighbours.iter().filter_map(|neighbour| neighbour.endpoint.as_ref());
        let dialled = || network.nodes.iter().flat_map(|node| &node.endpoints).chain(shared()).chain(foreign());
        let mut make_up = MakeUp {
            used: dialled().filter_map(ip).collect(),
            outside: 0,
            inside: 0,
            outside_v6: 0,
            networks: numbers.len() as u16,
        };
        let mut underlay = Underlay::default();
        for endpoint in dialled() {
            if let Host::Dns(name) = &endpoint.host
                && !underlay.names.contains_key(name)
            {
                underlay.names.insert(name.clone(), IpAddr::V4(make_up.outside()?));
            }
        }
        let shared = underlay.shared(network);
        for ix in network.node_numbers() {
            let mut home = Home::default();
            for endpoint in &network.node(ix).endpoints {
                let number = endpoint.underlay.as_ref().map_or(0, |name| numbers[name]);
                let Some(address) = underlay.resolve(endpoint) else { continue };
                match address {
                    IpAddr::V4(outside) if number == 0 && shared.contains(&outside) => {
                        let ports = (endpoint.port, network.node(ix).port);
                        let behind = underlay.forward(outside, ports, &mut home, &mut make_up)?;
                        if let Some((at, inside)) = behind {
                            let foreign = network.neighbours_of(ix).map(|neighbour| neighbour.port);
                            underlay.forward_more(at, inside, foreign);
                        }
                    }
                    _ if home.addresses.contains(&(address, number)) => {}
                    _ => home.addresses.push((address, number)),
                }
            }
            // On a private network without being dialled there: it still dials others from an address in it.
            for number in network.node(ix).underlays.iter().map(|name| numbers[name]) {
                if !home.addresses.iter().any(|(_, other)| *other == number) {
                    home.addresses.push((IpAddr::V4(make_up.inside()?), number));
                }
            }
            underlay.homes.insert(Member::Node(ix), home);
        }
        for at in 0..network.clients.len() as u32 {
            underlay.homes.insert(Member::Client(at), Home::default());
        }
        for neighbour in &network.neighbours {
            let mut home = Home::default();
            let dialled = neighbour.endpoint.as_ref().and_then(|at| Some((underlay.resolve(at)?, at.port)));
            match dialled {
                Some((IpAddr::V4(outside), port)) if shared.contains(&outside) => {
                    underlay.forward(outside, (port, port), &mut home, &mut make_up)?;
                }
                Some((address, _)) => home.addresses.push((address, 0)),
                None => {}
            }
            underlay.neighbours.push(home);
        }
        underlay.complete(nat, &mut make_up)?;
        Ok(underlay)
    }

    /// The address of an endpoint.
    pub fn resolve(&self, endpoint: &Endpoint) -> Option<IpAddr> {
        match &endpoint.host {
            Host::Ip(ip) => Some(*ip),
            Host::Dns(name) => self.names.get(name).copied(),
        }
    }

    /// The addresses from which a member speaks to the internet: public ones, or the one behind its NAT.
    pub fn sources(&self, home: &Home) -> Vec<IpAddr> {
        let inside = home.nat.map(|at| self.nats[at].inside);
        let of = |is_v4: bool| {
            let mut own = home.addresses.iter().filter(|(address, _)| address.is_ipv4() == is_v4);
            let public = own.clone().find(|(_, number)| *number == 0);
            public.or_else(|| own.find(|(_, number)| Some(*number) == inside)).map(|(address, _)| *address)
        };
        [of(true), of(false)].into_iter().flatten().collect()
    }

    /// Public addresses that belong to a NAT: several nodes or foreign routers behind them, or a port that is not the node's own.
    fn shared(&self, network: &Network) -> BTreeSet<Ipv4Addr> {
        let mut owner: BTreeMap<Ipv4Addr, Option<NodeIx>> = BTreeMap::new();
        let mut shared = BTreeSet::new();
        for ix in network.node_numbers() {
            for endpoint in network.node(ix).endpoints.iter().filter(|endpoint| endpoint.underlay.is_none()) {
                let Some(IpAddr::V4(address)) = self.resolve(endpoint) else { continue };
                if *owner.entry(address).or_insert(Some(ix)) != Some(ix) || endpoint.port != network.node(ix).port {
                    shared.insert(address);
                }
            }
        }
        for endpoint in network.neighbours.iter().filter_map(|neighbour| neighbour.endpoint.as_ref()) {
            let Some(IpAddr::V4(address)) = self.resolve(endpoint) else { continue };
            if owner.insert(address, None).is_some() {
                shared.insert(address);
            }
        }
        shared
    }

    /// Puts a host behind the NAT with a public address, with a port forwarded to it: outside, and its own. Returns the NAT and its
    /// address there.
    fn forward(
        &mut self,
        outside: Ipv4Addr,
        (port, own_port): (u16, u16),
        home: &mut Home,
        make_up: &mut MakeUp,
    ) -> Result<Option<(usize, Ipv4Addr)>, UnderlayError> {
        let at = match self.nats.iter().position(|nat| nat.outside == outside) {
            Some(at) => at,
            None => {
                self.nats.push(NatPlan { outside, inside: make_up.network()?, forwards: Vec::new() });
                self.nats.len() - 1
            }
        };
        if home.nat.is_some_and(|other| other != at) {
            return Ok(None);
        }
        let nat = &mut self.nats[at];
        let known = home.addresses.iter().find_map(|(address, number)| match address {
            IpAddr::V4(v4) if *number == nat.inside => Some(*v4),
            _ => None,
        });
        let inside = match known {
            Some(inside) => inside,
            None => make_up.inside()?,
        };
        if known.is_none() {
            home.addresses.push((IpAddr::V4(inside), nat.inside));
        }
        home.nat = Some(at);
        nat.forwards.push((port, SocketAddrV4::new(inside, own_port)));
        Ok(Some((at, inside)))
    }

    /// Ports that are the same outside.
    fn forward_more(&mut self, nat: usize, inside: Ipv4Addr, ports: impl Iterator<Item = u16>) {
        let forwards = &mut self.nats[nat].forwards;
        for port in ports {
            if !forwards.iter().any(|(outside, _)| *outside == port) {
                forwards.push((port, SocketAddrV4::new(inside, port)));
            }
        }
    }

    /// Gives members what they still lack: a way out over IPv4, and over IPv6 where anybody is dialled over it.
    fn complete(&mut self, nat: NatChoice, make_up: &mut MakeUp) -> Result<(), UnderlayError> {
        let is_public_v6 = |(address, number): &(IpAddr, u16)| *number == 0 && address.is_ipv6();
        let all = self.homes.values().chain(&self.neighbours);
        let any_v6 = all.flat_map(|home| &home.addresses).any(is_public_v6);
        for home in self.homes.values_mut().chain(&mut self.neighbours) {
            let has_v4 = home.addresses.iter().any(|(address, number)| *number == 0 && address.is_ipv4());
            if !has_v4 && home.nat.is_none() {
                match nat {
                    NatChoice::Open => home.addresses.push((IpAddr::V4(make_up.outside()?), 0)),
                    NatChoice::Nat => {
                        let inside = make_up.network()?;
                        let plan = NatPlan { outside: make_up.outside()?, inside, forwards: Vec::new() };
                        home.addresses.push((IpAddr::V4(make_up.inside()?), inside));
                        home.nat = Some(self.nats.len());
                        self.nats.push(plan);
                    }
                }
            }
            if any_v6 && !home.addresses.iter().any(is_public_v6) {
                home.addresses.push((IpAddr::V6(make_up.outside_v6()), 0));
            }
        }
        Ok(())
    }
}

impl MakeUp {
    fn outside(&mut self) -> Result<Ipv4Addr, UnderlayError> {
        Self::next(&self.used, &mut self.outside, OUTSIDE_FIRST)
    }

    fn inside(&mut self) -> Result<Ipv4Addr, UnderlayError> {
        Self::next(&self.used, &mut self.inside, INSIDE_FIRST)
    }

    fn next(used: &BTreeSet<IpAddr>, counter: &mut u32, first: u32) -> Result<Ipv4Addr, UnderlayError> {
        while *counter < MADE_UP_MAX {
            let address = Ipv4Addr::from(first + *counter);
            *counter += 1;
            if !used.contains(&IpAddr::V4(address)) {
                return Ok(address);
            }
        }
        Err(UnderlayError::TooMany)
    }

    fn outside_v6(&mut self) -> Ipv6Addr {
        self.outside_v6 += 1;
        Ipv6Addr::from(OUTSIDE_V6 + self.outside_v6)
    }

    fn network(&mut self) -> Result<u16, UnderlayError> {
        self.networks = self.networks.checked_add(1).ok_or(UnderlayError::TooManyNetworks)?;
        Ok(self.networks)
    }
}

fn ip(endpoint: &Endpoint) -> Option<IpAddr> {
    match &endpoint.host {
        Host::Ip(ip) => Some(*ip),
        Host::Dns(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wayleave_core::file::load_with;
    use wayleave_core::network::resolve::resolve;

    fn underlay(nodes: &str, nat: NatChoice) -> Underlay {
        let text = format!("[network]\nname = \"t\"\nprefixes = [\"10.0.0.0/24\"]\n{nodes}");
        let loaded = load_with("t.toml", |_| Ok(text.clone().into_bytes()));
        let network = resolve(&loaded.file).network.unwrap_or_else(|| panic!("{:?}", loaded.findings.sorted()));
        Underlay::new(&network, nat).unwrap()
    }

    fn home(underlay: &Underlay, node: u32) -> (Vec<String>, Option<usize>) {
        let home = &underlay.homes[&Member::Node(NodeIx(node))];
        (home.addresses.iter().map(|(address, network)| format!("{address}@{network}")).collect(), home.nat)
    }

    #[test]
    fn who_is_on_a_private_network_without_being_dialled_there_has_an_address_in_it() {
        let nodes = "[nodes.a]\nhub = true\nendpoints = { public = \"192.0.2.1\", aws = \"10.9.0.1\" }
            [nodes.b]\nendpoints = { aws = \"10.9.0.2\" }\n[nodes.c]\nunderlays = [\"aws\"]";
        let made = underlay(nodes, NatChoice::Nat);
        assert_eq!(home(&made, 0), (vec!["192.0.2.1@0".into(), "10.9.0.1@1".into()], None));
        assert_eq!(home(&made, 1), (vec!["10.9.0.2@1".into(), "198.19.0.2@2".into()], Some(0)));
        assert_eq!(home(&made, 2), (vec!["198.19.0.1@1".into(), "198.19.0.3@3".into()], Some(1)));
        let third = &made.homes[&Member::Node(NodeIx(2))];
        assert_eq!(made.sources(third), ["198.19.0.3".parse::<IpAddr>().unwrap()], "the internet is behind the NAT");
    }

    #[test]
    fn a_foreign_router_is_where_it_is_dialled_and_one_that_dials_is_behind_a_nat() {
        let key = "public_key = \"P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=\"";
        let neighbour =
            |name: &str, more: &str| format!("[neighbours.{name}]\nnode = \"a\"\nasn = 64513\n{key}\n{more}\n");
        let tunnel = |at: u8| format!("own_addresses = [\"10.9.{at}.1/30\"]\naddresses = [\"10.9.{at}.2\"]");
        let nodes = format!(
            "[nodes.a]\nendpoint = \"192.0.2.1\"\n[bgp]\nasn = 64512\nown = [\"10.0.0.0/24\"]\n{}{}{}{}",
            neighbour("dialled", &format!("endpoint = \"r.example:7\"\nport = 1\n{}", tunnel(1))),
            neighbour("dials", &format!("port = 2\n{}", tunnel(2))),
            neighbour("one", &format!("endpoint = \"192.0.2.9:8\"\nport = 3\n{}", tunnel(3))),
            neighbour("other", &format!("endpoint = \"192.0.2.9:9\"\nport = 4\n{}", tunnel(4))),
        );
        let made = underlay(&nodes, NatChoice::Nat);
        let place = |at: usize| made.neighbours[at].addresses[0].0;
        assert_eq!((place(0), made.neighbours[0].nat), (made.names["r.example"], None));
        let [one, other] = [2, 3].map(|at| made.neighbours[at].nat.unwrap());
        assert!(made.neighbours[1].nat.is_some_and(|dials| dials != one) && one == other);
        let forwards: Vec<u16> = made.nats[one].forwards.iter().map(|(port, to)| *port + to.port()).collect();
        assert_eq!((forwards, made.nats[one].outside), (vec![16, 18], Ipv4Addr::new(192, 0, 2, 9)));
    }

    #[test]
    fn a_shared_address_or_another_port_means_a_nat_with_forwards() {
        let nodes = "[nodes.a]\nendpoint = \"192.0.2.1:1001\"\n[nodes.b]\nendpoint = \"192.0.2.1:1002\"\n[nodes.c]\nendpoint = \"vpn.example:51820\"";
        let made = underlay(nodes, NatChoice::Nat);
        assert_eq!(made.nats.len(), 1);
        let ports: Vec<u16> = made.nats[0].forwards.iter().map(|(port, _)| *port).collect();
        assert_eq!((ports, made.nats[0].outside), (vec![1001, 1002], Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(home(&made, 2), (vec!["198.18.0.1@0".into()], None), "a name gets an address");
        assert_eq!(made.names["vpn.example"], IpAddr::from([198, 18, 0, 1]));
    }
}
