//! The iperf3 processes of all nodes: which ones run, and how a client finds its server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::sim::ids::{Incarnation, number_of};
use crate::wire::{Complaint, MeetingId};
use crate::{
    ClientStart, Figures, Input, Outcome, Protocol, Reason, RunId, ServerFailure, ServerStart, Time,
};

/// Identifies a test: its client and its server have equal keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestKey {
    /// The meeting that the test belongs to.
    pub meeting: MeetingId,
    /// The number of the node that runs the client.
    pub client: usize,
    /// The protocol under test.
    pub protocol: Protocol,
}

/// Identifies one iperf3 process of the whole mesh.
pub(super) type Pid = u64;

/// The time from the spawn of a server until it listens (p50 measured: 2.6 ms).
pub(super) const SERVER_START: Duration = Duration::from_millis(3);

/// The time from the spawn of a client until it connects.
pub(super) const CLIENT_START: Duration = Duration::from_millis(2);

/// The time from a kill, or from the other end's death, until the process is reaped.
pub(super) const DEATH: Duration = Duration::from_millis(1);

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// The test is over, and both ends agree.
    Completed,
    /// The agent killed the process early.
    Killed,
    /// The process's own timer killed it, or the agent did so at the deadline.
    Deadline,
    /// The test failed, or the process at the other end is gone.
    Failed(Reason),
}

impl Death {
    fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Completed => Some(Ok(Figures::of_bandwidth(1.0))),
            Self::Deadline => Some(Err(Reason::Timeout)),
            Self::Failed(reason) => Some(Err(reason)),
            Self::Killed => None,
        }
    }
}

/// A running process.
#[derive(Debug)]
pub(in crate::sim) struct Process {
    pub(in crate::sim) host: usize,
    /// The incarnation of the agent that started the process.
    pub(super) incarnation: Incarnation,
    pub(super) run: RunId,
    pub(in crate::sim) test: TestKey,
    /// The deadline of the process, on the clock of its machine.
    pub(in crate::sim) deadline: Time,
    pub(super) kind: Kind,
    /// The process at the other end of the test.
    pub(super) other: Option<Pid>,
    /// Whether the death of the process is already planned.
    pub(super) dying: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Client {
        start: ClientStart,
        connected_at: Option<Time>,
    },
    Server {
        start: ServerStart,
        listens: bool,
        /// Whether this server has a client and also sends to it.
        sends: bool,
    },
}

/// The decision of an agent to start an iperf3.
#[derive(Clone, Debug)]
pub(super) enum Start {
    Client(ClientStart),
    Server(ServerStart),
}

impl Start {
    pub(super) fn start_by(&self) -> Time {
        match self {
            Self::Client(start) => start.start_by,
            Self::Server(start) => start.start_by,
        }
    }

    /// Returns the input to the node if the start comes too late.
    pub(super) fn too_late(&self) -> Input {
        match self {
            Self::Client(start) => client_ended(start, Death::Deadline),
            Self::Server(start) => Input::ServerFailed(start.run, ServerFailure::Spawn),
        }
    }
}

fn client_ended(start: &ClientStart, death: Death) -> Input {
    let forward = death.outcome();
    Input::ClientEnded {
        run: start.run,
        reverse: forward.clone().filter(|_| start.spec.bidir),
        forward,
    }
}

impl Process {
    pub(super) fn new(host: usize, incarnation: Incarnation, start: Start) -> Self {
        let (meeting, protocol, run, deadline, client) = match &start {
            Start::Client(s) => (s.meeting.clone(), s.spec.protocol, s.run, s.deadline, host),
            Start::Server(s) => (
                s.meeting.clone(),
                s.spec.protocol,
                s.run,
                s.deadline,
                number_of(&s.peer),
            ),
        };
        let kind = match start {
            Start::Client(start) => Kind::Client {
                start,
                connected_at: None,
            },
            Start::Server(start) => Kind::Server {
                start,
                listens: false,
                sends: false,
            },
        };
        Self {
            host,
            incarnation,
            run,
            test: TestKey {
                meeting,
                client,
                protocol,
            },
            deadline,
            kind,
            other: None,
            dying: false,
        }
    }

    /// Returns the input to the node when the process is reaped. A server has the complaint.
    pub(super) fn exit_input(&self, death: Death, complaint: Option<Complaint>) -> Input {
        match &self.kind {
            Kind::Server { listens: true, .. } => Input::ServerEnded {
                run: self.run,
                accepted: self.other.is_some(),
                complaint,
            },
            Kind::Server { .. } => Input::ServerFailed(self.run, ServerFailure::Spawn),
            Kind::Client { start, .. } => client_ended(start, death),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.kind {
            Kind::Client { .. } => "client",
            Kind::Server { .. } => "server",
        };
        write!(f, "the {role} on n{} of {}", self.host, self.test)
    }
}

#[derive(Debug)]
pub(in crate::sim) struct ProcessTable {
    alive: BTreeMap<Pid, Process>,
    /// The processes, by node.
    on: Vec<Vec<Pid>>,
    last: Pid,
}

impl ProcessTable {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            alive: BTreeMap::new(),
            on: vec![Vec::new(); nodes],
            last: 0,
        }
    }

    pub(super) fn start(&mut self, process: Process) -> Pid {
        self.last += 1;
        self.on[process.host].push(self.last);
        self.alive.insert(self.last, process);
        self.last
    }

    pub(super) fn get(&self, pid: Pid) -> Option<&Process> {
        self.alive.get(&pid)
    }

    pub(super) fn get_mut(&mut self, pid: Pid) -> Option<&mut Process> {
        self.alive.get_mut(&pid)
    }

    pub(super) fn reap(&mut self, pid: Pid) -> Option<Process> {
        let process = self.alive.remove(&pid)?;
        self.on[process.host].retain(|present| *present != pid);
        Some(process)
    }

    /// Returns the processes on this node.
    pub(super) fn on(&self, host: usize) -> Vec<Pid> {
        self.on[host].clone()
    }

    /// Returns the process that an incarnation of an agent knows by this number.
    pub(super) fn find(&self, host: usize, incarnation: Incarnation, run: RunId) -> Option<Pid> {
        let is_it = |pid: &&Pid| {
            self.alive
                .get(pid)
                .is_some_and(|process| process.incarnation == incarnation && process.run == run)
        };
        self.on[host].iter().find(is_it).copied()
    }

    /// Returns the server on this node that listens on this port and has no client yet.
    pub(super) fn listener(&self, host: usize, port: u16) -> Option<Pid> {
        let is_it = |pid: &&Pid| {
            self.alive.get(pid).is_some_and(|process| {
                let Kind::Server {
                    start,
                    listens: true,
                    ..
                } = &process.kind
                else {
                    return false;
                };
                start.port == port && process.other.is_none()
            })
        };
        self.on[host].iter().find(is_it).copied()
    }

    /// Records that the client has connected to the server.
    pub(super) fn join(&mut self, client: Pid, server: Pid, now: Time) {
        if let Some(process) = self.alive.get_mut(&server) {
            process.other = Some(client);
        }
        if let Some(process) = self.alive.get_mut(&client) {
            process.other = Some(server);
            if let Kind::Client { connected_at, .. } = &mut process.kind {
                *connected_at = Some(now);
            }
        }
    }

    pub(in crate::sim) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.alive.values()
    }
}
