//! What routers and DHCP servers of sites are told; DHCP option 121 as its clients decode it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use proptest::prelude::*;
use wayleave_core::render::{lan_routes, option_121};

use super::support::{example, network, planned};

/// RFC 3442 the way a client reads it, written apart from the encoder: destination descriptor, then the router.
fn decoded(mut value: &[u8]) -> Option<Vec<(Ipv4Net, Ipv4Addr)>> {
    let mut routes = Vec::new();
    while let Some((width, rest)) = value.split_first() {
        let significant = match width {
            0 => 0,
            1..=8 => 1,
            9..=16 => 2,
            17..=24 => 3,
            25..=32 => 4,
            _ => return None,
        };
        let mut subnet = [0; 4];
        subnet[..significant].copy_from_slice(rest.get(..significant)?);
        let router: [u8; 4] = rest.get(significant..significant + 4)?.try_into().ok()?;
        routes.push((Ipv4Net::new(subnet.into(), *width).ok()?, router.into()));
        value = &rest[significant + 4..];
    }
    Some(routes)
}

#[test]
fn the_example_of_the_standard_has_its_bytes() {
    // RFC 3442, 3: 10.229.0.128/25, and the shortened ones of its table.
    let check = |prefix: &str, expected: &[u8]| {
        let via = Ipv4Addr::new(10, 229, 0, 1);
        let value = option_121(&[(prefix.parse().unwrap(), via)]);
        assert_eq!(value, [expected, &via.octets()].concat(), "{prefix}");
    };
    check("0.0.0.0/0", &[0]);
    check("10.0.0.0/8", &[8, 10]);
    check("10.0.0.0/24", &[24, 10, 0, 0]);
    check("10.17.0.0/16", &[16, 10, 17]);
    check("10.27.129.0/24", &[24, 10, 27, 129]);
    check("10.229.0.128/25", &[25, 10, 229, 0, 128]);
    check("10.198.122.47/32", &[32, 10, 198, 122, 47]);
}

proptest! {
    #[test]
    fn clients_decode_what_was_meant(routes in prop::collection::vec((any::<u32>(), 0_u8..=32, any::<u32>()), 0..20)) {
        let routes: Vec<(Ipv4Net, Ipv4Addr)> = routes
            .into_iter()
            .map(|(address, length, via)| (Ipv4Net::new(address.into(), length).unwrap().trunc(), via.into()))
            .collect();
        prop_assert_eq!(decoded(&option_121(&routes)), Some(routes));
    }
}

#[test]
fn an_office_is_told_of_the_other_office_and_of_the_tunnel() {
    let plan = example("two-offices.toml");
    let files = lan_routes(&plan);
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["routes-alpha.txt", "routes-beta.txt"]);
    let text = &files[0].text;
    for expected in [
        "ip -4 route replace 192.168.20.0/24 via 192.168.10.2\n",
        "set protocols static route 192.168.20.0/24 next-hop 192.168.10.2\n",
        "/ip/route/add dst-address=192.168.20.0/24 gateway=192.168.10.2\n",
        "ip route 192.168.20.0 255.255.255.0 192.168.10.2\n",
    ] {
        assert!(text.contains(expected), "{expected}\n{}", **text);
    }
    // The office's own prefix is nobody else's way.
    assert!(!text.contains("route replace 192.168.10.0"));
    let hex = text.split("\"data\": \"").nth(1).unwrap().split('"').next().unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let via = Ipv4Addr::new(192, 168, 10, 2);
    let expected = vec![
        ("0.0.0.0/0".parse().unwrap(), Ipv4Addr::new(192, 168, 10, 1)),
        ("10.99.0.0/24".parse().unwrap(), via),
        ("192.168.20.0/24".parse().unwrap(), via),
    ];
    assert_eq!(decoded(&bytes), Some(expected));
}

#[test]
fn addresses_that_are_not_known_are_asked_for_and_never_made_up() {
    let files = lan_routes(&example("stock-regions.toml"));
    assert_eq!(files.len(), 3);
    for file in &files {
        assert!(file.text.contains("via GATEWAY\n") && !file.text.contains("dhcp-option"), "{}", *file.text);
        assert!(file.text.contains("lan_addresses and lan_routers of"), "{}", *file.text);
    }
}

#[test]
fn a_family_that_a_site_has_not_is_not_routed_there() {
    let text = "[network]\nname = \"two\"\nprefixes = [\"10.0.0.0/24\", \"fd00:1::/64\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"\n\
                prefixes = [\"192.168.1.0/24\"]\nlan_addresses = [\"192.168.1.2\"]\n[nodes.b]\nprefixes = [\"fd00:2::/64\"]\n";
    let files = lan_routes(&planned(network(text)));
    assert!(files[0].text.contains("ip -4 route") && !files[0].text.contains("ip -6 route"));
    assert!(files[1].text.contains("ip -6 route") && !files[1].text.contains("ip -4 route"));
}
