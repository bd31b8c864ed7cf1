//! How long a host with very many peers takes: from nothing to the plan, to find that there is nothing to do, and for one change.
//!
//! `cargo bench -p wayleave-agent --bench apply [-- kernel] [-- PEERS] [-- once [last]]` prints milliseconds, medians of five runs, through the
//! agent's own hands: from a `NodePlan` to a device, its addresses and its routes, and how much of it is WireGuard's part. Needs root;
//! all of it is in a network namespace of its own, with the embedded engine or the kernel's WireGuard. With the kernel's, `wg setconf`
//! of the same peers stands beside it, run by run, first one and then the other. Each run also reads everything back and finds it equal
//! to what is wanted. `once` is for a machine in which removing many peers takes too long: one run, and nothing is removed;
//! with `last`, `wg` comes after the agent.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use wayleave_agent::host::Choice;
use wayleave_agent::reconcile::Reconciler;
use wayleave_core::file::load_with;
use wayleave_core::host::{Backend, Change, HostState, Resolved, wanted};
use wayleave_core::keys::PrivateKey;
use wayleave_core::names::Name;
use wayleave_core::network::resolve::resolve;
use wayleave_core::plan::{KeyKind, Ledger, LinkStates, NodePlan, plan};

const RUNS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let peers = words.iter().find_map(|word| word.parse().ok()).unwrap_or(10_000);
    let backend = if words.iter().any(|word| word == "kernel") { Backend::Kernel } else { Backend::Engine };
    let folder = std::env::temp_dir().join(format!("wayleave-apply-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary directory can be written");
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("WAYLEAVE_RUNTIME_DIR", &folder) };
    // SAFETY: takes flags only.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "needs root");
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs").success());
    let once = words.iter().any(|word| word == "once");
    let runs = if once { 1 } else { RUNS };
    let is_last = words.iter().any(|word| word == "last");
    println!("{peers} peers, {backend} WireGuard, median of {runs} in ms");
    let kinds = [("clients of an entry server", "clients"), ("nodes at a hub", "nodes")];
    // One kind of members only, where what is made is not removed.
    for (what, kind) in kinds.into_iter().take(if once { 1 } else { 2 }) {
        let part = part(kind, peers);
        let (mut figures, mut theirs): ([Vec<f64>; 7], Vec<f64>) = Default::default();
        for number in 0..runs {
            let mut compare = || theirs.push(setconf(&part, &folder, !once));
            let is_kernel = backend == Backend::Kernel;
            let is_second = (number + usize::from(is_last)) % 2 == 1;
            if is_kernel && !is_second {
                compare();
            }
            let run = run(&part, backend, &folder, !once);
            figures.iter_mut().zip(run).for_each(|(all, one)| all.push(one));
            if is_kernel && is_second {
                compare();
            }
        }
        let [wanted, apply, inside, look, counters, prefix, remove] = figures.map(median);
        println!(
            "{what:<28} wanted {wanted:.1}, applied {apply:.1} (peers {inside:.1}), nothing to do {look:.1}, counters {counters:.1}, one peer more {prefix:.1}, removed {remove:.1}"
        );
        if !theirs.is_empty() {
            let theirs = median(theirs);
            println!("{:<28} wg setconf {theirs:.1}: the agent's part of it takes {:.2} as long", "", inside / theirs);
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
}

/// From nothing to the plan, of it the peers, another look, the counters, one peer less and again more, and everything removed.
fn run(part: &NodePlan, backend: Backend, folder: &Path, removes: bool) -> [f64; 7] {
    let begin = Instant::now();
    let all = wanted(part, backend, &Resolved::default());
    let wanted_ms = ms(begin);
    let mut fewer = part.clone();
    fewer.peers.pop();
    let fewer = wanted(&fewer, backend, &Resolved::default());
    let choice = if backend == Backend::Kernel { Choice::Kernel } else { Choice::EngineAt(folder.into()) };
    let mut reconciler = Reconciler::open(&part.network, choice).expect("the namespace is ours");
    reconciler.set_key(KeyKind::Member, part.device.clone(), key());
    let (mut inside, mut counters) = (0.0, 0.0);
    let mut go = |wanted: &HostState, changes: std::ops::Range<usize>| {
        let begin = Instant::now();
        let proposal = reconciler.propose(wanted, None).expect("the namespace is ours");
        assert!(changes.contains(&proposal.changes.len()), "{} changes", proposal.changes.len());
        let mut last = Instant::now();
        let done = |change: &Change| {
            // Peers and prefixes go to the device together, and are reported when all are done.
            if matches!(change, Change::AddPeer { .. }) {
                inside += ms(last);
            }
            last = Instant::now();
        };
        reconciler.carry_out(wanted, &proposal, done).expect("the changes are sound");
        let took = ms(begin);
        let begin = Instant::now();
        reconciler.host().traffic_news(part.device.as_str()).expect("the device is there");
        counters = ms(begin);
        took
    };
    let apply = go(&all, part.peers.len()..usize::MAX);
    // What is read back is equal to what is wanted: no change is left to be made.
    let look = go(&all, 0..1);
    go(&fewer, 1..10);
    let more = go(&all, 1..10);
    let begin = Instant::now();
    if removes {
        reconciler.remove(|_| {}).expect("it can be removed");
    }
    [wanted_ms, apply + wanted_ms, inside, look, counters, more, ms(begin)]
}

/// The same peers by the kernel's own tool.
fn setconf(part: &NodePlan, folder: &Path, removes: bool) -> f64 {
    let mut text = format!("[Interface]\nPrivateKey = {}\nListenPort = 51820\n", key_text());
    for peer in &part.peers {
        let all: Vec<String> = peer.allowed.iter().map(ToString::to_string).collect();
        let public = peer.public_key.expect("all have one");
        let link = peer.link_address.map(|address| format!(", {address}/128")).unwrap_or_default();
        let _ = writeln!(text, "[Peer]\nPublicKey = {public}\nAllowedIPs = {}{link}", all.join(", "));
    }
    let file: PathBuf = folder.join("setconf");
    std::fs::write(&file, text).expect("the folder is ours");
    let run = |program: &str, words: &[&str]| {
        assert!(Command::new(program).args(words).status().expect("it runs").success(), "{program} {words:?}");
    };
    run("ip", &["link", "add", "wgs", "type", "wireguard"]);
    let begin = Instant::now();
    run("wg", &["setconf", "wgs", file.to_str().expect("the path is ours")]);
    let took = ms(begin);
    if removes {
        run("ip", &["link", "del", "wgs"]);
    }
    took
}

fn key() -> PrivateKey {
    PrivateKey::from_random([0x58; 32])
}

fn key_text() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(key().as_bytes())
}

/// The part of a hub with so many peers.
fn part(kind: &str, peers: usize) -> NodePlan {
    let mut text = format!(
        "[network]\nname = \"bench\"\nprefixes = [\"10.0.0.0/8\"]\n[nodes.hub]\nhub = true\nentry = true\n\
         endpoint = \"192.0.2.1\"\npublic_key = \"{}\"\n",
        key().public_key()
    );
    for at in 0..peers {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&(at as u64).to_le_bytes());
        let public = wayleave_core::keys::PublicKey::from_bytes(bytes);
        let _ = writeln!(text, "[{kind}.m{at}]\npublic_key = \"{public}\"");
    }
    let loaded = load_with("bench.toml", |_| Ok(text.as_bytes().to_vec()));
    let network = resolve(&loaded.file).network.expect("the network is sound");
    let plan = plan(network.into(), &Ledger::default(), &LinkStates::default()).0;
    plan.of(plan.find(&Name::new("hub").expect("it is a name")).expect("it is there"))
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
