//! How fast a node plans its own part again when a link goes down, beside the whole plan.
//!
//! `cargo bench -p wayleave-core --bench part` prints milliseconds, medians of nine runs, for large networks.

#![allow(clippy::disallowed_types, reason = "a benchmark reads the clock")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use wayleave_core::file::load_with;
use wayleave_core::network::{Network, NodeIx, resolve::resolve};
use wayleave_core::plan::{Claims, Ledger, LinkState, LinkStates, Member, plan};

fn main() {
    println!("{:<44} {:>10} {:>10}", "", "part ms", "plan ms");
    for (what, nodes, hubs, mesh) in [
        ("12 nodes, full mesh", 12, 3, true),
        ("1,000 nodes, each with 10 hubs", 1_000, 10, false),
        ("1,000 nodes, full mesh with 10 hubs", 1_000, 10, true),
        ("10,000 nodes, each with 10 hubs", 10_000, 10, false),
    ] {
        let network = network(nodes, hubs, mesh);
        let (intended, ledger, _) = plan(network.clone(), &Ledger::default(), &LinkStates::default());
        let states = some_states(&network);
        let member = Member::Node(NodeIx(network.nodes.len() as u32 / 2));
        let one = median(|| drop(intended.part(&states, &Claims::default(), member)));
        let whole = median(|| drop(plan(network.clone(), &ledger, &states)));
        println!("{what:<44} {one:>10.2} {whole:>10.2}");
    }
}

/// One link in a hundred is down, and two have other times than stated.
fn some_states(network: &Network) -> LinkStates {
    let mut states = LinkStates::default();
    for (at, link) in network.links.iter().enumerate() {
        let (a, b) = (&network.node(link.a).name, &network.node(link.b).name);
        match at % 100 {
            7 => states.set(a, b, LinkState::Down),
            8 | 9 => states.set(a, b, LinkState::Up { rtt_us: 70_000 }),
            _ => {}
        }
    }
    states
}

fn network(nodes: usize, hubs: usize, mesh: bool) -> Arc<Network> {
    let mut text = String::from("[network]\nname = \"bench\"\nprefixes = [\"10.0.0.0/8\"]\n");
    for node in 0..nodes {
        let (hub, high, low) = (node < hubs, node / 250, node % 250 + 1);
        let _ = writeln!(
            text,
            "[nodes.n{node}]\nhub = {hub}\nendpoint = \"198.{}.{}.{low}:51820\"",
            18 + high / 250,
            high % 250
        );
    }
    let rule = if mesh { "mesh = [\"*\"]" } else { "from = [\"*\"]\nto = [\"role:hub\"]" };
    let _ = writeln!(text, "[[links]]\n{rule}");
    let loaded = load_with("bench.toml", |_| Ok(text.as_bytes().to_vec()));
    Arc::new(resolve(&loaded.file).network.expect("the network is sound"))
}

fn median(run: impl Fn()) -> f64 {
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[4]
}
