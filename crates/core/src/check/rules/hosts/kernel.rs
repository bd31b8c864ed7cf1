//! Rules over what is known of a host's kernel and of a router: forwarding, firewall, reverse path, clock, hardware.
//!
//! They need more than WireGuard files: nothing is concluded from what is not known. A host passes packets on if it is told
//! to send to one peer what another may send, or if somebody else sends it what is behind it.

use ipnet::IpNet;

use super::carry::behind;
use super::{DeviceAt, View};
use crate::check::{Finding, Findings, Hazard, Span};
use crate::import::facts::{ForwardChain, ForwardRule};
use crate::import::hosts::{Device, Effect, Host, Table};
use crate::import::labels::device_label;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for (at, host) in view.hosts.iter().enumerate() {
        let facts = &host.facts;
        if let Some(clock) = &facts.clock {
            let kind = Hazard::ClockUnset { host: host.name.clone(), why: clock.value };
            findings.push(Finding::new(kind, clock.span).with_fix("Run an NTP client that does not need the tunnel."));
        }
        if let Some(place) = facts.hwnat {
            let kind = Hazard::Hwnat { host: host.name.clone() };
            findings.push(Finding::new(kind, place).with_fix("delete system offload hwnat, commit, save."));
        }
        disabled(host, findings);
        for (number, device) in host.devices.iter().enumerate() {
            reverse_path(host, device, findings);
            let Some(whom) = passes_on(view, (at, number)) else { continue };
            forwarding_off(host, device, &whom, findings);
            firewall(host, device, findings);
        }
    }
}

fn disabled(host: &Host, findings: &mut Findings) {
    for one in &host.facts.disabled {
        let what = one.peer.as_ref().map_or("the device".to_owned(), |peer| format!("peer {peer}"));
        let device = host.devices.iter().find(|device| device.name == one.device);
        let device = device.map_or_else(|| one.device.clone(), |device| device_label(host, device));
        let kind = Hazard::PeerDisabled { what, device };
        findings.push(Finding::new(kind, one.place).with_fix("Enable or remove it, here and at the others."));
    }
}

/// For whom a host is to pass packets on between this device and others: a few words, or nobody.
fn passes_on(view: &View<'_>, at: DeviceAt) -> Option<String> {
    let lans = behind(view, at);
    if let Some((prefix, _)) = lans.first() {
        return Some(format!("{prefix} behind it"));
    }
    // Others send it more than its own addresses: what it has peers for, it relays.
    let device = view.device(at);
    if device.peers.len() < 2 {
        return None;
    }
    let relayed =
        |prefix: &IpNet| device.peers.iter().flat_map(|peer| &peer.allowed).any(|p| prefix.contains(&p.value.trunc()));
    let own = |prefix: &IpNet| device.addresses.iter().any(|address| IpNet::from(address.value.addr()) == *prefix);
    let mut sent = view.sent_to(at).map(|(prefix, _)| prefix).filter(|prefix| !own(prefix));
    sent.any(|prefix| relayed(&prefix)).then(|| "its peers".to_owned())
}

fn forwarding_off(host: &Host, device: &Device, whom: &str, findings: &mut Findings) {
    for (family, v6, keys) in [
        ("IPv4", false, ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"]),
        ("IPv6", true, ["net.ipv6.conf.all.forwarding", "net.ipv6.conf.all.forwarding"]),
    ] {
        let has = device.addresses.iter().any(|address| address.value.addr().is_ipv6() == v6);
        let by_hook =
            host.devices.iter().flat_map(Device::effects_up).any(|effect| *effect == Effect::Forwarding { v6 });
        let known = keys.iter().find_map(|key| Some((*key, host.facts.sysctl(key)?)));
        let Some((key, (0, place))) = known.filter(|_| has && !by_hook) else { continue };
        let kind =
            Hazard::ForwardingOff { host: host.name.clone(), family, whom: whom.to_owned(), key: key.to_owned() };
        findings.push(
            Finding::new(kind, place)
                .with_related(device.place, "the device")
                .with_fix(format!("Write {key} = 1 to a file in sysctl.d, and load it with sysctl --system.")),
        );
    }
}

/// The first chain that refuses what comes out of the device, unless something before accepts it.
fn firewall(host: &Host, device: &Device, findings: &mut Findings) {
    for chain in &host.facts.forward {
        let Some((place, why)) = refuses(chain, &device.name, accepted_at(chain, device)) else { continue };
        let kind = Hazard::ForwardRefused { host: host.name.clone(), why };
        findings.push(Finding::new(kind, place).with_related(device.place, "the device").with_fix(format!(
            "Accept before it what comes from {0} and goes to {0}, or in a chain of your own.",
            device.name
        )));
        return;
    }
}

/// Before how many of a chain's rules a hook of the device puts one that accepts what comes from it.
fn accepted_at(chain: &ForwardChain, device: &Device) -> Option<usize> {
    // iptables-nft shows up as nft's chain of the table "filter".
    if chain.name != "FORWARD" && chain.name != "filter FORWARD" {
        return None;
    }
    let hooks = device.effects_up().filter_map(|effect| match effect {
        Effect::ForwardAccept { v6, position, input, removed: false, .. } => Some((*v6, *position, input.as_deref())),
        _ => None,
    });
    let about = |v6: bool| if v6 { chain.v6 } else { chain.v4 };
    let fits = |input: Option<&str>| input.is_none_or(|name| name == "%i" || matches(name, &device.name));
    let fitting = hooks.filter(|(v6, _, input)| about(*v6) && fits(*input));
    fitting.map(|(_, position, _)| position.map_or(usize::MAX, |position| position as usize - 1)).min()
}

/// What in a chain refuses all that comes from a device, if a rule that accepts it stands at `accepted`.
fn refuses(chain: &ForwardChain, device: &str, accepted: Option<usize>) -> Option<(Span, String)> {
    for (at, rule) in chain.rules.iter().enumerate() {
        let accepts = rule.accepts && !rule.limited && concerns(rule, device);
        if accepts || accepted.is_some_and(|accepted| accepted <= at) {
            return None;
        }
        let all = !rule.accepts && !rule.limited && rule.output.is_none();
        if all && rule.input.as_ref().is_none_or(|name| matches(name, device)) {
            let why = match accepted {
                Some(_) => format!("in {}, this rule stands before the one that a hook adds", chain.name),
                None => format!("nothing in {} accepts what comes from {device} before this rule", chain.name),
            };
            return Some((rule.place, why));
        }
    }
    let place = chain.refuses.filter(|_| accepted.is_none())?;
    Some((place, format!("the policy of {} is drop, and no rule accepts what comes from {device}", chain.name)))
}

/// Whether an accepting rule lets new connections from a device pass.
fn concerns(rule: &ForwardRule, device: &str) -> bool {
    match (&rule.input, &rule.output) {
        (None, None) => true,
        (Some(input), _) => matches(input, device),
        (None, Some(_)) => false,
    }
}

/// `wg+` of iptables and `wg*` of nft stand for all that begins so.
fn matches(pattern: &str, device: &str) -> bool {
    match pattern.strip_suffix(['+', '*']) {
        Some(start) => device.starts_with(start),
        None => pattern == device,
    }
}

fn reverse_path(host: &Host, device: &Device, findings: &mut Findings) {
    let key = |name: &str| format!("net.ipv4.conf.{name}.rp_filter");
    let all = host.facts.sysctl(&key("all")).map(|(value, span)| (value, key("all"), span));
    // A device that is not up yet gets the default's value.
    let own = ["default".to_owned(), device.name.replace('.', "/"), device.name.clone()];
    let own = own.iter().rev().find_map(|name| Some((host.facts.sysctl(&key(name))?, key(name))));
    let own = own.map(|((value, span), key)| (value, key, span));
    let Some((1, key, place)) = all.into_iter().chain(own).max_by_key(|(value, ..)| *value) else { return };
    let Some(why) = ways_differ(host, device) else { return };
    let kind = Hazard::ReversePath { host: host.name.clone(), device: device.name.clone(), key, why };
    findings.push(
        Finding::new(kind, place)
            .with_related(device.place, "the device")
            .with_fix("Set rp_filter to 2 (loose) for all and for the device."),
    );
}

/// Why answers to what comes from a device may leave by another.
fn ways_differ(host: &Host, device: &Device) -> Option<String> {
    let routed = device.effects_up().any(|effect| matches!(effect, Effect::Route { .. }));
    if device.table.as_ref().is_some_and(|table| table.value == Table::Off) && !routed {
        return Some("its routes are made elsewhere".into());
    }
    let prefixes = |device: &Device| -> Vec<IpNet> {
        device.peers.iter().flat_map(|peer| &peer.allowed).map(|prefix| prefix.value.trunc()).collect()
    };
    let own = prefixes(device);
    let others = host.devices.iter().filter(|other| other.name != device.name);
    for other in others {
        let theirs = prefixes(other);
        let shared = own.iter().find(|mine| theirs.iter().any(|their| their.contains(*mine) || mine.contains(their)));
        if let Some(shared) = shared {
            return Some(format!("{shared} is also reached through {}", other.name));
        }
    }
    let marked = device.fwmark.as_ref().is_some_and(|_| own.iter().any(|prefix| prefix.prefix_len() == 0));
    let valid = host.facts.sysctl("net.ipv4.conf.all.src_valid_mark").is_some_and(|(value, _)| value == 1);
    (marked && !valid).then(|| "its own packets are routed by a mark that src_valid_mark does not count".into())
}
