//! What neighbours may do at a host: speak BGP with it, and reach through it what they are told of.
//!
//! Their devices let everything in, since routes change; so sources are judged here, by what a neighbour may announce. Chains of
//! their own in the table of ours, for nft(8). A network's own firewall, if there is one, judges beside them.

use ipnet::IpNet;

use super::line;
use super::nftables::{ICMP, chain, matches, names, port_matches};
use crate::network::Exports;
use crate::plan::{BgpPlan, NeighbourPlan, NodePlan, host, merge};

/// Adds the chains, if they are wanted.
pub(super) fn chains(plan: &NodePlan, out: &mut String) {
    let Some(bgp) = plan.bgp.as_ref().filter(|bgp| bgp.guards()) else { return };
    let devices = names(bgp.neighbours.iter().map(|neighbour| neighbour.device.as_str()));
    chain("neighbours-input", "type filter hook input priority filter", out);
    line(out, format_args!("\t\tiifname != {devices} accept"));
    line(out, format_args!("\t\tct state established,related accept\n\t\t{ICMP} accept"));
    for neighbour in &bgp.neighbours {
        let from: Vec<IpNet> = neighbour.addresses.iter().map(|address| host(*address)).collect();
        for source in matches(Some(&from), None) {
            let device = &neighbour.device;
            line(out, format_args!("\t\tiifname \"{device}\" {source}tcp dport 179 accept comment \"BGP\""));
            if neighbour.bfd {
                line(out, format_args!("\t\tiifname \"{device}\" {source}udp dport 3784 accept comment \"BFD\""));
            }
        }
    }
    services(plan, out);
    line(out, format_args!("\t\tdrop comment \"neighbours\"\n\t}}"));
    chain("neighbours-forward", "type filter hook forward priority filter", out);
    line(out, format_args!("\t\tiifname != {devices} accept"));
    bgp.neighbours.iter().for_each(|neighbour| sources(bgp, neighbour, out));
    line(out, format_args!("\t\tct state established,related accept"));
    for own in matches(None, Some(&bgp.own)).iter().filter(|_| !bgp.own.is_empty()) {
        line(out, format_args!("\t\t{own}accept comment \"own prefixes\""));
    }
    if bgp.neighbours.iter().any(|neighbour| neighbour.export == Exports::All) {
        let others = bgp.neighbours.iter().map(|neighbour| neighbour.device.as_str());
        let through = names(others.chain([plan.device.as_str()].into_iter().filter(|_| !bgp.nodes.is_empty())));
        line(out, format_args!("\t\toifname {through} accept comment \"transit\""));
    }
    line(out, format_args!("\t\tdrop comment \"neighbours\"\n\t}}"));
}

/// Services that are open to addresses outside the overlay are open to neighbours' as well.
fn services(plan: &NodePlan, out: &mut String) {
    for service in plan.firewall.iter().flat_map(|firewall| &firewall.services).filter(|s| !s.from.is_empty()) {
        for from in matches(Some(&service.from), None) {
            for ports in port_matches(&service.ports) {
                line(out, format_args!("\t\t{from}{ports}accept comment \"{}\"", service.label));
            }
        }
    }
}

/// What comes from where the neighbour may not say that it leads is dropped.
fn sources(bgp: &BgpPlan, neighbour: &NeighbourPlan, out: &mut String) {
    let own = bgp.own.iter().filter(|_| neighbour.asn == bgp.asn).copied();
    let accepted = neighbour.accept.iter().map(|range| range.prefix);
    let theirs = neighbour.addresses.iter().map(|address| host(*address));
    let all = merge(accepted.chain(own).chain(theirs).collect());
    for (is_v4, word) in [(true, "ipv4"), (false, "ipv6")] {
        let of_family: Vec<IpNet> = all.iter().copied().filter(|prefix| prefix.addr().is_ipv4() == is_v4).collect();
        if of_family.iter().any(|prefix| prefix.prefix_len() == 0) {
            continue;
        }
        let device = &neighbour.device;
        let refused = match matches(Some(&of_family), None).pop() {
            // The text ends with a set: everything that is not in it.
            Some(source) => source.replacen("saddr ", "saddr != ", 1),
            None => format!("meta nfproto {word} "),
        };
        line(out, format_args!("\t\tiifname \"{device}\" {refused}drop comment \"source\""));
    }
}
