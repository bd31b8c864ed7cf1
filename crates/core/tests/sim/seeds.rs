//! Random networks, random faults: whatever happens, nothing circles for long, and in the end all agree and are right.
//!
//! `WAYLEAVE_SIM_SEEDS=N` runs so many seeds instead of the usual number, `WAYLEAVE_SIM_SEED=N` only this one. A failure names
//! its seed and all that was done.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::network::Network;
use wayleave_core::plan::{Ledger, LinkState, LinkStates, Plan, plan};
use wayleave_core::prove::{Hosts, reachability};

use crate::random::{Dice, random_network};
use crate::wire::{MS, S};
use crate::world::World;

const SEEDS: u64 = 200;
/// A circle lives as long as news take to spread, plans to be made and applied.
const SPREAD: u64 = 1_000 * MS;

/// A world with the story of what was done to it.
pub struct Story {
    pub world: World,
    pub dice: Dice,
    pub told: String,
    dead: Vec<bool>,
}

impl Story {
    pub fn new(network: Arc<Network>, seed: u64) -> Story {
        let world = World::new(network, seed);
        let dead = vec![false; world.hosts.len()];
        Story { world, dice: Dice(seed ^ 0x5eed), told: String::new(), dead }
    }

    pub fn note(&mut self, what: String) {
        let _ = writeln!(self.told, "{:.3} s: {what}", self.world.now as f64 / 1e6);
    }

    /// Something happens.
    pub fn fault(&mut self) {
        let (hosts, wires) = (self.world.hosts.len() as u64, self.world.wires.len() as u64);
        let host = self.dice.roll(hosts) as usize;
        let name = self.world.hosts[host].name.to_string();
        let kind = self.dice.roll(if wires == 0 { 3 } else { 8 });
        match kind {
            0 => {
                self.world.kill_agent(host);
                self.dead[host] = true;
                self.note(format!("the agent of {name} dies"));
            }
            1 => {
                self.world.kill_host(host);
                self.dead[host] = true;
                self.note(format!("{name} dies"));
            }
            2 => self.revive(host),
            _ => {
                let wire = self.dice.roll(wires) as usize;
                let both = self.dice.chance(60);
                let wire = &mut self.world.wires[wire];
                let ends = wire.ends;
                let what = match kind {
                    3 | 4 if both => {
                        wire.cut = [true; 2];
                        "is cut"
                    }
                    3 | 4 => {
                        wire.cut[self.dice.roll(2) as usize] = true;
                        "is cut one way"
                    }
                    5 => {
                        wire.loss_permille = [self.dice.roll(350), self.dice.roll(350)];
                        "loses packets"
                    }
                    6 => {
                        wire.twice_permille = 300;
                        wire.jitter_us = 30 * MS;
                        "doubles and reorders"
                    }
                    _ => {
                        wire.cut = [false; 2];
                        "is mended"
                    }
                };
                self.note(format!("the wire of {} and {} {what}", self.name(ends[0]), self.name(ends[1])));
            }
        }
    }

    fn revive(&mut self, host: usize) {
        if self.world.hosts[host].agent.is_none() {
            self.world.start_agent(host);
            self.dead[host] = false;
            self.note(format!("the agent of {} starts", self.name(host)));
        }
    }

    pub fn name(&self, at: usize) -> String {
        self.world.hosts[at].name.to_string()
    }

    /// The end of all faults but cut wires and dead hosts; agents come back in any order.
    pub fn calm(&mut self) {
        for wire in &mut self.world.wires {
            wire.loss_permille = [0; 2];
            wire.twice_permille = 0;
            wire.jitter_us = wire.one_way_us / 20;
        }
        let gone: Vec<usize> = (0..self.dead.len()).filter(|at| !self.world.hosts[*at].runs).collect();
        let first = self.dice.roll(self.dead.len() as u64) as usize;
        for at in (first..self.dead.len()).chain(0..first) {
            if !gone.contains(&at) || self.dice.chance(50) {
                self.revive(at);
            }
            self.world.run(100 * MS);
        }
        self.note("calm".to_owned());
    }

    /// The true states of links, as somebody sees them who knows everything.
    fn truth(&self) -> LinkStates {
        let mut states = LinkStates::default();
        for wire in self.world.wires.iter() {
            let runs = wire.ends.iter().all(|end| self.world.hosts[*end].runs);
            if !runs || !wire.works() {
                let [a, b] = wire.ends.map(|end| &self.world.hosts[end].name);
                states.set(a, b, LinkState::Down);
            }
        }
        states
    }

    /// Hosts by the parts of the network that can't reach each other; dead ones have none.
    pub fn parts(&self) -> Vec<Option<usize>> {
        let count = self.world.hosts.len();
        let mut part: Vec<Option<usize>> = (0..count).map(|at| self.world.hosts[at].runs.then_some(at)).collect();
        for _ in 0..count {
            for wire in self.world.wires.iter().filter(|wire| wire.works()) {
                if let [Some(a), Some(b)] = wire.ends.map(|end| part[end]) {
                    wire.ends.iter().for_each(|end| part[*end] = Some(a.min(b)));
                }
            }
        }
        part
    }

    /// All live hosts of a part have the same states, and these say down exactly of what is down.
    pub fn all_agree(&self) {
        let (truth, parts) = (self.truth(), self.parts());
        let mut first: BTreeMap<usize, usize> = BTreeMap::new();
        for (at, host) in self.world.hosts.iter().enumerate() {
            let Some(part) = parts[at] else { continue };
            let one = *first.entry(part).or_insert(at);
            let other = &self.world.hosts[one];
            let (a, b) = (&host.states, &other.states);
            assert!(a == b, "{} and {} differ: {a:?} {b:?}\n{}", host.name, other.name, self.log(&[at, one]));
            for wire in self.world.wires.iter().filter(|wire| wire.ends.iter().any(|end| parts[*end] == Some(part))) {
                let [x, y] = wire.ends.map(|end| &self.world.hosts[end].name);
                let is_down = |states: &LinkStates| states.of(x, y) == Some(LinkState::Down);
                let (believed, true_) = (is_down(a), is_down(&truth));
                assert!(believed == true_, "{} of {x}-{y}: {believed}, not {true_}\n{}", host.name, self.log(&[at]));
            }
        }
    }

    /// Every host carries out its own plan; what these plans do together is what one plan with the true states would do.
    fn reachability_is_ideal(&self) {
        let network = self.world.network.clone();
        let mut plans: Vec<(&LinkStates, Plan)> = Vec::new();
        for host in &self.world.hosts {
            if !plans.iter().any(|(states, _)| **states == host.states) {
                plans.push((&host.states, plan(network.clone(), &Ledger::default(), &host.states).0));
            }
        }
        let ideal = reachability(Hosts::from_plan(&plan(network.clone(), &Ledger::default(), &self.truth()).0));
        let mut hosts = Hosts::from_plan(&plans[0].1);
        for (states, plan) in &plans[1..] {
            let theirs = Hosts::from_plan(plan);
            for (at, host) in self.world.hosts.iter().enumerate().filter(|(_, host)| host.states == **states) {
                let _ = host;
                hosts.hosts[at] = theirs.hosts[at].clone();
            }
        }
        let real = reachability(hosts);
        let parts = self.parts();
        let count = self.world.hosts.len();
        for (a, b) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
            if parts[a].is_none() || parts[b].is_none() || parts[a] != parts[b] {
                continue;
            }
            let (found, wanted) = (real.verdict(a, b), ideal.verdict(a, b));
            assert!(
                found.arrives() == wanted.arrives() && found.is_good() == wanted.is_good(),
                "{} to {}: {found:?}, not {wanted:?}\n{}",
                self.name(a),
                self.name(b),
                self.log(&[a, b])
            );
        }
    }

    pub fn log(&self, hosts: &[usize]) -> String {
        let mut log = self.told.clone();
        for at in hosts {
            for (when, reason) in &self.world.hosts[*at].reasons {
                let _ = writeln!(log, "{} at {:.3} s: {reason}", self.name(*at), *when as f64 / 1e6);
            }
        }
        log
    }
}

fn run(seed: u64) {
    let mut story = Story::new(random_network(seed), seed);
    story.world.run(5 * S);
    let count = story.world.hosts.len() as u64;
    for _ in 0..2 {
        let (a, b) = (story.dice.roll(count) as usize, story.dice.roll(count) as usize);
        if a != b {
            story.world.flow(a, b, 60 * S);
        }
    }
    for _ in 0..3 + story.dice.roll(6) {
        let wait = story.dice.roll(5 * S);
        story.world.run(wait);
        story.fault();
    }
    story.world.run(2 * S);
    story.calm();
    // The longest that anybody can take to look at an idle link again, and to trust it after it has failed often.
    story.world.run(2_400 * S);
    story.all_agree();
    story.reachability_is_ideal();
    let longest = story.world.longest_loop;
    assert!(longest <= SPREAD, "packets circled for {} ms\n{}", longest / MS, story.told);
}

#[test]
fn after_the_last_fault_all_nodes_agree_and_reach_what_can_be_reached() {
    run_seeds(run);
}

/// Runs a story with every seed that is asked for, and says which failed. Returns what they came to.
pub fn run_seeds<T: Send>(run: impl Fn(u64) -> T + Sync + std::panic::RefUnwindSafe) -> Vec<T> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("WAYLEAVE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WAYLEAVE_SIM_SEEDS").unwrap_or(SEEDS),
    };
    println!("seeds {} to {}", seeds.start, seeds.end - 1);
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8) as u64;
    let results: Vec<(u64, Option<T>)> = std::thread::scope(|scope| {
        let part = |thread: u64| {
            let (mine, run) = (seeds.clone().filter(move |seed| seed % threads == thread), &run);
            let result = move |seed| (seed, std::panic::catch_unwind(|| run(seed)).ok());
            scope.spawn(move || mine.map(result).collect::<Vec<_>>())
        };
        let handles: Vec<_> = (0..threads).map(part).collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("panics are caught inside")).collect()
    });
    let failed: Vec<u64> = results.iter().filter(|(_, result)| result.is_none()).map(|(seed, _)| *seed).collect();
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
    results.into_iter().filter_map(|(_, result)| result).collect()
}
