//! What sealing, opening and key agreement cost: `cargo bench -p wayleave-engine --bench crypto --features aws-lc`.
//!
//! The engine's own keys (`ring`, `x25519-dalek`) beside `aws-lc-rs`, which is built for this comparison only. Each figure is the
//! least of several short runs, which is what the processor can do when nobody disturbs. Nothing is asserted; what followed from
//! the figures is in docs/decisions.md.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use wayleave_engine::noise::cipher::TransportKey;
use x25519_dalek::{PublicKey, StaticSecret};

const RUNS: usize = 15;
const RUN: Duration = Duration::from_millis(20);
const TAG_BYTES: usize = 16;

fn main() {
    println!("{:<28}{:>12}{:>12}", "nanoseconds", "engine", "aws-lc-rs");
    for len in [64, 576, 1420] {
        let counter = 1;
        let ours = TransportKey::new(&[7; 32]);
        let theirs = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("the key has 32 bytes"));
        let mut plain = vec![1; len];
        let seal = |plain: &mut [u8]| theirs.seal_in_place_separate_tag(nonce(counter), Aad::empty(), plain);
        report(
            &format!("seal {len} bytes"),
            least(|| {
                black_box(ours.seal(counter, &mut plain));
            }),
            least(|| {
                black_box(seal(&mut plain).is_ok());
            }),
        );
        let mut sealed = vec![1; len];
        let tag = ours.seal(counter, &mut sealed);
        sealed.extend(tag);
        // Opening destroys what it opens, so each time a copy is opened; the copy costs the same on both sides.
        let mut copy = vec![0; len + TAG_BYTES];
        let by_ours = least(|| {
            copy.copy_from_slice(&sealed);
            assert!(ours.open(counter, &mut copy));
        });
        let by_theirs = least(|| {
            copy.copy_from_slice(&sealed);
            assert!(theirs.open_in_place(nonce(counter), Aad::empty(), &mut copy).is_ok());
        });
        report(&format!("open {len} bytes"), by_ours, by_theirs);
    }
    agreements();
}

fn agreements() {
    let private = [3; 32];
    let public = PublicKey::from(&StaticSecret::from([5; 32]));
    let ours = least(|| drop(black_box(StaticSecret::from(private).diffie_hellman(&public))));
    let theirs = least(|| {
        let key = agreement::PrivateKey::from_private_key(&X25519, &private).expect("the key has 32 bytes");
        let secret = agreement::agree(&key, UnparsedPublicKey::new(&X25519, public.as_bytes()), (), |secret| {
            black_box(secret);
            Ok(())
        });
        assert!(secret.is_ok());
    });
    report("X25519", ours, theirs);
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Nanoseconds that a call takes at least.
fn least(mut call: impl FnMut()) -> f64 {
    let run = |call: &mut dyn FnMut()| {
        let (start, mut calls) = (Instant::now(), 0_u32);
        while start.elapsed() < RUN {
            (0..32).for_each(|_| call());
            calls += 32;
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    };
    (0..RUNS).map(|_| run(&mut call)).fold(f64::INFINITY, f64::min)
}

fn report(what: &str, ours: f64, theirs: f64) {
    println!("{what:<28}{ours:>12.0}{theirs:>12.0}");
}
