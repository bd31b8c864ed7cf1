#!/bin/bash
# Three agents on the kernel's own WireGuard: run in a machine whose kernel has it, with everything below /t (scripts/kernel-test agent).
#
# Hosts a, b and c are namespaces on one bridge; c is a hub. Each part prints `ok` and what was seen; whatever does not come about
# within its time prints the agents' logs and ends with 1.
set -eu
. ./hosts.sh

seen() { ip -n $1 -o link | sed 's/ qlen .*//'; ip -n $1 -o address; ip -n $1 -4 route show table all
    ip -n $1 -6 route show table all; ip -n $1 rule; on $1 cat /proc/sys/net/ipv4/ip_forward; on $1 nft list ruleset; }

# Whose is the inner address of b at a? The hub's, if nobody has it alone.
owner_of_b() { on a wg show wg0 allowed-ips | awk '/10\.50\.0\.2\/32/ { own = $1 } /10\.50\.0\.0\/24/ { wide = $1 } END { print own ? own : wide }'; }

for n in a b c; do
    "$W" key generate -o $n.key >$n.pub
    add_host $n 50ms
    cat >>nodes <<T
[nodes.$n]
endpoint = "192.0.2.$number"
address = "10.50.0.$number"
public_key = "$(cat $n.pub)"
T
done
{ printf '[network]\nname = "three"\nprefixes = ["10.50.0.0/24"]\n'; cat nodes; printf 'hub = true\n[[links]]\nmesh = ["*"]\n'; } >network.toml
within 20 "! ip -n b address | grep -E 'tentative|NO-CARRIER'"
seen b >before

agent a kernel; agent b kernel; agent c kernel
for from in a b c; do
    for to in 1 2 3; do within 30 "on $from /bin/ping -c 1 -W 1 10.50.0.$to"; done
    peers=$(for n in a b c; do [ $n = $from ] || cat $n.pub; done | sort)
    [ "$(on $from wg show wg0 peers | sort)" = "$peers" ] || give_up "$from has other peers than planned"
    ip -n $from -d link show wg0 | grep -q ' wireguard ' || give_up "$from has no device of the kernel's"
done
# While the first agents look for the others, a may have heard of the hub before it heard of b.
within 60 '[ "$(owner_of_b)" = "$(cat b.pub)" ]'
on a "$W" status | head -n 1
echo "ok: three agents, all pings, and wg shows the planned peers"

on a nft 'add table inet cut; add chain inet cut i { type filter hook input priority 0; }; add chain inet cut o { type filter hook output priority 0; };
    add rule inet cut i ip saddr 192.0.2.2 drop; add rule inet cut o ip daddr 192.0.2.2 drop'
begin=$SECONDS
within 60 '[ "$(owner_of_b)" = "$(cat c.pub)" ]'
within 20 "on a /bin/ping -c 1 -W 1 10.50.0.2"
echo "ok: a link that is cut is gone round by way of the hub, after $((SECONDS - begin)) s"
on a nft delete table inet cut
begin=$SECONDS
within 120 '[ "$(owner_of_b)" = "$(cat b.pub)" ]'
within 20 "on a /bin/ping -c 3 -i 0.2 -W 1 10.50.0.2"
echo "ok: and is used again once it is mended, after $((SECONDS - begin)) s"

handshakes=$(on a wg show wg0 latest-handshakes | sort)
on a /bin/ping -q -i 0.2 -c 50 10.50.0.2 >ping.txt & ping=$!
stop a
agent a kernel
wait $ping || give_up "pings beside a restart: $(cat ping.txt)"
grep -q ' 0% packet loss' ping.txt || give_up "pings beside a restart: $(cat ping.txt)"
[ "$(on a wg show wg0 latest-handshakes | sort)" = "$handshakes" ] || give_up "a restart made other handshakes"
echo "ok: an agent that starts again keeps the sessions, and no ping of 50 is lost"

on a wg set wg0 peer "$(cat b.pub)" remove
on a wg set wg0 peer "$("$W" key generate -o x.key)" allowed-ips 10.9.9.9/32
begin=$SECONDS
within 90 '[ "$(on a wg show wg0 peers | sort)" = "$(cat b.pub c.pub | sort)" ]'
within 30 "on a /bin/ping -c 1 -W 1 10.50.0.2"
echo "ok: a peer taken away by hand is back, and one added is gone, after $((SECONDS - begin)) s"

stop b
on b "$W" down
seen b >after
cmp before after || { diff before after; give_up "down leaves something behind"; }
echo "ok: down leaves the host as it was"

code=0; on b "$W" apply --node b --private-key b.key --device kernel --dry-run >dry || code=$?
[ $code = 2 ] || give_up "a dry run exits with $code: $(cat dry)"
on b "$W" apply --node b --private-key b.key --device kernel >applied || give_up "apply: $(cat applied)"
on b "$W" apply --node b --private-key b.key --device kernel --dry-run >dry || give_up "there is more to do: $(cat dry)"
# Whether a answers is a's affair: it may have given up its link with b in the meantime, and b has no agent now.
[ "$(on b wg show wg0 peers | sort)" = "$(cat a.pub c.pub | sort)" ] || give_up "b has other peers than planned"
echo "ok: applied once, there is nothing more to do"
on b "$W" down
stop a; stop c
