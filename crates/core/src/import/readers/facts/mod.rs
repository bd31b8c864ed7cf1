//! Readers of what else is known of a host: each takes lines and gives [`Facts`], and passes over what it does not know.
//!
//! What a file is, is told by its name where programs have fixed names, and else by its first lines. Sources here are
//! full of things that are none of our business, so nothing that is not understood is a finding.

mod bgp;
mod firewall;
pub(in crate::import) mod router;
mod system;

use super::lines::Line;
use crate::import::facts::Facts;

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Kind {
    /// `sysctl -a`, sysctl.conf(5).
    Sysctl,
    /// `iptables-save`, `iptables -S`.
    Iptables,
    /// `nft list ruleset`, nftables.conf.
    Nft,
    /// `ip addr`, `ip link`.
    Addresses,
    /// `ip route`.
    Routes,
    /// resolv.conf(5).
    Resolver,
    /// `timedatectl`.
    Clock,
    /// Docker's daemon.json.
    Docker,
    /// BIRD's configuration.
    Bird,
    /// FRR's or Quagga's.
    Frr,
}

/// What a file is, if it is one of these.
pub(in crate::import) fn kind(path: &str, text: &str) -> Option<Kind> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "resolv.conf" => return Some(Kind::Resolver),
        "daemon.json" => return Some(Kind::Docker),
        "sysctl.conf" => return Some(Kind::Sysctl),
        _ if path.contains("sysctl.d/") => return Some(Kind::Sysctl),
        _ => {}
    }
    let content = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = content().next()?;
    let starts = |words: &[&str]| words.iter().any(|word| first.starts_with(word));
    if starts(&[
        "*filter",
        "*nat",
        "*mangle",
        "*raw",
        "*security",
        "-P INPUT",
        "-P FORWARD",
        "-P PREROUTING",
        ":FORWARD",
    ]) {
        return Some(Kind::Iptables);
    }
    if content().take(20).any(|line| line.starts_with("table ") && line.ends_with('{')) {
        return Some(Kind::Nft);
    }
    if system::is_sysctl(first) {
        return Some(Kind::Sysctl);
    }
    if system::is_address(first) {
        return Some(Kind::Addresses);
    }
    if starts(&["nameserver ", "search ", "options "]) && content().any(|line| line.starts_with("nameserver ")) {
        return Some(Kind::Resolver);
    }
    if content().take(20).any(|line| line.contains("synchronized:")) {
        return Some(Kind::Clock);
    }
    if system::is_route(first) {
        return Some(Kind::Routes);
    }
    if content().any(|line| line.starts_with("protocol bgp") || line.starts_with("template bgp")) {
        return Some(Kind::Bird);
    }
    content().any(|line| line.starts_with("router bgp ")).then_some(Kind::Frr)
}

/// Reads a file of a kind.
pub(in crate::import) fn read<'t>(kind: Kind, lines: impl Iterator<Item = Line<'t>>) -> Facts {
    let mut facts = Facts::default();
    match kind {
        Kind::Sysctl => lines.for_each(|line| system::sysctl(&line, &mut facts)),
        Kind::Iptables => firewall::iptables(lines, &mut facts),
        Kind::Nft => firewall::nft(lines, &mut facts),
        Kind::Addresses => system::addresses(lines, &mut facts),
        Kind::Routes => lines.for_each(|line| system::route(&line, &mut facts)),
        Kind::Resolver => lines.for_each(|line| system::resolver(&line, &mut facts)),
        Kind::Clock => lines.for_each(|line| system::clock(&line, &mut facts)),
        Kind::Docker => lines.for_each(|line| system::docker(&line, &mut facts)),
        Kind::Bird => bgp::bird(lines, &mut facts),
        Kind::Frr => bgp::frr(lines, &mut facts),
    }
    facts
}
