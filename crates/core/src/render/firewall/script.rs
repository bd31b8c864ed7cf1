//! The script around the table: `up` loads it and lets the overlay in where chains of others refuse, `down` undoes both.
//!
//! Chains of others are found when it runs: those of iptables in both its variants, and base chains of nftables. What it
//! puts there comes first, never at a position that may not exist, and carries a comment by which it is found again.

use super::{mark, nftables, outside_openings};
use crate::plan::{Firewall, NodePlan};

/// The script of a host with nftables.
pub(super) fn nftables(plan: &NodePlan, firewall: &Firewall) -> String {
    let table = nftables::table(plan);
    let name = nftables::name(plan);
    let (device, mark) = (plan.device.as_str(), mark(plan));
    let openings = outside_openings(plan, firewall);
    let iptables: String = openings
        .iter()
        .map(|(protocol, (first, last), _)| {
            format!("            put \"$command\" INPUT -p {protocol} --dport {first}:{last}\n")
        })
        .collect();
    let native: String = openings.iter().map(|(protocol, (first, last), _)| {
        format!("            nft insert rule \"$family\" \"$table\" \"$chain\" {protocol} dport {first}-{last} accept comment \"\\\"$mark\\\"\"\n")
    }).collect();
    let words = [
        ("@COMMANDS@", COMMANDS),
        ("@DEVICE@", device),
        ("@MARK@", &mark),
        ("@NAME@", &name),
        ("@IPTABLES@", &iptables),
        ("@NATIVE@", &native),
        ("@TABLE@", &table),
    ];
    words.iter().fold(SCRIPT.to_owned(), |text, (word, value)| text.replace(word, value))
}

/// Words between @ are filled in.
const SCRIPT: &str = r#"# The firewall of @DEVICE@: `up` sets it, `down` removes it and nothing else. Both may be repeated.
set -eu
mark='@MARK@'

load() {
    nft -f - <<'END'
@TABLE@END
}

@COMMANDS@
# Rules that let the overlay in, before all others. The table above refuses what is not to pass.
put() {
    command=$1 chain=$2
    shift 2
    "$command" -w -I "$chain" 1 "$@" -m comment --comment "$mark" -j ACCEPT
}

open_iptables() {
    for command in $(commands); do
        if has "$command" INPUT; then
@IPTABLES@            put "$command" INPUT -i '@DEVICE@'
        fi
        for chain in FORWARD DOCKER-USER; do
            has "$command" "$chain" || continue
            put "$command" "$chain" -o '@DEVICE@'
            put "$command" "$chain" -i '@DEVICE@'
        done
    done
}

# Family, table, chain and hook of base chains that are neither ours nor made by iptables.
chains() {
    nft list ruleset | awk '
        /^table / { family = $2; table = $3 }
        $1 == "chain" { chain = $2 }
        /type filter hook (input|forward) / {
            ours = table ~ /^wayleave-/
            theirs = table == "filter" && chain ~ /^(INPUT|FORWARD)$/
            if (!ours && !theirs && (family == "ip" || family == "ip6" || family == "inet"))
                print family, table, chain, $4
        }'
}

open_nftables() {
    chains | while read -r family table chain hook; do
        if [ "$hook" = input ]; then
@NATIVE@        else
            nft insert rule "$family" "$table" "$chain" oifname '"@DEVICE@"' accept comment "\"$mark\""
        fi
        nft insert rule "$family" "$table" "$chain" iifname '"@DEVICE@"' accept comment "\"$mark\""
    done
}

close_all() {
    for command in $(commands); do
        "$command" -w -S | grep -F -e "--comment \"$mark\"" | sed 's/^-A /-D /' | xargs -r -L1 "$command" -w
    done
    nft -a list ruleset | awk -v mark="comment \"$mark\" # handle " '
        /^table / { family = $2; table = $3 }
        $1 == "chain" { chain = $2 }
        index($0, mark) && table !~ /^wayleave-/ { print "delete rule", family, table, chain, "handle", $NF }' | nft -f -
}

case "${1-}" in
up)
    load
    close_all
    open_iptables
    open_nftables
    ;;
down)
    close_all
    nft list table inet '@NAME@' >/dev/null 2>&1 && nft delete table inet '@NAME@'
    ;;
*)
    echo "usage: $0 up|down" >&2
    exit 64
    ;;
esac
exit 0
"#;

/// The variants of iptables that are in use. Those that are not are not asked: that alone would make tables and chains.
const COMMANDS: &str = r#"commands() {
    for family in ip ip6; do
        if ! nft list table "$family" filter >/dev/null 2>&1; then
            :
        elif command -v "${family}tables-nft" >/dev/null; then
            echo "${family}tables-nft"
        elif command -v "${family}tables" >/dev/null && "${family}tables" -V | grep -q nf_tables; then
            echo "${family}tables"
        fi
        if command -v "${family}tables-legacy" >/dev/null && grep -qs '^filter$' "/proc/net/${family}_tables_names"; then
            echo "${family}tables-legacy"
        fi
    done
}

# Whether a chain is there already.
has() {
    case "$1" in
    *-legacy) "$1" -w -S "$2" >/dev/null 2>&1 ;;
    ip6*) nft list chain ip6 filter "$2" >/dev/null 2>&1 ;;
    *) nft list chain ip filter "$2" >/dev/null 2>&1 ;;
    esac
}
"#;

/// The script of a host with ufw: what is let in goes through its own commands, so that it is seen in `ufw status` and
/// outlives `ufw reload`.
pub(super) fn ufw(plan: &NodePlan, firewall: &Firewall) -> String {
    let table = nftables::table(plan);
    let name = nftables::name(plan);
    let (device, mark) = (plan.device.as_str(), mark(plan));
    let mut rules: Vec<(&str, String)> = Vec::new();
    for (protocol, (first, last), from) in outside_openings(plan, firewall) {
        let port = if first == last { first.to_string() } else { format!("{first}:{last}") };
        let from: Vec<String> = from.iter().map(ToString::to_string).collect();
        let from = if from.is_empty() { vec!["any".to_owned()] } else { from };
        rules.extend(from.iter().map(|from| ("", format!("allow proto {protocol} from {from} to any port {port}"))));
    }
    rules.push(("", format!("allow in on {device}")));
    rules.push(("route ", format!("allow in on {device}")));
    rules.push(("route ", format!("allow out on {device}")));
    let add: String =
        rules.iter().map(|(route, rule)| format!("    ufw {route}prepend {rule} comment '{mark}'\n")).collect();
    let remove: String = rules.iter().map(|(route, rule)| format!("    ufw {route}delete {rule}\n")).collect();
    format!(
        r#"# The firewall of {device}: `up` sets it, `down` removes it and nothing else. Both may be repeated.
# What is refused is a table of its own, what is let in are rules of ufw.
set -eu

load() {{
    nft -f - <<'END'
{table}END
}}

allow() {{
{add}}}

forget() {{
{remove}}}

case "${{1-}}" in
up)
    load
    allow
    ;;
down)
    forget
    nft list table inet '{name}' >/dev/null 2>&1 && nft delete table inet '{name}'
    ;;
*)
    echo "usage: $0 up|down" >&2
    exit 64
    ;;
esac
exit 0
"#
    )
}
