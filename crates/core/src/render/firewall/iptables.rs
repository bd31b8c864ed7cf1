//! Chains of our own for iptables and ip6tables, for hosts without nft (iptables(8), iptables-extensions(8)).
//!
//! One chain judges what comes from or goes into the overlay, another what does not; both are asked first in INPUT and
//! FORWARD. Destinations and ports are those of the packet as it was sent (`--ctorigdst`), so that a port published by a
//! container is covered like any other. What is allowed is accepted there and then, whatever other rules say. Each table
//! is changed in one step: rules of an earlier `up` go in the same one in which the new come.

use ipnet::IpNet;

use super::{line, mark, of_family, plain};
use crate::network::Ports;
use crate::plan::{Firewall, NodePlan};

/// The script.
pub(super) fn script(plan: &NodePlan, firewall: &Firewall) -> String {
    let (v4, v6) = (restore(plan, firewall, true), restore(plan, firewall, false));
    let (device, mark, chain) = (plan.device.as_str(), mark(plan), chain_name(plan));
    let words = [("@DEVICE@", device), ("@MARK@", &mark), ("@CHAIN@", &chain), ("@V4@", &v4), ("@V6@", &v6)];
    words.iter().fold(SCRIPT.to_owned(), |text, (word, value)| text.replace(word, value))
}

/// Words between @ are filled in.
const SCRIPT: &str = r#"# The firewall of @DEVICE@: `up` sets it, `down` removes it and nothing else. Both may be repeated.
set -eu
mark='@MARK@'
made="${WAYLEAVE_RUN_DIRECTORY:-/run}/wayleave-@DEVICE@.chains"

v4() {
    cat <<'END'
@V4@END
}

v6() {
    cat <<'END'
@V6@END
}

# Whether a table is there. Asking iptables about one that is not would make it.
has() {
    "$1-save" | grep -q "^\*$2\$"
}

# Commands that remove the marked rules of a table.
removals() {
    "$1" -w -t "$2" -S | grep -F -e "--comment \"$mark\"" | sed 's/^-A /-D /'
}

# Rules for iptables-restore, with what removes those of before where they say so.
renewed() {
    while IFS= read -r line; do
        case "$line" in
        '*'*) table=${line#?} ;;
        '# Removals') ! has "$1" "$table" || removals "$1" "$table" ;;
        esac
        printf '%s\n' "$line"
    done
}

# Chains of the kernel's hooks that are not there yet. Only nft can tell, and take them away again when they are empty.
note_absent() {
    command -v nft >/dev/null && [ ! -e "$made" ] || return 0
    for family in ip ip6; do
        for chain in 'filter INPUT' 'filter FORWARD' 'filter OUTPUT' 'nat POSTROUTING'; do
            nft list chain $family $chain >/dev/null 2>&1 || echo "$family $chain"
        done
    done >"$made"
}

forget_made() {
    [ -e "$made" ] || return 0
    while read -r family table chain; do
        nft list chain "$family" "$table" "$chain" 2>/dev/null | grep -q 'policy accept' || continue
        nft delete chain "$family" "$table" "$chain" 2>/dev/null || continue
        nft list table "$family" "$table" | grep -q chain || nft delete table "$family" "$table"
    done <"$made"
    rm -f "$made"
}

# Removes the marked rules of a table, and then the chains they led to.
close() {
    has "$1" "$2" || return 0
    removals "$1" "$2" | xargs -r -L1 "$1" -w -t "$2"
    for chain in '@CHAIN@' '@CHAIN@-o'; do
        "$1" -w -t "$2" -F "$chain" 2>/dev/null || continue
        "$1" -w -t "$2" -X "$chain"
    done
}

case "${1-}" in
up)
    note_absent
    # First one, then the other: the old iptables lets nobody ask while rules are being restored.
    v4=$(v4 | renewed iptables)
    v6=$(v6 | renewed ip6tables)
    printf '%s\n' "$v4" | iptables-restore -w --noflush
    printf '%s\n' "$v6" | ip6tables-restore -w --noflush
    for table in nat; do
        v4 | grep -q "^\*$table\$" || close iptables "$table"
        v6 | grep -q "^\*$table\$" || close ip6tables "$table"
    done
    ;;
down)
    for command in iptables ip6tables; do
        for table in filter nat; do
            close "$command" "$table"
        done
    done
    forget_made
    ;;
*)
    echo "usage: $0 up|down" >&2
    exit 64
    ;;
esac
"#;

/// At most 26 of the 28 characters that a chain's name may have.
fn chain_name(plan: &NodePlan) -> String {
    format!("WAYLEAVE-{}", plain(plan.device.as_str()))
}

/// The rules of one family, for `iptables-restore --noflush`.
fn restore(plan: &NodePlan, firewall: &Firewall, is_v4: bool) -> String {
    let (chain, device) = (chain_name(plan), plan.device.as_str());
    let mut out = String::new();
    line(&mut out, format_args!("*filter\n:{chain} - [0:0]\n:{chain}-o - [0:0]"));
    out.push_str("# Removals\n");
    overlay(firewall, &chain, device, is_v4, &mut out);
    outside(plan, firewall, &format!("{chain}-o"), is_v4, &mut out);
    let comment = format!("-m comment --comment \"{}\"", mark(plan));
    line(&mut out, format_args!("-I FORWARD 1 ! -i {device} -m conntrack --ctstate DNAT {comment} -j {chain}-o"));
    line(&mut out, format_args!("-I FORWARD 1 -o {device} {comment} -j {chain}"));
    line(&mut out, format_args!("-I FORWARD 1 -i {device} {comment} -j {chain}"));
    if plan.clamps_mss {
        // Not in mangle, where it is usual: a table that the old iptables has once asked for never goes away again.
        let clamp = format!("-p tcp --tcp-flags SYN,RST SYN {comment} -j TCPMSS --clamp-mss-to-pmtu");
        line(&mut out, format_args!("-I FORWARD 1 -o {device} {clamp}"));
        line(&mut out, format_args!("-I FORWARD 1 -i {device} {clamp}"));
    }
    line(&mut out, format_args!("-I INPUT 1 ! -i {device} {comment} -j {chain}-o"));
    line(&mut out, format_args!("-I INPUT 1 -i {device} {comment} -j {chain}"));
    line(&mut out, format_args!("-I OUTPUT 1 -o {device} {comment} -j {chain}\nCOMMIT"));
    let masquerade: Vec<(Vec<IpNet>, Vec<IpNet>)> = firewall
        .masquerade
        .iter()
        .map(|rule| (of_family(&rule.from, is_v4), of_family(&rule.to, is_v4)))
        .filter(|(from, to)| !from.is_empty() && !to.is_empty())
        .collect();
    if !masquerade.is_empty() {
        line(&mut out, format_args!("*nat\n:{chain} - [0:0]\n# Removals"));
        for (from, to) in &masquerade {
            for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
                line(&mut out, format_args!("-A {chain} -s {from} -d {to} -j MASQUERADE"));
            }
        }
        line(&mut out, format_args!("-I POSTROUTING 1 {comment} -j {chain}\nCOMMIT"));
    }
    out
}

fn overlay(firewall: &Firewall, chain: &str, device: &str, is_v4: bool, out: &mut String) {
    line(out, format_args!("-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"));
    for rule in &firewall.rules {
        let verdict = if rule.accept { "ACCEPT" } else { "DROP" };
        for source in side(rule.from.as_deref(), "-s", is_v4) {
            for destination in side(rule.to.as_deref(), "-m conntrack --ctorigdst", is_v4) {
                for ports in port_matches(&rule.ports, is_v4) {
                    line(out, format_args!("-A {chain}{source}{ports}{destination} -j {verdict}"));
                }
            }
        }
    }
    if firewall.refuses_rest {
        line(out, format_args!("-A {chain} -i {device} -m addrtype --dst-type LOCAL -j DROP"));
        // Sent to an address of the host's, and on its way to a container by now.
        line(out, format_args!("-A {chain} -i {device} -m conntrack --ctstate DNAT -j DROP"));
    }
    line(out, format_args!("-A {chain} -j ACCEPT"));
}

/// What does not come through the overlay.
fn outside(plan: &NodePlan, firewall: &Firewall, chain: &str, is_v4: bool, out: &mut String) {
    line(out, format_args!("-A {chain} -i lo -j RETURN"));
    line(out, format_args!("-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"));
    if let Some(port) = plan.port {
        // Not what goes to a container with such a port of its own.
        let wireguard = format!("-p udp --dport {port} -m addrtype --dst-type LOCAL");
        match &firewall.wireguard_from {
            None => line(out, format_args!("-A {chain} {wireguard} -j ACCEPT")),
            Some(from) => {
                for prefix in of_family(from, is_v4) {
                    line(out, format_args!("-A {chain} -s {prefix} {wireguard} -j ACCEPT"));
                }
                line(out, format_args!("-A {chain} {wireguard} -j DROP"));
            }
        }
    }
    for prefix in of_family(&firewall.inside, is_v4) {
        line(out, format_args!("-A {chain} -s {prefix} -j RETURN"));
    }
    for service in &firewall.services {
        for ports in port_matches(&service.ports, is_v4) {
            for prefix in of_family(&service.from, is_v4) {
                line(out, format_args!("-A {chain} -s {prefix}{ports} -j ACCEPT"));
            }
            line(out, format_args!("-A {chain}{ports} -j DROP"));
        }
    }
    if firewall.closed {
        let (icmp, dhcp) = if is_v4 { ("icmp", 68) } else { ("ipv6-icmp", 546) };
        line(out, format_args!("-A {chain} -p {icmp} -j ACCEPT"));
        line(out, format_args!("-A {chain} -p udp --dport {dhcp} -j ACCEPT"));
        line(out, format_args!("-A {chain} -m addrtype --dst-type LOCAL -j DROP"));
        line(out, format_args!("-A {chain} -m conntrack --ctstate DNAT -j DROP"));
    }
}

/// Matches of one side's prefixes, each with a space before it; nothing at all if none is of the family.
fn side(list: Option<&[IpNet]>, key: &str, is_v4: bool) -> Vec<String> {
    match list {
        None => vec![String::new()],
        Some(list) => of_family(list, is_v4).iter().map(|prefix| format!(" {key} {prefix}")).collect(),
    }
}

/// Matches of ports, each with a space before it.
fn port_matches(ports: &Ports, is_v4: bool) -> Vec<String> {
    if ports.is_all() {
        return vec![String::new()];
    }
    let mut found = Vec::new();
    for (protocol, ranges) in [("tcp", &ports.tcp), ("udp", &ports.udp)] {
        found.extend(ranges.iter().map(|(first, last)| match (first, last) {
            (0, &u16::MAX) => format!(" -p {protocol}"),
            _ => format!(" -p {protocol} -m conntrack --ctorigdstport {first}:{last}"),
        }));
    }
    found.extend(ports.icmp.then(|| if is_v4 { " -p icmp" } else { " -p ipv6-icmp" }.to_owned()));
    let icmp = if is_v4 { 1 } else { 58 };
    let others = || [6, 17, icmp].map(|number| format!(" -m conntrack ! --ctproto {number}")).concat();
    found.extend(ports.other.then(others));
    found
}
