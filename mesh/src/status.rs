//! Snapshots of a node for its observers.

use std::time::Duration;

use crate::wire::Role;
use crate::{NodeName, Time};

/// The state of a node at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The present sweep.
    pub sweep: SweepStatus,
    /// The present meeting, including one that this node is only asking for.
    pub meeting: Option<MeetingStatus>,
    /// The time that remains of the quiet time after the start.
    pub quiet_for: Duration,
}

/// The progress of one sweep at one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepStatus {
    /// The number of the sweep, 0 before the first.
    pub number: u64,
    /// When the sweep began at this node.
    pub began: Time,
    /// The number of pairs of this node in the sweep.
    pub pairs: usize,
    /// The number of pairs that have neither met nor been given up.
    pub open: usize,
    /// The lower bound of the sweep's duration.
    pub bound: Duration,
}

/// A meeting that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeetingStatus {
    /// The other node.
    pub peer: NodeName,
    /// This node's role.
    pub role: Role,
    /// When the meeting took this node's slot.
    pub began: Time,
}

/// The result of one sweep at one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepSummary {
    /// The number of the sweep.
    pub number: u64,
    /// The time from the beginning of the sweep at this node until the last pair had met or was
    /// given up.
    pub duration: Duration,
    /// The lower bound of that duration.
    pub bound: Duration,
    /// The number of cells of this node that failed.
    pub failed: usize,
}
