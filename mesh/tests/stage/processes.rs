//! The iperf3 processes on the stage: how they find each other, and how they die.

use std::collections::BTreeMap;
use std::time::Duration;

use iperf3_mesh_core::wire::MeetingId;
use iperf3_mesh_core::{Figures, Input, Outcome, Reason, ServerFailure, TestSpec};

use super::{Event, MILLI};

/// What a test takes beyond its length.
const OVERHEAD: Duration = Duration::from_millis(12);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// By the agent.
    Killed,
    /// By its own timer.
    Deadline,
    /// The test is over.
    Done,
    /// The other end is gone, or never was there.
    Broken(Reason),
    /// A server that never came to listen.
    Failed(ServerFailure),
}

#[derive(Debug)]
struct Process {
    meeting: MeetingId,
    kind: Kind,
    /// The process at the other end.
    other: Option<(usize, u64)>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Server {
        port: u16,
        listening: bool,
        sends: bool,
    },
    Client {
        to: usize,
        port: u16,
        spec: TestSpec,
    },
}

impl Kind {
    pub(super) fn server(port: u16, sends: bool) -> Self {
        Self::Server {
            port,
            listening: false,
            sends,
        }
    }

    pub(super) fn client(to: usize, port: u16, spec: TestSpec) -> Self {
        Self::Client { to, port, spec }
    }
}

type Planned = Vec<(Duration, Event)>;

/// All processes that live, of all nodes.
#[derive(Debug, Default)]
pub(super) struct Processes {
    alive: BTreeMap<(usize, u64), Process>,
}

impl Processes {
    pub(super) fn start(&mut self, node: usize, run: u64, meeting: MeetingId, kind: Kind) {
        let before = self.alive.insert(
            (node, run),
            Process {
                meeting,
                kind,
                other: None,
            },
        );
        assert!(before.is_none(), "run {run} of n{node} is started twice");
    }

    /// The meetings of the processes on that node, of the clients on their way to it, and of the
    /// two-way servers that send to it.
    pub(super) fn touching(&self, node: usize) -> impl Iterator<Item = &MeetingId> {
        let touches = move |(on, process): (usize, &Process)| {
            let sends_to = match process.kind {
                Kind::Client { to, .. } => Some(to),
                Kind::Server { sends, .. } => process.other.filter(|_| sends).map(|(to, _)| to),
            };
            on == node || sends_to == Some(node)
        };
        self.alive
            .iter()
            .filter(move |((on, _), process)| touches((*on, process)))
            .map(|(_, process)| &process.meeting)
    }

    pub(super) fn vanish(&mut self, node: usize) {
        self.alive.retain(|(on, _), _| *on != node);
    }

    /// Whether the server has lived to listen.
    pub(super) fn listen(&mut self, node: usize, run: u64) -> bool {
        let process = self.alive.get_mut(&(node, run));
        if let Some(Kind::Server { listening, .. }) = process.map(|process| &mut process.kind) {
            *listening = true;
            return true;
        }
        false
    }

    pub(super) fn connect(&mut self, node: usize, run: u64, hangs: bool) -> Planned {
        let Some(Process {
            kind: Kind::Client { to, port, spec },
            ..
        }) = self.alive.get(&(node, run))
        else {
            return Vec::new();
        };
        let length = spec.length() + OVERHEAD;
        let server = self.alive.iter().find(|((on, _), process)| {
            let is_open = matches!(&process.kind, Kind::Server { port: open, listening: true, .. } if open == port);
            on == to && is_open && process.other.is_none()
        });
        let Some((&server, _)) = server else {
            return vec![(
                MILLI,
                Event::Dies(node, run, Death::Broken(Reason::Connect)),
            )];
        };
        self.join((node, run), server);
        self.join(server, (node, run));
        if hangs {
            return Vec::new();
        }
        vec![(length, Event::Dies(node, run, Death::Done))]
    }

    fn join(&mut self, one: (usize, u64), other: (usize, u64)) {
        if let Some(process) = self.alive.get_mut(&one) {
            process.other = Some(other);
        }
    }

    /// The ends have agreed that the test is over: a two-way server has stopped sending.
    fn hush(&mut self, server: Option<(usize, u64)>) {
        let process = server.and_then(|server| self.alive.get_mut(&server));
        if let Some(Process {
            kind: Kind::Server { sends, .. },
            ..
        }) = process
        {
            *sends = false;
        }
    }

    /// What the agent says of that death, and what it does to the process at the other end.
    pub(super) fn die(&mut self, node: usize, run: u64, death: Death) -> (Option<Input>, Planned) {
        let is_cut_off = |process: &Process| {
            let is_client = matches!(process.kind, Kind::Client { .. });
            let is_alone = process
                .other
                .is_none_or(|other| !self.alive.contains_key(&other));
            is_client && is_alone
        };
        // Whose server has vanished with its machine waits for it until its own deadline.
        if death == Death::Done && self.alive.get(&(node, run)).is_some_and(is_cut_off) {
            return (None, Vec::new());
        }
        let Some(Process { kind, other, .. }) = self.alive.remove(&(node, run)) else {
            return (None, Vec::new());
        };
        let end = match death {
            Death::Done => Death::Done,
            _ => Death::Broken(Reason::Interrupted),
        };
        let was_met = other.is_some();
        if death == Death::Done {
            self.hush(other);
        }
        let other = other.filter(|other| self.alive.contains_key(other));
        let consequences = other.map(|(node, run)| (MILLI, Event::Dies(node, run, end)));
        let input = match kind {
            Kind::Server {
                listening: true, ..
            } => Input::ServerEnded {
                run,
                accepted: was_met,
            },
            Kind::Server { .. } => {
                let failure = match death {
                    Death::Failed(failure) => failure,
                    _ => ServerFailure::Spawn,
                };
                Input::ServerFailed(run, failure)
            }
            Kind::Client { spec, .. } => {
                let outcome = outcome(death);
                let reverse = outcome.clone().filter(|_| spec.bidir);
                Input::ClientEnded {
                    run,
                    forward: outcome,
                    reverse,
                }
            }
        };
        (Some(input), consequences.into_iter().collect())
    }
}

fn outcome(death: Death) -> Option<Outcome> {
    match death {
        Death::Done => Some(Ok(Figures::default())),
        Death::Deadline => Some(Err(Reason::Timeout)),
        Death::Broken(reason) => Some(Err(reason)),
        Death::Killed | Death::Failed(_) => None,
    }
}
