//! ChaCha20-Poly1305 (RFC 8439) with numbers as nonces.
//!
//! A nonce must not be used twice with one key. Each key here belongs to one direction between two
//! lives, and the sender's numbers only rise; a restarted sender has a new life, and so new keys.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::key::Secret;

/// The length that sealing adds, in bytes.
pub(super) const TAG_LEN: usize = 16;

/// Two numbers that together never repeat with one key.
pub(super) type Number = (u32, u64);

/// Appends `plain`, sealed under `number` and bound to `header`, to `sealed`.
pub(super) fn seal(
    key: &Secret,
    number: Number,
    header: &[u8],
    plain: &[u8],
    sealed: &mut Vec<u8>,
) {
    let start = sealed.len();
    sealed.extend_from_slice(plain);
    let tag = cipher(key)
        .seal_in_place_separate_tag(nonce(number), Aad::from(header), &mut sealed[start..])
        .expect("ChaCha20-Poly1305 seals up to 256 GiB");
    sealed.extend_from_slice(tag.as_ref());
}

/// Returns what was sealed under `number` and bound to `header`; `None` if `sealed` is not that.
pub(super) fn open(key: &Secret, number: Number, header: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = sealed.to_vec();
    let opened = cipher(key).open_in_place(nonce(number), Aad::from(header), &mut bytes);
    let length = opened.ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

/// Makes ring's form of a key for one use: ChaCha20 has no key schedule to keep, and ring does not
/// wipe its keys from memory.
fn cipher(key: &Secret) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.bytes());
    LessSafeKey::new(key.expect("a key of ChaCha20-Poly1305 has 32 bytes"))
}

fn nonce((high, low): Number) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&high.to_be_bytes());
    nonce[4..].copy_from_slice(&low.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
