//! What the slot wants done, and what it is told about the processes that it had started.

use std::net::IpAddr;
use std::time::Duration;

use crate::wire::{Body, MeetingId, Refusal, Role};
use crate::{Epoch, NodeName, Outcome, Protocol, TestSpec, Time};

/// One iperf3 process of this node; numbers are never used twice in one life.
pub type RunId = u64;

/// An iperf3 client to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientStart {
    /// Names the process in the answers to the core.
    pub run: RunId,
    /// The meeting that it belongs to.
    pub meeting: MeetingId,
    /// The sweep that the meeting belongs to.
    pub sweep: u64,
    /// The other node: the destination of the cell.
    pub peer: NodeName,
    /// The test.
    pub spec: TestSpec,
    /// Where the peer's server listens.
    pub remote: (IpAddr, u16),
    /// Later than this it must not be started any more.
    pub start_by: Time,
    /// It is dead by then.
    pub deadline: Time,
}

/// An iperf3 server to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerStart {
    /// Names the process in the answers to the core.
    pub run: RunId,
    /// The meeting that it belongs to.
    pub meeting: MeetingId,
    /// The sweep that the meeting belongs to.
    pub sweep: u64,
    /// The other node, the only one that may connect: the source of the cell.
    pub peer: NodeName,
    /// The test.
    pub spec: TestSpec,
    /// The port to listen on.
    pub port: u16,
    /// Later than this it must not be started any more.
    pub start_by: Time,
    /// It is dead by then.
    pub deadline: Time,
}

/// Why an iperf3 server did not come to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFailure {
    /// The port is taken: another one may do.
    PortTaken,
    /// Anything else: another try would fail as well.
    Spawn,
}

/// How a meeting ended for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EndReason {
    /// All of this node's part is done, or the other side said that its part is.
    Done,
    /// The peer refused; it expects to be free after that time, if it said so.
    Refused(Refusal, Option<Duration>),
    /// The peer did not answer in time, or could not be reached.
    NoAnswer,
    /// The peer fell silent in the middle, and its lease is over.
    Expired,
    /// Both asked at once, and the other side is the rightful asker.
    Withdrawn,
    /// This node could not start its server.
    SpawnFailed,
    /// This node is stopping.
    Cancelled,
}

/// What the slot wants done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Send `body` about the meeting to its other node.
    Send {
        to: NodeName,
        to_epoch: Epoch,
        sweep: u64,
        meeting: MeetingId,
        body: Body,
    },
    StartClient(ClientStart),
    StartServer(ServerStart),
    Kill(RunId),
    /// A result of this node's own row.
    Cell {
        peer: NodeName,
        protocol: Protocol,
        outcome: Outcome,
    },
    /// The meeting is over and the slot is free.
    Freed {
        peer: NodeName,
        role: Role,
        began: Time,
        end_reason: EndReason,
    },
}
