//! Rules over what a host carries: networks behind it, sizes of packets, the way back.
//!
//! What is behind a host is what others are allowed to send it and none of its own peers or addresses explains.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{DeviceAt, View};
use crate::check::{Finding, Findings, Hazard, Span};
use crate::host::OVERHEAD;
use crate::import::hosts::{Device, Effect, Host};
use crate::import::labels::device_label;
use crate::limits::MTU_DEFAULT;
use crate::network::Host as Dialled;

/// What the internet carries, unless something else is known.
const UNDERLAY_MTU: u16 = 1500;
/// Parts of DNS names by which clouds call their instances.
const CLOUDS: &[&str] = &[".amazonaws.com", ".cloudapp.azure.com", ".googleusercontent.com"];

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for (at, host, device) in view.devices() {
        mtu(host, device, findings);
        nested(host, device, findings);
        local_networks(host, device, findings);
        private_endpoint(host, device, findings);
        let lans = behind(view, at);
        if !lans.is_empty() {
            site(view, at, &lans, findings);
        }
    }
    sites_overlap(view, findings);
}

/// Networks behind a device's host, with the places where others say so.
pub(super) fn behind(view: &View<'_>, at: DeviceAt) -> Vec<(IpNet, Span)> {
    let device = view.device(at);
    let relays = |prefix: &IpNet| {
        let peers = device.peers.iter().flat_map(|peer| &peer.allowed).map(|allowed| allowed.value.trunc());
        peers
            .filter(|allowed| allowed.prefix_len() > 0)
            .any(|allowed| allowed.contains(prefix) || prefix.contains(&allowed))
    };
    let own = |prefix: &IpNet| {
        device
            .addresses
            .iter()
            .any(|address| prefix.contains(&address.value.addr()) || address.value.trunc().contains(prefix))
    };
    let mut lans: Vec<(IpNet, Span)> = Vec::new();
    for (prefix, place) in view.sent_to(at) {
        let single = prefix.prefix_len() == prefix.max_prefix_len();
        if single || prefix.prefix_len() < 8 || own(&prefix) || relays(&prefix) {
            continue;
        }
        if !lans.iter().any(|(known, _)| *known == prefix) {
            lans.push((prefix, place));
        }
    }
    lans
}

fn overhead(peer_host: &Dialled) -> (u16, &'static str) {
    match peer_host {
        Dialled::Ip(IpAddr::V6(_)) => (OVERHEAD[1], "IPv6"),
        _ => (OVERHEAD[0], "IPv4"),
    }
}

fn mtu(host: &Host, device: &Device, findings: &mut Findings) {
    let Some(mtu) = &device.mtu else { return };
    let others = host.facts.mtus.iter().filter(|(name, _)| {
        let name = name.as_str();
        !host.devices.iter().any(|device| device.name == name)
            && ["eth", "en", "ppp", "pppoe", "wl", "usb", "ww"].iter().any(|start| name.starts_with(start))
    });
    let smallest = others.min_by_key(|(_, mtu)| mtu.value);
    let (underlay, carrier, place) = match smallest {
        Some((name, mtu)) => (mtu.value, name.clone(), Some(mtu.span)),
        None => (UNDERLAY_MTU, "the internet".to_owned(), None),
    };
    let dialled = device.peers.iter().filter_map(|peer| peer.endpoint.as_ref()?.value.host.as_ref());
    let Some((overhead, family)) = dialled.map(overhead).max() else { return };
    let max = underlay.saturating_sub(overhead);
    if mtu.value <= max {
        return;
    }
    let owner = device_label(host, device);
    let kind = Hazard::MtuTooLarge { owner, mtu: mtu.value, max, underlay, carrier, overhead, family };
    let mut finding =
        Finding::new(kind, mtu.span).with_fix(format!("Write MTU = {}.", underlay.saturating_sub(OVERHEAD[1])));
    finding.related.extend(place.map(|place| (place, "the underlay".to_owned())));
    findings.push(finding);
}

/// A device whose peer is dialled through another device of the host.
fn nested(host: &Host, inner: &Device, findings: &mut Findings) {
    for outer in host.devices.iter().filter(|outer| outer.name != inner.name) {
        let carries = |address: &IpAddr| {
            let allowed = outer.peers.iter().flat_map(|peer| &peer.allowed);
            allowed.filter(|prefix| prefix.value.prefix_len() > 0).any(|prefix| prefix.value.contains(address))
        };
        let dialled = inner.peers.iter().filter_map(|peer| peer.endpoint.as_ref());
        let mut through = dialled.filter_map(|endpoint| match endpoint.value.host {
            Some(Dialled::Ip(address)) => Some((endpoint.span, address)),
            _ => None,
        });
        let Some((place, address)) = through.find(|(_, address)| carries(address)) else { continue };
        let mtu = |device: &Device| device.mtu.as_ref().map_or(MTU_DEFAULT, |mtu| mtu.value);
        let max = mtu(outer).saturating_sub(overhead(&Dialled::Ip(address)).0);
        if mtu(inner) <= max {
            continue;
        }
        let kind = Hazard::NestedTunnel {
            inner: inner.name.clone(),
            outer: outer.name.clone(),
            host: host.name.clone(),
            mtu: mtu(inner),
            max,
        };
        let place = inner.mtu.as_ref().map_or(place, |mtu| mtu.span);
        findings.push(Finding::new(kind, place).with_related(outer.place, "the outer device").with_fix(format!(
            "Set the MTU of {} to {}.",
            inner.name,
            mtu(outer).saturating_sub(OVERHEAD[1])
        )));
    }
}

/// Prefixes of the tunnel that overlap a network the host is on by another interface.
fn local_networks(host: &Host, device: &Device, findings: &mut Findings) {
    let allowed = device.peers.iter().flat_map(|peer| &peer.allowed).map(|prefix| (prefix.value.trunc(), prefix.span));
    let own = device.addresses.iter().map(|address| (address.value.trunc(), address.span));
    let tunnel: Vec<(IpNet, Span)> = own.chain(allowed).filter(|(prefix, _)| prefix.prefix_len() >= 8).collect();
    for network in &host.facts.networks {
        if host.devices.iter().any(|device| device.name == network.interface) || network.interface.starts_with("wg") {
            continue;
        }
        let hit = tunnel.iter().find(|(prefix, _)| prefix.contains(&network.prefix) || network.prefix.contains(prefix));
        let Some((prefix, place)) = hit else { continue };
        let kind = Hazard::LocalNetworkRouted {
            prefix: *prefix,
            owner: device_label(host, device),
            network: network.prefix,
            interface: network.interface.clone(),
            host: host.name.clone(),
        };
        findings.push(
            Finding::new(kind, *place)
                .with_related(network.place, "its own network")
                .with_fix("Renumber one of the two."),
        );
    }
}

/// A private endpoint that none of the host's own networks holds. Where those are not known, nothing is said.
fn private_endpoint(host: &Host, device: &Device, findings: &mut Findings) {
    if host.facts.networks.is_empty() {
        return;
    }
    for peer in &device.peers {
        let Some(endpoint) = peer.endpoint.as_ref().filter(|_| !peer.endpoint_is_learnt) else { continue };
        let Some(Dialled::Ip(IpAddr::V4(address))) = endpoint.value.host else { continue };
        let near = host.facts.networks.iter().any(|network| network.prefix.contains(&IpAddr::V4(address)));
        if !address.is_private() || near {
            continue;
        }
        let (owner, what) = (crate::import::labels::peer_label(peer), "a private address");
        let kind = Hazard::NotDialable { owner, endpoint: endpoint.value.to_string(), what };
        findings.push(
            Finding::new(kind, endpoint.span)
                .with_fix("Give its public address and forward the port there, or let that side dial."),
        );
    }
}

/// What a host in front of networks needs: a way back, adapted segments, a cloud that lets it.
fn site(view: &View<'_>, at: DeviceAt, lans: &[(IpNet, Span)], findings: &mut Findings) {
    let (host, device) = (&view.hosts[at.0], view.device(at));
    let list: Vec<String> = lans.iter().map(|(prefix, _)| prefix.to_string()).collect();
    let list = list.join(", ");
    let masquerades =
        host.facts.masquerades || device.effects_up().any(|e| matches!(e, Effect::Masquerade { removed: false, .. }));
    if !masquerades {
        let from: Vec<String> = device.addresses.iter().map(|address| address.value.trunc().to_string()).collect();
        let kind = Hazard::NoReturnRoute { site: list.clone(), from: from.join(", "), gateway: host.name.clone() };
        let fix = format!("On the router of {list}: route {} to the LAN address of {}.", from.join(", "), host.name);
        findings.push(Finding::new(kind, device.place).with_related(lans[0].1, "sent here").with_fix(fix));
    }
    let clamps = device.effects_up().any(|effect| matches!(effect, Effect::ClampMss { removed: false }));
    if !host.facts.clamps_mss && !clamps {
        let mtu = device.mtu.as_ref().map_or(MTU_DEFAULT, |mtu| mtu.value);
        let kind = Hazard::NoMssClamp { host: host.name.clone(), lan: list.clone(), mtu };
        findings
            .push(Finding::new(kind, device.place).with_fix(
                "iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
            ));
    }
    let cloud = view.dialled_at(at).find_map(|(dialled, place)| match dialled {
        Dialled::Dns(name) if CLOUDS.iter().any(|cloud| name.ends_with(cloud)) => Some(place),
        _ => None,
    });
    if let Some(place) = cloud.filter(|_| !masquerades) {
        let kind = Hazard::SourceCheck { node: host.name.clone(), site: list };
        let fix = "Switch the source/destination check off (Google Cloud: canIpForward, Azure: IP forwarding).";
        findings.push(Finding::new(kind, place).with_fix(fix));
    }
}

fn sites_overlap(view: &View<'_>, findings: &mut Findings) {
    let mut all: Vec<(IpNet, usize, Span)> = Vec::new();
    for (at, host, _) in view.devices() {
        all.extend(behind(view, at).into_iter().map(|(prefix, place)| (prefix, at.0, place)));
        let bridges = ["docker", "br-", "virbr", "Docker", "lo", "wg"];
        let lans = host
            .facts
            .networks
            .iter()
            .filter(|network| !bridges.iter().any(|start| network.interface.starts_with(start)));
        let lans = lans.filter(|network| network.prefix.prefix_len() < network.prefix.max_prefix_len());
        all.extend(lans.map(|network| (network.prefix, at.0, network.place)));
    }
    all.sort_by_key(|(prefix, host, place)| (prefix.network(), prefix.prefix_len(), *host, *place));
    let mut outer: Option<(IpNet, usize, Span)> = None;
    for one in all {
        match outer {
            Some((wider, host, place)) if wider.contains(&one.0) => {
                // One office may have several hosts in its LAN; what others send to each of them is another matter.
                if host != one.1 && view.hosts[host].facts.networks.iter().all(|n| n.prefix != one.0) {
                    let (a, b) = (view.hosts[one.1].name.clone(), view.hosts[host].name.clone());
                    let kind = Hazard::SitesOverlap { a, a_prefix: one.0, b, b_prefix: wider };
                    findings.push(
                        Finding::new(kind, one.2)
                            .with_related(place, "the other")
                            .with_fix("Renumber one of them, or map it to other addresses at its gateway."),
                    );
                }
            }
            _ => outer = Some(one),
        }
    }
}
