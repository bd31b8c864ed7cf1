//! Random numbers from a seed.
//!
//! The wire draws one or two numbers per packet, and a test must be able to repeat a run; so this is a small generator
//! (SplitMix64, Steele and others 2014) that is handed its seed, not a source of secrets.

/// A repeatable sequence of random numbers.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True with the given probability. Nothing is drawn for 0 and less, so that a model without chance costs nothing.
    pub fn happens(&mut self, probability: f64) -> bool {
        if probability <= 0.0 || probability.is_nan() {
            return false;
        }
        // The upper 53 bits are exactly what a double holds.
        ((self.bits() >> 11) as f64) / ((1_u64 << 53) as f64) < probability
    }

    /// A number from 0 to `bound`, both included.
    pub fn up_to(&mut self, bound: u64) -> u64 {
        match bound.checked_add(1) {
            // Multiplying and shifting is free of the division and as even as a wire needs.
            Some(count) => ((u128::from(self.bits()) * u128::from(count)) >> 64) as u64,
            None => self.bits(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_sequence() {
        let draw = |seed| (0..8).map(move |_| seed).scan(Chance::new(seed), |c, _| Some(c.bits())).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn probabilities_come_out() {
        let mut chance = Chance::new(1);
        for wanted in [0.0, 0.01, 0.5, 1.0] {
            let hits = (0..100_000).filter(|_| chance.happens(wanted)).count() as f64 / 100_000.0;
            assert!((hits - wanted).abs() < 0.01, "{wanted} came out as {hits}");
        }
        assert!(!chance.happens(f64::NAN));
    }

    #[test]
    fn bounds_are_kept() {
        let mut chance = Chance::new(2);
        assert!((0..1000).all(|_| chance.up_to(3) <= 3));
        assert!((0..100).any(|_| chance.up_to(1) == 1));
        assert_eq!(chance.up_to(0), 0);
        chance.up_to(u64::MAX);
    }
}
