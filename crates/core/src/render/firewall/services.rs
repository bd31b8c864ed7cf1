//! Snippets for web servers: who may see a service, and which paths are public.
//!
//! For nginx two files, one for the `http` block that says who is inside and which paths are public, and one for each
//! `server` block that refuses the rest with 403. For Caddy one snippet, to be imported first in a `route` block.

use std::net::IpAddr;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::{header, line};
use crate::network::{NodeIx, Party, Service};
use crate::plan::{Member, Plan, host, merge};
use crate::render::RenderedFile;

/// The snippets of all web services on a node; none on most nodes.
pub fn service_snippets(plan: &Plan, node: NodeIx) -> Vec<RenderedFile> {
    let services = plan.network.policy.services.iter();
    let here = services.filter(|service| service.on.binary_search(&node).is_ok() && is_web(service));
    let node_plan = plan.of(Member::Node(node));
    let file = |name: String, body: String| {
        let text = Zeroizing::new(header(&node_plan, &body) + &body);
        RenderedFile { name, text, secret: false, program: false }
    };
    here.flat_map(|service| {
        let inside = insiders(plan, service);
        [
            file(format!("{}.nginx-http.conf", service.name), nginx_http(service, &inside)),
            file(format!("{}.nginx-server.conf", service.name), nginx_server(service)),
            file(format!("{}.caddy", service.name), caddy(service, &inside)),
        ]
    })
    .collect()
}

/// Whether a service looks like a web server's: by its ports, or since it has paths.
fn is_web(service: &Service) -> bool {
    let has = |port: u16| service.ports.tcp.iter().any(|(first, last)| (*first..=*last).contains(&port));
    service.is_public() || has(80) || has(443)
}

/// Addresses that may see all of a service: the host itself, those inside that it is for, those outside that it names.
fn insiders(plan: &Plan, service: &Service) -> Vec<IpNet> {
    let network = &plan.network;
    let mut all: Vec<IpNet> = service.outside.clone();
    all.extend(["127.0.0.0/8", "::1/128"].map(|text| text.parse::<IpNet>().expect("both are prefixes")));
    if service.from.everybody {
        all.extend(&network.prefixes);
        all.extend(network.sites.iter().flat_map(|site| &site.prefixes));
        all.extend(network.clients.iter().flat_map(|client| &client.prefixes));
        return merge(all);
    }
    let own = |addresses: &[IpAddr]| addresses.iter().copied().map(host).collect::<Vec<_>>();
    for party in &service.from.list {
        match party {
            Party::Node(ix) => all.extend(own(plan.overlay_addresses(Member::Node(*ix)))),
            Party::Client(at) => {
                all.extend(own(plan.overlay_addresses(Member::Client(*at))));
                all.extend(&network.clients[*at as usize].prefixes);
            }
            Party::Site(at) => all.extend(&network.sites[*at as usize].prefixes),
        }
    }
    merge(all)
}

/// A variable's name: letters, digits and underscores.
fn variable(service: &Service) -> String {
    format!("wayleave_{}", service.name.as_str().replace('-', "_"))
}

fn nginx_http(service: &Service, inside: &[IpNet]) -> String {
    let name = variable(service);
    let mut out = String::from("# In the http block: who is inside, and what is public.\n");
    line(&mut out, format_args!("geo ${name}_inside {{\n    default 0;"));
    inside.iter().for_each(|prefix| line(&mut out, format_args!("    {prefix} 1;")));
    out.push_str("}\n");
    line(&mut out, format_args!("map $uri ${name}_public {{\n    default 0;"));
    for path in &service.public_paths {
        let end = if path.ends_with('/') { "" } else { "(/|$)" };
        line(&mut out, format_args!("    \"~^{}{end}\" 1;", path.replace('.', "\\.")));
    }
    out.push_str("}\n");
    line(&mut out, format_args!("map ${name}_inside${name}_public ${name}_refused {{\n    default 0;\n    00 1;\n}}"));
    out
}

fn nginx_server(service: &Service) -> String {
    let name = variable(service);
    format!("# In each server block of {}.\nif (${name}_refused) {{\n    return 403;\n}}\n", service.name)
}

fn caddy(service: &Service, inside: &[IpNet]) -> String {
    let name = variable(service);
    let list: Vec<String> = inside.iter().map(ToString::to_string).collect();
    let mut out = format!(
        "# Import this file at the top of the Caddyfile, and the snippet first in a route block of each site of {}:\n\
         #     route {{\n#         import {name}\n#         reverse_proxy ...\n#     }}\n",
        service.name
    );
    line(&mut out, format_args!("({name}) {{\n\t@{name} {{\n\t\tnot remote_ip {}", list.join(" ")));
    if !service.public_paths.is_empty() {
        let words = |path: &String| if path.ends_with('/') { format!("{path}*") } else { format!("{path} {path}/*") };
        let paths: Vec<String> = service.public_paths.iter().map(words).collect();
        line(&mut out, format_args!("\t\tnot path {}", paths.join(" ")));
    }
    line(&mut out, format_args!("\t}}\n\trespond @{name} 403\n}}"));
    out
}
