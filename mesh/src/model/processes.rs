//! The iperf3 processes: from the decision to start one until the agent knows that it is dead.

use std::fmt;
use std::time::Duration;

use crate::sim::ids::number_of;
use crate::wire::MeetingId;
use crate::{ClientStart, Input, Outcome, RunId, ServerFailure, ServerStart};

use super::NOW;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process {
    pub(super) node: usize,
    pub(super) run: RunId,
    pub(super) meeting: MeetingId,
    pub(super) kind: Kind,
    pub(super) two_way: bool,
    pub(super) phase: Phase,
    /// The time until the process is dead, by its deadline or by a kill.
    pub(super) left: Duration,
    /// Whether the agent has killed the process, so that its test has no result.
    pub(super) killed: bool,
    /// Whether the agent that started the process is gone, so that no agent waits for its death.
    pub(super) orphan: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Client {
        to: usize,
        port: u16,
    },
    Server {
        port: u16,
        listens: bool,
        /// The other end of a two-way test.
        far_end: FarEnd,
    },
}

/// The node that a server of a two-way test sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum FarEnd {
    /// No node yet: no client has connected.
    Awaited,
    /// The node of the client, whether the client is alive or not.
    Sends(usize),
    /// No node any more: the test is complete.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    /// The agent has decided on the start, but the process has not started. It must not start after
    /// this time.
    Decided(Duration),
    Alive,
    /// The process is dead, but not yet reaped.
    Dead,
}

impl Process {
    pub(super) fn client(node: usize, start: ClientStart, kill: Duration) -> Self {
        Self {
            node,
            run: start.run,
            meeting: start.meeting,
            kind: Kind::Client {
                to: number_of(&start.peer),
                port: start.remote.port(),
            },
            two_way: start.spec.bidir,
            phase: Phase::Decided(start.start_by.since(NOW)),
            left: start.deadline.since(NOW) + kill,
            killed: false,
            orphan: false,
        }
    }

    pub(super) fn server(node: usize, start: ServerStart, kill: Duration) -> Self {
        Self {
            node,
            run: start.run,
            meeting: start.meeting,
            kind: Kind::Server {
                port: start.port,
                listens: false,
                far_end: FarEnd::Awaited,
            },
            two_way: start.spec.bidir,
            phase: Phase::Decided(start.start_by.since(NOW)),
            left: start.deadline.since(NOW) + kill,
            killed: false,
            orphan: false,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.phase == Phase::Alive
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self.kind, Kind::Client { .. })
    }

    /// Returns whether the process would disturb a measurement on the node.
    pub(super) fn touches(&self, node: usize) -> bool {
        let far_end = match self.kind {
            Kind::Client { to, .. } => Some(to),
            Kind::Server {
                far_end: FarEnd::Sends(to),
                ..
            } => Some(to),
            Kind::Server { .. } => None,
        };
        self.is_alive() && (self.node == node || far_end == Some(node))
    }

    /// Changes the node that this server sends to.
    pub(super) fn send_to(&mut self, to: FarEnd) {
        if let Kind::Server { far_end, .. } = &mut self.kind {
            *far_end = to;
        }
    }

    /// Kills the process. A process that is just being started may still start at this instant.
    pub(super) fn kill(&mut self, kill: Duration) {
        self.killed = true;
        self.left = self.left.min(kill);
        if let Phase::Decided(start_by) = &mut self.phase {
            *start_by = Duration::ZERO;
        }
    }

    /// Lets time pass.
    pub(super) fn age(&mut self, by: Duration) {
        match &mut self.phase {
            Phase::Decided(start_by) if *start_by < by => self.phase = Phase::Dead,
            Phase::Decided(start_by) => *start_by -= by,
            Phase::Alive if self.left < by => self.phase = Phase::Dead,
            Phase::Alive | Phase::Dead => {}
        }
        self.left = self.left.saturating_sub(by);
        if self.phase == Phase::Dead {
            // States that differ only in the time left to a dead process are the same.
            self.left = Duration::ZERO;
        }
    }

    /// Returns the input that the agent passes to its node when it has reaped the process.
    pub(super) fn exit_input(&self, outcome: Outcome, failure: ServerFailure) -> Input {
        let run = self.run;
        match self.kind {
            Kind::Client { .. } => {
                let forward = (!self.killed).then_some(outcome);
                let reverse = forward.clone().filter(|_| self.two_way);
                Input::ClientEnded {
                    run,
                    forward,
                    reverse,
                }
            }
            Kind::Server {
                listens: true,
                far_end,
                ..
            } => Input::ServerEnded {
                run,
                accepted: far_end != FarEnd::Awaited,
                complaint: None,
            },
            Kind::Server { .. } => Input::ServerFailed(run, failure),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node,
            run,
            meeting,
            kind,
            ..
        } = self;
        match kind {
            Kind::Client { to, .. } => write!(f, "client {run} of n{node}, to n{to}, of {meeting}"),
            Kind::Server { port, .. } => {
                write!(f, "server {run} of n{node}, port {port}, of {meeting}")
            }
        }
    }
}
