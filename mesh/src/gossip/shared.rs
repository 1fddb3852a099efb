//! The state that the supervisor, the socket and the reader of the status share.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fragments::FragmentWarning;
use super::rejections::Rejections;
use super::roster::Roster;
use super::send_errors::SendErrors;

/// The state that a transport shares with the gossip layer.
#[derive(Debug, Default)]
pub struct GossipShared {
    pub(super) roster: Roster,
    pub(super) rejections: Rejections,
    pub(super) restarts: AtomicU64,
    pub(super) identities: AtomicU64,
    pub(super) fragmented: AtomicU64,
    pub(super) fragment_warning: FragmentWarning,
    pub(super) send_errors: SendErrors,
}

/// Adds one to a counter.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
