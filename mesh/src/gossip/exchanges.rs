//! The exchanges that this node takes part in. An answer is believed only if this node has sent
//! the message that it answers, and nobody gets more answers than fit into a budget.
//!
//! Gossip is made of exchanges: a SYN, a SYN-ACK that answers it, and an ACK that answers that. The
//! source of a datagram can be forged, and an answer may be thousands of times as large as a SYN.
//! So a node that nobody knows yet first gets an *introduction*: a SYN-ACK that has nothing but the
//! identity of this node, and is smaller than the SYN. By its next SYN it is known, and gets all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::AnswerBudget;
use super::frame::Kind;

/// How long an answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// The maximum number of addresses from which an answer is awaited.
const AWAITED_MAX: usize = 4096;

/// Addresses, each with the last instant at which something was sent there.
#[derive(Debug, Default)]
struct Recent(BTreeMap<SocketAddr, Instant>);

impl Recent {
    fn insert(&mut self, address: SocketAddr, now: Instant) {
        if self.0.len() >= AWAITED_MAX {
            self.0.retain(|_, sent| now - *sent < ANSWERED_WITHIN);
        }
        if self.0.len() < AWAITED_MAX || self.0.contains_key(&address) {
            self.0.insert(address, now);
        }
    }

    fn contains(&self, address: SocketAddr, now: Instant) -> bool {
        let sent = self.0.get(&address);
        sent.is_some_and(|sent| now - *sent < ANSWERED_WITHIN)
    }
}

/// The exchanges under way.
#[derive(Debug)]
pub(super) struct Exchanges {
    syns: Recent,
    syn_acks: Recent,
    answers: AnswerBudget,
}

impl Exchanges {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            syns: Recent::default(),
            syn_acks: Recent::default(),
            answers: AnswerBudget::new(now),
        }
    }

    /// Records that a message was sent to `to`.
    pub(super) fn sent(&mut self, kind: Kind, to: SocketAddr, now: Instant) {
        match kind {
            Kind::Syn => self.syns.insert(to, now),
            Kind::SynAck => self.syn_acks.insert(to, now),
            Kind::Ack => {}
        }
    }

    /// Returns whether this node awaits a message of this kind from `from`.
    pub(super) fn awaits(&self, kind: Kind, from: SocketAddr, now: Instant) -> bool {
        match kind {
            Kind::Syn => true,
            Kind::SynAck => self.syns.contains(from, now),
            Kind::Ack => self.syn_acks.contains(from, now),
        }
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
