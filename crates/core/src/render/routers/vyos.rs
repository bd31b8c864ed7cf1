//! VyOS 1.4 and later: `set` lines under `interfaces wireguard`, and a static route for each prefix.
//!
//! A peer has a name, and address and port apart. VyOS wants allowed prefixes for every peer, so a standby peer gets its
//! link address. Its firewall has base chains, so what is accepted there needs no rule set's name. The key is text in the
//! configuration: unless it is handed in, the router's shell reads it from a file.

use std::net::IpAddr;

use super::super::file::{KeySource, RenderError, RenderedFile, on_device, public_key};
use super::super::wg_quick::why_standby;
use super::{RESTRICTED, Tree, check, rule_number};
use crate::network::{Host, Platform};
use crate::plan::{NodePlan, PeerPlan, host};

/// Renders one member's commands, `DEVICE.vyos`; with an earlier plan also those that take away what it had.
///
/// # Errors
/// If a peer has no public key, the private key is not the member's, or the plan needs a routing table of its own.
pub fn vyos(plan: &NodePlan, key: &KeySource<'_>, previous: Option<&NodePlan>) -> Result<RenderedFile, RenderError> {
    key.check(plan)?;
    check(plan, Platform::Vyos)?;
    let tree = tree(plan, key)?;
    let old = previous.map(|old| self::tree(old, key).unwrap_or_default());
    Ok(tree.file(plan, old.as_ref(), format!("{}.vyos", plan.device)).with_secret(key.is_secret()))
}

fn tree(plan: &NodePlan, key: &KeySource<'_>) -> Result<Tree, RenderError> {
    let device = ["interfaces", "wireguard", plan.device.as_str()];
    let at = |rest: &'static str| [&device[..], &[rest]].concat();
    let mut tree = Tree::default();
    for address in &plan.addresses {
        tree.many(&at("address"), host(*address));
    }
    if plan.clamps_mss {
        for (v4, family) in [(true, "ip"), (false, "ipv6")] {
            if plan.carries(v4) {
                tree.one(&[&device[..], &[family, "adjust-mss"]].concat(), "clamp-mss-to-pmtu");
            }
        }
    }
    tree.one(&at("mtu"), plan.mtu);
    for other in &plan.peers {
        peer(plan, other, &device, &mut tree)?;
    }
    if let Some(port) = plan.port {
        tree.one(&at("port"), port);
    }
    match key {
        KeySource::Inline(private) => tree.one(&at("private-key"), &**private.reveal()),
        KeySource::File(path) => {
            tree.one(&at("private-key"), format_args!("\"$(cat {})\"", on_device(path, plan)));
        }
    }
    for prefix in &plan.routes {
        let kind = if prefix.addr().is_ipv4() { "route" } else { "route6" };
        tree.many(&["protocols", "static", kind, &prefix.to_string(), "interface"], &plan.device);
    }
    rules(plan, &mut tree);
    if plan.clamps_mss {
        clamp_incoming(plan, &mut tree);
    }
    Ok(tree)
}

/// `adjust-mss` is about what goes into the tunnel. What comes out of it was told by the other end what fits there, which may
/// be more than fits here; a policy of routes may set numbers only, and never raises one.
fn clamp_incoming(plan: &NodePlan, tree: &mut Tree) {
    let name = format!("wayleave-{}", plan.device);
    for (v4, kind, headers) in [(true, "route", 40), (false, "route6", 60)] {
        if plan.carries(v4) {
            let policy = ["policy", kind, &name];
            tree.many(&[&policy[..], &["interface"]].concat(), &plan.device);
            let mut rule = |node: &[&str], value: &str| tree.one(&[&policy[..], &["rule", "10"], node].concat(), value);
            rule(&["protocol"], "tcp");
            rule(&["set", "tcp-mss"], &plan.mtu.saturating_sub(headers).clamp(MSS_MIN, MSS_MAX).to_string());
            rule(&["tcp", "flags"], "syn");
        }
    }
}

/// The segment sizes that VyOS takes.
const MSS_MIN: u16 = 500;
const MSS_MAX: u16 = 1460;

/// Lets in the port, and unless there is a policy what comes out of the tunnel and goes into it, where the router's own
/// rules drop by default.
fn rules(plan: &NodePlan, tree: &mut Tree) {
    let (first, device) = (rule_number(plan), plan.device.to_string());
    let mut rule = |family: &str, hook: &str, number: u32, matches: &[(&[&str], &str)]| {
        let number = number.to_string();
        let rule = ["firewall", family, hook, "filter", "rule", &number];
        tree.one(&[&rule[..], &["action"]].concat(), "accept");
        tree.one(&[&rule[..], &["description"]].concat(), format_args!("wayleave-{device}"));
        matches.iter().for_each(|(node, value)| tree.one(&[&rule[..], node].concat(), value));
    };
    for (v4, family) in [(true, "ipv4"), (false, "ipv6")] {
        if let Some(port) = plan.port {
            rule(family, "input", first, &[(&["destination", "port"], &port.to_string()), (&["protocol"], "udp")]);
        }
        if !plan.is_restricted && plan.carries(v4) {
            rule(family, "input", first + 1, &[(&["inbound-interface", "name"], &device)]);
        }
        if !plan.is_restricted && plan.carries(v4) && plan.forwards {
            rule(family, "forward", first + 1, &[(&["inbound-interface", "name"], &device)]);
            rule(family, "forward", first + 2, &[(&["outbound-interface", "name"], &device)]);
        }
    }
    if plan.is_restricted {
        tree.remark(RESTRICTED.to_owned());
    }
}

fn peer(plan: &NodePlan, peer: &PeerPlan, device: &[&str; 3], tree: &mut Tree) -> Result<(), RenderError> {
    let at = |rest: &'static str| [&device[..], &["peer", peer.name.as_str(), rest]].concat();
    if let Some(endpoint) = peer.endpoints.first() {
        match &endpoint.host {
            Host::Ip(IpAddr::V4(ip)) => tree.one(&at("address"), ip),
            Host::Ip(IpAddr::V6(ip)) => tree.one(&at("address"), ip),
            Host::Dns(name) => tree.one(&at("host-name"), name),
        }
    }
    for prefix in &peer.allowed {
        tree.many(&at("allowed-ips"), prefix);
    }
    if let (true, Some(address)) = (peer.allowed.is_empty(), peer.link_address) {
        tree.remark(format!("standby {}: {}; VyOS wants a prefix all the same", peer.name, why_standby(peer)));
        tree.many(&at("allowed-ips"), host(address));
    }
    if let Some(seconds) = peer.keepalive_s {
        tree.one(&at("persistent-keepalive"), seconds);
    }
    if let Some(endpoint) = peer.endpoints.first() {
        tree.one(&at("port"), endpoint.port);
    }
    tree.one(&at("public-key"), public_key(plan, peer)?);
    Ok(())
}
