//! Transport keys: ChaCha20-Poly1305 with a counter as the nonce, in place.
//!
//! `ring` does not wipe its keys, so [`TransportKey`] keeps one in memory that is wiped (`wiped`). A key seals or
//! opens, never both; who counts and who remembers replays is the session's business.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, UnboundKey};

use super::messages::TAG_BYTES;
use super::primitives::nonce;
use super::wiped::Wiped;

/// One direction's key of a session. Wiped when dropped.
pub struct TransportKey(Wiped<LessSafeKey>);

impl TransportKey {
    /// Takes the 32 bytes that the handshake derived.
    pub fn new(key: &[u8; 32]) -> TransportKey {
        let made = || UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has 32 bytes");
        TransportKey(Wiped::new(|| LessSafeKey::new(made())))
    }

    /// Seals `plain` in place and returns the tag.
    pub fn seal(&self, counter: u64, plain: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self
            .0
            .get()
            .seal_in_place_separate_tag(nonce(counter), Aad::empty(), plain)
            .expect("ChaCha20-Poly1305 fails only beyond 256 GB");
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Opens `sealed` (packet and tag) in place. True if it authenticates; the packet is then all but the last 16 bytes.
    pub fn open(&self, counter: u64, sealed: &mut [u8]) -> bool {
        self.0.get().open_in_place(nonce(counter), Aad::empty(), sealed).is_ok()
    }
}

impl std::fmt::Debug for TransportKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TransportKey(..)")
    }
}
