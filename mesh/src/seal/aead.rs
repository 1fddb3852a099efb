//! ChaCha20-Poly1305 (RFC 8439) with counters as nonces.
//!
//! A nonce must not be used twice with one key. Each key here belongs to one direction between two
//! lives, and the sender's counter only rises; a restarted sender has a new life, and so new keys.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::key::Secret;

/// The length that sealing adds, in bytes.
pub(super) const TAG_LEN: usize = 16;

/// Appends `plain`, sealed under `counter` and bound to `header`, to `sealed`.
pub(super) fn seal(key: &Secret, counter: u64, header: &[u8], plain: &[u8], sealed: &mut Vec<u8>) {
    let start = sealed.len();
    sealed.extend_from_slice(plain);
    let tag = cipher(key)
        .seal_in_place_separate_tag(nonce(counter), Aad::from(header), &mut sealed[start..])
        .expect("ChaCha20-Poly1305 seals up to 256 GiB");
    sealed.extend_from_slice(tag.as_ref());
}

/// Returns what was sealed under `counter` and bound to `header`; `None` if `sealed` is not that.
pub(super) fn open(key: &Secret, counter: u64, header: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = sealed.to_vec();
    let opened = cipher(key).open_in_place(nonce(counter), Aad::from(header), &mut bytes);
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

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
