#!/bin/bash
# Timestamps of handshakes between clients and entry servers with the kernel's WireGuard: run in a machine whose kernel has it, with
# everything below /t (scripts/kernel-test agent).
#
# Hosts a and b are entry servers, c is a node, p the client. A kernel forgets the timestamps of a peer that is removed, as agents do when
# they call a client, and some seconds after it went elsewhere, so that it answers a handshake that somebody has recorded: that must move nobody. And a client heeds no
# server with an earlier timestamp than the last that it has seen. The hosts have one clock, so it is set forward and back: what a has
# sent while it was an hour ahead keeps others from calling the client, which is served on, and goes when it calls by itself. Each part prints `ok`.
set -eu
. ./hosts.sh
umask 077

make_entry_network clocks 192.0.2.1
within 20 "! ip -n b address | grep -E 'tentative|NO-CARRIER'"

# The client dials host $1, with no session.
dial() {
    on p ip link del wgp 2>/dev/null || true
    on p ip link add wgp type wireguard
    on p wg set wgp private-key p.key listen-port 51999 peer "$(cat entry.pub)" endpoint 192.0.2.$1:51821 allowed-ips 10.50.0.0/24
    on p ip address add $client dev wgp
    on p ip link set wgp up
    on p ip route replace 10.50.0.0/24 dev wgp
}

# What host $1 knows of the client: handshake, endpoint, bytes received, by a word of wg's.
known() { on $1 wg show wg-clients $2 | awk -v key="$(cat p.pub)" '$1 == key { print $2 }'; }

# Host $1 forgets the client and has it anew, with what else is said.
renew() {
    local n=$1; shift
    on $n wg set wg-clients peer "$(cat p.pub)" remove
    on $n wg set wg-clients peer "$(cat p.pub)" allowed-ips $client/32 "$@"
}

# The client's first message, heard by somebody in the place of a server.
on c ncat -u -l 192.0.2.3 51821 --recv-only >heard & listener=$!
sleep 1
dial 3
on p /bin/ping -c 1 -W 1 10.50.0.3 >/dev/null || true
within 20 '[ "$(wc -c <heard)" -ge 148 ]'
kill $listener || true
head -c 148 heard >initiation

for n in a b; do agent $n kernel --entry-key entry.key; done
agent c kernel
dial 1
within 60 "on p /bin/ping -c 1 -W 1 10.50.0.3"
within 20 '[ "$(sends_to c)" = a ]'
replay() { on c ncat -u --send-only 192.0.2.1 51821 <initiation; sleep 2; }
at=$(known a endpoints)
replay
[ "$(known a endpoints)" = "$at" ] || give_up "a took a recorded handshake though it had later ones: $(known a endpoints)"
dial 2
within 60 "on p /bin/ping -c 1 -W 1 10.50.0.3"
within 20 '[ "$(sends_to c)$(sends_to a)" = bb ]'
within 30 '[ "$(known a endpoints)" = "(none)" ]'
replay
case $(known a endpoints) in 192.0.2.3:*) ;; *) give_up "a did not answer the recorded handshake: $(known a endpoints)" ;; esac
[ "$(known a latest-handshakes)" = 0 ] || give_up "a has a session by it"
sleep 3
[ "$(sends_to c)$(sends_to a)" = bb ] || give_up "c sends to $(sends_to c), a to $(sends_to a)"
on p /bin/ping -n -q -c 5 -i 0.2 -W 2 10.50.0.3 >ping.txt || give_up "the client has lost its server: $(cat ping.txt)"
dial 1
within 20 "on p /bin/ping -c 1 -W 1 10.50.0.3"
within 20 '[ "$(sends_to c)$(sends_to b)" = aa ]'
case $(known a endpoints) in 192.0.2.4:*) ;; *) give_up "a sends to $(known a endpoints)" ;; esac
echo "ok: a recorded handshake is answered by a server that has forgotten the client's timestamps, and moves nobody"

# Seconds to go on from the present time.
set_clock() { date -s @$(($(date +%s) + $1)) >/dev/null; }
on p sh -c 'echo $$ >ping.pid; exec /bin/ping -n -D -i 0.2 10.50.0.3' >ping.txt & ping=$!
set_clock 3600
renew a endpoint 192.0.2.4:51999 persistent-keepalive 1
within 20 '[ "$(known a latest-handshakes)" != 0 ]'
on a wg set wg-clients peer "$(cat p.pub)" persistent-keepalive 0
set_clock -3600
within 20 '[ "$(sends_to c)$(sends_to b)" = aa ]'
timeout 12 nsenter --target "$(cat a.host)" --net --mount env WAYLEAVE_RUNTIME_DIR="$work/run-a" "$W" drain >drain.txt 2>&1 && give_up "it was given away: $(cat drain.txt)"
[ "$(sends_to c)$(sends_to b)" = aa ] || give_up "while a drains c sends to $(sends_to c), b to $(sends_to b)"
kill -INT "$(cat ping.pid)"
wait $ping || true
gap=$(sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' ping.txt | sort -n | awk '{ gap = $1 - last - 1; if (gap > most) most = gap; last = $1 } END { print most * 200 }')
[ $gap -le 5000 ] || give_up "without an answer for $gap ms"
on a "$W" undrain >/dev/null
dial 2
within 60 "on p /bin/ping -c 1 -W 1 10.50.0.3"
within 20 '[ "$(sends_to c)$(sends_to a)" = bb ]'
echo "ok: a client that has seen a timestamp of an hour from now can't be called, is served on by who drains, and goes by itself; without an answer for $gap ms at most"
