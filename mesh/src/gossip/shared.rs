//! The state that the supervisor, the socket and the reader of the status share.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fragments::FragmentWarning;
use super::rejections::Rejections;
use super::roster::Roster;
use super::sealed::Sealed;
use super::send_errors::SendErrors;
use crate::MeshName;

/// The state that a transport shares with the gossip layer.
#[derive(Debug, Default)]
pub struct GossipShared {
    /// The name of the mesh.
    pub(super) mesh: MeshName,
    pub(super) roster: Roster,
    pub(super) sealed: Sealed,
    pub(super) rejections: Rejections,
    pub(super) restarts: AtomicU64,
    pub(super) identities: AtomicU64,
    pub(super) fragmented: AtomicU64,
    pub(super) fragment_warning: FragmentWarning,
    pub(super) send_errors: SendErrors,
}

impl GossipShared {
    pub(super) fn new(mesh: MeshName) -> Self {
        Self {
            mesh,
            ..Self::default()
        }
    }
}

/// Adds one to a counter.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
