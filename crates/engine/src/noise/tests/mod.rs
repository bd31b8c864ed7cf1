//! The handshake against `snow`, an independent implementation of Noise, in both roles; against itself with wrong keys; and
//! with every byte of its messages changed. `snow` also confirms the derived transport keys, which is all that the session needs.
//!
//! Beside this: `published` (numbers from RFCs, drafts and the Noise implementations' common vectors) and `transcript` (a whole
//! handshake with cookie and packets, byte by byte, as another implementation computes it).

mod published;
mod transcript;

use super::cipher::TransportKey;
use super::handshake::*;
use super::messages::*;
use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::rng::{Rng, SeededRng};
use crate::time::Tai64N;

const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex32(text: &str) -> [u8; 32] {
    hex(text).try_into().unwrap()
}

struct Ends {
    a: Identity,
    b: Identity,
    psk: PresharedKey,
    rng: SeededRng,
}

fn ends(seed: u64) -> Ends {
    let mut rng = SeededRng::new(seed);
    let mut key = || {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        bytes
    };
    let (a, b, psk) = (key(), key(), key());
    Ends {
        a: Identity::new(PrivateKey::new(a)),
        b: Identity::new(PrivateKey::new(b)),
        psk: PresharedKey::new(psk),
        rng,
    }
}

fn builder(own: &Identity, psk: &PresharedKey) -> (snow::Builder<'static>, [u8; 32], [u8; 32]) {
    (snow::Builder::new(PATTERN.parse().unwrap()), *own.private().expose(), *psk.expose())
}

#[test]
fn as_initiator_against_snow() {
    for seed in 0..20 {
        let Ends { a, b, psk, mut rng } = ends(seed);
        let secret = a.static_secret(&b.public());
        let timestamp = Tai64N([seed as u8; 12]);
        let (initiator, message) = initiate(&a, &b.public(), &secret, 77, timestamp, &mut rng).unwrap();
        let (builder, private, psk_bytes) = builder(&b, &psk);
        let mut snow = builder
            .prologue(PROLOGUE)
            .unwrap()
            .local_private_key(&private)
            .unwrap()
            .psk(2, &psk_bytes)
            .unwrap()
            .build_responder()
            .unwrap();
        let mut payload = [0; 64];
        assert_eq!(snow.read_message(&message[8..116], &mut payload).unwrap(), 12);
        assert_eq!(payload[..12], timestamp.0);
        assert_eq!(snow.get_remote_static().unwrap(), a.public().0);
        let mut response = [0; RESPONSE_BYTES];
        response[..8].copy_from_slice(&[2, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(snow.write_message(&[], &mut response[12..]).unwrap(), 48);
        let (keys, remote) = initiator.open_response(&a, &psk, &response).unwrap();
        let (to_responder, to_initiator) = snow.dangerously_get_raw_split();
        assert_eq!((*keys.send, *keys.receive, remote), (to_responder, to_initiator, 9));
    }
}

#[test]
fn as_responder_against_snow() {
    for seed in 0..20 {
        let Ends { a, b, psk, mut rng } = ends(seed);
        let (builder, private, psk_bytes) = builder(&a, &psk);
        let mut snow = builder
            .prologue(PROLOGUE)
            .unwrap()
            .local_private_key(&private)
            .unwrap()
            .remote_public_key(&b.public().0)
            .unwrap()
            .psk(2, &psk_bytes)
            .unwrap()
            .build_initiator()
            .unwrap();
        let mut message = [0; INITIATION_BYTES];
        message[..8].copy_from_slice(&[1, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(snow.write_message(&[6; 12], &mut message[8..]).unwrap(), 108);
        let caller = Caller::open(&b, &message).unwrap();
        assert_eq!(caller.public_key, a.public());
        let initiation = caller.authenticate(&b.static_secret(&a.public())).unwrap();
        assert_eq!((initiation.timestamp, initiation.remote_index), (Tai64N([6; 12]), 3));
        let (response, keys) = initiation.respond(&psk, 4, &mut rng).unwrap();
        snow.read_message(&response[12..60], &mut [0; 64]).unwrap();
        let (to_responder, to_initiator) = snow.dangerously_get_raw_split();
        assert_eq!((*keys.receive, *keys.send), (to_responder, to_initiator));
    }
}

#[test]
fn any_changed_byte_of_a_message_fails_and_does_not_spoil_the_handshake() {
    let Ends { a, b, psk, mut rng } = ends(99);
    let (a_secret, b_secret) = (a.static_secret(&b.public()), b.static_secret(&a.public()));
    let (initiator, message) = initiate(&a, &b.public(), &a_secret, 1, Tai64N([1; 12]), &mut rng).unwrap();
    for byte in 8..116 {
        let mut changed = message;
        changed[byte] ^= 1;
        assert!(Caller::open(&b, &changed).and_then(|caller| caller.authenticate(&b_secret)).is_none(), "byte {byte}");
    }
    let initiation = Caller::open(&b, &message).unwrap().authenticate(&b_secret).unwrap();
    let (response, b_keys) = initiation.respond(&psk, 2, &mut rng).unwrap();
    for byte in 12..60 {
        let mut changed = response;
        changed[byte] ^= 1;
        assert!(initiator.open_response(&a, &psk, &changed).is_none(), "byte {byte}");
    }
    assert!(initiator.open_response(&a, &PresharedKey::default(), &response).is_none(), "wrong preshared key");
    let (a_keys, _) = initiator.open_response(&a, &psk, &response).unwrap();
    assert_eq!((*a_keys.send, *a_keys.receive), (*b_keys.receive, *b_keys.send));
}

#[test]
fn transport_keys_open_only_what_was_sealed_with_the_same_counter() {
    let (seal, open) = (TransportKey::new(&[4; 32]), TransportKey::new(&[4; 32]));
    let mut packet = *b"some packet.....................";
    let tag = seal.seal(5, &mut packet[..16]);
    packet[16..].copy_from_slice(&tag);
    let mut copy = packet;
    assert!(!open.open(6, &mut copy));
    assert!(open.open(5, &mut packet));
    assert_eq!(&packet[..16], b"some packet.....");
}
