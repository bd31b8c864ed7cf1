//! Mutated datagrams, from a stranger and from a peer that seals nonsense: nothing changes, and the peers go on talking.

use super::hostile::{ATTACKER, conversation, tape};
use super::*;
use crate::noise::cookie::PeerMacs;
use crate::rng::fuzz::{corpus, fuzz};

/// After so many cases time passes and the peers talk.
const ROUND: u64 = 2048;

/// Seals anything with the session that `from` has, and delivers it: `from` has turned evil.
fn send_sealed(world: &mut World, from: usize, content: &[u8]) {
    let peer = world.ends[from].tunnel.peers[0].as_ref().unwrap();
    let Some(session) = peer.sessions.current.clone() else { return };
    let mut packet = PacketBuf::new(content);
    if session.seal(&mut packet, 1420) {
        let address = world.ends[from].address;
        world.inject(address, 1 - from, packet.packet());
    }
}

#[test]
fn fuzzed_datagrams_change_nothing() {
    let mut world = conversation(1);
    let mut cases = corpus(include_str!("../../../tests/corpus/datagram.hex"));
    cases.extend(tape(&mut world).into_iter().map(|flight| flight.bytes));
    cases.push(packet(0, 1, 1));
    cases.push(packet(1, 0, 1));
    let addresses = [0, 1].map(|end| world.ends[end].address);
    let mut macs = [0, 1].map(|end| PeerMacs::new(&world.ends[end].key));
    let mut count = 0;
    fuzz("datagram", &cases, 8 * ROUND, |rng, case| {
        let end = (rng.next_u64() % 2) as usize;
        match rng.next_u64() % 4 {
            0 => send_sealed(&mut world, 1 - end, case),
            1 => world.inject(ATTACKER.into(), end, case),
            // With a valid first MAC it gets further.
            _ => {
                let mut signed = case.to_vec();
                macs[end].sign(world.now, &mut signed);
                world.inject(ATTACKER.into(), end, &signed);
            }
        }
        count += 1;
        if count % ROUND == 0 {
            for end in &mut world.ends {
                assert!(end.tunnel.activity().0 <= 1 && end.tunnel.activity().1 <= 6);
                end.received.clear();
                end.events.clear();
            }
            world.send(0, 1, count);
            world.send(1, 0, count);
            world.run(s(30));
            assert!(world.got(0, 1, count) && world.got(1, 0, count));
            for end in 0..2 {
                assert_eq!(world.ends[end].tunnel.describe().peers[0].endpoint, Some(addresses[1 - end]));
            }
        }
    });
}
