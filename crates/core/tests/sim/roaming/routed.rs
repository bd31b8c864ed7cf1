//! Claims that BGP carries: servers with reflectors between them that tell each of them only the best of what the others say.
//!
//! The servers are real [`Node`]s; of BGP there is as much as matters: sessions that keep their order and take their time, reflectors
//! that send nothing back to where it came from, servers that take the best of what reflectors tell. Which is better is decided as
//! the rendered configuration has it: local preference, then MED.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::sync::Arc;

use wayleave_core::names::Name;
use wayleave_core::network::Network;
use wayleave_core::node::claims::routes::Told;
use wayleave_core::node::{Event, Node, Output, Time};

use crate::random::{Dice, read};
use crate::wire::{MS, S};

/// A claim as BGP sees it: local preference, and whose, in the order of names.
type Route = (u32, usize);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Over the session from a server to a reflector.
    Told {
        server: usize,
        reflector: usize,
        client: usize,
        epoch: Option<u32>,
    },
    /// Over that from a reflector to a server.
    Reflected {
        reflector: usize,
        server: usize,
        client: usize,
        route: Option<Route>,
    },
    Wake(usize),
}

struct Backbone {
    now: u64,
    dice: Dice,
    servers: Vec<Node>,
    clients: Vec<Name>,
    names: Vec<Name>,
    /// What each server tells.
    own: Vec<BTreeMap<usize, u32>>,
    /// By reflector and client, what servers have told it, and by server what it has told them.
    ribs: Vec<BTreeMap<usize, BTreeMap<usize, u32>>>,
    told: Vec<BTreeMap<(usize, usize), Route>>,
    /// By server and client, what reflectors have told it; and the best of it, which is in the kernel's table.
    heard: Vec<BTreeMap<usize, BTreeMap<usize, Route>>>,
    best: Vec<BTreeMap<usize, Route>>,
    lives: Vec<bool>,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    numbered: u64,
    /// By session and direction, when its last message arrives.
    busy: BTreeMap<(usize, usize, bool), u64>,
    /// Changes of clients' places, as servers have carried them out: when, which client, at which server.
    carried: Vec<(u64, usize, usize)>,
}

fn network(servers: usize, clients: usize) -> Arc<Network> {
    let mut text = String::from(
        "[network]\nname = \"routed\"\nprefixes = [\"10.48.0.0/12\"]\nplatform = \"agent\"\n[entry]\nendpoint = \"203.0.113.1\"\n\
         [bgp]\nasn = 4200000001\nexchange = \"bgp\"\nreflectors = [\"r1\", \"r2\"]\n\
         [nodes.r1]\nendpoint = \"198.51.100.251\"\n[nodes.r2]\nendpoint = \"198.51.100.252\"\n",
    );
    for server in 0..servers {
        let _ = writeln!(text, "[nodes.s{server:02}]\nendpoint = \"198.51.100.{}\"\nentry = true", server + 1);
    }
    for client in 0..clients {
        let _ = writeln!(text, "[clients.c{client:03}]");
    }
    Arc::new(read(&text))
}

impl Backbone {
    /// All are in step, and nobody is anywhere.
    fn new(servers: usize, clients: usize, seed: u64) -> Backbone {
        let network = network(servers, clients);
        let names: Vec<Name> = (0..servers).map(|at| Name::new(&format!("s{at:02}")).unwrap()).collect();
        let mut backbone = Backbone {
            now: 0,
            dice: Dice(seed),
            servers: names.iter().map(|name| Node::new(network.clone(), name, 1, Time::default()).unwrap()).collect(),
            clients: (0..clients).map(|at| Name::new(&format!("c{at:03}")).unwrap()).collect(),
            names,
            own: vec![BTreeMap::new(); servers],
            ribs: vec![BTreeMap::new(); 2],
            told: vec![BTreeMap::new(); 2],
            heard: vec![BTreeMap::new(); servers],
            best: vec![BTreeMap::new(); servers],
            lives: vec![true; 2],
            queue: BinaryHeap::new(),
            numbered: 0,
            busy: BTreeMap::new(),
            carried: Vec::new(),
        };
        (0..servers).for_each(|server| backbone.tell(server, Event::RoutesTold));
        backbone.run(5 * S);
        backbone
    }

    fn put(&mut self, at: u64, what: What) {
        self.numbered += 1;
        self.queue.push(Reverse((at, self.numbered, what)));
    }

    /// A message over a session: up to 110 ms, after all that went before.
    fn send(&mut self, (server, reflector, is_up): (usize, usize, bool), what: What) {
        let at = self.now + MS + self.dice.roll(110 * MS);
        let busy = self.busy.entry((server, reflector, is_up)).or_default();
        *busy = at.max(*busy);
        let at = *busy;
        self.put(at, what);
    }

    fn run(&mut self, for_us: u64) {
        let end = self.now + for_us;
        while let Some(Reverse((at, ..))) = self.queue.peek()
            && *at <= end
            && let Some(Reverse((at, _, what))) = self.queue.pop()
        {
            self.now = at;
            self.happen(what);
        }
        self.now = end;
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Told { server, reflector, client, epoch } if self.lives[reflector] => {
                let rib = self.ribs[reflector].entry(client).or_default();
                match epoch {
                    Some(epoch) => rib.insert(server, epoch),
                    None => rib.remove(&server),
                };
                self.reflect(reflector, client);
            }
            What::Reflected { reflector, server, client, route } if self.lives[reflector] => {
                let heard = self.heard[server].entry(client).or_default();
                match route {
                    Some(route) => heard.insert(reflector, route),
                    None => heard.remove(&reflector),
                };
                self.choose(server, client);
            }
            What::Told { .. } | What::Reflected { .. } => {}
            What::Wake(server) => self.drain(server),
        }
    }

    /// A reflector tells all servers the best, but for who has told it.
    fn reflect(&mut self, reflector: usize, client: usize) {
        let best = self.ribs[reflector][&client].iter().map(|(server, epoch)| (*epoch, *server)).max();
        for server in 0..self.servers.len() {
            let route = best.filter(|(_, of)| *of != server);
            let before = match route {
                Some(route) => self.told[reflector].insert((server, client), route),
                None => self.told[reflector].remove(&(server, client)),
            };
            if before != route {
                self.send((server, reflector, false), What::Reflected { reflector, server, client, route });
            }
        }
    }

    /// A server's kernel has the best of what reflectors tell it.
    fn choose(&mut self, server: usize, client: usize) {
        let best = self.heard[server].get(&client).and_then(|heard| heard.values().max().copied());
        let before = match best {
            Some(best) => self.best[server].insert(client, best),
            None => self.best[server].remove(&client),
        };
        if before != best {
            let told = best.map(|(epoch, of)| Told { epoch, server: self.names[of].clone() });
            self.tell(server, Event::ClientRoute { client: self.clients[client].clone(), told });
        }
    }

    fn tell(&mut self, server: usize, event: Event) {
        self.servers[server].handle(event, Time::from_us(self.now));
        self.drain(server);
    }

    fn drain(&mut self, server: usize) {
        let now = Time::from_us(self.now);
        while let Some(output) = self.servers[server].poll(now) {
            match output {
                Output::Originate { client, epoch } => self.originate(server, self.find(&client), epoch),
                Output::Claims { changed } => {
                    let all = changed.iter().map(|(client, _)| (self.now, self.find(client), server));
                    self.carried.extend(all.collect::<Vec<_>>());
                }
                _ => {}
            }
        }
        let wake = self.servers[server].next_wake();
        if wake != Time::NEVER {
            let at = wake.us().max(self.now + MS);
            self.put(at, What::Wake(server));
        }
    }

    fn find(&self, client: &Name) -> usize {
        self.clients.binary_search(client).unwrap()
    }

    fn originate(&mut self, server: usize, client: usize, epoch: Option<u32>) {
        match epoch {
            Some(epoch) => self.own[server].insert(client, epoch),
            None => self.own[server].remove(&client),
        };
        for reflector in 0..2 {
            self.send((server, reflector, true), What::Told { server, reflector, client, epoch });
        }
    }

    /// A reflector is gone, and all its sessions.
    fn kill(&mut self, reflector: usize) {
        self.lives[reflector] = false;
        for server in 0..self.servers.len() {
            self.heard[server].values_mut().for_each(|heard| heard.retain(|from, _| *from != reflector));
            (0..self.clients.len()).for_each(|client| self.choose(server, client));
        }
    }

    /// A new session at a server, which packets have confirmed.
    fn come(&mut self, client: usize, server: usize) {
        self.tell(server, Event::ClientHere { client: self.clients[client].clone() });
    }

    fn server_of(&self, at: usize, client: usize) -> Option<&str> {
        self.servers[at].claims().of(&self.clients[client]).map(Name::as_str)
    }

    /// Where everybody believes everybody to be, and who tells of it.
    fn assert_all_know(&self, places: &[usize]) {
        for (client, place) in places.iter().enumerate() {
            for at in 0..self.servers.len() {
                assert_eq!(self.server_of(at, client), Some(self.names[*place].as_str()), "client {client} at {at}");
            }
            let owners: Vec<usize> = (0..self.own.len()).filter(|at| self.own[*at].contains_key(&client)).collect();
            assert_eq!(owners, [*place], "client {client}");
        }
    }

    /// Clients wander for a while; what they send shows them to the server where they are. Returns where they are.
    fn wander(&mut self, moves: usize, places: &mut [usize], mut meanwhile: impl FnMut(&mut Backbone, usize)) {
        for no in 0..moves {
            let (client, to) = (self.dice.roll(places.len() as u64) as usize, self.dice.roll(self.names.len() as u64));
            places[client] = to as usize;
            self.come(client, to as usize);
            let pause = self.dice.roll(60 * MS);
            self.run(pause);
            meanwhile(self, no);
        }
        for _ in 0..4 {
            self.run(1_500 * MS);
            for (client, place) in places.iter().enumerate() {
                self.tell(*place, Event::ClientHeard { client: self.clients[client].clone() });
            }
        }
        self.run(S);
    }
}

#[test]
fn every_server_knows_where_each_client_is_after_the_longest_way_over_a_reflector() {
    let mut backbone = Backbone::new(10, 40, 1);
    let mut places: Vec<usize> = (0..40).map(|client| client % 10).collect();
    places.iter().enumerate().for_each(|(client, place)| backbone.come(client, *place));
    backbone.run(S);
    for round in 0..100 {
        let (client, to) = (round % 40, (round * 7 + 3) % 10);
        if places[client] == to {
            continue;
        }
        (backbone.carried, places[client]) = (Vec::new(), to);
        let begin = backbone.now;
        backbone.come(client, to);
        backbone.run(S);
        let times = backbone.carried.iter().map(|(at, ..)| at - begin);
        assert!(times.max().unwrap() <= 222 * MS, "two ways of at most 111 ms");
        assert_eq!(backbone.carried.len(), 10, "each once");
        backbone.assert_all_know(&places);
    }
}

#[test]
fn clients_that_wander_faster_than_news_are_in_the_end_where_they_are() {
    for seed in 0..30 {
        let mut backbone = Backbone::new(6, 10, seed);
        let mut places = vec![0; 10];
        (0..10).for_each(|client| backbone.come(client, 0));
        backbone.run(S);
        backbone.wander(400, &mut places, |_, _| {});
        backbone.assert_all_know(&places);
    }
}

#[test]
fn the_loss_of_a_reflector_changes_nothing() {
    let mut backbone = Backbone::new(10, 40, 3);
    (0..40).for_each(|client| backbone.come(client, client % 10));
    backbone.run(S);
    backbone.carried.clear();
    backbone.kill(0);
    backbone.run(30 * S);
    assert!(backbone.carried.is_empty(), "{:?}", backbone.carried);
    let places: Vec<usize> = (0..40).map(|client| client % 10).collect();
    backbone.assert_all_know(&places);
    for seed in 0..30 {
        let mut backbone = Backbone::new(6, 10, seed);
        let mut places = vec![0; 10];
        (0..10).for_each(|client| backbone.come(client, 0));
        backbone.run(S);
        backbone.wander(400, &mut places, |backbone, no| {
            if no == 200 {
                backbone.kill(1)
            }
        });
        backbone.assert_all_know(&places);
    }
}

#[test]
fn a_bird_that_is_started_anew_moves_nobody() {
    let mut backbone = Backbone::new(10, 40, 4);
    (0..40).for_each(|client| backbone.come(client, client % 10));
    backbone.run(S);
    backbone.carried.clear();
    let before = backbone.heard[3].clone();
    backbone.heard[3].clear();
    (0..40).for_each(|client| backbone.choose(3, client));
    assert!(backbone.best[3].is_empty());
    backbone.run(6 * S);
    backbone.heard[3] = before;
    (0..40).for_each(|client| backbone.choose(3, client));
    backbone.run(30 * S);
    assert!(backbone.carried.is_empty(), "{:?}", backbone.carried);
}
