//! The three kinds of 32-byte keys, as types that can't be mixed up.
//!
//! A public key is printed as base64, as `wg` prints it. The two secret kinds print nothing, are wiped when dropped, and give
//! their bytes only to who asks by name (`expose`). These lie on the heap, since a value that is moved leaves its bytes behind where it
//! was. No curve arithmetic here except for deriving the public key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// A peer's name in the protocol: its Curve25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// A device's Curve25519 private key. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Box<Zeroizing<[u8; 32]>>);

/// The symmetric key that a pair of peers may share on top of everything else. Wiped when dropped, never printed.
/// Most peers have none.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PresharedKey(Option<Box<Zeroizing<[u8; 32]>>>);

const NO_KEY: [u8; 32] = [0; 32];

impl PrivateKey {
    /// Takes the key's 32 bytes, clamped as the kernel's module clamps and reports them; all zero means "none".
    pub fn new(bytes: [u8; 32]) -> PrivateKey {
        let mut key = Box::new(Zeroizing::new(bytes));
        if **key != NO_KEY {
            key[0] &= 0b1111_1000;
            key[31] = key[31] & 0b0111_1111 | 0b0100_0000;
        }
        PrivateKey(key)
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key that belongs to this private key.
    pub fn public_key(&self) -> PublicKey {
        let secret = x25519_dalek::StaticSecret::from(*self.expose());
        PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }

    /// All zero: the UAPI's and netlink's way of saying "no key".
    pub fn is_zero(&self) -> bool {
        *self.expose() == NO_KEY
    }
}

impl PresharedKey {
    /// Takes the key's 32 bytes; all zero means "none".
    pub fn new(bytes: [u8; 32]) -> PresharedKey {
        PresharedKey((bytes != NO_KEY).then(|| Box::new(Zeroizing::new(bytes))))
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.as_deref().map_or(&NO_KEY, |key| key)
    }
}

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_key_of_rfc7748_alice() {
        let private = PrivateKey::new([
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45, 0xdf, 0x4c,
            0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a,
        ]);
        assert_eq!(private.public_key().to_string(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
    }

    #[test]
    fn a_private_key_is_clamped_and_no_key_stays_none() {
        let clamped = PrivateKey::new([0xff; 32]);
        assert_eq!((clamped.expose()[0], clamped.expose()[1], clamped.expose()[31]), (0xf8, 0xff, 0x7f));
        assert_eq!(PrivateKey::new(*clamped.expose()), clamped);
        assert!(PrivateKey::new([0; 32]).is_zero());
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        assert_eq!(format!("{:?}", PrivateKey::new([7; 32])), "PrivateKey(..)");
        assert_eq!(format!("{:?}", PresharedKey::new([7; 32])), "PresharedKey(..)");
    }
}
