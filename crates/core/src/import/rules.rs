//! Small rules over hosts as read: what is odd about them, one function each.
//!
//! They need no network: each looks at one device, or at the keys of all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::hosts::{Device, Effect, Host, Moment, Peer};
use crate::check::{Finding, Findings, Imported, Span};
use crate::keys::PublicKey;
use crate::network::Host as Dialled;

/// A device as people are told of it: `hkg (wg0)`.
pub(crate) fn device_label(host: &Host, device: &Device) -> String {
    if device.name.is_empty() || device.name == host.name {
        host.name.clone()
    } else {
        format!("{} ({})", host.name, device.name)
    }
}

/// A peer as people are told of it: by its name, or its key.
pub(crate) fn peer_label(peer: &Peer) -> String {
    match (&peer.name, peer.key()) {
        (Some(name), _) => name.value.clone(),
        (None, Some(key)) => key.to_string(),
        (None, None) => "a peer".to_owned(),
    }
}

/// Runs all rules.
pub(super) fn check(hosts: &[Host], findings: &mut Findings) {
    key_on_two_hosts(hosts, findings);
    for host in hosts {
        for device in &host.devices {
            let label = device_label(host, device);
            allowed_twice(device, &label, findings);
            keepalive_to_nowhere(device, &label, findings);
            endpoint_in_tunnel(device, findings);
            fixed_position(device, findings);
        }
    }
}

fn key_on_two_hosts(hosts: &[Host], findings: &mut Findings) {
    let mut owners: BTreeMap<PublicKey, (String, &Host, Span)> = BTreeMap::new();
    for host in hosts {
        for device in &host.devices {
            let Some(key) = &device.public_key else { continue };
            let label = device_label(host, device);
            match owners.get(&key.value) {
                // Devices of one host may share a key, and routers with a device per neighbour do.
                Some((_, other, _)) if std::ptr::eq(*other, host) => {}
                Some((first, _, place)) => {
                    let kind = Imported::KeyOnTwoHosts { first: first.clone(), second: label };
                    findings.push(
                        Finding::new(kind, key.span)
                            .with_related(*place, "also used here")
                            .with_fix("Make a key of its own for each; WireGuard tells peers apart by nothing else."),
                    );
                }
                None => {
                    owners.insert(key.value, (label, host, key.span));
                }
            }
        }
    }
}

fn allowed_twice(device: &Device, label: &str, findings: &mut Findings) {
    let mut owners: BTreeMap<IpNet, (usize, Span)> = BTreeMap::new();
    for (at, peer) in device.peers.iter().enumerate() {
        for prefix in &peer.allowed {
            let Some((earlier, place)) = owners.insert(prefix.value.trunc(), (at, prefix.span)) else { continue };
            if earlier == at {
                continue;
            }
            let kind = Imported::AllowedTwice {
                prefix: prefix.value.trunc(),
                first: peer_label(&device.peers[earlier]),
                second: peer_label(peer),
                device: label.to_owned(),
            };
            findings.push(
                Finding::new(kind, prefix.span)
                    .with_related(place, "lost here")
                    .with_fix("Leave it with the peer that it belongs to."),
            );
        }
    }
}

fn keepalive_to_nowhere(device: &Device, label: &str, findings: &mut Findings) {
    for peer in device.peers.iter().filter(|peer| peer.endpoint.is_none()) {
        let Some(keepalive) = &peer.keepalive_s else { continue };
        let kind = Imported::KeepaliveToNowhere { peer: peer_label(peer), device: label.to_owned() };
        findings
            .push(Finding::new(kind, keepalive.span).with_fix("Set it on the side that dials, which is behind NAT."));
    }
}

fn endpoint_in_tunnel(device: &Device, findings: &mut Findings) {
    // A mark or a table of its own keeps the tunnel's packets out; so does wg-quick for default routes.
    if device.fwmark.is_some() || device.table.is_some() {
        return;
    }
    let all = || device.peers.iter().flat_map(|peer| &peer.allowed).map(|prefix| (prefix.value.trunc(), prefix.span));
    let routed: BTreeMap<IpNet, Span> = all().filter(|(prefix, _)| prefix.prefix_len() > 0).collect();
    let lengths: BTreeSet<u8> = routed.keys().map(IpNet::prefix_len).collect();
    let holding = |address: IpAddr| {
        let prefixes = lengths.iter().filter_map(move |length| IpNet::new(address, *length).ok());
        prefixes.map(|prefix| prefix.trunc()).find_map(|prefix| routed.get_key_value(&prefix))
    };
    for peer in &device.peers {
        let Some(endpoint) = peer.endpoint.as_ref().filter(|_| !peer.endpoint_is_learnt) else { continue };
        let Some(Dialled::Ip(address)) = endpoint.value.host else { continue };
        let Some((prefix, place)) = holding(address) else { continue };
        let kind = Imported::EndpointInTunnel {
            peer: peer_label(peer),
            endpoint: endpoint.value.to_string(),
            prefix: *prefix,
        };
        findings.push(
            Finding::new(kind, endpoint.span)
                .with_related(*place, "routed into the tunnel here")
                .with_fix("Leave the endpoint's address out of AllowedIPs, or use Table and FwMark."),
        );
    }
}

fn fixed_position(device: &Device, findings: &mut Findings) {
    for hook in device.hooks.iter().filter(|hook| matches!(hook.moment, Moment::PreUp | Moment::PostUp)) {
        let position = hook.effects.iter().find_map(|effect| match effect {
            Effect::ForwardAccept { position: Some(position), removed: false, .. } if *position > 1 => Some(*position),
            _ => None,
        });
        let Some(position) = position else { continue };
        let kind = Imported::FixedPosition { position, chain: "FORWARD".into() };
        findings.push(
            Finding::new(kind, hook.command.span)
                .with_fix("Insert at the first position, or use an nftables table of your own."),
        );
    }
}
