#!/usr/bin/env python3
"""Computes the numbers of src/noise/tests/transcript.rs and, where nothing is published, of published.rs.

The whitepaper's formulas (section 5.4) over hashlib, hmac and the `cryptography` package (OpenSSL); HChaCha20 is written out, as
OpenSSL lacks it, and checked with the draft's vector. Shares nothing with the engine.
"""
import hashlib, hmac, struct
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305


def run(first, count=32):
    return bytes(range(first, first + count))


def hash_(*parts):
    return hashlib.blake2s(b"".join(parts)).digest()


def mac(key, *parts):
    return hashlib.blake2s(b"".join(parts), key=key, digest_size=16).digest()


def hmac_(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.blake2s).digest()


def kdf(count, key, text):
    secret, outputs, last = hmac_(key, text), [], b""
    for number in range(1, count + 1):
        last = hmac_(secret, last, bytes([number]))
        outputs.append(last)
    return outputs


def public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def dh(private, point):
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(point))


def aead(key, counter, text, aad):
    return ChaCha20Poly1305(key).encrypt(bytes(4) + struct.pack("<Q", counter), text, aad)


def hchacha20(key, nonce):
    s = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<12I", key + nonce))
    rotated = lambda value, bits: (value << bits | value >> (32 - bits)) & 0xFFFFFFFF
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            for one, two, three, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                s[one] = (s[one] + s[two]) & 0xFFFFFFFF
                s[three] = rotated(s[three] ^ s[one], bits)
    return struct.pack("<8I", *s[:4], *s[12:])


def xaead(key, nonce, text, aad):
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], text, aad)


def show(name, value):
    print(f"{name}: {value.hex()}")


class Symmetric:
    def __init__(self, responder):
        self.key = hash_(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        self.hash = hash_(hash_(self.key, b"WireGuard v1 zx2c4 Jason@zx2c4.com"), responder)

    def mix_ephemeral(self, point):
        self.hash = hash_(self.hash, point)
        self.key = kdf(1, self.key, point)[0]

    def mix_key(self, secret):
        self.key, key = kdf(2, self.key, secret)
        return key

    def mix_psk(self, psk):
        self.key, tau, key = kdf(3, self.key, psk)
        self.hash = hash_(self.hash, tau)
        return key

    def seal(self, key, text):
        sealed = aead(key, 0, text, self.hash)
        self.hash = hash_(self.hash, sealed)
        return sealed


assert xaead(run(0x80), run(0x40, 24), b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for "
             b"the future, sunscreen would be it.", bytes.fromhex("50515253c0c1c2c3c4c5c6c7")).hex().startswith("bd6d179d3e83d43b95765794")

for key, text in ((16, 100), (32, 200), (32, 0)):
    show(f"mac, key of {key}, text of {text}", mac(run(0, key), run(0, text)))
show("hmac", hmac_(run(0), b"abc"))
for text in b"input", b"":
    for number, output in enumerate(kdf(3, run(0), text)):
        show(f"kdf of {text}, output {number}", output)

static_a, static_b, ephemeral_a, ephemeral_b, psk = (run(first) for first in (0x01, 0x21, 0x41, 0x61, 0x81))
a, b, ea, eb = (public(key) for key in (static_a, static_b, ephemeral_a, ephemeral_b))
show("a", a), show("b", b)
state = Symmetric(b)
state.mix_ephemeral(ea)
sealed_static = state.seal(state.mix_key(dh(ephemeral_a, b)), a)
sealed_time = state.seal(state.mix_key(dh(static_a, b)), bytes.fromhex("400000003b9aca0a07000000"))
covered = b"\1\0\0\0" + struct.pack("<I", 0x01020304) + ea + sealed_static + sealed_time
first_mac = mac(hash_(b"mac1----", b), covered)
show("initiation", covered + first_mac + bytes(16))

state.mix_ephemeral(eb)
state.mix_key(dh(ephemeral_b, ea))
state.mix_key(dh(ephemeral_b, a))
response = b"\2\0\0\0" + struct.pack("<II", 0x05060708, 0x01020304) + eb + state.seal(state.mix_psk(psk), b"")
show("response", response + mac(hash_(b"mac1----", a), response) + bytes(16))

to_b, to_a = kdf(2, state.key, b"")
show("key to b", to_b), show("key to a", to_a)
packet = bytes.fromhex("450000200000000040000000c0000201c6336401") + b"twelve bytes"
for counter, text in enumerate((b"", packet)):
    show(f"data {counter}", b"\4\0\0\0" + struct.pack("<IQ", 0x05060708, counter) + aead(to_b, counter, text, b""))

for address in bytes([192, 0, 2, 1]), bytes.fromhex("20010db8000000000000000000000001"):
    cookie = mac(run(0xA1), address, struct.pack(">H", 51820))
    nonce = run(0xC1, 24)
    sealed = xaead(hash_(b"cookie--", b), nonce, cookie, first_mac)
    show("cookie reply", b"\3\0\0\0" + struct.pack("<I", 0x01020304) + nonce + sealed)
    show("second mac", mac(cookie, covered, first_mac))
