//! How long lines to neighbours and nodes take, in the classes of DN42's communities, damped; pure, and told the time.
//!
//! In: round-trip times as they are measured (`handle_rtt`). Out: the classes that are told (`classes`). A class tells a whole network
//! something, and every change of one is told to all of it: so the first is told after a few measurements that agree, another only
//! when the middle one of many has been clearly within it for long, and all changes wait for each other (`poll`).

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

    /// Forgets all lines but these.
    pub fn keep(&mut self, is_there: impl Fn(&Name) -> bool) {
        self.all.retain(|name, _| is_there(name));
        self.told.retain(|name, _| is_there(name));
    }

    /// Whether what is told changes now.
    pub fn poll(&mut self, now: Duration) -> bool {
        let class = |line: &Line| Some(LineClass { latency: Some(line.class?), bandwidth: None });
        let classes: BTreeMap<Name, LineClass> =
            self.all.iter().filter_map(|(name, line)| Some((name.clone(), class(line)?))).collect();
        let is_early = self.changed_at.is_some_and(|at| now < at + APART);
        // A line that is new has nothing that could swing.
        let is_first = classes.keys().any(|name| !self.told.contains_key(name));
        if classes == self.told || (is_early && !is_first) {
            return false;
        }
        (self.told, self.changed_at) = (classes, Some(now));
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
