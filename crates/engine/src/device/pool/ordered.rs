//! A lane: jobs that several threads do at once, and that leave it one after another in the order in which they came.
//!
//! A job is pushed, begun by whoever is free ([`Ordered::begin`]), put back when it is done ([`Ordered::end`]), and leaves when all
//! before it have left ([`Ordered::leave`]). What follows the leaving (sending, writing) has an order too, so a job counts as
//! being in the lane until [`Ordered::left`], and no other leaves before. No lock and no thread here: the owner has these.

use std::collections::VecDeque;

/// A lane of jobs.
#[derive(Debug)]
pub struct Ordered<J> {
    places: VecDeque<Place<J>>,
    /// The number of the first place: how many have begun to leave.
    first: u64,
    /// The number of the first job that nobody has begun.
    next: u64,
    /// A job is leaving.
    leaving: bool,
}

#[derive(Debug)]
enum Place<J> {
    Waiting(J),
    Begun,
    Done(J),
}

impl<J> Default for Ordered<J> {
    fn default() -> Ordered<J> {
        Ordered { places: VecDeque::new(), first: 0, next: 0, leaving: false }
    }
}

impl<J> Ordered<J> {
    /// A job comes.
    pub fn push(&mut self, job: J) {
        self.places.push_back(Place::Waiting(job));
    }

    /// Takes the oldest job that nobody has begun, and its number, for [`Ordered::end`].
    pub fn begin(&mut self) -> Option<(u64, J)> {
        let place = self.place(self.next)?;
        match std::mem::replace(place, Place::Begun) {
            Place::Waiting(job) => {
                self.next += 1;
                Some((self.next - 1, job))
            }
            // Only what waits is at `next`.
            other => {
                *place = other;
                None
            }
        }
    }

    /// Puts back a job that is done.
    pub fn end(&mut self, number: u64, job: J) {
        if let Some(place) = self.place(number) {
            *place = Place::Done(job);
        }
    }

    /// Whether a job can leave.
    pub fn can_leave(&self) -> bool {
        !self.leaving && matches!(self.places.front(), Some(Place::Done(_)))
    }

    /// Takes the oldest job, if it is done and no other is leaving. [`Ordered::left`] must follow.
    pub fn leave(&mut self) -> Option<J> {
        if !self.can_leave() {
            return None;
        }
        let Some(Place::Done(job)) = self.places.pop_front() else { return None };
        self.first += 1;
        self.leaving = true;
        Some(job)
    }

    /// What follows the leaving of a job is done.
    pub fn left(&mut self) {
        self.leaving = false;
    }

    /// Jobs in the lane, with the one that is leaving.
    pub fn len(&self) -> usize {
        self.places.len() + usize::from(self.leaving)
    }

    /// Whether all that came has left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn place(&mut self, number: u64) -> Option<&mut Place<J>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.places.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_job_leaves_after_those_before_it_and_one_at_a_time() {
        let mut lane = Ordered::default();
        assert!(lane.begin().is_none() && lane.leave().is_none() && lane.is_empty());
        lane.push('a');
        lane.push('b');
        let (a, b) = (lane.begin().unwrap(), lane.begin().unwrap());
        assert!(lane.begin().is_none());
        lane.end(b.0, b.1);
        assert_eq!(lane.leave(), None, "a is not done");
        lane.end(a.0, a.1);
        assert_eq!(lane.leave(), Some('a'));
        assert_eq!(lane.leave(), None, "a is still leaving");
        assert_eq!(lane.len(), 2);
        lane.left();
        assert_eq!(lane.leave(), Some('b'));
        lane.left();
        assert!(lane.is_empty());
    }

    proptest! {
        /// Against the stupid structure: a list of what came. `steps` says what happens next and to which of those under way.
        #[test]
        fn whoever_is_first_all_leave_in_the_order_in_which_they_came(steps in prop::collection::vec((0u8..5, any::<usize>()), 0..400)) {
            let mut lane = Ordered::default();
            let (mut came, mut begun, mut left, mut leaving) = (0u32, Vec::new(), 0u32, false);
            let take = |lane: &mut Ordered<u32>, left: &mut u32| match lane.leave() {
                Some(job) => {
                    assert_eq!(job, *left);
                    *left += 1;
                    true
                }
                None => false,
            };
            for (step, which) in steps {
                match step {
                    0 => {
                        lane.push(came);
                        came += 1;
                    }
                    1 => begun.extend(lane.begin()),
                    2 if !begun.is_empty() => {
                        let (number, job) = begun.swap_remove(which % begun.len());
                        lane.end(number, job);
                    }
                    3 => leaving |= take(&mut lane, &mut left),
                    4 if leaving => {
                        lane.left();
                        leaving = false;
                    }
                    _ => {}
                }
                prop_assert_eq!(lane.len(), (came - left) as usize + usize::from(leaving));
            }
            // All that is under way ends in the end, in whatever order.
            lane.left();
            begun.extend(std::iter::from_fn(|| lane.begin()));
            begun.reverse();
            for (number, job) in begun {
                lane.end(number, job);
            }
            while take(&mut lane, &mut left) {
                lane.left();
            }
            prop_assert!(lane.is_empty());
            prop_assert_eq!(left, came);
        }
    }
}
