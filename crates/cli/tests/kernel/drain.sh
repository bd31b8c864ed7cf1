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
shared=198.51.100.1

make_entry_network drained $shared
for n in a b; do ip -n $n address add $shared/32 dev lo; done
ip -n p route add $shared via 192.0.2.1
within 20 "! ip -n b address | grep -E 'tentative|NO-CARRIER'"

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

# Datagrams as those of a client's session, from somebody else to a while it drains, are passed on to nobody; from the client, if its
# network lets in $1, they are.
pass_on_clients_only() {
    local passed='nft list chain inet passed in'
    on b nft 'table inet passed { chain in { type filter hook input priority -400; iifname wg0 udp dport 51821 udp length 1000 counter; }; }'
    { printf '\4\0\0\0'; head -c 988 /dev/zero; } >stray
    on c bash -c 'for n in {1..50}; do cat stray >/dev/udp/192.0.2.1/51821; done'
    sleep 0.5
    on b $passed | grep -q 'packets 0 ' || give_up "what a stranger sends is passed on: $(on b $passed)"
    on p /bin/ping -q -c 5 -i 0.2 -W 2 -s 932 10.50.0.3 >large.txt || give_up "large pings: $(cat large.txt)"
    [ $1 = all ] || ! on b $passed | grep -q 'packets 0 ' || give_up "nothing was passed on, or nothing was seen of it"
    on b nft delete table inet passed
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
    pass_on_clients_only $lets_in
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
for round in ${ROUNDS:-kernel:kernel:all kernel:kernel:answers engine:kernel:all kernel:engine:answers engine:kernel:answers}; do
    IFS=: read -r from to lets_in <<<"$round"
    round $from $to $lets_in
done
