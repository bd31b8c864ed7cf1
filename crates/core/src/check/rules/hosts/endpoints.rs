//! Rules over one host's ports and endpoints: clashes, addresses that can't be dialled, names behind the tunnel.
//!
//! Endpoints that a dump shows may have been learnt from packets, and are not judged: nobody wrote them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::View;
use crate::check::{Finding, Findings, Hazard, Meaning};
use crate::import::hosts::{Device, Host};
use crate::import::labels::{device_label, peer_label};
use crate::network::Host as Dialled;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for host in view.hosts {
        port_clash(host, findings);
        for device in &host.devices {
            carriers_endpoint(device, findings);
            endpoint_twice(device, findings);
            resolver_in_tunnel(host, device, findings);
        }
    }
}

fn port_clash(host: &Host, findings: &mut Findings) {
    let mut users = BTreeMap::new();
    for device in &host.devices {
        let Some(port) = &device.port else { continue };
        let Some((first, place)) = users.insert(port.value, (device.name.clone(), port.span)) else { continue };
        if first == device.name {
            continue;
        }
        let kind = Hazard::PortClash { host: host.name.clone(), first, second: device.name.clone(), port: port.value };
        findings.push(
            Finding::new(kind, port.span)
                .with_related(place, "also used here")
                .with_fix("Give each device a port of its own."),
        );
    }
}

/// What an address is, if it can't be dialled from the internet.
pub(in crate::check::rules) fn not_dialable(address: IpAddr) -> Option<&'static str> {
    let IpAddr::V4(v4) = address else {
        return IpNet::from(address).addr().to_string().starts_with("fd").then_some("a private address");
    };
    let shared = Ipv4Net::new_assert([100, 64, 0, 0].into(), 10);
    if shared.contains(&v4) {
        return Some("an address of a carrier's NAT");
    }
    v4.is_private().then_some("a private address")
}

/// Private endpoints may be right between hosts of one network; those of carriers' NAT never are.
fn carriers_endpoint(device: &Device, findings: &mut Findings) {
    for peer in &device.peers {
        let Some(endpoint) = peer.endpoint.as_ref().filter(|_| !peer.endpoint_is_learnt) else { continue };
        let Some(Dialled::Ip(address)) = endpoint.value.host else { continue };
        let Some(what) = not_dialable(address).filter(|_| !matches!(address, IpAddr::V4(v4) if v4.is_private())) else {
            continue;
        };
        if address.is_ipv6() {
            continue;
        }
        let kind = Hazard::NotDialable { owner: peer_label(peer), endpoint: endpoint.value.to_string(), what };
        findings.push(Finding::new(kind, endpoint.span).with_fix("Let that side dial, or go through a hub."));
    }
}

fn endpoint_twice(device: &Device, findings: &mut Findings) {
    let mut users = BTreeMap::new();
    for peer in &device.peers {
        let Some(endpoint) = peer.endpoint.as_ref().filter(|_| !peer.endpoint_is_learnt) else { continue };
        let written = endpoint.value.to_string();
        let Some((first, place)) = users.insert(written.clone(), (peer_label(peer), endpoint.span)) else { continue };
        let kind = Meaning::EndpointReused { first, second: peer_label(peer), endpoint: written };
        findings.push(
            Finding::new(kind, endpoint.span)
                .with_related(place, "also used here")
                .with_fix("Give each peer a port of its own behind a shared address."),
        );
    }
}

fn resolver_in_tunnel(host: &Host, device: &Device, findings: &mut Findings) {
    let mut named = device.peers.iter().filter_map(|peer| peer.endpoint.as_ref());
    let Some(endpoint) = named.find(|e| matches!(e.value.host, Some(Dialled::Dns(_)))) else { return };
    let inside = |address: &IpAddr| {
        device.peers.iter().flat_map(|peer| &peer.allowed).any(|prefix| prefix.value.contains(address))
    };
    let mut resolvers = device.dns.iter().filter_map(|dns| Some((dns.value.parse().ok()?, dns.span)));
    let Some((resolver, place)) = resolvers.find(|(resolver, _): &(IpAddr, _)| inside(resolver)) else {
        return;
    };
    let device = device_label(host, device);
    let kind = Hazard::ResolverInTunnel { device, endpoint: endpoint.value.to_string(), resolver };
    findings.push(
        Finding::new(kind, endpoint.span)
            .with_related(place, "the resolver")
            .with_fix("Use an address, or resolve this one name outside the tunnel."),
    );
}
