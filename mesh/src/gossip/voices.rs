//! The voices of the mesh. A *voice* is an address that has proven that messages to
//! it arrive there, together with the identity as which it speaks.
//!
//! One address and port has one owner. So what it says of itself overrules what others say of it,
//! as long as it speaks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::frame::{Entry, Frame, Id, NodeDelta};
use super::state;

/// How long others are not heard about an address after it has spoken.
const HEARSAY_AFTER: Duration = Duration::from_secs(2);
/// How long a voice is kept after it was last heard.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// The maximum number of voices.
const VOICES_MAX: usize = 4096;

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
    /// Whether a message without a proof had another identity: it must prove its path again.
    is_doubted: bool,
}

/// The voices, by address.
#[derive(Debug, Default)]
pub(super) struct Voices(BTreeMap<SocketAddr, Voice>);

impl Voices {
    /// Returns whether `address` has proven its return path.
    pub(super) fn is_proven(&self, address: SocketAddr) -> bool {
        self.0.contains_key(&address)
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
    /// this node's messages knows.
    pub(super) fn hear(
        &mut self,
        frame: &Frame<'_>,
        from: SocketAddr,
        is_proof: bool,
        now: Instant,
    ) {
        if is_proof && !self.0.contains_key(&from) {
            self.make_room(now);
        }
        let speaker = speaker(frame.digest(), from);
        let id = speaker.map(|entry| entry.id);
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
        if matches!(frame, Frame::Ack(_)) || (voice.id == id && id.is_some()) {
            voice.heard = now;
        } else if id.is_some() {
            voice.is_doubted = true;
        }
        let heartbeat = speaker.filter(|entry| voice.id == Some(entry.id));
        voice.heartbeat = voice.heartbeat.max(heartbeat.map_or(0, |it| it.heartbeat));
        let of_itself = |news: &&NodeDelta<'_>| Some(news.id) == voice.id;
        let news = frame.delta().iter().find(of_itself);
        let leaving = news.and_then(|news| state::is_leaving(&news.keys));
        voice.has_left = leaving.unwrap_or(voice.has_left);
    }

    fn make_room(&mut self, now: Instant) {
        self.0
            .retain(|_, voice| now.saturating_duration_since(voice.heard) < KEPT_FOR);
        if self.0.len() >= VOICES_MAX {
            let oldest = self.0.iter().min_by_key(|(_, voice)| voice.heard);
            let oldest = oldest.map(|(address, _)| *address);
            oldest.and_then(|address| self.0.remove(&address));
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
        }
    }
}

/// Returns the entry of the only identity at `from`.
fn speaker(digest: &[Entry], from: SocketAddr) -> Option<Entry> {
    let mut own = digest.iter().filter(|entry| entry.id.address == from);
    let first = own.next()?;
    own.all(|entry| entry.id == first.id).then_some(*first)
}
