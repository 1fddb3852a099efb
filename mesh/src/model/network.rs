//! The network: it loses, delays, reorders and doubles as it likes. A message that was sent once
//! may therefore arrive never, or at any time and any number of times; so the messages are a set
//! that only grows, until one can have no effect any more.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::wire::{Body, Message};

/// A message under way. Two are the same if their bytes are, for which their hash stands.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    key: u64,
    pub(super) message: Arc<Message>,
}

impl Envelope {
    /// What arrives is what the receiver reads from the bytes.
    pub(super) fn new(mut message: Message) -> Self {
        if let Body::Refuse { free_in_ms, .. } = &mut message.body {
            // An estimate, which only the schedule reads.
            *free_in_ms = None;
        }
        let bytes = message.encode();
        let message = Message::decode(&bytes).expect("sends only what can be read");
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self {
            key: hasher.finish(),
            message: Arc::new(message),
        }
    }
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Envelope {}

impl PartialOrd for Envelope {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Envelope {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl Hash for Envelope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}
