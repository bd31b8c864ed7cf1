//! NATs against what RFC 4787 says about them, and checksums against a plain computation.

use super::*;
use crate::wire::packet::checksum;
use proptest::prelude::*;

const S: u64 = 1_000_000_000;
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const ALICE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const BOB: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

fn endpoint(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

fn header(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, payload: usize, fragment: u16) -> Vec<u8> {
    let length = (20 + payload) as u16;
    let mut packet = vec![0x45, 0, (length >> 8) as u8, length as u8, 0, 77, 0, 0, 64, protocol, 0, 0];
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A UDP or TCP packet with correct checksums.
fn packet(protocol: u8, source: SocketAddrV4, destination: SocketAddrV4, data: &[u8]) -> Vec<u8> {
    let (length, sum_at) = if protocol == UDP { (8, 6) } else { (20, 16) };
    let mut segment = vec![0; length];
    segment[0..2].copy_from_slice(&source.port().to_be_bytes());
    segment[2..4].copy_from_slice(&destination.port().to_be_bytes());
    if protocol == UDP {
        segment[4..6].copy_from_slice(&((8 + data.len()) as u16).to_be_bytes());
    }
    segment.extend(data);
    let mut packet = header(protocol, *source.ip(), *destination.ip(), segment.len(), 0);
    let sum = transport_sum(&packet, protocol, &segment);
    segment[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    packet.extend(segment);
    packet
}

fn udp(source: SocketAddrV4, destination: SocketAddrV4) -> Vec<u8> {
    packet(UDP, source, destination, b"data")
}

fn echo(kind: u8, source: Ipv4Addr, destination: Ipv4Addr, identifier: u16) -> Vec<u8> {
    let [a, b] = identifier.to_be_bytes();
    icmp(source, destination, &[kind, 0, 0, 0, a, b, 0, 1, 42])
}

fn icmp(source: Ipv4Addr, destination: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = header(ICMP, source, destination, message.len(), 0);
    packet.extend(message);
    packet
}

/// "Port unreachable" about a packet.
fn unreachable(source: Ipv4Addr, destination: Ipv4Addr, about: &[u8]) -> Vec<u8> {
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend(&about[..about.len().min(28)]);
    icmp(source, destination, &message)
}

fn transport_sum(packet: &[u8], protocol: u8, segment: &[u8]) -> u16 {
    let length = (segment.len() as u16).to_be_bytes();
    checksum(&[&packet[12..20], &[0, protocol], &length, segment])
}

/// Every checksum of a whole packet verifies.
fn assert_sums(packet: &[u8]) {
    assert_eq!(checksum(&[&packet[..20]]), 0, "IP header of {packet:02x?}");
    let segment = &packet[20..];
    match packet[9] {
        ICMP => assert_eq!(checksum(&[segment]), 0, "ICMP of {packet:02x?}"),
        UDP if segment[6..8] == [0, 0] => {}
        protocol => assert_eq!(transport_sum(packet, protocol, segment), 0, "transport of {packet:02x?}"),
    }
}

fn ends(packet: &[u8]) -> (SocketAddrV4, SocketAddrV4) {
    let header = HeaderV4::parse(packet).unwrap();
    match translate::classify(packet, &header) {
        Kind::Whole(flow) => (flow.source, flow.destination),
        other => panic!("{other:?}"),
    }
}

fn nat(mapping: NatMapping, filtering: NatFiltering) -> Nat {
    Nat::new(NatConfig { mapping, filtering, ..NatConfig::home_router(OUTSIDE) }, 1)
}

/// Sends out and returns how it looks from outside.
fn out(nat: &mut Nat, now: u64, source: SocketAddrV4, destination: SocketAddrV4) -> SocketAddrV4 {
    let mut packet = udp(source, destination);
    nat.handle_outbound(now, &mut packet).unwrap();
    assert_sums(&packet);
    assert_eq!(ends(&packet).1, destination);
    ends(&packet).0
}

/// Sends in and returns who receives it.
fn into(nat: &mut Nat, now: u64, source: SocketAddrV4, destination: SocketAddrV4) -> Result<SocketAddrV4, NatDrop> {
    let mut packet = udp(source, destination);
    nat.handle_inbound(now, &mut packet)?;
    assert_sums(&packet);
    assert_eq!(ends(&packet).0, source);
    Ok(ends(&packet).1)
}

#[test]
fn endpoint_independent_mapping_looks_the_same_to_everybody() {
    let mut nat = nat(NatMapping::EndpointIndependent, NatFiltering::EndpointIndependent);
    let inside = endpoint(INSIDE, 51820);
    let seen = out(&mut nat, 0, inside, endpoint(ALICE, 1));
    assert_eq!(seen, endpoint(OUTSIDE, 51820), "the port is kept");
    assert_eq!(out(&mut nat, 0, inside, endpoint(BOB, 2)), seen);
    assert_eq!(into(&mut nat, 0, endpoint(BOB, 3), seen), Ok(inside));
    let other = endpoint(Ipv4Addr::new(192, 168, 1, 11), 51820);
    assert_ne!(out(&mut nat, 0, other, endpoint(ALICE, 1)), seen, "one port, one owner");
}

#[test]
fn symmetric_mapping_looks_different_to_everybody() {
    let mut nat = nat(NatMapping::Symmetric, NatFiltering::AddressAndPortDependent);
    let inside = endpoint(INSIDE, 51820);
    let to_alice = out(&mut nat, 0, inside, endpoint(ALICE, 1));
    let to_bob = out(&mut nat, 0, inside, endpoint(BOB, 1));
    assert_ne!(to_alice, to_bob);
    assert_ne!(out(&mut nat, 0, inside, endpoint(ALICE, 2)), to_alice);
    assert_eq!(out(&mut nat, 0, inside, endpoint(ALICE, 1)), to_alice);
    assert_eq!(into(&mut nat, 0, endpoint(ALICE, 1), to_alice), Ok(inside));
    assert_eq!(into(&mut nat, 0, endpoint(ALICE, 1), to_bob), Err(NatDrop::Filtered));
}

#[test]
fn filters_let_in_whom_they_should() {
    let cases = [
        (NatFiltering::EndpointIndependent, [true, true, true]),
        (NatFiltering::AddressDependent, [true, true, false]),
        (NatFiltering::AddressAndPortDependent, [true, false, false]),
    ];
    for (filtering, expected) in cases {
        let mut nat = nat(NatMapping::EndpointIndependent, filtering);
        let inside = endpoint(INSIDE, 5000);
        let seen = out(&mut nat, 0, inside, endpoint(ALICE, 1));
        let senders = [endpoint(ALICE, 1), endpoint(ALICE, 2), endpoint(BOB, 1)];
        assert_eq!(senders.map(|sender| into(&mut nat, 0, sender, seen).is_ok()), expected, "{filtering:?}");
    }
}

#[test]
fn a_silent_mapping_is_gone_and_a_used_one_stays() {
    let mut nat = nat(NatMapping::EndpointIndependent, NatFiltering::AddressAndPortDependent);
    let (inside, alice) = (endpoint(INSIDE, 5000), endpoint(ALICE, 1));
    let seen = out(&mut nat, 0, inside, alice);
    assert!(into(&mut nat, 29 * S, alice, seen).is_ok());
    assert!(into(&mut nat, 58 * S, alice, seen).is_ok(), "refreshed from outside");
    assert_eq!(into(&mut nat, 88 * S, alice, seen), Err(NatDrop::NoMapping));
    out(&mut nat, 100 * S, inside, alice);
    out(&mut nat, 129 * S, inside, alice);
    assert!(into(&mut nat, 158 * S, alice, seen).is_ok(), "refreshed from inside");
    assert_eq!(nat.mappings(158 * S).len(), 1);
    assert_eq!(nat.mappings(300 * S).len(), 0);
}

#[test]
fn packets_from_outside_refresh_only_if_asked_to() {
    let config = NatConfig { refresh_inbound: false, ..NatConfig::home_router(OUTSIDE) };
    let mut nat = Nat::new(config, 1);
    let alice = endpoint(ALICE, 1);
    let seen = out(&mut nat, 0, endpoint(INSIDE, 5000), alice);
    assert!(into(&mut nat, 29 * S, alice, seen).is_ok());
    assert_eq!(into(&mut nat, 31 * S, alice, seen), Err(NatDrop::NoMapping));
}

#[test]
fn a_rebound_nat_forgets_and_chooses_anew() {
    let mut nat = nat(NatMapping::EndpointIndependent, NatFiltering::EndpointIndependent);
    let inside = endpoint(INSIDE, 5000);
    let before = out(&mut nat, 0, inside, endpoint(ALICE, 1));
    nat.rebind(None);
    assert_eq!(into(&mut nat, 1, endpoint(ALICE, 1), before), Err(NatDrop::NoMapping));
    assert_ne!(out(&mut nat, 2, inside, endpoint(ALICE, 1)), before);
    nat.rebind(Some(BOB));
    assert_eq!(*out(&mut nat, 3, inside, endpoint(ALICE, 1)).ip(), BOB);
}

#[test]
fn forwards_work_both_ways_and_their_ports_are_kept_free() {
    let server = endpoint(INSIDE, 51820);
    let forward = PortForward { protocol: UDP, outside_port: 4500, inside: server };
    let mut nat = Nat::new(NatConfig { forwards: vec![forward], ..NatConfig::home_router(OUTSIDE) }, 1);
    assert_eq!(into(&mut nat, 0, endpoint(BOB, 9), endpoint(OUTSIDE, 4500)), Ok(server));
    assert_eq!(out(&mut nat, 0, server, endpoint(BOB, 9)), endpoint(OUTSIDE, 4500));
    assert_ne!(out(&mut nat, 0, endpoint(INSIDE, 4500), endpoint(BOB, 9)).port(), 4500);
}

#[test]
fn echoes_are_translated_by_identifier() {
    let mut nat = nat(NatMapping::EndpointIndependent, NatFiltering::AddressDependent);
    let mut request = echo(8, INSIDE, ALICE, 1234);
    nat.handle_outbound(0, &mut request).unwrap();
    assert_sums(&request);
    let identifier = ends(&request).0.port();
    let mut reply = echo(0, ALICE, OUTSIDE, identifier);
    nat.handle_inbound(0, &mut reply).unwrap();
    assert_sums(&reply);
    assert_eq!(ends(&reply).1, endpoint(INSIDE, 1234));
    assert_eq!(nat.handle_inbound(0, &mut echo(8, ALICE, OUTSIDE, identifier)), Err(NatDrop::NoMapping));
}

#[test]
fn errors_are_translated_with_what_they_quote() {
    let mut nat = Nat::new(NatConfig { preserve_ports: false, ..NatConfig::home_router(OUTSIDE) }, 1);
    let (inside, alice) = (endpoint(INSIDE, 5000), endpoint(ALICE, 1));
    let mut sent = udp(inside, alice);
    let original = sent.clone();
    nat.handle_outbound(0, &mut sent).unwrap();
    let seen = ends(&sent).0;
    // From outside, by a router on the way.
    let mut error = unreachable(BOB, OUTSIDE, &sent);
    nat.handle_inbound(0, &mut error).unwrap();
    assert_sums(&error);
    assert_eq!(error[16..20], INSIDE.octets());
    assert_eq!(error[28..56], original[..28], "quotes what was sent, checksums included");
    // From inside, about a packet that came in.
    let mut received = udp(alice, seen);
    let as_sent = received.clone();
    nat.handle_inbound(0, &mut received).unwrap();
    let mut error = unreachable(INSIDE, ALICE, &received);
    nat.handle_outbound(0, &mut error).unwrap();
    assert_sums(&error);
    assert_eq!(error[12..16], OUTSIDE.octets());
    assert_eq!(error[28..56], as_sent[..28]);
    // About nothing that is known.
    let stray = udp(endpoint(OUTSIDE, 9), alice);
    assert_eq!(nat.handle_inbound(0, &mut unreachable(BOB, OUTSIDE, &stray)), Err(NatDrop::NoMapping));
}

#[test]
fn a_zero_udp_checksum_stays_zero() {
    let mut nat = nat(NatMapping::EndpointIndependent, NatFiltering::EndpointIndependent);
    let mut sent = udp(endpoint(INSIDE, 5000), endpoint(ALICE, 1));
    sent[26..28].copy_from_slice(&[0, 0]);
    nat.handle_outbound(0, &mut sent).unwrap();
    assert_eq!(sent[26..28], [0, 0]);
    assert_sums(&sent);
}

#[test]
fn later_fragments_follow_their_first() {
    let mut nat = nat(NatMapping::EndpointIndependent, NatFiltering::EndpointIndependent);
    let mut later = header(UDP, INSIDE, ALICE, 8, 3);
    later.extend([1; 8]);
    assert_eq!(nat.handle_outbound(0, &mut later.clone()), Err(NatDrop::Fragment));
    let mut first = udp(endpoint(INSIDE, 5000), endpoint(ALICE, 1));
    let plain = header(UDP, INSIDE, ALICE, first.len() - 20, 0x2000);
    first[..20].copy_from_slice(&plain);
    nat.handle_outbound(0, &mut first).unwrap();
    nat.handle_outbound(0, &mut later).unwrap();
    assert_eq!(later[12..16], OUTSIDE.octets());
    assert_eq!(checksum(&[&later[..20]]), 0);
    assert_eq!(later[20..], [1; 8]);
}

#[test]
fn a_full_table_refuses_and_recovers_with_time() {
    let mut nat = nat(NatMapping::Symmetric, NatFiltering::EndpointIndependent);
    let send = |nat: &mut Nat, now, number: usize| {
        let inside = endpoint(Ipv4Addr::from(0x0a00_0000 + (number >> 8) as u32), 1024 + (number & 255) as u16);
        nat.handle_outbound(now, &mut udp(inside, endpoint(ALICE, 1)))
    };
    for number in 0..limits::NAT_MAPPINGS_MAX {
        assert_eq!(send(&mut nat, 0, number), Ok(()), "{number}");
    }
    assert_eq!(send(&mut nat, S, limits::NAT_MAPPINGS_MAX), Err(NatDrop::Full));
    assert_eq!(send(&mut nat, 31 * S, limits::NAT_MAPPINGS_MAX), Ok(()));
    assert_eq!(nat.mapping_count(), 1);
}

#[test]
fn other_protocols_and_packets_for_others_are_refused() {
    let mut nat = nat(NatMapping::EndpointIndependent, NatFiltering::EndpointIndependent);
    assert_eq!(nat.handle_outbound(0, &mut header(47, INSIDE, ALICE, 0, 0)), Err(NatDrop::Unsupported));
    assert_eq!(nat.handle_inbound(0, &mut udp(endpoint(ALICE, 1), endpoint(BOB, 1))), Err(NatDrop::NoMapping));
    assert_eq!(nat.handle_outbound(0, &mut [0x60; 40]), Err(NatDrop::Malformed));
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

proptest! {
    #[test]
    fn checksums_verify_after_any_translation(
        protocol in prop_oneof![Just(UDP), Just(TCP)], source in (address(), 1_u16..), remote in (address(), 1_u16..),
        outside in address(), data in proptest::collection::vec(any::<u8>(), 0..64), symmetric: bool, preserve_ports: bool,
    ) {
        let mapping = if symmetric { NatMapping::Symmetric } else { NatMapping::EndpointIndependent };
        let mut nat = Nat::new(NatConfig { mapping, preserve_ports, ..NatConfig::home_router(outside) }, 1);
        let (inside, remote) = (endpoint(source.0, source.1), endpoint(remote.0, remote.1));
        let mut sent = packet(protocol, inside, remote, &data);
        nat.handle_outbound(0, &mut sent).unwrap();
        assert_sums(&sent);
        let mut answer = packet(protocol, remote, ends(&sent).0, &data);
        let inside_address = nat.inside_of(&answer);
        nat.handle_inbound(0, &mut answer).unwrap();
        assert_sums(&answer);
        prop_assert_eq!(ends(&answer), (remote, inside));
        prop_assert_eq!(inside_address, Some(*inside.ip()));
    }

    #[test]
    fn random_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120), protocol in prop_oneof![Just(UDP), Just(TCP), Just(ICMP)],
        kind in prop_oneof![Just(0_u8), Just(3), Just(8), Just(11)], plausible: bool,
    ) {
        if plausible && bytes.len() >= 21 {
            (bytes[0], bytes[9], bytes[6], bytes[7]) = (0x45, protocol, bytes[6] & 0x20, 0);
            bytes[16..20].copy_from_slice(&OUTSIDE.octets());
            bytes[20] = kind;
            if bytes.len() >= 29 {
                bytes[28] = 0x45;
            }
        }
        let mut nat = nat(NatMapping::Symmetric, NatFiltering::AddressDependent);
        let _ = nat.inside_of(&bytes);
        let _ = nat.handle_outbound(0, &mut bytes.clone());
        let _ = nat.handle_inbound(0, &mut bytes);
    }
}
