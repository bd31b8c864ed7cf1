//! Plain `ip` and `wg` commands (ip(8), wg(8)), as a script that brings the device up and down.
//!
//! Up either does everything or leaves nothing behind; a firewall stands before there is a device. Down takes away what up added but for sysctls, which others may
//! rely on by then.

use zeroize::Zeroizing;

use super::super::file::{KeySource, Opening, RenderError, RenderedFile, line, on_device};
use super::super::settings::{FORWARDING_V6, keep_routers, settings};
use super::{firewall, make_device, rules, set_up};
use crate::plan::NodePlan;

/// Renders one member's script, `DEVICE.sh`.
///
/// # Errors
/// If a peer has no public key, or the private key is not the member's.
pub fn commands(plan: &NodePlan, key: &KeySource<'_>) -> Result<RenderedFile, RenderError> {
    key.check(plan)?;
    let name = format!("{}.sh", plan.device);
    let mut body = Zeroizing::new(String::with_capacity(2_048 + 256 * plan.peers.len()));
    let out = &mut *body;
    line(out, format_args!("# Usage: {name} up | down | show. It needs wg, ip (of iproute2) and root.\nset -eu\n"));
    line(out, format_args!("fail() {{\n    echo \"{name}: $*\" >&2\n    exit 1\n}}\n"));
    make_device(plan, out);
    let guarded = firewall(plan, out);
    up(plan, key, guarded, out)?;
    down(plan, guarded, out);
    let device = &plan.device;
    line(
        out,
        format_args!(
            "case \"${{1-}}\" in\nup) up ;;\ndown) down ;;\nshow) wg show {device} ;;\n*)\n    \
             echo \"usage: {name} up | down | show\" >&2\n    exit 64\n    ;;\nesac"
        ),
    );
    Ok(RenderedFile::new(plan, name, Opening::Line("#!/bin/sh"), &body).with_secret(key.is_secret()))
}

fn up(plan: &NodePlan, key: &KeySource<'_>, guarded: bool, out: &mut String) -> Result<(), RenderError> {
    let device = &plan.device;
    line(out, format_args!("up() {{"));
    line(out, format_args!("    if ip link show dev {device} >/dev/null 2>&1; then"));
    line(out, format_args!("        fail \"there is a device {device} already\"\n    fi"));
    if let KeySource::File(path) = key {
        let path = on_device(path, plan);
        line(out, format_args!("    [ -r {path} ] || fail \"the private key of {} is to be in {path}\"", plan.name));
    }
    if guarded {
        line(out, format_args!("    firewall up"));
    }
    line(
        out,
        format_args!("    make_device\n    # What fails from here on leaves nothing half-made.\n    trap down EXIT"),
    );
    match key {
        KeySource::Inline(private) => line(
            out,
            format_args!("    printf '%s\\n' '{}' | wg set {device} private-key /dev/stdin", *private.reveal()),
        ),
        KeySource::File(path) => {
            line(out, format_args!("    wg set {device} private-key {}", on_device(path, plan)));
        }
    }
    set_up(plan, out)?;
    for (setting, value) in settings(plan) {
        if setting == FORWARDING_V6 {
            line(out, format_args!("    # Interfaces that take an IPv6 router from advertisements keep it."));
            line(out, format_args!("    {}", keep_routers(device.as_str())));
        }
        line(out, format_args!("    sysctl -q -w {setting}={value}"));
    }
    line(out, format_args!("    trap - EXIT\n}}\n"));
    Ok(())
}

fn down(plan: &NodePlan, guarded: bool, out: &mut String) {
    line(out, format_args!("down() {{"));
    for (family, rule) in rules(plan) {
        line(out, format_args!("    ip {family} rule del {rule} 2>/dev/null || true"));
    }
    // Addresses, routes and a userspace implementation go with the device.
    line(out, format_args!("    ip link delete dev {}", plan.device));
    if guarded {
        line(out, format_args!("    firewall down"));
    }
    line(out, format_args!("}}\n"));
}
