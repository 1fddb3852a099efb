//! The budgets of gossip: how many bytes this node decodes in a second, and how many it answers.
//!
//! A budget is a token bucket in bytes. A message waits until the bucket of its source has all that
//! it costs: large messages with the forged source of a member leave room for its small ones. It
//! may take the bucket of all sources below zero: small messages of many sources leave room for
//! large ones.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::time::Instant;

use crate::unknown_host;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

/// The budget of decoding messages from known addresses: those of which an agent has ever been
/// live, and those that this node has just asked. A node in a mesh of 1,000 decodes half a
/// mebibyte in a second, digests of its own included.
const KNOWN: Rate = Rate::new(4.0 * MIB, 16.0 * MIB);
/// The budget of decoding messages from all other addresses. Known members have their own, so that
/// strangers cannot keep them out.
const STRANGERS: Rate = Rate::new(MIB, 4.0 * MIB);
/// The share of one known address: a digest and an answer of a mesh of 1,000 in each second.
const KNOWN_SOURCE: Rate = Rate::new(128.0 * KIB, 4.0 * MIB);
/// The share of one other address. It is enough for the first answer of a large mesh.
const STRANGE_SOURCE: Rate = Rate::new(MIB / 4.0, MIB);
/// The cost of a message besides its bytes.
const MESSAGE: f64 = KIB;

/// The budget of answers to one address: some answers as large as a datagram, and then less than a
/// hundredth of a 100-Mbit/s link.
const ANSWERS_TO_ONE: Rate = Rate::new(16.0 * KIB, 256.0 * KIB);
/// The budget of answers to all addresses of which no agent is live.
const ANSWERS_TO_STRANGERS: Rate = Rate::new(128.0 * KIB, MIB);

/// The maximum number of addresses with a bucket of their own. If more of them are active at once,
/// the others wait: only forged addresses are so many.
const SOURCES_MAX: usize = 4096;

/// Bytes per second, and the maximum number of bytes at once.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    burst: f64,
}

impl Rate {
    const fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst }
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    bytes: f64,
    filled: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            bytes: rate.burst,
            filled: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled);
        let bytes = self.bytes + elapsed.as_secs_f64() * self.rate.per_second;
        self.bytes = bytes.min(self.rate.burst);
        self.filled = self.filled.max(now);
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.bytes >= self.rate.burst
    }

    fn has(&mut self, bytes: f64, now: Instant) -> bool {
        self.fill(now);
        self.bytes >= bytes
    }
}

/// A bucket for each active address.
#[derive(Debug)]
struct Sources {
    rate: Rate,
    buckets: BTreeMap<IpAddr, Bucket>,
}

impl Sources {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: BTreeMap::new(),
        }
    }

    /// Returns the bucket of `source`, unless too many other addresses are active.
    fn get(&mut self, source: IpAddr, now: Instant) -> Option<&mut Bucket> {
        let source = source.to_canonical();
        if self.buckets.len() >= SOURCES_MAX && !self.buckets.contains_key(&source) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= SOURCES_MAX {
                return None;
            }
        }
        let new = Bucket::new(self.rate, now);
        Some(self.buckets.entry(source).or_insert(new))
    }
}

/// The budget of decoding.
#[derive(Debug)]
pub(super) struct DecodeBudget {
    known: Bucket,
    strangers: Bucket,
    known_sources: Sources,
    strange_sources: Sources,
}

impl DecodeBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: Bucket::new(KNOWN, now),
            strangers: Bucket::new(STRANGERS, now),
            known_sources: Sources::new(KNOWN_SOURCE),
            strange_sources: Sources::new(STRANGE_SOURCE),
        }
    }

    /// Takes what a message of `bytes` from `source` costs, if there is room for it.
    pub(super) fn take(
        &mut self,
        source: IpAddr,
        is_known: bool,
        bytes: usize,
        now: Instant,
    ) -> bool {
        let cost = MESSAGE + bytes as f64;
        let (all, one) = self.buckets(source, is_known, now);
        let Some(one) = one else {
            return false;
        };
        if !all.has(MESSAGE, now) || !one.has(cost, now) {
            return false;
        }
        all.bytes -= cost;
        one.bytes -= cost;
        true
    }

    fn buckets(
        &mut self,
        source: IpAddr,
        is_known: bool,
        now: Instant,
    ) -> (&mut Bucket, Option<&mut Bucket>) {
        if is_known {
            (&mut self.known, self.known_sources.get(source, now))
        } else {
            let host = unknown_host(source);
            (&mut self.strangers, self.strange_sources.get(host, now))
        }
    }
}

/// The budget of answers.
#[derive(Debug)]
pub(super) struct AnswerBudget {
    strangers: Bucket,
    sources: Sources,
}

impl AnswerBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            strangers: Bucket::new(ANSWERS_TO_STRANGERS, now),
            sources: Sources::new(ANSWERS_TO_ONE),
        }
    }

    /// Takes an answer of `bytes` to `to`, if there is room for it.
    pub(super) fn take(&mut self, to: IpAddr, is_live: bool, bytes: usize, now: Instant) -> bool {
        let bytes = bytes as f64;
        let Some(one) = self.sources.get(to, now) else {
            return false;
        };
        if !one.has(bytes, now) || !(is_live || self.strangers.has(bytes, now)) {
            return false;
        }
        one.bytes -= bytes;
        if !is_live {
            self.strangers.bytes -= bytes;
        }
        true
    }
}
