//! Ubiquiti EdgeOS with the package `wireguard-vyatta-ubnt`: `set` lines under `interfaces wireguard`.
//!
//! A peer is named by its key. Routes come from `route-allowed-ips`, into the main table. The key is a file on the router.

use super::super::file::{KeySource, RenderError, RenderedFile, on_device, public_key};
use super::{Tree, check, rule_number};
use crate::network::Platform;
use crate::plan::{NodePlan, host};

/// Renders one member's commands, `DEVICE.edgeos`; with an earlier plan also those that take away what it had.
///
/// # Errors
/// If a peer has no public key, the private key is not the member's, or the plan needs a routing table of its own.
pub fn edgeos(plan: &NodePlan, key: &KeySource<'_>, previous: Option<&NodePlan>) -> Result<RenderedFile, RenderError> {
    key.check(plan)?;
    check(plan, Platform::Edgeos)?;
    let tree = tree(plan, key)?;
    let old = previous.map(|old| tree_of_old(old, key));
    Ok(tree.file(plan, old.as_ref(), format!("{}.edgeos", plan.device)).with_secret(key.is_secret()))
}

/// What an earlier plan had, as far as it could be rendered at all.
fn tree_of_old(old: &NodePlan, key: &KeySource<'_>) -> Tree {
    tree(old, key).unwrap_or_default()
}

/// Lets in the port, in the rule sets that the router's wizards make. What comes out of the tunnel is in no rule set.
fn port_rules(plan: &NodePlan, tree: &mut Tree) {
    let Some(port) = plan.port else { return };
    tree.remark(
        "The port is let in by the rule sets that the wizards make; put it into yours if they have other names."
            .to_owned(),
    );
    let number = rule_number(plan).to_string();
    for set in [["name", "WAN_LOCAL"], ["ipv6-name", "WANv6_LOCAL"]] {
        let at = |rest: &[&'static str]| [&["firewall", set[0], set[1], "rule", &number], rest].concat();
        tree.one(&at(&["action"]), "accept");
        tree.one(&at(&["description"]), format_args!("wayleave-{}", plan.device));
        tree.one(&at(&["destination", "port"]), port);
        tree.one(&at(&["log"]), "enable");
        tree.one(&at(&["protocol"]), "udp");
    }
}

fn tree(plan: &NodePlan, key: &KeySource<'_>) -> Result<Tree, RenderError> {
    let device = ["interfaces", "wireguard", plan.device.as_str()];
    let at = |rest: &[&'static str]| [&device[..], rest].concat();
    let mut tree = Tree::default();
    for address in &plan.addresses {
        tree.many(&at(&["address"]), host(*address));
    }
    if let Some(port) = plan.port {
        tree.one(&at(&["listen-port"]), port);
    }
    tree.one(&at(&["mtu"]), plan.mtu);
    for peer in &plan.peers {
        let id = public_key(plan, peer)?.to_string();
        let at = |rest: &'static str| [&device[..], &["peer", &id, rest]].concat();
        for prefix in &peer.allowed {
            tree.many(&at("allowed-ips"), prefix);
        }
        tree.one(&at("description"), &peer.name);
        if let Some(endpoint) = peer.endpoints.first() {
            tree.one(&at("endpoint"), format_args!("'{endpoint}'"));
        }
        if let Some(seconds) = peer.keepalive_s {
            tree.one(&at("persistent-keepalive"), seconds);
        }
    }
    match key {
        KeySource::Inline(private) => tree.one(&at(&["private-key"]), &**private.reveal()),
        KeySource::File(path) => tree.one(&at(&["private-key"]), on_device(path, plan)),
    }
    tree.one(&at(&["route-allowed-ips"]), !plan.routes.is_empty());
    port_rules(plan, &mut tree);
    if plan.clamps_mss {
        tree.remark(
            "TCP of the sites behind is told what fits through the tunnel; it holds for all interfaces.".to_owned(),
        );
        for (v4, clamp, headers) in [(true, "mss-clamp", 40), (false, "mss-clamp6", 60)] {
            if plan.carries(v4) {
                tree.one(&["firewall", "options", clamp, "interface-type"], "all");
                tree.one(&["firewall", "options", clamp, "mss"], plan.mtu.saturating_sub(headers));
            }
        }
    }
    Ok(tree)
}
