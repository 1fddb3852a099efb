//! The actions that the slot asks of its node.

use std::time::Duration;

use crate::io::{Output, ReservationOutcome};
use crate::wire::{Body, Complaints, MeetingId, Refusal, Role};
use crate::{Epoch, NodeName, Outcome, Protocol, Time};

/// How a meeting ended for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EndReason {
    /// This node's part of the meeting is done, or the peer said that its own part is.
    Done,
    /// The peer refused. The duration is the time after which it expects to be free, if it gave
    /// one.
    Refused(Refusal, Option<Duration>),
    /// The peer did not answer in time, or could not be reached.
    NoAnswer,
    /// The peer fell silent during the meeting, and its lease is over.
    Expired,
    /// Both nodes asked at once, and the peer is the rightful asker.
    Withdrawn,
    /// This node could not start its server.
    ServerFailed(Refusal),
    /// The address of this node has changed.
    Moved,
    /// This node is stopping.
    Cancelled,
}

impl EndReason {
    /// Returns whether the two nodes were in the meeting together.
    pub(crate) fn took_place(self) -> bool {
        !matches!(
            self,
            Self::Refused(..) | Self::NoAnswer | Self::Withdrawn | Self::ServerFailed(_)
        )
    }
}

impl From<EndReason> for ReservationOutcome {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Done => Self::Met,
            EndReason::Refused(refusal, _) => Self::Refused(refusal),
            EndReason::NoAnswer => Self::NoAnswer,
            EndReason::Expired => Self::Expired,
            EndReason::Withdrawn => Self::Withdrawn,
            EndReason::ServerFailed(refusal) => Self::Refused(refusal),
            EndReason::Moved | EndReason::Cancelled => Self::Cancelled,
        }
    }
}

/// A request of the slot to its node. The node adds what the slot does not know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Pass this output on.
    Do(Output),
    /// Send `body` about the meeting to its other node.
    Send {
        to: NodeName,
        to_epoch: Epoch,
        sweep: u64,
        meeting: MeetingId,
        complaints: Complaints,
        body: Body,
    },
    /// Record a result of this node's own row.
    Cell {
        peer: NodeName,
        protocol: Protocol,
        outcome: Outcome,
        /// Whether the peer's settings made the test smaller than this node's own.
        is_limited: bool,
    },
    /// The meeting is over, and the slot is free.
    Freed {
        peer: NodeName,
        role: Role,
        began: Time,
        reason: EndReason,
        /// The meeting, if a client connected to this node's server, or this node's client
        /// succeeded.
        tested: Option<MeetingId>,
    },
}
