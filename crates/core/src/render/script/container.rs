//! A container's entrypoint: makes the device in the container's own network, then becomes the container's command.
//!
//! The private key comes from the environment, or from a file that the environment names, as orchestrators hand in
//! secrets. It is taken out of the environment before anything else is started, and never stands on a command line.

use super::super::file::{KeySource, Opening, RenderError, RenderedFile, line};
use super::super::settings::{FORWARDING_V6, keep_routers, settings};
use super::{firewall, make_device, set_up};
use crate::plan::NodePlan;

/// Renders one member's entrypoint, `entrypoint.sh`. A private key that is handed in is checked and not written.
///
/// # Errors
/// If a peer has no public key, or the private key is not the member's.
pub fn container(plan: &NodePlan, key: &KeySource<'_>) -> Result<RenderedFile, RenderError> {
    key.check(plan)?;
    let (device, name) = (&plan.device, &plan.name);
    let mut body = String::with_capacity(3_072 + 256 * plan.peers.len());
    let out = &mut body;
    line(
        out,
        format_args!(
            r#"# The entrypoint of a container: its arguments are the command that it becomes; without any it waits for its end.
# It needs wg, ip (of iproute2), the capability NET_ADMIN, and /dev/net/tun where the kernel has no WireGuard.
# The private key of {name} is in WG_PRIVATE_KEY, or in the file that WG_PRIVATE_KEY_FILE names.
set -eu

fail() {{
    echo "entrypoint.sh: $*" >&2
    exit 1
}}
"#
        ),
    );
    make_device(plan, out);
    let guarded = firewall(plan, out);
    take_key(plan, out);
    line(out, format_args!("up() {{"));
    if guarded {
        line(out, format_args!("    firewall up"));
    }
    line(out, format_args!("    make_device"));
    line(out, format_args!("    printf '%s\\n' \"$private\" | wg set {device} private-key /dev/stdin"));
    set_up(plan, out)?;
    for (setting, value) in settings(plan) {
        if setting == FORWARDING_V6 {
            // Where this can't be written, forwarding can't be switched on either, which is said below.
            line(out, format_args!("    ({}) 2>/dev/null || true", keep_routers(device.as_str())));
        }
        let file = setting.replace('.', "/");
        line(out, format_args!("    [ \"$(cat /proc/sys/{file})\" = {value} ] || sysctl -q -w {setting}={value} ||"));
        line(out, format_args!("        fail \"start the container with --sysctl {setting}={value}\""));
    }
    line(out, format_args!("}}\n"));
    line(
        out,
        format_args!(
            r#"take_key
up
unset private
[ "$#" = 0 ] || exec "$@"
# Signals end a wait at once, a sleep only when it is over.
trap 'ip link delete dev {device}; kill "$sleeping"; exit 0' TERM INT
while :; do
    sleep 3600 &
    sleeping=$!
    wait "$sleeping" || true
done"#
        ),
    );
    Ok(RenderedFile::new(plan, "entrypoint.sh".to_owned(), Opening::Line("#!/bin/sh"), &body))
}

fn take_key(plan: &NodePlan, out: &mut String) {
    let name = &plan.name;
    line(
        out,
        format_args!(
            r#"take_key() {{
    if [ -n "${{WG_PRIVATE_KEY_FILE-}}" ]; then
        [ -r "$WG_PRIVATE_KEY_FILE" ] || fail "WG_PRIVATE_KEY_FILE is $WG_PRIVATE_KEY_FILE, which can't be read"
        WG_PRIVATE_KEY=$(cat "$WG_PRIVATE_KEY_FILE")
    fi
    [ -n "${{WG_PRIVATE_KEY-}}" ] || fail "WG_PRIVATE_KEY is not set; it is to hold the private key of {name}"
    private=$WG_PRIVATE_KEY
    unset WG_PRIVATE_KEY WG_PRIVATE_KEY_FILE
    public=$(printf '%s\n' "$private" | wg pubkey 2>/dev/null) || fail "what is in WG_PRIVATE_KEY is no private key""#
        ),
    );
    if let Some(public) = plan.public_key {
        line(
            out,
            format_args!(
                "    [ \"$public\" = {public} ] ||\n        fail \"the private key is not that of {name}: its public key is $public, \
                 not {public}\""
            ),
        );
    }
    line(out, format_args!("}}\n"));
}
