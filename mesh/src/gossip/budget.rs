//! The budgets of gossip: how many bytes this node decodes in a second, and how many it answers.
//!
//! A budget is a token bucket in bytes. A message that finds its bucket empty is dropped.

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
/// The share of one known address, for usual messages and for large ones: a digest and an answer of
/// a mesh of 1,000 in each second. In a small mesh it is a member's part of [`KNOWN`].
const KNOWN_SOURCE: Rate = Rate::new(128.0 * KIB, 4.0 * MIB);
/// The maximum cost of a usual message: this much, and so much more for each identity.
const USUAL: f64 = 2.0 * KIB;
const USUAL_OF_IDENTITY: f64 = 256.0;
/// The share of one other address. It is enough for the first states of a large mesh.
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
        let bucket = self.buckets.entry(source).or_insert(new);
        bucket.rate = self.rate;
        Some(bucket)
    }
}

/// The budget of decoding.
///
/// A message may take its buckets below zero, so that dear messages have the same chance as cheap
/// ones. The source of a message can be forged, and then a few large messages would use up what a
/// member has. So usual messages and large ones have buckets of their own.
#[derive(Debug)]
pub(super) struct DecodeBudget {
    known: Bucket,
    strangers: Bucket,
    usual: Sources,
    large: Sources,
    strange: Sources,
}

impl DecodeBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: Bucket::new(KNOWN, now),
            strangers: Bucket::new(STRANGERS, now),
            usual: Sources::new(KNOWN_SOURCE),
            large: Sources::new(KNOWN_SOURCE),
            strange: Sources::new(STRANGE_SOURCE),
        }
    }

    /// Takes what a message of a known address costs, if there is room for it. `identities` is the
    /// number of those that this node keeps.
    pub(super) fn take_known(
        &mut self,
        source: IpAddr,
        bytes: usize,
        identities: usize,
        now: Instant,
    ) -> bool {
        let usual = USUAL + identities as f64 * USUAL_OF_IDENTITY;
        let is_usual = MESSAGE + bytes as f64 <= usual;
        let sources = if is_usual {
            &mut self.usual
        } else {
            &mut self.large
        };
        let part = KNOWN.per_second / identities.max(1) as f64;
        sources.rate.per_second = part.max(KNOWN_SOURCE.per_second);
        take(&mut self.known, sources.get(source, now), bytes, now)
    }

    /// Takes what a message of any other address costs, if there is room for it.
    pub(super) fn take_strange(&mut self, source: IpAddr, bytes: usize, now: Instant) -> bool {
        let source = self.strange.get(unknown_host(source), now);
        take(&mut self.strangers, source, bytes, now)
    }
}

fn take(all: &mut Bucket, source: Option<&mut Bucket>, bytes: usize, now: Instant) -> bool {
    let Some(source) = source else {
        return false;
    };
    if !all.has(MESSAGE, now) || !source.has(MESSAGE, now) {
        return false;
    }
    let cost = MESSAGE + bytes as f64;
    all.bytes -= cost;
    source.bytes -= cost;
    true
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
