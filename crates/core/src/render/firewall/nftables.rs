//! The table of our own, for `nft -f` (nft(8)).
//!
//! Packets from the overlay are judged before any address is translated, so that a port published by a container is
//! covered like any other. Loading the text again replaces the table at once.

use ipnet::IpNet;

use super::{line, neighbours, of_family, plain};
use crate::network::{PortRange, Ports};
use crate::plan::{BgpPlan, Firewall, NodePlan};

pub(super) const ICMP: &str = "meta l4proto { icmp, ipv6-icmp }";

/// The table's name: one per device, so that several networks share a host.
pub(super) fn name(plan: &NodePlan) -> String {
    format!("wayleave-{}", plain(plan.device.as_str()))
}

/// The table, with what removes an earlier one first; nothing if the plan has nothing for it.
pub fn table(plan: &NodePlan) -> String {
    let guards = plan.bgp.as_ref().is_some_and(BgpPlan::guards);
    if plan.firewall.is_none() && !plan.clamps_mss && !guards {
        return String::new();
    }
    let (name, devices) = (name(plan), devices(plan));
    let mut out = String::new();
    line(&mut out, format_args!("table inet {name}"));
    line(&mut out, format_args!("delete table inet {name}"));
    line(&mut out, format_args!("table inet {name} {{"));
    if let Some(firewall) = &plan.firewall {
        guard(plan, firewall, &mut out);
    }
    neighbours::chains(plan, &mut out);
    if plan.clamps_mss {
        chain("mss", "type filter hook forward priority mangle", &mut out);
        for rule in clamps(&devices) {
            line(&mut out, format_args!("\t\t{rule}"));
        }
        out.push_str("\t}\n");
    }
    out.push_str("}\n");
    out
}

/// Rules that make segments fit the way they came and the way they go, whichever is narrower.
pub(super) fn clamps(devices: &str) -> [String; 2] {
    ["iifname", "oifname"].map(|side| format!("{side} {devices} tcp flags syn tcp option maxseg size set rt mtu"))
}

/// The overlay's devices on the host, as interface names are matched.
pub(super) fn devices(plan: &NodePlan) -> String {
    names(super::devices(plan))
}

/// Devices as interface names are matched.
pub(super) fn names<'a>(devices: impl Iterator<Item = &'a str>) -> String {
    match devices.map(|device| format!("\"{device}\"")).collect::<Vec<_>>().as_slice() {
        [one] => one.clone(),
        several => format!("{{ {} }}", several.join(", ")),
    }
}

/// What is judged, and whose addresses are replaced.
fn guard(plan: &NodePlan, firewall: &Firewall, out: &mut String) {
    let devices = devices(plan);
    if firewall.judges() {
        overlay(firewall, out);
    }
    prerouting(plan, firewall, &devices, out);
    if firewall.judges() {
        for hook in ["forward", "output"] {
            let others = if hook == "forward" { format!("iifname != {devices} ") } else { String::new() };
            chain(hook, &format!("type filter hook {hook} priority filter"), out);
            line(out, format_args!("\t\t{others}oifname {devices} jump overlay\n\t}}"));
        }
    }
    if !firewall.masquerade.is_empty() {
        chain("postrouting", "type nat hook postrouting priority srcnat", out);
        for rule in &firewall.masquerade {
            for addresses in matches(Some(&rule.from), Some(&rule.to)) {
                line(out, format_args!("\t\t{addresses}masquerade"));
            }
        }
        out.push_str("\t}\n");
    }
}

pub(super) fn chain(name: &str, hook: &str, out: &mut String) {
    line(out, format_args!("\tchain {name} {{\n\t\t{hook}; policy accept;"));
}

/// The rules of the policy, wherever a packet enters or leaves the overlay.
fn overlay(firewall: &Firewall, out: &mut String) {
    out.push_str("\tchain overlay {\n\t\tct state established,related accept\n");
    for rule in &firewall.rules {
        let verdict = if rule.accept { "accept" } else { "drop" };
        for addresses in matches(rule.from.as_deref(), rule.to.as_deref()) {
            for ports in port_matches(&rule.ports) {
                line(out, format_args!("\t\t{addresses}{ports}{verdict} comment \"{}\"", rule.label));
            }
        }
    }
    out.push_str("\t}\n");
}

fn prerouting(plan: &NodePlan, firewall: &Firewall, devices: &str, out: &mut String) {
    let guards_outside = firewall.closed || firewall.wireguard_from.is_some() || !firewall.services.is_empty();
    if !firewall.judges() && !guards_outside {
        return;
    }
    chain("prerouting", "type filter hook prerouting priority mangle", out);
    if firewall.judges() {
        line(out, format_args!("\t\tiifname {devices} jump overlay"));
    }
    if firewall.refuses_rest {
        line(out, format_args!("\t\tiifname {devices} fib daddr type local drop comment \"policy\""));
    }
    if guards_outside {
        outside(plan, firewall, out);
    }
    out.push_str("\t}\n");
}

/// What does not come through the overlay.
fn outside(plan: &NodePlan, firewall: &Firewall, out: &mut String) {
    let own = names(std::iter::once("lo").chain(super::all_devices(plan)));
    line(out, format_args!("\t\tiifname {own} accept"));
    line(out, format_args!("\t\tct state established,related accept"));
    line(out, format_args!("\t\tfib daddr type != local accept"));
    if let Some(entry) = &plan.entry {
        // From wherever clients are, and wherever the load balancer asks from.
        line(out, format_args!("\t\tudp dport {} accept comment \"clients\"", entry.port));
        line(out, format_args!("\t\ttcp dport {} accept comment \"readiness\"", entry.ready_port));
    }
    for neighbour in plan.neighbours() {
        let (port, name) = (neighbour.port, &neighbour.name);
        line(out, format_args!("\t\tudp dport {port} accept comment \"neighbour {name}\""));
    }
    if let (Some(port), Some(from)) = (plan.port, &firewall.wireguard_from) {
        for addresses in sources(from) {
            line(out, format_args!("\t\t{addresses}udp dport {port} accept comment \"peers\""));
        }
        line(out, format_args!("\t\tudp dport {port} drop comment \"no peer\""));
    }
    for addresses in sources(&firewall.inside) {
        line(out, format_args!("\t\t{addresses}accept comment \"own sites\""));
    }
    for service in &firewall.services {
        for ports in port_matches(&service.ports) {
            for addresses in sources(&service.from) {
                line(out, format_args!("\t\t{addresses}{ports}accept comment \"{}\"", service.label));
            }
            line(out, format_args!("\t\t{ports}drop comment \"{}\"", service.label));
        }
    }
    if firewall.closed {
        line(out, format_args!("\t\t{ICMP} accept"));
        line(out, format_args!("\t\tudp dport {{ 68, 546 }} accept comment \"DHCP\""));
        if let (Some(port), None) = (plan.port, &firewall.wireguard_from) {
            line(out, format_args!("\t\tudp dport {port} accept comment \"WireGuard\""));
        }
        line(out, format_args!("\t\tdrop comment \"closed\""));
    }
}

/// Matches of sources, a family each; none for an empty list.
fn sources(from: &[IpNet]) -> Vec<String> {
    if from.is_empty() { Vec::new() } else { matches(Some(from), None) }
}

/// Matches of addresses, a family each where addresses are matched at all; each ends with a space.
pub(super) fn matches(from: Option<&[IpNet]>, to: Option<&[IpNet]>) -> Vec<String> {
    if from.is_none() && to.is_none() {
        return vec![String::new()];
    }
    let mut found = Vec::new();
    for (is_v4, word) in [(true, "ip"), (false, "ip6")] {
        let side = |list: Option<&[IpNet]>, key: &str| match list.map(|list| of_family(list, is_v4)) {
            None => Some(String::new()),
            Some(list) if list.is_empty() => None,
            Some(list) => Some(format!("{word} {key} {} ", set(&list))),
        };
        if let (Some(from), Some(to)) = (side(from, "saddr"), side(to, "daddr")) {
            found.push(format!("{from}{to}"));
        }
    }
    found
}

fn set(list: &[IpNet]) -> String {
    let word = |prefix: &IpNet| match prefix.prefix_len() == prefix.max_prefix_len() {
        true => prefix.addr().to_string(),
        false => prefix.to_string(),
    };
    match list {
        [one] => word(one),
        many => format!("{{ {} }}", many.iter().map(word).collect::<Vec<_>>().join(", ")),
    }
}

/// Matches of ports, each with a space at its end.
pub(super) fn port_matches(ports: &Ports) -> Vec<String> {
    if ports.is_all() {
        return vec![String::new()];
    }
    let mut found = Vec::new();
    for (protocol, ranges) in [("tcp", &ports.tcp), ("udp", &ports.udp)] {
        let range = |range: &PortRange| match range {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        found.extend(match ranges.as_slice() {
            [] => None,
            [(0, u16::MAX)] => Some(format!("meta l4proto {protocol} ")),
            [one] => Some(format!("{protocol} dport {} ", range(one))),
            many => {
                let list: Vec<String> = many.iter().map(range).collect();
                Some(format!("{protocol} dport {{ {} }} ", list.join(", ")))
            }
        });
    }
    if ports.icmp {
        found.push(format!("{ICMP} "));
    }
    if ports.other {
        found.push("meta l4proto != { tcp, udp, icmp, ipv6-icmp } ".to_owned());
    }
    found
}
