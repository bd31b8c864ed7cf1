//! Whose processor time it was: threads of this process by number and name, and the whole machine.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Failure;

/// Shares of one processor over a time.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Both engines, all their threads.
    pub engines: f64,
    /// The wire's thread.
    pub wire: f64,
    /// The whole machine, other programs on it included.
    pub all: f64,
    /// How many processors it has.
    pub processors: usize,
}

impl Usage {
    /// Waits for `time` and says who used the processors meanwhile.
    pub fn over(time: Duration, engines: [&BTreeSet<u32>; 2]) -> Result<Usage, Failure> {
        let engines: BTreeSet<u32> = engines.into_iter().flatten().copied().collect();
        let start = Instant::now();
        let before = Ticks::now(&engines)?;
        std::thread::sleep(time);
        let after = Ticks::now(&engines)?;
        let ticks = start.elapsed().as_secs_f64() * TICKS_PER_S;
        let share = |before: u64, after: u64| (after - before) as f64 / ticks;
        Ok(Usage {
            engines: share(before.engines, after.engines),
            wire: share(before.wire, after.wire),
            all: share(before.all, after.all),
            processors: std::thread::available_parallelism()?.get(),
        })
    }
}

/// `USER_HZ`, 100 on every architecture that Linux still has but one.
const TICKS_PER_S: f64 = 100.0;

struct Ticks {
    engines: u64,
    wire: u64,
    all: u64,
}

impl Ticks {
    fn now(engines: &BTreeSet<u32>) -> Result<Ticks, Failure> {
        let mut ticks = Ticks { engines: 0, wire: 0, all: 0 };
        for thread in threads()? {
            // A thread may have ended since the folder was read.
            let Ok(stat) = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")) else { continue };
            // The name stands in parentheses and may hold anything; 11 fields after it come user and system time.
            let Some((name, fields)) = stat.rsplit_once(')') else { continue };
            let used: u64 =
                fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
            if engines.contains(&thread) {
                ticks.engines += used;
            } else if name.ends_with("(wire") {
                ticks.wire += used;
            }
        }
        // user nice system idle iowait irq softirq steal
        let stat = std::fs::read_to_string("/proc/stat")?;
        let fields = stat.lines().next().unwrap_or("").split_whitespace().skip(1).take(8);
        let idle = [3, 4];
        ticks.all = fields
            .enumerate()
            .filter(|(at, _)| !idle.contains(at))
            .filter_map(|(_, field)| field.parse::<u64>().ok())
            .sum();
        Ok(ticks)
    }
}

/// This process's threads.
pub fn threads() -> Result<BTreeSet<u32>, Failure> {
    let names = std::fs::read_dir("/proc/self/task")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}
