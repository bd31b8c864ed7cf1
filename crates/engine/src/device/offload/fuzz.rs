//! Any virtio header before any packet: cut without a panic into pieces of sensible lengths, and the pieces joined again.

use super::coalesce::Joins;
use super::*;
use crate::limits::PACKET_BYTES_MAX;
use crate::rng::fuzz::{corpus, fuzz};

#[test]
fn whatever_the_interface_hands_out_is_cut_or_refused_and_joined_again() {
    let cases = corpus(include_str!("../../../tests/corpus/tun.hex"));
    let (mut buffer, mut coalescer) = (Vec::new(), Coalescer::new(Joins { tcp: true, udp: true }));
    fuzz("tun", &cases, 20_000, |_, case| {
        let Some((header, packet)) = case.split_first_chunk() else { return };
        let packet = &packet[..packet.len().min(PACKET_BYTES_MAX)];
        let Some(segments) = Segments::plan(&VirtioHeader::parse(header), packet) else { return };
        let (count, first, last) = (segments.count(), segments.first_len(), segments.last_len());
        assert!(
            count >= 1 && first <= packet.len() && last <= first,
            "{count} segments of {first}, the last of {last}"
        );
        buffer.clear();
        coalescer.clear();
        // Enough to see the first, the second and the last; a large packet cut into bytes is quadratic otherwise.
        for nth in (0..count.min(200)).chain((count > 200).then_some(count - 1)) {
            let start = buffer.len();
            buffer.resize(start + if nth + 1 == count { last } else { first }, 0);
            segments.write(nth, packet, &mut buffer[start..]);
            let range = start..buffer.len();
            if !coalescer.join(&buffer, range.clone()) {
                write_out(&mut coalescer, &mut buffer);
                coalescer.start(&buffer, range);
            }
        }
        write_out(&mut coalescer, &mut buffer);
    });
}

fn write_out(coalescer: &mut Coalescer, buffer: &mut [u8]) {
    let end = buffer.len();
    if let Some((_, parts)) = coalescer.finish(buffer) {
        let len: usize = parts.iter().map(std::ops::Range::len).sum();
        assert!(len <= PACKET_BYTES_MAX && parts.iter().all(|part| part.end <= end));
    }
    coalescer.clear();
}
