//! The voices of the mesh. A *voice* is an address that has proven that messages to
//! it arrive there, together with the identity as which it speaks.
//!
//! One address and port has one owner. So what it says of itself overrules what others say of it,
//! as long as it speaks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::exchanges::ANSWERED_WITHIN;
use super::frame::{Entry, Frame, HEARTBEAT_STEP, Id, NodeDelta};
use super::state;

/// How long others are not heard about an address after it has spoken.
const HEARSAY_AFTER: Duration = Duration::from_secs(2);
/// How long a voice is kept after it was last heard.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// The maximum number of voices.
const VOICES_MAX: usize = 4096;
/// The maximum number of polls by which a heartbeat rises, besides those of the time that has
/// passed: a message may be late.
const POLLS_MAX: u64 = 400;
/// The maximum number of polls in a second, of an agent with the shortest gossip interval.
const POLLS_PER_SECOND: u64 = 40;

/// An address that has proven its return path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voice {
    /// The identity as which the address speaks; `None` if its messages have several.
    pub(super) id: Option<Id>,
    pub(super) heard: Instant,
    /// The greatest heartbeat that it has told of itself.
    heartbeat: u64,
    /// Whether it has said goodbye.
    pub(super) has_left: bool,
    /// Whether a message without a proof had another identity, or a heartbeat that no agent
    /// reaches: the address must prove its path again.
    is_doubted: bool,
    /// When this node last answered a SYN of the address.
    answered: Option<Instant>,
}

/// The voices, by address.
#[derive(Debug, Default)]
pub(super) struct Voices(BTreeMap<SocketAddr, Voice>);

impl Voices {
    /// Returns whether `address` has proven its return path.
    pub(super) fn is_proven(&self, address: SocketAddr) -> bool {
        self.0.contains_key(&address)
    }

    /// Records that this node answers a SYN of `address`.
    pub(super) fn answered(&mut self, address: SocketAddr, now: Instant) {
        if let Some(voice) = self.0.get_mut(&address) {
            voice.answered = Some(now);
        }
    }

    /// Returns whether this node awaits an ACK from `address`.
    pub(super) fn awaits(&self, address: SocketAddr, now: Instant) -> bool {
        let answered = self.0.get(&address).and_then(|voice| voice.answered);
        answered.is_some_and(|at| now.saturating_duration_since(at) < ANSWERED_WITHIN)
    }

    /// Returns whether `address` has yet to prove its return path, or as whom it speaks.
    pub(super) fn must_prove(&self, address: SocketAddr) -> bool {
        self.0.get(&address).is_none_or(|voice| voice.is_doubted)
    }

    pub(super) fn get(&self, address: SocketAddr) -> Option<Voice> {
        self.0.get(&address).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the voice of `address` if it has just spoken as a known identity.
    pub(super) fn speaking(&self, address: SocketAddr, now: Instant) -> Option<(Id, u64)> {
        let voice = self.0.get(&address)?;
        let is_recent = now.saturating_duration_since(voice.heard) < HEARSAY_AFTER;
        Some((voice.id.filter(|_| is_recent)?, voice.heartbeat))
    }

    /// Takes note of a message from `from`. `is_proof` is whether it has what only a receiver of
    /// this node's messages knows. `is_member` is whether an agent at an address has ever been
    /// live.
    pub(super) fn hear(
        &mut self,
        frame: &Frame<'_>,
        from: SocketAddr,
        is_proof: bool,
        is_member: impl Fn(SocketAddr) -> bool,
        now: Instant,
    ) {
        if is_proof && !self.0.contains_key(&from) {
            self.make_room(is_member, now);
        }
        let speaker = speaker(frame.digest(), from);
        let id = speaker.id();
        if is_proof {
            let voice = self.0.entry(from).or_insert(Voice::new(id, now));
            if voice.id != id {
                *voice = Voice::new(id, now);
            }
            voice.is_doubted = false;
        }
        let Some(voice) = self.0.get_mut(&from) else {
            return;
        };
        if !is_proof && voice.is_odd(speaker, now) {
            voice.is_doubted = true;
            return;
        }
        if let Speaker::One(entry) = speaker {
            voice.heard = now;
            voice.heartbeat = voice.heartbeat.max(entry.heartbeat);
        } else if matches!(frame, Frame::Ack(_)) {
            voice.heard = now;
        }
        let of_itself = |news: &&NodeDelta<'_>| Some(news.id) == voice.id;
        let news = frame.delta().iter().find(of_itself);
        let leaving = news.and_then(|news| state::is_leaving(&news.keys));
        voice.has_left = leaving.unwrap_or(voice.has_left);
    }

    fn make_room(&mut self, is_member: impl Fn(SocketAddr) -> bool, now: Instant) {
        self.0
            .retain(|_, voice| now.saturating_duration_since(voice.heard) < KEPT_FOR);
        if self.0.len() >= VOICES_MAX {
            let value =
                |(address, voice): &(&SocketAddr, &Voice)| (is_member(**address), voice.heard);
            let least = self.0.iter().min_by_key(value);
            let least = least.map(|(address, _)| *address);
            least.and_then(|address| self.0.remove(&address));
        }
    }
}

impl Voice {
    fn new(id: Option<Id>, now: Instant) -> Self {
        Self {
            id,
            heard: now,
            heartbeat: 0,
            has_left: false,
            is_doubted: false,
            answered: None,
        }
    }

    /// Returns whether the address cannot have said this of itself, as far as this node knows.
    fn is_odd(&self, speaker: Speaker, now: Instant) -> bool {
        let entry = match speaker {
            Speaker::Nobody => return false,
            Speaker::One(entry) => entry,
            Speaker::Several => return self.id.is_some(),
        };
        let elapsed = now.saturating_duration_since(self.heard).as_secs();
        let polls = POLLS_MAX + elapsed.saturating_mul(POLLS_PER_SECOND);
        let rise_max = polls.saturating_mul(HEARTBEAT_STEP);
        self.id != Some(entry.id) || entry.heartbeat > self.heartbeat.saturating_add(rise_max)
    }
}

/// The identities that a digest has at the address that it comes from.
#[derive(Clone, Copy, Debug)]
enum Speaker {
    Nobody,
    /// There is one identity, with this greatest heartbeat.
    One(Entry),
    Several,
}

impl Speaker {
    fn id(self) -> Option<Id> {
        match self {
            Self::One(entry) => Some(entry.id),
            Self::Nobody | Self::Several => None,
        }
    }
}

fn speaker(digest: &[Entry], from: SocketAddr) -> Speaker {
    let own = || digest.iter().filter(|entry| entry.id.address == from);
    match own().max_by_key(|entry| entry.heartbeat) {
        None => Speaker::Nobody,
        Some(last) if own().all(|entry| entry.id == last.id) => Speaker::One(*last),
        Some(_) => Speaker::Several,
    }
}
