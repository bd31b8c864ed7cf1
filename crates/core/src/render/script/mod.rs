//! Shell scripts and what is made of them: plain commands, a container's entrypoint, user-data for a new machine.
//!
//! Scripts are POSIX sh, as dash and busybox have it. Everything the plan says stands in them as it is; nothing is filled
//! in by patterns when they run. The only thing that comes from outside is the private key.

mod cloud_init;
mod commands;
mod container;

pub use cloud_init::cloud_init;
pub use commands::commands;
pub use container::container;

use super::file::{RenderError, joined, line, public_key};
use super::firewall::firewall_script;
use super::wg_quick::{RULE_PRIORITY, why_standby};
use crate::plan::{NodePlan, PeerPlan, host};

/// The function `make_device`: the kernel's WireGuard, or else a program that speaks it.
fn make_device(plan: &NodePlan, out: &mut String) {
    let device = &plan.device;
    line(
        out,
        format_args!(
            r#"# The kernel's WireGuard. Without it the program in WG_USERSPACE, called with the device's name as its last word.
make_device() {{
    ip link add dev {device} type wireguard 2>/dev/null && return
    if [ -z "${{WG_USERSPACE-}}" ]; then
        if command -v wayleave >/dev/null; then
            WG_USERSPACE="wayleave engine"
        elif command -v wireguard-go >/dev/null; then
            WG_USERSPACE=wireguard-go
        else
            fail "the kernel has no WireGuard, and there is neither wayleave nor wireguard-go; name one in WG_USERSPACE"
        fi
    fi
    # Two words, as in "wayleave engine", are a program and its argument.
    $WG_USERSPACE {device} || fail "$WG_USERSPACE did not make the device"
}}
"#
        ),
    );
}

/// The function `firewall`, to be called with `up` or `down`; whether there is one.
fn firewall(plan: &NodePlan, out: &mut String) -> bool {
    let Some(script) = firewall_script(plan) else { return false };
    line(out, format_args!("# The firewall's own script, which reads its text from here.\nfirewall() {{"));
    line(out, format_args!("    sh -s \"$1\" <<'FIREWALL'\n{}FIREWALL\n}}\n", *script.text));
    true
}

/// Everything of a device but its private key, which must be set before: one command a line, indented.
fn set_up(plan: &NodePlan, out: &mut String) -> Result<(), RenderError> {
    let device = &plan.device;
    if let Some(port) = plan.port {
        line(out, format_args!("    wg set {device} listen-port {port}"));
    }
    if let Some(mark) = plan.own_table {
        line(out, format_args!("    wg set {device} fwmark {mark}"));
    }
    for other in &plan.peers {
        peer(plan, other, out)?;
    }
    for address in &plan.addresses {
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        line(out, format_args!("    ip {family} address add {} dev {device}", host(*address)));
    }
    line(out, format_args!("    ip link set dev {device} mtu {} up", plan.mtu));
    let table = plan.own_table.map(|table| format!(" table {table}")).unwrap_or_default();
    for prefix in &plan.routes {
        let family = if prefix.addr().is_ipv4() { "-4" } else { "-6" };
        line(out, format_args!("    ip {family} route add {prefix} dev {device}{table}"));
    }
    for rule in rules(plan) {
        line(out, format_args!("    ip {} rule add {}", rule.0, rule.1));
    }
    Ok(())
}

fn peer(plan: &NodePlan, peer: &PeerPlan, out: &mut String) -> Result<(), RenderError> {
    line(out, format_args!("    # friendly_name = {}", peer.name));
    if peer.allowed.is_empty() {
        line(out, format_args!("    # standby: {}", why_standby(peer)));
    }
    let mut words = format!("    wg set {} peer {}", plan.device, public_key(plan, peer)?);
    if let Some(endpoint) = peer.endpoints.first() {
        // Brackets of IPv6 addresses mean something to shells.
        words += &format!(" endpoint '{endpoint}'");
    }
    if let Some(seconds) = peer.keepalive_s {
        words += &format!(" persistent-keepalive {seconds}");
    }
    if !peer.allowed.is_empty() {
        words += &format!(" allowed-ips {}", joined(&peer.allowed, ","));
    }
    line(out, format_args!("{words}"));
    Ok(())
}

/// Rules that lead all but the tunnel's own packets into its table: the family's option of `ip`, and the rule.
fn rules(plan: &NodePlan) -> Vec<(&'static str, String)> {
    let Some(table) = plan.own_table else { return Vec::new() };
    let families = [("-4", plan.carries(true)), ("-6", plan.carries(false))];
    let rule = format!("not fwmark {table} table {table} priority {RULE_PRIORITY}");
    families.into_iter().filter(|(_, any)| *any).map(|(family, _)| (family, rule.clone())).collect()
}
