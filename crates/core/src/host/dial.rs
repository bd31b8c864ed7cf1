//! At which of its addresses a peer is dialled.
//!
//! WireGuard has one endpoint for each peer, so several are tried one after the other: each for two attempts at a handshake,
//! in the order of the plan (private networks before public ones), round and round until one is answered. That one stays as
//! long as the peer answers; a peer that has been silent is begun with the first again. Meanwhile all of them are asked for
//! an echo at once: those that answer have their turn before those that don't, and need not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Resolved;
use crate::names::Name;

/// How long each address is tried: WireGuard repeats an initiation after five seconds.
const TRY: Duration = Duration::from_secs(10);

/// The addresses of all peers that are dialled.
#[derive(Debug, Default)]
pub struct Dialler(BTreeMap<Name, Dial>);

#[derive(Debug)]
struct Dial {
    /// In the order of the plan.
    planned: Vec<SocketAddr>,
    /// In the order of their turns.
    candidates: Vec<SocketAddr>,
    at: usize,
    since: Duration,
    was_live: bool,
}

impl Dialler {
    /// Sets the addresses of each peer, in the order of preference. What is being dialled stays, if it is still among them.
    /// `now` is any clock's time that never goes back.
    pub fn set(&mut self, now: Duration, peers: impl Iterator<Item = (Name, Vec<SocketAddr>)>) {
        let mut old = std::mem::take(&mut self.0);
        for (name, candidates) in peers.filter(|(_, candidates)| !candidates.is_empty()) {
            let fresh = Dial { planned: Vec::new(), candidates: Vec::new(), at: 0, since: now, was_live: false };
            let mut dial = old.remove(&name).unwrap_or(fresh);
            if dial.planned != candidates {
                dial.planned.clone_from(&candidates);
                if !dial.line_up(candidates) {
                    dial.since = now;
                }
            }
            self.0.insert(name, dial);
        }
    }

    /// Goes on to the next address of each peer that has not answered for long enough. Whether any is dialled elsewhere now.
    pub fn advance(&mut self, now: Duration, is_live: impl Fn(&Name) -> bool) -> bool {
        let mut is_changed = false;
        for (name, dial) in &mut self.0 {
            let before = dial.at;
            if is_live(name) {
                (dial.since, dial.was_live) = (now, true);
            } else if dial.was_live {
                (dial.at, dial.since, dial.was_live) = (0, now, false);
            } else if now.saturating_sub(dial.since) >= TRY {
                dial.at = (dial.at + 1) % dial.candidates.len();
                dial.since = now;
            }
            is_changed |= dial.at != before;
        }
        is_changed
    }

    /// The addresses of peers that don't answer and have several: those to be asked for an echo.
    pub fn contested(&self, is_live: impl Fn(&Name) -> bool) -> BTreeSet<IpAddr> {
        let open = self.0.iter().filter(|(name, dial)| dial.planned.len() > 1 && !is_live(name));
        open.flat_map(|(_, dial)| dial.planned.iter().map(SocketAddr::ip)).collect()
    }

    /// Some of the addresses that were asked have answered. Peers that are being dialled at one that has not go on to the first
    /// that has; those are returned, with where they are dialled now.
    pub fn hear(
        &mut self,
        now: Duration,
        answering: &BTreeSet<IpAddr>,
        is_live: impl Fn(&Name) -> bool,
    ) -> Vec<(Name, SocketAddr)> {
        let mut moved = Vec::new();
        for (name, dial) in self.0.iter_mut().filter(|(name, _)| !is_live(name)) {
            let answers = |candidate: &SocketAddr| answering.contains(&candidate.ip());
            let before = dial.candidates[dial.at];
            let mut candidates = dial.planned.clone();
            candidates.sort_by_key(|candidate| !answers(candidate));
            dial.line_up(candidates);
            if !answers(&before) && answers(&dial.candidates[0]) {
                (dial.at, dial.since) = (0, now);
                moved.push((name.clone(), dial.candidates[0]));
            }
        }
        moved
    }

    /// The addresses of a peer, in the order of preference.
    pub fn planned(&self, name: &Name) -> &[SocketAddr] {
        self.0.get(name).map_or(&[], |dial| &dial.planned)
    }

    /// A peer is dialled at this one of its addresses from now on, since whoever watches it has said so.
    pub fn choose(&mut self, name: &Name, address: SocketAddr, now: Duration) {
        let Some(dial) = self.0.get_mut(name) else { return };
        if let Some(at) = dial.candidates.iter().position(|candidate| *candidate == address) {
            (dial.at, dial.since) = (at, now);
        }
    }

    /// Where each peer is to be dialled now.
    pub fn chosen(&self) -> Resolved {
        self.0.iter().map(|(name, dial)| (name.clone(), dial.candidates[dial.at])).collect()
    }
}

impl Dial {
    /// Takes the addresses in a new order; what is being dialled stays, if it is among them. Whether it is.
    fn line_up(&mut self, candidates: Vec<SocketAddr>) -> bool {
        let chosen = self.candidates.get(self.at);
        let at = chosen.and_then(|chosen| candidates.iter().position(|candidate| candidate == chosen));
        self.at = at.unwrap_or(0);
        self.candidates = candidates;
        at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name::new("b").expect("it is one")
    }

    fn addresses(last: &[u8]) -> Vec<SocketAddr> {
        last.iter().map(|last| SocketAddr::from(([192, 0, 2, *last], 51820))).collect()
    }

    fn chosen(dialler: &Dialler) -> String {
        dialler.chosen().get(&name()).map(ToString::to_string).unwrap_or_default()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn whoever_watches_a_peer_chooses_among_its_addresses() {
        let mut dialler = Dialler::default();
        dialler.set(at(0), [(name(), addresses(&[1, 2]))].into_iter());
        assert_eq!(dialler.planned(&name()), addresses(&[1, 2]));
        dialler.choose(&name(), addresses(&[2])[0], at(8));
        assert_eq!(chosen(&dialler), "192.0.2.2:51820");
        dialler.advance(at(15), |_| false);
        assert_eq!(chosen(&dialler), "192.0.2.2:51820", "it has its time from then on");
        dialler.choose(&name(), addresses(&[3])[0], at(16));
        assert_eq!(chosen(&dialler), "192.0.2.2:51820", "no such address");
    }

    #[test]
    fn addresses_are_tried_in_turn_until_one_answers_and_that_one_stays() {
        let mut dialler = Dialler::default();
        dialler.set(at(0), [(name(), addresses(&[1, 2]))].into_iter());
        dialler.advance(at(9), |_| false);
        assert_eq!(chosen(&dialler), "192.0.2.1:51820");
        dialler.advance(at(10), |_| false);
        assert_eq!(chosen(&dialler), "192.0.2.2:51820");
        for second in 11..500 {
            dialler.advance(at(second), |_| true);
        }
        assert_eq!(chosen(&dialler), "192.0.2.2:51820");
        dialler.advance(at(500), |_| false);
        assert_eq!(chosen(&dialler), "192.0.2.1:51820", "after silence the preferred one is tried first");
        dialler.advance(at(510), |_| false);
        dialler.advance(at(520), |_| false);
        assert_eq!(chosen(&dialler), "192.0.2.1:51820", "round and round");
    }

    #[test]
    fn an_address_that_answers_an_echo_need_not_wait_for_its_turn() {
        let mut dialler = Dialler::default();
        dialler.set(at(0), [(name(), addresses(&[1, 2, 3]))].into_iter());
        assert_eq!(dialler.contested(|_| false).len(), 3);
        assert_eq!(dialler.contested(|_| true).len(), 0);
        let answering = [IpAddr::from([192, 0, 2, 3])].into();
        assert_eq!(dialler.hear(at(1), &answering, |_| true), []);
        assert_eq!(dialler.hear(at(1), &answering, |_| false), [(name(), addresses(&[3])[0])]);
        let mut turns = Vec::new();
        for second in [11, 21, 31] {
            dialler.advance(at(second), |_| false);
            turns.push(chosen(&dialler));
        }
        // Whoever answers no echo may answer a handshake all the same.
        assert_eq!(turns, ["192.0.2.1:51820", "192.0.2.2:51820", "192.0.2.3:51820"]);
        let both = [IpAddr::from([192, 0, 2, 2]), IpAddr::from([192, 0, 2, 3])].into();
        assert_eq!(dialler.hear(at(32), &both, |_| false), [], "what answers is not left for what answers, too");
    }

    #[test]
    fn new_addresses_leave_the_dialled_one_if_it_is_among_them() {
        let mut dialler = Dialler::default();
        dialler.set(at(0), [(name(), addresses(&[1, 2]))].into_iter());
        dialler.advance(at(10), |_| false);
        dialler.set(at(11), [(name(), addresses(&[3, 2]))].into_iter());
        assert_eq!(chosen(&dialler), "192.0.2.2:51820");
        dialler.set(at(12), [(name(), addresses(&[4]))].into_iter());
        assert_eq!(chosen(&dialler), "192.0.2.4:51820");
        dialler.set(at(13), [(name(), Vec::new())].into_iter());
        assert_eq!(chosen(&dialler), "", "a peer without address is not dialled");
    }
}
