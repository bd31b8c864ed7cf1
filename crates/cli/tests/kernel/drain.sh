#!/bin/bash
# Entry servers that drain, with a client whose WireGuard is the kernel's own and knows nothing of it: run in a machine whose kernel
# has WireGuard, with everything below /t (scripts/kernel-test agent).
#
# Hosts a and b are entry servers with one shared address, c is a node, p the client, whose packets for that address go to a whatever
# happens, as with a load balancer that pins flows. Pings go both ways, 20 a second, while a drains: it must be empty within EMPTY_S (15)
# seconds, and nobody without an answer for GAP_MS (3,000). A release build keeps 5 and 1,000, which is what is promised;
# a debug build in an emulated machine among other builds took up to 6.4 s and 1,100 ms. In each round the servers have the kernel's WireGuard or the engine; ROUNDS are
# other ones, as `kernel:engine:answers` (what a drains with, what the others have, and what the client's network lets in).
set -eu
. ./hosts.sh
client=10.50.0.9 shared=198.51.100.1

"$W" key generate -o entry.key >entry.pub
for n in a b c p; do
    "$W" key generate -o $n.key >$n.pub
    add_host $n 10ms
    case $n in
    p) printf '[clients.p]\naddress = "%s"\npublic_key = "%s"\n' $client "$(cat p.pub)" ;;
    *) printf '[nodes.%s]\nendpoint = "192.0.2.%s"\naddress = "10.50.0.%s"\npublic_key = "%s"\nentry = %s\n' \
        $n $number $number "$(cat $n.pub)" "$([ $n = c ] && echo false || echo true)" ;;
    esac >>members
done
{
    printf '[network]\nname = "drained"\nprefixes = ["10.50.0.0/24"]\nplatform = "agent"\n'
    printf '[entry]\nendpoint = "%s"\npublic_key = "%s"\n' $shared "$(cat entry.pub)"
    cat members
    printf '[[links]]\nmesh = ["*"]\n'
} >network.toml
for n in a b; do ip -n $n address add $shared/32 dev lo; done
ip -n p route add $shared via 192.0.2.1
within 20 "! ip -n b address | grep -E 'tentative|NO-CARRIER'"

# Where a host sends what is for the client: a node, or nobody.
sends_to() {
    local n owner
    owner=$(on $1 wg show wg0 allowed-ips | awk '/10\.50\.0\.9\/32/ { print $1 }')
    for n in a b c; do [ "$(cat $n.pub)" != "$owner" ] || echo $n; done
}

# The longest time between two answers to 20 pings a second, in milliseconds, to the last of $2 pings.
longest_gap() {
    sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' $1 | sort -n |
        awk -v count=$2 '{ gap = $1 - last - 1; if (gap > most) most = gap; last = $1 } END { gap = count - last; if (gap > most) most = gap; print most * 50 }'
}

# The client dials the shared address, with no session.
dial() {
    on p ip link del wgp 2>/dev/null || true
    on p ip link add wgp type wireguard
    on p wg set wgp private-key p.key peer "$(cat entry.pub)" endpoint $shared:51821 allowed-ips 10.50.0.0/24
    on p ip address add $client dev wgp
    on p ip link set wgp up
    on p ip route replace 10.50.0.0/24 dev wgp
}

# A round: what runs a's WireGuard, what runs b's and c's, and what the client's network lets in: all, or answers only.
round() {
    local from=$1 to=$2 lets_in=$3 count=160 took gaps out back
    agent a $from --entry-key entry.key
    agent b $to --entry-key entry.key
    agent c $to
    dial
    on p nft flush ruleset
    [ $lets_in = all ] || on p nft -f answers.nft
    within 60 "on p /bin/ping -c 1 -W 1 10.50.0.3"
    within 20 '[ "$(sends_to c)" = a ]'
    # The other server has been ready for a while.
    within 30 "on b $W status | grep -q '^ *ready for clients'"
    on p /bin/ping -n -D -i 0.05 -c $count -W 2 10.50.0.3 >out.txt & out=$!
    on c /bin/ping -n -D -i 0.05 -c $count -W 2 $client >in.txt & back=$!
    sleep 2
    on a "$W" drain >drain.txt 2>&1 || give_up "drain: $(cat drain.txt)"
    wait $out || true
    wait $back || true
    took=$(sed -n 's/^empty after \([0-9.]*\) .*/\1/p' drain.txt)
    gaps="$(longest_gap out.txt $count) $(longest_gap in.txt $count)"
    awk -v took="$took" 'BEGIN { exit !(took != "" && took < '${EMPTY_S:-15}') }' || give_up "not empty in time: $took s; gaps $gaps ms; $(cat drain.txt)"
    for gap in $gaps; do [ $gap -lt ${GAP_MS:-3000} ] || give_up "without an answer for $gap ms; empty after $took s"; done
    [ "$(sends_to c)$(sends_to a)" = bb ] || give_up "c sends to $(sends_to c), a to $(sends_to a)"
    echo "ok: a drains ($from) to b ($to), lets in $lets_in: empty after $took s, longest silence from and to the client $gaps ms, it speaks with $(on p wg show wgp endpoints | cut -f 2)"
    for n in a b c; do stop $n; on $n "$W" down >/dev/null; done
}

cat >answers.nft <<T
table ip closed {
    chain in { type filter hook input priority 0; iifname out udp sport 51821 ct state new drop; }
    chain out { type filter hook output priority 0; ct state new accept; }
}
T
for round in ${ROUNDS:-kernel:kernel:all kernel:kernel:answers engine:kernel:all kernel:engine:answers}; do
    IFS=: read -r from to lets_in <<<"$round"
    round $from $to $lets_in
done
