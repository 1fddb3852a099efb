//! The iperf3 processes of one node, as far as the schedule can tell: how long they take, and how they end.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::wire::MeetingId;
use crate::{ClientStart, RunId, ServerStart, Time};

/// From the spawn of a server until it listens (p50 measured: 2.6 ms).
pub(super) const SERVER_START: Duration = Duration::from_millis(3);

/// From the spawn of a client until it connects.
pub(super) const CLIENT_START: Duration = Duration::from_millis(2);

/// From a kill, or from the other end's death, until the process is reaped.
pub(super) const DEATH: Duration = Duration::from_millis(1);

/// A process that is alive.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) meeting: MeetingId,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A server, and the client that it serves.
    Server { port: u16, listening: bool, client: Option<(usize, RunId)> },
    /// A client, and the server that it is connected to.
    Client { start: ClientStart, server: Option<(usize, RunId)>, killed: bool },
}

/// The processes of one node.
#[derive(Debug, Default)]
pub(super) struct Processes {
    alive: BTreeMap<RunId, Process>,
}

impl Processes {
    pub(super) fn start_server(&mut self, start: &ServerStart) {
        let kind = Kind::Server { port: start.port, listening: false, client: None };
        self.alive.insert(start.run, Process { meeting: start.meeting.clone(), kind });
    }

    pub(super) fn start_client(&mut self, start: ClientStart) {
        let (run, meeting) = (start.run, start.meeting.clone());
        let kind = Kind::Client { start, server: None, killed: false };
        self.alive.insert(run, Process { meeting, kind });
    }

    pub(super) fn get_mut(&mut self, run: RunId) -> Option<&mut Process> {
        self.alive.get_mut(&run)
    }

    pub(super) fn reap(&mut self, run: RunId) -> Option<Process> {
        self.alive.remove(&run)
    }

    /// Lets `client` connect to the server that listens on `port`, if there is one and it is free.
    pub(super) fn accept(&mut self, port: u16, client: (usize, RunId)) -> Option<RunId> {
        for (&run, process) in &mut self.alive {
            if let Kind::Server { port: open, listening: true, client: slot @ None } =
                &mut process.kind
                && *open == port
            {
                *slot = Some(client);
                return Some(run);
            }
        }
        None
    }
}

/// How long a client takes that is connected at `now`, and whether its test comes to an end of its own.
pub(super) fn course(
    start: &ClientStart,
    now: Time,
    overhead: Duration,
    hangs: bool,
) -> (Time, bool) {
    let end = now + start.spec.length() + overhead;
    if hangs || end > start.deadline { (start.deadline, false) } else { (end, true) }
}
