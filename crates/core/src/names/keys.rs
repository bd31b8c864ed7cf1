//! WireGuard keys: Curve25519 public and private keys and preshared keys, in the base64 that `wg` uses.
//!
//! A private key never shows itself: its `Debug` is `(hidden)`, it has no `Display` and no serde, its bytes are
//! wiped when it is dropped, and the one way to its text is [`PrivateKey::reveal`]. Randomness is handed in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2s256, Digest as _};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes in every WireGuard key.
pub const KEY_BYTES: usize = 32;
/// Characters in a key's base64 form.
pub const KEY_TEXT_BYTES: usize = 44;

/// The encodings of the points of small order on Curve25519, the top bit (which RFC 7748 ignores) cleared.
const SMALL_ORDER: [[u8; KEY_BYTES]; 7] = [
    [0; KEY_BYTES],
    ends(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    ends(0xec, 0xff, 0x7f),
    ends(0xed, 0xff, 0x7f),
    ends(0xee, 0xff, 0x7f),
];

/// A point whose encoding has one byte at each end and the same one between.
const fn ends(first: u8, middle: u8, last: u8) -> [u8; KEY_BYTES] {
    let mut point = [middle; KEY_BYTES];
    point[0] = first;
    point[KEY_BYTES - 1] = last;
    point
}

fn is_same_point(point: &[u8; KEY_BYTES], bytes: &[u8; KEY_BYTES]) -> bool {
    let last = KEY_BYTES - 1;
    point[..last] == bytes[..last] && point[last] == bytes[last] & 0x7f
}

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 44 characters.
    #[error("a key has {KEY_TEXT_BYTES} characters, this has {0}")]
    Length(usize),
    /// Not canonical base64 of 32 bytes.
    #[error("a key is 32 bytes in base64, ending in one `=`; this is not")]
    Base64,
    /// All zero bytes, or another point of small order, with which every exchange gives the same secret.
    #[error("this key is a point of small order, with which there is no secret")]
    Weak,
}

/// A node's public key. Printed, compared and sorted freely.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Wraps 32 bytes as they come off the wire or out of a device.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> PublicKey {
        PublicKey(bytes)
    }

    /// Reads `wg`'s base64 form and refuses points of small order.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        let bytes = decode(text)?;
        // A list rather than a multiplication by the cofactor, which takes 35 us: 10,000 nodes have 10,000 keys.
        if SMALL_ORDER.iter().any(|point| is_same_point(point, &bytes)) {
            return Err(KeyError::Weak);
        }
        Ok(PublicKey(*bytes))
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<PublicKey, KeyError> {
        PublicKey::parse(&text)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

/// A node's private key (or a preshared key: also 32 secret bytes).
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; KEY_BYTES]);

impl PrivateKey {
    /// Makes a key from 32 random bytes, clamped as `wg genkey` does (RFC 7748 section 5).
    pub fn from_random(mut bytes: [u8; KEY_BYTES]) -> PrivateKey {
        bytes[0] &= 248;
        bytes[31] = (bytes[31] & 127) | 64;
        let key = PrivateKey(bytes);
        bytes.zeroize();
        key
    }

    /// Makes a preshared key from 32 random bytes: unclamped, as `wg genpsk` does.
    pub fn preshared_from_random(bytes: [u8; KEY_BYTES]) -> PrivateKey {
        PrivateKey(bytes)
    }

    /// Reads `wg`'s base64 form.
    ///
    /// # Errors
    /// Says what is wrong with the text, without repeating it.
    pub fn parse(text: &str) -> Result<PrivateKey, KeyError> {
        Ok(PrivateKey(*decode(text)?))
    }

    /// The public key that belongs to this private key.
    pub fn public_key(&self) -> PublicKey {
        let secret = x25519_dalek::StaticSecret::from(self.0);
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }

    /// The key's text, for the file or the output that was asked for, wiped when dropped.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0))
    }

    /// What tells a preshared key from others, and nothing of the key: it has no public half to be known by.
    pub fn mark(&self) -> KeyMark {
        let digest = Blake2s256::new().chain_update("wayleave preshared key ").chain_update(self.0).finalize();
        let mut mark = [0; 8];
        mark.copy_from_slice(&digest[..8]);
        KeyMark(u64::from_be_bytes(mark))
    }

    /// The key's bytes, for a device.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// What a preshared key is known by where the key itself may not be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyMark(u64);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let text = text.trim();
    if text.len() != KEY_TEXT_BYTES {
        return Err(KeyError::Length(text.chars().count()));
    }
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyError::Base64)?);
    let array: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| KeyError::Base64)?;
    Ok(Zeroizing::new(array))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748 section 6.1.
    #[test]
    fn public_key_follows_rfc_7748() {
        let alice: [u8; 32] = [
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45, 0xdf, 0x4c,
            0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a,
        ];
        let public = PrivateKey(alice).public_key();
        assert_eq!(&public.as_bytes()[..4], &[0x85, 0x20, 0xf0, 0x09]);
        assert_eq!(public.to_string(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
    }

    #[test]
    fn every_listed_point_has_small_order() {
        for point in SMALL_ORDER {
            assert_eq!(x25519_dalek::x25519([1; KEY_BYTES], point), [0; KEY_BYTES], "{point:02x?}");
        }
    }

    #[test]
    fn private_keys_hide_and_come_back() {
        let key = PrivateKey::from_random([0xff; 32]);
        assert_eq!(format!("{key:?}"), "(hidden)");
        assert_eq!(PrivateKey::parse(&key.reveal()).as_ref(), Ok(&key));
    }

    #[test]
    fn bad_keys_are_refused() {
        let good = "bzM6rw/efq+75VGhBgkCRChDnKfFlXQY560ejhvKCQY=";
        assert!(PublicKey::parse(good).is_ok());
        assert_eq!(PublicKey::parse("abc"), Err(KeyError::Length(3)));
        assert_eq!(PublicKey::parse(&good.replace('=', "A")), Err(KeyError::Base64));
        assert_eq!(PublicKey::parse(&good.replace('/', "*")), Err(KeyError::Base64));
        assert_eq!(PublicKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), Err(KeyError::Weak));
    }
}
