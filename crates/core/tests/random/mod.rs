//! Random networks for tests: a seed makes a text, the text a network, another seed the states of its links.
#![allow(dead_code, reason = "every test program uses its own part of this")]

use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::file::load_with;
use wayleave_core::network::{Network, resolve::resolve};
use wayleave_core::plan::{LinkState, LinkStates};

/// A small generator of choices: the same seed, the same network.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// The text of a random network of up to 14 nodes and 4 clients.
pub fn network_text(seed: u64) -> String {
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
pub fn with_clients(text: &str, network: &Network, dice: &mut Dice) -> String {
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

/// The network of a text that the generator made.
pub fn read(text: &str) -> Network {
    let loaded = load_with("random.toml", |_| Ok(text.as_bytes().to_vec()));
    let resolution = resolve(&loaded.file);
    let findings = format!("{:?}\n{:?}\n{text}", loaded.findings.sorted(), resolution.findings.sorted());
    resolution.network.unwrap_or_else(|| panic!("the generator made a bad network: {findings}"))
}

/// A random network with clients.
pub fn random_network(seed: u64) -> Arc<Network> {
    let mut dice = Dice(!seed);
    let text = network_text(seed);
    let text = with_clients(&text, &read(&text), &mut dice);
    Arc::new(read(&text))
}

/// Some links down, some with measured times.
pub fn random_states(network: &Network, seed: u64) -> LinkStates {
    let mut dice = Dice(seed.rotate_left(17));
    let mut states = LinkStates::default();
    let calm = dice.chance(40);
    for link in &network.links {
        let (a, b) = (&network.node(link.a).name, &network.node(link.b).name);
        match dice.roll(10) {
            _ if calm => {}
            0..2 => states.set(a, b, LinkState::Down),
            2..4 => states.set(a, b, LinkState::Up { rtt_us: 1_000 + dice.roll(40_000) }),
            _ => {}
        }
    }
    states
}

/// A random network in which all nodes with an endpoint are entry nodes, and clients roam between them; none if there are none.
pub fn random_roaming(seed: u64) -> Option<Arc<Network>> {
    let mut dice = Dice(seed ^ 0x0a3e);
    let mut text = network_text(seed);
    let public: Vec<String> = {
        let network = read(&text);
        network.nodes.iter().filter(|node| node.is_public()).map(|node| node.name.to_string()).collect()
    };
    let entries: Vec<&String> = public.iter().filter(|_| dice.chance(80)).collect();
    if entries.len() < 2 {
        return None;
    }
    for entry in entries {
        text = text
            .replace(&format!("[nodes.{entry}]\n"), &format!("[nodes.{entry}]\nentry = true\nplatform = \"agent\"\n"));
    }
    text.push_str("[entry]\nendpoint = \"203.0.113.1\"\n");
    for client in 0..2 + dice.roll(30) {
        let _ = writeln!(text, "[clients.c{client}]");
        if dice.chance(30) {
            // Some beside each other, some beside a site.
            let beside = format!("172.16.{}.0/24", dice.roll(16));
            let is_free = dice.chance(20) && !text.contains(&beside);
            let _ =
                writeln!(text, "prefixes = [\"{}\"]", if is_free { beside } else { format!("172.17.{client}.0/24") });
        }
        if dice.chance(20) {
            let _ = writeln!(text, "via = [\"{}\"]", public[dice.roll(public.len() as u64) as usize]);
        }
    }
    Some(Arc::new(read(&text)))
}
