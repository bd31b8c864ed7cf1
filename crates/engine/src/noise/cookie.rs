//! The two MACs that end a handshake message, and the cookies behind the second (whitepaper section 5.4.4 and 5.4.7).
//!
//! The first MAC proves that the sender knows whom it calls; without it a device stays silent. The second proves, under load,
//! that the sender receives at the address it sends from. [`CookieChecker`] is the called side, one per device; [`PeerMacs`] the
//! calling side, one per peer. A cookie is a MAC over the sender's address with a secret that changes every two minutes.

use std::net::{IpAddr, SocketAddr};

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::messages::{COOKIE_REPLY_BYTES, MAC_BYTES, TYPE_COOKIE_REPLY};
use super::primitives::{hash, mac, mac_is};
use crate::keys::PublicKey;
use crate::limits::{COOKIE_LATENCY, COOKIE_SECRET_LIFETIME};
use crate::rng::{Rng, random_32};
use crate::time::Monotonic;

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

/// Splits a handshake message into what the first MAC covers, the first MAC, and the second.
fn split_macs(message: &[u8]) -> Option<(&[u8], &[u8; MAC_BYTES], &[u8; MAC_BYTES])> {
    let (rest, mac2) = message.split_last_chunk::<MAC_BYTES>()?;
    let (covered, mac1) = rest.split_last_chunk::<MAC_BYTES>()?;
    Some((covered, mac1, mac2))
}

/// The called side: checks MACs and hands out cookies.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct CookieChecker {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    secret: [u8; 32],
    #[zeroize(skip)]
    secret_born: Option<Monotonic>,
}

impl CookieChecker {
    /// A checker for messages to the holder of `public_key`.
    pub fn new(public_key: &PublicKey) -> CookieChecker {
        CookieChecker {
            mac1_key: hash(LABEL_MAC1, &public_key.0),
            cookie_key: hash(LABEL_COOKIE, &public_key.0),
            secret: [0; 32],
            secret_born: None,
        }
    }

    /// Whether the first MAC is right.
    pub fn mac1_is_valid(&self, message: &[u8]) -> bool {
        split_macs(message).is_some_and(|(covered, mac1, _)| mac_is(&self.mac1_key, &[covered], mac1))
    }

    /// Whether the second MAC is right: the sender got a cookie for this address from us lately.
    pub fn mac2_is_valid(&self, now: Monotonic, message: &[u8], source: SocketAddr) -> bool {
        let fresh = self.secret_born.is_some_and(|born| now.since(born) < COOKIE_SECRET_LIFETIME);
        let Some((covered, mac1, mac2)) = split_macs(message) else { return false };
        fresh && mac_is(&self.cookie(source), &[covered, mac1], mac2)
    }

    /// The cookie reply to a handshake message.
    pub fn reply(
        &mut self,
        now: Monotonic,
        message: &[u8],
        source: SocketAddr,
        rng: &mut dyn Rng,
    ) -> Option<[u8; COOKIE_REPLY_BYTES]> {
        if self.secret_born.is_none_or(|born| now.since(born) >= COOKIE_SECRET_LIFETIME) {
            self.secret = random_32(rng);
            self.secret_born = Some(now);
        }
        let (_, mac1, _) = split_macs(message)?;
        let mut reply = [0; COOKIE_REPLY_BYTES];
        reply[0] = TYPE_COOKIE_REPLY;
        reply[4..8].copy_from_slice(message.get(4..8)?);
        rng.fill(&mut reply[8..32]);
        let nonce = *XNonce::from_slice(&reply[8..32]);
        reply[32..48].copy_from_slice(&self.cookie(source));
        let cipher = XChaCha20Poly1305::new(&self.cookie_key.into());
        let tag = cipher.encrypt_in_place_detached(&nonce, mac1, &mut reply[32..48]).ok()?;
        reply[48..].copy_from_slice(&tag);
        Some(reply)
    }

    fn cookie(&self, source: SocketAddr) -> [u8; MAC_BYTES] {
        let port = source.port().to_be_bytes();
        match source.ip() {
            IpAddr::V4(address) => mac(&self.secret, &[&address.octets(), &port]),
            IpAddr::V6(address) => mac(&self.secret, &[&address.octets(), &port]),
        }
    }
}

/// The calling side: what is needed to sign messages to one peer, and its latest cookie.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PeerMacs {
    mac1_key: [u8; 32],
    cookie_key: [u8; 32],
    last_mac1: Option<[u8; MAC_BYTES]>,
    cookie: [u8; MAC_BYTES],
    #[zeroize(skip)]
    cookie_born: Option<Monotonic>,
}

impl PeerMacs {
    /// For messages to the holder of `public_key`.
    pub fn new(public_key: &PublicKey) -> PeerMacs {
        PeerMacs {
            mac1_key: hash(LABEL_MAC1, &public_key.0),
            cookie_key: hash(LABEL_COOKIE, &public_key.0),
            last_mac1: None,
            cookie: [0; MAC_BYTES],
            cookie_born: None,
        }
    }

    /// Writes both MACs at the end of a handshake message; the second is zero without a fresh cookie.
    pub fn sign(&mut self, now: Monotonic, message: &mut [u8]) {
        let Some((rest, mac2)) = message.split_last_chunk_mut::<MAC_BYTES>() else { return };
        let Some((covered, mac1)) = rest.split_last_chunk_mut::<MAC_BYTES>() else { return };
        *mac1 = mac(&self.mac1_key, &[covered]);
        let usable = COOKIE_SECRET_LIFETIME - COOKIE_LATENCY;
        if self.cookie_born.is_some_and(|born| now.since(born) < usable) {
            *mac2 = mac(&self.cookie, &[covered, &*mac1]);
        }
        self.last_mac1 = Some(*mac1);
    }

    /// Takes the cookie out of a reply. False if it is not an answer to the last message signed here.
    pub fn handle_reply(&mut self, now: Monotonic, reply: &[u8; COOKIE_REPLY_BYTES]) -> bool {
        let Some(mac1) = self.last_mac1 else { return false };
        let mut cookie = [0; MAC_BYTES];
        cookie.copy_from_slice(&reply[32..48]);
        let cipher = XChaCha20Poly1305::new(&self.cookie_key.into());
        let nonce = XNonce::from_slice(&reply[8..32]);
        if cipher.decrypt_in_place_detached(nonce, &mac1, &mut cookie, Tag::from_slice(&reply[48..])).is_err() {
            return false;
        }
        self.cookie = cookie;
        self.cookie_born = Some(now);
        self.last_mac1 = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;
    use std::time::Duration;

    const KEY: PublicKey = PublicKey([8; 32]);

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_cookie_makes_the_second_mac_valid_for_its_address_until_it_ages() {
        let mut rng = SeededRng::new(1);
        let (mut checker, mut macs) = (CookieChecker::new(&KEY), PeerMacs::new(&KEY));
        let mut message = [5; 148];
        let start = Monotonic(Duration::from_secs(1000));
        message[116..].fill(0);
        macs.sign(start, &mut message);
        assert!(checker.mac1_is_valid(&message));
        assert!(!checker.mac2_is_valid(start, &message, source(1)));
        let reply = checker.reply(start, &message, source(1), &mut rng).unwrap();
        assert!(macs.handle_reply(start, &reply));
        assert!(!macs.handle_reply(start, &reply), "one reply per message");
        macs.sign(start, &mut message);
        assert!(checker.mac2_is_valid(start, &message, source(1)));
        assert!(!checker.mac2_is_valid(start, &message, source(2)));
        assert!(!checker.mac2_is_valid(start + COOKIE_SECRET_LIFETIME, &message, source(1)));
        message[116..].fill(0);
        macs.sign(start + Duration::from_secs(115), &mut message);
        assert_eq!(&message[132..], &[0; 16], "an old cookie is not used");
    }

    #[test]
    fn a_changed_message_or_reply_is_refused() {
        let mut rng = SeededRng::new(2);
        let (mut checker, mut macs) = (CookieChecker::new(&KEY), PeerMacs::new(&KEY));
        let mut message = [5; 92];
        macs.sign(Monotonic::default(), &mut message);
        for byte in 0..76 {
            let mut changed = message;
            changed[byte] ^= 0x80;
            assert!(!checker.mac1_is_valid(&changed));
        }
        let reply = checker.reply(Monotonic::default(), &message, source(1), &mut rng).unwrap();
        for byte in 8..reply.len() {
            let mut changed = reply;
            changed[byte] ^= 1;
            assert!(!macs.handle_reply(Monotonic::default(), &changed));
        }
    }
}
