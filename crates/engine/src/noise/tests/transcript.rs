//! A whole conversation with fixed keys, byte by byte: initiation, response, cookie reply, initiation with the cookie, packets.
//!
//! The expected bytes are what `tests/vectors/transcript.py` computes: the whitepaper's formulas over Python's `hashlib` and
//! `hmac` and OpenSSL's X25519 and ChaCha20-Poly1305, none of which is used here. Keys, nonces and secrets are runs of bytes:
//! 01 to 20, 21 to 40 and so on.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::cookie::{CookieChecker, PeerMacs};
use super::*;
use crate::time::Monotonic;
use crate::tunnel::Session;

const INITIATION: &str = "010000000403020164b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d48466158a0e4ca242d151ca97ab90
    159a98b67e616625e68b4065d357376b6598e644ad7d678c0295d22de4cb43d5135581ed36346bfa223d11122639f893d2544564953e1b38ff30f3868cbab
    06771e6bdb4aa67647cf80e8b329797b9f400000000000000000000000000000000";
const RESPONSE: &str =
    "020000000807060504030201244fe3b963e899dd295baffce248d3530f3a9a7479ba063002680ebfe7adad49b3bf46989ab92aa0ea
    9eb9ac48aa5a47bd1b597f6ea9902e624e6051fd12ab1300000000000000000000000000000000";
const COOKIE_REPLY_V4: &str =
    "0300000004030201c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d821121969d9fb652cfc298e9fe6fff92a7d2
    05cca8a67b51e204aa7fc0f3f40f9";
const COOKIE_REPLY_V6: &str =
    "0300000004030201c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8f5ae1c3ffd18b8d5261838f03ee94e3405f
    8747c3f9a67f376664f7623333107";
const SECOND_MAC: &str = "b4e3d5ca079f982ab6c335bca3f82f39";
const KEY_TO_RESPONDER: &str = "248a29611829aaf7ee8bc8e87df805c1019f08f82d80eb79b7625821ba0a1317";
const KEY_TO_INITIATOR: &str = "848308e622b3e15e5ebc5312111efc31082e86c85e9ee93fe8c5aa7f972cc9c3";
const KEEPALIVE: &str = "04000000080706050000000000000000c7401bed732b18f3c0e395fc3f7435fa";
const PACKET: &str = "450000200000000040000000c0000201c63364017477656c7665206279746573";
const DATA: &str =
    "04000000080706050100000000000000a3896f7b40200d3d3edb9e9a9e9c19a5d99edf21b894ba8b5ed42ecef1c8538605221cc897f010eb
    021abe8327da66e6";

/// Gives what it was told to give.
struct Script(u8);

impl Rng for Script {
    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0;
            self.0 += 1;
        }
    }
}

fn run_from(first: u8) -> [u8; 32] {
    std::array::from_fn(|at| first + at as u8)
}

fn identities() -> (Identity, Identity) {
    (Identity::new(PrivateKey::new(run_from(0x01))), Identity::new(PrivateKey::new(run_from(0x21))))
}

fn source_v4() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 51820))
}

#[test]
fn both_messages_and_the_keys_are_as_computed_elsewhere() {
    let (a, b) = identities();
    assert_eq!(a.public().0[..], hex("07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"));
    assert_eq!(b.public().0[..], hex("5869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b"));
    let psk = PresharedKey::new(run_from(0x81));
    // 2001-09-09 01:46:40 UTC, a billion seconds after 1970, and half a second.
    let timestamp = Tai64N::from_unix(Duration::from_millis(1_000_000_000_120));
    assert_eq!(timestamp.0[..], hex("400000003b9aca0a07000000"));
    let secret = a.static_secret(&b.public());
    let (initiator, mut message) =
        initiate(&a, &b.public(), &secret, 0x0102_0304, timestamp, &mut Script(0x41)).unwrap();
    PeerMacs::new(&b.public()).sign(Monotonic::default(), &mut message);
    assert_eq!(message[..], hex(INITIATION));

    assert!(CookieChecker::new(&b.public()).mac1_is_valid(&message));
    let initiation = Caller::open(&b, &message).unwrap().authenticate(&b.static_secret(&a.public())).unwrap();
    assert_eq!(initiation.timestamp, timestamp);
    let (mut response, keys) = initiation.respond(&psk, 0x0506_0708, &mut Script(0x61)).unwrap();
    PeerMacs::new(&a.public()).sign(Monotonic::default(), &mut response);
    assert_eq!(response[..], hex(RESPONSE));
    assert_eq!((*keys.receive, *keys.send), (hex32(KEY_TO_RESPONDER), hex32(KEY_TO_INITIATOR)));
    let (keys, remote_index) = initiator.open_response(&a, &psk, &response).unwrap();
    assert_eq!(
        (*keys.send, *keys.receive, remote_index),
        (hex32(KEY_TO_RESPONDER), hex32(KEY_TO_INITIATOR), 0x0506_0708)
    );
}

#[test]
fn cookie_replies_and_the_second_mac_are_as_computed_elsewhere() {
    let (_, b) = identities();
    let message: [u8; INITIATION_BYTES] = hex(INITIATION).try_into().unwrap();
    let v6 = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 51820));
    for (source, expected) in [(source_v4(), COOKIE_REPLY_V4), (v6, COOKIE_REPLY_V6)] {
        let mut checker = CookieChecker::new(&b.public());
        // The secret comes first, and then the nonce.
        let reply = checker.reply(Monotonic::default(), &message, source, &mut Script(0xa1)).unwrap();
        assert_eq!(reply[..], hex(expected));
    }
    let (mut macs, mut again) = (PeerMacs::new(&b.public()), message);
    macs.sign(Monotonic::default(), &mut again);
    let reply: [u8; COOKIE_REPLY_BYTES] = hex(COOKIE_REPLY_V4).try_into().unwrap();
    assert!(macs.handle_reply(Monotonic::default(), &reply));
    macs.sign(Monotonic::default(), &mut again);
    assert_eq!((again[..132] == message[..132], &again[132..]), (true, &hex(SECOND_MAC)[..]));
}

#[test]
fn packets_are_as_computed_elsewhere() {
    let keys = SessionKeys { send: hex32(KEY_TO_RESPONDER).into(), receive: hex32(KEY_TO_INITIATOR).into() };
    let session = Session::for_test((0x0102_0304, 0x0506_0708), &keys);
    for (packet, expected) in [("", KEEPALIVE), (PACKET, DATA)] {
        let mut packet = crate::packet::PacketBuf::new(&hex(packet));
        assert!(session.seal(&mut packet, 1420));
        assert_eq!(packet.packet(), hex(expected));
    }
    let keys = SessionKeys { send: hex32(KEY_TO_INITIATOR).into(), receive: hex32(KEY_TO_RESPONDER).into() };
    let session = Session::for_test((0x0506_0708, 0x0102_0304), &keys);
    let mut datagram = hex(DATA);
    assert_eq!(session.open(1, &mut datagram), Ok(()));
    assert_eq!(datagram[16..48], hex(PACKET));
}
