//! systemd-networkd: the device in a `.netdev` file, addresses and routes in a `.network` file, and what the kernel is
//! to be told in a sysctl.d file (systemd.netdev(5), systemd.network(5), sysctl.d(5)).
//!
//! Routes are written one by one instead of by `RouteTable=` of the device, which older versions don't know; forwarding
//! by sysctl, since `IPForward=` became `IPv4Forwarding=` in version 256. networkd runs as a user of its own, so the
//! key's file must be readable by the group `systemd-network`.

use zeroize::Zeroizing;

use super::file::{KeySource, Opening, RenderError, RenderedFile, joined, line, on_device, public_key};
use super::firewall::firewall_script;
use super::settings::{self, FORWARDING_V6, keep_routers};
use super::wg_quick::{RULE_PRIORITY, why_standby};
use crate::plan::{NodePlan, PeerPlan, host};

/// Renders one member's files: `30-DEVICE.netdev`, `30-DEVICE.network` and, if it needs them, `60-DEVICE.conf` for sysctl.d
/// and `wayleave-DEVICE.service`, which runs the firewall's script and switches forwarding over IPv6 on.
///
/// # Errors
/// If a peer has no public key, or the private key is not the member's.
pub fn networkd(plan: &NodePlan, key: &KeySource<'_>) -> Result<Vec<RenderedFile>, RenderError> {
    let device = &plan.device;
    let netdev = netdev(plan, key)?;
    let netdev = RenderedFile::new(plan, format!("30-{device}.netdev"), Opening::Header, &netdev);
    let network = RenderedFile::new(plan, format!("30-{device}.network"), Opening::Header, &network(plan));
    let settings = settings::lines(plan);
    let sysctl = (!settings.is_empty())
        .then(|| RenderedFile::new(plan, format!("60-{device}.conf"), Opening::Header, &settings));
    let unit =
        unit(plan).map(|text| RenderedFile::new(plan, format!("wayleave-{device}.service"), Opening::Header, &text));
    Ok([netdev.with_secret(key.is_secret()), network].into_iter().chain(sysctl).chain(unit).collect())
}

/// A unit for what takes commands: the firewall, which is set before there is a network and after what begins by removing
/// all rules, and forwarding over IPv6, before which interfaces are told to keep their routers.
fn unit(plan: &NodePlan) -> Option<String> {
    let (device, has_script) = (plan.device.as_str(), firewall_script(plan).is_some());
    let script = format!("/bin/sh /etc/wireguard/{device}.firewall");
    let mut commands = String::new();
    if has_script {
        line(&mut commands, format_args!("ExecStart={script} up\nExecStop={script} down"));
    }
    if settings::forwards_v6(plan) {
        // systemd has a meaning of its own for dollars and percent signs.
        let keep = keep_routers(device).replace('%', "%%").replace('$', "$$");
        line(&mut commands, format_args!("ExecStart=/bin/sh -c '{keep}'\nExecStart=sysctl -q -w {FORWARDING_V6}=1"));
    }
    (!commands.is_empty()).then(|| {
        let what = if has_script { format!("Firewall of {device}") } else { format!("Forwarding for {device}") };
        format!(
            "[Unit]\nDescription={what}\nWants=network-pre.target\nBefore=network-pre.target\n\
             After=nftables.service netfilter-persistent.service ufw.service\n\n\
             [Service]\nType=oneshot\nRemainAfterExit=yes\n{commands}\n\
             [Install]\nWantedBy=multi-user.target\n"
        )
    })
}

fn netdev(plan: &NodePlan, key: &KeySource<'_>) -> Result<Zeroizing<String>, RenderError> {
    key.check(plan)?;
    let mut text = Zeroizing::new(String::with_capacity(512 + 256 * plan.peers.len()));
    let out = &mut *text;
    line(out, format_args!("[NetDev]"));
    line(out, format_args!("Name={}\nKind=wireguard\nMTUBytes={}", plan.device, plan.mtu));
    line(out, format_args!("\n[WireGuard]"));
    match key {
        KeySource::Inline(private) => line(out, format_args!("PrivateKey={}", *private.reveal())),
        KeySource::File(path) => line(out, format_args!("PrivateKeyFile={}", on_device(path, plan))),
    }
    if let Some(port) = plan.port {
        line(out, format_args!("ListenPort={port}"));
    }
    if let Some(mark) = plan.own_table {
        line(out, format_args!("FirewallMark={mark}"));
    }
    for other in &plan.peers {
        peer(plan, other, out)?;
    }
    Ok(text)
}

fn peer(plan: &NodePlan, peer: &PeerPlan, out: &mut String) -> Result<(), RenderError> {
    line(out, format_args!("\n# friendly_name = {}\n[WireGuardPeer]", peer.name));
    if peer.allowed.is_empty() {
        line(out, format_args!("# standby: {}", why_standby(peer)));
    }
    line(out, format_args!("PublicKey={}", public_key(plan, peer)?));
    if let Some(endpoint) = peer.endpoints.first() {
        line(out, format_args!("Endpoint={endpoint}"));
    }
    if !peer.allowed.is_empty() {
        line(out, format_args!("AllowedIPs={}", joined(&peer.allowed, ",")));
    }
    if let Some(seconds) = peer.keepalive_s {
        line(out, format_args!("PersistentKeepalive={seconds}"));
    }
    Ok(())
}

fn network(plan: &NodePlan) -> String {
    let mut text = String::with_capacity(256 + 64 * plan.routes.len());
    let out = &mut text;
    line(out, format_args!("[Match]\nName={}", plan.device));
    // The host is online without its tunnels, which nobody may have dialled yet.
    line(out, format_args!("\n[Link]\nRequiredForOnline=no"));
    line(out, format_args!("\n[Network]\nLinkLocalAddressing=no\nIPv6AcceptRA=no"));
    for address in &plan.addresses {
        line(out, format_args!("Address={}", host(*address)));
    }
    for prefix in &plan.routes {
        line(out, format_args!("\n[Route]\nDestination={prefix}"));
        if prefix.addr().is_ipv4() {
            line(out, format_args!("Scope=link"));
        }
        if let Some(table) = plan.own_table {
            line(out, format_args!("Table={table}"));
        }
    }
    if let Some(table) = plan.own_table {
        line(
            out,
            format_args!(
                "\n# A peer's endpoint is inside a routed prefix: the tunnel's own packets must not enter it."
            ),
        );
        let families = [("ipv4", plan.carries(true)), ("ipv6", plan.carries(false))];
        for (family, _) in families.into_iter().filter(|(_, any)| *any) {
            line(out, format_args!("[RoutingPolicyRule]\nFamily={family}\nFirewallMark={table}\nInvertRule=yes"));
            line(out, format_args!("Table={table}\nPriority={RULE_PRIORITY}\n"));
        }
    }
    text
}
