//! What is wrong with BGP and neighbours.

use super::shown::check;

#[test]
fn bgp_needs_the_networks_number() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\nbgp = true\n[nodes.b]\nrouter_id = \"10.0.0.1\"\n[nodes.c]\nbgp = false
        [neighbours.x]\nnode = \"a\"\nasn = 64513\npublic_key = \"LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM=\"",
        r#"
        error WL151 n:4:7 node a takes part in BGP, and the network has no [bgp] => Add [bgp] with asn = ..., the network's AS number.
        error WL151 n:6:13 node b takes part in BGP, and the network has no [bgp] => Add [bgp] with asn = ..., the network's AS number.
        error WL151 n:9:21 neighbour x takes part in BGP, and the network has no [bgp] => Add [bgp] with asn = ..., the network's AS number.
        note WL113 - not linked directly, since neither side has an endpoint: b and c => Leave it so if a hub relays between them; otherwise give one of each pair an endpoint.
        "#,
    );
}

#[test]
fn numbers_that_nobody_has_are_refused() {
    check(
        "[bgp]\nasn = 0\n[nodes.a]\nendpoint = \"192.0.2.1\"\nrouter_id = \"fd00::1\"
        [neighbours.x]\nnode = \"a\"\nasn = 23456\naccept = [\"10.0.0.0/8\"]\nport = 1\nown_addresses = [\"10.9.0.1/30\"]\naddresses = [\"10.9.0.2\"]
        public_key = \"LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM=\"",
        r#"
        error WL152 n:3:7 AS number 0 of [bgp] stands for nobody => Private numbers are 64512 to 65534 and 4200000000 to 4294967294.
        error WL157 n:6:13 router id fd00::1 of node a is no IPv4 address => Write an IPv4 address, such as that of the node.
        error WL152 n:9:7 AS number 23456 of neighbour x stands for an AS whose number an old router can't tell => Private numbers are 64512 to 65534 and 4200000000 to 4294967294.
        note WL159 n:2:1 nothing is announced to neighbours: [bgp] has no prefixes of the network's own => Write own = [...], the prefixes that are the network's own.
        "#,
    );
}

#[test]
fn a_neighbour_has_addresses_that_reach_each_other_and_a_port_of_its_own() {
    let key = "public_key = \"LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM=\"";
    check(
        &format!(
            "[bgp]\nasn = 64512\nown = [\"10.50.0.0/16\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"
            [neighbours.none]\nnode = \"a\"\nasn = 64513\n{key}
            [neighbours.far]\nnode = \"a\"\nasn = 64513\nport = 51820\naccept = []\nown_addresses = [\"10.9.0.1/30\"]\naddresses = [\"10.9.0.6\"]\n{key}
            [neighbours.same]\nnode = \"a\"\nasn = 64513\nport = 3\naccept = []\ndevice = \"wg0\"\nown_addresses = [\"10.9.0.1/30\"]\naddresses = [\"10.9.0.1\", \"10.9.0.2\"]\n{key}
            [neighbours.point]\nnode = \"a\"\nasn = 64513\nport = 3\naccept = []\nown_addresses = [\"10.9.0.1\"]\naddresses = [\"10.9.1.1\"]\nsessions = \"both\"\n{key}"
        ),
        r#"
        error WL153 n:7:25 neighbour none can't be joined: it has no port: the node's own device has a port of its own, and so has every neighbour's => Write port = ..., on which our node listens for it.
        error WL153 n:7:25 neighbour none can't be joined: its session is over IPv4, and our node has no such address on their device => Write own_addresses = ["ADDRESS/LENGTH"], ours, and addresses = ["ADDRESS"], its own.
        error WL154 n:14:8 node a and neighbour far have the same port 51820 at node a (n:5:8 the other) => Give one of them another port.
        error WL153 n:17:13 neighbour far can't be joined: 10.9.0.6 is in no prefix of ours on that device (10.9.0.1/30) => Give both sides addresses of one prefix, or ours the length of a single address.
        error WL154 n:19:25 node a and neighbour same have the same device wg0 at node a (n:5:8 the other) => Give one of them another device = "...".
        error WL154 n:22:8 neighbour point and neighbour same have the same port 3 at node a (n:31:8 the other) => Give one of them another port.
        error WL153 n:26:13 neighbour same can't be joined: it has two IPv4 addresses, and one session has one => Keep one of them.
        error WL153 n:26:13 neighbour same can't be joined: both sides have the address 10.9.0.1 => Give each side its own.
        error WL153 n:34:13 neighbour point can't be joined: its session is over IPv6, and our node has no such address on their device => Write own_addresses = ["ADDRESS/LENGTH"], ours, and addresses = ["ADDRESS"], its own.
        warning WL158 n:7:25 nothing that neighbour none announces is accepted => Write accept = [...], the prefixes that it may announce, and all inside them.
        "#,
    );
}

#[test]
fn somebody_has_to_be_dialled_and_a_key_has_one_owner() {
    check(
        "[bgp]\nasn = 4242421869\nprofile = \"dn42\"\nown = [\"172.22.132.169/32\"]\nreflectors = [\"b\", \"d\"]
        [nodes.a]\nbgp = false\npublic_key = \"LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM=\"\n[nodes.b]\nendpoint = \"192.0.2.1\"\nplatform = \"routeros\"
        [neighbours.x]\nnode = \"a\"\nasn = \"AS4242420001\"\npublic_key = \"LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM=\"
        [neighbours.y]\nnode = \"b\"\nasn = 4242420001\nendpoint = \"10.50.0.9\"\npublic_key = \"P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=\"
        [neighbours.a]\nnode = \"z\"\nasn = 4242420001\npublic_key = \"P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=\"",
        r#"
        error WL102 n:6:20 there is no node "d" => Did you mean "a"?
        error WL156 n:8:7 node a has a neighbour, and is said not to speak BGP => Remove bgp = false.
        error WL155 n:10:8 node b speaks BGP, which can't be set up on routeros => Give it platform = "agent" or "wg-quick".
        error WL112 n:13:21 neighbour x and node a can't be linked: neither has an endpoint that the other can dial (n:7:16 the node) => Give one of them an endpoint.
        error WL105 n:16:14 node a and neighbour x have the same public key (n:7:16 also used here) => Write the neighbour's own public key, which its operator tells.
        error WL110 n:20:12 endpoint 10.50.0.9:20001 of neighbour y is inside 10.50.0.0/16 of the network's prefixes, which is reached through the overlay itself => Give the node's address on the internet, or change the prefix.
        error WL101 n:22:21 node a and neighbour a have the same name (n:7:16 also used here) => Give one of them another name.
        error WL102 n:23:8 there is no node "z" => Did you mean "a"?
        warning WL160 n:5:8 nobody in DN42 accepts 172.22.132.169/32 => Announce what the registry has: an IPv4 /21 to /29, an IPv6 /44 to /64 of fd00::/8.
        note WL161 n:17:21 neighbour x and neighbour y may both tell ways to 10.0.0.0/8, at different nodes (n:13:21 the other) => Start the agents of nodes that speak BGP with --device engine.
        "#,
    );
}

#[test]
fn words_and_numbers_of_bgp_are_read_strictly() {
    check(
        "[bgp]\nasn = \"AS-ROUTES\"\nprofile = \"dn24\"\ntable = 254
        [nodes.a]\nendpoint = \"192.0.2.1\"
        [neighbours.x]\nnode = \"a\"\nasn = 5000000000\nsessions = \"v5\"\nexport = \"everything\"\nmax_prefixes = 0\nbandwidth_mbit = 0\nown_addresses = [\"10.9.0/30\"]\npublic_key = \"P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=\"",
        r#"
        error WL019 n:3:7 "AS-ROUTES" is no AS number => Write a number, such as 4242421869.
        error WL019 n:4:11 "dn24" is no profile => Did you mean "dn42"?
        error WL019 n:5:9 "254" is no routing table of one's own => 253 to 255 are the kernel's; take another number.
        error WL018 n:10:7 5000000000 is outside 0 to 4294967295
        error WL019 n:11:12 "v5" is no kind of session => Did you mean "v4"?
        error WL019 n:12:10 "everything" is no export policy => Write one of own, all, nothing.
        error WL018 n:13:16 0 is outside 1 to 2000000 routes
        error WL018 n:14:18 0 is outside above 0 to 1000000 Mbit/s
        error WL015 n:15:18 "10.9.0/30" is no address => Write an address and a length, such as 10.132.0.1/30 or fe80::1869/64.
        error WL153 n:8:21 neighbour x can't be joined: it has no port: the node's own device has a port of its own, and so has every neighbour's => Write port = ..., on which our node listens for it.
        error WL153 n:8:21 neighbour x can't be joined: its session is over IPv4, and our node has no such address on their device => Write own_addresses = ["ADDRESS/LENGTH"], ours, and addresses = ["ADDRESS"], its own.
        warning WL158 n:8:21 nothing that neighbour x announces is accepted => Write accept = [...], the prefixes that it may announce, and all inside them.
        note WL159 n:2:1 nothing is announced to neighbours: [bgp] has no prefixes of the network's own => Write own = [...], the prefixes that are the network's own.
        "#,
    );
}

#[test]
fn who_is_to_be_told_by_bgp_where_clients_are_speaks_it() {
    check(
        "[bgp]\nasn = 4200000001\nexchange = \"birds\"\n[nodes.a]\nendpoint = \"192.0.2.1\"",
        r#"
        error WL019 n:4:12 "birds" is no exchange => Write one of links, bgp.
        "#,
    );
    check(
        "[bgp]\nasn = 4200000001\nexchange = \"bgp\"\n[entry]\nendpoint = \"198.51.100.1\"
        [nodes.a]\nendpoint = \"192.0.2.1\"\nplatform = \"agent\"\nentry = true
        [nodes.b]\nendpoint = \"192.0.2.2\"\nplatform = \"agent\"\nbgp = false
        [nodes.c]\nendpoint = \"192.0.2.3\"\nbgp = false",
        r#"
        error WL156 n:14:7 node b is to be told by BGP where clients are (exchange = "bgp"), and is said not to speak BGP => Remove bgp = false.
        "#,
    );
}

#[test]
fn what_may_come_by_two_nodes_is_said() {
    let neighbour = |name: &str, node: &str, accept: &str, port: u16| {
        format!(
            "[neighbours.{name}]\nnode = \"{node}\"\nasn = 64513\nport = {port}\naccept = {accept}\nown_addresses = [\"10.9.0.1/30\"]\n\
             addresses = [\"10.9.0.2\"]\npublic_key = \"LHv3equY4NyDeLVCY1+P5IrCA23+bYLixB18ehHjzzM=\"\n"
        )
    };
    let nodes = "[bgp]\nasn = 64512\nown = [\"10.50.0.0/24\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"\n[nodes.b]\nendpoint = \"192.0.2.2\"\n";
    let two = |accept: &str, other: &str, node: &str| {
        format!("{nodes}{}{}", neighbour("x", "a", accept, 1), neighbour("y", node, other, 2))
    };
    check(
        &two("[\"192.168.0.0/16\", \"10.0.0.0/8\"]", "[\"10.64.0.0/10\"]", "b"),
        r#"
        note WL161 n:17:13 neighbour x and neighbour y may both tell ways to 10.64.0.0/10, at different nodes (n:9:13 the other) => Start the agents of nodes that speak BGP with --device engine.
        "#,
    );
    check(&two("[\"10.0.0.0/8\"]", "[\"10.64.0.0/10\"]", "a"), "");
    check(&two("[\"10.0.0.0/9\", \"10.128.0.0/10\"]", "[\"10.192.0.0/10\"]", "b"), "");
    check(
        "[bgp]\nasn = 64512\nown = [\"172.22.1.0/24\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"\nbgp = true\nservice_addresses = [\"172.22.1.9\"]
        [nodes.b]\nendpoint = \"192.0.2.2\"\nbgp = true\nservice_addresses = [\"172.22.1.8\", \"172.22.1.9\"]",
        r#"
        note WL161 n:9:16 node a and node b may both tell ways to 172.22.1.9/32, at different nodes (n:5:8 the other) => Start the agents of nodes that speak BGP with --device engine.
        "#,
    );
}
