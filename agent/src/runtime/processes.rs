//! The iperf3 processes that the coordinator asks for. This module starts them, kills them on
//! request, and reports their ends.
//!
//! It also detects what must never occur: iperf3 of a second meeting while iperf3 of the first
//! still runs, and a client that is not the peer or asks for more than agreed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use iperf3_mesh_core::wire::MeetingId;
use iperf3_mesh_core::{
    ClientStart, Epoch, Input, NodeName, Outcome, Protocol, Reason, RunId, ServerFailure,
    ServerStart, Time,
};
use tokio::sync::{broadcast, mpsc};

use super::events::{ProcessEnd, ProcessFailure, ProcessRole, TestProcess};
use super::implausible::ImplausibleFigures;
use super::starvation::StarvationWatch;
use super::strangers::Strangers;
use crate::clock::{boot_now, unix_now_ns};
use crate::iperf::{
    Client, ClientRun, Iperf, Kill, Limits, NotReady, Server, ServerEnd, ServerRun, SpawnError,
};
use crate::metrics::{Metrics, TestOutcome};
use crate::text::short;

/// The maximum number of reports that wait for the driver. A meeting has one process at a time, and
/// each process reports at most twice.
const REPORTS_MAX: usize = 16;

/// The maximum number of finished tests that wait for a slow observer. An observer that falls
/// further behind loses the oldest ones, and the channel reports their number to it.
const FINISHED_TESTS_MAX: usize = 64;

/// A test that this node ran as the client, for observers of the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FinishedTest {
    /// The sweep that the test belongs to.
    pub(crate) sweep: u64,
    /// The time just before the client was started.
    pub(crate) began: Time,
    /// A time at which the client was already dead.
    pub(crate) ended: Time,
    /// Whether the test succeeded or failed. A cancelled test is not reported.
    pub(crate) outcome: TestOutcome,
}

/// A process whose end has not been reported yet.
struct Running {
    meeting: MeetingId,
    /// The handle that kills the process; `None` if the process could not be started.
    kill: Option<Kill>,
}

/// A report about a process.
enum Report {
    /// The server listens. The input says what its client must know.
    Ready(Input),
    /// The process is dead. The input says how it ended.
    Ended(RunId, Input),
}

/// The processes of one agent.
pub(super) struct Processes {
    node: NodeName,
    epoch: Epoch,
    address: IpAddr,
    iperf: Iperf,
    metrics: Metrics,
    implausible: Arc<ImplausibleFigures>,
    strangers: Arc<Strangers>,
    /// Watches what this node needs to start iperf3.
    pub(super) starvation: StarvationWatch,
    running: BTreeMap<RunId, Running>,
    reporter: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    finished_tests: broadcast::Sender<FinishedTest>,
}

impl Processes {
    /// Creates an empty table. `address` is this node's address in every test.
    pub(super) fn new(
        node: NodeName,
        epoch: Epoch,
        address: IpAddr,
        iperf: Iperf,
        metrics: Metrics,
        implausible: Arc<ImplausibleFigures>,
        starvation: StarvationWatch,
    ) -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS_MAX);
        Self {
            node,
            epoch,
            address,
            iperf,
            strangers: Strangers::new(metrics.clone()),
            metrics,
            implausible,
            starvation,
            running: BTreeMap::new(),
            reporter,
            reports,
            finished_tests: broadcast::Sender::new(FINISHED_TESTS_MAX),
        }
    }

    /// Subscribes to the tests that finish from now on.
    pub(super) fn finished_tests(&self) -> broadcast::Receiver<FinishedTest> {
        self.finished_tests.subscribe()
    }

    /// Changes this node's address in all later tests.
    pub(super) fn move_to(&mut self, address: IpAddr) {
        self.address = address;
    }

    /// Returns whether no process is left.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Returns the next report about a process, as an input of the coordinator. A process is
    /// removed from the table before its end is reported. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Input {
        match self.reports.recv().await {
            Some(Report::Ready(input)) => input,
            Some(Report::Ended(run, input)) => {
                let ended = self.running.remove(&run);
                if ended.is_some_and(|it| it.kill.is_some()) && ran_out(&input) {
                    self.starvation.suspect();
                }
                input
            }
            // This cannot happen, because this table itself holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Kills the process if it still runs. Its end is reported like any other.
    pub(super) fn kill(&self, run: RunId) {
        if let Some(kill) = self.running.get(&run).and_then(|it| it.kill.as_ref()) {
            kill.kill();
        }
    }

    /// Starts a client.
    pub(super) fn start_client(&mut self, start: ClientStart) {
        let limits = Limits {
            start_by: start.start_by,
            deadline: start.deadline,
        };
        let process = self.process(
            ProcessRole::Client,
            start.peer,
            start.meeting.clone(),
            start.sweep,
            start.spec.protocol,
            limits,
        );
        let is_two_way = start.spec.bidir;
        let spawned = self.iperf.client(ClientRun {
            spec: start.spec,
            local: self.address,
            remote: start.remote,
            buffer: start.buffer,
            limits,
        });
        let client = self.started(spawned, &process);
        let kill = client.as_ref().ok().map(Client::killer);
        self.insert(start.run, start.meeting, kill);
        let (run, reporter) = (start.run, self.reporter.clone());
        let (metrics, finished_tests) = (self.metrics.clone(), self.finished_tests.clone());
        let implausible = self.implausible.clone();
        tokio::spawn(async move {
            let (forward, reverse) =
                run_client(client, &process, is_two_way, &metrics, &implausible).await;
            if let Some(forward) = &forward {
                let outcome = match forward {
                    Ok(_) => TestOutcome::Success,
                    Err(_) => TestOutcome::Failure,
                };
                // Sending fails if there is no observer, which is the normal case.
                let _ = finished_tests.send(FinishedTest {
                    sweep: process.sweep,
                    began: process.began,
                    ended: boot_now(),
                    outcome,
                });
            }
            let input = Input::ClientEnded {
                run,
                forward,
                reverse,
            };
            let _ = reporter.send(Report::Ended(run, input)).await;
        });
    }

    /// Starts a server that accepts only the peer's address.
    pub(super) fn start_server(&mut self, start: ServerStart) {
        let limits = Limits {
            start_by: start.start_by,
            deadline: start.deadline,
        };
        let process = self.process(
            ProcessRole::Server,
            start.peer,
            start.meeting.clone(),
            start.sweep,
            start.spec.protocol,
            limits,
        );
        let buffer = (start.spec.protocol == Protocol::Udp).then(Iperf::largest_buffer);
        let spawned = self.iperf.server(&ServerRun {
            spec: start.spec,
            local: self.address,
            port: start.port,
            peer: start.peer_address,
            limits,
        });
        let server = self.started(spawned, &process);
        let kill = server.as_ref().ok().map(Server::killer);
        self.insert(start.run, start.meeting, kill);
        let (run, reporter, metrics) = (start.run, self.reporter.clone(), self.metrics.clone());
        let strangers = self.strangers.clone();
        let ready = Report::Ready(Input::ServerReady { run, buffer });
        tokio::spawn(async move {
            let report_ready = reporter.send(ready);
            let input = run_server(server, run, &process, report_ready, &metrics, &strangers).await;
            let _ = reporter.send(Report::Ended(run, input)).await;
        });
    }

    /// Takes the process if it was started, and otherwise logs why not. Returns the reason of the
    /// failed test.
    fn started<T>(
        &mut self,
        spawned: Result<T, SpawnError>,
        process: &TestProcess,
    ) -> Result<T, Reason> {
        match spawned {
            Ok(spawned) => {
                self.starvation.started();
                Ok(spawned)
            }
            Err(error) => {
                let reason = self.starvation.refused(&error);
                if reason == Reason::Spawn {
                    let (peer, role) = (short(process.peer.as_str()), process.role);
                    tracing::warn!(peer, %role, %error, "cannot start the iperf3 of a test");
                }
                Err(reason)
            }
        }
    }

    /// Describes a process that is about to be started.
    fn process(
        &self,
        role: ProcessRole,
        peer: NodeName,
        meeting: MeetingId,
        sweep: u64,
        protocol: Protocol,
        limits: Limits,
    ) -> TestProcess {
        TestProcess {
            node: self.node.clone(),
            epoch: self.epoch,
            peer,
            role,
            protocol,
            meeting,
            sweep,
            began: boot_now(),
            began_unix_ns: unix_now_ns(),
            deadline: limits.deadline,
        }
    }

    fn insert(&mut self, run: RunId, meeting: MeetingId, kill: Option<Kill>) {
        if let Some(other) = self.running.values().find(|it| it.meeting != meeting) {
            self.metrics.overlap();
            let other = &other.meeting;
            tracing::error!(%meeting, %other, "two meetings at once: this must never happen");
        }
        self.running.insert(run, Running { meeting, kill });
    }
}

/// Runs a client to its end; returns the outcomes of both directions.
async fn run_client(
    client: Result<Client, Reason>,
    process: &TestProcess,
    is_two_way: bool,
    metrics: &Metrics,
    implausible: &ImplausibleFigures,
) -> (Option<Outcome>, Option<Outcome>) {
    let mut client = match client {
        Ok(client) => client,
        Err(reason) => {
            let failed = Err(reason);
            return (Some(failed.clone()), is_two_way.then_some(failed));
        }
    };
    let pid = client.pid();
    process.log_start(pid);
    let end = client.wait().await;
    // The handle is dropped first, so that nothing is left of the process when its end is reported.
    drop(client);
    let report = end.report;
    if end.cancelled {
        process.log_end(pid, ProcessEnd::Cancelled, &report.detail);
        metrics.test_cancelled(process.protocol);
        return (None, None);
    }
    for figure in report.implausible {
        implausible.record(figure, &process.peer, &process.node);
    }
    let logged = match &report.forward {
        Ok(figures) => ProcessEnd::Success(Some(figures)),
        Err(reason) => ProcessEnd::Failure(ProcessFailure::Test(*reason)),
    };
    process.log_end(pid, logged, &report.detail);
    (Some(report.forward), report.reverse)
}

/// Returns the failure of a server that was not started for this reason.
fn server_failure(reason: Reason) -> ServerFailure {
    match reason {
        Reason::Resources => ServerFailure::Resources,
        _ => ServerFailure::Spawn,
    }
}

/// Runs a server to its end; returns the input that reports it.
async fn run_server(
    server: Result<Server, Reason>,
    run: RunId,
    process: &TestProcess,
    report_ready: impl Future,
    metrics: &Metrics,
    strangers: &Strangers,
) -> Input {
    let mut server = match server {
        Ok(server) => server,
        Err(reason) => return Input::ServerFailed(run, server_failure(reason)),
    };
    let pid = server.pid();
    process.log_start(pid);
    if let Err(error) = server.ready().await {
        drop(server);
        let reason = match error {
            NotReady::Starved(_) => Reason::Resources,
            _ => Reason::Spawn,
        };
        let end = ProcessEnd::Failure(ProcessFailure::Test(reason));
        process.log_end(pid, end, &error.to_string());
        let failure = match error {
            NotReady::Stranger(client) => {
                strangers.record(1, client, &process.peer);
                ServerFailure::PortTaken
            }
            NotReady::PortTaken => ServerFailure::PortTaken,
            NotReady::Ended(_) | NotReady::Slow | NotReady::Starved(_) => server_failure(reason),
        };
        return Input::ServerFailed(run, failure);
    }
    metrics.show_filter(server.is_filtered());
    report_ready.await;
    let end = server.wait().await;
    drop(server);
    if let Some(client) = end.unexpected_client {
        strangers.record(end.strangers, client, &process.peer);
    }
    let logged = server_end(&end);
    let detail = end.breach.as_ref().unwrap_or(&end.detail);
    process.log_end(pid, logged, detail);
    if let ProcessEnd::Failure(failure) = logged {
        metrics.server_failed(failure.into());
    }
    Input::ServerEnded {
        run,
        accepted: end.accepted,
        complaint: end.complaint(),
    }
}

/// Returns whether an iperf3 of this node reports that it ran out of something.
fn ran_out(ended: &Input) -> bool {
    match ended {
        Input::ClientEnded { forward, .. } => *forward == Some(Err(Reason::Resources)),
        Input::ServerEnded { complaint, .. } => complaint
            .as_ref()
            .is_some_and(|complaint| complaint.reason() == Reason::Resources),
        _ => false,
    }
}

fn server_end(end: &ServerEnd) -> ProcessEnd<'static> {
    if end.breach.is_some() {
        ProcessEnd::Failure(ProcessFailure::PlanExceeded)
    } else if end.crashed {
        ProcessEnd::Failure(ProcessFailure::Crashed)
    } else if let Some(reason) = end.failure {
        ProcessEnd::Failure(ProcessFailure::Test(reason))
    } else if end.unexpected_client.is_some() && !end.accepted {
        ProcessEnd::Failure(ProcessFailure::UnexpectedClient)
    } else if end.timed_out {
        ProcessEnd::Failure(ProcessFailure::Test(Reason::Timeout))
    } else if end.accepted {
        // This is a success even if the server was killed: the peer's message that the test is over
        // may arrive before the server has ended by itself.
        ProcessEnd::Success(None)
    } else if end.cancelled {
        ProcessEnd::Cancelled
    } else {
        ProcessEnd::Failure(ProcessFailure::NoClient)
    }
}
