//! How long lines to neighbours and nodes take and what they carry, in the classes of DN42's communities, damped; pure, and told the time.
//!
//! In: round-trip times as they are measured (`handle_rtt`), and counters of bytes (`handle_bytes`). Out: the classes that are told
//! (`classes`). A class tells a whole network something, and every change of one is told to all of it: so the first is told after a few
//! measurements that agree, another only when the middle one of many has been clearly within it for long, and all changes wait for each
//! other (`poll`).
//!
//! A rate is only measured by filling the line, which is not done for this. What users have sent over it says what it carries at least,
//! and "at least" is what the communities of rates mean. So the best that was seen counts, both ways, for as long as the line is there:
//! an idle line is not a slow one. Below 10 Mbit/s nothing is told, since a low class asks others to stay away, and says no more than
//! that nobody has wanted much.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wayleave_core::names::Name;
use wayleave_core::network::LineClass;

/// The middle one of so many measurements counts.
const SAMPLES: usize = 19;
/// So many make the first.
const SAMPLES_FIRST: usize = 3;
/// How long another class must have been the right one.
const STEADY: Duration = Duration::from_secs(600);
/// Between two changes of what is told.
const APART: Duration = Duration::from_secs(1_800);
/// Mbit/s from which on a rate that was seen is told.
const RATE_TOLD_MIN: f64 = 10.0;
/// In so many intervals it must have been seen: a burst into queues is no rate.
const RATES: usize = 3;
/// Intervals shorter than this say nothing: counters are read now and then.
const RATE_INTERVAL_MIN: Duration = Duration::from_secs(5);

/// How far a time has to be in another class: lines at the border of two would swing between them.
const MARGIN: f64 = 0.1;

/// All lines of a node.
#[derive(Debug, Default)]
pub struct Lines {
    all: BTreeMap<Name, Line>,
    told: BTreeMap<Name, LineClass>,
    changed_at: Option<Duration>,
}

#[derive(Debug, Default)]
struct Line {
    latest_ms: VecDeque<f64>,
    class: Option<u8>,
    /// Another class, and since when it is the right one.
    other: Option<(u8, Duration)>,
    /// Counters when they were last read.
    counted: Option<([u64; 2], Duration)>,
    /// The best rates out and in, in Mbit/s, the best one first.
    best: [Vec<f64>; 2],
}

impl Lines {
    /// A round trip to a neighbour or node.
    pub fn handle_rtt(&mut self, name: &Name, ms: f64, now: Duration) {
        let line = self.all.entry(name.clone()).or_default();
        line.latest_ms.push_back(ms);
        if line.latest_ms.len() > SAMPLES {
            line.latest_ms.pop_front();
        }
        line.judge(now);
    }

    /// What has gone to a neighbour or node and come from it so far, in bytes.
    pub fn handle_bytes(&mut self, name: &Name, counted: [u64; 2], now: Duration) {
        self.all.entry(name.clone()).or_default().count(counted, now);
    }

    /// Forgets all lines but these.
    pub fn keep(&mut self, is_there: impl Fn(&Name) -> bool) {
        self.all.retain(|name, _| is_there(name));
        self.told.retain(|name, _| is_there(name));
    }

    /// Whether what is told changes now.
    pub fn poll(&mut self, now: Duration) -> bool {
        let is_early = self.changed_at.is_some_and(|at| now < at + APART);
        let mut next = self.told.clone();
        for (name, line) in &self.all {
            let Some(latency) = line.class else { continue };
            let class = LineClass { latency: Some(latency), bandwidth: line.bandwidth() };
            match next.get_mut(name) {
                // What is told of for the first time has nothing that could swing.
                Some(told) if is_early => told.bandwidth = told.bandwidth.or(class.bandwidth),
                Some(told) => *told = class,
                None => drop(next.insert(name.clone(), class)),
            }
        }
        if next == self.told {
            return false;
        }
        // First ones don't make others wait any longer.
        if !is_early {
            self.changed_at = Some(now);
        }
        self.told = next;
        true
    }

    /// What is told.
    pub fn classes(&self) -> &BTreeMap<Name, LineClass> {
        &self.told
    }

    /// The middle one of a line's latest round trips.
    pub fn rtt_ms(&self, name: &Name) -> Option<f64> {
        self.all.get(name)?.middle()
    }
}

impl Line {
    fn middle(&self) -> Option<f64> {
        let mut sorted: Vec<f64> = self.latest_ms.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len().saturating_sub(1) / 2).copied()
    }

    fn count(&mut self, counted: [u64; 2], now: Duration) {
        let Some((before, at)) = self.counted else {
            self.counted = Some((counted, now));
            return;
        };
        let took = now.saturating_sub(at);
        // Counters of a device that was made anew begin anew.
        let is_anew = counted.iter().zip(before).any(|(now, before)| *now < before);
        if took < RATE_INTERVAL_MIN && !is_anew {
            return;
        }
        self.counted = Some((counted, now));
        for (best, (counted, before)) in self.best.iter_mut().zip(counted.into_iter().zip(before)).filter(|_| !is_anew)
        {
            best.push((counted - before) as f64 * 8.0 / 1e6 / took.as_secs_f64());
            best.sort_by(|a, b| b.total_cmp(a));
            best.truncate(RATES);
        }
    }

    /// The class of what both ways have carried at least.
    fn bandwidth(&self) -> Option<u8> {
        let seen = |best: &Vec<f64>| best.get(RATES - 1).copied().unwrap_or_default();
        let slower = seen(&self.best[0]).min(seen(&self.best[1]));
        LineClass::new(None, (slower >= RATE_TOLD_MIN).then_some(slower)).bandwidth
    }

    fn judge(&mut self, now: Duration) {
        let Some(middle) = self.middle() else { return };
        let class = |ms: f64| LineClass::new(Some(ms), None).latency.unwrap_or(1);
        let right = class(middle);
        match (self.class, self.other) {
            (None, _) if self.latest_ms.len() >= SAMPLES_FIRST => self.class = Some(right),
            (None, _) => {}
            (Some(told), _) if [1.0 - MARGIN, 1.0, 1.0 + MARGIN].iter().any(|part| class(middle * part) == told) => {
                self.other = None;
            }
            (Some(_), Some((other, since))) if other == right => {
                if now >= since + STEADY {
                    (self.class, self.other) = (Some(right), None);
                }
            }
            (Some(_), _) => self.other = Some((right, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that is measured every ten seconds; when what is told changed, in minutes, and to what.
    fn told(times: impl Iterator<Item = f64>) -> Vec<(u64, u8)> {
        let (mut lines, name, mut changes) = (Lines::default(), Name::new("b").unwrap(), Vec::new());
        for (at, ms) in times.enumerate() {
            let now = Duration::from_secs(at as u64 * 10);
            lines.handle_rtt(&name, ms, now);
            if lines.poll(now) {
                changes.push((now.as_secs() / 60, lines.classes()[&name].latency.unwrap()));
            }
        }
        changes
    }

    #[test]
    fn the_first_class_is_told_at_once_and_another_only_when_it_is_steady() {
        let hour = 360;
        assert_eq!(told(std::iter::repeat_n(12.0, hour)), [(0, 3)]);
        let longer = || std::iter::repeat_n(12.0, hour).chain(std::iter::repeat_n(40.0, hour));
        assert_eq!(told(longer()), [(0, 3), (71, 4)], "ten minutes after most were of another class");
        let back =
            std::iter::repeat_n(12.0, hour).chain(std::iter::repeat_n(40.0, 50)).chain(std::iter::repeat_n(12.0, hour));
        assert_eq!(told(back), [(0, 3)], "eight minutes are no change");
    }

    #[test]
    fn outliers_and_lines_at_a_border_change_nothing() {
        let outliers = (0..1_000).map(|at| if at % 3 == 0 { 900.0 } else { 12.0 });
        assert_eq!(told(outliers), [(0, 3)]);
        // e^3 is 20.1 ms.
        let border = (0..2_000).map(|at| if at / 100 % 2 == 0 { 19.5 } else { 21.0 });
        assert_eq!(told(border), [(0, 3)]);
    }

    #[test]
    fn changes_are_half_an_hour_apart() {
        let swings = (0..4_000).map(|at| if at / 150 % 2 == 0 { 5.0 } else { 100.0 });
        let changes = told(swings);
        assert!(changes.windows(2).all(|pair| pair[1].0 >= pair[0].0 + 30), "{changes:?}");
        assert!(changes.len() > 3, "{changes:?}");
    }

    /// A line over which so many Mbit/s go out and come in, in every interval of ten seconds; what is told of it at the end, and how often
    /// that changed.
    fn carried(rates: impl Iterator<Item = [f64; 2]>) -> (Option<u8>, usize) {
        let (mut lines, name, mut changes, mut bytes) = (Lines::default(), Name::new("b").unwrap(), 0, [0_u64; 2]);
        for (at, rate) in rates.enumerate() {
            let now = Duration::from_secs(at as u64 * 10);
            lines.handle_rtt(&name, 12.0, now);
            lines.handle_bytes(&name, bytes, now);
            changes += usize::from(lines.poll(now));
            for (bytes, rate) in bytes.iter_mut().zip(rate) {
                *bytes += (rate * 1e6 / 8.0 * 10.0) as u64;
            }
        }
        (lines.classes()[&name].bandwidth, changes)
    }

    #[test]
    fn of_a_rate_the_best_that_was_seen_both_ways_is_told_and_idleness_takes_nothing_back() {
        let hour = 360;
        let (idle, busy) = ([0.01, 0.01], [300.0, 120.0]);
        assert_eq!(
            carried(std::iter::repeat_n(idle, hour)),
            (None, 1),
            "nothing is said of a line that nobody has used"
        );
        let day = || {
            std::iter::repeat_n(idle, hour).chain(std::iter::repeat_n(busy, 4)).chain(std::iter::repeat_n(idle, 8_640))
        };
        assert_eq!(carried(day()), (Some(24), 2), "at least 100 Mbit/s both ways");
        assert_eq!(
            carried(std::iter::repeat_n([900.0, 2.0], hour)).0,
            None,
            "the slower way has not shown what it carries"
        );
        let one_way_each = std::iter::repeat_n([900.0, 2.0], hour).chain(std::iter::repeat_n([2.0, 40.0], hour));
        assert_eq!(carried(one_way_each).0, Some(23));
    }

    #[test]
    fn bursts_and_counters_that_begin_anew_are_no_rates_and_changes_wait() {
        let burst = (0..1_000).map(|at| if at == 100 || at == 500 { [5e4, 5e4] } else { [0.0, 0.0] });
        assert_eq!(carried(burst).0, None, "twice is not often enough");
        // It grows and grows: half an hour between changes.
        let grows = (0..720).map(|at| [f64::from(at) * 20.0; 2]);
        let (class, changes) = carried(grows);
        assert!(class == Some(26) && (2..=5).contains(&changes), "{class:?} {changes}");
        let (mut lines, name) = (Lines::default(), Name::new("b").unwrap());
        for (at, counted) in
            [9_000_000_000_u64, 0, 9_000_000_000, 0, 9_000_000_000, 0, 9_000_000_000].iter().enumerate()
        {
            lines.handle_rtt(&name, 12.0, Duration::from_secs(at as u64 * 10));
            lines.handle_bytes(&name, [*counted; 2], Duration::from_secs(at as u64 * 10));
        }
        assert!(lines.poll(Duration::from_secs(70)));
        assert_eq!(lines.classes()[&name].bandwidth, Some(25), "what was counted after each beginning counts");
    }

    #[test]
    fn what_is_known_for_the_first_time_does_not_wait_and_lets_nothing_else_through() {
        let (mut lines, old, new) = (Lines::default(), Name::new("old").unwrap(), Name::new("new").unwrap());
        let mut changes = Vec::new();
        for at in 0..240 {
            let now = Duration::from_secs(at * 10);
            // Clearly slower from the beginning of the fifth minute on.
            lines.handle_rtt(&old, if at < 30 { 12.0 } else { 40.0 }, now);
            let bytes = if at < 60 { 0 } else { (at - 60) * 50_000_000 };
            lines.handle_bytes(&old, [bytes; 2], now);
            if at > 120 {
                lines.handle_rtt(&new, 5.0, now);
            }
            if lines.poll(now) {
                let class = |name| lines.classes().get(name).map(|class: &LineClass| (class.latency, class.bandwidth));
                changes.push((at / 6, class(&old), class(&new)));
            }
        }
        let (slow, fast) = ((Some(4), Some(23)), (Some(2), None));
        let told = [
            (0, Some((Some(3), None)), None),
            (10, Some((Some(3), Some(23))), None),
            (20, Some((Some(3), Some(23))), Some(fast)),
            (30, Some(slow), Some(fast)),
        ];
        assert_eq!(changes, told);
    }

    #[test]
    fn who_is_gone_is_told_of_no_more() {
        let (mut lines, name) = (Lines::default(), Name::new("b").unwrap());
        for at in 0..5 {
            lines.handle_rtt(&name, 5.0, Duration::from_secs(at));
        }
        assert!(lines.poll(Duration::from_secs(5)) && lines.classes().len() == 1);
        lines.keep(|_| false);
        assert!(lines.classes().is_empty() && lines.rtt_ms(&name).is_none());
    }
}
