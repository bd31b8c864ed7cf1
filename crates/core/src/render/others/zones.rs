//! Names of all members: lines for a hosts file, and zones for a name server (RFC 1035 master files).
//!
//! The forward zone is the network's domain. Reverse zones end where names in the DNS do, at whole octets of IPv4 and
//! whole digits of IPv6, so a prefix that ends elsewhere becomes several zones, of which those with members are written.
//! The serial number is the plan's generation.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Opening, RenderedFile, line};
use crate::plan::{Member, Plan};

/// Seconds that resolvers keep an answer: names move seldom, and mistakes are to go soon.
const TTL_S: u32 = 300;

/// Renders `hosts`, and with a domain the zones `DOMAIN.zone` and one for each reverse zone.
pub fn names(plan: &Plan) -> Vec<RenderedFile> {
    let mut files = vec![hosts(plan)];
    if let Some(domain) = plan.network.domain.as_deref() {
        files.push(forward(plan, domain));
        files.extend(reverse(plan, domain));
    }
    files
}

fn file(plan: &Plan, name: String, body: &str) -> RenderedFile {
    let whose = format!("for network {}", plan.network.name);
    RenderedFile::about(&whose, plan.generation, name, Opening::Header, body)
}

fn members(plan: &Plan) -> impl Iterator<Item = (&str, &[IpAddr])> {
    plan.members().map(|member: Member| (plan.name(member).as_str(), plan.overlay_addresses(member)))
}

fn hosts(plan: &Plan) -> RenderedFile {
    let mut body = String::new();
    for (name, addresses) in members(plan) {
        for address in addresses {
            match &plan.network.domain {
                Some(domain) => line(&mut body, format_args!("{address} {name}.{domain} {name}")),
                None => line(&mut body, format_args!("{address} {name}")),
            }
        }
    }
    file(plan, "hosts".to_owned(), &body)
}

/// What every zone begins with. The name server is whoever serves it, so none is named.
fn head(plan: &Plan, origin: &str, domain: &str) -> String {
    let mut body = String::new();
    line(&mut body, format_args!("$ORIGIN {origin}.\n$TTL {TTL_S}"));
    let timers = format!("{} 3600 600 604800 {TTL_S}", plan.generation);
    line(&mut body, format_args!("@ IN SOA localhost. hostmaster.{domain}. ( {timers} )\n@ IN NS localhost."));
    body
}

fn forward(plan: &Plan, domain: &str) -> RenderedFile {
    let mut body = head(plan, domain, domain);
    for (name, addresses) in members(plan) {
        for address in addresses {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            line(&mut body, format_args!("{name} IN {kind} {address}"));
        }
    }
    file(plan, format!("{domain}.zone"), &body)
}

fn reverse(plan: &Plan, domain: &str) -> Vec<RenderedFile> {
    let mut zones: BTreeMap<String, String> = BTreeMap::new();
    for (name, addresses) in members(plan) {
        for address in addresses {
            let Some(prefix) = plan.network.prefixes.iter().find(|prefix| prefix.contains(address)) else { continue };
            let (labels, top, bits) = labels(*address);
            // At least one label of an address stays inside the zone.
            let above = usize::from(prefix.prefix_len().div_ceil(bits)).min(labels.len() - 1);
            let (inside, zone) = labels.split_at(labels.len() - above);
            let zone: String = zone.iter().map(|label| format!("{label}.")).collect::<String>() + top;
            let body = zones.entry(zone.clone()).or_insert_with(|| head(plan, &zone, domain));
            line(body, format_args!("{} IN PTR {name}.{domain}.", inside.join(".")));
        }
    }
    zones.into_iter().map(|(zone, body)| file(plan, format!("{zone}.zone"), &body)).collect()
}

/// An address as labels, the last part first; where its reverse names are; and the bits of a label.
fn labels(address: IpAddr) -> (Vec<String>, &'static str, u8) {
    match address {
        IpAddr::V4(ip) => (ip.octets().iter().rev().map(u8::to_string).collect(), "in-addr.arpa", 8),
        IpAddr::V6(ip) => {
            let digits = ip.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
            let digits: Vec<String> = digits.map(|digit| format!("{digit:x}")).collect();
            (digits.into_iter().rev().collect(), "ip6.arpa", 4)
        }
    }
}
