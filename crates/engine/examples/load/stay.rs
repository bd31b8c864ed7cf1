//! Clients that go nowhere, whatever becomes of their server: each pings through its tunnel all the time, and it is counted for how
//! long it went without an answer.
//!
//! They dial one address, and are behind a load balancer that pins them to it: some of them, and behind a NAT that lets in nothing but
//! answers, hear nobody else. A line on the standard input says that what is to be watched begins.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::clients::Crowd;
use crate::{Options, print_percentiles};

/// New clients in a second, at the beginning.
const COME_PER_S: u32 = 250;
/// Echoes that nobody answers at first: of those who have only just come.
const SETTLE: Duration = Duration::from_secs(3);

pub fn run(options: &Options) {
    let server = options.text("server").parse().unwrap();
    let (rate, seconds) = (options.number("rate", 5_000), options.number("seconds", 10));
    let mut crowd = Crowd::new(options, server);
    let begin = Instant::now();
    for at in 0..crowd.count() {
        crowd.dial(at, server);
        crowd.turn_until(begin + Duration::from_secs(1) * at as u32 / COME_PER_S);
    }
    crowd.turn_until(Instant::now() + SETTLE);
    println!("came {}", (0..crowd.count()).filter(|at| crowd.latest(*at).is_some()).count());
    let go = std::thread::spawn(|| std::io::stdin().read_line(&mut String::new()));
    let mut talk = Talk { begin: Instant::now(), rate, due: 0 };
    talk.go_on(&mut crowd, || !go.is_finished());
    crowd.watch();
    println!("watching");
    let end = Instant::now() + Duration::from_secs(seconds.into());
    talk.go_on(&mut crowd, || Instant::now() < end);
    report(&mut crowd);
}

/// Pings, one client after the other, at a rate together.
struct Talk {
    begin: Instant,
    rate: u32,
    due: usize,
}

impl Talk {
    fn go_on(&mut self, crowd: &mut Crowd, goes_on: impl Fn() -> bool) {
        while goes_on() {
            let wanted = (self.begin.elapsed().as_secs_f64() * f64::from(self.rate)) as usize;
            for nth in self.due..wanted {
                crowd.ping(nth % crowd.count());
            }
            self.due = self.due.max(wanted);
            crowd.turn_until(Instant::now() + Duration::from_millis(1));
        }
    }
}

fn report(crowd: &mut Crowd) {
    let (asked, answered) = crowd.echoes();
    println!("echoes {asked}");
    println!("echoes_lost {}", asked.saturating_sub(answered as u64));
    let watched = crowd.watched();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (_, _, place) in &watched {
        *places.entry(place.map_or("nowhere".to_owned(), |place| place.to_string())).or_default() += 1;
    }
    for (name, is_closed) in [("silence_open_ms", false), ("silence_closed_ms", true)] {
        let of = watched.iter().filter(|(_, closed, _)| *closed == is_closed);
        let mut ms: Vec<f64> = of.map(|(silence, ..)| silence.as_secs_f64() * 1e3).collect();
        print_percentiles(name, &mut ms);
    }
    places.iter().for_each(|(place, count)| println!("place {place} {count}"));
}
