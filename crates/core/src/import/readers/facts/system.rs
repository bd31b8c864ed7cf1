//! What the system says of itself: sysctls, addresses, routes, resolver, clock, Docker's ranges.
//!
//! Each function reads one line, and passes over what it does not know. Loopback and link-local addresses are everybody's
//! and say nothing.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::lines::Line;
use crate::file::Spanned;
use crate::import::facts::{Facts, LocalNetwork};

/// Whether a line is `net.ipv4.ip_forward = 1`.
pub(super) fn is_sysctl(line: &str) -> bool {
    let Some((key, _)) = line.split_once('=') else { return false };
    let key = key.trim().trim_start_matches('-');
    let tree = key.split(['.', '/']).next().unwrap_or_default();
    ["net", "kernel", "vm", "fs", "dev", "abi", "user", "debug", "crypto", "sunrpc"].contains(&tree)
        && key.contains(['.', '/'])
        && !key.contains(' ')
}

/// One setting. Names with slashes have dots inside interface names.
pub(super) fn sysctl(line: &Line<'_>, facts: &mut Facts) {
    let text = line.trimmed();
    if text.starts_with(['#', ';']) || !is_sysctl(text) {
        return;
    }
    let Some((key, value)) = text.split_once('=') else { return };
    let key = key.trim().trim_start_matches('-').replace('/', ".");
    let value = value.split('#').next().unwrap_or_default().trim();
    facts.sysctls.insert(key, Spanned { value: value.to_owned(), span: line.part(text).span });
}

/// Whether a line begins an interface in `ip addr`, or is one of `ip -o addr`.
pub(super) fn is_address(line: &str) -> bool {
    let Some((number, rest)) = line.split_once(": ") else { return false };
    number.parse::<u32>().is_ok() && (rest.contains(": <") || rest.contains(" inet"))
}

/// `ip addr`, `ip -o addr`, `ip link`.
pub(super) fn addresses<'t>(lines: impl Iterator<Item = Line<'t>>, facts: &mut Facts) {
    let mut interface = String::new();
    for line in lines {
        let words: Vec<&str> = line.text.split_whitespace().collect();
        if let [number, name, ..] = words.as_slice()
            && number.trim_end_matches(':').parse::<u32>().is_ok()
        {
            interface = name.trim_end_matches(':').split('@').next().unwrap_or_default().to_owned();
        }
        let after = |key: &str| words.iter().position(|word| *word == key).and_then(|at| words.get(at + 1));
        if let Some(mtu) = after("mtu")
            && let Ok(value) = mtu.parse()
        {
            facts.mtus.insert(interface.clone(), Spanned { value, span: line.part(mtu).span });
        }
        let address = after("inet").or_else(|| after("inet6"));
        let Some((text, Ok(prefix))) = address.map(|text| (text, text.parse::<IpNet>())) else { continue };
        local(facts, &interface, prefix, line.part(text).span);
    }
}

fn local(facts: &mut Facts, interface: &str, prefix: IpNet, place: crate::check::Span) {
    let is_ours = match prefix.addr() {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    };
    if is_ours && prefix.prefix_len() > 0 {
        facts.networks.push(LocalNetwork { interface: interface.to_owned(), prefix: prefix.trunc(), place });
    }
}

/// Whether a line is a route.
pub(super) fn is_route(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let destination = words.next().unwrap_or_default();
    let known =
        destination == "default" || destination.parse::<IpNet>().is_ok() || destination.parse::<IpAddr>().is_ok();
    known && line.contains(" dev ")
}

/// `192.168.1.0/24 dev eth0 proto kernel scope link src 192.168.1.7`: a network that the host is on.
pub(super) fn route(line: &Line<'_>, facts: &mut Facts) {
    let words: Vec<&str> = line.text.split_whitespace().collect();
    let (Some(destination), Some(at)) = (words.first(), words.iter().position(|word| *word == "dev")) else { return };
    let on_link = line.text.contains("scope link") && !words.contains(&"via");
    if let (true, Ok(prefix), Some(interface)) = (on_link, destination.parse(), words.get(at + 1)) {
        local(facts, interface, prefix, line.part(destination).span);
    }
}

pub(super) fn resolver(line: &Line<'_>, facts: &mut Facts) {
    let Some(text) = line.trimmed().strip_prefix("nameserver") else { return };
    let text = text.trim();
    if let Ok(value) = text.parse() {
        facts.resolvers.push(Spanned { value, span: line.part(text).span });
    }
}

/// `System clock synchronized: no`, older `NTP synchronized: no`; `RTC time: n/a`.
pub(super) fn clock(line: &Line<'_>, facts: &mut Facts) {
    let Some((key, value)) = line.trimmed().split_once(':') else { return };
    let why = match (key.trim(), value.trim()) {
        ("System clock synchronized" | "NTP synchronized", "no") => "timedatectl says so",
        ("RTC time", "n/a") => "it has no clock that runs while it is off",
        _ => return,
    };
    let span = line.part(line.trimmed()).span;
    // Not being set weighs more than having no battery.
    if facts.clock.is_none() || key.ends_with("synchronized") {
        facts.clock = Some(Spanned { value: why, span });
    }
}

/// `"bip"` and the `"base"` of address pools, wherever they stand.
pub(super) fn docker(line: &Line<'_>, facts: &mut Facts) {
    for key in ["\"bip\"", "\"base\"", "\"fixed-cidr\""] {
        let Some(at) = line.text.find(key) else { continue };
        let rest = &line.text[at + key.len()..];
        let Some(text) = rest.split('"').nth(1) else { continue };
        if let Ok(prefix) = text.parse::<IpNet>() {
            local(facts, "Docker", prefix, line.part(text).span);
        }
    }
}
