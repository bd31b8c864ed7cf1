//! What is wrong with the text of a file.

use super::shown::{check, check_sources};

#[test]
fn all_syntax_errors_are_reported_at_once() {
    check(
        "[nodes.a\nport = \n[nodes.b]\nhub = tru\n",
        r#"
        error WL001 n:2:9 unclosed table, expected `]`
        error WL001 n:5:7 invalid boolean, expected `true`
        "#,
    );
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    check(
        "[nodes.a]\nendpont = \"192.0.2.1\"\nzzz = 1\n",
        r#"
        error WL011 n:3:1 node has no key "endpont" => Did you mean "endpoint"?
        error WL011 n:4:1 node has no key "zzz" => Remove it; node takes region, tags, hub, entry, endpoint, endpoints, underlays, public_key, address, addresses, prefixes, lan_addresses, lan_routers, port, mtu, keepalive_s, device, platform, underlay_mtu, cloud, source_check, nat, allowed, install_routes, bgp, router_id, service_addresses, bird, key_created, expires, firewall, wireguard_from, outside, masquerade.
        "#,
    );
}

#[test]
fn values_are_judged_where_they_are_written() {
    check(
        "[nodes.a]
        hub = 1
        port = 70000
        mtu = 9000
        public_key = \"short\"
        address = \"10.50.0.1/16\"
        prefixes = [\"10.1.2.3/16\", \"10.2.0.0\", \"x\"]
        device = \"a-much-too-long-name\"
        platform = \"wgquick\"
        tags = [\"Big\", 7]
        [nodes.Bad_Name]
        [rtt_ms]
        a = { a = -1 }",
        r#"
        error WL012 n:3:15 true or false is expected here, not a whole number
        error WL018 n:4:16 70000 is outside 1 to 65535
        error WL018 n:5:15 9000 is outside 1280 to 8940 bytes
        error WL014 n:6:22 this is no public key: a key has 44 characters, this has 5 => Copy the whole output of wayleave key public or wg pubkey.
        error WL015 n:7:19 "10.50.0.1/16" is no address: it has a prefix length => Write 10.50.0.1.
        error WL016 n:8:21 10.1.2.3/16 has address bits set beyond its length => Write 10.1.0.0/16.
        error WL015 n:8:36 "10.2.0.0" is no prefix: its length is missing => Write 10.2.0.0/32 for this one address.
        error WL015 n:8:48 "x" is no prefix => Write an address, a slash and a length, such as 10.50.0.0/16.
        error WL013 n:9:18 "a-much-too-long-name" is no name: a name has at most 15 bytes, this one has 20 => Use up to 15 letters, digits and _ = + . - such as wg0.
        error WL019 n:10:20 "wgquick" is no platform => Did you mean "wg-quick"?
        error WL013 n:11:17 "Big" is no name: a name can't contain 'B' => Write big.
        error WL012 n:11:24 a name in quotes is expected here, not a whole number
        error WL013 n:12:16 "Bad_Name" is no name: a name can't contain 'B' => Write bad-name.
        error WL018 n:14:19 -1 is outside 0 to 60000 ms
        "#,
    );
}

#[test]
fn endpoints_are_judged_where_they_are_written() {
    check(
        "[nodes.a.endpoints]
        public = [\"1.2.3\", \"[::1\", \"2001:db8::1:70000\", \"a:0\", \"127.0.0.1:1\", \"a b:1\", \"[fe80::1]x\", \"\"]",
        r#"
        error WL017 n:3:19 "1.2.3" is no endpoint: it is no complete address => Write host:port or [IPv6 address]:port.
        error WL017 n:3:28 "[::1" is no endpoint: the closing bracket is missing => Write host:port or [IPv6 address]:port.
        error WL017 n:3:36 "2001:db8::1:70000" is no endpoint: an IPv6 address with a port needs brackets => Write host:port or [IPv6 address]:port.
        error WL017 n:3:57 "a:0" is no endpoint: "0" is no port from 1 to 65535 => Write host:port or [IPv6 address]:port.
        error WL017 n:3:64 "127.0.0.1:1" is no endpoint: nobody else can dial this address => Write host:port or [IPv6 address]:port.
        error WL017 n:3:79 "a b:1" is no endpoint: it is neither an address nor a DNS name => Write host:port or [IPv6 address]:port.
        error WL017 n:3:88 "[fe80::1]x" is no endpoint: a colon and a port follow the bracket, or nothing => Write host:port or [IPv6 address]:port.
        error WL017 n:3:102 "" is no endpoint: a DNS name has 1 to 253 bytes => Write host:port or [IPv6 address]:port.
        "#,
    );
}

#[test]
fn a_point_of_small_order_is_no_key() {
    check(
        "nodes.a.public_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"",
        r#"
        error WL014 n:2:22 this is no public key: this key is a point of small order, with which there is no secret => Copy the whole output of wayleave key public or wg pubkey.
        "#,
    );
}

#[test]
fn private_keys_are_refused_and_never_shown() {
    check(
        "[nodes.a]\nPrivateKey = \"mF8cMiYdQ0sDXcJkEt8bRZ4NfLkRZ5ZbBdvlQDdPOG0=\"\npsk = 7\n",
        r#"
        error WL020 n:3:1 PrivateKey does not belong into a network file => Remove it; private keys stay on the host that made them. If this file was shared, replace the key.
        error WL020 n:4:1 psk does not belong into a network file => Remove it; private keys stay on the host that made them. If this file was shared, replace the key.
        "#,
    );
}

#[test]
fn required_keys_are_asked_for() {
    check_sources(
        &[("n", "network = {}\n[sites.s]\n[[isolate]]\n")],
        r#"
        error WL021 n:1:11 network needs "name" => Add name = ...
        error WL021 n:1:11 network needs "prefixes" => Add prefixes = ...
        error WL021 n:2:1 site needs "prefixes" => Add prefixes = ...
        error WL021 n:2:1 site needs "gateways" => Add gateways = ...
        error WL021 n:3:1 isolation needs "between" => Add between = ...
        "#,
    );
}

#[test]
fn a_file_without_a_network_is_none() {
    check_sources(
        &[("n", "[nodes.a]\n")],
        r#"
        error WL021 - file needs "network" => Add [network] with a name and prefixes.
        "#,
    );
}

#[test]
fn tables_of_the_wrong_kind_are_reported() {
    check(
        "nodes = 3\nlinks = { mesh = [\"*\"] }\nregions.r = \"x\"\ninclude = \"x.toml\"",
        r#"
        error WL012 n:2:9 a table from names to nodes is expected here, not a whole number
        error WL012 n:3:9 a list of links is expected here, not a table
        error WL012 n:4:13 a table (region) is expected here, not text
        error WL012 n:5:11 a list of paths is expected here, not text
        note WL126 n:4:9 region r has no nodes
        "#,
    );
}

#[test]
fn nesting_is_bounded() {
    check(
        "a = [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]",
        r#"
        error WL011 n:2:1 file has no key "a" => Remove it; file takes include, network, regions, nodes, sites, clients, entry, bgp, neighbours, links, isolate, groups, allow, services, assert, rtt_ms.
        error WL009 n:2:20 tables and lists are nested deeper than 16
        "#,
    );
}

#[test]
fn includes_that_lead_back_are_a_cycle() {
    check_sources(
        &[("net/a.toml", "include = [\"b.toml\"]"), ("net/b.toml", "\ninclude = [\"../net/./a.toml\"]")],
        r#"
        error WL021 - file needs "network" => Add [network] with a name and prefixes.
        error WL005 net/b.toml:2:12 include cycle: net/a.toml -> net/b.toml -> net/a.toml => Remove this include.
        "#,
    );
}

#[test]
fn an_include_that_is_not_there_is_reported_at_its_line() {
    check(
        "\ninclude = [\"x.toml\"]",
        r#"
        error WL002 n:3:12 can't read x.toml: no such file
        "#,
    );
}

#[test]
fn a_file_is_included_once() {
    let head = "include = [\"b.toml\", \"b.toml\"]\nnetwork = { name = \"n\", prefixes = [\"10.50.0.0/16\"] }";
    check_sources(
        &[("a.toml", head), ("b.toml", "[nodes.b]\nendpoint = \"192.0.2.1\"")],
        r#"
        warning WL008 a.toml:1:22 b.toml is already included (a.toml:1:12 included here first)
        "#,
    );
}

#[test]
fn the_same_node_in_two_files_is_reported_with_both_places() {
    let head = "include = [\"b.toml\"]\n[network]\nname = \"n\"\nprefixes = [\"10.50.0.0/16\"]\n[nodes.x]\n";
    check_sources(
        &[("a.toml", head), ("b.toml", "[nodes.x]\n[network]\nname = \"m\"\nprefixes = []")],
        r#"
        error WL023 b.toml:2:1 [network] is given in two files (a.toml:2:1 given here first) => Keep one of them.
        error WL101 b.toml:1:8 node x is given twice (a.toml:5:8 also used here) => Give one of them another name.
        "#,
    );
}

#[test]
fn yaml_syntax_errors_have_their_place() {
    check_sources(
        &[("n.yaml", "network:\n  name: \"n\n")],
        r#"
        error WL001 n.yaml:2:9 while scanning a quoted scalar, found unexpected end of stream
        "#,
    );
}

#[test]
fn yaml_aliases_tags_and_second_documents_are_refused() {
    check_sources(
        &[("n.yaml", "network: &x\n  name: é\n  prefixes: [!cidr 10.50.0.0/16]\nnodes: *x\n---\nb: 1\n")],
        r#"
        error WL013 n.yaml:2:9 "é" is no name: a name can't contain 'é' => Use lower-case letters, digits and inner hyphens.
        error WL022 n.yaml:3:14 a YAML tag can't be used in a network file
        error WL022 n.yaml:4:8 a YAML alias can't be used in a network file
        error WL022 n.yaml:6:1 a second YAML document can't be used in a network file
        "#,
    );
}

#[test]
fn json_faults_have_their_place() {
    check_sources(
        &[("n.json", "{\n  \"network\": {\"name\": \"n\",}\n}")],
        r#"
        error WL001 n.json:2:27 key must be a string
        "#,
    );
}

#[test]
fn json_keys_may_not_repeat() {
    check_sources(
        &[("n.json", "{\"network\": {\"name\": \"n\", \"name\": \"m\", \"prefixes\": [\"10.0.0.0/8\"]}}")],
        r#"
        error WL010 n.json:1:27 name is already given in this table (n.json:1:14 given here first)
        "#,
    );
}

#[test]
fn dates_codes_and_clouds_are_judged_where_they_are_written() {
    check_sources(
        &[(
            "n",
            "network = { name = \"n\", prefixes = [\"10.50.0.0/16\"], accept = [\"WL103\", \"WL5\", 7], cloud = \"asw\" }
            nodes.a = { endpoint = \"192.0.2.1\", expires = \"2026-02-30\", key_created = 2026-01-01T00:00:00Z }",
        )],
        r#"
        error WL539 n:1:64 WL103 is an error, so it can't be accepted => Mend what it is about.
        error WL019 n:1:73 "WL5" is no code => Did you mean "WL005"?
        error WL012 n:1:80 a code in quotes is expected here, not a whole number
        error WL019 n:1:92 "asw" is no cloud => Did you mean "aws"?
        error WL019 n:2:59 "2026-02-30" is no date => Write year, month and day, such as 2026-03-31.
        error WL019 n:2:87 "2026-01-01T00:00:00Z" is no date => Write year, month and day, such as 2026-03-31.
        "#,
    );
}
