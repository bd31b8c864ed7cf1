//! Programs that get no processor for a while: a busy machine, a virtual one that is moved.

use std::sync::Arc;

use crate::random::{Dice, read};
use crate::wire::{MS, S};
use crate::world::World;

#[test]
fn a_program_that_got_no_processor_does_not_blame_its_links() {
    let text = "[network]\nname = \"p\"\nprefixes = [\"10.0.0.0/24\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"\n\
        [nodes.b]\nendpoint = \"192.0.2.2\"\n[nodes.c]\nendpoint = \"192.0.2.3\"\nhub = true\n[[links]]\nmesh = [\"*\"]\n\
        [rtt_ms]\nc = { a = 900, b = 900 }\n";
    for seed in 0..100 {
        let mut world = World::new(Arc::new(read(text)), seed);
        let mut dice = Dice(seed);
        let (a, b) = (world.find("a"), world.find("b"));
        let flow = world.flow(a, b, 60 * S);
        world.run(10 * S);
        for _ in 0..10 {
            // Every program of the machine, for another time each, as under a load that comes and goes.
            for at in 0..world.hosts.len() {
                world.hosts[at].paused_until = world.now + dice.roll(1_500 * MS);
            }
            let wait = dice.roll(3 * S);
            world.run(wait);
        }
        world.run(5 * S);
        let blames = |(_, reason): &&(u64, String)| reason.contains("is down");
        let reasons: Vec<_> = world.hosts.iter().flat_map(|host| &host.reasons).filter(blames).collect();
        assert!(reasons.is_empty(), "seed {seed}: {reasons:?}");
        assert_eq!(world.flows[flow].lost, 0, "seed {seed}: {:?}", world.drops);
    }
}
