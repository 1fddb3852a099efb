//! The signature of a published state, by which nobody speaks for others.
//!
//! The owner signs all pairs of its state with their versions, its identity and the name of the
//! mesh. The signature is part of the state, as its two last pairs. So a state with both is
//! complete, and nobody can put together parts of two states, present an old state as a new one, or
//! cut off what came last.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::frame::{Id, NodeDelta};
use super::state::{SIGNED_SINCE, key};
use crate::MeshName;
use crate::seal::{PUBLIC_KEY_LEN, PublicKey, SIGNATURE_LEN, Signer};

const LABEL: &[u8] = b"iperf3-mesh state v4";
/// The length of each half of a signature as text. Agents of wire version 3 take no value of more
/// than 64 bytes, so a signature has two.
const HALF_LEN: usize = 43;

/// A pair of a state: its key is one letter.
type Pair<'a> = (&'a str, u64, &'a str);

/// Returns the two halves of the signature of a state with these pairs, which are in the order of
/// their keys. The first half has the version `version`, and the second one the next.
pub(super) fn sign<'a>(
    signer: &Signer,
    mesh: &MeshName,
    id: Id,
    pairs: impl Iterator<Item = Pair<'a>>,
    version: u64,
) -> [(&'static str, String); 2] {
    let signature = signer.sign(&text(mesh, id, pairs, version));
    let mut first = URL_SAFE_NO_PAD.encode(signature);
    let second = first.split_off(HALF_LEN);
    [(key::SIGNATURE, first), (key::SIGNATURE_END, second)]
}

/// Returns the bytes that are signed.
fn text<'a>(
    mesh: &MeshName,
    id: Id,
    pairs: impl Iterator<Item = Pair<'a>>,
    version: u64,
) -> Vec<u8> {
    let mut text = LABEL.to_vec();
    let mut put = |part: &[u8]| {
        // No part is longer than a value.
        text.extend((part.len() as u16).to_be_bytes());
        text.extend(part);
    };
    put(mesh.as_str().as_bytes());
    put(&id.bytes());
    put(&version.to_be_bytes());
    for (key, version, value) in pairs.filter(|(key, ..)| !is_signature(key)) {
        put(key.as_bytes());
        put(&version.to_be_bytes());
        put(value.as_bytes());
    }
    text
}

fn is_signature(key: &str) -> bool {
    key == key::SIGNATURE || key == key::SIGNATURE_END
}

/// Returns the public key that `text` stands for.
pub(super) fn read_public_key(text: &str) -> Option<PublicKey> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let bytes: [u8; PUBLIC_KEY_LEN] = bytes.try_into().ok()?;
    Some(PublicKey::new(bytes))
}

/// Returns a public key as text.
pub(super) fn public_key_text(public: &PublicKey) -> String {
    URL_SAFE_NO_PAD.encode(public.bytes())
}

/// Returns whether news are of a signed state, whose owner has wire version 4 or a later one. Such
/// a state begins with its version.
pub(super) fn is_signed(news: &NodeDelta<'_>) -> bool {
    news.keys.iter().any(|pair| match pair.key {
        key::WIRE => pair
            .value
            .parse()
            .is_ok_and(|wire: u16| wire >= SIGNED_SINCE),
        key => key == key::PUBLIC_KEY || is_signature(key),
    })
}

/// Returns whether news end with a signature, as whatever an owner publishes does. Chitchat cuts
/// the end of a message that is too long.
pub(super) fn is_whole(news: &NodeDelta<'_>) -> bool {
    let [.., first, second] = &news.keys[..] else {
        return false;
    };
    first.key == key::SIGNATURE
        && second.key == key::SIGNATURE_END
        && second.version == first.version + 1
}

/// A state that its owner has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignedState {
    pub(super) public: PublicKey,
    /// The version of the last pair.
    pub(super) version: u64,
    pairs: BTreeMap<Box<str>, (u64, Box<str>)>,
}

impl SignedState {
    /// Returns the state that follows when news that end with a signature change `before`. Nothing
    /// is verified yet. `None` if the news begin after the end of `before`, or name no key.
    pub(super) fn after(before: Option<&Self>, news: &NodeDelta<'_>) -> Option<Self> {
        if before.map_or(0, |before| before.version) < news.after {
            return None;
        }
        let kept = before.into_iter().flat_map(|before| &before.pairs);
        let kept = kept.filter(|(_, (version, _))| *version <= news.after);
        let mut pairs: BTreeMap<_, _> = kept
            .map(|(key, pair)| (key.clone(), pair.clone()))
            .collect();
        for pair in &news.keys {
            pairs.insert(pair.key.into(), (pair.version, pair.value.into()));
        }
        let (_, public) = pairs.get(key::PUBLIC_KEY)?;
        Some(Self {
            public: read_public_key(public)?,
            version: news.keys.last()?.version,
            pairs,
        })
    }

    /// Returns whether the owner of the public key has signed this as the state of `id`.
    pub(super) fn verifies(&self, mesh: &MeshName, id: Id) -> bool {
        let half = |key| self.pairs.get(key);
        let (Some((version, first)), Some((last, second))) =
            (half(key::SIGNATURE), half(key::SIGNATURE_END))
        else {
            return false;
        };
        if *last != self.version || self.pairs.values().any(|(other, _)| other > last) {
            return false;
        }
        let signature = URL_SAFE_NO_PAD.decode([&**first, &**second].concat());
        let signature = signature.ok().and_then(|bytes| bytes.try_into().ok());
        let pairs = self.pairs.iter();
        let pairs = pairs.map(|(key, (version, value))| (&**key, *version, &**value));
        signature.is_some_and(|signature: [u8; SIGNATURE_LEN]| {
            self.public
                .verifies(&text(mesh, id, pairs, *version), &signature)
        })
    }
}
