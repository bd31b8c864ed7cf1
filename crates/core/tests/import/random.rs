//! Random networks by seed, as those of the properties of plans.

use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::network::Network;

use super::support::network as read;

/// A small generator of choices: the same seed, the same network.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// The text of a random network of up to 14 nodes and 4 clients.
fn network_text(seed: u64) -> String {
    let mut dice = Dice(seed);
    let (nodes, regions) = (2 + dice.roll(13), 1 + dice.roll(4));
    let mut text = String::from("[network]\nname = \"random\"\nprefixes = [\"10.0.0.0/16\", \"fd10::/48\"]\n");
    if dice.chance(50) {
        text.push_str("client_prefixes = [\"10.0.200.0/24\", \"fd10:0:0:c::/64\"]\n");
    }
    for region in 0..regions {
        if dice.chance(80) {
            let _ =
                writeln!(text, "[regions.r{region}]\nprefixes = [\"10.0.{region}.0/24\", \"fd10:0:0:{region}::/64\"]");
        } else {
            let _ = writeln!(text, "[regions.r{region}]");
        }
    }
    for node in 0..nodes {
        let _ = writeln!(text, "[nodes.n{node}]");
        if dice.chance(85) {
            let _ = writeln!(text, "region = \"r{}\"", dice.roll(regions));
        }
        let hub = dice.chance(35);
        let _ = writeln!(text, "hub = {hub}");
        if hub || dice.chance(50) {
            let _ = writeln!(text, "endpoint = \"192.0.2.{}:51820\"", node + 1);
        }
        if dice.chance(25) {
            let _ = writeln!(text, "prefixes = [\"172.16.{node}.0/24\"]");
        }
    }
    for _ in 0..1 + dice.roll(3) {
        match dice.roll(4) {
            0 => text.push_str("[[links]]\nmesh = [\"*\"]\nwithin = \"region\"\n"),
            1 => text.push_str("[[links]]\nfrom = [\"*\"]\nto = [\"role:hub\"]\n"),
            2 => {
                let _ = writeln!(text, "[[links]]\nmesh = [\"r{}\", \"n0\"]", dice.roll(regions));
            }
            _ => text.push_str("[[links]]\nmesh = [\"*\"]\n"),
        }
    }
    if dice.chance(30) && nodes > 3 {
        text.push_str("[[isolate]]\nbetween = [[\"n1\"], [\"n2\", \"n3\"]]\n");
    }
    text.push_str("[rtt_ms]\n");
    for node in 0..nodes {
        let _ = write!(text, "n{node} = {{");
        for other in node + 1..nodes {
            if dice.chance(60) {
                let _ = write!(text, " n{other} = {},", 1 + dice.roll(40));
            }
        }
        text.push_str("}\n");
    }
    text.replace(",}", " }")
}

/// Adds clients to a network that has somebody for them.
fn with_clients(text: &str, network: &Network, dice: &mut Dice) -> String {
    let mut text = text.to_owned();
    let vias: Vec<&str> = network.nodes.iter().filter(|node| node.is_public()).map(|node| node.name.as_str()).collect();
    for client in 0..dice.roll(5) {
        if vias.is_empty() {
            break;
        }
        let via = vias[dice.roll(vias.len() as u64) as usize];
        let _ = writeln!(text, "[clients.c{client}]\nvia = [\"{via}\"]");
        if dice.chance(30) {
            let _ = writeln!(text, "prefixes = [\"172.17.{client}.0/24\"]");
        }
    }
    text
}

/// The network of a seed.
pub fn random_network(seed: u64) -> Arc<Network> {
    let mut dice = Dice(!seed);
    let text = network_text(seed);
    let text = with_clients(&text, &read(&text), &mut dice);
    Arc::new(read(&text))
}
