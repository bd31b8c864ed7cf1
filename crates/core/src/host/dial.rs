//! At which of its addresses a peer is dialled.
//!
//! WireGuard has one endpoint for each peer, so several are tried one after the other: each for two attempts at a handshake,
//! in the order of the plan (private networks before public ones), round and round until one is answered. That one stays as
//! long as the peer answers; a peer that has been silent is begun with the first again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
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
            let fresh = Dial { candidates: Vec::new(), at: 0, since: now, was_live: false };
            let mut dial = old.remove(&name).unwrap_or(fresh);
            let chosen = dial.candidates.get(dial.at);
            match chosen.and_then(|chosen| candidates.iter().position(|candidate| candidate == chosen)) {
                Some(at) => dial.at = at,
                None => (dial.at, dial.since) = (0, now),
            }
            dial.candidates = candidates;
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

    /// Where each peer is to be dialled now.
    pub fn chosen(&self) -> Resolved {
        self.0.iter().map(|(name, dial)| (name.clone(), dial.candidates[dial.at])).collect()
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
