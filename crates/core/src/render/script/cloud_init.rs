//! User-data for cloud-init: one file that makes a new virtual machine a member.
//!
//! cloud-init installs the packages, writes a wg-quick file, the firewall's script if there is one and a small script, and runs the script, which checks the key,
//! enables the service, starts it and shows its state; all of it is logged. No file is made by text tools: each is
//! written whole. Without a private key a placeholder stands in its file, and the script says so instead of starting.

use zeroize::Zeroizing;

use super::super::file::{KeySource, Opening, RenderError, RenderedFile, line};
use super::super::firewall::{firewall_script, only_clamps};
use super::super::settings;
use super::super::wg_quick::wg_quick;
use crate::network::FirewallForm;
use crate::plan::NodePlan;

/// Where everything that happens is logged.
const LOG: &str = "/var/log/wayleave.log";
/// How the line begins that is there instead of a key.
const PLACEHOLDER: &str = "REPLACE-THIS-LINE";

/// Renders one member's `user-data.yaml`.
///
/// # Errors
/// If a peer has no public key, or the private key is not the member's.
pub fn cloud_init(plan: &NodePlan, key: &KeySource<'_>) -> Result<RenderedFile, RenderError> {
    key.check(plan)?;
    let device = &plan.device;
    let key_path = format!("/etc/wireguard/{device}.key");
    let mut body = Zeroizing::new(String::with_capacity(4_096 + 256 * plan.peers.len()));
    let out = &mut *body;
    line(out, format_args!("package_update: true\npackages:\n  - wireguard-tools"));
    firewall_packages(plan).iter().for_each(|package| line(out, format_args!("  - {package}")));
    line(out, format_args!("output:\n  all: \"| tee -a {LOG}\"\nwrite_files:"));
    let secret = Zeroizing::new(match key {
        KeySource::Inline(private) => format!("{}\n", *private.reveal()),
        KeySource::File(_) => format!("{PLACEHOLDER} by the private key of {}\n", plan.name),
    });
    file(&key_path, "0600", &secret, out);
    let config = wg_quick(plan, &KeySource::File(&key_path))?;
    file(&format!("/etc/wireguard/{device}.conf"), "0600", &config.text, out);
    if let Some(script) = firewall_script(plan).filter(|_| !only_clamps(plan)) {
        file(&format!("/etc/wireguard/{}", script.name), "0755", &script.text, out);
    }
    let settings = settings::lines(plan);
    let sysctl_path = format!("/etc/sysctl.d/60-wayleave-{device}.conf");
    if !settings.is_empty() {
        file(&sysctl_path, "0644", &settings, out);
    }
    let join_path = format!("/usr/local/sbin/wayleave-join-{device}");
    let sysctl = if settings.is_empty() { String::new() } else { format!("sysctl -q -p {sysctl_path}\n") };
    file(&join_path, "0755", &join(plan, &key_path, &sysctl), out);
    line(out, format_args!("runcmd:\n  - [{join_path}]"));
    let file = RenderedFile::new(plan, "user-data.yaml".to_owned(), Opening::Line("#cloud-config"), &body);
    Ok(file.with_secret(key.is_secret()))
}

/// What the firewall's script calls.
fn firewall_packages(plan: &NodePlan) -> &'static [&'static str] {
    match plan.firewall.as_ref().map(|firewall| firewall.form) {
        None if plan.clamps_mss => &["nftables"],
        None | Some(FirewallForm::None) => &[],
        Some(FirewallForm::Nftables) => &["nftables"],
        Some(FirewallForm::Iptables) => &["iptables"],
        Some(FirewallForm::Ufw) => &["nftables", "ufw"],
    }
}

/// An entry of `write_files`, its content as a literal block.
fn file(path: &str, permissions: &str, content: &str, out: &mut String) {
    line(
        out,
        format_args!("  - path: {path}\n    owner: root:root\n    permissions: \"{permissions}\"\n    content: |"),
    );
    for text in content.lines() {
        if text.is_empty() { out.push('\n') } else { line(out, format_args!("      {text}")) }
    }
}

/// What is run once on the machine, and again by hand if the key came later.
fn join(plan: &NodePlan, key_path: &str, sysctl: &str) -> String {
    let (device, name) = (&plan.device, &plan.name);
    let mut text = String::new();
    let out = &mut text;
    line(
        out,
        format_args!(
            r#"#!/bin/sh
# Joins network {} as {name}. cloud-init runs it once; run it again when the key was put in later.
set -eu

fail() {{
    echo "$0: $*" >&2
    exit 1
}}

command -v wg-quick >/dev/null || fail "wireguard-tools is not installed"
[ -s {key_path} ] || fail "there is no key in {key_path}"
if [ "$(cut -c 1-{} {key_path})" = {PLACEHOLDER} ]; then
    fail "put the private key of {name} into {key_path} and run this again"
fi
public=$(wg pubkey <{key_path} 2>/dev/null) || fail "what is in {key_path} is no private key""#,
            plan.network,
            PLACEHOLDER.len(),
        ),
    );
    if let Some(public) = plan.public_key {
        line(out, format_args!("[ \"$public\" = {public} ] || fail \"the key is not that of {name}, but of $public\""));
    }
    out.push_str(sysctl);
    line(
        out,
        format_args!("systemctl enable wg-quick@{device}\nsystemctl restart wg-quick@{device}\nwg show {device}"),
    );
    text
}
