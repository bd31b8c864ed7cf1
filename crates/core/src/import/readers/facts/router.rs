//! EdgeOS and VyOS beside WireGuard: hardware NAT, source validation, time servers, what is disabled, addresses, BGP.
//!
//! The tree with braces and `set` lines become the same words, which are matched from the front.

use std::collections::BTreeMap;

use super::super::lines::Line;
use super::bgp::{Neighbour, sessions};
use crate::check::Span;
use crate::file::Spanned;
use crate::import::facts::{Disabled, Facts, LocalNetwork};
use crate::limits::NESTING_DEPTH_MAX;

/// Reads what is not about WireGuard itself.
pub(in crate::import) fn read<'t>(lines: impl Iterator<Item = Line<'t>>) -> Facts {
    let mut router = Router::default();
    let mut open: Vec<Vec<String>> = Vec::new();
    for line in lines {
        let text = line.trimmed();
        let place = line.part(text).span;
        let text = text.split_once("# set ").map_or(text, |(_, rest)| rest);
        let words = |text: &str| -> Vec<String> {
            text.split_whitespace().map(|word| word.trim_matches(['\'', '"']).to_owned()).collect()
        };
        if text == "}" {
            open.pop();
        } else if let Some(inner) = text.strip_suffix('{').filter(|_| open.len() < NESTING_DEPTH_MAX) {
            open.push(words(inner));
            router.setting(&open.concat(), place);
        } else if let Some(rest) = text.strip_prefix("set ") {
            router.setting(&words(rest), place);
        } else if !open.is_empty() && !text.is_empty() && !text.starts_with(['#', '/', '!']) {
            let mut path = open.concat();
            path.extend(words(text));
            router.setting(&path, place);
        }
    }
    router.finish()
}

#[derive(Default)]
struct Router {
    facts: Facts,
    /// Where the configuration of the system begins, if it is there.
    system: Option<Span>,
    has_time: bool,
    own_as: Option<String>,
    neighbours: BTreeMap<String, Neighbour>,
}

impl Router {
    fn setting(&mut self, path: &[String], place: Span) {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["system", "offload", "hwnat", "enable"] => self.facts.hwnat = Some(place),
            ["system", "ntp", ..] | ["service", "ntp", ..] => self.has_time = true,
            ["system", "host-name" | "login" | "time-zone", ..] => self.system = self.system.or(Some(place)),
            ["firewall", "source-validation", mode] => {
                let value = match *mode {
                    "strict" => "1",
                    "loose" => "2",
                    _ => "0",
                };
                let value = Spanned { value: value.to_owned(), span: place };
                self.facts.sysctls.insert("net.ipv4.conf.all.rp_filter".into(), value);
            }
            ["firewall", "options", "mss-clamp" | "mss-clamp6", ..]
            | ["firewall", "options", "interface", _, "adjust-mss" | "adjust-mss6", ..]
            | ["interfaces", "wireguard", _, "ip" | "ipv6", "adjust-mss", ..] => self.facts.clamps_mss = true,
            ["interfaces", "wireguard", device, "disable"] => self.disabled(device, None, place),
            ["interfaces", "wireguard", device, "peer", peer, "disable"] => self.disabled(device, Some(peer), place),
            ["interfaces", kind, interface, "address", address] if *kind != "wireguard" => {
                if let Ok(prefix) = address.parse::<ipnet::IpNet>() {
                    let (interface, prefix) = ((*interface).to_owned(), prefix.trunc());
                    self.facts.networks.push(LocalNetwork { interface, prefix, place });
                }
            }
            ["protocols", "bgp", own, "neighbor", neighbour, rest @ ..] => {
                self.own_as = Some((*own).to_owned());
                self.neighbour(neighbour, rest, place);
            }
            ["protocols", "bgp", "system-as" | "local-as", own] => self.own_as = Some((*own).to_owned()),
            ["protocols", "bgp", "neighbor", neighbour, rest @ ..] => self.neighbour(neighbour, rest, place),
            _ => {}
        }
    }

    fn disabled(&mut self, device: &str, peer: Option<&str>, place: Span) {
        self.facts.disabled.push(Disabled { device: device.to_owned(), peer: peer.map(str::to_owned), place });
    }

    fn neighbour(&mut self, address: &str, rest: &[&str], place: Span) {
        let neighbour = self.neighbours.entry(address.to_owned()).or_insert_with(|| Neighbour::new(place));
        match rest {
            ["remote-as", number] => neighbour.remote_as = Some((*number).to_owned()),
            [.., "nexthop-self"] | [.., "nexthop-self", _] => neighbour.next_hop_self = true,
            [.., "extended-nexthop"] => neighbour.extended_next_hop = true,
            [.., "ipv4-unicast"] => neighbour.v4_routes = Some(place),
            _ => {}
        }
    }

    fn finish(mut self) -> Facts {
        if let Some(span) = self.system.filter(|_| !self.has_time) {
            self.facts.clock = Some(Spanned { value: "its configuration names no time server", span });
        }
        self.facts.sessions = sessions(self.own_as.as_deref(), self.neighbours);
        self.facts
    }
}
