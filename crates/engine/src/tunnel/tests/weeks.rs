//! Weeks of virtual time in which everything goes wrong by turns: loss, reordering, duplicates, cuts both ways and one way, processes
//! that stop for ten minutes or begin anew, clocks that step by years, addresses that change.
//!
//! What must hold: no packet leaves in the clear (the world looks at each datagram), none is delivered twice, memory is bounded, who
//! is idle has no timer, and after each fault the peers talk again within [`RECOVERY_MAX`]. Each run does a week in seven days of
//! seven seeds; `WAYLEAVE_WEEKS=N` makes it N whole weeks of new seeds.

use std::collections::HashSet;

use super::*;

/// The dearest way back: a peer that restarted is noticed 15 s after something was sent to it, plus a third of a second; the initiation
/// may have to wait for 5 s and a third after one that was lost, and the other end's may be the only one that is taken, since a
/// clock stepped back. Then a round trip and a half.
const RECOVERY_MAX: Duration = Duration::from_secs(22);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR_S: u64 = 31_557_600;

struct Life {
    world: World,
    sent: u64,
    /// The latest that each end's clock ever showed.
    latest: [Duration; 2],
    /// The numbers of the packets that each end's interface got.
    seen: [HashSet<u64>; 2],
    slowest: Duration,
    lost_in_peace: u64,
}

impl Life {
    fn new(seed: u64) -> Life {
        let world = World::pair(seed, Network::GOOD);
        Life {
            world,
            sent: 0,
            latest: Default::default(),
            seen: Default::default(),
            slowest: Duration::ZERO,
            lost_in_peace: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.world.rng.next_u64() % bound
    }

    fn live(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            self.suffer();
            self.recover();
            self.rest();
        }
    }

    fn send(&mut self, from: usize) {
        self.sent += 1;
        if !self.world.ends[from].paused {
            self.world.send(from, 1 - from, self.sent);
        }
    }

    /// Some traffic while something is wrong, and how it goes wrong.
    fn suffer(&mut self) {
        let end = self.below(2) as usize;
        let longest_s = if self.below(8) == 0 { 900 } else { 90 };
        let length_s = 1 + self.below(longest_s);
        let fault = self.below(9);
        match fault {
            0 => self.world.cut = vec![(end, 1 - end)],
            1 => self.world.cut = vec![(0, 1), (1, 0)],
            2 => self.world.ends[end].paused = true,
            3 => {
                // A clock behind what was once shown, and no memory of having shown it, is a replay to the protocol until the other
                // end calls; if the address has changed too, it can't. Nothing that an engine could mend.
                let unix = self.world.ends[end].unix;
                self.world.ends[end].unix = unix.max(self.latest[end]);
                self.world.restart(end);
            }
            4 => {
                let years = Duration::from_secs(self.below(5 * YEAR_S));
                // Who restarted and has called nobody since has no memory either, see above.
                let is_forwards = self.below(2) == 0 || !self.world.ends[end].tunnel.has_called();
                let unix = &mut self.world.ends[end].unix;
                self.latest[end] = self.latest[end].max(*unix);
                *unix = if is_forwards { *unix + years } else { unix.saturating_sub(years) };
            }
            5 => {
                let port = 1024 + self.below(60_000) as u16;
                self.world.ends[end].address.set_port(port);
            }
            _ => {
                self.world.network = Network {
                    delay_ms: 1 + self.below(200),
                    jitter_ms: self.below(300),
                    loss_percent: self.below(31),
                    duplicates_percent: self.below(51),
                };
            }
        }
        let pace = 1 + self.below(5_000);
        let until = self.world.now + s(length_s);
        while self.world.now < until {
            let from = self.below(2) as usize;
            self.send(from);
            let pause = self.below(2 * pace) + 1;
            self.world.run(ms(pause));
            self.look();
        }
    }

    /// The fault ends; both go on sending once a second until both are heard.
    fn recover(&mut self) {
        self.world.network = Network::GOOD;
        self.world.cut.clear();
        (0..2).for_each(|end| self.world.resume(end));
        let begin = self.world.now;
        self.look();
        let mut heard = [false; 2];
        while heard != [true; 2] {
            assert!(self.world.now.since(begin) <= RECOVERY_MAX, "no way back: heard {heard:?}");
            let first = self.sent + 1;
            (0..2).for_each(|from| self.send(from));
            // What is heard has to be new; what was on its way or waited is not counted.
            self.world.run(s(1));
            self.look();
            for (from, heard) in heard.iter_mut().enumerate() {
                *heard |= self.got(from, first + from as u64);
            }
        }
        self.slowest = self.slowest.max(self.world.now.since(begin));
        // From here on nothing is lost.
        let first = self.sent + 1;
        for _ in 0..20 {
            (0..2).for_each(|from| self.send(from));
            self.world.run(ms(700));
        }
        self.look();
        let lost = (first..=self.sent).filter(|number| !self.got(((number - first) % 2) as usize, *number));
        self.lost_in_peace += lost.count() as u64;
    }

    /// Sometimes nothing happens for long.
    fn rest(&mut self) {
        match self.below(4) {
            0 => {
                self.world.run(s(1200));
                self.look();
                for end in &self.world.ends {
                    assert_eq!(
                        (end.tunnel.poll_timeout(), end.tunnel.activity()),
                        (None, (0, 0)),
                        "the idle cost nothing"
                    );
                }
            }
            1 => {
                let length = s(self.below(600));
                self.world.run(length);
            }
            _ => {}
        }
    }

    fn got(&self, from: usize, number: u64) -> bool {
        self.seen[1 - from].contains(&number)
    }

    /// What must hold at any time.
    fn look(&mut self) {
        for (latest, end) in self.latest.iter_mut().zip(&self.world.ends) {
            *latest = (*latest).max(end.unix);
        }
        for (end, seen) in self.world.ends.iter_mut().zip(&mut self.seen) {
            let (timers, indices) = end.tunnel.activity();
            assert!(timers <= 1 && indices <= 5, "bounded: {timers} timers, {indices} indices");
            assert!(end.events.len() < 10_000);
            end.events.clear();
            for packet in end.received.drain(..) {
                let number = packet.last_chunk().map_or(0, |number| u64::from_be_bytes(*number));
                assert!(seen.insert(number), "packet {number} was delivered twice");
            }
        }
    }
}

#[test]
fn a_week_of_every_fault_ends_each_time_with_talk() {
    let weeks: u64 = std::env::var("WAYLEAVE_WEEKS").map_or(0, |text| text.parse().unwrap());
    let first_seed = if weeks == 0 { 0 } else { u64::from(std::process::id()) * 1000 };
    let lives = (0..weeks.max(7)).map(|nth| (first_seed + nth, if weeks == 0 { DAY } else { 7 * DAY }));
    let (mut slowest, mut sent, mut count) = (Duration::ZERO, 0, 0);
    for (seed, time) in lives.take(if weeks == 0 { 7 } else { weeks as usize }) {
        println!("seed {seed}");
        let mut life = Life::new(seed);
        life.live(time);
        assert_eq!(life.lost_in_peace, 0, "seed {seed}: packets were lost though nothing was wrong");
        slowest = slowest.max(life.slowest);
        sent += life.sent;
        count += 1;
    }
    println!("{count} lives, {sent} packets, the slowest recovery took {slowest:?}");
}
