//! The messages for the kernel's WireGuard, byte by byte, as `linux/wireguard.h` and `linux/netlink.h` have them. Needs no kernel
//! that has WireGuard, and runs anywhere.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use netlink_packet_core::Emitable as _;
use wayleave_agent::netlink::set_device;
use wayleave_engine::{ConfigureDevice, ConfigurePeer, PresharedKey, PrivateKey, PublicKey};

/// An attribute: length with its header, kind, value, padding to four bytes (little-endian machines).
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

const NESTED: u16 = 1 << 15;

fn check(change: &ConfigureDevice, expected: &[Vec<u8>]) {
    let messages = set_device("wg0", change);
    let bytes: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            bytes
        })
        .collect();
    assert_eq!(bytes, expected);
}

fn name() -> Vec<u8> {
    attribute(2, b"wg0\0")
}

/// `WGALLOWEDIP_A_FAMILY`, `_IPADDR`, `_CIDR_MASK` and perhaps `_FLAGS`.
fn prefix(family: u16, address: &[u8], length: u8, flags: Option<u32>) -> Vec<u8> {
    let mut inner = [attribute(1, &family.to_ne_bytes()), attribute(2, address), attribute(3, &[length])].concat();
    inner.extend(flags.map(|flags| attribute(4, &flags.to_ne_bytes())).unwrap_or_default());
    attribute(NESTED, &inner)
}

fn peers(peers: &[Vec<u8>]) -> Vec<u8> {
    let nested: Vec<u8> = peers.iter().flat_map(|peer| attribute(NESTED, peer)).collect();
    attribute(8 | NESTED, &nested)
}

#[test]
fn the_devices_own_settings_are_plain_attributes() {
    let key = PrivateKey::new([0x48; 32]);
    let change = ConfigureDevice {
        private_key: Some(key.clone()),
        listen_port: Some(51820),
        fwmark: Some(0x1234_5678),
        number: None,
        common: None,
        replace_peers: true,
        peers: Vec::new(),
    };
    let expected = [
        name(),
        attribute(3, key.expose()),
        attribute(6, &51820u16.to_ne_bytes()),
        attribute(7, &0x1234_5678u32.to_ne_bytes()),
        attribute(5, &1u32.to_ne_bytes()),
    ];
    check(&change, &[expected.concat()]);
}

#[test]
fn a_peer_is_nested_with_its_endpoint_as_a_socket_address_and_its_prefixes() {
    let change = ConfigurePeer {
        preshared_key: Some(PresharedKey::new([9; 32])),
        endpoint: Some("192.0.2.7:51820".parse().unwrap()),
        persistent_keepalive_s: Some(25),
        replace_allowed_ips: true,
        allowed_ips: vec!["10.0.0.0/24".parse().unwrap(), "fd00::1/128".parse().unwrap()],
        ..ConfigurePeer::new(PublicKey([7; 32]))
    };
    let mut socket_address = vec![2, 0, 0xca, 0x6c, 192, 0, 2, 7];
    socket_address.resize(16, 0);
    let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let allowed = [prefix(2, &[10, 0, 0, 0], 24, None), prefix(10, &v6, 128, None)].concat();
    let peer = [
        attribute(1, &[7; 32]),
        attribute(3, &2u32.to_ne_bytes()),
        attribute(2, &[9; 32]),
        attribute(4, &socket_address),
        attribute(5, &25u16.to_ne_bytes()),
        attribute(9 | NESTED, &allowed),
    ];
    let change = ConfigureDevice { peers: vec![change], ..ConfigureDevice::default() };
    check(&change, &[[name(), peers(&[peer.concat()])].concat()]);
}

#[test]
fn a_prefix_is_taken_away_by_its_own_flag_and_a_peer_by_its_flag() {
    let takes = ConfigurePeer {
        remove_allowed_ips: vec!["10.0.0.0/24".parse().unwrap()],
        ..ConfigurePeer::new(PublicKey([7; 32]))
    };
    let goes = ConfigurePeer { remove: true, ..ConfigurePeer::new(PublicKey([8; 32])) };
    let first = [attribute(1, &[7; 32]), attribute(9 | NESTED, &prefix(2, &[10, 0, 0, 0], 24, Some(1)))].concat();
    let second = [attribute(1, &[8; 32]), attribute(3, &1u32.to_ne_bytes())].concat();
    let change = ConfigureDevice { peers: vec![takes, goes], ..ConfigureDevice::default() };
    check(&change, &[[name(), peers(&[first, second])].concat()]);
}

#[test]
fn what_is_too_much_for_one_message_goes_in_several_and_nothing_is_lost_or_said_twice() {
    let prefixes: Vec<ipnet::IpNet> =
        (0..3_000u32).map(|n| format!("10.{}.{}.0/24", n >> 8, n & 255).parse().unwrap()).collect();
    let large = ConfigurePeer {
        replace_allowed_ips: true,
        allowed_ips: prefixes.clone(),
        ..ConfigurePeer::new(PublicKey([1; 32]))
    };
    let many = (2..=200u8).map(|n| ConfigurePeer {
        allowed_ips: vec![format!("192.168.{n}.0/24").parse().unwrap()],
        ..ConfigurePeer::new(PublicKey([n; 32]))
    });
    let change = ConfigureDevice {
        listen_port: Some(7),
        peers: std::iter::once(large).chain(many).collect(),
        ..ConfigureDevice::default()
    };
    let messages = set_device("wg0", &change);
    assert!(messages.len() > 6);
    let text: Vec<String> = messages.iter().map(|message| format!("{message:?}")).collect();
    assert!(messages.iter().all(|message| message.buffer_len() < 65_000));
    assert_eq!(text.iter().map(|text| text.matches("ReplaceAllowedIps").count()).sum::<usize>(), 1);
    assert_eq!(text.iter().map(|text| text.matches("ListenPort").count()).sum::<usize>(), 1);
    assert_eq!(text.iter().map(|text| text.matches("Cidr(24)").count()).sum::<usize>(), 3_000 + 199);
}
