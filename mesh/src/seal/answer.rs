//! The sealed answer to a request: one piece or several, in order.
//!
//! Each request has an answer key of its own. An agent numbers its answers as well, because it may
//! have forgotten a request and answer its copy. The number stands in front, and the pieces are
//! counted. A piece is four bytes with its length and whether it is the last one, and then its
//! bytes, sealed. Whether it is the last one is authenticated, and so is the status: no piece can
//! be lost, added or exchanged.

use super::aead::{self, TAG_LEN};
use super::hello::first;
use super::key::Secret;

/// The bit of the length of a piece that marks the last one.
const LAST: u32 = 1 << 31;
/// The length of the head of a piece, in bytes.
const HEAD_LEN: usize = 4;
/// The length of the number of an answer, in bytes.
const NUMBER_LEN: usize = 8;
/// The length that sealing adds to an answer, in bytes, and the maximum that it adds to a piece.
pub const ANSWER_OVERHEAD: usize = NUMBER_LEN + HEAD_LEN + TAG_LEN;

/// Seals the answer to a request, or opens it.
#[derive(Debug)]
pub struct AnswerKey {
    key: Secret,
    /// The number of the answer among all of the life that gives it.
    number: u64,
    /// The number of the next piece.
    next: u32,
}

impl AnswerKey {
    /// Creates the key for the answer to one request. The side that answers gives `number` to no
    /// other answer; the side that has asked reads it in the answer.
    pub(super) fn new(key: Secret, number: u64) -> Self {
        Self {
            key,
            number,
            next: 0,
        }
    }

    /// Seals an answer that is at hand as a whole.
    pub fn seal(mut self, status: u16, body: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(body.len() + ANSWER_OVERHEAD);
        self.seal_piece(status, body, true, &mut sealed);
        sealed
    }

    /// Appends the next piece of an answer, of less than 2 GiB, to `sealed`.
    ///
    /// # Panics
    /// If there are more than 2³² pieces.
    pub fn seal_piece(&mut self, status: u16, piece: &[u8], is_last: bool, sealed: &mut Vec<u8>) {
        if self.next == 0 {
            sealed.extend_from_slice(&self.number.to_be_bytes());
        }
        let length = u32::try_from(piece.len() + TAG_LEN).unwrap_or(u32::MAX) & !LAST;
        let head = length | if is_last { LAST } else { 0 };
        sealed.extend_from_slice(&head.to_be_bytes());
        let nonce = (self.next, self.number);
        aead::seal(&self.key, nonce, &bound(status, head), piece, sealed);
        let next = self.next.checked_add(1);
        self.next = next.expect("an answer has fewer than 2³² pieces");
    }

    /// Opens an answer with this status. Returns `None` if it is not the whole answer to this
    /// request, and nothing else.
    pub fn open(&self, status: u16, sealed: &[u8]) -> Option<Vec<u8>> {
        let (answer, mut sealed) = sealed.split_at_checked(NUMBER_LEN)?;
        let answer = u64::from_be_bytes(first(answer));
        let mut body = Vec::new();
        for number in 0.. {
            let (head, rest) = sealed.split_at_checked(HEAD_LEN)?;
            let head = u32::from_be_bytes(first(head));
            let length = usize::try_from(head & !LAST).ok()?;
            let (piece, rest) = rest.split_at_checked(length)?;
            let piece = aead::open(&self.key, (number, answer), &bound(status, head), piece)?;
            body.extend_from_slice(&piece);
            if head & LAST != 0 {
                return rest.is_empty().then_some(body);
            }
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
