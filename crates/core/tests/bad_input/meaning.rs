//! What is wrong with a network whose text is in order.

use super::shown::{check, check_sources};

#[test]
fn sites_may_not_overlap_each_other_or_the_overlay() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\nprefixes = [\"192.168.10.0/24\"]
        [nodes.b]\nprefixes = [\"192.168.0.0/16\"]
        [sites.s]\nprefixes = [\"10.50.7.0/24\", \"10.0.0.0/8\"]\ngateways = [\"a\"]",
        r#"
        error WL103 n:6:13 192.168.0.0/16 of site b overlaps 192.168.10.0/24 of site a (n:4:13 also used here) => Renumber one of them; one address can't be in two places.
        error WL103 n:8:13 10.50.7.0/24 of site s overlaps 10.50.0.0/16 of the network's prefixes (n:1:37 also used here) => Choose overlay prefixes outside every site.
        error WL103 n:8:29 10.0.0.0/8 of site s overlaps 10.50.0.0/16 of the network's prefixes (n:1:37 also used here) => Choose overlay prefixes outside every site.
        "#,
    );
}

#[test]
fn regions_and_client_pools_are_disjoint_parts_of_the_overlay() {
    check_sources(
        &[(
            "n",
            "network = { name = \"n\", prefixes = [\"10.50.0.0/16\"], client_prefixes = [\"10.50.1.128/25\"], link_prefix = \"10.50.9.0/24\" }
            regions.ra.prefix = \"10.50.0.0/23\"
            regions.rb.prefix = \"10.50.1.0/24\"
            regions.rc.prefix = \"10.51.1.0/24\"
            regions.d = { prefix = \"10.50.4.0/24\", prefixes = [\"10.50.5.0/24\"] }
            nodes.a.region = \"ra\"
            nodes.b.region = \"rb\"
            nodes.c.region = \"rc\"",
        )],
        r#"
        error WL103 n:1:73 10.50.1.128/25 of the client prefixes overlaps 10.50.1.0/24 of region rb (n:3:33 also used here) => Give clients a part of the overlay prefix that no region has.
        error WL103 n:1:106 10.50.9.0/24 of the network's link prefix overlaps 10.50.0.0/16 of the network's prefixes (n:1:37 also used here) => Choose ranges that do not overlap.
        error WL103 n:3:33 10.50.1.0/24 of region rb overlaps 10.50.0.0/23 of region ra (n:2:33 also used here) => Give each region its own part of the overlay prefix.
        error WL104 n:4:33 10.51.1.0/24 of region rc is outside the network's prefixes (n:1:37 the network's prefix) => Choose a part of the network's prefixes, or widen those.
        error WL121 n:5:63 region d has both "prefix" and "prefixes" (n:5:36 and this) => Keep one of prefix and prefixes.
        error WL109 n:5:64 region d has two IPv4 prefixes (n:5:36 the first one) => Keep one; a wider prefix can cover both.
        note WL113 - not linked directly, since neither side has an endpoint: a and b, a and c, b and c => Leave it so if a hub relays between them; otherwise give one of each pair an endpoint.
        note WL126 n:5:21 region d has no nodes
        "#,
    );
}

#[test]
fn the_overlay_has_one_prefix_of_a_family() {
    check_sources(
        &[("n", "network = { name = \"n\", prefixes = [\"10.50.0.0/16\", \"10.60.0.0/16\"] }")],
        r#"
        error WL109 n:1:53 the network has two IPv4 prefixes (n:1:37 the first one) => Keep one; a wider prefix can cover both.
        "#,
    );
}

#[test]
fn names_are_shared_by_nodes_regions_and_clients() {
    check(
        "[regions.x]\n[nodes.x]\nregion = \"x\"\nendpoint = \"192.0.2.1\"\nhub = true\nprefixes = [\"192.168.7.0/24\"]
        [clients.x]\n[sites.x]\nprefixes = [\"192.168.8.0/24\"]\ngateways = [\"x\"]",
        r#"
        error WL101 n:2:10 node x and region x have the same name (n:3:8 also used here) => Give one of them another name.
        error WL101 n:8:18 node x and client x have the same name (n:3:8 also used here) => Give one of them another name.
        error WL101 n:9:8 the site of node x and site x have the same name (n:7:12 also used here) => Give one of them another name.
        "#,
    );
}

#[test]
fn unknown_names_are_reported_with_the_nearest() {
    check(
        "[regions.europe]\n[nodes.hkg]\nregion = \"eurpe\"\ntags = [\"pop\"]\nendpoint = \"192.0.2.1\"
        [clients.c]\nvia = [\"hgk\", \"zzzzzz\"]
        [sites.s]\nprefixes = [\"192.168.9.0/24\"]\ngateways = [\"hk\"]
        [[links]]\nfrom = [\"hkgg\", \"tag:pip\"]\nto = [\"c\"]\nexcept_pairs = [[\"x\", \"hkg\"]]
        [rtt_ms]\nhkg = { erope = 3 }",
        r#"
        error WL102 n:4:10 there is no region "eurpe" => Did you mean "europe"?
        error WL102 n:8:8 there is no node "hgk" => Did you mean "hkg"?
        error WL102 n:8:15 there is no node "zzzzzz" => Add it, or name an existing node.
        error WL102 n:11:13 there is no node "hk" => Did you mean "hkg"?
        error WL102 n:13:9 there is no node or region "hkgg" => Did you mean "hkg"?
        error WL102 n:14:7 there is no node or region "c" => Name clients' nodes in their via; rules are for nodes.
        error WL102 n:15:18 there is no node "x" => Add it, or name an existing node.
        error WL102 n:17:9 there is no node, region or client "erope" => Did you mean "europe"?
        warning WL123 n:13:17 tag:pip selects nothing => Did you mean "tag:pop"?
        note WL126 n:2:10 region europe has no nodes
        "#,
    );
}

#[test]
fn keys_and_addresses_belong_to_one_node() {
    check(
        "[nodes.a]\naddress = \"10.50.0.1\"\nendpoint = \"192.0.2.1\"\npublic_key = \"bzM6rw/efq+75VGhBgkCRChDnKfFlXQY560ejhvKCQY=\"
        [nodes.b]\naddress = \"10.50.0.1\"\npublic_key = \"bzM6rw/efq+75VGhBgkCRChDnKfFlXQY560ejhvKCQY=\"",
        r#"
        error WL106 n:7:11 node a and node b have the same address 10.50.0.1 (n:3:11 also used here) => Give one of them another address, or leave it out to have one allocated.
        error WL105 n:8:14 node a and node b have the same public key (n:5:14 also used here) => Make a key of its own for each; WireGuard tells peers apart by nothing else.
        "#,
    );
}

#[test]
fn addresses_come_from_the_region_and_are_no_networks_own() {
    check_sources(
        &[(
            "n",
            "network = { name = \"n\", prefixes = [\"10.50.0.0/16\"], client_prefixes = [\"10.50.9.0/24\"] }
            regions.r.prefix = \"10.50.4.0/24\"
            [nodes]
            a = { region = \"r\", address = \"10.50.5.1\", endpoint = \"192.0.2.1\", hub = true }
            b = { region = \"r\", address = \"10.50.4.0\" }
            c = { region = \"r\", addresses = [\"10.50.4.255\", \"10.50.4.7\"] }
            d = { address = \"fd00::1\", addresses = [\"10.50.9.1\"] }
            [clients]
            e = { address = \"10.50.4.9\" }",
        )],
        r#"
        error WL107 n:4:43 address 10.50.5.1 of node a is outside 10.50.4.0/24 of region r => Choose a free address of that range.
        error WL108 n:5:43 address 10.50.4.0 of node b is the network address of 10.50.4.0/24 => Choose another address.
        error WL108 n:6:46 address 10.50.4.255 of node c is the broadcast address of 10.50.4.0/24 => Choose another address.
        error WL109 n:6:61 node c has two IPv4 addresses (n:6:46 the first one) => Keep one of them.
        error WL107 n:7:29 address fd00::1 of node d is outside the network's prefixes, which have none of its family => Choose a free address of that range.
        error WL121 n:7:52 node d has both "address" and "addresses" (n:7:29 and this) => Keep one of address and addresses.
        error WL103 n:7:53 10.50.9.1/32 of node d overlaps 10.50.9.0/24 of the client prefixes => Give the node an address outside the client prefixes.
        error WL107 n:9:29 address 10.50.4.9 of client e is outside 10.50.9.0/24 of the client prefixes => Choose a free address of that range.
        "#,
    );
}

#[test]
fn a_public_endpoint_in_a_routed_prefix_would_loop() {
    check(
        "[nodes.a]\nendpoint = \"10.50.3.3:1\"
        [nodes.b]\nendpoint = \"192.168.7.7\"\nunderlays = [\"aws\"]
        [nodes.c]\nendpoints = { aws = \"192.168.7.8\", public = \"192.0.2.3\" }\nprefixes = [\"192.168.7.0/24\"]",
        r#"
        error WL110 n:3:12 endpoint 10.50.3.3:1 of node a is inside 10.50.0.0/16 of the network's prefixes, which is reached through the overlay itself => Give the node's address on the internet, or change the prefix.
        error WL110 n:5:12 endpoint 192.168.7.7:51820 of node b is inside 192.168.7.0/24 of site c, which is reached through the overlay itself => Give the node's address on the internet, or change the prefix.
        "#,
    );
}

#[test]
fn two_nodes_behind_one_address_need_two_ports() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\n[nodes.b]\nendpoint = \"192.0.2.1:51820\"",
        r#"
        warning WL127 n:5:12 node a and node b have the same endpoint 192.0.2.1:51820 (n:3:12 also used here) => Give each node a port of its own behind a shared address.
        "#,
    );
}

#[test]
fn a_named_pair_without_endpoints_is_an_error_and_a_selected_one_a_note() {
    check(
        "[nodes.hub]\nendpoint = \"192.0.2.1\"\n[nodes.a]\n[nodes.b]\n[nodes.c]
        [[links]]\nmesh = [\"*\"]
        [[links]]\nfrom = [\"a\"]\nto = [\"b\", \"hub\"]",
        r#"
        error WL112 n:9:9 node a and node b can't be linked: neither has an endpoint that the other can dial (n:4:8 no endpoint here) (n:5:8 nor here) => Give one of them an endpoint, or leave the pair out and let a hub relay.
        note WL113 n:7:9 not linked directly, since neither side has an endpoint: a and b, a and c, b and c => Leave it so if a hub relays between them; otherwise give one of each pair an endpoint.
        "#,
    );
}

#[test]
fn sites_need_prefixes_and_different_gateways() {
    check(
        "[nodes.a]\n[sites.s]\nprefixes = []\ngateways = [\"a\", \"a\"]
        [sites.t]\nprefixes = [\"192.168.9.0/24\"]\ngateways = []",
        r#"
        error WL114 n:4:12 site s has no prefix => Name its prefixes, or remove the site.
        error WL115 n:5:18 gateways of site s has a twice => Name another node; the same one can't replace itself.
        error WL114 n:8:12 site t has no gateway => Name the nodes in front of it in gateways.
        "#,
    );
}

#[test]
fn clients_need_nodes_with_public_endpoints() {
    check(
        "[nodes.a]\n[nodes.b]\nendpoint = \"192.0.2.1\"\n[clients.c]\n[clients.d]\nvia = [\"a\", \"b\", \"b\"]",
        r#"
        error WL117 n:5:10 client c has no node to connect to: no entry node and no hub has a public endpoint => Give a node entry = true and an endpoint, or name nodes in via.
        error WL116 n:7:8 client d can't connect to node a, which has no public endpoint (n:2:8 the node) => Give the node a public endpoint, or name another node.
        error WL115 n:7:18 via of client d has b twice => Remove it.
        "#,
    );
}

#[test]
fn public_prefixes_need_a_word() {
    check_sources(
        &[(
            "n",
            "network = { name = \"n\", prefixes = [\"8.0.0.0/16\"] }\n[nodes.a]\nprefixes = [\"2003::/32\", \"0.0.0.0/0\"]",
        )],
        r#"
        error WL118 n:1:37 8.0.0.0/16 of the network's prefixes is public address space => Choose a private range; if these addresses are yours, set allow_public_prefixes = true.
        error WL118 n:3:13 2003::/32 of site a is public address space => Choose a private range; if these addresses are yours, set allow_public_prefixes = true.
        error WL103 n:3:26 0.0.0.0/0 of site a overlaps 8.0.0.0/16 of the network's prefixes (n:1:37 also used here) => Choose overlay prefixes outside every site.
        error WL118 n:3:26 0.0.0.0/0 of site a is public address space => Choose a private range; if these addresses are yours, set allow_public_prefixes = true.
        warning WL119 n:3:26 0.0.0.0/0 of site a is also what Docker hosts use => Choose another range: a host that runs Docker keeps 172.17.0.0/16 to itself.
        "#,
    );
}

#[test]
fn lans_that_clients_may_have_at_home_are_odd() {
    check(
        "[nodes.a]\nhub = true\nendpoint = \"198.51.100.1\"\nprefixes = [\"192.168.0.0/23\", \"172.17.0.0/16\"]\n[clients.c]",
        r#"
        warning WL119 n:5:13 192.168.0.0/23 of site a is also what home routers use => Renumber the site: a client in a LAN with the same addresses can't reach it.
        warning WL119 n:5:31 172.17.0.0/16 of site a is also what Docker hosts use => Choose another range: a host that runs Docker keeps 172.17.0.0/16 to itself.
        "#,
    );
}

#[test]
fn rules_are_complete_and_select_something() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\n[nodes.b]
        [[links]]\nmesh = [\"*\"]\nfrom = [\"a\"]
        [[links]]\nfrom = [\"a\"]
        [[links]]
        [[links]]\nfrom = [\"role:hub\"]\nto = [\"tag:x\"]\nexcept_pairs = [[\"a\"]]
        [[links]]\nmesh = [\"role:boss\"]
        [[isolate]]\nbetween = [[\"a\"]]",
        r#"
        error WL019 n:16:9 "role:boss" is no selector => Write *, a node, a region, tag:NAME, role:hub or role:entry; where they are meant, too, a client, a group, site:NAME, role:client or role:site.
        error WL122 n:5:9 this rule is not complete: mesh stands alone, without from and to => Write mesh = [...], or from = [...] and to = [...].
        error WL122 n:8:9 this rule is not complete: from needs to => Write mesh = [...], or from = [...] and to = [...].
        error WL122 n:10:9 this rule is not complete: it has neither mesh nor from and to => Write mesh = [...], or from = [...] and to = [...].
        error WL122 n:14:17 this rule is not complete: except_pairs takes pairs of nodes => Write except_pairs = [["a", "b"], ...].
        error WL122 n:18:11 this rule is not complete: between takes two lists of selectors => Write between = [[...], [...]].
        warning WL123 n:12:9 role:hub selects nothing => Remove it, or give nodes what it selects.
        warning WL123 n:13:7 tag:x selects nothing => Remove it, or give nodes what it selects.
        "#,
    );
}

#[test]
fn round_trip_times_are_the_same_both_ways() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\n[nodes.b]\n[rtt_ms]\na = { b = 3, a = 1 }\nb = { a = 4 }",
        r#"
        error WL125 n:6:14 a has no round-trip time with itself => Remove it.
        error WL124 n:7:11 the round-trip time of b and a is given twice: 3 and 4 ms (n:6:11 given here first) => Keep one; the time is the same both ways.
        "#,
    );
}

#[test]
fn a_private_network_with_one_node_is_odd() {
    check(
        "[nodes.a.endpoints]\npublic = \"192.0.2.1\"\naws = \"192.168.7.1\"\n[nodes.b]\nunderlays = [\"aws\"]\n[nodes.c]\nunderlays = [\"asw\"]",
        r#"
        warning WL128 n:8:14 node c is the only one on private network asw => Did you mean "aws"?
        note WL113 - not linked directly, since neither side has an endpoint: b and c => Leave it so if a hub relays between them; otherwise give one of each pair an endpoint.
        "#,
    );
}

#[test]
fn a_client_in_a_rule_for_nodes_is_told_from_a_misspelt_node() {
    check(
        "[nodes.a]\nhub = true\nendpoint = \"192.0.2.1\"\n[clients.c]\n[[links]]\nmesh = [\"a\", \"c\"]",
        r#"
        error WL102 n:7:14 there is no node or region "c" => Name clients' nodes in their via; rules are for nodes.
        "#,
    );
}

#[test]
fn addresses_in_a_lan_are_in_the_lan() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\nprefixes = [\"192.168.77.0/24\"]\nlan_addresses = [\"192.168.77.2\", \"192.168.7.2\"]\n\
         lan_routers = [\"192.168.77.1\"]\n[nodes.b]\nlan_routers = [\"192.168.77.1\"]",
        r#"
        warning WL129 n:5:34 lan_addresses of node a names 192.168.7.2, which is in no prefix behind it (n:4:12 what is behind it) => Correct the address, or add its prefix to those behind the node.
        warning WL129 n:8:16 lan_routers of node b names 192.168.77.1, which is in no prefix behind it => Give node b the prefixes behind it, or remove this.
        "#,
    );
}

#[test]
fn prefixes_are_given_to_peers_and_to_one_each() {
    check(
        "[nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\nallowed = { b = [\"10.50.0.0/16\"], c = [\"10.50.0.0/16\"], d = [], x = [] }
        [nodes.b]\nallowed = { c = [] }\n[nodes.c]\n[clients.d]\nallowed = { b = [\"10.50.0.0/16\"] }",
        r#"
        error WL148 n:5:40 node a gives 10.50.0.0/16 to b and to c; in a device a prefix belongs to one peer (n:5:18 given here first) => Keep one of them.
        error WL102 n:5:65 there is no node, region or client "x" => Did you mean "a"?
        error WL147 n:7:13 node b gives prefixes to c, which is no peer of it => Link them, or remove the entry.
        error WL147 n:10:13 client d gives prefixes to b, which is no peer of it => Link them, or remove the entry.
        "#,
    );
}

#[test]
fn the_clients_device_needs_entry_nodes_that_can_have_it() {
    check(
        "[nodes.a]\n[entry]\nendpoint = \"192.0.2.9\"",
        "error WL149 n:3:1 [entry] is for nodes with entry = true, and there is none => Give entry = true to the nodes that clients may be with.",
    );
    check(
        "[nodes.a]\nentry = true\n[nodes.entry]\nentry = true\nplatform = \"agent\"\nport = 51821\ndevice = \"wg-clients\"\n[entry]\nendpoint = \"192.0.2.9\"",
        r#"
        error WL150 n:2:8 entry node a can't take clients that roam: its platform is wg-quick, which can't follow clients that roam (n:9:1 the clients' device) => Give it platform = "agent", or clients their nodes in via.
        error WL150 n:4:8 entry node entry can't take clients that roam: its own device is called wg-clients as well (n:9:1 the clients' device) => Name one of them differently.
        error WL150 n:4:8 entry node entry can't take clients that roam: its own device listens on port 51821 as well (n:9:1 the clients' device) => Give one another port.
        error WL101 n:4:8 [entry] and member entry have the same name => Give it another name.
        note WL113 - not linked directly, since neither side has an endpoint: a and entry => Leave it so if a hub relays between them; otherwise give one of each pair an endpoint.
        "#,
    );
}
