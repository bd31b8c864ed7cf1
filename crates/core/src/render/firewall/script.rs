//! The script around the table: `up` loads it and lets the overlay in where chains of others refuse, `down` undoes both.
//!
//! Chains of others are found when it runs: all base chains of nftables, those that iptables has there among them, and
//! the chains of the old iptables. What it puts there comes first, never at a position that may not exist, and carries
//! a comment by which it is found again. What nftables has is changed in one transaction, so that a second `up` leaves no
//! moment without rules. Rules of ufw are found by their comment too: ufw does not add a rule that an administrator has
//! already, and such a rule is not ours to remove.

use super::{all_devices, mark, nftables, outside_openings};
use crate::network::PortRange;
use crate::plan::{Firewall, NodePlan};

/// The script of a host with nftables.
pub(super) fn nftables(plan: &NodePlan, firewall: &Firewall) -> String {
    let openings = outside_openings(plan, firewall);
    let native = openings.iter().map(|(protocol, range, _)| {
        let ports = range_text(range, '-');
        format!("        echo '{protocol} dport {ports}'\n")
    });
    let legacy = openings.iter().map(|(protocol, range, _)| {
        let ports = range_text(range, ':');
        format!("        put \"$command\" INPUT -p {protocol} --dport {ports}\n")
    });
    let each = |line: &dyn Fn(&str) -> String| all_devices(plan).map(line).collect();
    let words = [
        ("@DEVICE@", plan.device.to_string()),
        ("@MARK@", mark(plan)),
        ("@NAME@", nftables::name(plan)),
        ("@NATIVE@", native.collect()),
        ("@LEGACY@", legacy.collect()),
        ("@IN@", each(&|device| format!("        echo 'iifname \"{device}\"'\n"))),
        ("@OUT@", each(&|device| format!("        echo 'oifname \"{device}\"'\n"))),
        ("@LEGACYIN@", each(&|device| format!("        put \"$command\" INPUT -i '{device}'\n"))),
        ("@LEGACYOUT@", each(&|device| format!("        put \"$command\" OUTPUT -o '{device}'\n"))),
        ("@CHAININ@", each(&|device| format!("            put \"$command\" \"$chain\" -i '{device}'\n"))),
        ("@CHAINOUT@", each(&|device| format!("            put \"$command\" \"$chain\" -o '{device}'\n"))),
        ("@TABLE@", nftables::table(plan)),
    ];
    filled(NFTABLES, &words)
}

/// The script of a host without a firewall of ours that stands before a site or has neighbours: the table, and nothing in others' chains.
pub(super) fn clamp(plan: &NodePlan) -> String {
    let what = match (plan.clamps_mss, super::guards(plan)) {
        (_, false) => format!("Adapts the size of TCP's segments to {}", plan.device),
        (false, true) => "Keeps neighbours to BGP and to what they may reach".to_owned(),
        (true, true) => {
            format!("Keeps neighbours to what they may reach, and adapts the size of TCP's segments to {}", plan.device)
        }
    };
    let words = [("@WHAT@", what), ("@NAME@", nftables::name(plan)), ("@TABLE@", nftables::table(plan))];
    filled(CLAMP, &words)
}

/// The script of a host with ufw: what is let in goes through its own commands, so that it is seen in `ufw status` and
/// outlives `ufw reload`.
pub(super) fn ufw(plan: &NodePlan, firewall: &Firewall) -> String {
    let (device, mark) = (plan.device.as_str(), mark(plan));
    let mut rules: Vec<String> = Vec::new();
    for (protocol, range, from) in outside_openings(plan, firewall) {
        let port = range_text(&range, ':');
        let from: Vec<String> = from.iter().map(ToString::to_string).collect();
        let from = if from.is_empty() { vec!["any".to_owned()] } else { from };
        let rule = |from: &String| format!("prepend allow proto {protocol} from {from} to any port {port}");
        rules.extend(from.iter().map(rule));
    }
    for way in ["prepend allow in", "prepend allow out", "route prepend allow in", "route prepend allow out"] {
        rules.extend(all_devices(plan).map(|device| format!("{way} on {device}")));
    }
    let words = [
        ("@DEVICE@", device.to_owned()),
        ("@NAME@", nftables::name(plan)),
        ("@ALLOW@", rules.iter().map(|rule| format!("    ufw {rule} comment \"$mark\"\n")).collect()),
        ("@MARK@", mark),
        ("@TABLE@", nftables::table(plan)),
    ];
    filled(UFW, &words)
}

/// A text with words between @ filled in.
fn filled(text: &str, words: &[(&str, String)]) -> String {
    words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
}

fn range_text((first, last): &PortRange, between: char) -> String {
    if first == last { first.to_string() } else { format!("{first}{between}{last}") }
}

const CLAMP: &str = r#"# @WHAT@: `up` sets it, `down` removes it and nothing else. Both may be repeated.
set -eu
if ! command -v nft >/dev/null; then
    echo 'this takes nft: install nftables, or set firewall = "iptables" or "none" for this node' >&2
    exit 1
fi
case "${1-}" in
up)
    nft -f - <<'END'
@TABLE@END
    ;;
down)
    echo 'table inet @NAME@
delete table inet @NAME@' | nft -f -
    ;;
*)
    echo "usage: $0 up|down" >&2
    exit 64
    ;;
esac
"#;

const NFTABLES: &str = r#"# The firewall of @DEVICE@: `up` sets it, `down` removes it and nothing else. Both may be repeated.
set -eu
mark='@MARK@'

table() {
    cat <<'END'
@TABLE@END
}

# Family, table, chain and hook of others' chains that a packet has to pass, and of the one that Docker asks first.
chains() {
    nft list chains | awk '
        /^table / { family = $2; table = $3; known = family ~ /^(ip|ip6|inet)$/ && table !~ /^wayleave-/ }
        $1 == "chain" { chain = $2 }
        known && $1 == "chain" && chain == "DOCKER-USER" { print family, table, chain, "forward" }
        known && /type filter hook (input|forward|output) / { print family, table, chain, $4 }'
}

# What is let in at a hook. The table of our own refuses what is not to pass.
matches() {
    case "$1" in
    input)
@NATIVE@@IN@        ;;
    forward)
@IN@@OUT@        ;;
    output)
@OUT@        ;;
    esac
}

# Rules before all others of each chain.
openings() {
    chains | while read -r family table chain hook; do
        matches "$hook" | while read -r match; do
            echo "insert rule $family $table $chain $match accept comment \"$mark\""
        done
    done
}

# Commands that remove the rules of ours which are there.
removals() {
    nft -a list ruleset | awk -v mark="comment \"$mark\" # handle " '
        /^table / { family = $2; table = $3 }
        $1 == "chain" { chain = $2 }
        index($0, mark) && table !~ /^wayleave-/ { print "delete rule", family, table, chain, "handle", $NF }'
}

# The variants of the old iptables that are in use. Others are not asked: that alone would make tables.
legacy() {
    for command in iptables ip6tables; do
        grep -qs '^filter$' "/proc/net/${command%tables}_tables_names" || continue
        if command -v "$command-legacy" >/dev/null; then
            echo "$command-legacy"
        elif command -v "$command" >/dev/null && ! "$command" -V | grep -q nf_tables; then
            echo "$command"
        fi
    done
}

put() {
    command=$1 chain=$2
    shift 2
    "$command" -w -I "$chain" 1 "$@" -m comment --comment "$mark" -j ACCEPT
}

open_legacy() {
    for command in $(legacy); do
@LEGACY@@LEGACYIN@@LEGACYOUT@        for chain in FORWARD DOCKER-USER; do
            "$command" -w -S "$chain" >/dev/null 2>&1 || continue
@CHAINOUT@@CHAININ@        done
    done
}

close_legacy() {
    for command in $(legacy); do
        "$command" -w -S | grep -F -e "--comment \"$mark\"" | sed 's/^-A /-D /' | xargs -r -L1 "$command" -w
    done
}

case "${1-}" in
up)
    all=$(table && openings && removals)
    printf '%s\n' "$all" | nft -f -
    close_legacy
    open_legacy
    ;;
down)
    all=$(removals && echo 'table inet @NAME@' && echo 'delete table inet @NAME@')
    printf '%s\n' "$all" | nft -f -
    close_legacy
    ;;
*)
    echo "usage: $0 up|down" >&2
    exit 64
    ;;
esac
"#;

const UFW: &str = r#"# The firewall of @DEVICE@: `up` sets it, `down` removes it and nothing else. Both may be repeated.
# What is refused is a table of its own, what is let in are rules of ufw.
set -eu
mark='@MARK@'

load() {
    nft -f - <<'END'
@TABLE@END
}

# A rule that is there already, without the comment, is somebody else's and stays so.
allow() {
@ALLOW@}

forget() {
    ufw show added | grep -F "comment '$mark'" | sed "s/ comment '.*//; s/^ufw route /route delete /; s/^ufw /delete /" |
        xargs -r -L1 ufw
}

case "${1-}" in
up)
    load
    forget
    allow
    ;;
down)
    forget
    echo 'table inet @NAME@
delete table inet @NAME@' | nft -f -
    ;;
*)
    echo "usage: $0 up|down" >&2
    exit 64
    ;;
esac
"#;
