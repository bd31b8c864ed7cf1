//! Cutting and joining against a naive checksum, against each other, and against arbitrary bytes.
//!
//! Packets are built by [`Built`] with checksums from [`naive_checksum`], which shares nothing with the fast one.

use std::ops::Range;

use proptest::prelude::*;

use super::coalesce::Joins;
use super::*;
use crate::packet::checksum;

const ALL: Joins = Joins { tcp: true, udp: true };

/// RFC 1071 as it is written there.
fn naive_checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A packet to be built.
#[derive(Clone, Debug)]
struct Built {
    v6: bool,
    udp: bool,
    tos: u8,
    ttl: u8,
    dont_fragment: bool,
    id: u16,
    /// IPv4 options, a multiple of 4, or IPv6 destination options, a multiple of 8.
    options: Vec<u8>,
    tcp_options: Vec<u8>,
    sequence: u32,
    flags: u8,
    payload: Vec<u8>,
}

impl Built {
    fn tcp(v6: bool, payload: &[u8]) -> Built {
        Built {
            v6,
            udp: false,
            tos: 0,
            ttl: 64,
            dont_fragment: false,
            id: 7,
            options: Vec::new(),
            tcp_options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            sequence: 1000,
            flags: 0x10,
            payload: payload.to_vec(),
        }
    }

    fn udp(v6: bool, payload: &[u8]) -> Built {
        Built { udp: true, ..Built::tcp(v6, payload) }
    }

    fn transport_start(&self) -> usize {
        if self.v6 { 40 + self.options.len() } else { 20 + self.options.len() }
    }

    fn header_len(&self) -> usize {
        self.transport_start() + if self.udp { 8 } else { 20 + self.tcp_options.len() }
    }

    fn protocol(&self) -> u8 {
        if self.udp { 17 } else { 6 }
    }

    fn ip_header(&self, transport_len: usize) -> Vec<u8> {
        let mut header = Vec::new();
        if self.v6 {
            let (first, second) = (0x60 | self.tos >> 4, self.tos << 4 | 5);
            let next = if self.options.is_empty() { self.protocol() } else { 60 };
            header.extend([first, second, 1, 2]);
            header.extend(((self.options.len() + transport_len) as u16).to_be_bytes());
            header.extend([next, self.ttl]);
            header.extend([0xfd; 16]);
            header.extend([0xfe; 16]);
            let at = header.len();
            header.extend(&self.options);
            if !self.options.is_empty() {
                header[at] = self.protocol();
                header[at + 1] = (self.options.len() / 8 - 1) as u8;
            }
        } else {
            header.extend([0x45 + (self.options.len() / 4) as u8, self.tos]);
            header.extend(((20 + self.options.len() + transport_len) as u16).to_be_bytes());
            header.extend(self.id.to_be_bytes());
            header.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, self.protocol(), 0, 0]);
            header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            header.extend(&self.options);
            let checksum = naive_checksum(&[&header]);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        header
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x56, 0x78];
        if self.udp {
            bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
        } else {
            bytes.extend(self.sequence.to_be_bytes());
            bytes.extend([0, 0, 0, 9]);
            bytes.extend([((20 + self.tcp_options.len()) / 4 * 16) as u8, self.flags, 1, 0, 0, 0, 0, 0]);
            bytes.extend(&self.tcp_options);
        }
        bytes.extend(&self.payload);
        bytes
    }

    fn pseudo(&self, transport_len: usize) -> Vec<u8> {
        let mut bytes = self.ip_header(transport_len)[if self.v6 { 8..40 } else { 12..20 }].to_vec();
        bytes.extend([0, self.protocol()]);
        bytes.extend((transport_len as u16).to_be_bytes());
        bytes
    }

    /// The packet with its checksum, or with the pseudo header's sum only.
    fn bytes(&self, partial: bool) -> Vec<u8> {
        let mut transport = self.transport();
        let pseudo = self.pseudo(transport.len());
        let checksum = match naive_checksum(&[&pseudo, if partial { &[] } else { &transport }]) {
            sum if partial => !sum,
            0 => 0xffff,
            sum => sum,
        };
        let at = if self.udp { 6 } else { 16 };
        transport[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        [self.ip_header(transport.len()), transport].concat()
    }

    /// The header that the kernel would put in front.
    fn virtio(&self, gso_size: usize) -> VirtioHeader {
        VirtioHeader {
            flags: NEEDS_CSUM,
            gso_type: match (gso_size, self.udp, self.v6) {
                (0, _, _) => GSO_NONE,
                (_, true, _) => GSO_UDP,
                (_, false, false) => GSO_TCP4,
                (_, false, true) => GSO_TCP6,
            },
            header_len: self.header_len() as u16,
            gso_size: gso_size as u16,
            csum_start: self.transport_start() as u16,
            csum_offset: if self.udp { 6 } else { 16 },
        }
    }

    /// What the packets must be when this one is cut.
    fn cut(&self, size: usize) -> Vec<Vec<u8>> {
        let chunks: Vec<&[u8]> = if self.payload.is_empty() { vec![&[]] } else { self.payload.chunks(size).collect() };
        let count = chunks.len();
        let one = |(nth, chunk): (usize, &&[u8])| {
            let mut flags = self.flags;
            if nth + 1 < count {
                flags &= !0x09;
            }
            if nth > 0 {
                flags &= !0x80;
            }
            let piece = Built {
                id: self.id.wrapping_add(nth as u16),
                sequence: self.sequence.wrapping_add((nth * size) as u32),
                flags,
                payload: chunk.to_vec(),
                ..self.clone()
            };
            piece.bytes(false)
        };
        chunks.iter().enumerate().map(one).collect()
    }
}

fn segment(header: &VirtioHeader, packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let segments = Segments::plan(header, packet)?;
    let count = segments.count();
    let write = |nth| {
        let mut out = vec![0xaa; if nth + 1 == count { segments.last_len() } else { segments.first_len() }];
        segments.write(nth, packet, &mut out);
        out
    };
    Some((0..count).map(write).collect())
}

/// Joins packets as the way in does, and gives what is written to the interface.
fn coalesce(packets: &[Vec<u8>], joins: Joins) -> Vec<(VirtioHeader, Vec<u8>)> {
    let mut buffer = Vec::new();
    let places: Vec<Range<usize>> = packets
        .iter()
        .map(|packet| {
            // Not one behind the other: as datagrams, they have headers between them.
            buffer.extend([0; 7]);
            let start = buffer.len();
            buffer.extend(packet);
            start..buffer.len()
        })
        .collect();
    let mut coalescer = Coalescer::new(joins);
    let mut written = Vec::new();
    let mut write = |coalescer: &mut Coalescer, buffer: &mut Vec<u8>| {
        let Some((header, parts)) = coalescer.finish(buffer) else { return };
        let parts = parts.to_vec();
        written.push((header, parts.into_iter().flat_map(|part| buffer[part].to_vec()).collect()));
        coalescer.clear();
    };
    for place in places {
        if !coalescer.join(&buffer, place.clone()) {
            write(&mut coalescer, &mut buffer);
            coalescer.start(&buffer, place);
        }
    }
    write(&mut coalescer, &mut buffer);
    written
}

/// Joins packets, expects so many large ones, and cuts them again: nothing may have changed.
fn check_round_trip(packets: &[Vec<u8>], expected: usize) {
    let joined = coalesce(packets, ALL);
    assert_eq!(joined.len(), expected);
    let again: Vec<Vec<u8>> = joined.iter().flat_map(|(header, packet)| segment(header, packet).unwrap()).collect();
    assert_eq!(again, packets);
}

fn built() -> impl Strategy<Value = Built> {
    let ip = (any::<bool>(), any::<bool>(), any::<u8>(), any::<u16>(), any::<bool>());
    let tcp = (0usize..11, any::<u32>(), prop::sample::select(vec![0x10u8, 0x18, 0x19, 0x11, 0x90, 0xd8, 0x50]));
    (ip, tcp, 0usize..4, prop::collection::vec(any::<u8>(), 0..5000)).prop_map(
        |((v6, udp, tos, id, dont_fragment), (words, sequence, flags), options, payload)| Built {
            v6,
            udp,
            tos,
            ttl: 64,
            dont_fragment,
            id,
            options: vec![0; options * if v6 { 8 } else { 4 }],
            tcp_options: vec![1; words * 4],
            sequence,
            flags,
            payload,
        },
    )
}

proptest! {
    #[test]
    fn a_large_packet_is_cut_as_if_each_piece_were_built_alone(built in built(), size in 1usize..2000) {
        let cut = segment(&built.virtio(size), &built.bytes(true));
        prop_assert_eq!(cut, Some(built.cut(size)));
    }

    #[test]
    fn a_partial_checksum_is_completed(built in built()) {
        let finished = segment(&built.virtio(0), &built.bytes(true));
        prop_assert_eq!(finished, Some(vec![built.bytes(false)]));
    }

    #[test]
    fn what_was_cut_and_joined_is_what_it_was(built in built(), size in 1usize..2000) {
        let pieces = built.cut(size);
        let joined = coalesce(&pieces, ALL);
        for (header, packet) in &joined {
            prop_assert!(packet.len() <= 65_535 && header.gso_size <= 2000);
        }
        let again: Vec<Vec<u8>> = joined.iter().flat_map(|(header, packet)| segment(header, packet).unwrap()).collect();
        prop_assert_eq!(again, pieces);
    }

    #[test]
    fn the_sum_is_the_naive_one(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..200) {
        let (a, b) = bytes.split_at(cut.min(bytes.len()) & !1);
        let sum = checksum::Sum::default().add(a).add(b);
        prop_assert_eq!(u16::from_be_bytes(sum.checksum()), naive_checksum(&[&bytes]));
    }

    #[test]
    fn arbitrary_headers_and_packets_do_no_harm(
        header in any::<[u8; 10]>(),
        plausible in any::<bool>(),
        mut packet in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut header = VirtioHeader::parse(&header);
        if plausible {
            header.gso_type = [GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP][usize::from(header.gso_type) % 4];
            header.csum_start %= 80;
            header.csum_offset %= 20;
            if let Some(first) = packet.first_mut() {
                *first = if header.gso_type == GSO_TCP6 { 0x60 } else { 0x45 };
            }
        }
        if let Some(pieces) = segment(&header, &packet) {
            prop_assert!(!pieces.is_empty() && pieces.len() <= packet.len().max(1));
        }
        coalesce(&[packet.clone(), packet.clone(), packet], ALL);
    }

    #[test]
    fn mixed_traffic_comes_out_in_order(
        flows in prop::collection::vec((built(), 1usize..1500, any::<bool>()), 1..5),
        damaged in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let mut packets: Vec<Vec<u8>> = flows.iter().flat_map(|(built, size, _)| built.cut(*size)).collect();
        for index in damaged {
            let count = packets.len();
            let packet = &mut packets[index.index(count)];
            let at = index.index(packet.len());
            packet[at] ^= 1;
        }
        let again: Vec<Vec<u8>> = coalesce(&packets, ALL)
            .iter()
            .flat_map(|(header, packet)| segment(header, packet).unwrap_or_else(|| vec![packet.clone()]))
            .collect();
        prop_assert_eq!(again, packets);
    }
}

#[test]
fn bulk_is_joined() {
    let payload: Vec<u8> = (0..60_000u32).map(|n| (n % 251) as u8).collect();
    for v6 in [false, true] {
        check_round_trip(&Built::tcp(v6, &payload).cut(1368), 1);
        check_round_trip(&Built { flags: 0x18, ..Built::tcp(v6, &payload) }.cut(1368), 1);
        check_round_trip(&Built::udp(v6, &payload).cut(1200), 1);
        // The size limit, and the number of parts.
        check_round_trip(&Built::tcp(v6, &payload).cut(100), 5);
    }
}

#[test]
fn what_must_not_be_joined_is_not() {
    let payload = [5; 3000];
    let tcp = Built::tcp(false, &payload);
    let different = |change: fn(&mut Built)| {
        let mut second = Built { sequence: 2000, id: 8, ..tcp.clone() };
        second.payload.truncate(1000);
        change(&mut second);
        [Built { payload: vec![5; 1000], ..tcp.clone() }.bytes(false), second.bytes(false)]
    };
    check_round_trip(&different(|_| ()), 1);
    let changes: [fn(&mut Built); 10] = [
        |b| b.sequence += 1,
        |b| b.tos = 1,
        |b| b.ttl = 63,
        |b| b.dont_fragment = true,
        |b| b.id = 9,
        |b| b.tcp_options[7] = 9,
        |b| b.flags = 0x11,
        |b| b.flags = 0x50,
        |b| b.payload.push(1),
        |b| b.options = vec![1; 4],
    ];
    for change in changes {
        check_round_trip(&different(change), 2);
    }
    for flags in [0x11, 0x12, 0x14, 0x18, 0x30, 0x90, 0] {
        let head = Built { flags, payload: vec![5; 1000], ..tcp.clone() }.bytes(false);
        let follower = Built { sequence: 2000, id: 8, flags, payload: vec![5; 1000], ..tcp.clone() }.bytes(false);
        check_round_trip(&[head, follower], 2);
    }
}

#[test]
fn a_wrong_checksum_is_not_made_right() {
    for (at, built) in
        [(60, Built::tcp(false, &[5; 3000])), (60, Built::udp(true, &[5; 3000])), (10, Built::tcp(false, &[5; 3000]))]
    {
        for nth in 0..3 {
            let mut packets = built.cut(1000);
            packets[nth][at] ^= 0x40;
            let again: Vec<Vec<u8>> =
                coalesce(&packets, ALL).iter().flat_map(|(header, packet)| segment(header, packet).unwrap()).collect();
            assert_eq!(again, packets, "damage at {at} of {nth}");
        }
    }
}

#[test]
fn fragments_pass_as_they_are() {
    let mut packets = Built::udp(false, &[5; 3000]).cut(1000);
    for packet in &mut packets {
        packet[6] = 0x20;
        packet[10..12].fill(0);
        let checksum = naive_checksum(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    check_round_trip(&packets, 3);
}

#[test]
fn nothing_is_joined_for_an_interface_that_takes_none() {
    let (tcp, udp) = (Built::tcp(false, &[5; 3000]).cut(1000), Built::udp(false, &[5; 3000]).cut(1000));
    assert_eq!(coalesce(&tcp, Joins { tcp: false, udp: true }).len(), 3);
    assert_eq!(coalesce(&udp, Joins { tcp: true, udp: false }).len(), 3);
}

#[test]
fn a_large_packet_without_a_partial_checksum_gets_whole_ones() {
    let built = Built::tcp(false, &[5; 3000]);
    let header = VirtioHeader { flags: 0, ..built.virtio(1000) };
    assert_eq!(segment(&header, &built.bytes(false)), Some(built.cut(1000)));
}
