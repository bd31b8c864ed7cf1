# What the scripts beside this one have in common: hosts that are namespaces on one bridge, and agents on them. To be read by bash.
# Each host has its own folder for the sockets of WireGuard in user space.
#
# Whatever does not come about within its time prints the agents' logs and ends with 1.
W=$PWD/wayleave
work=$(mktemp -d)
cd "$work"
export WG_COLOR_MODE=never
hosts=

# Several scripts may run in a machine, one after the other.
trap 'for n in $hosts; do kill $(cat $n.host); ip netns del $n; done; ip link del br0' EXIT

on() {
    local n=$1; shift
    WAYLEAVE_RUNTIME_DIR=$work/run-$n nsenter --target $(cat $work/$n.host) --net --mount sh -c 'cd "$0" && exec "$@"' "$work" "$@"
}

give_up() {
    echo "FAILED: $1"
    for n in $hosts; do echo "== $n"; on $n "$W" status || true; on $n wg show || true; tail -n 30 $n.log || true; done
    exit 1
}

# Waits until $2... is true, for $1 seconds.
within() {
    local seconds=$1 begin=$SECONDS; shift
    until eval "$*" >/dev/null 2>&1; do
        ((SECONDS - begin < seconds)) || give_up "not within $seconds s: $*"
        # Each look starts programs, which costs the emulated processors as much as agents do.
        sleep 0.5
    done
}

# A host $1 with the next address, from which packets take $2 longer to leave.
add_host() {
    [ -n "$hosts" ] || { ip link add br0 type bridge; ip link set br0 up; }
    hosts="$hosts $1"
    number=$(wc -w <<<"$hosts")
    ip netns add $1
    mkdir -p run-$1
    nsenter --net=/run/netns/$1 unshare --mount sh -c "mount -t tmpfs none /run/wireguard; echo \$\$ >$work/$1.host; exec sleep 100000" &
    until [ -s $1.host ]; do sleep 0.1; done
    ip -n $1 link set lo up
    ip link add v$1 type veth peer name out netns $1
    ip link set v$1 master br0 up
    ip -n $1 addr add 192.0.2.$number/24 dev out
    ip -n $1 link set out up
    # Far more than what emulation adds, so that a direct link is the fastest.
    tc -n $1 qdisc add dev out root netem delay $2
}

# The agent of host $1 on $2, the kernel's WireGuard or the engine.
agent() {
    local n=$1 device=$2; shift 2
    on $n sh -c 'echo $$ >"$0"; exec "$@"' $n.pid "$W" agent --node $n --private-key $n.key --device $device "$@" >>$n.log 2>&1 &
    within 20 "on $n $W show"
}

stop() { kill "$(cat $1.pid)"; within 20 "! kill -0 $(cat $1.pid)"; }

client=10.50.0.9

# Hosts a and b, entry servers, c, a node, and p, a client with the address $client, in network.toml of a network called $1 whose
# clients dial $2.
make_entry_network() {
    local n
    "$W" key generate -o entry.key >entry.pub
    printf '[network]\nname = "%s"\nprefixes = ["10.50.0.0/24"]\nplatform = "agent"\n' $1 >network.toml
    printf '[entry]\nendpoint = "%s"\npublic_key = "%s"\n' $2 "$(cat entry.pub)" >>network.toml
    for n in a b c p; do
        "$W" key generate -o $n.key >$n.pub
        add_host $n 10ms
        case $n in
        p) printf '[clients.p]\naddress = "%s"\npublic_key = "%s"\n' $client "$(cat p.pub)" ;;
        *) printf '[nodes.%s]\nendpoint = "192.0.2.%s"\naddress = "10.50.0.%s"\npublic_key = "%s"\nentry = %s\n' \
            $n $number $number "$(cat $n.pub)" "$([ $n = c ] && echo false || echo true)" ;;
        esac >>network.toml
    done
    printf '[[links]]\nmesh = ["*"]\n' >>network.toml
}

# Where host $1 of that network sends what is for the client: a node, or nobody.
sends_to() {
    local n owner
    owner=$(on $1 wg show wg0 allowed-ips | awk -v prefix=$client/32 'index($0, prefix) { print $1 }')
    for n in a b c; do [ "$(cat $n.pub)" != "$owner" ] || echo $n; done
}
