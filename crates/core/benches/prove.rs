//! How proving scales: all pairs of large networks, with the target beside each figure.
//!
//! `cargo bench -p wayleave-core --bench prove [-- all-pairs|survive|policy]`. Planning is not part of a figure, making the model
//! from the plan is. Each row is the best of some runs, since other work on the machine only ever adds.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wayleave_core::file::load_with;
use wayleave_core::network::{ElementKind, Network, resolve::resolve};
use wayleave_core::plan::{Ledger, LinkStates, Plan, plan};
use wayleave_core::prove::{Hosts, reachability, survive};

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wants = |what: &str| only.is_empty() || only.iter().any(|word| word == what);
    println!("{:<66} {:>8}  target", "", "s");
    if wants("all-pairs") {
        all_pairs(1_000, 10, 5, "1");
        all_pairs(5_000, 10, 1, "20");
        all_pairs(5_000, 50, 1, "20");
    }
    if wants("policy") {
        policy(50, "1");
        policy(10_000, "");
    }
    if wants("survive") {
        let network = read(&regional(1_000, 10));
        let kinds = [ElementKind::Node, ElementKind::Link, ElementKind::Region];
        let begin = Instant::now();
        let survival = survive(&network, &kinds, 1);
        let what = format!("{} single failures of 1000 nodes, 10 regions", survival.examined);
        print_row(&what, begin.elapsed(), "30");
        let begin = Instant::now();
        let survival = survive(&network, &[ElementKind::Node], 2);
        print_row(&format!("{} failures of one or two of 1000 nodes", survival.examined), begin.elapsed(), "");
    }
}

fn all_pairs(nodes: usize, regions: usize, runs: usize, target: &str) {
    let plan = planned(&regional(nodes, regions));
    let once = || {
        let begin = Instant::now();
        let proof = reachability(Hosts::from_plan(&plan));
        assert!(proof.is_clean(), "the plan does not hold");
        begin.elapsed()
    };
    print_row(&format!("all pairs of {nodes} nodes, {regions} regions, 2 hubs each"), best(runs, once), target);
}

/// All pairs with a policy that denies by default: half of its rules are between groups of fifty, half between single nodes.
fn policy(rules: usize, target: &str) {
    let text =
        regional(1_000, 10).replacen("\n[regions", "\npolicy = \"deny\"\n[regions", 1) + &allow_rules(1_000, rules);
    let begin = Instant::now();
    let network = read(&text);
    print_row(&format!("reading {rules} rules over 1000 nodes"), begin.elapsed(), "");
    let begin = Instant::now();
    let (plan, ..) = plan(network, &Ledger::default(), &LinkStates::default());
    print_row("planning them", begin.elapsed(), "");
    let once = || {
        let begin = Instant::now();
        let proof = reachability(Hosts::from_plan(&plan));
        assert!(proof.is_clean(), "the policy does not hold");
        begin.elapsed()
    };
    print_row("all their pairs", best(3, once), target);
}

fn allow_rules(nodes: usize, rules: usize) -> String {
    let mut text = "[groups]\n".to_owned();
    for group in 0..nodes / 50 {
        let members: Vec<String> = (0..50).map(|at| format!("n{}", (group + at * 20) % nodes)).collect();
        let _ = writeln!(text, "g{group} = {members:?}");
    }
    for rule in 0..rules {
        let name =
            |at: usize| if rule % 2 == 0 { format!("g{}", at % (nodes / 50)) } else { format!("n{}", at % nodes) };
        let (from, to, port) = (name(rule * 7), name(rule * 13 + 1), 1_000 + rule % 40);
        let _ = writeln!(text, "[[allow]]\nfrom = [\"{from}\"]\nto = [\"{to}\"]\nports = [\"tcp/{port}\"]");
    }
    text
}

fn best(runs: usize, mut once: impl FnMut() -> Duration) -> Duration {
    (0..runs).map(|_| once()).min().unwrap_or_default()
}

fn print_row(what: &str, wall: Duration, target: &str) {
    let target = if target.is_empty() { String::new() } else { format!("under {target} s") };
    println!("{what:<66} {:>8.2}  {target}", wall.as_secs_f64());
}

fn read(text: &str) -> Arc<Network> {
    let loaded = load_with("bench.toml", |_| Ok(text.as_bytes().to_vec()));
    Arc::new(resolve(&loaded.file).network.expect("the text is ours"))
}

fn planned(text: &str) -> Plan {
    plan(read(text), &Ledger::default(), &LinkStates::default()).0
}

/// Nodes in regions, a full mesh in each, two hubs per region, all hubs meshed.
fn regional(nodes: usize, regions: usize) -> String {
    let each = nodes / regions;
    let mut text = "[network]\nname = \"regional\"\nprefixes = [\"10.0.0.0/8\"]\n".to_owned();
    for region in 0..regions {
        let _ = writeln!(text, "[regions.r{region}]\nprefix = \"10.{region}.0.0/16\"");
    }
    for node in 0..nodes {
        let hub = if node % each < 2 { "hub = true\n" } else { "" };
        let (region, a, b) = (node / each, node / 250, node % 250 + 1);
        let _ = writeln!(text, "[nodes.n{node}]\nregion = \"r{region}\"\n{hub}endpoint = \"198.18.{a}.{b}\"");
    }
    text + "[[links]]\nmesh = [\"*\"]\nwithin = \"region\"\n[[links]]\nmesh = [\"role:hub\"]\n"
}
