//! Randomness as an argument.
//!
//! The protocol core draws ephemeral keys, session indices, cookie nonces and timer jitter from a [`Rng`] that its owner hands
//! in: [`SystemRng`] in production, [`SeededRng`] in simulation, where one seed must give one run. `SeededRng` is no
//! cryptographic generator and says so in its name; in production it gives jitter and nothing else.

#[cfg(test)]
pub(crate) mod fuzz;

/// A source of random bytes.
pub trait Rng: Send {
    /// Fills the buffer.
    fn fill(&mut self, buffer: &mut [u8]);
}

/// A random 32-bit number.
pub(crate) fn random_u32(rng: &mut dyn Rng) -> u32 {
    let mut bytes = [0; 4];
    rng.fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

/// A random 64-bit number.
pub(crate) fn random_u64(rng: &mut dyn Rng) -> u64 {
    let mut bytes = [0; 8];
    rng.fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// 32 random bytes.
pub(crate) fn random_32(rng: &mut dyn Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill(&mut bytes);
    bytes
}

/// The kernel's generator, by `getrandom(2)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn fill(&mut self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("getrandom(2) can't fail on a Linux new enough to run this program");
    }
}

/// A repeatable generator for simulations and jitter (SplitMix64). Never use it for keys that matter.
#[derive(Clone, Debug)]
pub struct SeededRng(u64);

impl SeededRng {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> SeededRng {
        SeededRng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Rng for SeededRng {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
