#!/bin/bash
# Routes of BGP between nodes with the kernel's WireGuard: run in a machine whose kernel has it, and that has BIRD, with everything below /t.
#
# Hosts a and b have one service address, of which only BGP tells, and c sends to it. One of the two is the best way; that the kernel's
# device drops what comes from the address by the other one is said by `check`, `doctor` and the agents' logs, and is so. When a
# no longer has the address, c's packets go to b, whose packets are let in then. Each part prints `ok`.
set -eu
. ./hosts.sh
service=172.22.1.9

for n in a b c; do
    "$W" key generate -o $n.key >$n.pub
    add_host $n 10ms
done
network() {
    printf '[network]\nname = "routed"\nprefixes = ["10.50.0.0/24"]\nplatform = "agent"\n[bgp]\nasn = 64512\nown = ["172.22.1.0/24"]\n'
    local n at=0
    for n in a b c; do
        at=$((at + 1))
        printf '[nodes.%s]\nendpoint = "192.0.2.%s"\naddress = "10.50.0.%s"\npublic_key = "%s"\nbgp = true\nrouter_id = "10.50.0.%s"\n' $n $at $at "$(cat $n.pub)" $at
        case $1 in *$n*) printf 'service_addresses = ["%s"]\n' $service ;; esac
    done
}
network ab >network.toml
within 20 "! ip -n b address | grep -E 'tentative|NO-CARRIER'"
"$W" check network.toml >check.txt 2>&1 || true
grep -q 'WL161' check.txt && grep -q 'node a and node b may both tell ways to 172.22.1.9/32' check.txt || give_up "check says: $(cat check.txt)"
for n in a b c; do agent $n kernel; done

# To which node a host sends what is for the address.
owner() {
    local n owner
    owner=$(on $1 wg show wg0 allowed-ips | awk '/172\.22\.1\.9\/32/ { print $1 }')
    for n in a b c; do [ "$(cat $n.pub)" != "$owner" ] || echo $n; done
}
within 60 '[ "$(owner c)" = a ]'
within 20 "on c /bin/ping -c 1 -W 1 $service"
on c /bin/ping -n -q -i 0.2 -c 10 -W 2 $service >ping.txt || true
grep -q ' 10 received' ping.txt || give_up "over the kernel's device: $(cat ping.txt)"
echo "ok: what BIRD learned goes to the node that it names, over the kernel's one device, and answers come back"

! on b /bin/ping -c 3 -i 0.3 -W 1 -I $service 10.50.0.3 >ping.txt || give_up "what comes by the other origin is let in: $(cat ping.txt)"
on c "$W" doctor --node c --private-key c.key >doctor.txt 2>&1 || true
grep -q 'two nodes may learn ways to the same prefixes in 172.22.1.9/32' doctor.txt || give_up "doctor says: $(cat doctor.txt)"
for n in a b c; do
    grep -q "packets from 172.22.1.9/32 may come by two nodes, and the kernel's WireGuard drops" $n.log || give_up "$n's log says nothing of it"
done
echo "ok: what comes from the address by the other node is dropped, and check, doctor and the agents say so"

on c /bin/ping -n -D -i 0.05 -c 300 -W 2 $service >ping.txt & ping=$!
sleep 2
network b >new.toml
mv new.toml network.toml
wait $ping || true
[ "$(owner c)" = b ] || give_up "c sends to $(owner c)"
gap=$(sed -n 's/.*icmp_seq=\([0-9]*\) .*/\1/p' ping.txt | sort -n | awk '{ gap = $1 - last - 1; if (gap > most) most = gap; last = $1 } END { print (300 - last > most ? 300 - last : most) * 50 }')
[ $gap -lt 10000 ] || give_up "without an answer for $gap ms: $(tail -n 3 ping.txt)"
on b /bin/ping -c 1 -W 2 -I $service 10.50.0.3 >ping.txt || give_up "b's packets are not let in: $(cat ping.txt)"
echo "ok: withdrawn at one node, its packets go to the other within $gap ms, and that one's are let in"
