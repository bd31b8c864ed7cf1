//! Mistakes on single hosts, each made twice: in the model that is proved, and on the host in its namespace.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use wayleave_core::plan::{Member, NodePlan, PeerPlan, Plan};
use wayleave_core::prove::{Hosts, Route, RouteTo};
use wayleave_lab::host::Netlink;
use wayleave_lab::session::Lab;

use crate::random::Dice;

/// One mistake. Peers are meant by the member at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// A prefix is missing from a peer.
    Missing(Member, Member, IpNet),
    /// A peer is allowed a prefix too many.
    TooMuch(Member, Member, IpNet),
    /// A peer is missing.
    Unknown(Member, Member),
    /// A host that must forward does not.
    NotForwarding(Member),
    /// A host has no route for a prefix that a peer is allowed: it believes what it can't answer.
    Unrouted(Member, IpNet),
    /// A host's device is down.
    DeviceDown(Member),
    /// Neither end of a link has the other's endpoint.
    Undialled(Member, Member),
}

fn number(plan: &Plan, member: Member) -> usize {
    plan.members().position(|other| other == member).unwrap()
}

fn pick<T: Clone>(list: &[T], dice: &mut Dice) -> Option<T> {
    (!list.is_empty()).then(|| list[dice.roll(list.len() as u64) as usize].clone())
}

impl Mistake {
    /// A mistake that can be made before anything has been dialled.
    pub fn undialled(plan: &Plan, dice: &mut Dice) -> Option<Mistake> {
        let links: Vec<(Member, Member)> = plan
            .members()
            .flat_map(|a| plan.peers(a).iter().map(move |peer| (a, peer.who)))
            .filter(|(a, b)| a < b)
            .collect();
        pick(&links, dice).map(|(a, b)| Mistake::Undialled(a, b))
    }

    /// A mistake that shows at once in a running network.
    pub fn live(plan: &Plan, dice: &mut Dice) -> Option<Mistake> {
        let members: Vec<Member> = plan.members().collect();
        let member = pick(&members, dice)?;
        let peer = pick(plan.peers(member), dice)?;
        let prefixes: BTreeSet<IpNet> = members
            .iter()
            .flat_map(|of| plan.peers(*of).iter().flat_map(|peer| peer.allowed.to_vec()))
            .chain(members.iter().flat_map(|of| plan.overlay_addresses(*of).iter().copied().map(IpNet::from)))
            .collect();
        let prefixes: Vec<IpNet> = prefixes.into_iter().collect();
        Some(match dice.roll(13) {
            0..3 => Mistake::Missing(member, peer.who, pick(&peer.allowed, dice)?),
            3..6 => Mistake::TooMuch(member, peer.who, pick(&prefixes, dice)?),
            6 | 7 => Mistake::Unknown(member, peer.who),
            10.. => Mistake::Unrouted(member, pick(&peer.allowed, dice)?),
            8 => {
                let relays: Vec<Member> = members.into_iter().filter(|of| plan.of(*of).forwards).collect();
                Mistake::NotForwarding(pick(&relays, dice)?)
            }
            _ => Mistake::DeviceDown(member),
        })
    }

    /// Makes it in the model.
    fn in_model(&self, plan: &Plan, hosts: &mut Hosts) {
        let at = |member: &Member| number(plan, *member);
        let mut change = |host: &Member, peer: &Member, change: &dyn Fn(&mut wayleave_core::prove::Peer)| {
            let to = Some((at(peer) as u32, 0));
            let peers = hosts.hosts[at(host)].devices[0].peers.iter_mut();
            peers.filter(|peer| peer.to == to).for_each(change);
        };
        match self {
            Mistake::Missing(host, peer, prefix) => change(host, peer, &|peer| {
                peer.allowed = peer.allowed.iter().copied().filter(|other| other != prefix).collect::<Vec<_>>().into();
            }),
            Mistake::TooMuch(host, peer, prefix) => change(host, peer, &|peer| {
                peer.allowed = Arc::from([&peer.allowed[..], &[*prefix]].concat());
            }),
            Mistake::Unknown(host, peer) => {
                let to = Some((at(peer) as u32, 0));
                hosts.hosts[at(host)].devices[0].peers.retain(|peer| peer.to != to);
            }
            Mistake::Unrouted(host, prefix) => {
                let host = &mut hosts.hosts[at(host)];
                let device = &mut host.devices[0];
                let Some(table) = device.routed_in.take() else {
                    return host.routes.retain(|route| route.prefix != *prefix || route.to == RouteTo::Lan);
                };
                let others = device.peers.iter().flat_map(|peer| peer.allowed.iter().copied());
                let others = others.filter(|other| other != prefix);
                let routes: Vec<Route> = others.map(|prefix| Route { table, prefix, to: RouteTo::Device(0) }).collect();
                host.routes.extend(routes);
            }
            Mistake::NotForwarding(host) => {
                let host = &mut hosts.hosts[at(host)];
                (host.forwards_v4, host.forwards_v6) = (false, false);
            }
            Mistake::DeviceDown(host) => {
                let host = &mut hosts.hosts[at(host)];
                host.addresses.clear();
                host.devices[0].peers.clear();
            }
            Mistake::Undialled(a, b) => {
                for (host, peer) in [(a, b), (b, a)] {
                    change(host, peer, &|peer| peer.dials = false);
                }
            }
        }
    }

    /// Makes it in what a host is told.
    fn on_host(&self, plan: &Plan, member: Member, part: &mut NodePlan) {
        let is = |host: &Member| *host == member;
        let mut change = |peer: &Member, change: &dyn Fn(&mut PeerPlan)| {
            let name = plan.name(*peer);
            part.peers.iter_mut().filter(|peer| peer.name == *name).for_each(change);
        };
        match self {
            Mistake::Missing(host, peer, prefix) if is(host) => {
                change(peer, &|peer| peer.allowed.retain(|other| other != prefix));
            }
            Mistake::TooMuch(host, peer, prefix) if is(host) => change(peer, &|peer| peer.allowed.push(*prefix)),
            Mistake::Unknown(host, peer) if is(host) => part.peers.retain(|other| other.name != *plan.name(*peer)),
            Mistake::Undialled(a, b) if is(a) => change(b, &|peer| peer.endpoints.clear()),
            Mistake::Undialled(a, b) if is(b) => change(a, &|peer| peer.endpoints.clear()),
            Mistake::NotForwarding(host) if is(host) => part.forwards = false,
            Mistake::Unrouted(host, prefix) if is(host) => part.routes.retain(|other| other != prefix),
            _ => {}
        }
    }

    /// Makes it on the host itself, where it is none of what the host is told.
    pub fn on_machine(&self, lab: &Lab) {
        if let Mistake::DeviceDown(host) = self {
            let device = lab.plan.of(*host).device.to_string();
            let namespace = &lab.host(*host).unwrap().namespace;
            namespace.run(|| Netlink::open().unwrap().set_down(&device)).unwrap().unwrap();
        }
    }
}

/// Makes all mistakes in the model; routes last, since they follow from what peers are allowed.
pub fn in_model(plan: &Plan, mistakes: &[Mistake], hosts: &mut Hosts) {
    let (routes, others): (Vec<&Mistake>, Vec<&Mistake>) =
        mistakes.iter().partition(|mistake| matches!(mistake, Mistake::Unrouted(..)));
    others.into_iter().chain(routes).for_each(|mistake| mistake.in_model(plan, hosts));
}

/// Makes all mistakes in what a host is told, in the same order.
pub fn on_host(plan: &Plan, mistakes: &[Mistake], member: Member, part: &mut NodePlan) {
    let (routes, others): (Vec<&Mistake>, Vec<&Mistake>) =
        mistakes.iter().partition(|mistake| matches!(mistake, Mistake::Unrouted(..)));
    others.into_iter().for_each(|mistake| mistake.on_host(plan, member, part));
    part.routes = part.peers.iter().flat_map(|peer| peer.allowed.clone()).collect();
    part.routes.sort();
    part.routes.dedup();
    routes.into_iter().for_each(|mistake| mistake.on_host(plan, member, part));
}

/// Pairs between which nothing passes, in the model: as if neither had ever heard of the other.
pub fn cut(plan: &Plan, hosts: &mut Hosts, pairs: &[(Member, Member)]) {
    for (a, b) in pairs {
        for (host, peer) in [(a, b), (b, a)] {
            let to = Some((number(plan, *peer) as u32, 0));
            let peers = hosts.hosts[number(plan, *host)].devices[0].peers.iter_mut();
            peers.filter(|peer| peer.to == to).for_each(|peer| peer.to = None);
        }
    }
}
