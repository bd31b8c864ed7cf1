//! `wg-quick` files (wg-quick(8), wg(8)).
//!
//! Every peer has a `# friendly_name = x` line, which the common Prometheus exporters read. Without a private key the
//! file sets one from a file on the host when the device comes up, so that it can be shown to anybody. A standby peer
//! has no AllowedIPs. Link addresses are left out: they serve the agent, and a host whose IPv6 is off refuses them.

use zeroize::Zeroizing;

use super::file::{KeySource, Opening, RenderError, RenderedFile, joined, line, on_device, public_key};
use super::firewall::{clamp_commands, guards, only_clamps};
use super::settings::{FORWARDING_V6, keep_routers};
use crate::plan::{BgpPlan, MemberKind, NeighbourPlan, NodePlan, PeerPlan, host};

/// Priority of the rule that leads into a table of our own: before the main table's 32766.
pub(super) const RULE_PRIORITY: u32 = 30_000;

/// Renders one member's `wg-quick` file, `<device>.conf`.
///
/// # Errors
/// If a peer has no public key, or the private key is not the member's.
pub fn wg_quick(plan: &NodePlan, key: &KeySource<'_>) -> Result<RenderedFile, RenderError> {
    let mut body = Zeroizing::new(String::with_capacity(512 + 256 * plan.peers.len()));
    interface(plan, key, &mut body)?;
    for other in &plan.peers {
        peer(plan, other, &mut body)?;
    }
    let name = format!("{}.conf", plan.device);
    Ok(RenderedFile::new(plan, name, Opening::Header, &body).with_secret(key.is_secret()))
}

fn interface(plan: &NodePlan, key: &KeySource<'_>, out: &mut String) -> Result<(), RenderError> {
    key.check(plan)?;
    line(out, format_args!("[Interface]"));
    line(out, format_args!("# friendly_name = {}", plan.name));
    match key {
        KeySource::Inline(private) => line(out, format_args!("PrivateKey = {}", *private.reveal())),
        KeySource::File(path) => line(out, format_args!("PostUp = wg set %i private-key {path}")),
    }
    let service = plan.bgp.iter().flat_map(|bgp| &bgp.service_addresses);
    for address in plan.addresses.iter().chain(service) {
        line(out, format_args!("Address = {}", host(*address)));
    }
    if let Some(port) = plan.port {
        line(out, format_args!("ListenPort = {port}"));
    }
    line(out, format_args!("MTU = {}", plan.mtu));
    let (v4, v6) = (plan.carries(true), plan.carries(false));
    if let Some(table) = plan.own_table {
        own_table(table, v4, v6, out);
    } else if plan.routes.is_empty() && !plan.peers.is_empty() && (v4 || v6) {
        line(out, format_args!("# Routes are a routing daemon's.\nTable = off"));
    }
    if let Some(bgp) = &plan.bgp {
        learned(plan, bgp, out);
    }
    if only_clamps(plan) {
        let [set, unset] = clamp_commands(plan);
        line(out, format_args!("# TCP of the sites behind is told what fits through the tunnel."));
        line(out, format_args!("PostUp = {set}\nPreDown = {unset}"));
    }
    if plan.firewall.is_some() || guards(plan) {
        line(out, format_args!("PostUp = sh /etc/wireguard/%i.firewall up"));
        line(out, format_args!("PreDown = sh /etc/wireguard/%i.firewall down"));
    }
    if plan.forwards {
        if v4 {
            line(out, format_args!("PostUp = sysctl -q -w net.ipv4.ip_forward=1"));
        }
        if v6 {
            line(
                out,
                format_args!(
                    "# Interfaces that take an IPv6 router from advertisements keep it when the host forwards."
                ),
            );
            line(out, format_args!("PostUp = {}", keep_routers("%i")));
            line(out, format_args!("PostUp = sysctl -q -w {FORWARDING_V6}=1"));
        }
    }
    Ok(())
}

/// Routes in a table of their own that marked packets, which are the tunnel's own, don't use (`wg-quick` does the same for
/// default routes).
fn own_table(table: u32, v4: bool, v6: bool, out: &mut String) {
    line(
        out,
        format_args!("# A peer's endpoint is inside a routed prefix: the tunnel's own packets must not enter it."),
    );
    line(out, format_args!("Table = {table}"));
    line(out, format_args!("FwMark = {table}"));
    for (family, _) in [("-4", v4), ("-6", v6)].into_iter().filter(|(_, any)| *any) {
        let rule = format!("not fwmark {table} table {table} priority {RULE_PRIORITY}");
        line(out, format_args!("PostUp = ip {family} rule add {rule}"));
        line(out, format_args!("PreDown = ip {family} rule del {rule}"));
    }
    if v4 {
        line(out, format_args!("PostUp = sysctl -q -w net.ipv4.conf.all.src_valid_mark=1"));
    }
}

/// Rules by which the table of what BGP tells is asked after everything in the main table but its default route, and never by
/// the tunnels' own packets.
fn learned(plan: &NodePlan, bgp: &BgpPlan, out: &mut String) {
    let (mark, table) = (bgp.mark, bgp.table);
    line(out, format_args!("# What BGP tells is in table {table}; BIRD writes it there, see bird.conf."));
    if plan.own_table.is_none() {
        line(out, format_args!("FwMark = {mark}"));
    }
    let rules = [
        format!("not fwmark {mark} table main suppress_prefixlength 0 priority {}", RULE_PRIORITY + 50),
        format!("not fwmark {mark} table {table} priority {}", RULE_PRIORITY + 51),
    ];
    for (family, _) in [("-4", plan.carries(true)), ("-6", plan.carries(false))].into_iter().filter(|(_, any)| *any) {
        for rule in &rules {
            line(out, format_args!("PostUp = ip {family} rule add {rule}"));
            line(out, format_args!("PreDown = ip {family} rule del {rule}"));
        }
    }
}

/// Renders the devices of a node's neighbours, a file each.
///
/// # Errors
/// If the private key is not the member's.
pub fn neighbour_devices(plan: &NodePlan, key: &KeySource<'_>) -> Result<Vec<RenderedFile>, RenderError> {
    key.check(plan)?;
    let Some(bgp) = &plan.bgp else { return Ok(Vec::new()) };
    let file = |neighbour: &NeighbourPlan| {
        let body = neighbour_device(plan, bgp, neighbour, key);
        let name = format!("{}.conf", neighbour.device);
        RenderedFile::new(plan, name, Opening::Header, &body).with_secret(key.is_secret())
    };
    Ok(bgp.neighbours.iter().map(file).collect())
}

/// A file of a neighbour's own device, beside the node's key.
fn beside(key: &KeySource<'_>, ending: &str) -> String {
    let directory = match key {
        KeySource::File(path) => path.rsplit_once('/').map(|(directory, _)| directory),
        KeySource::Inline(_) => None,
    };
    format!("{}/%i.{ending}", directory.unwrap_or("/etc/wireguard"))
}

/// Nothing is routed into it but the way to the neighbour itself. WireGuard's devices make no link-local address by themselves.
fn neighbour_device(
    plan: &NodePlan,
    bgp: &BgpPlan,
    neighbour: &NeighbourPlan,
    key: &KeySource<'_>,
) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(512));
    line(&mut out, format_args!("[Interface]\n# friendly_name = {}", plan.name));
    match key {
        // It is on the host, and nobody has handed it in.
        _ if neighbour.own_public_key.is_some() => {
            line(
                &mut out,
                format_args!(
                    "# The key for this neighbour alone.\nPostUp = wg set %i private-key {}",
                    beside(key, "key")
                ),
            );
        }
        KeySource::Inline(private) => line(&mut out, format_args!("PrivateKey = {}", *private.reveal())),
        // The node has one key, in the file that is called after its own device.
        KeySource::File(path) => {
            line(&mut out, format_args!("PostUp = wg set %i private-key {}", on_device(path, plan)))
        }
    }
    if neighbour.preshared {
        let (key, file) = (neighbour.public_key, beside(key, "psk"));
        line(&mut out, format_args!("PostUp = wg set %i peer {key} preshared-key {file}"));
    }
    for address in &neighbour.own_addresses {
        line(&mut out, format_args!("Address = {address}"));
    }
    line(
        &mut out,
        format_args!("ListenPort = {}\nMTU = {}\nTable = off\nFwMark = {}", neighbour.port, neighbour.mtu, bgp.mark),
    );
    line(&mut out, format_args!("PostUp = sysctl -q -w net.ipv4.conf.%i.rp_filter=2"));
    for address in neighbour.beyond() {
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        line(&mut out, format_args!("PostUp = ip {family} route add {} dev %i", host(address)));
    }
    line(
        &mut out,
        format_args!("\n[Peer]\n# friendly_name = {}\nPublicKey = {}", neighbour.name, neighbour.public_key),
    );
    if let Some(endpoint) = &neighbour.endpoint {
        line(&mut out, format_args!("Endpoint = {endpoint}"));
    }
    line(&mut out, format_args!("AllowedIPs = 0.0.0.0/0, ::/0"));
    if let Some(seconds) = neighbour.keepalive_s {
        line(&mut out, format_args!("PersistentKeepalive = {seconds}"));
    }
    out
}

fn peer(plan: &NodePlan, peer: &PeerPlan, out: &mut String) -> Result<(), RenderError> {
    let public_key = public_key(plan, peer)?;
    line(out, format_args!("\n[Peer]"));
    line(out, format_args!("# friendly_name = {}", peer.name));
    if peer.allowed.is_empty() {
        line(out, format_args!("# standby: {}", why_standby(peer)));
    }
    line(out, format_args!("PublicKey = {public_key}"));
    if let Some(endpoint) = peer.endpoints.first() {
        line(out, format_args!("Endpoint = {endpoint}"));
    }
    if !peer.allowed.is_empty() {
        line(out, format_args!("AllowedIPs = {}", joined(&peer.allowed, ", ")));
    }
    if let Some(seconds) = peer.keepalive_s {
        line(out, format_args!("PersistentKeepalive = {seconds}"));
    }
    Ok(())
}

/// Why a peer has no allowed prefixes.
pub(super) fn why_standby(peer: &PeerPlan) -> &'static str {
    if peer.kind == MemberKind::Client { "the client prefers another node" } else { "a better path exists" }
}
