//! The sealed answer to a request: one piece or several, in order.
//!
//! Each request has an answer key of its own, so the pieces are simply counted. A piece is four
//! bytes with its length and whether it is the last one, and then its bytes, sealed. Whether it is
//! the last one is authenticated, and so is the status: no piece can be lost, added or exchanged.

use super::aead::{self, TAG_LEN};
use super::hello::first;
use super::key::Secret;

/// The bit of the length of a piece that marks the last one.
const LAST: u32 = 1 << 31;
/// The length of the head of a piece, in bytes.
const HEAD_LEN: usize = 4;
/// The length that sealing adds to each piece of an answer, in bytes.
pub const ANSWER_OVERHEAD: usize = HEAD_LEN + TAG_LEN;

/// Seals the answer to a request, or opens it.
#[derive(Debug)]
pub struct AnswerKey {
    key: Secret,
    /// The number of the next piece.
    next: u64,
}

impl AnswerKey {
    /// Creates the key for the answer to one request. `key` is used for nothing else.
    pub(super) fn new(key: Secret) -> Self {
        Self { key, next: 0 }
    }

    /// Seals an answer that is at hand as a whole.
    pub fn seal(mut self, status: u16, body: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(body.len() + ANSWER_OVERHEAD);
        self.seal_piece(status, body, true, &mut sealed);
        sealed
    }

    /// Appends the next piece of an answer, of less than 2 GiB, to `sealed`.
    pub fn seal_piece(&mut self, status: u16, piece: &[u8], is_last: bool, sealed: &mut Vec<u8>) {
        let length = u32::try_from(piece.len() + TAG_LEN).unwrap_or(u32::MAX) & !LAST;
        let head = length | if is_last { LAST } else { 0 };
        sealed.extend_from_slice(&head.to_be_bytes());
        aead::seal(&self.key, self.next, &bound(status, head), piece, sealed);
        self.next += 1;
    }

    /// Opens an answer with this status. Returns `None` if it is not the whole answer to this
    /// request, and nothing else.
    pub fn open(&self, status: u16, mut sealed: &[u8]) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        for number in 0.. {
            let (head, rest) = sealed.split_at_checked(HEAD_LEN)?;
            let head = u32::from_be_bytes(first(head));
            let length = usize::try_from(head & !LAST).ok()?;
            let (piece, rest) = rest.split_at_checked(length)?;
            let piece = aead::open(&self.key, number, &bound(status, head), piece)?;
            if head & LAST != 0 {
                return rest.is_empty().then(|| [body, piece].concat());
            }
            body.extend_from_slice(&piece);
            sealed = rest;
        }
        None
    }
}

/// Returns what is authenticated besides a piece.
fn bound(status: u16, head: u32) -> [u8; 6] {
    let mut bound = [0; 6];
    bound[..2].copy_from_slice(&status.to_be_bytes());
    bound[2..].copy_from_slice(&head.to_be_bytes());
    bound
}
