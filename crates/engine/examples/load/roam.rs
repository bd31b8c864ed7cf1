//! Clients that go from server to server: each dials one of several that share a key, and some go to another one all the time.
//!
//! As when anycast or a load balancer changes its mind and the client calls anew: the session before is forgotten, and the handshake
//! with the next server is confirmed by a packet. Every move is printed with the client's and the server's number and the time
//! of the machine's monotonic clock, in microseconds, at which the client knew that it was there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wayleave_engine::{Rng, SeededRng};

use crate::Options;
use crate::clients::Crowd;

/// New clients in a second, at the beginning.
const COME_PER_S: u32 = 250;
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run(options: &Options) {
    let servers: Vec<SocketAddr> = options.text("servers").split(',').map(|text| text.parse().unwrap()).collect();
    let (moves, rate) = (options.number("moves", 1000), options.number("rate", 20));
    let mut crowd = Crowd::new(options, servers[0]);
    let mut roaming = Roaming { places: vec![0; crowd.count()], rng: SeededRng::new(7), servers };
    let begin = Instant::now();
    for at in 0..crowd.count() {
        roaming.send(&mut crowd, at, at % roaming.servers.len());
        crowd.turn_until(begin + Duration::from_secs(1) * at as u32 / COME_PER_S);
    }
    crowd.turn_until(Instant::now() + PATIENCE);
    println!("came {}", (0..crowd.count()).filter(|at| crowd.latest(*at).is_some()).count());
    // Whoever measures says when they may move.
    let go = std::thread::spawn(|| std::io::stdin().read_line(&mut String::new()));
    while !go.is_finished() {
        crowd.turn_until(Instant::now() + Duration::from_millis(100));
    }
    roaming.wander(&mut crowd, moves, rate);
}

struct Roaming {
    places: Vec<usize>,
    rng: SeededRng,
    servers: Vec<SocketAddr>,
}

impl Roaming {
    fn roll(&mut self, sides: usize) -> usize {
        let mut bytes = [0; 8];
        self.rng.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % sides as u64) as usize
    }

    /// A client dials a server.
    fn send(&mut self, crowd: &mut Crowd, at: usize, to: usize) {
        self.places[at] = to;
        crowd.dial(at, self.servers[to]);
    }

    /// Different clients go elsewhere, one after the other.
    fn wander(&mut self, crowd: &mut Crowd, moves: u32, rate: u32) {
        let begin = Instant::now();
        let mut waiting: Vec<usize> = Vec::new();
        let print = |crowd: &Crowd, places: &[usize], waiting: &mut Vec<usize>| {
            waiting.retain(|at| match crowd.latest(*at) {
                Some(us) => {
                    println!("moved {at} {} {us}", places[*at]);
                    false
                }
                None => true,
            });
        };
        for no in 0..moves {
            let at = (no as usize * 7 + 3) % crowd.count();
            let away = 1 + self.roll(self.servers.len() - 1);
            let to = (self.places[at] + away) % self.servers.len();
            self.send(crowd, at, to);
            waiting.push(at);
            crowd.turn_until(begin + Duration::from_secs(1) * no / rate);
            print(crowd, &self.places, &mut waiting);
        }
        let end = Instant::now() + PATIENCE;
        while !waiting.is_empty() && Instant::now() < end {
            crowd.turn_until(Instant::now() + Duration::from_millis(5));
            print(crowd, &self.places, &mut waiting);
        }
        waiting.iter().for_each(|at| println!("lost {at}"));
    }
}
