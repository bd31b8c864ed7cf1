//! Numbers that others have published: RFC 7748 (X25519), RFC 7693 (BLAKE2s), RFC 8439 (ChaCha20-Poly1305), the draft of XChaCha20
//! (draft-irtf-cfrg-xchacha-03), Noise's common vectors (cacophony's, which the Noise implementations check themselves with), and
//! the two hashes that every WireGuard starts from. Where nothing is published (BLAKE2s with 16 bytes of output and HMAC over
//! BLAKE2s), the numbers are what Python's `hashlib` and `hmac` compute.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::super::cipher::TransportKey;
use super::super::handshake::Symmetric;
use super::super::primitives::{dh, dh_public, hash, hmac, kdf, mac, open, seal};
use super::*;

#[test]
fn x25519_is_that_of_rfc_7748() {
    for (scalar, point, product) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        assert_eq!(*dh(&hex32(scalar), &hex32(point)).unwrap(), hex32(product));
    }
    let base = hex32("0900000000000000000000000000000000000000000000000000000000000000");
    let (mut scalar, mut point) = (base, base);
    for round in 1..=1000 {
        (scalar, point) = (*dh(&scalar, &point).unwrap(), scalar);
        let expected = match round {
            1 => "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
            1000 => "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51",
            _ => continue,
        };
        assert_eq!(scalar, hex32(expected), "after {round} rounds");
    }
    assert_eq!(dh_public(&base), hex32("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"));
}

#[test]
fn blake2s_is_that_of_rfc_7693_and_its_keyed_and_hmac_modes_are_those_of_python() {
    assert_eq!(hash(b"a", b"bc"), hex32("508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"));
    let bytes: Vec<u8> = (0..200).collect();
    for (key, text, expected) in [
        (16, 100, "56301549e674c3b72a0e1dafb7a2c620"),
        (32, 200, "42a6f8ff590af21b512e9e088257aa34"),
        (32, 0, "9536f9b267655743dee97b8a670f9f53"),
    ] {
        assert_eq!(mac(&bytes[..key], &[&bytes[..text]])[..], hex(expected));
        assert_eq!(mac(&bytes[..key], &[&bytes[..text / 3], &bytes[text / 3..text]])[..], hex(expected));
    }
    let key: &[u8; 32] = bytes.first_chunk().unwrap();
    let expected = "82623be5bc0a391b24dce53e67d028eff92d586de0485ac37822e597d049c74f";
    assert_eq!(hmac(key, b"ab", b"c"), hex32(expected));
}

#[test]
fn key_derivation_is_hkdf_over_hmac_blake2s() {
    let key = std::array::from_fn(|at| at as u8);
    let expected = [
        "87b7f70b24183c6db5dc4f6d9f4c47cdb203321aa2a0bef714896adb3107a040",
        "538a02e1eb2e31b7e4d4b82476d1fe2acf50085d3fb584537279195f5d1f5824",
        "9ad858025593be88de0f9442a589cfe84a88dc19e4753d93684d1c5efc4837f9",
    ]
    .map(hex32);
    assert_eq!(kdf::<3>(&key, b"input").map(|output| *output), expected);
    let of_nothing = [
        "7a38c34bf2b8738d7374ca77c44ecb309a11d2b2528304fa86052c365e722624",
        "1a17621f346abdc520746a9fb64d8eb03231d674fc15687537b0780fd9c060fd",
    ]
    .map(hex32);
    assert_eq!(kdf::<2>(&key, b"").map(|output| *output), of_nothing);
}

const DRAFTS: &str = "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or \
    obsoleted by other documents at any time. It is inappropriate to use Internet-Drafts as reference material or to cite them \
    other than as /\u{201c}work in progress./\u{201d}";

#[test]
fn chacha20_poly1305_is_that_of_rfc_8439() {
    // Appendix A.5, whose nonce is four zeros and a counter, as WireGuard's are.
    let key = hex32("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0");
    let (counter, aad) = (0x0807_0605_0403_0201, hex("f33388860000000000004e91"));
    let sealed = hex("64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c
        321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b
        3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83f
        a1155b0047718cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a
        1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38");
    let mut text = sealed.clone();
    open(&key, counter, &aad, &mut text).unwrap();
    assert_eq!(&text[..sealed.len() - 16], DRAFTS.as_bytes());
    let mut text = [DRAFTS.as_bytes(), &[0; 16]].concat();
    seal(&key, counter, &aad, &mut text);
    assert_eq!(text, sealed);
}

#[test]
fn transport_keys_seal_as_the_aead_does_with_any_counter() {
    let key = [0x5a; 32];
    let transport = TransportKey::new(&key);
    for counter in [0, 1, 255, 256, u64::from(u32::MAX), 1 << 32, u64::MAX - 1, u64::MAX] {
        for len in [0, 1, 15, 16, 63, 64, 65, 1420, 9000] {
            let mut expected = vec![7; len + 16];
            seal(&key, counter, &[], &mut expected);
            let mut text = vec![7; len];
            let tag = transport.seal(counter, &mut text);
            assert_eq!([&text[..], &tag].concat(), expected, "counter {counter}, {len} bytes");
        }
    }
}

#[test]
fn xchacha20_poly1305_is_that_of_the_draft() {
    // Appendix A.3.1.
    let key: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
    let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + at as u8);
    let msg = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let sealed = XChaCha20Poly1305::new(&key.into()).encrypt(XNonce::from_slice(&nonce), Payload { msg, aad: &aad });
    let expected = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c
        54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c6
        8b13b52ec0875924c1c7987947deafd8780acf49";
    assert_eq!(sealed.unwrap(), hex(expected));
}

#[test]
fn the_noise_pattern_is_that_of_the_common_vectors() {
    let (initiator, initiator_ephemeral) = (
        hex32("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1"),
        hex32("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"),
    );
    let (responder, responder_ephemeral) = (
        hex32("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"),
        hex32("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"),
    );
    let psk = PresharedKey::new(*b"This is my Austrian perspective!");
    let responder_public = dh_public(&responder);
    let mut state = Symmetric::new(b"John Galt", &PublicKey(responder_public));

    let ephemeral = dh_public(&initiator_ephemeral);
    state.mix_ephemeral(&ephemeral);
    let key = state.mix_key(&dh(&initiator_ephemeral, &responder_public).unwrap());
    let mut sealed_static = [&dh_public(&initiator)[..], &[0; 16]].concat();
    state.seal(&key, &mut sealed_static);
    let key = state.mix_key(&dh(&initiator, &responder_public).unwrap());
    let mut payload = [&b"Ludwig von Mises"[..], &[0; 16]].concat();
    state.seal(&key, &mut payload);
    let first = "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c94a9e49
        6782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f";
    assert_eq!([&ephemeral[..], &sealed_static, &payload].concat(), hex(first));

    let answer = dh_public(&responder_ephemeral);
    state.mix_ephemeral(&answer);
    state.mix_key(&dh(&responder_ephemeral, &ephemeral).unwrap());
    state.mix_key(&dh(&responder_ephemeral, &dh_public(&initiator)).unwrap());
    let key = state.mix_psk(&psk);
    let mut payload = [&b"Murray Rothbard"[..], &[0; 16]].concat();
    state.seal(&key, &mut payload);
    let second =
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c0632f36
        5717edbf34d33e87a";
    assert_eq!([&answer[..], &payload].concat(), hex(second));
    assert_eq!(state.hash, hex32("f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5"));

    let keys = state.split().map(|key| TransportKey::new(&key));
    for (key, counter, text, sealed) in [
        (0, 0, &b"F. A. Hayek"[..], "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7"),
        (1, 0, b"Carl Menger", "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef"),
        (0, 1, b"Jean-Baptiste Say", "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d"),
        (
            1,
            1,
            b"Eugen B\xf6hm von Bawerk",
            "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292",
        ),
    ] {
        let mut plain = text.to_vec();
        let tag = keys[key].seal(counter, &mut plain);
        assert_eq!([plain, tag.to_vec()].concat(), hex(sealed));
    }
}

#[test]
fn the_handshake_starts_from_the_hashes_that_every_wireguard_knows() {
    let construction = hash(PATTERN.as_bytes(), &[]);
    assert_eq!(construction, hex32("60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36"));
    let identified = hash(&construction, PROLOGUE);
    assert_eq!(identified, hex32("2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3"));
    let state = Symmetric::new(PROLOGUE, &PublicKey([9; 32]));
    assert_eq!(state.hash, hash(&identified, &[9; 32]));
}
