//! The datagrams that gossip refuses: how many of each kind, and a warning.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use strum::{IntoStaticStr, VariantArray};
use tokio::time::Instant;
use tracing::{info, warn};

use super::warned::Warned;
use crate::seal;

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
    /// It is not sealed.
    Unsealed,
    /// It is sealed for a mesh of another name.
    OtherMesh,
    /// It is sealed with a key that this node never had.
    UnknownKey,
    /// It is sealed with a key that has been removed.
    RemovedKey,
    /// It is sealed with a key that makes nobody a member.
    Role,
    /// It is not sealed with the key that it names, or was changed on its way.
    Forged,
    /// It has arrived before, or is too old to tell.
    Replayed,
    /// It speaks for another run of its sender than the one that has sealed it.
    OtherLife,
    /// It belongs to no session of this run of the agent.
    UnknownSession,
    /// It is a message of this node itself.
    Reflected,
    /// It has a state that the owner of the identity has not signed.
    Signature,
}

impl From<seal::Refusal> for Rejection {
    fn from(refusal: seal::Refusal) -> Self {
        match refusal {
            seal::Refusal::Unsealed => Self::Unsealed,
            seal::Refusal::Malformed => Self::Malformed,
            seal::Refusal::Oversize => Self::Oversize,
            seal::Refusal::OtherMesh => Self::OtherMesh,
            seal::Refusal::UnknownKey => Self::UnknownKey,
            seal::Refusal::RemovedKey => Self::RemovedKey,
            seal::Refusal::Role => Self::Role,
            seal::Refusal::Forged => Self::Forged,
            seal::Refusal::Replayed => Self::Replayed,
            seal::Refusal::OtherLife => Self::OtherLife,
            seal::Refusal::OtherAddress => Self::Source,
            seal::Refusal::UnknownSession => Self::UnknownSession,
            seal::Refusal::Unsolicited => Self::Unsolicited,
            seal::Refusal::Reflected => Self::Reflected,
            seal::Refusal::Budget => Self::Budget,
        }
    }
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
            Self::Unsealed => {
                "gossip that is not sealed (all nodes of a mesh need --key-file; --auth permissive \
                 bridges the time until they have it)"
            }
            Self::OtherMesh => "gossip of a mesh of another name (--mesh)",
            Self::UnknownKey => {
                "gossip that is sealed with a key that this node does not have (all nodes of a \
                 mesh have the same key file)"
            }
            Self::RemovedKey => {
                "gossip that is sealed with a removed key (the sender has not read the present \
                 key file)"
            }
            Self::Role => "gossip that is sealed with a key that makes nobody a member",
            Self::Forged => "gossip that was forged, or changed on its way",
            Self::Replayed => "gossip that has arrived before",
            Self::OtherLife => "gossip that speaks for another run of its sender",
            Self::UnknownSession => {
                "gossip of a session that this run of the agent does not have (after a restart, \
                 its peers need some seconds to notice)"
            }
            Self::Reflected => "gossip that this node has sent itself",
            Self::Signature => "gossip with states that their owners have not signed",
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
        if !self.must_warn(kind, now) {
            return;
        }
        let (reason, what) = (kind.as_str(), kind.text());
        match kind {
            // The restart of an agent is no fault.
            Rejection::UnknownSession => info!(%from, total, reason, "refusing {what}"),
            _ => warn!(%from, total, reason, "refusing {what}"),
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
