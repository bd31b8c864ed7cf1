//! The handshake, Noise `IKpsk2`, as values: each step takes what is known and returns what follows.
//!
//! Initiator: [`initiate`] gives a message and an [`Initiator`]; [`Initiator::open_response`] gives the session's keys.
//! Responder: [`Caller::open`] learns who calls, one X25519 in; the owner looks the peer up; [`Caller::authenticate`] checks the
//! rest with the precomputed static-static secret; [`Initiation::respond`] gives the message and the keys.
//! A failing step leaves nothing changed, so forged messages can't disturb a handshake under way. MACs are added elsewhere.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::messages::{INITIATION_BYTES, RESPONSE_BYTES, TYPE_INITIATION, TYPE_RESPONSE, u32_at};
use super::primitives::{Secret, dh, dh_public, hash, kdf, open, seal};
use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::rng::{Rng, random_32};
use crate::time::Tai64N;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// A device's own static key pair.
#[derive(Debug)]
pub struct Identity {
    private: PrivateKey,
    public: PublicKey,
}

impl Identity {
    /// Derives the public key.
    pub fn new(private: PrivateKey) -> Identity {
        let public = private.public_key();
        Identity { private, public }
    }

    /// The private key.
    pub fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// `DH(own static, peer's static)`, which never changes for a pair of keys and so is computed once.
    pub fn static_secret(&self, peer: &PublicKey) -> StaticSecret {
        StaticSecret(dh(self.private.expose(), &peer.0))
    }
}

/// The static-static secret of two peers; none if the peer's key is a point of small order. Wiped when dropped.
pub struct StaticSecret(Option<Secret>);

/// The two keys of a new session, seen from one end. Wiped when dropped.
pub struct SessionKeys {
    /// Seals what this end sends.
    pub send: Secret,
    /// Opens what this end receives.
    pub receive: Secret,
}

/// The running hash and chaining key. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Symmetric {
    pub(super) hash: [u8; 32],
    chaining_key: [u8; 32],
}

impl Symmetric {
    /// The state after the pre-message: the responder's static key is known. The prologue is the protocol's identifier.
    pub(super) fn new(prologue: &[u8], responder: &PublicKey) -> Symmetric {
        let chaining_key = hash(CONSTRUCTION, &[]);
        let hash = hash(&hash(&chaining_key, prologue), &responder.0);
        Symmetric { hash, chaining_key }
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = hash(&self.hash, data);
    }

    pub(super) fn mix_ephemeral(&mut self, ephemeral: &[u8; 32]) {
        self.mix_hash(ephemeral);
        let [next] = kdf::<1>(&self.chaining_key, ephemeral);
        self.chaining_key = *next;
    }

    /// Mixes a shared secret and returns the key for the next AEAD.
    pub(super) fn mix_key(&mut self, secret: &[u8; 32]) -> Secret {
        let [next, key] = kdf::<2>(&self.chaining_key, secret);
        self.chaining_key = *next;
        key
    }

    pub(super) fn mix_psk(&mut self, psk: &PresharedKey) -> Secret {
        let [next, tau, key] = kdf::<3>(&self.chaining_key, psk.expose());
        self.chaining_key = *next;
        self.mix_hash(tau.as_slice());
        key
    }

    pub(super) fn seal(&mut self, key: &[u8; 32], text: &mut [u8]) {
        seal(key, 0, &self.hash, text);
        self.mix_hash(text);
    }

    fn open<const N: usize>(&mut self, key: &[u8; 32], sealed: &[u8; N]) -> Option<Zeroizing<[u8; N]>> {
        let mut text = Zeroizing::new(*sealed);
        open(key, 0, &self.hash, text.as_mut_slice())?;
        self.mix_hash(sealed);
        Some(text)
    }

    /// The session's keys: the initiator sends with the first.
    pub(super) fn split(&self) -> [Secret; 2] {
        kdf::<2>(&self.chaining_key, &[])
    }
}

/// What the initiator keeps until the response comes. Wiped when dropped.
pub struct Initiator {
    symmetric: Symmetric,
    ephemeral: Secret,
}

/// Makes an initiation to `peer`, its MACs still zero. `None` if the peer's key is a point of small order.
pub fn initiate(
    identity: &Identity,
    peer: &PublicKey,
    static_secret: &StaticSecret,
    local_index: u32,
    timestamp: Tai64N,
    rng: &mut dyn Rng,
) -> Option<(Initiator, [u8; INITIATION_BYTES])> {
    let mut message = [0; INITIATION_BYTES];
    message[0] = TYPE_INITIATION;
    message[4..8].copy_from_slice(&local_index.to_le_bytes());
    let mut symmetric = Symmetric::new(IDENTIFIER, peer);
    let ephemeral = Zeroizing::new(random_32(rng));
    let ephemeral_public = dh_public(&ephemeral);
    message[8..40].copy_from_slice(&ephemeral_public);
    symmetric.mix_ephemeral(&ephemeral_public);
    let key = symmetric.mix_key(&*dh(&ephemeral, &peer.0)?);
    message[40..72].copy_from_slice(&identity.public.0);
    symmetric.seal(&key, &mut message[40..88]);
    let key = symmetric.mix_key(static_secret.0.as_deref()?);
    message[88..100].copy_from_slice(&timestamp.0);
    symmetric.seal(&key, &mut message[88..116]);
    Some((Initiator { symmetric, ephemeral }, message))
}

impl Initiator {
    /// Checks a response; gives the session's keys and the responder's index. `None` if it does not authenticate.
    pub fn open_response(
        &self,
        identity: &Identity,
        psk: &PresharedKey,
        message: &[u8; RESPONSE_BYTES],
    ) -> Option<(SessionKeys, u32)> {
        let ephemeral: &[u8; 32] = message[12..].first_chunk()?;
        let sealed: &[u8; 16] = message[44..].first_chunk()?;
        let mut symmetric = self.symmetric.clone();
        symmetric.mix_ephemeral(ephemeral);
        symmetric.mix_key(&*dh(&self.ephemeral, ephemeral)?);
        symmetric.mix_key(&*dh(identity.private.expose(), ephemeral)?);
        let key = symmetric.mix_psk(psk);
        symmetric.open(&key, sealed)?;
        let [send, receive] = symmetric.split();
        Some((SessionKeys { send, receive }, u32_at(message, 4)))
    }
}

/// An initiation whose sender is known by name, but has not yet proven it.
pub struct Caller {
    symmetric: Symmetric,
    ephemeral: [u8; 32],
    remote_index: u32,
    sealed_timestamp: [u8; 28],
    /// Who the sender says it is.
    pub public_key: PublicKey,
}

impl Caller {
    /// Opens the sender's key. `None` if the message was not made for this device's key.
    pub fn open(identity: &Identity, message: &[u8; INITIATION_BYTES]) -> Option<Caller> {
        let ephemeral: &[u8; 32] = message[8..].first_chunk()?;
        let sealed_static: &[u8; 48] = message[40..].first_chunk()?;
        let sealed_timestamp: &[u8; 28] = message[88..].first_chunk()?;
        let mut symmetric = Symmetric::new(IDENTIFIER, &identity.public);
        symmetric.mix_ephemeral(ephemeral);
        let key = symmetric.mix_key(&*dh(identity.private.expose(), ephemeral)?);
        let public_key = PublicKey(*symmetric.open(&key, sealed_static)?.first_chunk()?);
        Some(Caller {
            symmetric,
            ephemeral: *ephemeral,
            remote_index: u32_at(message, 4),
            sealed_timestamp: *sealed_timestamp,
            public_key,
        })
    }

    /// Checks that the sender has the private key of [`Caller::public_key`].
    pub fn authenticate(mut self, static_secret: &StaticSecret) -> Option<Initiation> {
        let key = self.symmetric.mix_key(static_secret.0.as_deref()?);
        let timestamp = Tai64N(*self.symmetric.open(&key, &self.sealed_timestamp)?.first_chunk()?);
        Some(Initiation {
            symmetric: self.symmetric,
            ephemeral: self.ephemeral,
            peer: self.public_key,
            remote_index: self.remote_index,
            timestamp,
        })
    }
}

/// An authenticated initiation. It may still be a replay: the owner compares timestamps.
pub struct Initiation {
    symmetric: Symmetric,
    ephemeral: [u8; 32],
    peer: PublicKey,
    /// The initiator's index for the session to be.
    pub remote_index: u32,
    /// The initiator's clock.
    pub timestamp: Tai64N,
}

impl Initiation {
    /// Makes the response, its MACs still zero, and the session's keys. `None` if the peer's keys are points of small order.
    pub fn respond(
        mut self,
        psk: &PresharedKey,
        local_index: u32,
        rng: &mut dyn Rng,
    ) -> Option<([u8; RESPONSE_BYTES], SessionKeys)> {
        let mut message = [0; RESPONSE_BYTES];
        message[0] = TYPE_RESPONSE;
        message[4..8].copy_from_slice(&local_index.to_le_bytes());
        message[8..12].copy_from_slice(&self.remote_index.to_le_bytes());
        let ephemeral = Zeroizing::new(random_32(rng));
        let ephemeral_public = dh_public(&ephemeral);
        message[12..44].copy_from_slice(&ephemeral_public);
        self.symmetric.mix_ephemeral(&ephemeral_public);
        self.symmetric.mix_key(&*dh(&ephemeral, &self.ephemeral)?);
        self.symmetric.mix_key(&*dh(&ephemeral, &self.peer.0)?);
        let key = self.symmetric.mix_psk(psk);
        self.symmetric.seal(&key, &mut message[44..60]);
        let [receive, send] = self.symmetric.split();
        Some((message, SessionKeys { send, receive }))
    }
}
