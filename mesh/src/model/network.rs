//! The network: it may lose, delay, reorder and duplicate messages. A message that was sent may
//! never arrive, or arrive at any time and any number of times. The messages are therefore a set
//! that only grows, until a message can no longer have an effect.

use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::wire::{Body, Message};

/// A message that may still arrive. Two messages are equal if the hashes of their bytes are.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    key: u64,
    pub(super) message: Arc<Message>,
}

impl Envelope {
    /// Encodes and decodes the message, as the receiver will.
    pub(super) fn new(mut message: Message) -> Self {
        if let Body::Refuse { free_in_ms, .. } = &mut message.body {
            // Only the schedule reads this estimate.
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
