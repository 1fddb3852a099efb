//! The exchanges that this node begins, and what it gives to others in exchanges. An answer is
//! believed only if this node has sent the message that it answers, and nobody gets more answers
//! than fit into a budget.
//!
//! Gossip is made of exchanges: a SYN, a SYN-ACK that answers it, and an ACK that answers that. The
//! source of a datagram can be forged, and an answer may be thousands of times as large as a SYN.
//! So an address first has to prove its *return path*: it repeats a *challenge*, which is a
//! heartbeat of this node that nobody else was told. Until then it gets nothing but a SYN or a
//! SYN-ACK with the challenge, and nothing that it says reaches chitchat.
//!
//! A challenge is a keyed hash of the address and the time. It takes no memory, however many
//! addresses ask for one.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::AnswerBudget;
use super::frame::{Entry, HEARTBEAT_STEP};
use super::roster::Own;

/// How long an answer may take.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How long an address is told the same challenge. It is accepted for as long again.
const CHALLENGE_LASTS: Duration = Duration::from_secs(10);
/// The maximum number of addresses to which SYNs of this node are under way.
const ASKED_MAX: usize = 4096;
/// The heartbeats of a poll, at most: all challenges are greater.
const HEARTBEATS: u64 = 1 << 14;

/// A SYN that was sent.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    /// Whether it is one of chitchat whose receiver has not introduced itself yet.
    may_follow: bool,
}

/// The exchanges under way.
#[derive(Debug)]
pub(super) struct Exchanges {
    asked: BTreeMap<SocketAddr, Asked>,
    secret: RandomState,
    started: Instant,
    answers: AnswerBudget,
}

impl Exchanges {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: BTreeMap::new(),
            secret: RandomState::new(),
            started: now,
            answers: AnswerBudget::new(now),
        }
    }

    /// Records that a SYN of chitchat was sent to `to`.
    pub(super) fn asked(&mut self, to: SocketAddr, now: Instant) {
        if self.asked.len() >= ASKED_MAX {
            self.asked
                .retain(|_, asked| now - asked.at < ANSWERED_WITHIN);
        }
        if self.asked.len() < ASKED_MAX || self.asked.contains_key(&to) {
            let asked = Asked {
                at: now,
                may_follow: true,
            };
            self.asked.insert(to, asked);
        }
    }

    /// Returns whether this node awaits a SYN-ACK from `from`.
    pub(super) fn awaits(&self, from: SocketAddr, now: Instant) -> bool {
        let asked = self.asked.get(&from);
        asked.is_some_and(|asked| now - asked.at < ANSWERED_WITHIN)
    }

    /// Returns whether an introduction by `to` may be followed by another SYN: once for each SYN of
    /// chitchat, so that two nodes never answer each other without end.
    pub(super) fn may_follow(&mut self, to: SocketAddr, now: Instant) -> bool {
        let Some(asked) = self.asked.get_mut(&to) else {
            return false;
        };
        let may_follow = asked.may_follow && now - asked.at < ANSWERED_WITHIN;
        *asked = Asked {
            at: now,
            may_follow: false,
        };
        may_follow
    }

    /// Returns the own entry with a challenge for `to`.
    pub(super) fn challenge(&self, own: Own, to: SocketAddr, now: Instant) -> Entry {
        let poll = own.heartbeat / HEARTBEAT_STEP;
        Entry {
            heartbeat: poll * HEARTBEAT_STEP + self.nonce(to, self.turn(now)),
            ..own.entry()
        }
    }

    /// Returns whether `digest` has a challenge for `from` that has not expired.
    pub(super) fn is_proof(
        &self,
        digest: &[Entry],
        own: Own,
        from: SocketAddr,
        now: Instant,
    ) -> bool {
        let turn = self.turn(now);
        let nonces = [turn, turn.saturating_sub(1)].map(|turn| self.nonce(from, turn));
        let repeats = |entry: &Entry| {
            entry.id == own.id
                && entry.heartbeat / HEARTBEAT_STEP <= own.heartbeat / HEARTBEAT_STEP
                && nonces.contains(&(entry.heartbeat % HEARTBEAT_STEP))
        };
        digest.iter().any(repeats)
    }

    /// Takes an answer of `bytes` to `to` from the budget, if there is room for it. `is_live` is
    /// whether an agent there has ever been live.
    pub(super) fn may_answer(
        &mut self,
        to: SocketAddr,
        is_live: bool,
        bytes: usize,
        now: Instant,
    ) -> bool {
        self.answers.take(to.ip(), is_live, bytes, now)
    }

    fn turn(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.started);
        elapsed.as_secs() / CHALLENGE_LASTS.as_secs()
    }

    fn nonce(&self, of: SocketAddr, turn: u64) -> u64 {
        HEARTBEATS + self.secret.hash_one((of, turn)) % (HEARTBEAT_STEP - HEARTBEATS)
    }
}
