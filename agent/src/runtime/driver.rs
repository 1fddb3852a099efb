//! The loop that drives the coordinator: feeds it messages, views, ends of processes and the
//! passing of time, does what it says, and writes on the state where it stands. Nothing is decided
//! here.

use std::time::{Duration, Instant};

use iperf3_mesh_core::gossip::Gossip;
use iperf3_mesh_core::wire::{self, Refusal};
use iperf3_mesh_core::{Input, Node, Output, Peer, PeerState, ReservationOutcome, Time, View};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::api::NodeState;
use crate::clock::{boot_now, sleep_until};
use crate::runtime::processes::Processes;
use crate::runtime::transport::MessageSender;
use crate::state::{AgentState, MeetingStatus, MemberStatus, ScheduleStatus, SweepStatus};

/// How often the state is told that the loop is alive, and the members' list is renewed.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How many of the next partners the state shows.
const NEXT_SHOWN: usize = 10;

/// How long a stopping agent waits for its iperf3 to be dead. They are killed; this is for reaping
/// them.
const LAST_RUNS_WITHIN: Duration = Duration::from_secs(2);

/// Everything that the loop has in its hands.
pub(super) struct Driver {
    /// The coordinator.
    pub node: Node,
    /// Where it is written down what became of it all.
    pub state: AgentState,
    /// The processes.
    pub runs: Processes,
    /// The way to the other agents.
    pub message_sender: MessageSender,
    /// What comes from the control port and from the processes.
    pub inputs: mpsc::Receiver<Input>,
    /// The duration of the last complete sweep here.
    pub last_sweep: Option<Duration>,
}

impl Driver {
    /// Processes until `stop`, and then until the present meeting is left and no iperf3 is alive.
    pub(super) async fn run(mut self, gossip: &Gossip, stop: CancellationToken) {
        let mut views = gossip.views();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            let input = tokio::select! {
                () = stop.cancelled() => break,
                Some(input) = self.inputs.recv() => input,
                view = next_view(&mut views) => Input::View(view),
                () = until(self.node.deadline()) => Input::Tick,
                _ = heartbeat.tick() => {
                    self.state.heartbeat();
                    self.state.metrics().set_gossip(&gossip.status());
                    self.show_members();
                    Input::Tick
                }
            };
            self.handle(input, gossip);
        }
        self.handle(Input::Stop, gossip);
        let _ = tokio::time::timeout(LAST_RUNS_WITHIN, self.wind_up(gossip)).await;
    }

    async fn wind_up(&mut self, gossip: &Gossip) {
        while !self.node.is_free() || !self.runs.is_empty() {
            let Some(input) = self.inputs.recv().await else {
                return;
            };
            self.handle(input, gossip);
        }
    }

    fn handle(&mut self, input: Input, gossip: &Gossip) {
        self.runs.note(&input);
        let is_view = matches!(input, Input::View(_));
        self.node.handle(boot_now(), input);
        if is_view {
            self.show_members();
        }
        while let Some(output) = self.node.poll() {
            self.perform(output, gossip);
        }
        self.show_progress();
    }

    fn perform(&mut self, output: Output, gossip: &Gossip) {
        match output {
            Output::Send(to, message) => self.message_sender.send(to, message),
            Output::StartClient(start) => self.runs.start_client(start),
            Output::StartServer(start) => {
                self.runs.start_server(start);
            }
            Output::Kill(run) => self.runs.kill(run),
            Output::Cell {
                destination,
                protocol,
                outcome,
            } => {
                if let Err(reason) = &outcome {
                    tracing::warn!(%destination, %protocol, %reason, "a cell failed");
                }
                self.state.record(&destination, protocol, &outcome);
            }
            Output::Departed(node) => {
                tracing::info!(%node, "a node has departed");
                self.show_members();
            }
            Output::Missing(node) => {
                tracing::warn!(%node, "Kubernetes runs an agent there, and gossip has not heard of it");
                self.show_members();
            }
            Output::SweepBegan(sweep) => {
                tracing::info!(sweep, "a sweep begins");
                gossip.publish_sweep(sweep);
            }
            Output::SweepEnded(report) => {
                self.last_sweep = Some(report.duration);
                let (seconds, bound) = (report.duration.as_secs_f64(), report.bound.as_secs_f64());
                tracing::info!(
                    sweep = report.number,
                    seconds,
                    bound_seconds = bound,
                    failed_cells = report.failed,
                    "everybody was met or given up"
                );
            }
            Output::ReservationEnded {
                peer,
                role,
                outcome,
                lasted,
            } => {
                self.state.metrics().meeting_ended(lasted);
                self.state.metrics().reservation(role, outcome);
                if matches!(
                    outcome,
                    ReservationOutcome::NoAnswer | ReservationOutcome::Expired
                ) {
                    tracing::warn!(%peer, %role, %outcome, "a meeting did not come to its end");
                } else {
                    let reason = outcome.refusal().map_or("", Refusal::as_str);
                    tracing::debug!(%peer, %role, %outcome, reason, "a reservation is over");
                }
            }
        }
    }

    fn show_members(&self) {
        let now = boot_now();
        let members = self
            .node
            .peers()
            .map(|peer| member_status(peer, now))
            .collect();
        self.state.set_members(members, self.node.is_name_taken());
    }

    fn show_progress(&self) {
        let now = boot_now();
        let status = self.node.status(now);
        self.state.set_quiet(!status.quiet_for.is_zero());
        self.state.set_sweep(SweepStatus {
            number: status.sweep.number,
            met: status.sweep.pairs - status.sweep.open,
            total: status.sweep.pairs,
            started: (status.sweep.open > 0).then(|| instant_of(status.sweep.began, now)),
            last: self.last_sweep,
            bound: status.sweep.bound,
            tests: self.runs.tests(),
        });
        let meeting = status.meeting.map(|meeting| MeetingStatus {
            peer: meeting.peer,
            role: meeting.role.as_str(),
            since: instant_of(meeting.began, now),
        });
        self.state.set_schedule(ScheduleStatus {
            meeting,
            next: self.node.open_pairs().take(NEXT_SHOWN).cloned().collect(),
            open_pairs: status.sweep.open,
        });
    }
}

async fn next_view(views: &mut watch::Receiver<View>) -> View {
    if views.changed().await.is_err() {
        // Gossip has ended; whoever waits for its failure acts on that.
        std::future::pending::<()>().await;
    }
    views.borrow_and_update().clone()
}

async fn until(deadline: Option<Time>) {
    // Should a deadline that has passed ever stay, the loop goes on sharing its thread with
    // everything else.
    tokio::task::coop::consume_budget().await;
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn member_status(peer: &Peer, now: Time) -> MemberStatus {
    let member = &peer.member;
    let state = match member.state {
        _ if !wire::is_compatible(member.wire) => NodeState::Incompatible,
        PeerState::Live => NodeState::Live,
        PeerState::Conflict => NodeState::Conflict,
        PeerState::Silent | PeerState::Left => NodeState::Silent,
        PeerState::Missing => NodeState::Missing,
    };
    MemberStatus {
        name: member.name.clone(),
        zone: member.zone.clone(),
        state,
        silent_since: peer.silent_since.map(|since| instant_of(since, now)),
        http: (member.state != PeerState::Missing)
            .then(|| (member.control.ip(), member.http_port).into()),
        epoch: member.epoch,
        sweep: member.sweep,
    }
}

/// The same instant on the standard library's clock.
fn instant_of(time: Time, now: Time) -> Instant {
    let instant = Instant::now();
    instant.checked_sub(now.since(time)).unwrap_or(instant)
}
