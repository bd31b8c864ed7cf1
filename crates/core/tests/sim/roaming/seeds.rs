//! Random networks, random faults, random moves: while servers can talk no client has two of them for long, and in the end
//! everybody knows where each is.
//!
//! Clocks begin anywhere in 35 years, run differently, and jump ahead by years. Seeds are chosen as for the other stories, by
//! `WAYLEAVE_SIM_SEEDS` and `WAYLEAVE_SIM_SEED`; a failure names its seed and all that was done.

use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::network::Network;

use crate::random::{Dice, read};
use crate::seeds::{Story, run_seeds};
use crate::wire::{MS, S};

/// For as long at most two servers that can talk may both believe to have a client, after anything else has happened than that
/// it moved: a lost message, or a comparison that has to wait for one.
const DISPUTE: u64 = 3_000 * MS;
const YEAR: u64 = 365 * 86_400 * S;

/// Up to nine nodes, most of them entry servers, some hubs, and up to eight clients.
fn network(seed: u64) -> Arc<Network> {
    let mut dice = Dice(seed ^ 0xc11e);
    let nodes = 2 + dice.roll(8);
    let mut text = String::from("[network]\nname = \"random\"\nprefixes = [\"10.0.0.0/16\"]\nplatform = \"agent\"\n");
    text.push_str("[entry]\nendpoint = \"203.0.113.1\"\n");
    for node in 0..nodes {
        let (hub, entry) = (node == 0 || dice.chance(40), node == 0 || dice.chance(75));
        let _ =
            writeln!(text, "[nodes.n{node}]\nendpoint = \"192.0.2.{}:51820\"\nhub = {hub}\nentry = {entry}", node + 1);
    }
    for client in 0..1 + dice.roll(8) {
        let _ = writeln!(text, "[clients.c{client}]");
    }
    text.push_str(if dice.chance(60) {
        "[[links]]\nmesh = [\"*\"]\n"
    } else {
        "[[links]]\nfrom = [\"*\"]\nto = [\"role:hub\"]\n"
    });
    text.push_str("[rtt_ms]\n");
    for node in 0..nodes {
        let others: Vec<_> = (node + 1..nodes).map(|other| format!(" n{other} = {}", 1 + dice.roll(150))).collect();
        let _ = writeln!(text, "n{node} = {{{} }}", others.join(","));
    }
    Arc::new(read(&text))
}

struct Roaming {
    story: Story,
    servers: Vec<usize>,
}

impl Roaming {
    fn new(seed: u64) -> Roaming {
        let network = network(seed);
        let servers = (0..network.nodes.len()).filter(|at| network.nodes[*at].entry).collect();
        let mut story = Story::new(network.clone(), seed);
        story.world.run(5 * S);
        for client in &network.clients {
            let every = [2, 10, 25][story.dice.roll(3) as usize];
            story.world.roamer(client.name.as_str(), every * S);
        }
        Roaming { story, servers }
    }

    /// A client goes somewhere, whatever is there.
    fn move_client(&mut self) {
        let Story { world, dice, .. } = &mut self.story;
        let client = dice.roll(world.roamers.all.len() as u64) as usize;
        let to = dice.chance(90).then(|| self.servers[dice.roll(self.servers.len() as u64) as usize]);
        let wait = if dice.chance(70) { dice.roll(100 * MS) } else { dice.roll(15 * S) };
        world.rove(client, to, wait);
        let whom = to.map_or_else(|| "nobody".to_owned(), |to| world.hosts[to].name.to_string());
        self.story.note(format!("c{client} goes to {whom}"));
    }

    fn disturb(&mut self) {
        let story = &mut self.story;
        if story.dice.chance(15) {
            let (at, by) = (story.dice.roll(story.world.hosts.len() as u64) as usize, story.dice.roll(10 * YEAR));
            story.world.jump(at, by);
            story.note(format!("the clock of {} jumps ahead by {} days", story.name(at), by / 86_400 / S));
        } else {
            story.fault();
        }
        story.world.roamers.disturbed_at = story.world.now;
    }

    /// Clients whose server is dead or cut off from everybody go to another one, as the internet would take them.
    fn settle(&mut self) {
        let parts = self.story.parts();
        for client in 0..self.story.world.roamers.all.len() {
            let at = self.story.world.roamers.all[client].at;
            let lives: Vec<usize> = self.servers.iter().copied().filter(|server| parts[*server].is_some()).collect();
            if at.is_some_and(|at| parts[at].is_none()) && !lives.is_empty() {
                let to = lives[self.story.dice.roll(lives.len() as u64) as usize];
                self.story.world.rove(client, Some(to), 0);
            }
        }
    }

    /// Everybody who can reach a client's server believes that it is there; nobody believes that one is with a server that it can
    /// reach, and is not.
    fn all_know(&self) {
        let (world, parts) = (&self.story.world, self.story.parts());
        for (host, client) in
            (0..world.hosts.len()).flat_map(|host| (0..world.roamers.all.len()).map(move |client| (host, client)))
        {
            let Some(part) = parts[host] else { continue };
            let truth = world.roamers.all[client].at.filter(|at| parts[*at] == Some(part));
            let believed = world.server_of(host, client).filter(|at| parts[*at] == Some(part));
            assert!(
                believed == truth,
                "{} believes that c{client} is with {believed:?}, and it is with {truth:?}\n{}",
                self.story.name(host),
                self.story.log(&[])
            );
        }
    }
}

/// Returns for how many milliseconds clients had two servers that could talk.
fn run(seed: u64) -> Vec<u64> {
    let mut roaming = Roaming::new(seed);
    for _ in 0..10 + roaming.story.dice.roll(20) {
        let wait = roaming.story.dice.roll(4 * S);
        roaming.story.world.run(wait);
        if roaming.story.dice.chance(30) {
            roaming.disturb();
        } else {
            roaming.move_client();
        }
    }
    roaming.story.world.run(2 * S);
    roaming.story.calm();
    roaming.story.world.roamers.disturbed_at = roaming.story.world.now;
    roaming.settle();
    // The longest that anybody can take to look at an idle link again and to trust it, and to let a silent client go.
    roaming.story.world.run(2_400 * S);
    roaming.all_know();
    let disputes = &roaming.story.world.roamers.disputes;
    let worst = disputes.iter().max().copied().unwrap_or_default();
    assert!(worst.0 <= DISPUTE, "seed {seed}: disputed for {worst:?}\n{}", roaming.story.told);
    disputes.iter().map(|(lasted, ..)| *lasted / MS).collect()
}

#[test]
fn whatever_happens_to_clocks_links_and_servers_in_the_end_all_know_where_every_client_is() {
    let mut all: Vec<u64> = run_seeds(run).into_iter().flatten().collect();
    all.sort_unstable();
    let at = |percent: usize| all.get(all.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
    println!(
        "ms for which clients had two servers that could talk, in {} cases: median {}, p99 {}, longest {}",
        all.len(),
        at(50),
        at(99),
        at(100)
    );
}
