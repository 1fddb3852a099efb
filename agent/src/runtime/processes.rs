//! The iperf3 processes that the coordinator asked for: starts them, tells how they end, kills them
//! on request.
//!
//! It also watches what must not happen: a second meeting's iperf3 beside the first, an unexpected
//! client of the server.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use iperf3_mesh_core::wire::MeetingId;
use iperf3_mesh_core::{
    ClientStart, Epoch, Input, NodeName, Reason, RunId, ServerFailure, ServerStart,
};
use tokio::sync::mpsc;

use crate::clock::{boot_now, unix_now_ns};
use crate::iperf::{ClientRun, Iperf, Kill, Limits, NotReady, Server, ServerRun};
use crate::metrics::Metrics;
use crate::runtime::events::Run;
use crate::state::SweepTests;

/// The processes of one agent.
pub(super) struct Processes {
    node: NodeName,
    epoch: Epoch,
    address: IpAddr,
    iperf: Iperf,
    metrics: Metrics,
    inputs: mpsc::Sender<Input>,
    alive: BTreeMap<RunId, (MeetingId, Option<Kill>)>,
    tests: [SweepTests; 2],
}

impl Processes {
    /// No process yet. `address` is that of this node's end of every test; `inputs` is told how
    /// each ends.
    pub(super) fn new(
        (node, epoch): (NodeName, Epoch),
        address: IpAddr,
        iperf: Iperf,
        metrics: Metrics,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            node,
            epoch,
            address,
            iperf,
            metrics,
            inputs,
            alive: BTreeMap::new(),
            tests: Default::default(),
        }
    }

    /// Whether no process is left.
    pub(super) fn is_empty(&self) -> bool {
        self.alive.is_empty()
    }

    /// The tests of the latest two sweeps in which this node was a client, the latest first.
    pub(super) fn tests(&self) -> [SweepTests; 2] {
        self.tests
    }

    /// Kills that process, if it is still alive; its end is reported as any other.
    pub(super) fn kill(&self, run: RunId) {
        if let Some((_, Some(kill))) = self.alive.get(&run) {
            kill.kill();
        }
    }

    /// Forgets the process whose end `input` reports.
    pub(super) fn note(&mut self, input: &Input) {
        if let Input::ServerFailed(run, _)
        | Input::ServerEnded { run, .. }
        | Input::ClientEnded { run, .. } = input
        {
            self.alive.remove(run);
        }
        let [tests, _] = &mut self.tests;
        if let (
            Input::ClientEnded {
                forward: Some(outcome),
                ..
            },
            Some((_, last)),
        ) = (input, &mut tests.span)
        {
            *last = Instant::now();
            tests.ended += 1;
            tests.failed += u64::from(outcome.is_err());
        }
    }

    /// Starts a client.
    pub(super) fn start_client(&mut self, start: ClientStart) {
        let limits = Limits {
            start_by: start.start_by,
            deadline: start.deadline,
        };
        let event = self.event(
            "client",
            &start.peer,
            &start.spec,
            &start.meeting,
            start.sweep,
            limits,
        );
        if self.tests[0].number != start.sweep {
            let now = Instant::now();
            let tests = SweepTests {
                number: start.sweep,
                span: Some((now, now)),
                ended: 0,
                failed: 0,
            };
            self.tests = [tests, self.tests[0]];
        }
        let (remote, port) = (start.remote.ip(), start.remote.port());
        let run = ClientRun {
            spec: start.spec,
            local: self.address,
            remote,
            port,
            limits,
        };
        let (protocol, is_two_way) = (run.spec.protocol, run.spec.bidir);
        let client = self.iperf.client(run);
        self.enter(
            start.run,
            start.meeting,
            client.as_ref().ok().map(crate::iperf::Client::killer),
        );
        let (inputs, metrics) = (self.inputs.clone(), self.metrics.clone());
        tokio::spawn(async move {
            let (forward, reverse) = match client {
                Ok(mut client) => {
                    let pid = client.pid();
                    event.started(pid);
                    let end = client.wait().await;
                    // The process is gone: dropping it first leaves nothing behind the report.
                    drop(client);
                    if end.cancelled {
                        event.finished(pid, "cancelled", "", &end.report.detail);
                        metrics.test_cancelled(protocol);
                        (None, None)
                    } else {
                        let (outcome, reason) = words(&end.report.forward);
                        event.finished(pid, outcome, reason, &end.report.detail);
                        (Some(end.report.forward), end.report.reverse)
                    }
                }
                Err(error) => {
                    tracing::warn!(peer = %event.peer, %error, "a test was not started");
                    (
                        Some(Err(Reason::Spawn)),
                        is_two_way.then_some(Err(Reason::Spawn)),
                    )
                }
            };
            let _ = inputs
                .send(Input::ClientEnded {
                    run: start.run,
                    forward,
                    reverse,
                })
                .await;
        });
    }

    /// Starts a server that serves the peer's address only.
    pub(super) fn start_server(&mut self, start: ServerStart) {
        let limits = Limits {
            start_by: start.start_by,
            deadline: start.deadline,
        };
        let event = self.event(
            "server",
            &start.peer,
            &start.spec,
            &start.meeting,
            start.sweep,
            limits,
        );
        let server = self.iperf.server(&ServerRun {
            spec: start.spec,
            local: self.address,
            port: start.port,
            peer: start.peer_address,
            limits,
        });
        let kill = server.as_ref().ok().map(Server::killer);
        self.enter(start.run, start.meeting, kill);
        let (inputs, metrics) = (self.inputs.clone(), self.metrics.clone());
        tokio::spawn(async move {
            let input = match server {
                Ok(server) => serve(server, start.run, &event, &inputs, &metrics).await,
                Err(error) => {
                    tracing::warn!(peer = %event.peer, %error, "a server was not started");
                    Input::ServerFailed(start.run, ServerFailure::Spawn)
                }
            };
            let _ = inputs.send(input).await;
        });
    }

    fn event(
        &self,
        role: &'static str,
        peer: &NodeName,
        spec: &iperf3_mesh_core::TestSpec,
        meeting: &MeetingId,
        sweep: u64,
        limits: Limits,
    ) -> Run {
        Run {
            node: self.node.clone(),
            epoch: self.epoch,
            peer: peer.clone(),
            role,
            protocol: spec.protocol,
            meeting: meeting.clone(),
            sweep,
            began: boot_now(),
            began_unix_ns: unix_now_ns(),
            deadline: limits.deadline,
        }
    }

    fn enter(&mut self, run: RunId, meeting: MeetingId, kill: Option<Kill>) {
        if let Some((_, (other, _))) = self.alive.iter().find(|(_, (other, _))| *other != meeting) {
            self.metrics.overlap();
            tracing::error!(%meeting, %other, "two meetings at once: this must never happen");
        }
        self.alive.insert(run, (meeting, kill));
    }
}

async fn serve(
    mut server: Server,
    run: RunId,
    event: &Run,
    inputs: &mpsc::Sender<Input>,
    metrics: &Metrics,
) -> Input {
    let pid = server.pid();
    event.started(pid);
    if let Err(error) = server.ready().await {
        drop(server);
        event.finished(pid, "failure", Reason::Spawn.as_str(), &error.to_string());
        let failure = match error {
            NotReady::PortTaken => ServerFailure::PortTaken,
            NotReady::Ended(_) | NotReady::Slow => ServerFailure::Spawn,
        };
        return Input::ServerFailed(run, failure);
    }
    let _ = inputs.send(Input::ServerReady(run)).await;
    let end = server.wait().await;
    drop(server);
    let (outcome, reason) = match (&end.unexpected_client, end.timed_out, end.cancelled) {
        (Some(unexpected), ..) => {
            metrics.unexpected_client();
            tracing::warn!(client = %unexpected, peer = %event.peer, "disconnected an unexpected client from the iperf3 server");
            ("failure", "unexpected_client")
        }
        (None, true, _) => ("failure", Reason::Timeout.as_str()),
        // Who was served may end it by a word that arrives before the server has ended by itself.
        (None, false, _) if end.accepted => ("success", ""),
        (None, false, true) => ("cancelled", ""),
        (None, false, false) => ("failure", "no_client"),
    };
    event.finished(pid, outcome, reason, &end.detail);
    Input::ServerEnded {
        run,
        accepted: end.accepted,
    }
}

fn words(outcome: &iperf3_mesh_core::Outcome) -> (&'static str, &'static str) {
    match outcome {
        Ok(_) => ("success", ""),
        Err(reason) => ("failure", reason.as_str()),
    }
}
