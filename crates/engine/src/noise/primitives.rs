//! The primitives of the handshake: BLAKE2s, its HMAC and HKDF, X25519, and ChaCha20-Poly1305 with a one-use key.
//!
//! Thin wrappers over `blake2`, `x25519-dalek` and `ring`, named as in whitepaper section 5.4. What they return that is secret
//! is wrapped in `Zeroizing`.

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, KeyInit, Mac, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

/// A 32-byte secret that wipes itself.
pub type Secret = Zeroizing<[u8; 32]>;

const BLOCK_BYTES: usize = 64;

/// `Hash(a || b)`.
pub fn hash(a: &[u8], b: &[u8]) -> [u8; 32] {
    let mut hasher = Blake2s256::new();
    Digest::update(&mut hasher, a);
    Digest::update(&mut hasher, b);
    Digest::finalize(hasher).into()
}

/// `Mac(key, input)`: keyed BLAKE2s with 16 bytes of output. The key has at most 32 bytes.
pub fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    keyed(key, parts).finalize_fixed().into()
}

/// Compares two MACs in constant time.
pub fn mac_is(key: &[u8], parts: &[&[u8]], expected: &[u8]) -> bool {
    keyed(key, parts).verify_slice(expected).is_ok()
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Blake2sMac<U16> {
    let mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(key);
    let mut mac = mac.expect("BLAKE2s takes keys of up to 32 bytes; ours have 16 or 32");
    for part in parts {
        Update::update(&mut mac, part);
    }
    mac
}

/// `Hmac(key, a || b)` over BLAKE2s, as Noise wants it (not BLAKE2s' own keyed mode).
pub fn hmac(key: &[u8; 32], a: &[u8], b: &[u8]) -> [u8; 32] {
    let mut pad = Zeroizing::new([0u8; BLOCK_BYTES]);
    pad[..32].copy_from_slice(key);
    pad.iter_mut().for_each(|byte| *byte ^= 0x36);
    let mut inner = Blake2s256::new_with_prefix(pad.as_slice());
    Digest::update(&mut inner, a);
    Digest::update(&mut inner, b);
    let mut inner: [u8; 32] = Digest::finalize(inner).into();
    pad.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
    let outer = hash(pad.as_slice(), &inner);
    inner.zeroize();
    outer
}

/// `Kdf_N(key, input)`: HKDF with N outputs.
pub fn kdf<const N: usize>(key: &[u8; 32], input: &[u8]) -> [Secret; N] {
    let secret = Zeroizing::new(hmac(key, input, &[]));
    let mut outputs = std::array::from_fn(|_| Zeroizing::new([0; 32]));
    let mut previous: Secret = Zeroizing::new([0; 32]);
    let mut previous_length = 0;
    for (output, counter) in outputs.iter_mut().zip(1u8..) {
        *output = Zeroizing::new(hmac(&secret, &previous[..previous_length], &[counter]));
        previous.copy_from_slice(output.as_slice());
        previous_length = 32;
    }
    outputs
}

/// `DH(private, public)`; `None` for a point of small order, whose secret everybody knows.
pub fn dh(private: &[u8; 32], public: &[u8; 32]) -> Option<Secret> {
    let secret = x25519_dalek::StaticSecret::from(*private);
    let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(*public));
    shared.was_contributory().then(|| Zeroizing::new(shared.to_bytes()))
}

/// The public key of a private key.
pub fn dh_public(private: &[u8; 32]) -> [u8; 32] {
    let secret = x25519_dalek::StaticSecret::from(*private);
    x25519_dalek::PublicKey::from(&secret).to_bytes()
}

fn one_use_key(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("ChaCha20-Poly1305 keys have 32 bytes"))
}

/// The nonce of `Aead(key, counter, ...)`.
pub fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// `Aead(key, counter, text, aad)` in place: `text` ends with 16 bytes of room for the tag.
pub fn seal(key: &[u8; 32], counter: u64, aad: &[u8], text: &mut [u8]) {
    let length = text.len() - 16;
    let (plain, tag) = text.split_at_mut(length);
    let sealed = one_use_key(key)
        .seal_in_place_separate_tag(nonce(counter), Aad::from(aad), plain)
        .expect("ChaCha20-Poly1305 fails only beyond 256 GB");
    tag.copy_from_slice(sealed.as_ref());
}

/// The inverse of [`seal`]; `None` if it does not authenticate. `text` includes the tag; the plain text is its start.
pub fn open(key: &[u8; 32], counter: u64, aad: &[u8], text: &mut [u8]) -> Option<()> {
    one_use_key(key).open_in_place(nonce(counter), Aad::from(aad), text).ok().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kdf_outputs_are_prefixes_of_each_other() {
        let [a] = kdf::<1>(&[1; 32], b"input");
        let [b, c] = kdf::<2>(&[1; 32], b"input");
        let [d, e, f] = kdf::<3>(&[1; 32], b"input");
        assert_eq!((*a, *b, *c), (*b, *d, *e));
        assert_ne!(*e, *f);
    }

    #[test]
    fn small_order_points_are_refused() {
        assert!(dh(&[3; 32], &[0; 32]).is_none());
        let mut one = [0; 32];
        one[0] = 1;
        assert!(dh(&[3; 32], &one).is_none());
    }

    #[test]
    fn sealed_text_opens_once_unchanged_and_not_at_all_changed() {
        let mut text = *b"twelve bytes0123456789abcdef";
        seal(&[9; 32], 0, b"aad", &mut text);
        let sealed = text;
        assert!(open(&[9; 32], 0, b"aad", &mut text).is_some());
        assert_eq!(&text[..12], b"twelve bytes");
        for byte in 0..sealed.len() {
            let mut changed = sealed;
            changed[byte] ^= 1;
            assert!(open(&[9; 32], 0, b"aad", &mut changed).is_none());
        }
    }
}
