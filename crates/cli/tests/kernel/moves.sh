#!/bin/bash
# How soon all follow clients that come to another entry server whose WireGuard is the kernel's: run in a machine whose kernel has it,
# with everything below /t (scripts/kernel-test moves).
#
# Hosts a and b are entry servers, c is a node, and p has CLIENTS (20) clients, each a device of the kernel's WireGuard that knows nothing
# of other servers. MOVES (200) times one of them dials the other server. Starting a program costs the emulated processors as much as
# a move costs the agents, so a move is one program, and the agents are asked for the times when each client has moved once. The clock is
# the machine's, which all hosts share.
#
# With EXCHANGE=bgp it is BIRD that tells where clients are (`exchange = "bgp"`).
#
# Prints median, p99 and the longest of: from the handshake (the kernel's time of the client's first packet) until all three send to
# the new server, and of that until the new server's agent has found it, and from there on. Beside that what the
# emulation itself adds: round trips of 20 ms between two hosts without WireGuard all the while, and what one look at a device takes.
# Fails if a client is not followed in 10 s, or LIMIT_MS (none) is given and the p99 is above.
set -eu
. ./hosts.sh
umask 077
clients=${CLIENTS:-20} moves=${MOVES:-200}

"$W" key generate -o entry.key >entry.pub
for n in a b c p; do
    add_host $n 10ms
    [ $n != p ] || break
    "$W" key generate -o $n.key >$n.pub
    printf '[nodes.%s]\nendpoint = "192.0.2.%s"\naddress = "10.50.0.%s"\npublic_key = "%s"\nentry = %s\n' \
        $n $number $number "$(cat $n.pub)" "$([ $n = c ] && echo false || echo true)" >>members
done
for at in $(seq $clients); do
    wg genkey >p$at.key
    printf '[clients.p%s]\naddress = "10.50.0.%s"\npublic_key = "%s"\n' $at $((100 + at)) "$(wg pubkey <p$at.key)" >>members
    on p ip link add wg$at type wireguard
    on p wg set wg$at private-key p$at.key
    on p ip link set wg$at up
done
{
    printf '[network]\nname = "moves"\nprefixes = ["10.50.0.0/24"]\nplatform = "agent"\n'
    printf '[entry]\nendpoint = "192.0.2.1"\npublic_key = "%s"\n' "$(cat entry.pub)"
    [ "${EXCHANGE:-}" != bgp ] || printf '[bgp]\nasn = 64512\nexchange = "bgp"\n'
    cat members
    printf '[[links]]\nmesh = ["*"]\n'
} >network.toml
within 20 "! ip -n b address | grep -E 'tentative|NO-CARRIER'"
for n in a b; do agent $n kernel --entry-key entry.key; done
agent c kernel
for n in a b; do within 30 "on $n $W status | grep -q '^ *ready for clients'"; done

key=$(cat entry.pub)
servers=(a b)
# Client $1 dials server $2 (0, 1), with no session; the keepalive has it do so at once.
dial() {
    nsenter --net=/run/netns/p wg set wg$1 peer "$key" remove \
        peer "$key" endpoint 192.0.2.$(($2 + 1)):51821 allowed-ips 10.50.0.0/24 persistent-keepalive 25
}

# Each client's latest move as host $1's agent tells it: client, server, and when it came, was found, and was followed there.
told() {
    on $1 "$W" status --json | tr -d ' \n' | grep -o '{"client":"p[^}]*' |
        sed 's/[{"]//g; s/client://; s/,from:[a-z]*,to:/ /; s/,came_us:/ /; s/,noticed_us:/ /; s/,followed_us:/ /'
}

# A round's moves, once all hosts tell of them: came, found and followed by all, in microseconds, of each client among $2... that is with server $1.
round_of() {
    local n
    for n in a b c; do told $n >told.$n; done
    awk -v expected="$*" '
        BEGIN { for (n = split(expected, want, " "); n > 0; n--) { split(want[n], pair, ":"); to[pair[1]] = pair[2] } }
        $2 == to[$1] { seen[$1]++; if ($5 > last[$1]) last[$1] = $5; if ($3 != "null") { came[$1] = $3; found[$1] = $4 } }
        END { for (p in to) if (seen[p] == 3 && came[p]) print came[p], found[p], last[p]; else exit 1 }' told.a told.b told.c
}

on a sh -c 'echo $$ >ping.pid; exec /bin/ping -n -q -i 0.05 192.0.2.3' >underlay.txt & underlay=$!
done=0 turn=0
while [ $done -lt $((moves + clients)) ]; do
    turn=$((turn + 1)) expected=
    for at in $(seq $clients); do
        to=$(((turn + at) % 2))
        dial $at $to
        expected="$expected p$at:${servers[$to]}"
        # Any time between two looks at the device.
        sleep 0.$((10 + RANDOM % 30))
    done
    begin=$SECONDS
    until round_of $expected >round; do
        ((SECONDS - begin < 10)) || { cat told.*; give_up "not followed in 10 s: $expected"; }
        sleep 0.5
    done
    # The first round brings them here, and moves nobody.
    [ $turn = 1 ] || cat round >>all
    done=$((done + clients))
done
kill -INT "$(cat ping.pid)"
wait $underlay || true

awk '{ printf "%.1f\n", ($3 - $1) / 1e3 >"followed"; printf "%.1f\n", ($2 - $1) / 1e3 >"found"; printf "%.1f\n", ($3 - $2) / 1e3 >"rest" }' all
# The median, the 99th in a hundred, and the longest.
spread() { sort -n $1 | awk '{ all[NR] = $1 } END { printf "median %s p99 %s longest %s ms\n", all[int((NR + 1) / 2)], all[int((NR * 99 + 99) / 100)], all[NR] }'; }
echo "from the handshake until all send there: $(spread followed)"
echo "of that until it was found: $(spread found)"
echo "and from there on: $(spread rest)"
for look in $(seq 20); do
    begin=$EPOCHREALTIME
    nsenter --net=/run/netns/a wg show wg-clients dump >dump
    echo $begin $EPOCHREALTIME | awk '{ printf "%.1f\n", ($2 - $1) * 1e3 }' >>looks
done
echo "a program that looks at the device: $(spread looks)"
echo "round trips of 20 ms without WireGuard meanwhile: $(sed -n 's/^rtt //p' underlay.txt)"
limit=${LIMIT_MS:-}
[ -z "$limit" ] || [ "$(spread followed | sed 's/.*p99 \([0-9]*\).*/\1/')" -le $limit ] || give_up "the p99 of $(wc -l <all) moves is above $limit ms"
echo "ok: $(wc -l <all) moves of $clients clients between the kernel's devices; servers of the original: 5 to 10 s"
