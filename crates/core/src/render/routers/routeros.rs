//! MikroTik RouterOS 7: a script for `/import`, under `/interface/wireguard`.
//!
//! It may be imported again and again: what is there is set, what is missing is added first. What an earlier plan had and
//! this one has not is removed at the end, so that there is no moment without a way.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::super::file::{KeySource, Opening as Head, RenderError, RenderedFile, joined, line, on_device, public_key};
use super::{RESTRICTED, check};
use crate::network::{Host, Platform};
use crate::plan::{NodePlan, PeerPlan, host};

/// Renders one member's script, `DEVICE.rsc`; with an earlier plan it also removes what that had.
///
/// # Errors
/// If a peer has no public key, the private key is not the member's, or the plan needs a routing table of its own.
pub fn routeros(
    plan: &NodePlan,
    key: &KeySource<'_>,
    previous: Option<&NodePlan>,
) -> Result<RenderedFile, RenderError> {
    key.check(plan)?;
    check(plan, Platform::Routeros)?;
    let device = &plan.device;
    let mut body = Zeroizing::new(String::with_capacity(1_024 + 512 * plan.peers.len()));
    let out = &mut *body;
    let private = Zeroizing::new(match key {
        KeySource::Inline(private) => format!("\"{}\"", *private.reveal()),
        // 44 characters, without the end of the line.
        KeySource::File(path) => format!("[:pick [/file/get \"{}\" contents] 0 44]", on_device(path, plan)),
    });
    add(out, "/interface/wireguard", &format!("name=\"{device}\""), "");
    let port = plan.port.map(|port| format!(" listen-port={port}")).unwrap_or_default();
    line(
        out,
        format_args!(
            "/interface/wireguard/set [find name=\"{device}\"] mtu={}{port} private-key={}",
            plan.mtu, *private
        ),
    );
    for other in &plan.peers {
        peer(plan, other, out)?;
    }
    for address in &plan.addresses {
        let (menu, fields, more) = address_in(plan, *address);
        add(out, menu, &fields, more);
    }
    for prefix in &plan.routes {
        let (menu, fields) = route_in(plan, prefix);
        add(out, menu, &fields, "");
    }
    opened(plan, out);
    if plan.clamps_mss {
        for (menu, side) in clamps(plan) {
            let comment = format!("comment=\"{}\"", own_mark(plan));
            let rule = format!(
                " chain=forward protocol=tcp tcp-flags=syn action=change-mss new-mss=clamp-to-pmtu passthrough=yes {comment}"
            );
            let fields = format!("{side}=\"{device}\" {comment}");
            line(
                out,
                format_args!(":if ([:len [{menu}/find {fields}]] = 0) do={{ {menu}/add {side}=\"{device}\"{rule} }}"),
            );
        }
    }
    if let Some(old) = previous {
        removals(plan, old, out);
    }
    let name = format!("{device}.rsc");
    Ok(RenderedFile::new(plan, name, Head::Header, &body).with_secret(key.is_secret()))
}

/// Adds an item unless it is there.
fn add(out: &mut String, menu: &str, fields: &str, more: &str) {
    line(out, format_args!(":if ([:len [{menu}/find {fields}]] = 0) do={{ {menu}/add {fields}{more} }}"));
}

fn address_in(plan: &NodePlan, address: std::net::IpAddr) -> (&'static str, String, &'static str) {
    let fields = format!("address={} interface=\"{}\"", host(address), plan.device);
    if address.is_ipv4() { ("/ip/address", fields, "") } else { ("/ipv6/address", fields, " advertise=no") }
}

fn route_in(plan: &NodePlan, prefix: &ipnet::IpNet) -> (&'static str, String) {
    let menu = if prefix.addr().is_ipv4() { "/ip/route" } else { "/ipv6/route" };
    (menu, format!("dst-address={prefix} gateway=\"{}\"", plan.device))
}

fn peer(plan: &NodePlan, peer: &PeerPlan, out: &mut String) -> Result<(), RenderError> {
    let menu = "/interface/wireguard/peers";
    let fields = format!("interface=\"{}\" public-key=\"{}\"", plan.device, public_key(plan, peer)?);
    add(out, menu, &fields, "");
    let mut words = format!("{menu}/set [find {fields}] comment=\"{}\"", peer.name);
    if let Some(endpoint) = peer.endpoints.first() {
        let host = match &endpoint.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Dns(name) => name.clone(),
        };
        let _ = write!(words, " endpoint-address=\"{host}\" endpoint-port={}", endpoint.port);
    }
    if let Some(seconds) = peer.keepalive_s {
        let _ = write!(words, " persistent-keepalive={seconds}s");
    }
    let _ = write!(words, " allowed-address=\"{}\"", joined(&peer.allowed, ","));
    line(out, format_args!("{words}"));
    Ok(())
}

/// Lets in the port, and unless there is a policy what comes out of the tunnel and goes into it: before other rules, since
/// the vendor's own drop what does not come from the LAN.
fn opened(plan: &NodePlan, out: &mut String) {
    for opening in openings(plan) {
        let (menu, chain, found) = (opening.menu, opening.chain, opening.found());
        let rule = format!("{found}{} action=accept", opening.more);
        line(
            out,
            format_args!(
                ":if ([:len [{menu}/find {found}]] = 0) do={{ :do {{ {menu}/add {rule} place-before=[:pick \
                 [{menu}/find chain={chain} dynamic=no] 0] }} on-error={{ {menu}/add {rule} }} }}"
            ),
        );
        if !opening.more.is_empty() {
            line(out, format_args!("{menu}/set [find {found}]{}", opening.more));
        }
    }
    if plan.is_restricted {
        line(out, format_args!("# {RESTRICTED}"));
    }
}

/// A rule that lets something in.
struct Opening {
    menu: &'static str,
    chain: &'static str,
    /// By which it is found again.
    known_by: String,
    /// What may change.
    more: String,
}

impl Opening {
    fn found(&self) -> String {
        format!("chain={} {}", self.chain, self.known_by)
    }

    fn is_same(&self, other: &Opening) -> bool {
        (self.menu, self.chain, &self.known_by) == (other.menu, other.chain, &other.known_by)
    }
}

fn openings(plan: &NodePlan) -> Vec<Opening> {
    let (device, mark, mut rules) = (&plan.device, own_mark(plan), Vec::new());
    for (v4, menu) in [(true, "/ip/firewall/filter"), (false, "/ipv6/firewall/filter")] {
        let port = plan.port.map(|port| format!(" protocol=udp dst-port={port}"));
        let known_by = format!("comment=\"{mark}-port\"");
        rules.extend(port.map(|more| Opening { menu, chain: "input", known_by, more }));
        for (chain, side) in [("input", "in-interface"), ("forward", "in-interface"), ("forward", "out-interface")] {
            if !plan.is_restricted && plan.carries(v4) && (chain == "input" || plan.forwards) {
                let known_by = format!("{side}=\"{device}\" comment=\"{mark}\"");
                rules.push(Opening { menu, chain, known_by, more: String::new() });
            }
        }
    }
    rules
}

/// Menus and sides of the rules that adapt the size of TCP's segments.
fn clamps(plan: &NodePlan) -> impl Iterator<Item = (&'static str, &'static str)> {
    let menus = [("/ip/firewall/mangle", plan.carries(true)), ("/ipv6/firewall/mangle", plan.carries(false))];
    let used = menus.into_iter().filter(|(_, any)| *any);
    used.flat_map(|(menu, _)| ["in-interface", "out-interface"].map(|side| (menu, side)))
}

/// By which rules of ours are found again.
fn own_mark(plan: &NodePlan) -> String {
    format!("wayleave-{}", plan.device)
}

fn removals(plan: &NodePlan, old: &NodePlan, out: &mut String) {
    let menu = "/interface/wireguard/peers";
    if old.device != plan.device {
        remove_clamps(old, |_| true, out);
        remove_openings(old, &[], out);
        line(out, format_args!("/interface/wireguard/remove [find name=\"{}\"]", old.device));
        return;
    }
    let find =
        |peer: &PeerPlan| Some(format!("[find interface=\"{}\" public-key=\"{}\"]", plan.device, peer.public_key?));
    for was in &old.peers {
        let Some(which) = find(was) else { continue };
        let Some(is) = plan.peers.iter().find(|peer| peer.public_key == was.public_key) else {
            line(out, format_args!("{menu}/remove {which}"));
            continue;
        };
        if was.keepalive_s.is_some() && is.keepalive_s.is_none() {
            line(out, format_args!("{menu}/set {which} persistent-keepalive=0s"));
        }
        if !was.endpoints.is_empty() && is.endpoints.is_empty() {
            line(out, format_args!("{menu}/set {which} endpoint-address=\"\" endpoint-port=0"));
        }
    }
    remove_openings(old, &openings(plan), out);
    let kept: Vec<_> = clamps(plan).filter(|_| plan.clamps_mss).collect();
    remove_clamps(old, |rule| !kept.contains(rule), out);
    for prefix in old.routes.iter().filter(|prefix| !plan.routes.contains(prefix)) {
        let (menu, fields) = route_in(plan, prefix);
        line(out, format_args!("{menu}/remove [find {fields}]"));
    }
    for address in old.addresses.iter().filter(|address| !plan.addresses.contains(address)) {
        let (menu, fields, _) = address_in(plan, *address);
        line(out, format_args!("{menu}/remove [find {fields}]"));
    }
}

/// Removes what an earlier plan let in, but for what is kept.
fn remove_openings(old: &NodePlan, kept: &[Opening], out: &mut String) {
    for gone in openings(old).iter().filter(|was| !kept.iter().any(|is| is.is_same(was))) {
        line(out, format_args!("{}/remove [find {}]", gone.menu, gone.found()));
    }
}

/// Removes those rules of an earlier plan.
fn remove_clamps(old: &NodePlan, which: impl Fn(&(&'static str, &'static str)) -> bool, out: &mut String) {
    for (menu, side) in clamps(old).filter(|rule| old.clamps_mss && which(rule)) {
        let (device, mark) = (&old.device, own_mark(old));
        line(out, format_args!("{menu}/remove [find {side}=\"{device}\" comment=\"{mark}\"]"));
    }
}
