//! The start and the end of a test as structured log events. An external program can use them to
//! verify that tests exclude each other.

use iperf3_mesh_core::wire::MeetingId;
use iperf3_mesh_core::{Epoch, Figures, NodeName, Protocol, Reason, Time};
use strum::{Display, IntoStaticStr};

use crate::clock::{boot_now, unix_now_ns};
use crate::metrics::TestOutcome;

/// The role of an iperf3 process in its test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum ProcessRole {
    /// The process connects, and this node is the source of the cell.
    Client,
    /// The process accepts the client, and this node is the destination of the cell.
    Server,
}

/// The reason why a process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum ProcessFailure {
    /// The reason that the cell also gets.
    #[strum(transparent)]
    Test(Reason),
    /// A client without a meeting connected to the server.
    UnexpectedClient,
    /// The client asked iperf3 for more than the plan of the meeting.
    PlanExceeded,
    /// The server crashed, as a version with a known vulnerability does.
    Crashed,
    /// No client connected to the server.
    NoClient,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum ProcessEnd<'a> {
    /// The test succeeded. A client has the figures; a server has none.
    Success(Option<&'a Figures>),
    /// The process failed.
    Failure(ProcessFailure),
    /// The process was killed because this node or its peer left the meeting.
    Cancelled,
}

impl ProcessEnd<'_> {
    /// Returns the outcome that the metrics count.
    pub(super) fn outcome(self) -> TestOutcome {
        match self {
            Self::Success(_) => TestOutcome::Success,
            Self::Failure(_) => TestOutcome::Failure,
            Self::Cancelled => TestOutcome::Cancelled,
        }
    }
}

/// One iperf3 process of a test, as the events describe it.
#[derive(Clone, Debug)]
pub(super) struct TestProcess {
    /// This node.
    pub node: NodeName,
    /// The epoch of this agent.
    pub epoch: Epoch,
    /// The other node.
    pub peer: NodeName,
    /// The role of this node's process.
    pub role: ProcessRole,
    /// The protocol under test.
    pub protocol: Protocol,
    /// The meeting that the test belongs to.
    pub meeting: MeetingId,
    /// The sweep that the meeting belongs to.
    pub sweep: u64,
    /// The time just before the process was started.
    pub began: Time,
    /// The same instant as Unix time, in nanoseconds.
    pub began_unix_ns: u64,
    /// The time by which the process is dead.
    pub deadline: Time,
}

impl TestProcess {
    /// Returns the source and the destination of the cell.
    fn cell(&self) -> (&NodeName, &NodeName) {
        match self.role {
            ProcessRole::Client => (&self.node, &self.peer),
            ProcessRole::Server => (&self.peer, &self.node),
        }
    }

    /// Logs that iperf3 runs as process `pid`. The event has the time just before the start, so
    /// that the two events enclose the whole lifetime of the process.
    pub(super) fn log_start(&self, pid: u32) {
        let (source, destination) = self.cell();
        tracing::info!(
            event = "test_started",
            node = %self.node,
            epoch = %self.epoch,
            peer = %self.peer,
            role = %self.role,
            source_node = %source,
            destination_node = %destination,
            protocol = %self.protocol,
            meeting = %self.meeting,
            sweep = self.sweep,
            unix_ns = self.began_unix_ns,
            boot_ns = self.began.as_nanos(),
            deadline_boot_ns = self.deadline.as_nanos(),
            pid,
        );
    }

    /// Logs that iperf3 is dead and reaped, with the figures that a client measured. `detail`
    /// contains iperf3's own message about a failure.
    pub(super) fn log_end(&self, pid: u32, end: ProcessEnd<'_>, detail: &str) {
        let (source, destination) = self.cell();
        let reason: &'static str = match end {
            ProcessEnd::Failure(failure) => failure.into(),
            ProcessEnd::Success(_) | ProcessEnd::Cancelled => "",
        };
        let figures = match end {
            ProcessEnd::Success(figures) => figures,
            ProcessEnd::Failure(_) | ProcessEnd::Cancelled => None,
        };
        tracing::info!(
            event = "test_finished",
            node = %self.node,
            epoch = %self.epoch,
            peer = %self.peer,
            role = %self.role,
            source_node = %source,
            destination_node = %destination,
            protocol = %self.protocol,
            meeting = %self.meeting,
            sweep = self.sweep,
            unix_ns = unix_now_ns(),
            boot_ns = boot_now().as_nanos(),
            deadline_boot_ns = self.deadline.as_nanos(),
            pid,
            outcome = %end.outcome(),
            reason,
            // The event has no field for an absent figure.
            bandwidth_mbps = figures.map(|figures| figures.bandwidth_mbps),
            loss_ratio = figures.and_then(Figures::loss_ratio),
            jitter_ms = figures.and_then(|figures| figures.jitter_ms),
            retransmits = figures.and_then(|figures| figures.retransmits),
            rtt_ms = figures.and_then(|figures| figures.rtt_ms),
            detail,
        );
    }
}
