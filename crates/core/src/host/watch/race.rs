//! Which of a silent server's endpoints is dialled next.
//!
//! All endpoints are asked at once whether they live, in whatever way the caller has; the first that says so is dialled first, then
//! the others in the order of their answers. What has said nothing takes its turn after them, since who answers no such
//! question may answer a handshake all the same: the one that was dialled before comes first, by another port. When all have been
//! dialled the next round begins.
//!
//! In: who has answered. Out: the next endpoint. Whether the one dialled answers is somebody else's business.

use std::collections::BTreeSet;

/// The endpoints of one server.
#[derive(Debug, Clone)]
pub struct Race {
    count: usize,
    /// The one that is dialled.
    at: usize,
    /// Who has answered the latest question, in that order.
    answered: Vec<usize>,
    /// Who has been dialled in this round.
    tried: BTreeSet<usize>,
    rounds: u32,
}

impl Race {
    /// So many endpoints, of which the first is dialled.
    pub fn new(count: usize) -> Race {
        Race { count: count.max(1), at: 0, answered: Vec::new(), tried: BTreeSet::new(), rounds: 0 }
    }

    /// Whether there is anything to be raced.
    pub fn has_several(&self) -> bool {
        self.count > 1
    }

    /// All are asked again.
    pub fn begin(&mut self) {
        self.answered.clear();
    }

    /// One has answered. Says whether it should be dialled, since that has not been done in this round.
    pub fn handle_answer(&mut self, endpoint: usize) -> bool {
        if endpoint >= self.count || self.answered.contains(&endpoint) {
            return false;
        }
        self.answered.push(endpoint);
        !self.tried.contains(&endpoint)
    }

    /// The one that is dialled answers.
    pub fn end(&mut self) {
        (self.rounds, self.tried, self.answered) = (0, BTreeSet::new(), Vec::new());
    }

    /// How often all have been dialled in vain.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// The next to be dialled.
    pub fn next(&mut self) -> usize {
        if self.tried.len() >= self.count {
            self.tried.clear();
            self.rounds = self.rounds.saturating_add(1);
            // Who has answered and then not been heard is no better than the others until it answers anew.
            self.answered.clear();
            self.at = (self.at + 1) % self.count;
        }
        let turns = (0..self.count).map(|steps| (self.at + steps) % self.count);
        let next = self.answered.iter().copied().chain(turns).find(|at| !self.tried.contains(at));
        self.at = next.unwrap_or(self.at);
        self.tried.insert(self.at);
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(race: &mut Race, count: usize) -> Vec<usize> {
        (0..count).map(|_| race.next()).collect()
    }

    #[test]
    fn who_answers_first_is_dialled_first_and_then_the_others_in_turn() {
        let mut race = Race::new(4);
        assert!(race.handle_answer(2) && race.handle_answer(1));
        assert_eq!(next(&mut race, 4), [2, 1, 3, 0]);
    }

    #[test]
    fn without_answers_they_take_turns_from_the_one_that_was_dialled() {
        let mut race = Race::new(3);
        assert_eq!(next(&mut race, 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(race.rounds(), 2);
        race.end();
        assert_eq!((race.rounds(), next(&mut race, 3)), (0, vec![0, 1, 2]));
    }

    #[test]
    fn an_answer_in_the_middle_of_a_round_goes_before_turns_but_nobody_is_dialled_twice_in_it() {
        let mut race = Race::new(4);
        assert_eq!(race.next(), 0);
        assert!(!race.handle_answer(0), "it was dialled, and is not heard");
        assert!(race.handle_answer(3));
        assert!(!race.handle_answer(3) && !race.handle_answer(4), "once, and only who there is");
        assert_eq!(next(&mut race, 3), [3, 1, 2]);
    }

    #[test]
    fn one_that_answers_and_is_not_heard_keeps_nobody_from_the_others() {
        let mut race = Race::new(3);
        for _ in 0..10 {
            race.begin();
            race.handle_answer(1);
            let mut round = next(&mut race, 3);
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2]);
        }
    }
}
