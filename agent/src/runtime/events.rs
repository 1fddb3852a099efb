//! The events of a test, as structured log lines: exclusion is checked from them, from outside this
//! program.

use iperf3_mesh_core::wire::MeetingId;
use iperf3_mesh_core::{Epoch, NodeName, Protocol, Time};

use crate::clock::{boot_now, unix_now_ns};

/// One iperf3 process of a test, as the events name it.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// This node.
    pub node: NodeName,
    /// Its present life.
    pub epoch: Epoch,
    /// The other node.
    pub peer: NodeName,
    /// `client` or `server`.
    pub role: &'static str,
    /// The protocol of the test.
    pub protocol: Protocol,
    /// The meeting that the test belongs to.
    pub meeting: MeetingId,
    /// The sweep that the meeting belongs to.
    pub sweep: u64,
    /// When the process was about to be started.
    pub began: Time,
    /// The same as Unix time, in nanoseconds.
    pub began_unix_ns: u64,
    /// When the process is dead at the latest.
    pub deadline: Time,
}

impl Run {
    fn cell(&self) -> (&NodeName, &NodeName) {
        if self.role == "client" {
            (&self.node, &self.peer)
        } else {
            (&self.peer, &self.node)
        }
    }

    /// iperf3 runs, as process `pid`. The event's time is that before the start, so that no part of
    /// the process's life is outside.
    pub(super) fn started(&self, pid: u32) {
        let (source, destination) = self.cell();
        tracing::info!(
            event = "test_started",
            node = %self.node,
            epoch = %self.epoch,
            peer = %self.peer,
            role = self.role,
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

    /// iperf3 is dead and reaped. `outcome` is `success`, `failure` or `cancelled`; `reason` and
    /// `detail` say why.
    pub(super) fn finished(
        &self,
        pid: u32,
        outcome: &'static str,
        reason: &'static str,
        detail: &str,
    ) {
        let (source, destination) = self.cell();
        tracing::info!(
            event = "test_finished",
            node = %self.node,
            epoch = %self.epoch,
            peer = %self.peer,
            role = self.role,
            source_node = %source,
            destination_node = %destination,
            protocol = %self.protocol,
            meeting = %self.meeting,
            sweep = self.sweep,
            unix_ns = unix_now_ns(),
            boot_ns = boot_now().as_nanos(),
            deadline_boot_ns = self.deadline.as_nanos(),
            pid,
            outcome,
            reason,
            detail,
        );
    }
}
