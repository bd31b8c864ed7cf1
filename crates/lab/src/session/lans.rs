//! Sites: what is behind gateways, as a host of its own on a LAN of its own.
//!
//! A site's LAN is a namespace with a bridge; each gateway is joined to it by a veth pair. The host on the bridge has
//! the gateway as its default route, as hosts in an office do. A prefix of a single address needs no LAN: it is put on
//! the gateway's loopback device, as routers have it.

use std::net::IpAddr;
use std::os::fd::AsFd as _;

use ipnet::IpNet;
use wayleave_core::names::Name;
use wayleave_core::network::Party;
use wayleave_core::plan::{Member, host};

use super::members::About;
use super::{Lab, LabError};
use crate::host::{Namespace, Netlink, NetlinkError, Route};

const BRIDGE: &str = "lan0";
/// Addresses that a prefix must have at least for a LAN: gateways, a host, network and broadcast.
const LAN_ADDRESSES_MIN: u32 = 2;

/// A site's LAN.
pub struct Lan {
    /// The site's name with `-lan` behind it.
    pub name: String,
    /// Whose LAN it is: a site's or a client's.
    pub party: Party,
    /// Its gateways, the active one first.
    pub gateways: Vec<Member>,
    /// Addresses of the host on it, one per prefix.
    pub addresses: Vec<IpAddr>,
    /// The host's namespace.
    pub namespace: Namespace,
}

/// Builds all LANs: those of sites, and those behind clients.
pub(super) fn build(lab: &Lab) -> Result<Vec<Lan>, LabError> {
    let mut lans = Vec::new();
    for (at, site) in lab.plan.network.sites.iter().enumerate() {
        let gateways: Vec<Member> = site.gateways.iter().copied().map(Member::Node).collect();
        lans.extend(lan(lab, &site.name, &site.prefixes, (Party::Site(at as u32), gateways))?);
    }
    for (at, client) in lab.plan.network.clients.iter().enumerate() {
        lans.extend(lan(
            lab,
            &client.name,
            &client.prefixes,
            (Party::Client(at as u32), vec![Member::Client(at as u32)]),
        )?);
    }
    Ok(lans)
}

fn lan(
    lab: &Lab,
    name: &Name,
    prefixes: &[IpNet],
    (party, gateways): (Party, Vec<Member>),
) -> Result<Option<Lan>, LabError> {
    let about = About(name);
    let is_lan = |prefix: &IpNet| u32::from(prefix.max_prefix_len() - prefix.prefix_len()) >= LAN_ADDRESSES_MIN;
    let (wide, single): (Vec<IpNet>, Vec<IpNet>) = prefixes.iter().copied().partition(is_lan);
    for gateway in &gateways {
        let Some(member) = lab.members.get(gateway) else { continue };
        let work = || -> Result<(), NetlinkError> {
            let mut netlink = Netlink::open()?;
            single.iter().try_for_each(|prefix| netlink.add_address("lo", host(prefix.addr())))
        };
        member.namespace.run(work).map_err(|error| about.namespace(error))?.map_err(|error| about.netlink(error))?;
    }
    if wide.is_empty() {
        return Ok(None);
    }
    let numbers = Numbers { gateways: gateways.len() };
    let namespace = Namespace::create().map_err(|error| about.namespace(error))?;
    let in_lan = |work: &(dyn Fn(&mut Netlink) -> Result<(), NetlinkError> + Sync)| {
        let run = || work(&mut Netlink::open()?);
        namespace.run(run).map_err(|error| about.namespace(error))?.map_err(|error| about.netlink(error))
    };
    in_lan(&|netlink| {
        netlink.add_bridge(BRIDGE)?;
        netlink.set_up(BRIDGE)
    })?;
    for (at, gateway) in gateways.iter().enumerate() {
        let Some(member) = lab.members.get(gateway) else { continue };
        let (own, far) = (format!("gw{at}"), format!("lan-{name}").chars().take(15).collect::<String>());
        let other = member.namespace.as_fd();
        in_lan(&|netlink| {
            netlink.add_veth(&own, &far, Some(other))?;
            netlink.enslave(&own, BRIDGE)?;
            netlink.set_up(&own)
        })?;
        let work = || -> Result<(), NetlinkError> {
            let mut netlink = Netlink::open()?;
            netlink.set_up(&far)?;
            wide.iter()
                .try_for_each(|prefix| netlink.add_address(&far, numbered(*prefix, numbers.gateway(lab, *prefix, at))))
        };
        member.namespace.run(work).map_err(|error| about.namespace(error))?.map_err(|error| about.netlink(error))?;
    }
    let own = |prefix: &IpNet| numbered(*prefix, numbers.host(lab, *prefix));
    in_lan(&|netlink| {
        for prefix in &wide {
            netlink.add_address(BRIDGE, own(prefix))?;
            let everything = if prefix.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            let everything: IpNet = everything.parse().expect("both are prefixes");
            let gateway = Some(numbered(*prefix, numbers.gateway(lab, *prefix, 0)).addr());
            netlink.replace_route(&Route { gateway, ..Route::new(everything, BRIDGE) })?;
        }
        Ok(())
    })?;
    let addresses = wide.iter().map(|prefix| own(prefix).addr()).collect();
    Ok(Some(Lan { name: format!("{name}-lan"), party, gateways, addresses, namespace }))
}

/// Addresses on a LAN, by number. What the underlay uses is left out: a VPC's prefix holds its nodes' own addresses.
struct Numbers {
    gateways: usize,
}

impl Numbers {
    /// Gateways are .1, .2 and so on.
    fn gateway(&self, lab: &Lab, prefix: IpNet, at: usize) -> u128 {
        Self::free(lab, prefix, 1).nth(at).unwrap_or(1)
    }

    /// The host is .10 or after it where that fits, or else follows the gateways.
    fn host(&self, lab: &Lab, prefix: IpNet) -> u128 {
        let follows = Self::free(lab, prefix, 1).nth(self.gateways).unwrap_or(2);
        let bits = prefix.max_prefix_len() - prefix.prefix_len();
        if bits >= 5 && follows < 10 { Self::free(lab, prefix, 10).next().unwrap_or(follows) } else { follows }
    }

    fn free(lab: &Lab, prefix: IpNet, first: u128) -> impl Iterator<Item = u128> {
        let used = |address: IpAddr| {
            lab.underlay.homes.values().flat_map(|home| &home.addresses).any(|(other, _)| *other == address)
        };
        (first..).filter(move |number| !used(numbered(prefix, *number).addr()))
    }
}

/// An address by its number in a prefix, with the prefix's length.
fn numbered(prefix: IpNet, number: u128) -> IpNet {
    let address = match prefix.network() {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add(number as u32).into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add(number).into()),
    };
    IpNet::new(address, prefix.prefix_len()).unwrap_or(prefix)
}
