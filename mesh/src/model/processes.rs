//! The iperf3 processes: from the decision to start one until the agent knows that it is dead.

use std::fmt;
use std::time::Duration;

use crate::wire::MeetingId;
use crate::{ClientStart, Input, Outcome, RunId, ServerFailure, ServerStart};

use super::{NOW, number_of};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process {
    pub(super) node: usize,
    pub(super) run: RunId,
    pub(super) meeting: MeetingId,
    pub(super) kind: Kind,
    pub(super) two_way: bool,
    pub(super) stage: Stage,
    /// It is dead after that time, be it by its deadline or by a kill.
    pub(super) left: Duration,
    /// The agent has killed it, so that its test has no result.
    pub(super) killed: bool,
    /// The agent that started it is gone: nobody waits for its death.
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

/// Whom a server of a two-way test sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum FarEnd {
    /// No client has come yet.
    Awaited,
    /// To the node of the client, be that alive or not.
    Sends(usize),
    /// To nobody any more: the test has ended well.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stage {
    /// Decided on, and not started. After that time it is not started any more.
    Decided(Duration),
    Alive,
    /// Dead, which the agent does not know yet.
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
            stage: Stage::Decided(start.start_by.since(NOW)),
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
            stage: Stage::Decided(start.start_by.since(NOW)),
            left: start.deadline.since(NOW) + kill,
            killed: false,
            orphan: false,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.stage == Stage::Alive
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self.kind, Kind::Client { .. })
    }

    /// The nodes whose measurements it would spoil.
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

    /// Whom this server sends to from now on.
    pub(super) fn sends(&mut self, to: FarEnd) {
        if let Kind::Server { far_end, .. } = &mut self.kind {
            *far_end = to;
        }
    }

    /// Sent to its death. One that is just being started may still come to life at this instant.
    pub(super) fn kill(&mut self, kill: Duration) {
        self.killed = true;
        self.left = self.left.min(kill);
        if let Stage::Decided(start_by) = &mut self.stage {
            *start_by = Duration::ZERO;
        }
    }

    /// Time passes.
    pub(super) fn age(&mut self, by: Duration) {
        match &mut self.stage {
            Stage::Decided(start_by) if *start_by < by => self.stage = Stage::Dead,
            Stage::Decided(start_by) => *start_by -= by,
            Stage::Alive if self.left < by => self.stage = Stage::Dead,
            Stage::Alive | Stage::Dead => {}
        }
        self.left = self.left.saturating_sub(by);
        if self.stage == Stage::Dead {
            // How long it might have lived does not matter any more.
            self.left = Duration::ZERO;
        }
    }

    /// What the agent tells its node when it has reaped the process.
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
