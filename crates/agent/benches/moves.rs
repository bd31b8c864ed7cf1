//! What a client that moves costs a node, with all the others that stay.
//!
//! `cargo bench -p wayleave-agent --bench moves [-- CLIENTS]` prints milliseconds of processor time for each move (all threads, the
//! device's and the kernel's part included) on an entry node of fifty in a full mesh: as the agent does it, prefix by prefix; and
//! with everything planned anew and compared, which it does when it can't, or when very many move at a time. Clients come from
//! anywhere and go anywhere, so that every fiftieth comes to this node. Needs root; all of it is in a network namespace of its own,
//! with the embedded engine.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;

use wayleave_agent::host::Choice;
use wayleave_agent::reconcile::Reconciler;
use wayleave_core::file::load_with;
use wayleave_core::host::{Actual, Backend, Change, HostState, Resolved, diff, expected, expected_of, follow, wanted};
use wayleave_core::keys::{PrivateKey, PublicKey};
use wayleave_core::names::Name;
use wayleave_core::network::{Network, resolve::resolve};
use wayleave_core::plan::{Claims, Ledger, LinkStates, Member, Moves, NodePlan, Plan, plan};

const SERVERS: usize = 50;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let clients = words.iter().find_map(|word| word.parse().ok()).unwrap_or(20_000);
    let folder = std::env::temp_dir().join(format!("wayleave-moves-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary directory can be written");
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("WAYLEAVE_RUNTIME_DIR", &folder) };
    // SAFETY: takes flags only.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "needs root");
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip runs").success());
    println!("{SERVERS} entry nodes in a full mesh, {clients} clients, engine");
    let mut node = Moving::new(clients, &folder);
    for (what, count, follows) in [("planned anew", 20, false), ("followed", 1_000, true)] {
        if follows {
            let begin = processor_ms();
            node.follow_from_here();
            println!("{:<14} {:>8.2} ms once, after the file or a link has changed", "", processor_ms() - begin);
        }
        let begin = processor_ms();
        let (mut decided, mut changes) = (0.0, 0);
        for _ in 0..count {
            let (took, made) = node.one(follows);
            (decided, changes) = (decided + took, changes + made);
        }
        println!(
            "{what:<14} {:>8.3} ms for each of {count} moves, {:.3} of it to decide; {:.1} changes each",
            (processor_ms() - begin) / f64::from(count),
            decided / f64::from(count),
            changes as f64 / f64::from(count)
        );
    }
    node.end();
    let _ = std::fs::remove_dir_all(&folder);
}

struct Moving {
    network: Arc<Network>,
    plan: Plan,
    claims: Claims,
    part: NodePlan,
    state: HostState,
    moves: Option<Moves>,
    reconciler: Reconciler,
    dice: u64,
}

impl Moving {
    fn new(clients: usize, folder: &std::path::Path) -> Moving {
        let network = network(clients);
        let plan = plan(network.clone(), &Ledger::default(), &LinkStates::default()).0;
        let mut dice = 1;
        let any = |dice: &mut u64| network.nodes[roll(dice, SERVERS)].name.clone();
        let claims: Claims = network.clients.iter().map(|client| (client.name.clone(), any(&mut dice))).collect();
        let member = Member::Node(network.find_node(&name()).expect("it is there"));
        let part = plan.part(&LinkStates::default(), &claims, member);
        let state = wanted(&part, Backend::Engine, &Resolved::default());
        let mut reconciler = Reconciler::open(&part.network, Choice::EngineAt(folder.into())).expect("it is ours");
        for need in part.keys() {
            reconciler.set_key(need.kind, need.device.clone(), key(if need.device == &part.device { 7 } else { 255 }));
        }
        let proposal = reconciler.propose(&state, None).expect("the namespace is ours");
        reconciler.carry_out(&state, &proposal, |_| {}).expect("the changes are sound");
        Moving { network, plan, claims, part, state, moves: None, reconciler, dice }
    }

    fn follow_from_here(&mut self) {
        let known = (&LinkStates::default(), &self.claims);
        self.moves = Moves::new(&self.plan, known, &self.part, &[]);
        assert!(self.moves.is_some(), "this network's prefixes can be followed");
    }

    /// A client moves. Gives the processor time to decide what changes, and how much does.
    fn one(&mut self, follows: bool) -> (f64, usize) {
        let client = self.network.clients[roll(&mut self.dice, self.network.clients.len())].name.clone();
        let server = self.network.nodes[roll(&mut self.dice, SERVERS)].name.clone();
        let begin = processor_ms();
        self.claims.set(&client, Some(&server));
        let changes = if follows { self.followed(client, server) } else { self.anew() };
        let decided = processor_ms() - begin;
        self.reconciler.expect(&changes).expect("the changes are sound");
        (decided, changes.len())
    }

    fn is_relay(&self, name: &Name) -> bool {
        self.network.find_node(name).is_some_and(|node| self.network.node(node).hub)
    }

    fn followed(&mut self, client: Name, server: Name) -> Vec<Change> {
        let moves = self.moves.as_mut().expect("it follows");
        let moved = moves.follow(&mut self.part, &[(client, Some(server))]).expect("it can be followed");
        let mut changes = expected_of(&self.state, &self.part, &moved, |name| self.is_relay(name));
        changes.extend(follow(&mut self.state, &self.part, &moved).expect("it can be followed"));
        changes
    }

    fn anew(&mut self) -> Vec<Change> {
        let member = Member::Node(self.network.find_node(&name()).expect("it is there"));
        self.part = self.plan.part(&LinkStates::default(), &self.claims, member);
        let next = wanted(&self.part, Backend::Engine, &Resolved::default());
        let mut changes = expected(&self.state, &next, &self.part.routes, |name| self.is_relay(name));
        let before = std::mem::replace(&mut self.state, next);
        let present = Actual { state: before.clone(), ..Actual::default() };
        changes.extend(diff(&present, &self.state, Some(&before)).expect("nothing is in the way"));
        changes
    }

    /// What was done move by move is what is wanted as a whole.
    fn end(mut self) {
        let proposal = self.reconciler.propose(&self.state, None).expect("the namespace is ours");
        println!("a look at the host afterwards finds {} changes to make", proposal.changes.len());
        self.reconciler.remove(|_| {}).expect("it can be removed");
    }
}

/// The node that is looked at.
fn name() -> Name {
    Name::new("s7").expect("it is a name")
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_random([number; 32])
}

fn network(clients: usize) -> Arc<Network> {
    let mut text = String::from(
        "[network]\nname = \"bench\"\nprefixes = [\"10.0.0.0/8\"]\nclient_prefixes = [\"10.64.0.0/12\"]\nplatform = \"agent\"\n",
    );
    let _ = writeln!(text, "[entry]\nendpoint = \"203.0.113.1\"\npublic_key = \"{}\"", key(255).public_key());
    for server in 0..SERVERS {
        let public = key(server as u8).public_key();
        let _ = writeln!(
            text,
            "[nodes.s{server}]\nendpoint = \"198.51.100.{server}:51820\"\nhub = {}\nentry = true\npublic_key = \"{public}\"",
            server < 3
        );
    }
    for client in 0..clients {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&(client as u64).to_le_bytes());
        let _ = writeln!(text, "[clients.c{client}]\npublic_key = \"{}\"", PublicKey::from_bytes(bytes));
    }
    text.push_str("[[links]]\nmesh = [\"*\"]\n");
    let loaded = load_with("bench.toml", |_| Ok(text.as_bytes().to_vec()));
    Arc::new(resolve(&loaded.file).network.expect("the network is sound"))
}

fn roll(dice: &mut u64, sides: usize) -> usize {
    *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*dice >> 33) as usize % sides
}

/// Processor time of this process so far, all threads.
fn processor_ms() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the value in.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
