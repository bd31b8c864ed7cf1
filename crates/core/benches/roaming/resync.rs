//! Two entry servers, one of which knows of all clients and the other of none: what it costs until both know the same.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use wayleave_core::names::Name;
use wayleave_core::network::Network;
use wayleave_core::node::{Event, Node, Output, Time};

use crate::roamers::servers;
use crate::{most_mib, present_mib, processor_s};

const MS: u64 = 1_000;
const S: u64 = 1_000_000;

pub fn main() {
    println!(
        "{:>9} {:>7} {:>10} {:>10} {:>9} {:>8} {:>9} {:>9}  (limits: 1,000 ms and 64 MiB)",
        "claims", "RTT ms", "CPU ms", "in all ms", "messages", "kB", "MiB one", "MiB both"
    );
    for clients in [1_000, 10_000, 99_998] {
        let network = servers(2, clients, 1);
        for rtt_ms in [1, 80, 250] {
            resync(&network, rtt_ms);
        }
    }
}

struct Wire {
    nodes: Vec<(Name, Node)>,
    queue: BinaryHeap<Reverse<(u64, usize, Vec<u8>)>>,
    one_way_us: u64,
    messages: u64,
    bytes: u64,
    is_cut: bool,
}

impl Wire {
    fn add(&mut self, network: &Arc<Network>, at: usize, now: u64) {
        let name = network.nodes[at].name.clone();
        let node = Node::new(network.clone(), &name, 7 + at as u16, Time::from_us(now)).unwrap();
        self.nodes.push((name, node));
    }

    /// Does all that is due, and returns when there is something next.
    fn poll(&mut self, now: u64) -> u64 {
        let mut wake = u64::MAX;
        for (at, (_, node)) in self.nodes.iter_mut().enumerate() {
            while let Some(output) = node.poll(Time::from_us(now)) {
                if let Output::Send { bytes, .. } = output {
                    self.messages += 1;
                    self.bytes += bytes.len() as u64;
                    self.queue.push(Reverse((now + self.one_way_us, 1 - at, bytes)));
                }
            }
            wake = wake.min(node.next_wake().us());
        }
        wake.min(self.queue.peek().map_or(u64::MAX, |Reverse((at, ..))| *at)).max(now)
    }

    fn run(&mut self, from: u64, until: impl Fn(&Wire, u64) -> bool) -> u64 {
        let mut now = from;
        while !until(self, now) {
            now = self.poll(now);
            while self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
                let Some(Reverse((_, to, bytes))) = self.queue.pop() else { break };
                if self.is_cut || to >= self.nodes.len() {
                    continue;
                }
                let from = self.nodes[1 - to].0.clone();
                self.nodes[to].1.handle(Event::Received { from, bytes }, Time::from_us(now));
                self.poll(now);
            }
        }
        now
    }
}

fn resync(network: &Arc<Network>, rtt_ms: u64) {
    let one_way_us = rtt_ms * MS / 2;
    let queue = BinaryHeap::new();
    let mut wire = Wire { nodes: Vec::new(), queue, one_way_us, messages: 0, bytes: 0, is_cut: true };
    let empty = present_mib();
    wire.add(network, 0, 0);
    let begun = wire.run(0, |_, now| now > 5 * S);
    for client in &network.clients {
        wire.nodes[0].1.handle(Event::ClientHere { client: client.name.clone() }, Time::from_us(begun));
    }
    let begun = wire.run(begun, |_, now| now > begun + S);
    let told = present_mib();
    most_mib();
    (wire.messages, wire.bytes, wire.is_cut) = (0, 0, false);
    let cpu = processor_s();
    wire.add(network, 1, begun);
    let all = network.clients.len();
    let done = wire.run(begun, |wire, now| {
        assert!(now < begun + 600 * S, "{} of {all} after ten minutes", wire.nodes[1].1.claims().iter().len());
        wire.nodes[1].1.claims().iter().len() == all
    });
    let cpu_ms = (processor_s() - cpu) * 1e3;
    assert_eq!(wire.nodes[0].1.claims(), wire.nodes[1].1.claims());
    let most = most_mib();
    println!(
        "{all:>9} {rtt_ms:>7} {cpu_ms:>10.0} {:>10} {:>9} {:>8} {:>9.1} {:>9.1}",
        (done - begun) / MS,
        wire.messages,
        wire.bytes / 1_000,
        most - told,
        most - empty,
    );
}
