//! The datagrams that gossip refuses: how many of each kind, and a warning.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use strum::{IntoStaticStr, VariantArray};
use tokio::time::Instant;
use tracing::warn;

use super::warned::Warned;

/// Why a datagram on the gossip port was refused, as a whole or in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Rejection {
    /// It is no gossip of this mesh.
    Foreign,
    /// It cannot be decoded.
    Malformed,
    /// It is larger than any message of a mesh, once decompressed.
    Oversize,
    /// It has more identities than a mesh may have.
    TooManyIds,
    /// It answers a message that this node has not sent, or its sender has proven no return path.
    Unsolicited,
    /// It does not come from the address of its sender, or does not say which of its identities
    /// that is.
    Source,
    /// It came while its sender, or all senders together, had used up the budget.
    Budget,
    /// It has a state of this node, which only this node knows.
    OwnState,
    /// It has an entry that no agent publishes.
    Invalid,
    /// It has an identity at an address that no member may have.
    Address,
    /// It has new identities for which there is no room.
    NoRoom,
    /// It asks for an answer that is more than its sender may get.
    Answer,
}

impl Rejection {
    /// All kinds, in the order of [`RejectionTotals`].
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name in labels.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns what happened, for the log.
    fn text(self) -> &'static str {
        match self {
            Self::Foreign => "datagrams that are no gossip of this mesh",
            Self::Malformed => "gossip that cannot be decoded",
            Self::Oversize => "gossip that is larger than any message of a mesh",
            Self::TooManyIds => {
                "gossip with more identities than a mesh may have (--members-max must be the same \
                 on all nodes)"
            }
            Self::Unsolicited => "answers to gossip that this node has not sent",
            Self::Source => {
                "gossip that does not come from the address of its sender (a node must send from \
                 the address that it advertises: see --advertise-address)"
            }
            Self::Budget => "gossip beyond what this node reads in a second",
            Self::OwnState => "gossip with a state of this node, which only this node knows",
            Self::Invalid => "gossip with entries that no agent publishes",
            Self::Address => {
                "gossip with addresses that no member may have (a peer outside the cluster or the \
                 networks of --peer-cidr needs --peer-cidr)"
            }
            Self::NoRoom => "gossip with new identities for which there is no room",
            Self::Answer => "requests for more gossip than their sender may get",
        }
    }
}

/// The number of refused datagrams of each kind, in the order of [`Rejection::ALL`].
pub type RejectionTotals = [u64; Rejection::VARIANTS.len()];

/// Counts what is refused, and warns about it.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    totals: [AtomicU64; Rejection::VARIANTS.len()],
    warned: Mutex<Warned<{ Rejection::VARIANTS.len() }>>,
}

impl Rejections {
    /// Counts a datagram from `from`, and logs the first one of each kind in a minute.
    pub(super) fn count(&self, kind: Rejection, from: SocketAddr, now: Instant) {
        let total = self.totals[kind as usize].fetch_add(1, Ordering::Relaxed) + 1;
        if self.must_warn(kind, now) {
            warn!(%from, total, reason = kind.as_str(), "refusing {}", kind.text());
        }
    }

    pub(super) fn totals(&self) -> RejectionTotals {
        std::array::from_fn(|kind| self.totals[kind].load(Ordering::Relaxed))
    }

    fn must_warn(&self, kind: Rejection, now: Instant) -> bool {
        // No holder of this lock can panic, and times have no broken state.
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.is_due(kind as usize, now)
    }
}
