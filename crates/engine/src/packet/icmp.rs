//! The answer to a packet that goes nowhere: "host unreachable" (RFC 792, 1122) or "address unreachable" (RFC 4443).
//!
//! The kernel's module sends it when there is no peer for a destination, or no endpoint for the peer; programs see EHOSTUNREACH
//! at once instead of a timeout. Comes from the address that can't be reached, since the engine knows none of the interface's own.
//! Nothing is answered that must not be: errors, fragments but the first, multicast, and packets without a real source.

use std::net::IpAddr;

use super::checksum::{Sum, finish_ipv4_header, pseudo_header};
use super::{IpHeader, PacketBuf, Version};

/// How much of the packet is sent back, in an answer of 576 bytes at most (RFC 1812) ...
const QUOTED_V4_MAX: usize = 576 - 28;
/// ... or 1280 (RFC 4443).
const QUOTED_V6_MAX: usize = 1280 - 48;
const TTL: u8 = 64;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// The answer to a packet whose destination can't be reached, if there should be one.
pub fn unreachable(packet: &[u8]) -> Option<PacketBuf> {
    let header = IpHeader::parse(packet)?;
    match (header.source, header.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let is_first_fragment = packet[6] & 0x1f == 0 && packet[7] == 0;
            let header_len = usize::from(packet[0] & 0x0f) * 4;
            // Echo, timestamp and so on are questions, the others errors.
            let is_error = packet[9] == ICMP && matches!(packet.get(header_len), None | Some(3..=5 | 11 | 12));
            let has_source = !(source.is_unspecified() || source.is_multicast() || source.is_loopback());
            if is_error || !is_first_fragment || !has_source || destination.is_multicast() || destination.is_broadcast()
            {
                return None;
            }
            Some(PacketBuf::new(&answer_v4(packet)))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let is_error = packet[6] == ICMP6 && packet.get(40).is_none_or(|kind| *kind < 128);
            if is_error || source.is_unspecified() || source.is_multicast() || destination.is_multicast() {
                return None;
            }
            Some(PacketBuf::new(&answer_v6(packet)))
        }
        _ => None,
    }
}

fn answer_v4(packet: &[u8]) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(QUOTED_V4_MAX)];
    let [len_high, len_low] = ((28 + quoted.len()) as u16).to_be_bytes();
    // Precedence "internetwork control", as the kernel's own errors.
    let mut answer = vec![0x45, 0xc0, len_high, len_low, 0, 0, 0, 0, TTL, ICMP, 0, 0];
    answer.extend(&packet[16..20]);
    answer.extend(&packet[12..16]);
    finish_ipv4_header(&mut answer);
    answer.extend([3, 1, 0, 0, 0, 0, 0, 0]);
    answer.extend(quoted);
    let checksum = Sum::default().add(&answer[20..]).checksum();
    answer[22..24].copy_from_slice(&checksum);
    answer
}

fn answer_v6(packet: &[u8]) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(QUOTED_V6_MAX)];
    let [len_high, len_low] = ((8 + quoted.len()) as u16).to_be_bytes();
    let mut answer = vec![0x60, 0, 0, 0, len_high, len_low, ICMP6, TTL];
    answer.extend(&packet[24..40]);
    answer.extend(&packet[8..24]);
    answer.extend([1, 3, 0, 0, 0, 0, 0, 0]);
    answer.extend(quoted);
    let pseudo = pseudo_header(Version::V6, &answer, ICMP6, 8 + quoted.len());
    let checksum = pseudo.add(&answer[40..]).checksum();
    answer[42..44].copy_from_slice(&checksum);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut packet = vec![0; 1000];
        packet[..4].copy_from_slice(&[0x45, 0, 3, 232]);
        packet[9] = 17;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        change(&mut packet);
        packet
    }

    fn v6(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut packet = vec![0; 1500];
        packet[..8].copy_from_slice(&[0x60, 0, 0, 0, 5, 180, 17, 64]);
        packet[8..24].fill(0xfd);
        packet[24..40].fill(0xfe);
        change(&mut packet);
        packet
    }

    #[test]
    fn the_answer_goes_back_and_quotes() {
        let (question, answer) = (v4(|_| ()), unreachable(&v4(|_| ())).unwrap());
        let answer = answer.packet();
        let header = IpHeader::parse(answer).unwrap();
        assert_eq!((header.source.to_string(), header.destination.to_string()), ("10.0.0.2".into(), "10.0.0.1".into()));
        assert_eq!(
            (header.len, answer.len(), &answer[20..22], &answer[28..]),
            (576, 576, &[3, 1][..], &question[..548])
        );
        assert!(Sum::default().add(&answer[..20]).is_valid() && Sum::default().add(&answer[20..]).is_valid());

        let (question, answer) = (v6(|_| ()), unreachable(&v6(|_| ())).unwrap());
        let answer = answer.packet();
        let header = IpHeader::parse(answer).unwrap();
        assert_eq!((header.source, header.len), ([0xfe; 16].into(), 1280));
        assert_eq!((&answer[40..42], &answer[48..]), (&[1, 3][..], &question[..1232]));
        assert!(pseudo_header(Version::V6, answer, 58, answer.len() - 40).add(&answer[40..]).is_valid());
    }

    #[test]
    fn what_must_not_be_answered_is_not() {
        let silent = [
            v4(|p| p[16] = 224),
            v4(|p| p[16..20].fill(255)),
            v4(|p| p[12..16].fill(0)),
            v4(|p| p[12] = 127),
            v4(|p| p[7] = 1),
            v4(|p| (p[9], p[20]) = (1, 3)),
            v6(|p| p[24] = 0xff),
            v6(|p| p[8..24].fill(0)),
            v6(|p| (p[6], p[40]) = (58, 1)),
            vec![0x45; 19],
            Vec::new(),
        ];
        for packet in silent {
            assert_eq!(unreachable(&packet), None, "{:?}", &packet.get(..24));
        }
        assert!(unreachable(&v4(|p| (p[9], p[20]) = (1, 8))).is_some());
        assert!(unreachable(&v6(|p| (p[6], p[40]) = (58, 128))).is_some());
    }
}
