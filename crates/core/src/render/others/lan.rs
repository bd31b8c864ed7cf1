//! What the routers and DHCP servers of sites are to be told, so that hosts in a site find the way into the network: static
//! routes in several syntaxes, and DHCP option 121 (RFC 3442; 249 is the same under the number that old Windows asks for);
//! and so that a gateway behind the router is found by those who dial it: which port is forwarded where.
//!
//! One text per site, for people. Next hop is the address that the site's preferred gateway has in the site
//! (`lan_addresses`); where it is not known a word stands in its place. A host that takes option 121 ignores the router it
//! was given otherwise, so the option names the site's own router too (`lan_routers`).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{Opening, RenderedFile, joined, line};
use crate::names::Name;
use crate::network::{Endpoint, Host, NodeIx, Site};
use crate::plan::{Member, Plan};

/// What stands where the gateway's address is not known.
const UNKNOWN_GATEWAY: &str = "GATEWAY";
/// Bytes of a DHCP option's value (RFC 2132, 2).
const OPTION_BYTES_MAX: usize = 255;

/// Renders `routes-SITE.txt` for every site that has a gateway.
pub fn lan_routes(plan: &Plan) -> Vec<RenderedFile> {
    let sites = plan.network.sites.iter().filter_map(|site| Some((site, *site.gateways.first()?)));
    sites.map(|(site, gateway)| routes_of(plan, site, gateway)).collect()
}

/// The value of DHCP option 121: for each route the prefix's length, the octets of it that matter, and the next hop.
pub fn option_121(routes: &[(Ipv4Net, Ipv4Addr)]) -> Vec<u8> {
    let mut value = Vec::new();
    for (prefix, next_hop) in routes {
        value.push(prefix.prefix_len());
        value.extend(&prefix.network().octets()[..usize::from(prefix.prefix_len().div_ceil(8))]);
        value.extend(next_hop.octets());
    }
    value
}

fn routes_of(plan: &Plan, site: &Site, gateway: NodeIx) -> RenderedFile {
    let destinations = destinations(plan, site, gateway);
    let mut body = String::new();
    let out = &mut body;
    line(out, format_args!("# Site {}: {}.", site.name, joined(&site.prefixes, ", ")));
    gateways(plan, site, out);
    if destinations.is_empty() {
        line(out, format_args!("# Nothing is reached through it: no routes are needed."));
    } else {
        for v4 in [true, false] {
            let family: Vec<IpNet> =
                destinations.iter().copied().filter(|prefix| prefix.addr().is_ipv4() == v4).collect();
            let is_there = site.prefixes.iter().any(|prefix| prefix.addr().is_ipv4() == v4);
            if !family.is_empty() && is_there {
                let next_hop = lan_address(plan, gateway, site, v4).map(|address| address.to_string());
                static_routes(&family, next_hop.as_deref().unwrap_or(UNKNOWN_GATEWAY), v4, out);
            }
        }
        dhcp(plan, site, gateway, &destinations, out);
    }
    port_forwards(plan, site, out);
    let whose = format!("for site {} of network {}", site.name, plan.network.name);
    RenderedFile::about(&whose, plan.generation, format!("routes-{}.txt", site.name), Opening::Header, &body)
}

/// Who stands in front of the site, and where.
fn gateways(plan: &Plan, site: &Site, out: &mut String) {
    for (at, gateway) in site.gateways.iter().enumerate() {
        let name = &plan.network.node(*gateway).name;
        let addresses: Vec<IpAddr> =
            [true, false].into_iter().filter_map(|v4| lan_address(plan, *gateway, site, v4)).collect();
        let place = match addresses.as_slice() {
            [] => format!("at an address that the network file does not give: {UNKNOWN_GATEWAY} stands for it"),
            list => format!("at {}", joined(list, " and ")),
        };
        let role = if at == 0 { "Its gateway is" } else { "If that is away:" };
        line(out, format_args!("# {role} {name}, {place}."));
    }
    line(out, format_args!("# Its hosts, or the router that they use, need the following. One of the ways is enough."));
}

/// What is reached through the gateway, as wide as it is written: overlay prefixes, and prefixes of other sites and clients.
fn destinations(plan: &Plan, site: &Site, gateway: NodeIx) -> Vec<IpNet> {
    let routed = plan.of(Member::Node(gateway)).routes;
    let network = &plan.network;
    let others = network.sites.iter().filter(|other| other.name != site.name).flat_map(|other| &other.prefixes);
    let clients = network.clients.iter().flat_map(|client| &client.prefixes);
    let all = network.prefixes.iter().chain(others).chain(clients);
    let is_reached = |prefix: &&IpNet| routed.iter().any(|route| route.contains(*prefix) || prefix.contains(route));
    let mut list: Vec<IpNet> = all.filter(is_reached).copied().collect();
    list.sort();
    list.dedup();
    list
}

/// The gateway's own address in a site.
fn lan_address(plan: &Plan, gateway: NodeIx, site: &Site, v4: bool) -> Option<IpAddr> {
    inside(&plan.network.node(gateway).lan_addresses, site, v4)
}

fn inside(addresses: &[IpAddr], site: &Site, v4: bool) -> Option<IpAddr> {
    let is_there =
        |address: &&IpAddr| address.is_ipv4() == v4 && site.prefixes.iter().any(|prefix| prefix.contains(*address));
    addresses.iter().find(is_there).copied()
}

/// What gateways behind the site's router need to be dialled at the router's address.
fn port_forwards(plan: &Plan, site: &Site, out: &mut String) {
    let is_inside = |ip: &IpAddr| site.prefixes.iter().any(|prefix| prefix.contains(ip));
    let at_router = |endpoint: &&Endpoint| match &endpoint.host {
        Host::Ip(ip) => ip.is_ipv4() && !is_inside(ip),
        Host::Dns(_) => true,
    };
    let mut number = ROUTER_RULE;
    for gateway in &site.gateways {
        let node = plan.network.node(*gateway);
        let to = lan_address(plan, *gateway, site, true).map_or(UNKNOWN_GATEWAY.to_owned(), |ip| ip.to_string());
        let public = node.endpoints.iter().filter(|endpoint| endpoint.underlay.is_none());
        let dialled: Vec<&Endpoint> = public.filter(at_router).collect();
        if dialled.is_empty() {
            line(out, format_args!("\n# {}: the site's router needs to forward no port to it.", node.name));
        }
        for endpoint in dialled {
            port_forward(&node.name, endpoint, &(to.as_str(), node.port), number, out);
            number += 1;
        }
    }
}

/// EdgeOS numbers its rules; this is the first of ours.
const ROUTER_RULE: u16 = 100;

fn port_forward(name: &Name, endpoint: &Endpoint, (to, listens): &(&str, u16), number: u16, out: &mut String) {
    let (port, rule) = (endpoint.port, format!("set port-forward rule {number}"));
    let text = [
        format!("\n# {name} is dialled at {endpoint}. If that is an address of the site's router, forward there:"),
        format!("# UDP port {port} to {to}, port {listens}. It is not needed where the address is {name}'s own, or is"),
        "# translated to it as a whole, as clouds do.\n# Linux".to_owned(),
        format!(
            "iptables -t nat -A PREROUTING -p udp --dport {port} -m addrtype --dst-type LOCAL -j DNAT --to-destination {to}:{listens}"
        ),
        format!("iptables -I FORWARD 1 -p udp -d {to} --dport {listens} -j ACCEPT"),
        format!("# EdgeOS, where port-forward has its wan-interface; with another number if {number} is taken"),
        format!("{rule} description {name}\n{rule} protocol udp\n{rule} original-port {port}"),
        format!("{rule} forward-to address {to}\n{rule} forward-to port {listens}\n# RouterOS"),
        format!(
            "/ip/firewall/nat/add chain=dstnat dst-address-type=local protocol=udp dst-port={port} action=dst-nat to-addresses={to} to-ports={listens}"
        ),
    ];
    text.iter().for_each(|text| line(out, format_args!("{text}")));
}

fn static_routes(prefixes: &[IpNet], next_hop: &str, v4: bool, out: &mut String) {
    let each = |out: &mut String, title: &str, make: &dyn Fn(&IpNet) -> String| {
        line(out, format_args!("\n# {title}"));
        prefixes.iter().for_each(|prefix| line(out, format_args!("{}", make(prefix))));
    };
    let (ip, route, menu, cisco) =
        if v4 { ("ip -4", "route", "/ip/route", "ip") } else { ("ip -6", "route6", "/ipv6/route", "ipv6") };
    each(out, "Linux", &|prefix| format!("{ip} route replace {prefix} via {next_hop}"));
    each(out, "EdgeOS, VyOS", &|prefix| format!("set protocols static {route} {prefix} next-hop {next_hop}"));
    each(out, "RouterOS", &|prefix| format!("{menu}/add dst-address={prefix} gateway={next_hop}"));
    each(out, "Cisco IOS and others like it", &|prefix| match prefix {
        IpNet::V4(prefix) => format!("{cisco} route {} {} {next_hop}", prefix.network(), prefix.netmask()),
        IpNet::V6(prefix) => format!("{cisco} route {prefix} {next_hop}"),
    });
}

/// The same by DHCP, for IPv4: DHCPv6 has no routes, and router advertisements come from the router itself.
fn dhcp(plan: &Plan, site: &Site, gateway: NodeIx, destinations: &[IpNet], out: &mut String) {
    let v4: Vec<Ipv4Net> =
        destinations.iter().filter_map(|prefix| if let IpNet::V4(p) = prefix { Some(*p) } else { None }).collect();
    if v4.is_empty() || !site.prefixes.iter().any(|prefix| prefix.addr().is_ipv4()) {
        return;
    }
    line(
        out,
        format_args!("\n# DHCP option 121. Hosts that take it ignore the router they are given otherwise, so it"),
    );
    let of_gateway = lan_address(plan, gateway, site, true);
    let of_router = inside(&plan.network.node(gateway).lan_routers, site, true);
    let (Some(IpAddr::V4(via)), Some(IpAddr::V4(router))) = (of_gateway, of_router) else {
        line(
            out,
            format_args!("# names the site's own router too. It is not shown, since the network file does not give"),
        );
        line(
            out,
            format_args!("# both addresses: lan_addresses and lan_routers of {}.", plan.network.node(gateway).name),
        );
        return;
    };
    line(out, format_args!("# names the site's own router, {router}, too."));
    let mut routes: Vec<(Ipv4Net, Ipv4Addr)> = vec![(Ipv4Net::default(), router)];
    routes.extend(v4.iter().map(|prefix| (*prefix, via)));
    let value = option_121(&routes);
    if value.len() > OPTION_BYTES_MAX {
        line(
            out,
            format_args!(
                "# Its {} bytes are more than an option's {OPTION_BYTES_MAX}: use static routes.",
                value.len()
            ),
        );
        return;
    }
    let pairs: Vec<String> = routes.iter().map(|(prefix, via)| format!("{prefix},{via}")).collect();
    line(out, format_args!("\n# dnsmasq\ndhcp-option=121,{0}\ndhcp-option=249,{0}", pairs.join(",")));
    let hex: String = value.iter().map(|byte| format!("{byte:02X}")).collect();
    line(out, format_args!("\n# Kea, in option-data"));
    for code in [121, 249] {
        line(
            out,
            format_args!(
                "{{ \"code\": {code}, \"space\": \"dhcp4\", \"csv-format\": false, \"always-send\": true, \"data\": \"{hex}\" }}"
            ),
        );
    }
    line(out, format_args!("\n# ISC dhcpd"));
    for (code, name) in [(121, "rfc3442-routes"), (249, "ms-routes")] {
        line(out, format_args!("option {name} code {code} = array of unsigned integer 8;"));
        line(out, format_args!("option {name} {};", joined(&value, ", ")));
    }
    line(out, format_args!("\n# RouterOS, to be named in options of /ip/dhcp-server/network"));
    for code in [121, 249] {
        line(out, format_args!("/ip/dhcp-server/option/add name=routes-{code} code={code} value=0x{hex}"));
    }
}
