//! The signing key of one life of an agent (Ed25519, RFC 8032).
//!
//! The life is a hash of the public key. So nobody publishes anything in the name of a life but
//! the agent that has drawn the key, and no list of keys is needed.

use std::fmt;

use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::Life;
use crate::life::LIFE_LEN;

/// The length of a public key, and of the seed of a signing key, in bytes.
pub const PUBLIC_KEY_LEN: usize = 32;
/// The length of a signature, in bytes.
pub const SIGNATURE_LEN: usize = 64;
/// The label in front of a public key whose hash is a life.
const LIFE_LABEL: &[u8] = b"iperf3-mesh life";

/// The public half of a signing key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; PUBLIC_KEY_LEN]);

impl PublicKey {
    /// Takes over the bytes of a public key. Whether they are one shows in [`Self::verifies`].
    pub const fn new(bytes: [u8; PUBLIC_KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the key as bytes.
    pub const fn bytes(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.0
    }

    /// Returns the only life that signs with this key.
    pub fn life(&self) -> Life {
        let hash = digest(&SHA256, &[LIFE_LABEL, &self.0].concat());
        let mut life = [0; LIFE_LEN];
        life.copy_from_slice(&hash.as_ref()[..LIFE_LEN]);
        Life::new(life)
    }

    /// Returns whether the owner of the key has signed `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey of {:?}", self.life())
    }
}

/// The signing key of one life.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    /// Creates the key of a new life from random bytes, which nothing else may use.
    pub fn new(seed: &[u8; PUBLIC_KEY_LEN]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .expect("every 32 bytes are a seed of Ed25519");
        let mut public = [0; PUBLIC_KEY_LEN];
        public.copy_from_slice(pair.public_key().as_ref());
        Self {
            pair,
            public: PublicKey(public),
        }
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Returns the life that signs with this key.
    pub fn life(&self) -> Life {
        self.public.life()
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut signature = [0; SIGNATURE_LEN];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer of {:?}", self.life())
    }
}
