//! The exchanges that this node takes part in. An answer is believed only if this node has sent
//! the message that it answers, and nobody gets more answers than fit into a budget.
//!
//! Gossip is made of exchanges: a SYN, a SYN-ACK that answers it, and an ACK that answers that. The
//! source of a datagram can be forged, and an answer may be thousands of times as large as a SYN.
//! So an address first has to prove its *return path*: it repeats a *challenge*, which is a
//! heartbeat of this node that nobody else was told. Until then it gets nothing but a SYN or a
//! SYN-ACK with the challenge, and nothing that it says reaches chitchat.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::AnswerBudget;
use super::frame::{Entry, HEARTBEAT_STEP, Id, Kind};
use super::roster::Own;

/// How long an answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How long the same challenge is sent to an address.
const CHALLENGE_LASTS: Duration = Duration::from_secs(2);
/// The maximum number of addresses from which an answer is awaited.
const AWAITED_MAX: usize = 4096;
/// The heartbeats of a poll, at most: all challenges are greater.
const HEARTBEATS: u64 = 1 << 14;

/// Addresses, each with what was last sent there.
#[derive(Debug)]
struct Recent<T>(BTreeMap<SocketAddr, (Instant, T)>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Recent<T> {
    fn insert(&mut self, address: SocketAddr, what: T, now: Instant) {
        if self.0.len() >= AWAITED_MAX {
            self.0.retain(|_, (sent, _)| now - *sent < ANSWERED_WITHIN);
        }
        if self.0.len() < AWAITED_MAX || self.0.contains_key(&address) {
            self.0.insert(address, (now, what));
        }
    }

    fn get(&self, address: SocketAddr, now: Instant) -> Option<&(Instant, T)> {
        let sent = self.0.get(&address);
        sent.filter(|(sent, _)| now - *sent < ANSWERED_WITHIN)
    }
}

/// The exchanges under way.
#[derive(Debug)]
pub(super) struct Exchanges {
    syns: Recent<()>,
    syn_acks: Recent<()>,
    challenges: Recent<u64>,
    /// The SYNs of chitchat whose receivers have not introduced themselves yet.
    begun: Recent<()>,
    secret: RandomState,
    count: u64,
    answers: AnswerBudget,
}

impl Exchanges {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            syns: Recent::default(),
            syn_acks: Recent::default(),
            challenges: Recent::default(),
            begun: Recent::default(),
            secret: RandomState::new(),
            count: 0,
            answers: AnswerBudget::new(now),
        }
    }

    /// Records that a message was sent to `to`.
    pub(super) fn sent(&mut self, kind: Kind, to: SocketAddr, now: Instant) {
        match kind {
            Kind::Syn => self.syns.insert(to, (), now),
            Kind::SynAck => self.syn_acks.insert(to, (), now),
            Kind::Ack => {}
        }
    }

    /// Returns whether this node awaits a message of this kind from `from`.
    pub(super) fn awaits(&self, kind: Kind, from: SocketAddr, now: Instant) -> bool {
        match kind {
            Kind::Syn => true,
            Kind::SynAck => self.syns.get(from, now).is_some(),
            Kind::Ack => self.syn_acks.get(from, now).is_some(),
        }
    }

    /// Returns the own entry with a challenge for `to`.
    pub(super) fn challenge(&mut self, own: Own, to: SocketAddr, now: Instant) -> Entry {
        let present = self.challenges.get(to, now).copied();
        let present = present.filter(|(since, heartbeat)| {
            now - *since < CHALLENGE_LASTS && *heartbeat > own.heartbeat
        });
        let heartbeat = present.map_or_else(
            || {
                self.count += 1;
                let random = self.secret.hash_one((to, self.count));
                let nonce = HEARTBEATS + random % (HEARTBEAT_STEP - HEARTBEATS);
                let heartbeat = own.heartbeat / HEARTBEAT_STEP * HEARTBEAT_STEP + nonce;
                self.challenges.insert(to, heartbeat, now);
                heartbeat
            },
            |(_, heartbeat)| heartbeat,
        );
        Entry {
            heartbeat,
            ..own.entry()
        }
    }

    /// Returns whether `digest` has the challenge for `from`.
    pub(super) fn is_proof(
        &self,
        digest: &[Entry],
        own: Id,
        from: SocketAddr,
        now: Instant,
    ) -> bool {
        self.challenges.get(from, now).is_some_and(|(_, told)| {
            let repeats = |entry: &Entry| entry.id == own && entry.heartbeat == *told;
            digest.iter().any(repeats)
        })
    }

    /// Records that chitchat has begun an exchange with `to`.
    pub(super) fn begun(&mut self, to: SocketAddr, now: Instant) {
        self.begun.insert(to, (), now);
    }

    /// Returns whether an introduction by `to` may be followed by a SYN: once for each SYN of
    /// chitchat, so that two nodes never answer each other without end.
    pub(super) fn may_follow(&mut self, to: SocketAddr, now: Instant) -> bool {
        let has_begun = self.begun.get(to, now).is_some();
        self.begun.0.remove(&to);
        has_begun
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
}
