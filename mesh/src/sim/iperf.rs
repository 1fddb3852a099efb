//! The iperf3 processes of all nodes: which of them live, and how they find each other. What
//! becomes of a test is decided elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::exclusion_checker::{Pid, TestKey};
use super::host::Life;
use super::world::number_of;
use crate::{ClientStart, Input, Outcome, Reason, RunId, ServerFailure, ServerStart, Time};

/// From the spawn of a server until it listens (p50 measured: 2.6 ms).
pub(super) const SERVER_START: Duration = Duration::from_millis(3);

/// From the spawn of a client until it connects.
pub(super) const CLIENT_START: Duration = Duration::from_millis(2);

/// From a kill, or from the other end's death, until the process is reaped.
pub(super) const DEATH: Duration = Duration::from_millis(1);

/// How a process comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// The test is over, and both ends agree.
    Done,
    /// By the agent, before its time.
    Killed,
    /// By its own timer, or by the agent when its time was over.
    Deadline,
    /// The test failed, or the other end is gone.
    Broken,
}

/// A process that lives.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) host: usize,
    pub(super) life: Life,
    pub(super) run: RunId,
    pub(super) test: TestKey,
    /// On the clock of its machine.
    pub(super) deadline: Time,
    pub(super) kind: Kind,
    /// The process at the other end.
    pub(super) other: Option<Pid>,
    /// It is to die, and will do so in its own time.
    pub(super) dying: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Client {
        start: ClientStart,
        /// Since when it is connected.
        since: Option<Time>,
    },
    Server {
        start: ServerStart,
        listens: bool,
        /// It has a client, and sends to it as well.
        sends: bool,
    },
}

/// An iperf3 that an agent has decided to start.
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

    /// What the agent hears if it was too late.
    pub(super) fn too_late(&self) -> Input {
        match self {
            Self::Client(start) => {
                let forward: Option<Outcome> = Some(Err(Reason::Timeout));
                let reverse = forward.clone().filter(|_| start.spec.bidir);
                Input::ClientEnded {
                    run: start.run,
                    forward,
                    reverse,
                }
            }
            Self::Server(start) => Input::ServerFailed(start.run, ServerFailure::Spawn),
        }
    }
}

impl Process {
    pub(super) fn new(host: usize, life: Life, start: Start) -> Self {
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
            Start::Client(start) => Kind::Client { start, since: None },
            Start::Server(start) => Kind::Server {
                start,
                listens: false,
                sends: false,
            },
        };
        let test = TestKey {
            meeting,
            client,
            protocol,
        };
        Self {
            host,
            life,
            run,
            test,
            deadline,
            kind,
            other: None,
            dying: false,
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
pub(super) struct Processes {
    alive: BTreeMap<Pid, Process>,
    /// Those on each node.
    on: Vec<Vec<Pid>>,
    last: Pid,
}

impl Processes {
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

    /// The processes on that node.
    pub(super) fn on(&self, host: usize) -> Vec<Pid> {
        self.on[host].clone()
    }

    /// The process that a life of an agent knows by that number.
    pub(super) fn find(&self, host: usize, life: Life, run: RunId) -> Option<Pid> {
        let is_that = |pid: &&Pid| {
            self.alive
                .get(pid)
                .is_some_and(|process| process.life == life && process.run == run)
        };
        self.on[host].iter().find(is_that).copied()
    }

    /// The server on that node that listens on that port and has no client yet.
    pub(super) fn listener(&self, host: usize, port: u16) -> Option<Pid> {
        let is_that = |pid: &&Pid| {
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
        self.on[host].iter().find(is_that).copied()
    }

    pub(super) fn join(&mut self, client: Pid, server: Pid, now: Time) {
        if let Some(process) = self.alive.get_mut(&server) {
            process.other = Some(client);
        }
        if let Some(process) = self.alive.get_mut(&client) {
            process.other = Some(server);
            if let Kind::Client { since, .. } = &mut process.kind {
                *since = Some(now);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.alive.values()
    }
}
