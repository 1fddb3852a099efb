//! The loop that drives the coordinator. It passes messages, views, ends of processes and the
//! passing of time to the coordinator, carries out its outputs, and publishes its state. The loop
//! itself decides nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iperf3_mesh_core::gossip::Gossip;
use iperf3_mesh_core::wire::Role;
use iperf3_mesh_core::{
    Input, Node, NodeName, Outcome, Output, Peer, PeerState, Protocol, ReservationOutcome, Time,
    View, wire,
};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::api::{Meeting, Member, NodeState, Schedule, Since, Sweep};
use crate::clock::{boot_now, sleep_until};
use crate::neighbours::NeighbourWatch;
use crate::runtime::ignored::IgnoredMessages;
use crate::runtime::implausible::ImplausibleFigures;
use crate::runtime::out_of_step::OutOfStep;
use crate::runtime::processes::Processes;
use crate::runtime::refused::RefusedMembers;
use crate::runtime::transport::MessageSender;
use crate::runtime::unheard::Unheard;
use crate::sealing::PeerSeal;
use crate::state::{AgentState, iperf3_versions};
use crate::text::short;

/// The interval of the loop's heartbeat, at which the silence of the members is published again.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The maximum number of next partners that are published.
const NEXT_SHOWN: usize = 10;

/// How long a stopping agent waits for its iperf3 processes to be dead. They are killed at once;
/// this time is for reaping them.
const REAPED_WITHIN: Duration = Duration::from_secs(2);

/// The state and the connections of the loop.
pub(super) struct Driver {
    /// The coordinator.
    pub node: Node,
    /// The published state.
    pub state: AgentState,
    /// The iperf3 processes.
    pub processes: Processes,
    /// The messages that had no effect.
    pub ignored: IgnoredMessages,
    /// The figures that cannot be.
    pub implausible: Arc<ImplausibleFigures>,
    /// Sends messages to the other agents.
    pub message_sender: MessageSender,
    /// The address at which this agent receives messages.
    pub control: SocketAddr,
    /// Received messages, failed deliveries and findings of discovery.
    pub inputs: mpsc::Receiver<Input>,
    /// The duration of the last complete sweep on this node.
    pub last_sweep: Option<Duration>,
    /// The versions of iperf3 in the mesh, as last logged.
    pub iperf3_versions: Vec<String>,
    /// The control address of another live agent that uses this node's name.
    pub namesake: Option<SocketAddr>,
    /// Compares the size of the mesh with the kernel's neighbour table.
    pub neighbours: NeighbourWatch,
    /// The members that this node has nothing to do with.
    pub refused: RefusedMembers,
    /// The peers that speak, but that gossip does not hear.
    pub unheard: Unheard,
    /// The nodes whose sweep numbers are far from those of most nodes.
    pub out_of_step: OutOfStep,
}

impl Driver {
    /// Runs until `stop`, and then until this node has left the present meeting and no iperf3
    /// process is alive.
    pub(super) async fn run(mut self, gossip: &Gossip, stop: CancellationToken) {
        let mut views = gossip.views();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            let input = tokio::select! {
                () = stop.cancelled() => break,
                Some(input) = self.inputs.recv() => input,
                end = self.processes.next() => end,
                view = next_view(&mut views) => Input::View(view),
                () = until(self.node.deadline()) => Input::Tick,
                _ = heartbeat.tick() => {
                    self.state.heartbeat();
                    self.processes.starvation.look();
                    let status = gossip.status();
                    self.state.metrics().show_gossip(&status);
                    self.state.metrics().show_keys_in_use(&status.keys_in_use);
                    self.state.set_unsent_gossip(status.unsent);
                    let unheard = self.unheard.update(&self.node, boot_now());
                    self.state.metrics().show_unheard(unheard);
                    let out_of_step = self.out_of_step.update(&self.node, boot_now());
                    self.state.metrics().show_out_of_step(out_of_step);
                    self.refused.log(boot_now());
                    self.publish_members();
                    Input::Tick
                }
            };
            self.handle(input, gossip);
        }
        self.handle(Input::Stop, gossip);
        let _ = tokio::time::timeout(REAPED_WITHIN, self.wind_down(gossip)).await;
    }

    async fn wind_down(&mut self, gossip: &Gossip) {
        while !self.node.is_free() || !self.processes.is_empty() {
            let input = tokio::select! {
                Some(input) = self.inputs.recv() => input,
                end = self.processes.next() => end,
            };
            self.handle(input, gossip);
        }
    }

    fn handle(&mut self, input: Input, gossip: &Gossip) {
        let is_view = matches!(input, Input::View(_));
        match &input {
            Input::View(view) => {
                self.log_name_conflict(view.namesake());
                let metrics = self.state.metrics();
                self.refused.update(view.refused(), boot_now(), metrics);
                self.state.set_refused(view.refused());
            }
            Input::Message(message) => self.unheard.hear(&self.node, message, boot_now()),
            Input::Moved(address) => {
                self.control.set_ip(*address);
                self.processes.move_to(*address);
                self.message_sender.connect_from(*address);
                self.neighbours = NeighbourWatch::new(*address);
            }
            _ => {}
        }
        self.node.handle(boot_now(), input);
        if is_view {
            self.neighbours.see(self.node.peers().count());
            self.publish_members();
        }
        while let Some(output) = self.node.poll() {
            self.perform(output, gossip);
        }
        self.state.set_schedule(self.schedule());
    }

    fn perform(&mut self, output: Output, gossip: &Gossip) {
        match output {
            Output::Send(to, message) => self.message_sender.send(to, message),
            Output::Ping {
                to,
                message,
                within,
            } => self.message_sender.ping(to, message, within),
            Output::StartClient(start) => self.processes.start_client(start),
            Output::StartServer(start) => self.processes.start_server(start),
            Output::Kill(run) => self.processes.kill(run),
            Output::Cell {
                destination,
                protocol,
                outcome,
                is_limited,
            } => self.record(&destination, protocol, &outcome, is_limited),
            Output::Ignored { from, kind, reason } => self.ignored.record(&from, kind, reason),
            Output::ImplausibleFigure { peer, figure } => {
                self.implausible.record(figure, &peer, &peer);
            }
            Output::Complaint {
                peer,
                protocol,
                complaint,
            } => {
                let (reason, words) = (complaint.reason(), complaint.words());
                tracing::warn!(
                    destination = short(peer.as_str()),
                    %protocol,
                    %reason,
                    words,
                    "the iperf3 server at the destination of a failed test has complained"
                );
            }
            Output::Departed(node) => {
                tracing::info!(node = short(node.as_str()), "a node has departed");
                self.publish_members();
            }
            Output::Missing(node) => {
                tracing::warn!(
                    node = short(node.as_str()),
                    "Kubernetes runs an agent there, and gossip has not heard from it"
                );
                self.publish_members();
            }
            Output::SweepBegan(sweep) => {
                tracing::info!(sweep, "sweep started");
                gossip.publish_sweep(sweep);
            }
            Output::SweepEnded(summary) => {
                self.last_sweep = Some(summary.duration);
                tracing::info!(
                    sweep = summary.number,
                    seconds = summary.duration.as_secs_f64(),
                    bound_seconds = summary.bound.as_secs_f64(),
                    failed_cells = summary.failed,
                    "sweep complete"
                );
            }
            Output::ReservationEnded {
                peer,
                role,
                outcome,
                lasted,
            } => self.count_reservation(&peer, role, outcome, lasted),
        }
    }

    fn record(
        &self,
        destination: &NodeName,
        protocol: Protocol,
        outcome: &Outcome,
        is_limited: bool,
    ) {
        if let Err(reason) = outcome {
            let destination = short(destination.as_str());
            tracing::warn!(destination, %protocol, %reason, "a cell failed");
        }
        self.state.record(destination, protocol, outcome);
        if is_limited {
            self.state.record_limit(destination, protocol);
        }
    }

    fn count_reservation(
        &self,
        peer: &NodeName,
        role: Role,
        outcome: ReservationOutcome,
        lasted: Duration,
    ) {
        self.state.metrics().reservation(role, outcome, lasted);
        match outcome {
            ReservationOutcome::NoAnswer | ReservationOutcome::Expired => {
                tracing::warn!(
                    peer = short(peer.as_str()),
                    %role,
                    %outcome,
                    "the peer did not answer, or stopped answering during the meeting"
                );
            }
            ReservationOutcome::Refused(reason) => {
                tracing::debug!(%peer, %role, %outcome, %reason, "a reservation is over");
            }
            ReservationOutcome::Met
            | ReservationOutcome::Withdrawn
            | ReservationOutcome::Cancelled => {
                tracing::debug!(%peer, %role, %outcome, "a reservation is over");
            }
        }
    }

    /// Logs the beginning and the end of a name conflict, once each.
    fn log_name_conflict(&mut self, namesake: Option<SocketAddr>) {
        if namesake == self.namesake {
            return;
        }
        let (node, address) = (&self.state.identity().name, self.control);
        match namesake {
            Some(other) => tracing::warn!(
                %node,
                %address,
                %other,
                "another live agent uses this node's name, and both refuse all tests: \
                 stop one of them, or give it another --node-name (SOURCE_NODE_NAME)"
            ),
            None => {
                tracing::info!(%node, %address, "no other agent uses this node's name any more");
            }
        }
        self.namesake = namesake;
    }

    fn publish_members(&mut self) {
        let members: Vec<Member> = self.node.peers().map(member).collect();
        self.log_iperf3_versions(&members);
        self.state.set_members(members, self.namesake);
    }

    /// Logs the versions of iperf3 in the mesh when another set of several versions runs.
    fn log_iperf3_versions(&mut self, members: &[Member]) {
        let counts = iperf3_versions(&self.state.identity().iperf3, members);
        let versions: Vec<String> = counts.keys().map(ToString::to_string).collect();
        if versions == self.iperf3_versions {
            return;
        }
        if counts.len() > 1 {
            let nodes: Vec<_> = counts
                .iter()
                .map(|(version, count)| format!("{version} on {count}"))
                .collect();
            tracing::warn!(
                own = %self.state.identity().iperf3,
                "the nodes have different versions of iperf3 ({}); figures that two versions count \
                 differently are computed from bytes (docs/iperf3.md)",
                nodes.join(", ")
            );
        } else if self.iperf3_versions.len() > 1 {
            tracing::info!("all nodes have the same version of iperf3 again");
        }
        self.iperf3_versions = versions;
    }

    fn schedule(&self) -> Schedule {
        let status = self.node.status(boot_now());
        let sweep = status.sweep;
        Schedule {
            quiet: !status.quiet_for.is_zero(),
            sweep: Sweep {
                number: sweep.number,
                met: sweep.pairs - sweep.open,
                total: sweep.pairs,
                began: (sweep.open > 0).then_some(Since(sweep.began)),
                last: self.last_sweep,
                bound: sweep.bound,
            },
            meeting: status.meeting.map(|meeting| Meeting {
                peer: meeting.peer,
                role: meeting.role,
                began: Since(meeting.began),
            }),
            next: self.node.open_pairs().take(NEXT_SHOWN).cloned().collect(),
            open_pairs: sweep.open,
        }
    }
}

async fn next_view(views: &mut watch::Receiver<View>) -> View {
    if views.changed().await.is_err() {
        // Gossip has ended. The task that waits for its failure handles this.
        std::future::pending::<()>().await;
    }
    views.borrow_and_update().clone()
}

async fn until(deadline: Option<Time>) {
    // This yields the thread to all other tasks, even if a deadline that has passed should ever
    // remain.
    tokio::task::coop::consume_budget().await;
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn member(peer: &Peer) -> Member {
    let member = &peer.member;
    let state = match member.state {
        _ if !wire::is_compatible(member.wire) => NodeState::Incompatible,
        PeerState::Live => NodeState::Live,
        PeerState::Conflict => NodeState::Conflict,
        PeerState::Silent | PeerState::Left => NodeState::Silent,
        PeerState::Missing => NodeState::Missing,
    };
    Member {
        name: member.name.clone(),
        zone: member.zone.clone(),
        state,
        silent_since: peer.silent_since.map(Since),
        iperf3: (!member.iperf3.is_empty()).then(|| member.iperf3.clone()),
        http: (member.state != PeerState::Missing)
            .then(|| (member.control.ip(), member.http_port).into()),
        epoch: member.epoch,
        sweep: member.sweep,
        answered: peer.has_answered,
        seal: member.life.map(|life| PeerSeal {
            life,
            accepted: member.auth.accepted.as_slice().into(),
        }),
    }
}
