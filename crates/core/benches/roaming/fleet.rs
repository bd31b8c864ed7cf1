//! Fifty entry servers and twenty thousand clients in virtual time, and what happens to networks.
//!
//! Every chapter ends with the question whether every server knows where each client is. Messages come twice and in any
//! order throughout.

use crate::processor_s;
use crate::random::Dice;
use crate::roamers::servers;
use crate::wire::{MS, S};
use crate::world::World;

const SERVERS: usize = 50;
const CLIENTS: usize = 20_000;
/// UDP and IPv4 around each message of WireGuard.
const UNDERLAY: u64 = 28;

pub fn main() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("WAYLEAVE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WAYLEAVE_SIM_SEEDS").unwrap_or(1),
    };
    for seed in seeds {
        println!("{SERVERS} servers in a full mesh, {CLIENTS} clients, seed {seed}");
        Fleet::new(seed).run();
    }
}

struct Fleet {
    world: World,
    dice: Dice,
    /// Bytes and messages until the last chapter ended, and since when this one lasts.
    before: (u64, u64, u64),
}

impl Fleet {
    fn new(seed: u64) -> Fleet {
        let mut world = World::new(servers(SERVERS, CLIENTS, seed), seed);
        for wire in &mut world.wires {
            (wire.twice_permille, wire.jitter_us) = (20, 5 * MS);
        }
        Fleet { world, dice: Dice(seed ^ 0xf1ee7), before: (0, 0, 0) }
    }

    fn run(&mut self) {
        self.world.run(3_600 * S);
        self.tell("an hour without clients");
        for at in 0..CLIENTS {
            let client = self.world.roamer(&format!("c{}", at + 1), 20 * S);
            let (to, wait) = (self.server(), self.dice.roll(60 * S));
            self.world.rove(client, Some(to), wait);
        }
        self.world.run(90 * S);
        self.tell("all come within a minute");
        self.world.run(3_600 * S);
        self.tell("an hour in which all stay");
        self.moves(1_000, 100 * MS);
        self.tell("1,000 move, ten a second");
        self.losses();
        self.partition();
        self.death();
        self.restarts();
        self.worst();
    }

    fn server(&mut self) -> usize {
        self.dice.roll(SERVERS as u64) as usize
    }

    /// Clients move, one after the other. Prints how long it took until everybody knew, from when the new server saw it.
    fn moves(&mut self, count: usize, every_us: u64) {
        let mut moved = Vec::new();
        let before = self.world.roamers.settled_at.clone();
        for _ in 0..count {
            let (client, to) = (self.dice.roll(CLIENTS as u64) as usize, self.server());
            if self.world.roamers.all[client].at == Some(to) || moved.contains(&client) {
                continue;
            }
            self.world.rove(client, Some(to), 0);
            moved.push(client);
            self.world.run(every_us);
        }
        self.world.run(5 * S);
        assert!(moved.iter().all(|client| self.world.roamers.settled_at[*client] > before[*client]));
        let mut times: Vec<u64> = moved.iter().map(|client| self.world.roamers.spread_us(*client) / MS).collect();
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!(
            "    ms from the claim until all servers knew: median {}, p99 {}, longest {}; longest round trip {} ms",
            at(50),
            at(99),
            at(100),
            self.world.wires.iter().map(|wire| 2 * (wire.one_way_us + wire.jitter_us)).max().unwrap_or(0) / MS
        );
    }

    fn losses(&mut self) {
        self.world.wires.iter_mut().for_each(|wire| wire.loss_permille = [20; 2]);
        self.moves(300, 100 * MS);
        self.world.wires.iter_mut().for_each(|wire| wire.loss_permille = [0; 2]);
        self.world.run(60 * S);
        self.tell("300 move while 2 % of packets are lost");
    }

    /// Two halves that hear nothing of each other for two minutes, while clients move on both sides and between them.
    fn partition(&mut self) {
        let is_across = |ends: [usize; 2]| (ends[0] < SERVERS / 2) != (ends[1] < SERVERS / 2);
        let set = |world: &mut World, cut: bool| {
            world.wires.iter_mut().filter(|wire| is_across(wire.ends)).for_each(|wire| wire.cut = [cut; 2]);
            world.roamers.disturbed_at = world.now;
        };
        set(&mut self.world, true);
        for _ in 0..2_000 {
            let (client, to) = (self.dice.roll(CLIENTS as u64) as usize, self.server());
            self.world.rove(client, Some(to), 0);
            self.world.run(60 * MS);
        }
        let (disputed, healed_at) = (self.world.disputed().len(), self.world.now);
        self.tell("two halves for two minutes, 2,000 moves");
        set(&mut self.world, false);
        self.world.run(120 * S);
        println!(
            "    {disputed} clients had a server on each side; the last was settled {} ms after the halves met",
            (self.world.roamers.settled_at.iter().max().copied().unwrap_or(0).saturating_sub(healed_at)) / MS
        );
        self.tell("two minutes after they meet");
    }

    /// A server dies, and its clients go to others within half a minute.
    fn death(&mut self) {
        let dead = 7;
        self.world.kill_host(dead);
        let homeless: Vec<usize> =
            (0..CLIENTS).filter(|client| self.world.roamers.all[*client].at == Some(dead)).collect();
        for client in &homeless {
            let to = (dead + 1 + self.dice.roll(SERVERS as u64 - 1) as usize) % SERVERS;
            let wait = self.dice.roll(30 * S);
            self.world.rove(*client, Some(to), wait);
        }
        self.world.run(60 * S);
        self.tell(&format!("a server dies, its {} clients go elsewhere", homeless.len()));
        self.world.start_agent(dead);
        let begun = self.world.now;
        while self.world.hosts[dead].agent.as_ref().unwrap().claims().iter().len() < CLIENTS {
            self.world.run(10 * MS);
            assert!(self.world.now < begun + 60 * S, "it still does not know all clients");
        }
        println!("    it comes back, and knows all clients after {} ms", (self.world.now - begun) / MS);
        self.world.run(60 * S);
        self.tell("it comes back, and is told everything");
    }

    /// All agents are restarted, two seconds apart, as by a roll-out; devices stay.
    fn restarts(&mut self) {
        for at in 0..SERVERS {
            self.world.leave(at);
            self.world.run(500 * MS);
            self.world.start_agent(at);
            self.world.run(1_500 * MS);
        }
        self.world.run(60 * S);
        self.tell("all agents are restarted, one after the other");
    }

    fn worst(&self) {
        let mut disputes: Vec<u64> = self.world.roamers.disputes.iter().map(|(lasted, ..)| lasted / MS).collect();
        disputes.sort_unstable();
        println!(
            "{} times two servers that could talk had one client: median {} ms, p99 {}, longest {}",
            disputes.len(),
            disputes[disputes.len() / 2],
            disputes[disputes.len() * 99 / 100],
            disputes[disputes.len() - 1]
        );
        println!("{:.0} s of processor time", processor_s());
    }

    /// Says what a chapter cost, and sees that everybody knows where each client is.
    fn tell(&mut self, what: &str) {
        let wires = self.world.wires.iter().flat_map(|wire| wire.counted);
        let (bytes, messages) = wires.fold((0, 0), |(bytes, messages), counted| {
            (bytes + counted.sent + UNDERLAY * counted.messages_sent, messages + counted.messages_sent)
        });
        let (bytes_before, messages_before, since) = self.before;
        println!(
            "{what:<48} {:>7} s {:>10} messages {:>10} kB, {:>7} bytes a second and server",
            (self.world.now - since) / S,
            messages - messages_before,
            (bytes - bytes_before) / 1_000,
            (bytes - bytes_before) * S / (self.world.now - since) / SERVERS as u64
        );
        self.before = (bytes, messages, self.world.now);
        if !what.starts_with("two halves") {
            self.all_know(what);
        }
    }

    fn all_know(&self, when: &str) {
        for (at, host) in self.world.hosts.iter().enumerate().filter(|(_, host)| host.runs) {
            let Some(agent) = &host.agent else { continue };
            for roamer in &self.world.roamers.all {
                let believed = agent.claims().of(&roamer.name);
                let truth = roamer.at.map(|at| &self.world.hosts[at].name);
                assert!(believed == truth, "{when}: {} of {}: {believed:?}, not {truth:?}", at, roamer.name);
            }
        }
    }
}
