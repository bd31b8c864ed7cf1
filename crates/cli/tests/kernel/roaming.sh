#!/bin/bash
# A client with the kernel's own WireGuard that goes from one entry server to another: run in a machine whose kernel has it, with
# everything below /t (scripts/kernel-test agent).
#
# Hosts a and b are entry servers, c is a node that talks to the client, p the client, whose WireGuard is stock and knows nothing of
# other servers. First a and b have the kernel's WireGuard too: the client is given the other server's address, and all are to send
# there as soon as the agent has seen the handshake, of which the agents themselves tell how long it took (MOVES of them). Then they have the engine, and what the client sends is taken to the other
# server between two packets: its session goes on. Each part prints `ok` and what was seen; the times are those of an emulated machine.
set -eu
. ./hosts.sh

make_entry_network roaming 192.0.2.1
within 20 "! ip -n b address | grep -E 'tentative|NO-CARRIER'"

start_servers() {
    local n
    for n in a b; do agent $n $1 --entry-key entry.key; done
    agent c $1
}

stop_servers() { local n; for n in a b c; do stop $n; on $n "$W" down; done; }

# The client dials host $1, with no session.
dial() {
    on p ip link set wgp down
    on p wg set wgp peer "$(cat entry.pub)" endpoint 192.0.2.$1:51821 allowed-ips 10.50.0.0/24
    on p ip link set wgp up
    on p ip route replace 10.50.0.0/24 dev wgp
}

on p ip link add wgp type wireguard
on p wg set wgp private-key p.key
on p ip address add $client dev wgp

# The client's latest move as a host's agent tells it: the named time of it, in microseconds.
moved_us() { on $1 "$W" status --json | tr -d ' \n' | grep -o '"client":"p"[^}]*' | grep -o "\"$2\":[0-9]*" | cut -d : -f 2; }

# Milliseconds from the handshake with host $1 until each host sent the client's packets there.
followed_ms() {
    local n came last=0 at
    came=$(moved_us $1 came_us)
    for n in a b c; do at=$(moved_us $n followed_us); [ $at -le $last ] || last=$at; done
    echo $(((last - came) / 1000))
}

start_servers kernel
dial 1
within 60 "on p /bin/ping -c 1 -W 1 10.50.0.3"
within 20 '[ "$(sends_to c)" = a ]'
for move in $(seq ${MOVES:-6}); do
    to=$((move % 2 + 1))
    dial $to
    # Handshake, look at the device, news to c, and the packet itself: stamped when the first answers come.
    begin=$EPOCHREALTIME
    on p /bin/ping -n -D -i 0.05 -c 3 -w 20 10.50.0.3 >ping.txt || give_up "nothing came back in 20 s: $(cat ping.txt)"
    sed -n 's/^\[\([0-9.]*\)\].*/\1/p' ping.txt | head -n 1 | awk -v begin=$begin '{ printf "%.0f\n", ($1 - begin) * 1e3 }' >>times
    server=$([ $to = 1 ] && echo a || echo b) other=$([ $to = 1 ] && echo b || echo a)
    within 10 "[ \"\$(sends_to c)\$(sends_to $other)\" = $server$server ]"
    followed_ms $server >>followed
done
# The median, the 99th in a hundred, and the longest.
spread() { sort -n $1 | awk '{ all[NR] = $1 } END { p99 = int((NR * 99 + 99) / 100); print all[int((NR + 1) / 2)], all[p99], all[NR] }'; }
[ "$(sort -n times | tail -n 1)" -lt 15000 ] || give_up "moves took $(spread times) ms"
echo "ok: $(wc -l <followed) moves between the kernel's devices; median, p99 and longest ms: from the handshake until all send there $(spread followed), from dialling until the answer $(spread times)"

stop_servers
start_servers engine
dial 1
within 60 "on p /bin/ping -c 1 -W 1 10.50.0.3"
within 20 '[ "$(sends_to c)" = a ]'
cat >moved.nft <<T
table ip moved {
    chain out { type filter hook output priority -300; ip daddr 192.0.2.1 udp dport 51821 ip daddr set 192.0.2.2; }
    chain in { type filter hook prerouting priority -400; ip saddr 192.0.2.2 udp sport 51821 ip saddr set 192.0.2.1; }
}
T
handshakes=$(on p wg show wgp latest-handshakes)
on p /bin/ping -n -i 0.2 -c 60 -W 3 10.50.0.3 >ping.txt &
ping=$!
sleep 4
on p nft -f moved.nft
wait $ping || true
answered=$(sed -n 's/^60 packets transmitted, \([0-9]*\) .*/\1/p' ping.txt)
# One is the most that a move may cost; the machine loses some by itself when others want its processors.
[ "${answered:-0}" -ge 57 ] || give_up "a move between two packets: $(tail -n 3 ping.txt)"
within 10 '[ "$(sends_to c)$(sends_to a)" = bb ]'
[ "$(on p wg show wgp latest-handshakes)" != "$handshakes" ] || give_up "the new server has not called the client"
echo "ok: taken to another engine between two packets, $answered of 60 answered, $(sed -n 's/^rtt //p' ping.txt)"
stop_servers
