//! Both halves of a neighbour, its device and its session, come, change and go together or not at all; pure, and told the time.
//!
//! In: what the plan wants of BGP (`handle_wanted`), how BIRD stands to it (`handle_standing`), whether the host could be brought to
//! it (`handle_host`). Out: what the host is to have meanwhile (`host`), and what BIRD is to be told ([`Next`]). BIRD judges a text
//! before anything is changed; then the host gets what is new beside what is old; then BIRD takes the text over; then what is old
//! goes. Whoever refuses on the way, both halves stay as they were. States: *agreed*, *judging*, *making*, *telling*, *refused*
//! (until the file changes, or an administrator has mended what is theirs), *waiting* (the host refuses something, and is tried again).

use std::time::Duration;

use wayleave_core::names::Name;
use wayleave_core::plan::{BgpPlan, NeighbourPlan};

use super::supervisor::Standing;

/// Between tries at a host that refuses.
const RETRY: Duration = Duration::from_secs(60);

/// What BIRD is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// To judge what is wanted.
    Consider,
    /// To take it over.
    Want,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Agreed,
    Judging,
    Making,
    Telling,
    Refused,
    Waiting { until: Duration },
}

/// Keeps them together.
#[derive(Debug)]
pub struct Halves {
    /// What the host has and BIRD was told last.
    agreed: Option<BgpPlan>,
    wanted: Option<BgpPlan>,
    stage: Stage,
}

impl Default for Halves {
    fn default() -> Self {
        Halves::new(None)
    }
}

impl Halves {
    /// With what a predecessor has left on the host.
    pub fn new(agreed: Option<BgpPlan>) -> Halves {
        Halves { wanted: agreed.clone(), agreed, stage: Stage::Agreed }
    }

    /// What is wanted from here on; whether BIRD's text for it is another than before.
    pub fn handle_wanted(&mut self, plan: Option<&BgpPlan>, is_text_new: bool) -> Option<Next> {
        if self.wanted.as_ref() == plan && !is_text_new {
            // Whoever says the same again has mended something, and does not want to wait.
            if let Stage::Waiting { until } = &mut self.stage {
                *until = Duration::ZERO;
            }
            return None;
        }
        self.wanted = plan.cloned();
        // Nothing is there to be judged where nothing is wanted.
        let (stage, next) = match plan {
            Some(_) => (Stage::Judging, Next::Consider),
            None => (Stage::Telling, Next::Want),
        };
        self.stage = stage;
        Some(next)
    }

    /// How BIRD stands to what it was told last; whether that changes what the host is to have.
    pub fn handle_standing(&mut self, standing: Standing) -> bool {
        match (self.stage, standing) {
            // A text that is in force already needs no judgement: something else of the plan has changed.
            // An administrator's that has refused may have been mended by them.
            (Stage::Judging | Stage::Refused, Standing::Judged | Standing::InForce) if self.wanted.is_some() => {
                self.stage = Stage::Making;
            }
            (Stage::Judging | Stage::Telling, Standing::Refused) => self.stage = Stage::Refused,
            (Stage::Telling, Standing::InForce | Standing::Ended) | (Stage::Refused, Standing::Ended) => {
                (self.agreed, self.stage) = (self.wanted.clone(), Stage::Agreed);
            }
            _ => return false,
        }
        true
    }

    /// Whether the host was brought to what [`Halves::host`] says.
    pub fn handle_host(&mut self, is_done: bool, now: Duration) -> Option<Next> {
        match (self.stage, is_done) {
            (Stage::Making, true) => {
                self.stage = Stage::Telling;
                Some(Next::Want)
            }
            (Stage::Making, false) => {
                self.stage = Stage::Waiting { until: now + RETRY };
                None
            }
            _ => None,
        }
    }

    /// Whether the host is to be tried again, which changes what it is to have.
    pub fn handle_time(&mut self, now: Duration) -> bool {
        let is_time = matches!(self.stage, Stage::Waiting { until } if now >= until);
        if is_time {
            self.stage = Stage::Making;
        }
        is_time
    }

    /// When that is.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.stage {
            Stage::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// What the host is to have for now. Only neighbours wait for BIRD.
    pub fn host(&self) -> Option<BgpPlan> {
        let (Some(wanted), false) = (&self.wanted, self.stage == Stage::Agreed) else {
            return if self.stage == Stage::Agreed { self.wanted.clone() } else { self.agreed.clone() };
        };
        let old = self.agreed.as_ref().map_or(&[][..], |agreed| &agreed.neighbours);
        let is_coming = matches!(self.stage, Stage::Making | Stage::Telling);
        let mut neighbours: Vec<NeighbourPlan> = if is_coming { wanted.neighbours.clone() } else { Vec::new() };
        // What goes stays until BIRD has let go of it, unless what comes takes its place.
        let is_replaced = |old: &NeighbourPlan, all: &[NeighbourPlan]| {
            all.iter().any(|new| new.name == old.name || new.device == old.device || new.port == old.port)
        };
        let staying: Vec<_> = old.iter().filter(|old| !is_replaced(old, &neighbours)).cloned().collect();
        neighbours.extend(staying);
        neighbours.sort_by(|a, b| a.name.cmp(&b.name));
        Some(BgpPlan { neighbours, ..wanted.clone() })
    }

    /// The neighbours that are not as the network file says, once somebody has refused that.
    pub fn held(&self) -> Vec<&Name> {
        if !matches!(self.stage, Stage::Refused | Stage::Waiting { .. }) {
            return Vec::new();
        }
        let of = |plan: &Option<BgpPlan>, name: &Name| -> Option<NeighbourPlan> {
            plan.iter().flat_map(|plan| &plan.neighbours).find(|neighbour| neighbour.name == *name).cloned()
        };
        let all = [&self.agreed, &self.wanted].into_iter().flatten().flat_map(|plan| &plan.neighbours);
        let mut names: Vec<&Name> = all.map(|neighbour| &neighbour.name).collect();
        names.sort();
        names.dedup();
        names.retain(|name| of(&self.agreed, name) != of(&self.wanted, name));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan with these neighbours: a name and a port, from which all else follows.
    fn plan(neighbours: &[(&str, u16)]) -> BgpPlan {
        let list: Vec<serde_json::Value> = neighbours.iter().map(|(name, port)| neighbour(name, *port)).collect();
        serde_json::from_value(serde_json::json!({
            "asn": 64512, "router_id": "10.0.0.1", "table": 50000, "mark": 50000, "service_addresses": [], "sources": [],
            "own": [], "roa": {"files": [null, null], "servers": []}, "is_reflector": false, "nodes": [], "speakers": [],
            "planned": [], "announced": [], "claims": null,
            "neighbours": list, "is_guarded": true,
        }))
        .unwrap()
    }

    fn neighbour(name: &str, port: u16) -> serde_json::Value {
        serde_json::json!({
            "name": name, "asn": 64513, "device": format!("wgn-{name}"), "port": port, "mtu": 1420,
            "public_key": "P1FrJ1IpHCFX3Tk/4aFxbrCbD4VDefwHaieVWDWoXx0=", "endpoint": null, "keepalive_s": null,
            "own_addresses": [], "addresses": [], "sessions": "v4", "accept": [], "max_prefixes": 1, "export": "own",
            "line": {"latency": null, "bandwidth": null},
        })
    }

    fn has(halves: &Halves) -> String {
        let list: Vec<String> = halves
            .host()
            .iter()
            .flat_map(|plan| &plan.neighbours)
            .map(|neighbour| format!("{}:{}", neighbour.name, neighbour.port))
            .collect();
        list.join(" ")
    }

    const NOW: Duration = Duration::from_secs(100);

    /// Halves that are at one plan, and are told to come to another.
    fn on_the_way(from: &[(&str, u16)], to: &[(&str, u16)]) -> Halves {
        let mut halves = Halves::new(Some(plan(from)));
        assert_eq!(halves.handle_wanted(Some(&plan(to)), true), Some(Next::Consider));
        halves
    }

    #[test]
    fn what_comes_is_there_before_bird_is_told_and_what_goes_until_bird_has_let_go() {
        let mut halves = on_the_way(&[("a", 1), ("b", 2)], &[("b", 2), ("c", 3)]);
        assert_eq!(has(&halves), "a:1 b:2", "nothing is changed before BIRD has judged");
        assert!(!halves.handle_standing(Standing::Judging) && halves.handle_standing(Standing::Judged));
        assert_eq!(has(&halves), "a:1 b:2 c:3");
        assert_eq!(halves.handle_host(true, NOW), Some(Next::Want));
        assert!(!halves.handle_standing(Standing::UnderWay));
        assert_eq!(has(&halves), "a:1 b:2 c:3");
        assert!(halves.handle_standing(Standing::InForce));
        assert_eq!(has(&halves), "b:2 c:3");
        assert_eq!(halves.handle_host(true, NOW), None);
        assert!(halves.held().is_empty());
    }

    #[test]
    fn whoever_refuses_and_whenever_both_halves_stay_as_they_were() {
        let (from, to) = (&[("a", 1), ("b", 2)], &[("b", 7), ("c", 3)]);
        let judged = |halves: &mut Halves| assert!(halves.handle_standing(Standing::Judged));
        let made = |halves: &mut Halves| assert_eq!(halves.handle_host(true, NOW), Some(Next::Want));
        type Fails<'a> = &'a dyn Fn(&mut Halves);
        let steps: [(&str, Fails<'_>); 3] = [
            ("BIRD refuses to judge it well", &|halves| assert!(halves.handle_standing(Standing::Refused))),
            ("the host refuses a device", &|halves| {
                judged(halves);
                assert_eq!(halves.handle_host(false, NOW), None, "BIRD is not told");
            }),
            ("BIRD refuses to take it over", &|halves| {
                judged(halves);
                made(halves);
                assert!(halves.handle_standing(Standing::Refused));
            }),
        ];
        for (step, fails) in steps {
            let mut halves = on_the_way(from, to);
            fails(&mut halves);
            assert_eq!(has(&halves), "a:1 b:2", "{step}");
            let held: Vec<&str> = halves.held().into_iter().map(Name::as_str).collect();
            assert_eq!(held, ["a", "b", "c"], "{step}: one stays, one is as before, one does not come");
            // And a file that is good again brings them together.
            assert_eq!(halves.handle_wanted(Some(&plan(from)), true), Some(Next::Consider), "{step}");
            judged(&mut halves);
            made(&mut halves);
            assert!(halves.handle_standing(Standing::InForce) && halves.held().is_empty(), "{step}");
            assert_eq!(has(&halves), "a:1 b:2", "{step}");
        }
    }

    #[test]
    fn a_host_that_refuses_is_tried_again_and_bird_is_told_when_it_yields() {
        let mut halves = on_the_way(&[], &[("c", 3)]);
        halves.handle_standing(Standing::Judged);
        halves.handle_host(false, NOW);
        assert_eq!((halves.poll_timeout(), has(&halves).as_str()), (Some(NOW + RETRY), ""));
        assert!(!halves.handle_time(NOW) && halves.handle_time(NOW + RETRY));
        halves.handle_host(false, NOW);
        assert_eq!(halves.handle_wanted(Some(&plan(&[("c", 3)])), false), None);
        assert!(halves.handle_time(NOW), "the file is read again");
        assert_eq!((has(&halves).as_str(), halves.handle_host(true, NOW)), ("c:3", Some(Next::Want)));
    }

    #[test]
    fn the_last_ones_go_when_bird_has_ended() {
        let mut halves = Halves::new(Some(plan(&[("a", 1)])));
        assert_eq!(halves.handle_wanted(None, true), Some(Next::Want));
        assert_eq!(has(&halves), "a:1");
        assert!(!halves.handle_standing(Standing::UnderWay) && halves.handle_standing(Standing::Ended));
        assert_eq!(halves.host(), None);
    }

    #[test]
    fn who_takes_anothers_port_or_device_takes_its_place() {
        let mut halves = on_the_way(&[("a", 1)], &[("renamed", 1)]);
        halves.handle_standing(Standing::Judged);
        assert_eq!(has(&halves), "renamed:1");
    }

    #[test]
    fn what_bird_is_not_told_of_changes_the_device_all_the_same() {
        let mut halves = Halves::new(Some(plan(&[("a", 1)])));
        assert_eq!(halves.handle_wanted(Some(&plan(&[("a", 1)])), false), None);
        assert_eq!(halves.handle_wanted(Some(&plan(&[("a", 5)])), false), Some(Next::Consider));
        assert!(halves.handle_standing(Standing::InForce));
        assert_eq!((has(&halves).as_str(), halves.handle_host(true, NOW)), ("a:5", Some(Next::Want)));
    }
}
