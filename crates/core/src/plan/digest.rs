//! A digest of a plan's content: equal plans have equal digests, whatever the order of the network file.
//!
//! It decides whether a plan is a new generation. Members are hashed once and then stand for themselves, so a
//! million peers cost some tens of megabytes of hashing rather than their whole text.

use std::net::IpAddr;

use blake2::{Blake2s256, Digest};
use ipnet::IpNet;

use super::{Member, Plan};
use crate::network::{Endpoint, Host};

/// Hexadecimal digest of everything that any host would be told.
pub(super) fn digest(plan: &Plan) -> String {
    let members: Vec<[u8; 16]> = plan.members().map(|member| member_hash(plan, member)).collect();
    let nodes = plan.network.nodes.len();
    let at = |member: Member| match member {
        Member::Node(ix) => ix.at(),
        Member::Client(at) => nodes + at as usize,
    };
    let mut all = Blake2s256::new();
    for member in plan.members() {
        all.update(members[at(member)]);
        let clamps_mss = match member {
            Member::Node(ix) => plan.network.node(ix).firewall.clamps_mss,
            Member::Client(at) => plan.network.clients[at as usize].clamps_mss,
        };
        if clamps_mss {
            put_text(&mut all, "clamps MSS");
        }
        if matches!(member, Member::Node(ix) if !plan.network.node(ix).installs_routes) {
            put_text(&mut all, "routes are a daemon's");
        }
        if let Member::Node(ix) = member
            && let Some(firewall) = plan.firewall(ix)
        {
            // Its debug form names every field with its value, so equal texts are equal firewalls.
            put_text(&mut all, &format!("{firewall:?}"));
        }
        if let Member::Node(ix) = member
            && let Some(bgp) = plan.bgp(ix)
        {
            put_text(&mut all, &format!("{bgp:?}"));
        }
        for peer in plan.peers(member) {
            all.update(members[at(peer.who)]);
            all.update(peer.keepalive_s.to_le_bytes());
            all.update((peer.allowed.len() as u32).to_le_bytes());
            peer.allowed.iter().for_each(|prefix| put_prefix(&mut all, *prefix));
        }
    }
    if let Some(entry) = &plan.network.entry {
        put_text(&mut all, entry.device.as_str());
        all.update([entry.port, entry.ready_port, entry.mtu].map(u16::to_le_bytes).concat());
        all.update(plan.keys.entry.map_or([0; 32], |key| *key.as_bytes()));
        entry.endpoints.iter().for_each(|endpoint| put_endpoint(&mut all, endpoint));
        plan.addresses.entry.iter().for_each(|address| put_address(&mut all, *address));
    }
    all.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn member_hash(plan: &Plan, member: Member) -> [u8; 16] {
    let mut hash = Blake2s256::new();
    put_text(&mut hash, plan.network.name.as_str());
    put_text(&mut hash, plan.name(member).as_str());
    hash.update(plan.public_key(member).map_or([0; 32], |key| *key.as_bytes()));
    plan.overlay_addresses(member).iter().chain(&plan.link_address(member)).for_each(|ip| put_address(&mut hash, *ip));
    match member {
        Member::Node(ix) => {
            let node = plan.network.node(ix);
            put_text(&mut hash, node.device.as_str());
            hash.update([u8::from(plan.forwards(ix)), node.platform as u8]);
            hash.update([node.port.to_le_bytes(), node.mtu.to_le_bytes()].concat());
            node.endpoints.iter().for_each(|endpoint| put_endpoint(&mut hash, endpoint));
            node.underlays.iter().for_each(|underlay| put_text(&mut hash, underlay.as_str()));
            plan.behind(ix).iter().for_each(|prefix| put_prefix(&mut hash, *prefix));
        }
        Member::Client(at) => {
            let client = &plan.network.clients[at as usize];
            put_text(&mut hash, client.device.as_str());
            hash.update([client.platform as u8]);
            hash.update(client.mtu.to_le_bytes());
            client.prefixes.iter().for_each(|prefix| put_prefix(&mut hash, *prefix));
        }
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

fn put_text(hash: &mut Blake2s256, text: &str) {
    hash.update((text.len() as u32).to_le_bytes());
    hash.update(text.as_bytes());
}

fn put_address(hash: &mut Blake2s256, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => hash.update(v4.octets()),
        IpAddr::V6(v6) => hash.update(v6.octets()),
    }
}

fn put_prefix(hash: &mut Blake2s256, prefix: IpNet) {
    hash.update([prefix.prefix_len()]);
    put_address(hash, prefix.addr());
}

fn put_endpoint(hash: &mut Blake2s256, endpoint: &Endpoint) {
    put_text(hash, endpoint.underlay.as_ref().map_or("", |underlay| underlay.as_str()));
    match &endpoint.host {
        Host::Ip(ip) => put_address(hash, *ip),
        Host::Dns(name) => put_text(hash, name),
    }
    hash.update(endpoint.port.to_le_bytes());
}
