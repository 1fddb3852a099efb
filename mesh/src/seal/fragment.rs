//! Messages that are longer than a datagram. Each fragment is sealed by itself, so that only
//! members fill the memory for incomplete messages; and that memory is bounded.

use std::collections::VecDeque;
use std::time::Duration;

use super::session::SessionId;
use crate::Time;

/// The maximum length of a message, in bytes.
pub const MESSAGE_MAX: usize = 65_507;
/// The maximum number of incomplete messages of a session.
const PARTIALS_MAX: usize = 4;
/// The maximum number of incomplete messages of all sessions, and their memory, in bytes.
const IN_ALL_MAX: usize = 256;
const MEMORY_MAX: usize = 1 << 20;
/// The memory that a fragment takes besides its bytes: its place, its tag, and the allocation.
const FRAGMENT_OVERHEAD: usize = size_of::<Option<Vec<u8>>>() + 32;
/// How long an incomplete message is kept.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// The place of a fragment in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The counter of the first fragment.
    pub(super) first: u64,
    pub(super) index: u8,
    /// The number of fragments.
    pub(super) count: u8,
}

/// A message of which some fragments are missing.
#[derive(Debug)]
struct Partial {
    session: SessionId,
    first: u64,
    since: Time,
    fragments: Vec<Option<Vec<u8>>>,
    missing: usize,
    /// The length of the fragments that are there, in bytes.
    length: usize,
}

impl Partial {
    fn new(session: SessionId, place: Place, now: Time) -> Self {
        let count = usize::from(place.count);
        Self {
            session,
            first: place.first,
            since: now,
            fragments: vec![None; count],
            missing: count,
            length: 0,
        }
    }

    fn is_of(&self, session: SessionId, place: Place) -> bool {
        self.session == session
            && self.first == place.first
            && self.fragments.len() == usize::from(place.count)
    }

    fn add(&mut self, index: u8, fragment: Vec<u8>) {
        let Some(slot) = self.fragments.get_mut(usize::from(index)) else {
            return;
        };
        self.length += fragment.len();
        if slot.replace(fragment).is_none() {
            self.missing -= 1;
        }
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.length + self.fragments.len() * FRAGMENT_OVERHEAD
    }
}

/// The incomplete messages, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Reassembly(VecDeque<Partial>);

impl Reassembly {
    /// Adds a fragment that was opened, and returns the message if it is complete. The window of
    /// the session admits each counter once, so no fragment comes twice.
    pub(super) fn add(
        &mut self,
        session: SessionId,
        place: Place,
        fragment: Vec<u8>,
        now: Time,
    ) -> Option<Vec<u8>> {
        if place.count == 1 {
            return Some(fragment);
        }
        self.0.retain(|partial| now.since(partial.since) < KEPT_FOR);
        let mut partials = self.0.iter();
        let known = partials.position(|partial| partial.is_of(session, place));
        let at = known.unwrap_or_else(|| self.begin(session, place, now));
        let partial = self.0.get_mut(at)?;
        partial.add(place.index, fragment);
        if partial.missing == 0 || partial.length > MESSAGE_MAX {
            let partial = self.0.remove(at)?;
            let is_message = partial.length <= MESSAGE_MAX;
            return is_message.then(|| partial.fragments.into_iter().flatten().flatten().collect());
        }
        while self.0.len() > IN_ALL_MAX || self.memory() > MEMORY_MAX {
            self.0.pop_front();
        }
        None
    }

    fn memory(&self) -> usize {
        self.0.iter().map(Partial::memory).sum()
    }

    /// Makes room for another message of `session`, and returns its position.
    fn begin(&mut self, session: SessionId, place: Place, now: Time) -> usize {
        let of_session = |partial: &Partial| partial.session == session;
        if self.0.iter().filter(|partial| of_session(partial)).count() >= PARTIALS_MAX
            && let Some(oldest) = self.0.iter().position(of_session)
        {
            self.0.remove(oldest);
        }
        self.0.push_back(Partial::new(session, place, now));
        self.0.len() - 1
    }
}
