//! Rules over sites: what their gateways need from the world around them.
//!
//! A router (EdgeOS, VyOS, RouterOS) is taken for the site's own: its machines send answers there anyway.

use ipnet::IpNet;

use super::{View, first};
use crate::check::{Finding, Findings, Hazard};
use crate::network::{Node, NodeIx, Platform, Site};

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for site in &view.network.sites {
        let Some(gateway) = site.gateways.first().map(|gateway| view.network.node(*gateway)) else { continue };
        if !matches!(gateway.platform, Platform::Edgeos | Platform::Vyos | Platform::Routeros) {
            return_route(view, site, gateway, findings);
        }
        for gateway in &site.gateways {
            source_check(view, site, *gateway, findings);
        }
    }
    segment_size(view, findings);
}

fn return_route(view: &View<'_>, site: &Site, gateway: &Node, findings: &mut Findings) {
    // Where the gateway speaks for the overlay, answers go to the gateway anyway.
    let shows = |prefix: &&IpNet| !site.masquerade[usize::from(prefix.addr().is_ipv6())];
    let list: Vec<String> = view.network.prefixes.iter().filter(shows).map(IpNet::to_string).collect();
    if list.is_empty() {
        return;
    }
    let from = list.join(" and ");
    let (site_name, gateway) = (format!("site {}", site.name), gateway.name.to_string());
    let fix = format!("On the router of {site_name}: route {from} to the LAN address of {gateway}.");
    let kind = Hazard::NoReturnRoute { site: site_name, from, gateway };
    findings.push(Finding::new(kind, site.place).with_fix(fix));
}

fn source_check(view: &View<'_>, site: &Site, gateway: NodeIx, findings: &mut Findings) {
    let node = view.network.node(gateway);
    let Some(table) = view.node_table(node) else { return };
    let region = view.region_table(node).and_then(|region| region.cloud.as_ref());
    let Some((cloud, place)) = first([table.cloud.as_ref(), region, view.table.cloud.as_ref()]) else { return };
    if table.source_check.as_ref().is_some_and(|check| !check.value) {
        return;
    }
    let how = match cloud {
        crate::file::Cloud::Aws => "aws ec2 modify-instance-attribute --instance-id ID --no-source-dest-check",
        crate::file::Cloud::Gcp => "make the instance with --can-ip-forward",
        crate::file::Cloud::Azure => "az network nic update --name NIC --resource-group GROUP --ip-forwarding true",
    };
    let kind = Hazard::SourceCheck { node: format!("node {}", node.name), site: format!("site {}", site.name) };
    findings.push(
        Finding::new(kind, node.place)
            .with_related(place, "its cloud")
            .with_fix(format!("Switch it off ({how}), and say so with source_check = false.")),
    );
}

/// One finding for all gateways that don't do it: the remedy is the same for each.
fn segment_size(view: &View<'_>, findings: &mut Findings) {
    let is_gateway = |ix: &NodeIx| view.network.sites.iter().any(|site| site.gateways.contains(ix));
    let gateways = view.network.node_numbers().filter(is_gateway).map(|ix| view.network.node(ix));
    let mut gateways = gateways.filter(|node| !node.firewall.clamps_mss);
    let Some(node) = gateways.next() else { return };
    let others = gateways.count();
    let host = match others {
        0 => format!("node {}", node.name),
        1 => format!("node {} and another gateway", node.name),
        _ => format!("node {} and {others} other gateways", node.name),
    };
    let lan = if others == 0 { "its site".to_owned() } else { "sites".to_owned() };
    let kind = Hazard::NoMssClamp { host, lan, mtu: node.mtu };
    let fix = "Don't set firewall = \"none\" there; or adapt segments by other means, and accept WL519.";
    findings.push(Finding::new(kind, node.place).with_fix(fix));
}
